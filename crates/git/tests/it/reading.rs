//! Reading trees: nothing outside them can be reached.

use std::os::unix::fs::symlink;

use sluice_git::{EntryKind, Linked, ReadError, ReadLimits, RepoPath};

use crate::support::{Fixture, git};

fn path(text: &str) -> RepoPath {
    RepoPath::parse(text).unwrap()
}

#[tokio::test]
async fn links_are_followed_inside_the_tree_only() {
    let fixture = Fixture::new();
    fixture.write("dev/a.yaml", "a");
    fixture.write("base/b.yaml", "b");
    std::fs::create_dir_all(fixture.work.join("dev")).unwrap();
    for (target, link) in [
        ("../base/b.yaml", "dev/inside.yaml"),
        ("../../../etc/passwd", "dev/out.yaml"),
        ("/etc/passwd", "dev/absolute.yaml"),
        ("loop.yaml", "dev/loop.yaml"),
        ("nothing", "dev/broken.yaml"),
        ("dev", "alias"),
    ] {
        symlink(target, fixture.work.join(link)).unwrap();
    }
    let sha = fixture.push("main", "one");
    let mirror = fixture.mirror();
    mirror
        .read(&sha, None, Default::default(), |tree| {
            assert_eq!(tree.read(&path("dev/inside.yaml"))?, b"b");
            assert_eq!(tree.read(&path("alias/a.yaml"))?, b"a");
            assert!(matches!(tree.read(&path("dev/out.yaml")), Err(ReadError::Escapes { .. })));
            assert!(matches!(tree.read(&path("dev/absolute.yaml")), Err(ReadError::Escapes { .. })));
            assert!(matches!(tree.read(&path("dev/loop.yaml")), Err(ReadError::LinkLoop { .. })));
            assert_eq!(tree.follow(&path("dev/broken.yaml"))?, Linked::Missing);
            let kinds: Vec<_> = tree.list(&path("dev"), false)?.into_iter().map(|entry| entry.kind).collect();
            assert_eq!(kinds.iter().filter(|kind| **kind == EntryKind::Symlink).count(), 5);
            assert_eq!(tree.list(&path("alias"), true)?[1].path.as_str(), "alias/absolute.yaml");
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn sizes_and_counts_are_bounded() {
    let fixture = Fixture::new();
    fixture.write("big", &"x".repeat(2000));
    for n in 0..20 {
        fixture.write(&format!("many/{n}"), "x");
    }
    let sha = fixture.push("main", "one");
    let mirror = fixture.mirror();
    let limits = ReadLimits { blob: 1000, entries: 10 };
    mirror
        .read(&sha, None, limits, |tree| {
            assert!(matches!(tree.read(&path("big")), Err(ReadError::TooLarge { size: 2000, .. })));
            assert!(matches!(tree.list(&path("many"), true), Err(ReadError::TooMany { .. })));
            assert!(matches!(tree.list(&path("none"), true), Err(ReadError::NotFound { .. })));
            assert!(matches!(tree.list(&path("big"), true), Err(ReadError::NotADirectory { .. })));
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_checkout_has_files_modes_and_links_and_nothing_outside() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = Fixture::new();
    fixture.write("src/run.sh", "#!/bin/sh\n");
    fixture.write("src/deep/er/file", "x");
    std::fs::set_permissions(fixture.work.join("src/run.sh"), std::fs::Permissions::from_mode(0o755))
        .unwrap();
    symlink("deep/er/file", fixture.work.join("src/link")).unwrap();
    symlink("/etc", fixture.work.join("src/out")).unwrap();
    let sha = fixture.push("main", "one");
    let target = fixture.dir.path().join("checkout");
    let directory = target.clone();
    let report = fixture
        .mirror()
        .read(&sha, None, Default::default(), move |tree| {
            Ok(tree.checkout(&path("src"), &directory, 1 << 20).unwrap())
        })
        .await
        .unwrap();
    assert_eq!((report.files, report.outward_links.len()), (4, 1));
    assert_eq!(std::fs::metadata(target.join("run.sh")).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(std::fs::read_to_string(target.join("link")).unwrap(), "x");
    assert_eq!(std::fs::read_link(target.join("out")).unwrap().to_str(), Some("/etc"));
}

#[tokio::test]
async fn a_hand_made_tree_with_evil_names_is_refused() {
    let fixture = Fixture::new();
    fixture.write("seed", "x");
    fixture.push("main", "seed");
    // `git mktree` refuses such names, so the object is written raw.
    let blob = git(&fixture.work, &["rev-parse", "HEAD:seed"]);
    let raw: Vec<u8> = (0..20).map(|n| u8::from_str_radix(&blob[2 * n..2 * n + 2], 16).unwrap()).collect();
    let mut tree = b"100644 ../evil\0".to_vec();
    tree.extend(raw);
    let file = fixture.dir.path().join("tree");
    std::fs::write(&file, tree).unwrap();
    let id = git(&fixture.bare, &["hash-object", "-t", "tree", "-w", "--literally", file.to_str().unwrap()]);
    let commit = git(&fixture.bare, &["commit-tree", &id, "-m", "evil"]);
    git(&fixture.bare, &["update-ref", "refs/heads/evil", &commit]);
    let sha = commit.parse().unwrap();
    let target = fixture.dir.path().join("checkout");
    let result = fixture
        .mirror()
        .read(&sha, None, Default::default(), move |tree| {
            assert!(tree.checkout(&RepoPath::root(), &target, 1 << 20).is_err());
            tree.list(&RepoPath::root(), true)
        })
        .await;
    assert!(matches!(result, Err(ReadError::BadName { .. })), "{result:?}");
    assert!(!fixture.dir.path().join("evil").exists());
}

#[tokio::test]
async fn changed_paths_are_those_of_the_push() {
    let fixture = Fixture::new();
    fixture.write("a", "1");
    let one = fixture.push("main", "one");
    fixture.write("a", "2");
    fixture.write("dir/b", "1");
    fixture.push("main", "two");
    fixture.write("c", "1");
    let three = fixture.push("main", "three");
    let mirror = fixture.mirror();
    let changes = mirror.changes(Some(&one), &three).await.unwrap();
    assert_eq!((changes.paths, changes.complete), (vec!["a".into(), "c".into(), "dir/b".into()], true));
    assert_eq!(mirror.changes(None, &three).await.unwrap().paths, ["c"]);
    assert_eq!(mirror.changes(None, &one).await.unwrap().paths, ["a"]);
    for n in 0..301 {
        fixture.write(&format!("many/{n}"), "x");
    }
    let four = fixture.push("main", "four");
    let many = mirror.changes(Some(&three), &four).await.unwrap();
    assert_eq!((many.paths.len(), many.complete), (300, false));
    let gone = "1".repeat(40).parse().unwrap();
    assert!(!mirror.changes(Some(&gone), &four).await.unwrap().complete);
}
