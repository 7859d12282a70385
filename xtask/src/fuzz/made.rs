//! Requests out of the specification and dice: mostly of the right shape, often with senseless values.

use serde_json::{Map, Value, json};
use testkit::fuzz::Dice;

use super::spec::{Kind, Operation, Spec};

/// Names that requests speak of: some exist, most will for a while.
pub(super) const NAMES: &[&str] = &["alpha", "beta", "gamma", "delta"];

/// Texts of no field in particular. No path that leads to anything of this machine: requests run as root.
const TEXTS: &[&str] = &[
    "",
    "a",
    "alpha",
    "busybox",
    "busybox:latest",
    "nonsense",
    "-",
    "0",
    "1",
    "-1",
    "true",
    "null",
    "a b",
    "a/b",
    "../..",
    "sha256:",
    "ü",
    "\u{1F6A2}",
    "\u{0}",
    "a\nb",
    "\"",
    "'",
    "%",
    "{{.}}",
    "host",
    "none",
    "bridge",
    "default",
    "container:alpha",
    "container:nope",
    "1.5",
    "1e9",
    "80/tcp",
    "80",
    "65536/udp",
    "127.0.0.1",
    "::1",
    "10.9.0.0/16",
    "fd00::/64",
    "SIGTERM",
    "KILL",
    "99",
    "local",
    "always",
    "on-failure",
    "a=b",
    "=",
    "a=",
    "a:b",
    "a:/b",
    "alpha:/b:ro",
    "/b",
    "10m",
    "999999999999999999999",
];

/// What fields and parameters of certain names mostly hold, so that requests get further than their checks.
const KNOWN: &[(&str, &[&str])] = &[
    ("Image", &["busybox", "busybox", "busybox", "busybox", "committed", "nope"]),
    ("fromImage", &["nope", "busybox", "127.0.0.1:1/nope", "Nonsense"]),
    ("remote", &["", "", "nonsense", "http://127.0.0.1:1/x", "https://127.0.0.1:1/x.git"]),
    ("serveraddress", &["127.0.0.1:1"]),
    ("term", &["127.0.0.1:1/x"]),
    ("fromSrc", &["-", "nonsense", "http://127.0.0.1:1/x"]),
    ("Source", &["", "alpha", "/nope/nope", "/tmp", "beta"]),
    ("Target", &["/data", "/data/x", "relative", "/", ""]),
    ("path", &["/", "/etc", "/etc/passwd", "/nope", "relative", ""]),
    ("NetworkMode", &["", "bridge", "none", "default", "nonsense", "container:alpha", "alpha"]),
    ("PidMode", &["", "nonsense", "container:alpha"]),
    ("IpcMode", &["", "private", "shareable", "none", "nonsense", "container:alpha"]),
    ("UTSMode", &["", "nonsense"]),
    ("WorkingDir", &["", "/", "/tmp/x", "relative"]),
    ("User", &["", "0", "nobody", "1000:1000", "nope"]),
    ("signal", &["", "TERM", "SIGKILL", "0", "99", "nonsense"]),
    ("condition", &["", "not-running", "next-exit", "removed", "nonsense"]),
    ("ps_args", &["", "aux", "-o pid", "-o args", "; true"]),
    ("container", NAMES),
    ("Container", NAMES),
    ("name", NAMES),
    ("Name", NAMES),
    ("platform", &["", "linux/amd64", "windows", "nonsense/x/y/z"]),
];

/// Fields that would reach beyond the container into the machine that runs this.
const LEFT_OUT: &[&str] = &[
    "CgroupParent",
    "cgroupparent",
    "Devices",
    "DriverOpts",
    "Binds",
    "OomScoreAdj",
    "Privileged",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
    "follow",
];

const FILTERS: &[&str] = &[
    "name",
    "id",
    "label",
    "label!",
    "status",
    "before",
    "since",
    "until",
    "dangling",
    "reference",
    "network",
    "volume",
    "driver",
    "scope",
    "type",
    "event",
    "health",
    "exited",
    "ancestor",
    "expose",
    "publish",
    "is-task",
    "is-official",
    "stars",
    "nonsense",
];

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) kind: &'static str,
    pub(super) body: Vec<u8>,
}

pub(super) fn request(spec: &Spec, dice: &mut Dice, tar: &[u8]) -> Request {
    let operation = dice.pick(&spec.operations).clone();
    let version =
        *dice.pick(&["", "/v1.24", "/v1.30", "/v1.41", "/v1.41", "/v1.51", "/v1.51", "/v9.9"]);
    let mut target = format!("{version}{}", path(&operation, dice));
    let mut sign = '?';
    for (name, kind) in &operation.query {
        if dice.once_in(2) || LEFT_OUT.contains(&name.as_str()) {
            continue;
        }
        target.push_str(&format!("{sign}{name}={}", escape(&parameter(name, kind, dice))));
        sign = '&';
    }
    let (kind, body) = match &operation.body {
        None => ("application/json", Vec::new()),
        Some(Kind::Bytes) => {
            let mut bytes = tar.to_vec();
            if dice.once_in(2) {
                dice.spoil(&mut bytes);
            }
            ("application/x-tar", bytes)
        }
        Some(kind) => ("application/json", document(spec, kind, dice)),
    };
    Request { method: operation.method, target, kind, body }
}

fn path(operation: &Operation, dice: &mut Dice) -> String {
    let parts = operation.path.split('/').map(|part| match part {
        "{id}" | "{name}" if dice.once_in(12) => escape(dice.pick::<&str>(TEXTS)),
        "{name}"
            if operation.path.starts_with("/images") || operation.path.starts_with("/dist") =>
        {
            (*dice.pick(&["busybox", "busybox:latest", "committed", "nope"])).to_owned()
        }
        "{id}" | "{name}" => (*dice.pick(NAMES)).to_owned(),
        fixed => fixed.to_owned(),
    });
    parts.collect::<Vec<_>>().join("/")
}

fn document(spec: &Spec, kind: &Kind, dice: &mut Dice) -> Vec<u8> {
    let mut value = value(spec, "", kind, dice, 0);
    if let Value::Object(fields) = &mut value {
        // A container that runs makes more of the other requests reach something.
        if fields.contains_key("Image") && !dice.once_in(4) {
            fields.insert("Cmd".to_owned(), json!(["sleep", "600"]));
            fields.remove("Entrypoint");
        }
    }
    let mut bytes = value.to_string().into_bytes();
    if dice.once_in(20) {
        dice.spoil(&mut bytes);
    }
    bytes
}

fn value(spec: &Spec, name: &str, kind: &Kind, dice: &mut Dice, depth: usize) -> Value {
    if dice.once_in(40) {
        return dice
            .pick(&[
                json!(null),
                json!(""),
                json!(-1),
                json!([]),
                json!({}),
                json!([null]),
                json!(true),
            ])
            .clone();
    }
    match kind {
        Kind::Bool => json!(dice.once_in(2)),
        Kind::Int => integer(dice),
        Kind::Float => json!(dice.below(1000) as f64 / 7.0),
        Kind::Words(words) => json!(dice.pick(words)),
        Kind::List(kind) => {
            (0..dice.below(3)).map(|_| value(spec, name, kind, dice, depth + 1)).collect()
        }
        Kind::Map(kind) => {
            let pairs = (0..dice.below(3))
                .map(|_| ((*dice.pick(TEXTS)).to_owned(), value(spec, "", kind, dice, depth + 1)));
            Value::Object(pairs.collect())
        }
        Kind::Type(name) => {
            let mut fields = Map::new();
            for (name, kind) in spec.types.get(name).into_iter().flatten() {
                let wanted = match name.as_str() {
                    "Image" | "Cmd" | "Container" => !dice.once_in(10),
                    _ => dice.once_in(3 + 2 * depth),
                };
                if wanted && depth < 6 && !LEFT_OUT.contains(&name.as_str()) {
                    fields.insert(name.clone(), value(spec, name, kind, dice, depth + 1));
                }
            }
            Value::Object(fields)
        }
        Kind::Text | Kind::Bytes | Kind::Any | Kind::Filters => json!(text(name, dice)),
    }
}

fn integer(dice: &mut Dice) -> Value {
    let small = dice.below(100);
    dice.pick(&[
        json!(0),
        json!(1),
        json!(-1),
        json!(small),
        json!(1000),
        json!(6 << 20),
        json!(64 << 20),
        json!(i32::MAX),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(0.5),
        json!("7"),
    ])
    .clone()
}

fn text(name: &str, dice: &mut Dice) -> String {
    let known = KNOWN.iter().find(|(field, _)| *field == name).map(|(_, texts)| *texts);
    let texts = known.filter(|_| !dice.once_in(8)).unwrap_or(TEXTS);
    if dice.once_in(200) {
        return dice.pick(texts).repeat(5000);
    }
    (*dice.pick(texts)).to_owned()
}

fn parameter(name: &str, kind: &Kind, dice: &mut Dice) -> String {
    match kind {
        Kind::Bool => (*dice.pick(&["0", "1", "true", "false", "", "nonsense"])).to_owned(),
        Kind::Int | Kind::Float => match name {
            // Seconds that a request may take.
            "t" => (*dice.pick(&["0", "1", "nonsense"])).to_owned(),
            _ => integer(dice).to_string().trim_matches('"').to_owned(),
        },
        Kind::Words(words) if !dice.once_in(6) => dice.pick(words).clone(),
        Kind::Filters => filters(dice),
        _ => match name {
            // A stream that ends.
            "until" => (*dice.pick(&["0", "1", "1.5"])).to_owned(),
            "t" => (*dice.pick(&["committed", "a:b", "Nonsense"])).to_owned(),
            _ => text(name, dice),
        },
    }
}

fn filters(dice: &mut Dice) -> String {
    let mut pairs = Map::new();
    for _ in 0..dice.below(3) {
        let values = match dice.below(4) {
            0 => json!({ *dice.pick(TEXTS): true }),
            1 => json!(dice.pick(TEXTS)),
            _ => json!([dice.pick(TEXTS), dice.pick(NAMES)]),
        };
        pairs.insert((*dice.pick(FILTERS)).to_owned(), values);
    }
    let mut bytes = Value::Object(pairs).to_string().into_bytes();
    if dice.once_in(10) {
        dice.spoil(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
