//! Names, removal, prune, list and history: Docker's rules on a store of small images.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests: a failure is a panic")]

mod common;

use common::{Home, Tar, home, import, leftovers, progress, read, reopen};
use image::{Commit, ContainerUse, Error, Image, ListFilter, RemoveOptions};
use std::fs;
use std::sync::Arc;
use types::container::Config;
use types::image::{Deleted, History};

const PLAIN: RemoveOptions = RemoveOptions { force: false, prune_parents: true };
const FORCE: RemoveOptions = RemoveOptions { force: true, prune_parents: true };

/// A builder's step on `parent` that changes only the configuration.
async fn step(home: &Home, parent: &Image, label: &str) -> Arc<Image> {
    let labels = Some([(label.to_owned(), "1".to_owned())].into());
    let commit = Commit {
        parent: Some(parent.id.clone()),
        config: Config { labels, ..Config::default() },
        history: History { created_by: format!("LABEL {label}=1"), ..History::default() },
        ..Commit::default()
    };
    home.store.create_image(commit, None).await.unwrap()
}

fn used_by(image: &Image, running: bool) -> Vec<ContainerUse> {
    vec![ContainerUse { container: "c".repeat(64), image: image.id.clone(), running }]
}

async fn refused(
    home: &Home,
    name: &str,
    options: RemoveOptions,
    uses: Vec<ContainerUse>,
) -> String {
    home.store.remove(name, options, uses).await.unwrap_err().to_string()
}

fn told(records: &[Deleted]) -> String {
    let word = |record: &Deleted| match (&record.untagged, &record.deleted) {
        (Some(name), _) => format!("-{name}"),
        (_, Some(id)) => format!("x{}", &id["sha256:".len()..][..6]),
        _ => String::new(),
    };
    records.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_name_goes_first_and_the_image_with_its_last_name() {
    let home = home().await;
    let image = import(&home.store, "a:1", Tar::new().file("f", "x")).await;
    home.store.tag("a:1", "b").await.unwrap();
    let records = home.store.remove("b", PLAIN, vec![]).await.unwrap();
    assert_eq!(told(&records), "-b:latest");
    let id = &image.id.as_str()["sha256:".len()..][..6];
    let layer = &image.layers[0].hex()[..6];
    let records = home.store.remove("a:1", PLAIN, vec![]).await.unwrap();
    assert_eq!(told(&records), format!("-a:1 x{id} x{layer}"));
    let left = |dir: &str| fs::read_dir(home.store.root().join(dir)).unwrap().count();
    assert_eq!((left("layers"), left("blobs/sha256"), left("images"), left("l")), (0, 0, 0, 0));
    assert_eq!(leftovers(&home), Vec::<std::path::PathBuf>::new());
    let err = home.store.remove("a:1", PLAIN, vec![]).await.unwrap_err();
    assert_eq!(err.to_string(), "No such image: a:1");
}

#[tokio::test]
async fn conflicts_are_told_in_dockers_words_and_change_nothing() {
    let home = home().await;
    let image = import(&home.store, "a", Tar::new().file("f", "x")).await;
    let short = image.id.short();
    let stopped = || used_by(&image, false);
    let cccc = "c".repeat(12);
    assert_eq!(
        refused(&home, "a", PLAIN, stopped()).await,
        format!(
            "conflict: unable to remove repository reference \"a\" (must force) - container {cccc} is using its referenced image {short}"
        )
    );
    assert_eq!(
        refused(&home, short, PLAIN, stopped()).await,
        format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {cccc}"
        )
    );
    assert_eq!(
        refused(&home, short, FORCE, used_by(&image, true)).await,
        format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {cccc}"
        )
    );
    home.store.tag("a", "other/b").await.unwrap();
    assert_eq!(
        refused(&home, short, PLAIN, vec![]).await,
        format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
    );
    let child = step(&home, &image, "k").await;
    assert_eq!(
        refused(&home, short, FORCE, vec![]).await,
        format!(
            "conflict: unable to delete {short} (cannot be forced) - image has dependent child images"
        )
    );
    assert_eq!(home.store.references_to(&image.id).len(), 2);
    // A running container's image loses its name by force, but stays.
    home.store.remove(child.id.as_str(), PLAIN, vec![]).await.unwrap();
    let records = home.store.remove("other/b", FORCE, used_by(&image, true)).await.unwrap();
    assert_eq!(told(&records), "-other/b:latest");
    let records = home.store.remove("a", FORCE, used_by(&image, true)).await.unwrap();
    assert_eq!(told(&records), "-a:latest");
    assert!(home.store.get(&image.id).is_some());
}

#[tokio::test]
async fn unnamed_parents_go_with_their_last_child_unless_they_are_kept() {
    let home = home().await;
    let base = import(&home.store, "base", Tar::new().file("f", "x")).await;
    let middle = step(&home, &base, "one").await;
    let top = step(&home, &middle, "two").await;
    assert_eq!(home.store.children(&base.id), vec![middle.clone()]);
    home.store.tag(top.id.as_str(), "top").await.unwrap();
    let listed: Vec<_> = home
        .store
        .list(&ListFilter::default(), None)
        .unwrap()
        .iter()
        .map(|it| it.id.clone())
        .collect();
    assert!(listed.contains(&top.id) && listed.contains(&base.id) && !listed.contains(&middle.id));
    let history = home.store.history("top").unwrap();
    let ids: Vec<_> = history.iter().map(|item| item.id.as_str()).collect();
    assert_eq!(ids, [top.id.as_str(), middle.id.as_str(), base.id.as_str()]);
    assert_eq!((history[0].created_by.as_str(), history[2].size), ("LABEL two=1", 1));
    home.store.remove("top", PLAIN, vec![]).await.unwrap();
    assert!(home.store.get(&middle.id).is_none() && home.store.get(&base.id).is_some());
}

#[tokio::test]
async fn prune_takes_the_unnamed_or_all_that_no_container_uses() {
    let home = home().await;
    import(&home.store, "a", Tar::new().file("f", "1")).await;
    import(&home.store, "a", Tar::new().file("f", "22")).await;
    let used = import(&home.store, "used", Tar::new().file("f", "333")).await;
    let report = home.store.prune(ListFilter::default(), used_by(&used, false)).await.unwrap();
    assert_eq!((report.space_reclaimed, report.images_deleted.unwrap().len()), (1, 2));
    let all = ListFilter { dangling: Some(false), ..ListFilter::default() };
    let report = home.store.prune(all, used_by(&used, false)).await.unwrap();
    assert_eq!(report.space_reclaimed, 2);
    assert_eq!(home.store.images(), [used]);
}

#[tokio::test]
async fn prune_takes_a_named_parent_after_its_children_and_leaves_it_while_one_is_used() {
    let home = home().await;
    let base = import(&home.store, "base", Tar::new().file("f", "1")).await;
    let used = step(&home, &base, "one").await;
    let other = step(&home, &base, "two").await;
    home.store.tag(other.id.as_str(), "other").await.unwrap();
    let all = ListFilter { dangling: Some(false), ..ListFilter::default() };
    home.store.prune(all.clone(), used_by(&used, false)).await.unwrap();
    assert_eq!(home.store.references_to(&base.id).len(), 1);
    assert!(home.store.get(&used.id).is_some() && home.store.get(&other.id).is_none());
    home.store.prune(all, vec![]).await.unwrap();
    assert!(home.store.images().is_empty());
}

#[tokio::test]
async fn names_and_ids_find_images_and_wrong_ones_say_so() {
    let home = home().await;
    // Not a hexadecimal digit: `a` would find an image whose id happens to begin with it.
    let image = import(&home.store, "docker.io/library/w:1", Tar::new().file("f", "x")).await;
    let hex = &image.id.as_str()["sha256:".len()..];
    for name in
        ["w:1", "library/w:1", image.id.as_str(), hex, &hex[..12], &format!("sha256:{}", &hex[..8])]
    {
        assert_eq!(home.store.resolve(name).unwrap().id, image.id, "{name}");
    }
    let text = |name: &str| home.store.resolve(name).unwrap_err().to_string();
    assert_eq!(text("nope"), "No such image: nope:latest");
    assert_eq!(text("w"), "No such image: w:latest");
    assert_eq!(
        text("Nope"),
        "invalid reference format: repository name (library/Nope) must be lowercase"
    );
    assert_eq!(text("w:"), "invalid reference format");
    let digest = image::Digest::of(b"");
    let err = home.store.tag("w:1", &format!("b@{digest}")).await.unwrap_err();
    assert!(matches!(err, Error::TagWithDigest));
    assert_eq!(
        home.store.tag("nope", "b").await.unwrap_err().to_string(),
        "No such image: nope:latest"
    );
}

#[tokio::test]
async fn filters_choose_by_name_label_and_age() {
    let home = home().await;
    let old = import(&home.store, "app:1", Tar::new().file("f", "1")).await;
    let new = step(&home, &old, "stage").await;
    home.store.tag(new.id.as_str(), "other:2").await.unwrap();
    let ids = |filter: ListFilter| {
        home.store.list(&filter, None).unwrap().into_iter().map(|it| it.id).collect::<Vec<_>>()
    };
    let text = |value: &str| vec![value.to_owned()];
    assert_eq!(
        ids(ListFilter { references: text("app"), ..ListFilter::default() }),
        vec![old.id.clone()]
    );
    assert_eq!(
        ids(ListFilter { labels: text("stage=1"), ..ListFilter::default() }),
        vec![new.id.clone()]
    );
    assert!(ids(ListFilter { labels: text("stage=2"), ..ListFilter::default() }).is_empty());
    assert!(ids(ListFilter { dangling: Some(true), ..ListFilter::default() }).is_empty());
    assert_eq!(
        ids(ListFilter { since: text("other:2"), ..ListFilter::default() }),
        vec![old.id.clone()]
    );
    let filter = ListFilter { before: text("nope"), ..ListFilter::default() };
    assert_eq!(home.store.list(&filter, None).unwrap_err().to_string(), "No such image: nope");
}

#[tokio::test]
async fn everything_is_there_again_after_a_restart() {
    let mut home = home().await;
    let image = import(&home.store, "a:1", Tar::new().file("f", "x")).await;
    let before = (
        home.store.inspect("a:1").unwrap(),
        home.store.list(&ListFilter::default(), None).unwrap(),
    );
    // What a crash between two steps leaves: a blob that nothing points to, a symlink without a layer.
    fs::write(home.store.root().join("blobs/sha256").join("0".repeat(64)), "x").unwrap();
    home = reopen(home).await;
    let after = (
        home.store.inspect("a:1").unwrap(),
        home.store.list(&ListFilter::default(), None).unwrap(),
    );
    assert_eq!(before, after);
    assert_eq!(home.store.resolve("a:1").unwrap().layers, image.layers);
    assert!(!home.store.root().join("blobs/sha256").join("0".repeat(64)).exists());
    let second = image::Store::open(home.store.root(), image::RegistryConfig::default()).await;
    assert!(matches!(second.err(), Some(Error::InUse(_))));
}

#[tokio::test]
async fn a_layer_in_the_making_survives_a_prune() {
    let home = home().await;
    let layer =
        home.store.layer_from_tar(None, &Tar::new().file("f", "x").build()[..]).await.unwrap();
    home.store.prune(ListFilter::default(), vec![]).await.unwrap();
    let image = home.store.create_image(Commit::default(), Some(&layer)).await.unwrap();
    assert_eq!(image.layers, vec![layer.chain.clone()]);
}

#[tokio::test]
async fn bad_archives_change_nothing() {
    let home = home().await;
    let (sender, _all) = progress();
    let image = import(&home.store, "a:1", Tar::new().file("f", "content")).await;
    let saved = read(home.store.save(&["a:1".to_owned()]).unwrap()).await;
    home.store.remove("a:1", PLAIN, vec![]).await.unwrap();
    let spoilt = {
        let at = saved.windows(7).position(|window| window == b"content").unwrap();
        let mut bytes = saved.clone();
        bytes[at] = b'C';
        bytes
    };
    let err = home.store.load(&spoilt[..], sender.clone()).await.unwrap_err();
    assert!(err.to_string().starts_with("invalid diffID for layer 0: expected \"sha256:"), "{err}");
    for bad in [&saved[..saved.len() / 3], b"no tar at all", &Tar::new().file("x", "y").build()] {
        assert!(home.store.load(bad, sender.clone()).await.is_err());
    }
    assert!(home.store.images().is_empty());
    assert_eq!(leftovers(&home), Vec::<std::path::PathBuf>::new());
    let gz = {
        use std::io::Write;
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&saved).unwrap();
        gz.finish().unwrap()
    };
    assert_eq!(home.store.load(&gz[..], sender).await.unwrap()[0].id, image.id);
}

#[tokio::test]
async fn an_image_shares_its_layers_with_what_is_listed_and_not_with_its_nameless_parents() {
    let home = home().await;
    let below = import(&home.store, "base", Tar::new().file("f", "four")).await;
    let above = step(&home, &below, "a").await;
    home.store.tag(above.id.as_str(), "app").await.unwrap();
    assert_eq!(home.store.shared_sizes()[&above.id], below.size_bytes);
    home.store.remove("base", PLAIN, vec![]).await.unwrap();
    assert!(home.store.resolve(below.id.as_str()).is_ok(), "its child keeps it");
    assert_eq!(home.store.shared_sizes()[&above.id], 0);
}
