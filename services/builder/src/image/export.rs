//! Taking an image apart: `docker save` as a stream, of which only the wanted layers are kept.
//!
//! Both layouts of the stream are understood, because entries are told by their content's digest and not by their
//! names. Blocking, except for the bridge from the engine's stream.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};
use sluice_schemas::Digest;
use tokio::sync::mpsc;

/// A config is a few kilobytes.
const MAX_CONFIG: u64 = 4 << 20;
/// Between best and fastest; a layer is compressed once.
const LEVEL: u32 = 4;

/// What was kept of an image.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    pub(crate) config: Vec<u8>,
    /// Uncompressed layers in files, by their digest.
    pub(crate) layers: HashMap<Digest, PathBuf>,
}

/// A compressed layer in a file.
#[derive(Debug, Clone)]
pub(crate) struct Compressed {
    pub(crate) path: PathBuf,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// Reads the stream of `docker save`. `config` is the image's id; layers that are not in `keep` are passed over.
pub(crate) fn unpack(
    stream: impl Read,
    directory: &Path,
    config: &Digest,
    keep: &HashSet<Digest>,
) -> Result<Unpacked, String> {
    let fail = |error: std::io::Error| format!("the engine's export cannot be read: {error}");
    std::fs::create_dir_all(directory).map_err(fail)?;
    let mut unpacked = Unpacked::default();
    let mut archive = tar::Archive::new(stream);
    for (number, entry) in archive.entries().map_err(fail)?.enumerate() {
        let mut entry = entry.map_err(fail)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let small = entry.size() <= MAX_CONFIG;
        let path = directory.join(format!("layer-{number}"));
        let (digest, content) = copy(&mut entry, &path, small).map_err(fail)?;
        if &digest == config {
            unpacked.config = content;
        }
        if keep.contains(&digest) {
            unpacked.layers.insert(digest, path);
        } else {
            std::fs::remove_file(&path).map_err(fail)?;
        }
    }
    if unpacked.config.is_empty() {
        return Err("the engine's export lacks the image's config".to_owned());
    }
    match keep.iter().find(|digest| !unpacked.layers.contains_key(*digest)) {
        Some(digest) => Err(format!("the engine's export lacks the layer {digest}")),
        None => Ok(unpacked),
    }
}

/// Compresses a layer beside itself; the same layer always gives the same bytes.
pub(crate) fn compress(layer: &Path) -> Result<Compressed, String> {
    let fail = |error: std::io::Error| format!("a layer cannot be compressed: {error}");
    let path = layer.with_extension("gz");
    let out = Hashing::new(BufWriter::new(File::create(&path).map_err(fail)?));
    let mut gzip = GzBuilder::new().mtime(0).write(out, Compression::new(LEVEL));
    let mut input = File::open(layer).map_err(fail)?;
    std::io::copy(&mut input, &mut gzip).map_err(fail)?;
    let mut out = gzip.finish().map_err(fail)?;
    out.inner.flush().map_err(fail)?;
    Ok(Compressed { path, digest: Digest::from_hash(out.hasher.finalize().into()), size: out.written })
}

fn copy(entry: &mut impl Read, path: &Path, remember: bool) -> std::io::Result<(Digest, Vec<u8>)> {
    let mut out = BufWriter::new(File::create(path)?);
    let (mut hasher, mut content) = (Sha256::new(), Vec::new());
    let mut buffer = vec![0_u8; 256 * 1024];
    loop {
        let read = entry.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        out.write_all(&buffer[..read])?;
        if remember {
            content.extend_from_slice(&buffer[..read]);
        }
    }
    out.flush()?;
    Ok((Digest::from_hash(hasher.finalize().into()), content))
}

struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    written: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), written: 0 }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// The blocking end of a stream of bytes.
pub(crate) struct StreamReader {
    pieces: mpsc::Receiver<Result<Bytes, String>>,
    current: Bytes,
}

impl StreamReader {
    pub(crate) fn new(pieces: mpsc::Receiver<Result<Bytes, String>>) -> Self {
        Self { pieces, current: Bytes::new() }
    }
}

impl Read for StreamReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) => self.current = piece,
                Some(Err(reason)) => return Err(std::io::Error::other(reason)),
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *content).expect("appended");
        }
        builder.into_inner().expect("finished")
    }

    #[test]
    fn wanted_layers_and_the_config_are_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let (config, base, top) = (b"{\"config\":1}".as_slice(), b"base".as_slice(), b"top layer".as_slice());
        let stream = archive(&[("1/layer.tar", base), ("blobs/sha256/x", top), ("abc.json", config)]);
        let keep = HashSet::from([Digest::of(top)]);
        let unpacked =
            unpack(stream.as_slice(), directory.path(), &Digest::of(config), &keep).expect("unpacks");
        assert_eq!(unpacked.config, config);
        assert_eq!(unpacked.layers.len(), 1);
        let path = &unpacked.layers[&Digest::of(top)];
        let (once, twice) = (compress(path).expect("compresses"), compress(path).expect("compresses"));
        assert_eq!(once.digest, twice.digest);
        let bytes = std::fs::read(&once.path).expect("there");
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (once.digest, once.size));
        let missing = HashSet::from([Digest::of(b"other")]);
        assert!(unpack(stream.as_slice(), directory.path(), &Digest::of(config), &missing).is_err());
        assert!(unpack(stream.as_slice(), directory.path(), &Digest::of(b"no"), &HashSet::new()).is_err());
    }
}
