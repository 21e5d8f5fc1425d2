//! Bytes to lines.
//!
//! Invariant: a line is at most [`MAX_LINE`] bytes; where a longer one is cut, a tail as long as the longest
//! secret is held back, so that a cut never runs through a secret.

/// Longer lines are cut: one must fit into a chunk of the log.
pub(crate) const MAX_LINE: usize = 16 * 1024;

/// Splits one stream of output.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Takes more output and gives the lines that it completes. `hold_back` is the length of the longest secret.
    pub(crate) fn take(&mut self, bytes: &[u8], hold_back: usize) -> Vec<String> {
        self.pending.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let mut line: Vec<u8> = self.pending.drain(..=end).collect();
            line.pop();
            self.push(&mut lines, line);
        }
        let limit = MAX_LINE + hold_back;
        while self.pending.len() > limit {
            let piece: Vec<u8> = self.pending.drain(..MAX_LINE).collect();
            lines.push(text(&piece));
        }
        lines
    }

    /// What is left when the stream ends.
    pub(crate) fn finish(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.pending);
        (!rest.is_empty()).then(|| text(&rest))
    }

    fn push(&self, lines: &mut Vec<String>, line: Vec<u8>) {
        // A carriage return redraws a line on a terminal; what is shown last is what the line says.
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        lines.push(text(line));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_end_at_newlines_however_they_arrive() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"a\nb", 0), ["a"]);
        assert_eq!(lines.take(b"c\r\n\n", 0), ["bc", ""]);
        assert_eq!(lines.take(b"rest", 0), Vec::<String>::new());
        assert_eq!(lines.finish().as_deref(), Some("rest"));
        assert_eq!(lines.finish(), None);
    }

    proptest! {
        #[test]
        fn chunking_changes_nothing(text in "[a-z\n]{0,200}", cuts in prop::collection::vec(0usize..200, 0..6)) {
            let mut whole = Lines::default();
            let mut expected = whole.take(text.as_bytes(), 0);
            expected.extend(whole.finish());
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= text.len()).collect();
            cuts.sort_unstable();
            let mut pieces = Lines::default();
            let mut found = Vec::new();
            let mut start = 0;
            for cut in cuts.into_iter().chain([text.len()]) {
                found.extend(pieces.take(&text.as_bytes()[start..cut], 0));
                start = cut;
            }
            found.extend(pieces.finish());
            prop_assert_eq!(found, expected);
        }
    }
}
