//! Layers and writable layers against the kernel's own overlayfs. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests: a failure is a panic")]

mod common;

use common::{Tar, home, import, leftovers, read, reopen};
use image::{Commit, LayerSource, Store};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use types::container::Change;

async fn layered(store: &Store, below: &image::Image, tar: Tar) -> std::sync::Arc<image::Image> {
    let layer = store.layer_from_tar(below.layers.last(), &tar.build()[..]).await.unwrap();
    let commit = Commit { parent: Some(below.id.clone()), ..Commit::default() };
    store.create_image(commit, Some(&layer)).await.unwrap()
}

fn listed(changes: &[Change]) -> String {
    let word =
        |change: &Change| format!("{}{}", ["C", "A", "D"][usize::from(change.kind)], change.path);
    changes.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn every_kind_of_entry_comes_out_as_it_went_in() {
    let home = home().await;
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = Tar::new()
        .dir("./")
        .dir("bin")
        .owned("bin/su", "x", 0o4755, 1000, 2000)
        .pax("SCHILY.xattr.security.capability", &capability)
        .file("bin/ping", "ping")
        .hardlink("bin/ping6", "bin/ping")
        .symlink("bin/sh", "/bin/busybox")
        .fifo("pipe")
        .device("null", 1, 3)
        .file(&format!("{}/f", "deep/".repeat(18)), "deep");
    let image = import(&home.store, "x", tar).await;
    let rw = home.store.create_rw("c1", &image.id).await.unwrap();
    let root = rw.mount().await.unwrap();
    let meta = |path: &str| fs::symlink_metadata(root.join(path)).unwrap();
    assert_eq!(
        (meta("bin/su").mode() & 0o7777, meta("bin/su").uid(), meta("bin/su").gid()),
        (0o4755, 1000, 2000)
    );
    assert_eq!(
        xattr::get(root.join("bin/ping"), "security.capability").unwrap().unwrap(),
        capability
    );
    assert_eq!(meta("bin/ping").ino(), meta("bin/ping6").ino());
    assert_eq!(fs::read_link(root.join("bin/sh")).unwrap().to_str(), Some("/bin/busybox"));
    assert!(meta("pipe").file_type().is_fifo());
    assert_eq!(meta("null").rdev(), nix::sys::stat::makedev(1, 3));
    assert_eq!(meta("bin").mtime(), 1_700_000_000);
    assert_eq!(fs::read_to_string(root.join("deep/".repeat(18)).join("f")).unwrap(), "deep");
    for mount_point in ["proc", "sys", "dev/pts", "dev/shm", "etc/hosts", "etc/resolv.conf"] {
        assert!(root.join(mount_point).exists(), "{mount_point}");
    }
    assert_eq!(rw.changes().await.unwrap(), []);
    assert_eq!(image.size_bytes, 1 + 4 + 4);
    rw.remove().await.unwrap();
    assert_eq!(leftovers(&home), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn whiteouts_and_opaque_directories_hide_what_lies_below() {
    let home = home().await;
    let base = Tar::new()
        .dir("a")
        .file("a/gone", "1")
        .file("a/stays", "2")
        .dir("b")
        .file("b/old", "3")
        .file("c", "4");
    let base = import(&home.store, "base", base).await;
    let top = Tar::new()
        .file("a/.wh.gone", "")
        .dir("b")
        .file("b/.wh..wh..opq", "")
        .file("b/new", "5")
        .file(".wh.c", "")
        .dir("c")
        .file("c/inside", "6");
    let top = layered(&home.store, &base, top).await;
    let rw = home.store.create_rw("c1", &top.id).await.unwrap();
    let root = rw.mount().await.unwrap();
    assert!(!root.join("a/gone").exists() && root.join("a/stays").exists());
    assert!(!root.join("b/old").exists() && root.join("b/new").exists());
    assert!(root.join("c/inside").exists());
    // And out again: the layer's tar carries the same marks.
    let dir = home.store.layer_dirs(&top).pop().unwrap();
    assert!(fs::symlink_metadata(dir.join("a/gone")).unwrap().file_type().is_char_device());
    rw.remove().await.unwrap();
}

#[tokio::test]
async fn no_entry_gets_outside_of_the_layer() {
    let home = home().await;
    let outside = home.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let target = outside.to_str().unwrap();
    let climbing =
        ["../../../../../../../../../tmp/x".to_owned(), "a/../../x".to_owned(), "..".to_owned()];
    for path in climbing {
        let tar = Tar::new().file(&path, "x").build();
        let err = home.store.layer_from_tar(None, &tar[..]).await.err().unwrap();
        assert!(errdefs::chain(&err).contains("outside of the layer's root"), "{err}");
    }
    let through_link = Tar::new().symlink("out", target).file("out/x", "x").build();
    let made = home.store.layer_from_tar(None, &through_link[..]).await;
    assert!(made.is_err() || fs::read_dir(&outside).unwrap().next().is_none());
    let up_link =
        Tar::new().symlink("up", "../../../../..").file(&format!("up{target}/x"), "x").build();
    let _inside_or_refused = home.store.layer_from_tar(None, &up_link[..]).await;
    let hard = Tar::new().hardlink("passwd", "../../../../../../../../etc/passwd").build();
    assert!(home.store.layer_from_tar(None, &hard[..]).await.is_err());
    let hard = Tar::new().symlink("etc", "/etc").hardlink("passwd", "etc/passwd").build();
    assert!(home.store.layer_from_tar(None, &hard[..]).await.is_err());
    assert!(fs::read_dir(&outside).unwrap().next().is_none());
    assert_eq!(leftovers(&home), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn changes_are_dockers_and_become_the_next_layer() {
    let home = home().await;
    let base =
        Tar::new().dir("etc").file("etc/a", "1").file("etc/b", "2").dir("var").file("var/x", "3");
    let base = import(&home.store, "base", base).await;
    let rw = home.store.create_rw("c1", &base.id).await.unwrap();
    let root = rw.mount().await.unwrap();
    fs::write(root.join("etc/a"), "changed").unwrap();
    fs::remove_file(root.join("etc/b")).unwrap();
    fs::create_dir(root.join("new")).unwrap();
    fs::write(root.join("new/f"), "f").unwrap();
    fs::remove_dir_all(root.join("var")).unwrap();
    assert_eq!(listed(&rw.changes().await.unwrap()), "C/etc C/etc/a D/etc/b A/new A/new/f D/var");
    assert_eq!(rw.size_bytes().await.unwrap(), 8);

    // Kept (copied) and consumed (renamed), the layer is the same.
    let kept = home.store.layer_from_rw(rw.clone(), LayerSource::Keep).await.unwrap();
    assert!(rw.upper().join("new/f").exists());
    let consumed = home.store.layer_from_rw(rw.clone(), LayerSource::Consume).await.unwrap();
    assert_eq!(kept.chain, consumed.chain);
    assert!(home.store.rw("c1").is_none() && !rw.upper().exists());
    let commit = Commit { parent: Some(base.id.clone()), ..Commit::default() };
    let image = home.store.create_image(commit, Some(&consumed)).await.unwrap();
    let rw = home.store.create_rw("c2", &image.id).await.unwrap();
    let root = rw.mount().await.unwrap();
    assert_eq!(fs::read_to_string(root.join("etc/a")).unwrap(), "changed");
    assert!(
        !root.join("etc/b").exists() && !root.join("var").exists() && root.join("new/f").exists()
    );
    rw.remove().await.unwrap();
    assert_eq!(leftovers(&home), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_hundred_layers_can_be_mounted_and_one_too_many_is_refused() {
    let home = home().await;
    let mut image = import(&home.store, "base", Tar::new().file("0", "0")).await;
    for n in 1..125 {
        image = layered(&home.store, &image, Tar::new().file(&n.to_string(), "x")).await;
    }
    let rw = home.store.create_rw("c1", &image.id).await.unwrap();
    let root = rw.mount().await.unwrap();
    assert!(root.join("0").exists() && root.join("124").exists());
    rw.remove().await.unwrap();
    let layer = home
        .store
        .layer_from_tar(image.layers.last(), &Tar::new().file("y", "").build()[..])
        .await
        .unwrap();
    let commit = Commit { parent: Some(image.id.clone()), ..Commit::default() };
    let err = home.store.create_image(commit, Some(&layer)).await.unwrap_err();
    assert_eq!(err.to_string(), "max depth exceeded");
}

#[tokio::test]
async fn a_discarded_layer_is_gone_at_once_and_its_files_at_the_latest_with_the_next_open() {
    let mut home = home().await;
    let base = import(&home.store, "base", Tar::new().dir("etc").file("etc/a", "a")).await;
    for finished in [true, false] {
        let rw = home.store.create_rw("c1", &base.id).await.unwrap();
        fs::write(rw.mount().await.unwrap().join("f"), "x").unwrap();
        let left = rw.discard().await.unwrap();
        assert!(home.store.rw("c1").is_none() && home.store.rw_ids().is_empty());
        // The name is free while the old mount is still there.
        let again = home.store.create_rw("c1", &base.id).await.unwrap();
        assert!(!again.mount().await.unwrap().join("f").exists());
        again.remove().await.unwrap();
        if finished {
            left.removed().await.unwrap();
        } else {
            home = reopen(home).await; // as after a crash, with the mount in place
        }
        let tmp: Vec<_> = fs::read_dir(home.store.root().join("tmp")).unwrap().collect();
        assert!(tmp.is_empty(), "{tmp:?}");
        // Nothing was removed through the mount.
        let layer = &home.store.layer_dirs(&base)[0];
        assert_eq!(fs::read_to_string(layer.join("etc/a")).unwrap(), "a");
    }
}

#[tokio::test]
async fn a_writable_layer_survives_the_daemon_and_a_half_made_one_does_not() {
    let mut home = home().await;
    let base = import(&home.store, "base", Tar::new().dir("etc")).await;
    let rw = home.store.create_rw("c1", &base.id).await.unwrap();
    let root = rw.mount().await.unwrap();
    fs::write(root.join("f"), "kept").unwrap();
    drop(rw);
    let tmp = home.store.root().join("tmp/layer-half/diff");
    fs::create_dir_all(&tmp).unwrap();
    let layer = home.store.root().join("layers").join("0".repeat(64));
    fs::create_dir_all(layer.join("diff")).unwrap();
    home = reopen(home).await;
    assert!(!tmp.exists() && !layer.exists());
    let rw = home.store.create_rw("c1", &base.id).await.unwrap();
    assert!(rw.is_mounted().unwrap());
    assert_eq!(fs::read_to_string(rw.mount().await.unwrap().join("f")).unwrap(), "kept");
    assert!(home.store.unmount_all_but(&["c1"]).await.is_empty() && rw.is_mounted().unwrap());
    assert!(home.store.unmount_all_but(&[]).await.is_empty() && !rw.is_mounted().unwrap());
    // The layers of a container outlive its image.
    let uses = Vec::new();
    let options = image::RemoveOptions { force: true, prune_parents: true };
    home.store.remove("base", options, uses).await.unwrap();
    assert!(rw.mount().await.unwrap().join("etc").exists());
    rw.remove().await.unwrap();
}

#[tokio::test]
async fn an_export_is_the_whole_root_and_a_diff_only_the_changes() {
    let home = home().await;
    let base = import(&home.store, "base", Tar::new().dir("etc").file("etc/a", "1")).await;
    let rw = home.store.create_rw("c1", &base.id).await.unwrap();
    let root = rw.mount().await.unwrap();
    fs::write(root.join("new"), "n").unwrap();
    fs::set_permissions(root.join("new"), fs::Permissions::from_mode(0o600)).unwrap();
    let names = |tar: Vec<u8>| {
        let mut archive = tar::Archive::new(&tar[..]);
        let paths = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string());
        paths.collect::<Vec<_>>()
    };
    assert_eq!(names(read(rw.diff_tar()).await), ["new"]);
    let all = names(read(rw.export_tar()).await);
    assert!(all.contains(&"etc/a".to_owned()) && all.contains(&"new".to_owned()));
    rw.remove().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_fails_in_plain_words_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let small = dir.path();
    let mount = nix::mount::mount(
        Some("tmpfs"),
        small,
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        Some("size=1m"),
    );
    mount.unwrap();
    let store = Store::open(small.join("image"), image::RegistryConfig::default()).await.unwrap();
    let tar = Tar::new().bytes("big", &vec![7; 4 << 20]).build();
    let err = store.layer_from_tar(None, &tar[..]).await.err().unwrap();
    assert_eq!(
        errdefs::chain(&err),
        "failed to register layer: write big: no space left on device"
    );
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
    drop(store);
    nix::mount::umount2(small, nix::mount::MntFlags::MNT_DETACH).unwrap();
}
