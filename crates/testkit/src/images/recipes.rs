//! The recipes: which Debian packages, files and links make which image. Data first; the few steps that need a program
//! (the applets' links, Python's wheels) come last.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::archive::Owner;

/// The text that decides what is in a layer; part of every layer's key.
pub(crate) const SOURCE: &str = concat!(
    include_str!("recipes.rs"),
    include_str!("packages.rs"),
    include_str!("archive.rs"),
    include_str!("files/redis-entrypoint.sh"),
    include_str!("files/redis-server.sh"),
    include_str!("files/apk.sh"),
    include_str!("files/nginx.conf"),
    include_str!("files/index.html"),
);

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One layer of an image; layers are shared between images by name.
pub(crate) struct Layer {
    pub(crate) name: &'static str,
    pub(crate) packages: &'static [&'static str],
    /// Paths below the root to leave out again.
    without: &'static [&'static str],
    dirs: &'static [(&'static str, u32)],
    files: &'static [(&'static str, u32, &'static str)],
    /// Link and its target.
    links: &'static [(&'static str, &'static str)],
    /// Who owns what; everything else is root's.
    pub(crate) owners: &'static [Owner],
    pub(crate) finish: Option<fn(&Stage<'_>) -> Result<()>>,
}

/// A layer being made: where, over which lower layers, and where downloads are kept.
pub(crate) struct Stage<'a> {
    pub(crate) root: &'a Path,
    pub(crate) lower: &'a [PathBuf],
    pub(crate) cache: &'a Path,
}

/// An image: its layers, lowest first, and its config.
pub(crate) struct Image {
    pub(crate) reference: &'static str,
    pub(crate) layers: &'static [&'static Layer],
    pub(crate) config: fn() -> Value,
}

const NOTHING: Layer = Layer {
    name: "",
    packages: &[],
    without: &[],
    dirs: &[],
    files: &[],
    links: &[],
    owners: &[],
    finish: None,
};

/// Who is who, as the official images have it; one file for all, so that uids agree between them.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
sync:x:4:100:sync:/bin:/bin/sync
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
operator:x:37:37:Operator:/var:/bin/false
nginx:x:101:101:nginx user:/nonexistent:/bin/false
redis:x:999:1000:redis:/data:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
";
const GROUP: &str = "root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
mail:x:8:
wheel:x:10:root
www-data:x:33:
users:x:100:
nginx:x:101:
redis:x:1000:
nogroup:x:65534:
";

static BUSYBOX: Layer = Layer {
    name: "busybox",
    packages: &["busybox-static"],
    without: &["usr"],
    dirs: &[
        ("dev", 0o755),
        ("home", 0o755),
        ("proc", 0o755),
        ("root", 0o700),
        ("sys", 0o755),
        ("tmp", 0o1777),
        ("usr/bin", 0o755),
        ("usr/sbin", 0o755),
        ("var/spool/mail", 0o755),
        ("var/www", 0o755),
        ("var/tmp", 0o1777),
    ],
    files: &[
        ("etc/group", 0o644, GROUP),
        ("etc/passwd", 0o644, PASSWD),
        ("etc/shadow", 0o600, "root:*:19723:0:99999:7:::\nredis:!:19723:0:99999:7:::\n"),
        ("etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nhosts: files dns\n"),
    ],
    links: &[("usr/bin/env", "../../bin/env"), ("var/run", "../run")],
    finish: Some(link_applets),
    ..NOTHING
};

static LIBRARIES: Layer = Layer {
    name: "libraries",
    packages: &["libc6", "libcrypt1", "libgcc-s1", "liblzma5", "libssl3", "zlib1g"],
    without: &["usr/lib/x86_64-linux-gnu/gconv", "usr/lib/aarch64-linux-gnu/gconv", "usr/share"],
    ..NOTHING
};

static REDIS: Layer = Layer {
    name: "redis",
    packages: &[
        "redis-server",
        "redis-tools",
        "libatomic1",
        "libcap2",
        "libgcrypt20",
        "libgpg-error0",
        "libjemalloc2",
        "liblz4-1",
        "liblzf1",
        "libstdc++6",
        "libsystemd0",
        "libzstd1",
    ],
    without: &["etc", "usr/share", "var"],
    dirs: &[("data", 0o755)],
    files: &[
        ("usr/local/bin/docker-entrypoint.sh", 0o755, include_str!("files/redis-entrypoint.sh")),
        ("usr/local/bin/redis-server", 0o755, include_str!("files/redis-server.sh")),
    ],
    owners: &[("data", 999, 1000)],
    ..NOTHING
};

static PYTHON: Layer = Layer {
    name: "python",
    packages: &[
        "libbz2-1.0",
        "libexpat1",
        "libffi8",
        "libncursesw6",
        "libpython3.11-minimal",
        "libpython3.11-stdlib",
        "libreadline8",
        "libsqlite3-0",
        "libtinfo6",
        "libuuid1",
        "media-types",
        "python3-distutils",
        "python3-lib2to3",
        "python3-pip",
        "python3-pkg-resources",
        "python3-setuptools",
        "python3-wheel",
        "python3.11",
        "python3.11-minimal",
    ],
    without: &[
        "etc/python3.11",
        "usr/lib/python3.11/EXTERNALLY-MANAGED",
        "usr/lib/python3.11/pydoc_data",
        "usr/share/applications",
        "usr/share/binfmts",
        "usr/share/pixmaps",
        "usr/share/python3",
    ],
    dirs: &[("usr/share/wheels", 0o755), ("usr/local/lib/python3.11/dist-packages", 0o755)],
    files: &[
        (
            "etc/pip.conf",
            0o644,
            "[global]\nno-index = true\nfind-links = /usr/share/wheels\nroot-user-action = ignore\n",
        ),
        ("sbin/apk", 0o755, include_str!("files/apk.sh")),
    ],
    links: &[
        ("usr/bin/python", "python3.11"),
        ("usr/bin/python3", "python3.11"),
        ("usr/local/bin/python", "/usr/bin/python3.11"),
        ("usr/local/bin/python3", "/usr/bin/python3.11"),
    ],
    finish: Some(add_wheels),
    ..NOTHING
};

static NGINX: Layer = Layer {
    name: "nginx",
    packages: &["nginx", "nginx-common", "libpcre2-8-0"],
    without: &["etc", "usr/share", "var", "lib"],
    dirs: &[("var/cache/nginx", 0o755), ("var/lib/nginx", 0o755), ("run", 0o755)],
    files: &[
        ("etc/nginx/nginx.conf", 0o644, include_str!("files/nginx.conf")),
        ("etc/nginx/conf.d/default.conf", 0o644, NGINX_SITE),
        ("etc/nginx/mime.types", 0o644, NGINX_TYPES),
        ("usr/share/nginx/html/index.html", 0o644, include_str!("files/index.html")),
    ],
    links: &[
        ("var/log/nginx/access.log", "/dev/stdout"),
        ("var/log/nginx/error.log", "/dev/stderr"),
    ],
    ..NOTHING
};

const NGINX_SITE: &str = "server {
    listen 80;
    location / {
        root /usr/share/nginx/html;
        index index.html;
    }
}
";
const NGINX_TYPES: &str = "types {
    text/html html htm;
    text/css css;
    text/plain txt;
    application/javascript js;
    application/json json;
    image/png png;
    image/jpeg jpeg jpg;
    image/svg+xml svg;
}
";

/// All recipes, in the order they are made.
pub(crate) static IMAGES: [Image; 4] = [
    Image {
        reference: "busybox:latest",
        layers: &[&BUSYBOX],
        config: || json!({"Env": [PATH], "Cmd": ["sh"]}),
    },
    Image {
        reference: "redis:alpine",
        layers: &[&BUSYBOX, &LIBRARIES, &REDIS],
        config: || {
            json!({
                "Env": [PATH],
                "Cmd": ["redis-server"],
                "Entrypoint": ["docker-entrypoint.sh"],
                "WorkingDir": "/data",
                "Volumes": {"/data": {}},
                "ExposedPorts": {"6379/tcp": {}},
            })
        },
    },
    Image {
        reference: "python:3.7-alpine",
        layers: &[&BUSYBOX, &LIBRARIES, &PYTHON],
        config: || json!({"Env": [PATH, "LANG=C.UTF-8"], "Cmd": ["python3"]}),
    },
    Image {
        reference: "nginx:latest",
        layers: &[&BUSYBOX, &LIBRARIES, &NGINX],
        config: || {
            json!({
                "Env": [PATH],
                "Cmd": ["nginx", "-g", "daemon off;"],
                "ExposedPorts": {"80/tcp": {}},
                "StopSignal": "SIGQUIT",
            })
        },
    },
];

/// Adds the recipe's own directories, files and links to the unpacked packages, and leaves out what it does not want.
pub(crate) fn furnish(layer: &Layer, root: &Path) -> Result<()> {
    for path in layer.without.iter().map(|unwanted| root.join(unwanted)) {
        if path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else if path.exists() {
            fs::remove_file(&path)?;
        }
    }
    for (path, mode) in layer.dirs {
        fs::create_dir_all(root.join(path))?;
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(*mode))?;
    }
    for (path, mode, text) in layer.files {
        let path = prepared(root, path)?;
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
    }
    for (path, target) in layer.links {
        symlink(target, prepared(root, path)?)?;
    }
    Ok(())
}

fn prepared(root: &Path, path: &str) -> Result<PathBuf> {
    let path = root.join(path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(path)
}

fn link_applets(stage: &Stage<'_>) -> Result<()> {
    let bin = stage.root.join("bin");
    let output = Command::new(bin.join("busybox")).arg("--list").stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "busybox --list failed");
    for applet in
        String::from_utf8_lossy(&output.stdout).lines().filter(|&applet| applet != "busybox")
    {
        symlink("busybox", bin.join(applet))?;
    }
    Ok(())
}

/// Fetches what the page counter's `pip install` asks for, so that it works in a container without a network; then
/// compiles the library once, so that `pip` and `flask` start quickly and builds leave no bytecode in their layers.
fn add_wheels(stage: &Stage<'_>) -> Result<()> {
    let wheels = stage.cache.join("wheels");
    fs::create_dir_all(&wheels)?;
    let wanted = ["flask", "redis"];
    if wanted.iter().any(|name| !has_wheel(&wheels, name)) {
        eprintln!("images: fetching Python wheels ({})", wanted.join(", "));
        let args = ["-m", "pip", "download", "--quiet", "--only-binary=:all:", "--dest"];
        python(
            stage,
            args.iter()
                .map(Path::new)
                .chain([wheels.as_path()])
                .chain(wanted.iter().map(Path::new)),
        )?;
    }
    for entry in fs::read_dir(&wheels)? {
        let entry = entry?;
        fs::copy(entry.path(), stage.root.join("usr/share/wheels").join(entry.file_name()))?;
    }
    let args = ["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-p", "/", "-s"];
    let trees =
        ["usr/lib/python3.11", "usr/lib/python3/dist-packages"].map(|tree| stage.root.join(tree));
    python(
        stage,
        args.iter().map(Path::new).chain([stage.root]).chain(trees.iter().map(PathBuf::as_path)),
    )
}

fn has_wheel(wheels: &Path, name: &str) -> bool {
    let prefix = format!("{name}-");
    fs::read_dir(wheels).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().to_lowercase().starts_with(&prefix))
    })
}

/// Runs the staged Python on this machine, through the staged dynamic loader: nothing need be installed here.
fn python<'a>(stage: &Stage<'_>, args: impl Iterator<Item = &'a Path>) -> Result<()> {
    let roots: Vec<&Path> = stage.lower.iter().map(PathBuf::as_path).chain([stage.root]).collect();
    let loader = roots
        .iter()
        .find_map(|root| find_loader(root))
        .context("no dynamic loader among the layers")?;
    let libraries: Vec<String> = roots
        .iter()
        .flat_map(|root| ["lib", "usr/lib"].map(|lib| root.join(lib).join(multiarch())))
        .map(|path| path.display().to_string())
        .collect();
    let status = Command::new(loader)
        .args(["--library-path", &libraries.join(":")])
        .arg(stage.root.join("usr/bin/python3.11"))
        .args(args)
        .env("PYTHONHOME", stage.root.join("usr"))
        .env("PYTHONPATH", stage.root.join("usr/lib/python3/dist-packages"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONHASHSEED", "0")
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .env("PIP_ROOT_USER_ACTION", "ignore")
        .stdin(Stdio::null())
        .status()?;
    ensure!(
        status.success(),
        "the image's Python failed ({status}); fetching wheels needs a Python package index"
    );
    Ok(())
}

fn multiarch() -> String {
    format!("{}-linux-gnu", std::env::consts::ARCH)
}

fn find_loader(root: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(root.join("lib").join(multiarch())).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-linux"))
    })
}
