//! What `--mount` binds beside directories: parts of volumes, and images; and images that come from a URL.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use testkit::{Daemon, Options, eventually};

fn started() -> Daemon {
    Daemon::start(Options::with_images(&["busybox"]))
}

/// Whether anything of an image that containers mount is left.
fn mounted_images(daemon: &Daemon) -> Vec<String> {
    let layers = std::fs::read_dir(daemon.data_root().join("image/rw")).unwrap();
    let names = layers.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains('.')).collect()
}

#[test]
fn an_image_is_mounted_read_only_through_restarts_and_goes_with_its_container() {
    let mut daemon = started();
    let context = tar_of(&daemon, "dir/file", "inside\n");
    daemon.docker_with(&["import", "-", "files"], &context).ok();
    let body = serde_json::json!({
        "Image": "busybox",
        "Cmd": ["sh", "-c", "cat /all/dir/file /part/file; touch /all/x; sleep 86400"],
        "HostConfig": { "Mounts": [
            { "Type": "image", "Source": "files", "Target": "/all" },
            { "Type": "image", "Source": "files", "Target": "/part", "ImageOptions": { "Subpath": "dir" } },
        ] },
    });
    let made = daemon.post("/v1.51/containers/create?name=alpha", &body);
    assert_eq!(made.status, 201, "{}", made.text());
    daemon.docker(&["start", "alpha"]).ok();
    eventually("it has read both", || {
        daemon.docker(&["logs", "alpha"]).ok().contains("inside\ninside").then_some(())
    });
    eventually("it could not write", || {
        daemon.docker(&["logs", "alpha"]).stderr.contains("Read-only").then_some(())
    });
    let shown = daemon.get("/v1.51/containers/alpha/json").json();
    let mount = &shown["Mounts"][0];
    assert_eq!(
        (&mount["Type"], &mount["Name"], &mount["RW"]),
        (&"image".into(), &"files".into(), &false.into())
    );

    let kept = daemon.docker(&["rmi", "files"]);
    let refusal = "(must force) - container";
    assert!(kept.status != 0 && kept.stderr.contains(refusal), "{}", kept.stderr);

    daemon.kill9();
    daemon.again();
    assert_eq!(daemon.docker(&["exec", "alpha", "cat", "/part/file"]).ok(), "inside");
    daemon.docker(&["stop", "-t", "0", "alpha"]).ok();
    assert_eq!(
        daemon.docker(&["cp", "alpha:/all/dir/file", "-"]).ok().matches("inside").count(),
        1
    );
    daemon.docker(&["start", "alpha"]).ok();
    assert_eq!(mounted_images(&daemon).len(), 2);
    daemon.docker(&["rm", "-f", "alpha"]).ok();
    eventually("its images are let go", || mounted_images(&daemon).is_empty().then_some(()));
}

#[test]
fn a_volumes_part_is_mounted_and_a_symlink_does_not_lead_out_of_it() {
    let daemon = started();
    let script = "mkdir /v/sub; echo part > /v/sub/file; ln -s /etc /v/out; ln -s sub /v/in";
    daemon.docker(&["run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", script]).ok();
    let run = |subpath: &str| {
        let body = serde_json::json!({
            "Image": "busybox",
            "Cmd": ["cat", "/t/file"],
            "HostConfig": { "Mounts": [{
                "Type": "volume", "Source": "vol", "Target": "/t", "VolumeOptions": { "Subpath": subpath },
            }] },
        });
        let made = daemon.post("/v1.51/containers/create", &body);
        let id = made.json()["Id"].as_str().unwrap_or_default().to_owned();
        (made, daemon.docker(&["start", "-a", &id]))
    };
    for inside in ["sub", "in"] {
        assert_eq!(run(inside).1.ok(), "part");
    }
    let refusals = [
        ("out", "path concatenation escapes the base directory"),
        ("nowhere", "cannot access path"),
    ];
    for (outside, refusal) in refusals {
        let (made, started) = run(outside);
        assert_eq!(made.status, 201);
        assert!(started.stderr.contains(refusal), "{}", started.stderr);
    }
    assert_eq!(run("../x").0.status, 400);
}

/// A `/dev` that is bound stays as it is: nothing is made in it, also not in the host's.
#[test]
fn a_bound_dev_is_the_users() {
    let daemon = started();
    let dir = daemon.dir().join("dev");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("mark"), "bound").unwrap();
    let made = Command::new("mknod").arg(dir.join("null")).args(["c", "1", "3"]).status().unwrap();
    assert!(made.success());
    let run = |volumes: &[&str], script: &str| {
        let args = [&["run", "--rm"], volumes, &["busybox", "sh", "-c", script]].concat();
        daemon.docker(&args)
    };
    let bound = format!("{}:/dev", dir.display());
    let script = "cat /dev/mark && echo x > /dev/null && touch /dev/new";
    assert_eq!(run(&["-v", &bound], script).ok(), "bound");
    let mut names: Vec<_> =
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["mark", "new", "null"]);

    let refused = run(&["-v", &format!("{bound}:ro")], "cat /dev/mark; touch /dev/other");
    assert_eq!(refused.stdout.trim(), "bound");
    assert!(refused.stderr.contains("Read-only file system"), "{}", refused.stderr);

    let file = format!("{}:/dev/extra", dir.join("mark").display());
    let script = "cat /dev/extra && grep -c ' /dev/shm tmpfs ' /proc/mounts";
    let both = run(&["-v", &bound, "-v", &file, "--tmpfs", "/dev/shm"], script);
    assert_eq!(both.ok(), "bound1");

    let on_terminal = ["run", "--rm", "-t", "-v", &bound, "busybox", "cat", "/dev/mark"];
    assert_eq!(daemon.docker(&on_terminal).ok(), "bound");
    assert_eq!(run(&["-v", "/dev:/dev:ro"], "test -c /dev/null && echo there").ok(), "there");
    assert_eq!(run(&["--ipc", "host"], "echo shared").ok(), "shared");
}

#[test]
fn an_image_is_imported_from_a_url() {
    let daemon = started();
    let archive = tar_of(&daemon, "hello", "from afar");
    let listener = daemon.namespace().inside(|| Ok(TcpListener::bind("127.0.0.1:0")?)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap();
            let found = head[..read].starts_with(b"GET /there.tar ");
            let (status, body) = if found {
                ("200 OK", &archive[..])
            } else {
                ("404 Not Found", &b"nothing here"[..])
            };
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len()).unwrap();
            stream.write_all(body).unwrap();
        }
    });
    let create = |file: &str| {
        let path =
            format!("/v1.51/images/create?fromSrc=http://{address}/{file}&repo=afar&changes=CMD+x");
        daemon.request("POST", &path, b"").unwrap()
    };
    let missing = create("nowhere");
    assert_eq!(missing.status, 404);
    assert!(
        missing.text().contains("with status 404 Not Found: nothing here"),
        "{}",
        missing.text()
    );
    let made = create("there.tar");
    assert!(made.text().contains("Downloading from http://"), "{}", made.text());
    server.join().unwrap();
    let shown = daemon.get("/v1.51/images/afar/json").json();
    assert_eq!(shown["Comment"], format!("Imported from http://{address}/there.tar"));
}

/// An archive of one file.
fn tar_of(daemon: &Daemon, name: &str, content: &str) -> Vec<u8> {
    let dir = daemon.dir().join("packed");
    let file = dir.join(name);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, content).unwrap();
    let packed = std::process::Command::new("tar").arg("-C").arg(&dir).args(["-c", name]).output();
    let packed = packed.unwrap();
    assert!(packed.status.success());
    packed.stdout
}
