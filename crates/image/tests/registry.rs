//! Pull and push against a real registry (Debian's docker-registry on loopback), with skopeo as the peer.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests: a failure is a panic")]

mod common;

use common::registry::{Registry, registry};
use common::{Home, Tar, home, home_with, import, leftovers, progress, read};
use image::{Error, Platform, PullOptions, PushOptions, Reference, RegistryConfig};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use types::image::AuthConfig;

/// bcrypt of `secret` for `me`.
const HTPASSWD: &str = "me:$2y$05$";

fn words(all: &[image::Progress]) -> Vec<String> {
    let text = |message: &image::Progress| match (&message.id, &message.status) {
        (Some(id), Some(status)) => format!("{id}: {status}"),
        (None, Some(status)) => status.clone(),
        _ => String::new(),
    };
    all.iter().map(text).collect()
}

async fn push(home: &Home, name: &Reference, auth: AuthConfig) -> Result<Vec<String>, Error> {
    let (sender, all) = progress();
    home.store.push(name, &PushOptions { auth }, &sender).await?;
    drop(sender);
    Ok(words(&all.await.unwrap()))
}

async fn pull(home: &Home, name: &Reference, options: PullOptions) -> Result<Vec<String>, Error> {
    let (sender, all) = progress();
    let outcome = home.store.pull(name, &options, &sender).await?;
    for message in outcome.closing(name) {
        sender.send(message).await.unwrap();
    }
    drop(sender);
    Ok(words(&all.await.unwrap()))
}

fn skopeo(args: &[&str]) {
    let done = Command::new("skopeo").args(["--insecure-policy"]).args(args).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn chain(err: &Error) -> String {
    errdefs::chain(err)
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u32;
    (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

#[tokio::test]
async fn what_is_pushed_can_be_pulled_and_both_tell_it_in_dockers_words() {
    let registry = registry(None).await;
    let (here, there) = (home().await, home().await);
    let name = registry.name("team/app:v1");
    let image =
        import(&here.store, &name.familiar(), Tar::new().bytes("big", &noise(2 << 20))).await;
    let short = image.config.rootfs.diff_ids[0]["sha256:".len()..][..12].to_owned();

    let told = push(&here, &name, AuthConfig::default()).await.unwrap();
    assert_eq!(
        told[0],
        format!("The push refers to repository [127.0.0.1:{}/team/app]", registry.port)
    );
    assert_eq!(told[1], format!("{short}: Preparing"));
    assert!(
        told.contains(&format!("{short}: Pushing")) && told.contains(&format!("{short}: Pushed"))
    );
    let closing = told.iter().find(|line| line.starts_with("v1: digest: sha256:")).unwrap();
    assert!(closing.contains(" size: "), "{closing}");
    let again = push(&here, &name, AuthConfig::default()).await.unwrap();
    assert!(again.contains(&format!("{short}: Layer already exists")), "{again:?}");

    let told = pull(&there, &name, PullOptions::default()).await.unwrap();
    assert_eq!(told[0], "v1: Pulling from team/app");
    for state in [
        "Pulling fs layer",
        "Downloading",
        "Verifying Checksum",
        "Download complete",
        "Extracting",
        "Pull complete",
    ] {
        assert!(told.iter().any(|line| line.ends_with(&format!(": {state}"))), "{state}: {told:?}");
    }
    assert!(told[told.len() - 2].starts_with("Digest: sha256:"));
    assert_eq!(
        told[told.len() - 1],
        format!("Status: Downloaded newer image for {}", name.familiar())
    );
    let told = pull(&there, &name, PullOptions::default()).await.unwrap();
    assert_eq!(
        told[told.len() - 1],
        format!("Status: Image is up to date for {}", name.familiar())
    );

    let pulled = there.store.inspect(&name.familiar()).unwrap();
    assert_eq!(pulled.id, image.id);
    assert_eq!(pulled.repo_digests, here.store.inspect(&name.familiar()).unwrap().repo_digests);
    // By digest too, and mounted from there into another repository.
    let digest = Reference::parse(&pulled.repo_digests[0]).unwrap();
    pull(&home().await, &digest, PullOptions::default()).await.unwrap();
    let other = registry.name("other/app:v2");
    there.store.tag(&name.familiar(), &other.familiar()).await.unwrap();
    let told = push(&there, &other, AuthConfig::default()).await.unwrap();
    assert!(told.contains(&format!("{short}: Mounted from team/app")), "{told:?}");
    assert_eq!(leftovers(&there), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn zstd_layers_and_multi_platform_indexes_are_understood() {
    let registry = registry(None).await;
    let home = home().await;
    let name = registry.name("a:gz");
    import(&home.store, &name.familiar(), Tar::new().dir("etc").file("etc/os-release", "x")).await;
    push(&home, &name, AuthConfig::default()).await.unwrap();
    let (from, to) = (format!("docker://{name}"), registry.name("a:zstd"));
    let zstd = format!("docker://{to}");
    skopeo(
        &[
            "copy",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            "--dest-compress-format",
            "zstd",
            "--dest-force-compress-format",
            "-f",
            "oci",
            &from,
            &zstd,
        ]
        .iter()
        .filter(|arg| **arg != "--dest-force-compress-format")
        .copied()
        .collect::<Vec<_>>(),
    );
    let there = common::home().await;
    pull(&there, &to, PullOptions::default()).await.unwrap();
    let rw =
        there.store.create_rw("c", &there.store.resolve(&to.familiar()).unwrap().id).await.unwrap();
    assert!(rw.mount().await.unwrap().join("etc/os-release").exists());
    rw.remove().await.unwrap();

    // An index of two platforms, put together by hand.
    let raw = |tag: &str| {
        let reference = format!("docker://{}", registry.name(&format!("a:{tag}")));
        Command::new("skopeo")
            .args(["inspect", "--raw", "--tls-verify=false", &reference])
            .output()
            .unwrap()
            .stdout
    };
    let (mine, other) = (raw("gz"), raw("zstd"));
    let entry = |bytes: &[u8], arch: &str| {
        let kind: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        serde_json::json!({ "mediaType": kind["mediaType"], "digest": image::Digest::of(bytes), "size": bytes.len(),
            "platform": { "os": "linux", "architecture": arch } })
    };
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry(&other, "s390x"), entry(&mine, &Platform::host().architecture)] });
    put_manifest(&registry, "a", "multi", &index.to_string()).await;
    let multi = registry.name("a:multi");
    let third = common::home().await;
    pull(&third, &multi, PullOptions::default()).await.unwrap();
    let digests = third.store.inspect(&multi.familiar()).unwrap().repo_digests;
    assert!(digests[0].ends_with(image::Digest::of(index.to_string().as_bytes()).as_str()));
    let wanted =
        PullOptions { platform: Platform::parse("linux/arm/v7"), ..PullOptions::default() };
    let err = pull(&third, &multi, wanted).await.unwrap_err();
    assert_eq!(chain(&err), "no matching manifest for linux/arm/v7 in the manifest list entries");
}

/// A PUT by hand, since no tool here writes indexes.
async fn put_manifest(registry: &Registry, repository: &str, tag: &str, body: &str) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", registry.port)).await.unwrap();
    let request = format!(
        "PUT /v2/{repository}/manifests/{tag} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 201"), "{reply}");
}

#[tokio::test]
async fn a_registry_with_passwords_takes_the_right_one_only() {
    let hash = Command::new("python3")
        .args(["-c", "import crypt; print(crypt.crypt('secret', '$2b$05$abcdefghijklmnopqrstuu'))"])
        .output()
        .unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap();
    let line = format!("me:{}", hash.trim());
    assert!(line.starts_with(&HTPASSWD[..5]), "{line}");
    let registry = registry(Some(&line)).await;
    let home = home().await;
    let name = registry.name("x:1");
    import(&home.store, &name.familiar(), Tar::new().file("f", "x")).await;
    let as_user = |password: &str| AuthConfig {
        username: "me".to_owned(),
        password: password.to_owned(),
        ..AuthConfig::default()
    };
    let login = async |scheme: &str, password: &str| {
        let serveraddress = format!("{scheme}127.0.0.1:{}", registry.port);
        let auth = AuthConfig { serveraddress, ..as_user(password) };
        home.store.login(&auth).await.map_err(|err| (chain(&err), errdefs::Classify::kind(&err)))
    };
    assert_eq!(login("", "secret").await, Ok(()));
    assert_eq!(login("http://", "secret").await, Ok(()));
    let url = format!("http://127.0.0.1:{}/v2/", registry.port);
    let refused = format!("login attempt to {url} failed with status: 401 Unauthorized");
    assert_eq!(login("", "wrong").await, Err((refused, errdefs::ErrorKind::Unauthorized)));
    push(&home, &name, as_user("secret")).await.unwrap();
    let pull_as = async |auth| pull(&home, &name, PullOptions { auth, platform: None }).await;
    pull_as(as_user("secret")).await.unwrap();
    let err = pull_as(as_user("wrong")).await.unwrap_err();
    assert_eq!(chain(&err), "unauthorized: authentication required");
    let err = pull_as(AuthConfig::default()).await.unwrap_err();
    assert!(chain(&err).ends_with("/v2/x/manifests/1\": no basic auth credentials"), "{err}");
}

#[tokio::test]
async fn refusals_are_dockers() {
    let registry = registry(None).await;
    let home = home().await;
    let err = pull(&home, &registry.name("nope:v9"), PullOptions::default()).await.unwrap_err();
    let want = format!(
        "manifest for 127.0.0.1:{}/nope:v9 not found: manifest unknown: manifest unknown",
        registry.port
    );
    assert_eq!((chain(&err), errdefs::Classify::kind(&err)), (want, errdefs::ErrorKind::NotFound));
    let closed = Reference::parse("127.0.0.1:1/x").unwrap();
    let err = pull(&home, &closed, PullOptions::default()).await.unwrap_err();
    assert_eq!(
        chain(&err),
        "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused"
    );
    let err = push(&home, &registry.name("nope:v9"), AuthConfig::default()).await.unwrap_err();
    assert!(chain(&err).contains("does not exist"), "{err}");
    assert_eq!(leftovers(&home), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_corrupt_blob_is_refused_and_leaves_nothing() {
    let registry = registry(None).await;
    let (here, there) = (home().await, home().await);
    let name = registry.name("x:1");
    let image = import(&here.store, &name.familiar(), Tar::new().bytes("f", &noise(100_000))).await;
    push(&here, &name, AuthConfig::default()).await.unwrap();
    let blob = here.store.layer(&image.layers[0]).unwrap().blob.clone().unwrap();
    let mut bytes = fs::read(registry.blob(blob.digest.as_str())).unwrap();
    bytes[50_000] ^= 1;
    fs::write(registry.blob(blob.digest.as_str()), bytes).unwrap();
    let err = pull(&there, &name, PullOptions::default()).await.unwrap_err();
    assert_eq!(
        chain(&err),
        format!("filesystem layer verification failed for digest {}", blob.digest)
    );
    assert!(there.store.images().is_empty() && there.store.resolve(&name.familiar()).is_err());
    assert_eq!(leftovers(&there), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_cut_download_goes_on_where_it_stopped() {
    let registry = registry(None).await;
    let (here, there) = (home().await, home().await);
    let name = registry.name("x:1");
    let image = import(&here.store, &name.familiar(), Tar::new().bytes("f", &noise(3 << 20))).await;
    push(&here, &name, AuthConfig::default()).await.unwrap();
    let (port, seen) = cutting_proxy(registry.port, 1 << 20).await;
    let through = Reference::parse(&format!("127.0.0.1:{port}/x:1")).unwrap();
    pull(&there, &through, PullOptions::default()).await.unwrap();
    assert_eq!(there.store.resolve(&through.familiar()).unwrap().id, image.id);
    let ranges: Vec<String> = seen.lock().unwrap().clone();
    assert!(ranges.len() >= 2, "cut at each MiB, asked for the rest: {ranges:?}");
    assert!(
        ranges.windows(2).all(|pair| pair[0] != pair[1]),
        "no byte was fetched twice: {ranges:?}"
    );
}

type Seen = std::sync::Arc<std::sync::Mutex<Vec<String>>>;

/// Forwards to `port`, and cuts each connection after `limit` bytes of reply. Returns the ranges asked for.
async fn cutting_proxy(port: u16, limit: usize) -> (u16, Seen) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let ranges = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let ranges = ranges.clone();
            tokio::spawn(async move {
                let mut head = vec![0; 8192];
                let n = client.read(&mut head).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&head[..n]).to_lowercase();
                if let Some(at) = text.find("range: ") {
                    ranges
                        .lock()
                        .unwrap()
                        .push(text[at..].lines().next().unwrap_or_default().to_owned());
                }
                let mut server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                if server.write_all(&head[..n]).await.is_err() {
                    return;
                }
                let mut sent = 0;
                let mut chunk = vec![0; 16 * 1024];
                while sent < limit {
                    match server.read(&mut chunk).await {
                        Ok(n) if n > 0 && client.write_all(&chunk[..n]).await.is_ok() => sent += n,
                        _ => return,
                    }
                }
            });
        }
    });
    (own, seen)
}

#[tokio::test]
async fn a_registry_without_a_search_is_searched_by_its_catalog() {
    let registry = registry(None).await;
    let home = home().await;
    for name in ["team/web:1", "team/db:1", "web:1"] {
        let name = registry.name(name);
        import(&home.store, &name.familiar(), Tar::new().bytes("a", b"1")).await;
        push(&home, &name, AuthConfig::default()).await.unwrap();
    }
    let host = format!("127.0.0.1:{}", registry.port);
    let names = async |words: &str, limit| {
        let term = format!("{host}/{words}");
        let found = home.store.search(&term, limit, &AuthConfig::default()).await.unwrap();
        found.into_iter().map(|hit| hit.name.replace(&host, "R")).collect::<Vec<_>>()
    };
    assert_eq!(names("web", 25).await, ["R/team/web", "R/web"]);
    assert_eq!(names("web", 1).await, ["R/team/web"]);
    assert!(names("nothing", 25).await.is_empty());
}

#[tokio::test]
async fn a_mirror_serves_docker_hubs_images() {
    let registry = registry(None).await;
    let here = home().await;
    let name = registry.name("library/tiny:latest");
    let image = import(&here.store, &name.familiar(), Tar::new().file("f", "x")).await;
    push(&here, &name, AuthConfig::default()).await.unwrap();
    let mirrors = vec![format!("http://127.0.0.1:{}", registry.port)];
    let there = home_with(RegistryConfig { mirrors, ..RegistryConfig::default() }).await;
    let hub = Reference::parse("tiny").unwrap();
    let told = pull(&there, &hub, PullOptions::default()).await.unwrap();
    assert_eq!(told[0], "latest: Pulling from library/tiny");
    assert_eq!(there.store.resolve("tiny").unwrap().id, image.id);
}

#[tokio::test]
async fn skopeo_and_we_read_each_others_archives() {
    let home = home().await;
    let first = import(&home.store, "one:1", Tar::new().dir("a").file("a/x", "1")).await;
    let work = tempfile::tempdir().unwrap();
    let file = |name: &str| work.path().join(name).display().to_string();
    let saved = read(home.store.save(&["one:1".to_owned()]).unwrap()).await;
    fs::write(file("saved.tar"), &saved).unwrap();
    skopeo(&[
        "copy",
        &format!("docker-archive:{}", file("saved.tar")),
        &format!("oci-archive:{}:two:2", file("oci.tar")),
    ]);
    skopeo(&[
        "copy",
        &format!("oci-archive:{}", file("saved.tar")),
        &format!("docker-archive:{}:three:3", file("docker.tar")),
    ]);
    for (archive, name) in [("saved.tar", "one:1"), ("oci.tar", "two:2"), ("docker.tar", "three:3")]
    {
        let there = common::home().await;
        let (sender, all) = progress();
        let bytes = fs::read(file(archive)).unwrap();
        let loaded = there.store.load(&bytes[..], sender).await.unwrap();
        assert_eq!(loaded[0].config.rootfs, first.config.rootfs, "{archive}");
        let told = all.await.unwrap();
        let last = told.last().unwrap().stream.clone().unwrap();
        assert_eq!(last, format!("Loaded image: {name}\n"));
        // What was loaded is saved byte for byte as before.
        if archive == "saved.tar" {
            assert_eq!(read(there.store.save(&["one:1".to_owned()]).unwrap()).await, saved);
        }
        assert_eq!(leftovers(&there), Vec::<PathBuf>::new());
    }
}
