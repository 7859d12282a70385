//! Volumes on a private directory, without an engine around them.

use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use tempfile::TempDir;

fn volumes(dir: &TempDir) -> Volumes {
    Volumes::open(&EngineConfig { data_root: dir.path().to_owned(), ..EngineConfig::default() })
        .unwrap()
}

fn request(name: &str, options: &[(&str, &str)]) -> CreateRequest {
    let pairs = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    CreateRequest {
        name: name.to_owned(),
        driver_opts: Some(pairs.collect()),
        ..CreateRequest::default()
    }
}

fn container(name: &str) -> ContainerId {
    ContainerId::new(name)
}

#[tokio::test]
async fn a_volume_and_its_content_outlive_the_daemon_and_its_leftovers_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let made = volumes(&dir).ensure(request("data", &[]), false, Some(&container("c"))).unwrap().0;
    std::fs::write(Path::new(&made.mountpoint).join("f"), "1").unwrap();
    std::fs::create_dir_all(dir.path().join("volumes/half/_data")).unwrap();
    std::fs::create_dir_all(dir.path().join("volumes/.gone/_data/x")).unwrap();

    let reopened = volumes(&dir);
    assert_eq!(reopened.get("data").unwrap(), made);
    assert!(reopened.get("half").is_err());
    assert!(
        !dir.path().join("volumes/.gone").exists() && !dir.path().join("volumes/half").exists()
    );
}

#[tokio::test]
async fn a_used_volume_cannot_be_removed_and_an_unused_one_can() {
    let dir = tempfile::tempdir().unwrap();
    let volumes = volumes(&dir);
    volumes.ensure(request("data", &[]), false, Some(&container("c1"))).unwrap();
    volumes.acquire("data", &container("c2"));
    let refused = volumes.remove("data", true).await.unwrap_err();
    assert_eq!(refused.to_string(), "remove data: volume is in use - [c1, c2]");
    volumes.release(&container("c1"));
    volumes.release(&container("c2"));
    volumes.remove("data", false).await.unwrap();
    assert!(!dir.path().join("volumes/data").exists());
    assert_eq!(
        volumes.remove("data", false).await.unwrap_err().to_string(),
        "get data: no such volume"
    );
    volumes.remove("data", true).await.unwrap();
}

#[tokio::test]
async fn an_empty_volume_gets_the_images_content_with_owners_modes_links_and_attributes() {
    let dir = tempfile::tempdir().unwrap();
    let rootfs = dir.path().join("rootfs");
    let source = rootfs.join("srv/app");
    std::fs::create_dir_all(&source).unwrap();
    std::fs::write(source.join("a"), "content").unwrap();
    std::fs::hard_link(source.join("a"), source.join("b")).unwrap();
    symlink("/etc/passwd", source.join("l")).unwrap();
    symlink("/srv/app", rootfs.join("data")).unwrap();
    std::fs::set_permissions(source.join("a"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    std::os::unix::fs::chown(source.join("a"), Some(12), Some(34)).unwrap();
    std::os::unix::fs::chown(&source, Some(56), Some(78)).unwrap();
    std::fs::set_permissions(source.join("a"), std::fs::Permissions::from_mode(0o4755)).unwrap();

    let volumes = volumes(&dir);
    volumes.ensure(request("data", &[]), false, Some(&container("c"))).unwrap();
    let seed = Seed { rootfs: &rootfs, path: "/data" };
    let data = volumes.mount("data", &container("c"), Some(seed)).await.unwrap();

    let (a, b) =
        (std::fs::metadata(data.join("a")).unwrap(), std::fs::metadata(data.join("b")).unwrap());
    assert_eq!((a.uid(), a.gid(), a.mode() & 0o7777), (12, 34, 0o4755));
    assert_eq!((a.ino(), a.nlink()), (b.ino(), 2));
    let root = std::fs::metadata(&data).unwrap();
    assert_eq!((root.uid(), root.gid()), (56, 78));
    assert_eq!(std::fs::read_link(data.join("l")).unwrap(), Path::new("/etc/passwd"));

    std::fs::write(data.join("a"), "mine").unwrap();
    volumes.mount("data", &container("c"), Some(seed)).await.unwrap();
    assert_eq!(std::fs::read_to_string(data.join("a")).unwrap(), "mine");
    assert_eq!(copy::size(&data).unwrap(), 4 + 11);
}

#[tokio::test]
async fn options_are_mounted_for_the_first_user_and_unmounted_after_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let volumes = volumes(&dir);
    let options = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=7")];
    volumes.ensure(request("fast", &options), false, Some(&container("c1"))).unwrap();
    let data = volumes.mount("fast", &container("c1"), None).await.unwrap();
    volumes.mount("fast", &container("c2"), None).await.unwrap();
    assert_eq!(std::fs::metadata(&data).unwrap().uid(), 7);
    volumes.unmount("fast", &container("c1")).await.unwrap();
    assert_eq!(std::fs::metadata(&data).unwrap().uid(), 7);
    volumes.unmount("fast", &container("c2")).await.unwrap();
    assert_eq!(std::fs::metadata(&data).unwrap().uid(), 0);
}
