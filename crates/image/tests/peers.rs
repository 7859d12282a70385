//! Images between stores: the protocol's two ends, joined in one process, with nodes that die and lie.

#![allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]

mod common;

use async_trait::async_trait;
use bytes::Bytes;
use common::registry::{Door, registry};
use common::{Home, Tar, home, import, leftovers, progress, read, reopen};
use futures_util::StreamExt;
use http::{Method, Response};
use image::{
    ByteStream, Connection, ContainerUse, Image, ListFilter, Peers, PullOptions, PushOptions,
    Reference, Refused, Store,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use types::NodeId;

/// Some nodes, each of which reaches all others that are not dead.
#[derive(Default)]
struct Net(Mutex<State>);

#[derive(Default)]
struct State {
    stores: BTreeMap<NodeId, Store>,
    dead: BTreeSet<NodeId>,
    /// What services need; nobody tells when it is unset.
    needed: Option<Vec<String>>,
    /// Those whose pieces are not what they should be.
    liars: BTreeSet<NodeId>,
    /// Pieces that each node gave.
    given: BTreeMap<NodeId, usize>,
    /// Who dies after it has given so many.
    dies_after: Option<(NodeId, usize)>,
}

/// The net as one node sees it.
struct Seat(NodeId, Arc<Net>);

fn name(n: usize) -> NodeId {
    NodeId::new(format!("n{n}"))
}

impl Net {
    fn of(homes: &[&Home]) -> Arc<Net> {
        let net = Arc::new(Net::default());
        for (n, home) in homes.iter().enumerate() {
            net.0.lock().unwrap().stores.insert(name(n), home.store.clone());
            home.store.set_peers(Arc::new(Seat(name(n), net.clone())));
        }
        net
    }
    /// Lets go of the stores, so that they can be opened again.
    fn leave(&self) {
        self.state().stores.clear();
    }
    fn given(&self, n: usize) -> usize {
        self.0.lock().unwrap().given.get(&name(n)).copied().unwrap_or(0)
    }
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

#[async_trait]
impl Peers for Seat {
    fn me(&self) -> NodeId {
        self.0.clone()
    }
    async fn others(&self) -> Vec<NodeId> {
        self.1.state().stores.keys().filter(|node| **node != self.0).cloned().collect()
    }
    async fn needed(&self) -> io::Result<Vec<String>> {
        let state = self.1.state();
        state.needed.clone().ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
    async fn connect(&self, node: &NodeId) -> io::Result<Box<dyn Connection>> {
        match self.1.state().dead.contains(node) {
            true => Err(io::ErrorKind::ConnectionRefused.into()),
            false => Ok(Box::new(Wire(node.clone(), self.1.clone()))),
        }
    }
}

struct Wire(NodeId, Arc<Net>);

#[async_trait]
impl Connection for Wire {
    async fn ask(&mut self, method: Method, path: &str) -> io::Result<Response<ByteStream>> {
        let (store, lies) = {
            let mut state = self.1.state();
            if path.contains("/piece/") {
                let given = state.given.entry(self.0.clone()).or_default();
                *given += 1;
                let given = *given;
                if state.dies_after == Some((self.0.clone(), given)) {
                    state.dead.insert(self.0.clone());
                }
            }
            if state.dead.contains(&self.0) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let lies = state.liars.contains(&self.0) && path.contains("/piece/");
            (state.stores[&self.0].clone(), lies)
        };
        let answer = store.answer(&method, path).await;
        Ok(answer.map(|bytes| -> ByteStream {
            match lies {
                true => {
                    Box::pin(bytes.map(|chunk| chunk.map(|chunk| vec![b'!'; chunk.len()].into())))
                }
                false => bytes,
            }
        }))
    }
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..bytes).map(next).collect()
}

/// An image with a layer of several pieces.
async fn large(home: &Home, called: &str) -> Arc<Image> {
    let tar = Tar::new().dir("etc/").file("etc/name", called).bytes("big", &noise(5 << 20));
    import(&home.store, called, tar).await
}

async fn fetch(home: &Home, called: &str) -> Result<Option<Arc<Image>>, image::Error> {
    let (sender, _all) = progress();
    home.store.fetch(&reference(called), &PullOptions::default(), &sender).await
}

/// The whole image in one archive: made only if every layer's bytes are those of its diff id.
async fn saved(home: &Home, image: &Image) -> Vec<u8> {
    read(home.store.save(&[image.id.to_string()]).unwrap()).await
}

#[tokio::test]
async fn an_image_made_on_one_node_is_fetched_by_all_and_is_the_same() {
    let (one, two, three) = (home().await, home().await, home().await);
    let net = Net::of(&[&one, &two, &three]);
    let made = large(&one, "app:v1").await;
    let pinned = format!("app:v1@{}", made.id);

    let came = fetch(&two, &pinned).await.unwrap().unwrap();
    assert_eq!((&came.id, &came.layers), (&made.id, &made.layers));
    assert_eq!(two.store.resolve(&pinned).unwrap().id, made.id);
    assert!(two.store.resolve("app:v1").is_err(), "the tag is the other node's");
    assert_eq!(leftovers(&two), Vec::<std::path::PathBuf>::new());
    let big = two.store.layer_dirs(&came)[0].join("big");
    assert!(std::fs::read(big).unwrap() == noise(5 << 20));
    saved(&two, &came).await;

    // The one that fetched it is as good a source, though it has no blob of it either.
    net.state().dead.insert(name(0));
    let came = fetch(&three, &pinned).await.unwrap().unwrap();
    assert_eq!(came.id, made.id);
    assert!(net.given(1) >= 5);
    saved(&three, &came).await;
    assert_eq!(
        one.store.resolve(&pinned).unwrap().id,
        made.id,
        "pinned by its id where it was made"
    );
}

#[tokio::test]
async fn layers_from_elsewhere_travel_and_stay_as_the_blobs_they_came_as() {
    let (one, two) = (home().await, home().await);
    let net = Net::of(&[&one, &two]);
    let source = home().await;
    let made = large(&source, "app:v1").await;
    let archive = read(source.store.save(&["app:v1".to_owned()]).unwrap()).await;
    let (sender, _all) = progress();
    one.store.load(&archive[..], sender).await.unwrap();

    let came = fetch(&two, "app:v1").await.unwrap().unwrap();
    assert_eq!(came.id, made.id);
    assert_eq!(
        two.store.resolve("app:v1").unwrap().tagged,
        one.store.resolve("app:v1").unwrap().tagged
    );
    let (theirs, ours) = (one.store.layer(&made.layers[0]), two.store.layer(&made.layers[0]));
    let blob = theirs.unwrap().blob.clone();
    assert!(blob.is_some() && ours.unwrap().blob == blob);
    // It is still there after a restart and a collection.
    net.leave();
    let two = reopen(two).await;
    saved(&two, &came).await;
}

#[tokio::test]
async fn what_no_node_has_is_told_at_once_and_what_is_gone_half_way_is_kept_for_later() {
    let (one, two, three) = (home().await, home().await, home().await);
    let net = Net::of(&[&one, &two, &three]);
    assert!(fetch(&two, "ghost:1").await.unwrap().is_none());
    let made = large(&one, "app:v1").await;
    let pinned = format!("app@{}", made.id);
    fetch(&three, &pinned).await.unwrap().unwrap();

    // The first dies while it sends: the rest comes from the third.
    let before = net.given(0);
    net.state().dies_after = Some((name(0), before + 2));
    assert_eq!(fetch(&two, &pinned).await.unwrap().unwrap().id, made.id);
    assert!(net.given(2) >= 3, "the third gave {} pieces", net.given(2));
}

#[tokio::test]
async fn a_fetch_goes_on_where_an_earlier_one_was_cut() {
    let (one, two) = (home().await, home().await);
    let net = Net::of(&[&one, &two]);
    let made = large(&one, "app:v1").await;
    let pinned = reference(&format!("app@{}", made.id));
    let before_it_dies = 4;
    net.state().dies_after = Some((name(0), before_it_dies));
    let (store, wanted) = (two.store.clone(), pinned.clone());
    let cut = tokio::spawn(async move {
        let (sender, _all) = progress();
        store.fetch(&wanted, &PullOptions::default(), &sender).await.map(|image| image.is_some())
    });
    while !net.state().dead.contains(&name(0)) {
        tokio::task::yield_now().await;
    }
    cut.abort();
    assert!(cut.await.unwrap_err().is_cancelled());
    net.leave();
    let two = reopen(two).await;
    let again = Net::of(&[&one, &two]);
    let came = fetch(&two, &pinned.to_string()).await.unwrap().unwrap();
    assert_eq!(came.id, made.id);
    // Six pieces in all; at least one had come before.
    assert!(again.given(0) < 6, "{} pieces were sent again", again.given(0));
    saved(&two, &came).await;
}

#[tokio::test]
async fn wrong_bytes_are_thrown_away_and_asked_of_another() {
    let (one, two, three) = (home().await, home().await, home().await);
    let net = Net::of(&[&one, &two, &three]);
    let made = large(&one, "app:v1").await;
    let pinned = format!("app@{}", made.id);
    fetch(&three, &pinned).await.unwrap().unwrap();
    net.state().liars.insert(name(2));
    let came = fetch(&two, &pinned).await.unwrap().unwrap();
    saved(&two, &came).await;

    // Nobody else has it: nothing is named, and nothing stays.
    net.state().dead.insert(name(0));
    let four = home().await;
    net.state().stores.insert(name(3), four.store.clone());
    four.store.set_peers(Arc::new(Seat(name(3), net.clone())));
    net.state().liars.insert(name(1));
    let refused = fetch(&four, &pinned).await.unwrap_err();
    assert!(refused.to_string().contains("verification failed"), "{refused}");
    assert!(four.store.images().is_empty());
    assert_eq!(leftovers(&four), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn many_that_begin_together_all_get_it() {
    let homes = [home().await, home().await, home().await, home().await, home().await];
    let net = Net::of(&homes.each_ref());
    let made = large(&homes[0], "app:v1").await;
    let pinned = format!("app@{}", made.id);
    let fetched = homes[1..].iter().map(|home| fetch(home, &pinned));
    for came in futures_util::future::join_all(fetched).await {
        assert_eq!(came.unwrap().unwrap().id, made.id);
    }
    // Five nodes, four copies; who gave them is left to the moment.
    assert!((0..5).map(|n| net.given(n)).sum::<usize>() >= 4 * 6);
}

#[tokio::test]
async fn nodes_that_pull_together_share_what_a_registry_gives() {
    let registry = registry(None).await;
    let maker = home().await;
    let pushed = registry.name("team/app:v1");
    let made = large(&maker, &pushed.familiar()).await;
    let (sender, _all) = progress();
    maker.store.push(&pushed, &PushOptions::default(), &sender).await.unwrap();

    let door = Door::before(&registry).await;
    let homes = [home().await, home().await, home().await, home().await];
    let net = Net::of(&homes.each_ref());
    let name = door.name("team/app:v1");
    let pulls = homes.iter().map(|home| async {
        let (sender, _all) = progress();
        home.store.pull(&name, &PullOptions::default(), &sender).await
    });
    for pulled in futures_util::future::join_all(pulls).await {
        assert_eq!(pulled.unwrap().image.id, made.id);
    }
    // All ask what the name means; the layer comes from the registry to one, and from there to the others.
    let blobs = std::fs::read_dir(homes[0].store.root().join("blobs/sha256")).unwrap().flatten();
    let layer = blobs.max_by_key(|blob| blob.metadata().unwrap().len()).unwrap();
    let layer = format!("sha256:{}", layer.file_name().to_string_lossy());
    let asked = door.asked(&layer);
    assert!((1..homes.len()).contains(&asked), "asked {asked} times");
    assert!((0..homes.len()).map(|n| net.given(n)).sum::<usize>() > 0);
}

#[tokio::test]
async fn a_tag_means_the_image_that_was_named_last() {
    let (one, two, three) = (home().await, home().await, home().await);
    let _net = Net::of(&[&one, &two, &three]);
    let old = import(&one.store, "app:v1", Tar::new().file("version", "1")).await;
    let app = reference("app:v1");
    assert_eq!(fetch(&three, "app:v1").await.unwrap().unwrap().id, old.id);
    assert!(!three.store.is_outdated(&app).await);
    let new = import(&two.store, "app:v1", Tar::new().file("version", "2")).await;
    assert!(three.store.is_outdated(&app).await);
    assert!(!two.store.is_outdated(&app).await);
    assert_eq!(three.store.meant_elsewhere(&app).await.unwrap().id, new.id);
    assert_eq!(one.store.meant_here(&app).await.unwrap().unwrap().id, old.id);
    assert_eq!(fetch(&three, "app:v1").await.unwrap().unwrap().id, new.id);
    assert_eq!(three.store.resolve("app:v1").unwrap().id, new.id);
}

/// A removed layer is forgotten by whoever serves it.
#[tokio::test]
async fn what_was_removed_is_offered_no_more() {
    let (one, two) = (home().await, home().await);
    let _net = Net::of(&[&one, &two]);
    let made = large(&one, "app:v1").await;
    let pinned = format!("app@{}", made.id);
    fetch(&two, &pinned).await.unwrap().unwrap();
    let filter = ListFilter { dangling: Some(false), ..ListFilter::default() };
    one.store.prune(filter, Vec::<ContainerUse>::new()).await.unwrap();
    let have = format!("{}have/{}", image::PEERS_PATH, made.config.rootfs.diff_ids[0]);
    assert_eq!(one.store.answer(&Method::GET, &have).await.status(), 404);
    assert_eq!(two.store.answer(&Method::GET, &have).await.status(), 200);
}

#[tokio::test]
async fn nonsense_is_not_answered() {
    let one = home().await;
    for path in
        ["", "x", "offer", "offer?name=", "offer?name=A B", "have/x", "have/../lock", "piece/x/1"]
    {
        let path = format!("{}{path}", image::PEERS_PATH);
        assert_eq!(one.store.answer(&Method::GET, &path).await.status(), 404, "{path}");
    }
    let post = one.store.answer(&Method::POST, image::PEERS_PATH).await;
    assert_eq!(post.status(), 405);
}

#[tokio::test]
async fn copies_are_made_until_there_are_as_many_as_were_asked_for() {
    let homes = [home().await, home().await, home().await, home().await];
    let net = Net::of(&homes.each_ref());
    let made = large(&homes[0], "app:v1").await;
    let (sender, _all) = progress();
    assert_eq!(homes[0].store.spread("app:v1", 2, &sender).await.unwrap(), 2);
    let having = || homes.iter().filter(|home| home.store.resolve("app:v1").is_ok()).count();
    assert_eq!(having(), 2);
    // Those that have it count: whoever asks, and however often.
    let with = homes.iter().rposition(|home| home.store.resolve("app:v1").is_ok()).unwrap();
    assert_eq!(homes[with].store.spread("app:v1", 2, &sender).await.unwrap(), 2);
    assert_eq!(having(), 2);
    assert_eq!(homes[0].store.spread("app:v1", 0, &sender).await.unwrap(), 4);
    for home in &homes {
        assert_eq!(home.store.resolve("app:v1").unwrap().id, made.id);
    }

    net.state().dead.insert(name(3));
    let few = homes[0].store.spread("app:v1", 5, &sender).await.unwrap_err().to_string();
    assert_eq!(few, "3 of 5 copies could be made: no other node takes one");
    let none = homes[0].store.spread("ghost", 2, &sender).await.unwrap_err().to_string();
    assert_eq!(none, "No such image: ghost:latest");
}

#[tokio::test]
async fn what_services_need_is_known_by_pin_and_by_tag_with_the_versions_beside_it() {
    let one = home().await;
    let net = Net::of(&[&one]);
    let mut ids = Vec::new();
    for version in ["1", "2", "3", "4"] {
        let tar = Tar::new().file("version", version);
        ids.push(import(&one.store, &format!("app:{version}"), tar).await.id.clone());
    }
    let other = import(&one.store, "other:1", Tar::new().file("other", "1")).await.id.clone();
    let untold = one.store.needed(1).await.unwrap_err();
    assert!(untold.to_string().contains("nothing is removed"), "{untold}");

    let needed = async |names: &[String], keep| {
        net.state().needed = Some(names.to_vec());
        one.store.needed(keep).await.unwrap()
    };
    let set = |ids: &[&types::ImageId]| ids.iter().map(|id| (*id).clone()).collect();
    assert_eq!(needed(&[], 9).await, BTreeSet::new());
    assert_eq!(needed(&[format!("app:1@{}", ids[0])], 0).await, set(&[&ids[0]]));
    assert_eq!(needed(&["app:1".to_owned()], 2).await, set(&[&ids[0], &ids[2], &ids[3]]));
    assert_eq!(needed(&["other:1".to_owned()], 1).await, set(&[&other]));

    let filter = ListFilter {
        dangling: Some(false),
        except: needed(&["app:1".to_owned()], 1).await,
        ..ListFilter::default()
    };
    one.store.prune(filter, Vec::new()).await.unwrap();
    let left: BTreeSet<_> = one.store.images().iter().map(|image| image.id.clone()).collect();
    assert_eq!(left, set(&[&ids[0], &ids[3]]));
}

/// Pushes what `archive` holds into the store by hand, as a client does.
async fn upload(home: &Home, bytes: &[u8]) -> Result<image::Digest, Refused> {
    let id = home.store.begin_upload().await?;
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    let chunk = |bytes: &[u8]| {
        let bytes = Bytes::copy_from_slice(bytes);
        futures_util::stream::iter([Ok::<_, io::Error>(bytes)])
    };
    assert_eq!(home.store.append_upload(&id, Some(0), chunk(first)).await?, first.len() as u64);
    let gap = home.store.append_upload(&id, Some(7), chunk(rest)).await.unwrap_err();
    assert!(matches!(gap, Refused::Range(have) if have == first.len() as u64));
    home.store.append_upload(&id, None, chunk(rest)).await?;
    let digest = image::Digest::of(bytes);
    home.store.finish_upload(&id, &digest).await?;
    Ok(digest)
}

fn manifest(config: (&image::Digest, usize), layer: (&image::Digest, usize)) -> Bytes {
    let part = |kind: &str, (digest, size): (&image::Digest, usize)| serde_json::json!({ "mediaType": kind, "digest": digest, "size": size });
    let document = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": part("application/vnd.oci.image.config.v1+json", config),
        "layers": [part("application/vnd.oci.image.layer.v1.tar", layer)],
    });
    document.to_string().into()
}

#[tokio::test]
async fn what_is_pushed_is_served_byte_for_byte_by_whoever_has_a_copy() {
    let (one, two) = (home().await, home().await);
    let net = Net::of(&[&one, &two]);
    let layer = Tar::new().file("a", "a").build();
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64",
        "rootfs": { "type": "layers", "diff_ids": [image::Digest::of(&layer)] },
    });
    let config = config.to_string();
    let (name, by_tag) = (reference("h:5000/app"), reference("h:5000/app:v1"));

    let early = manifest((&image::Digest::of(b"x"), 1), (&image::Digest::of(b"y"), 1));
    assert!(matches!(one.store.host(&by_tag, early).await, Err(Refused::UnknownBlob(_))));
    let layer_digest = upload(&one, &layer).await.unwrap();
    let config_digest = upload(&one, config.as_bytes()).await.unwrap();
    let whole = manifest((&config_digest, config.len()), (&layer_digest, layer.len()));
    // Its layer for a configuration: refused, and nothing is named.
    let twisted = manifest((&layer_digest, layer.len()), (&config_digest, config.len()));
    assert!(matches!(one.store.host(&by_tag, twisted).await, Err(Refused::Manifest(_))));
    assert!(one.store.images().is_empty());

    let digest = one.store.host(&by_tag, whole.clone()).await.unwrap();
    assert_eq!(one.store.resolve("h:5000/app:v1").unwrap().id.as_str(), config_digest.as_str());
    assert_eq!(one.store.hosted_tags(&name), ["v1"]);
    let (sender, _all) = progress();
    assert_eq!(one.store.spread("h:5000/app:v1", 2, &sender).await.unwrap(), 2);
    assert_eq!(two.store.tags_in_cluster(&name).await, ["v1"]);
    for home in [&one, &two] {
        for asked in [by_tag.clone(), name.with_digest(&digest)] {
            let hosted = home.store.hosted(&asked).await.unwrap().unwrap();
            assert_eq!((hosted.bytes, hosted.digest), (whole.clone(), digest.clone()));
        }
        assert_eq!(home.store.blob_size(&layer_digest).await.unwrap(), Some(layer.len() as u64));
        let part = home.store.blob(&layer_digest, 3, 9).await.unwrap().unwrap();
        assert!(read(part).await == layer[3..12]);
    }
    // By its digest, which the manifest proves to a node that knows nothing yet.
    let three = home().await;
    net.state().stores.insert(NodeId::new("n2".to_owned()), three.store.clone());
    three.store.set_peers(Arc::new(Seat(NodeId::new("n2".to_owned()), net.clone())));
    let pinned = name.with_digest(&digest).to_string();
    assert_eq!(fetch(&three, &pinned).await.unwrap().unwrap().id.as_str(), config_digest.as_str());
    let other = name.with_digest(&config_digest).to_string();
    assert!(fetch(&three, &other).await.unwrap().is_some(), "and by its id");
    let none = one.store.hosted(&reference("h:5000/app:v2")).await.unwrap();
    assert!(none.is_none());
}

#[tokio::test]
async fn an_image_that_was_never_pushed_gets_a_manifest() {
    let one = home().await;
    let made = large(&one, "h:5000/app:v1").await;
    let by_tag = reference("h:5000/app:v1");
    let hosted = one.store.hosted(&by_tag).await.unwrap().unwrap();
    let again = one.store.hosted(&by_tag).await.unwrap().unwrap();
    assert_eq!(hosted.digest, again.digest);
    let by_digest = by_tag.with_digest(&hosted.digest);
    assert_eq!(one.store.hosted(&by_digest).await.unwrap().unwrap().bytes, hosted.bytes);
    let document: serde_json::Value = serde_json::from_slice(&hosted.bytes).unwrap();
    let layer = &document["layers"][0];
    let digest = image::Digest::parse(layer["digest"].as_str().unwrap()).unwrap();
    let size = one.store.blob_size(&digest).await.unwrap().unwrap();
    assert_eq!(layer["size"].as_u64(), Some(size));
    let whole = read(one.store.blob(&digest, 0, size).await.unwrap().unwrap()).await;
    assert_eq!(image::Digest::of(&whole).as_str(), made.config.rootfs.diff_ids[0]);
}

#[tokio::test]
async fn uploads_are_refused_in_order() {
    let one = home().await;
    for id in ["", "../../lock", "0123456789abcdef0123456789abcdef"] {
        let size = one.store.upload_size(id).await;
        assert!(matches!(size, Err(Refused::UnknownUpload)), "{id}");
    }
    let id = one.store.begin_upload().await.unwrap();
    let wrong = one.store.finish_upload(&id, &image::Digest::of(b"other")).await;
    assert!(matches!(wrong, Err(Refused::WrongDigest)));
    assert!(matches!(one.store.upload_size(&id).await, Err(Refused::UnknownUpload)));
    let id = one.store.begin_upload().await.unwrap();
    let one = reopen(one).await;
    assert_eq!(one.store.upload_size(&id).await.unwrap(), 0, "it survives the daemon");
    one.store.cancel_upload(&id).await.unwrap();
    assert_eq!(leftovers(&one), Vec::<std::path::PathBuf>::new());
}
