//! `cargo xtask tidy`: the habits that a machine can keep. Reads the tree and `cargo metadata`, changes nothing; also
//! runs as a plain test. Sizes are reported, never enforced.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// What the decision floors must not name, and why.
const BANNED_BELOW_EFFECTS: &[(&str, &str)] = &[
    ("tokio", "decisions do not wait"),
    ("tracing", "decisions do not log; they return explanations"),
    ("rand::", "randomness comes in as an argument"),
    ("SystemTime::now", "time comes in as an argument"),
    ("Instant", "time comes in as an argument"),
    ("std::fs", "decisions touch no files"),
    ("std::env", "decisions read no environment"),
    ("std::process", "decisions start nothing"),
    ("std::thread", "decisions do not wait"),
    ("TcpStream", "decisions touch no sockets"),
    ("TcpListener", "decisions touch no sockets"),
    ("UdpSocket", "decisions touch no sockets"),
    ("UnixStream", "decisions touch no sockets"),
    ("ToSocketAddrs", "decisions ask no resolver"),
];

/// Steps sideways that were decided, and why.
const SIDEWAYS: &[(&str, &str, &str)] = &[(
    "runtime",
    "logs",
    "the shim writes the container's log itself, so that no line is lost while the daemon is away",
)];

/// Packages that must never come in, and why.
const BANNED_PACKAGES: &[(&str, &str)] = &[
    ("aws-lc-rs", "rustls runs on ring here"),
    ("openssl-sys", "TLS is rustls"),
    ("libz-ng-sys", "it needs cmake"),
];

/// Lines beyond which a file is named in the report (style: look for a second idea in it).
const LONG_FILE: usize = 600;
const LONGEST_ARCHITECTURE: usize = 200;

/// Where a crate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Floor {
    At(u64),
    /// Not shipped; may use everything, and nothing shipped may use it.
    Dev,
}

struct Package {
    name: String,
    dir: PathBuf,
    floor: Floor,
    /// Normal dependencies by package name.
    uses: Vec<String>,
}

/// Prints sizes, then every finding; fails when there is one.
pub(crate) fn run() -> Result<()> {
    let root = testkit::workspace();
    let packages = packages(&root)?;
    report_sizes(&packages)?;
    let findings = findings(&root, &packages)?;
    for finding in &findings {
        println!("{finding}");
    }
    ensure!(findings.is_empty(), "{} findings", findings.len());
    println!("tidy");
    Ok(())
}

fn findings(root: &Path, packages: &[Package]) -> Result<Vec<String>> {
    let mut findings = floors(packages);
    for package in packages {
        for file in sources(&package.dir)? {
            let text = fs::read_to_string(&file)?;
            let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
            findings.extend(file_findings(&shown, &text));
            if package.floor <= Floor::At(1) && package.name != "sys" && is_shipped(&file) {
                findings.extend(banned_paths(&shown, &text));
            }
        }
    }
    findings.extend(banned_packages(&fs::read_to_string(root.join("Cargo.lock"))?));
    let architecture = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    if architecture.lines().count() > LONGEST_ARCHITECTURE {
        findings.push(format!("ARCHITECTURE.md is longer than {LONGEST_ARCHITECTURE} lines"));
    }
    Ok(findings)
}

/// A crate uses only crates of lower floors, and nothing shipped uses what is not.
fn floors(packages: &[Package]) -> Vec<String> {
    let by_name: BTreeMap<&str, &Package> =
        packages.iter().map(|package| (package.name.as_str(), package)).collect();
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| package.floor != Floor::Dev) {
        for used in package.uses.iter().filter_map(|name| by_name.get(name.as_str())) {
            let is_decided =
                SIDEWAYS.iter().any(|(user, of, _)| (*user, *of) == (&*package.name, &*used.name));
            if used.floor >= package.floor && !is_decided {
                findings.push(format!(
                    "{} ({:?}) must not use {} ({:?})",
                    package.name, package.floor, used.name, used.floor
                ));
            }
            if used.name == "sys" && package.floor < Floor::At(2) {
                findings.push(format!("{} decides, so it must not use sys", package.name));
            }
        }
    }
    findings
}

fn file_findings(shown: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    // A `tests.rs` is described by the module beside it.
    if !text.starts_with("//!") && !shown.ends_with("/tests.rs") {
        findings.push(format!("{shown}: begins without a //! header"));
    }
    // Cargo takes every file directly under `tests/` for a test program: there `common/mod.rs` is the way.
    if shown.ends_with("/mod.rs") && !shown.contains("/tests/") {
        findings.push(format!("{shown}: write foo.rs beside foo/"));
    }
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
        if line.starts_with("#[ignore") || line.starts_with("#[should_panic") {
            findings.push(format!("{shown}:{number}: {line}"));
        }
    }
    findings
}

fn banned_paths(shown: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    for (number, line) in shipped.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        let code = line.split("//").next().unwrap_or(line);
        for (banned, reason) in BANNED_BELOW_EFFECTS {
            if has_word(code, banned) {
                findings.push(format!("{shown}:{number}: {banned}: {reason}"));
            }
        }
    }
    findings
}

/// Whether `code` has `word` with no letter, digit or underscore directly before or after it.
fn has_word(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && (word.ends_with(':') || !after.is_some_and(is_part))
    })
}

fn banned_packages(lock: &str) -> Vec<String> {
    let is_in = |name: &str| lock.lines().any(|line| line == format!("name = \"{name}\""));
    BANNED_PACKAGES
        .iter()
        .filter(|(name, _)| is_in(name))
        .map(|(name, reason)| format!("Cargo.lock: {name} came in, but {reason}"))
        .collect()
}

fn packages(root: &Path) -> Result<Vec<Package>> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("running cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    metadata["packages"].as_array().into_iter().flatten().map(package).collect()
}

fn package(meta: &Value) -> Result<Package> {
    let name = meta["name"].as_str().context("a package without a name")?.to_owned();
    let manifest =
        PathBuf::from(meta["manifest_path"].as_str().context("a package without a manifest")?);
    let floor = match &meta["metadata"]["floor"] {
        Value::String(word) if word == "dev" => Floor::Dev,
        Value::Number(number) => Floor::At(number.as_u64().context("a floor below the ground")?),
        other => bail!("{name}: [package.metadata] floor is {other}, not a number or \"dev\""),
    };
    let dependencies = meta["dependencies"].as_array().into_iter().flatten();
    let normal = dependencies.filter(|dependency| dependency["kind"].is_null());
    let uses =
        normal.filter_map(|dependency| dependency["name"].as_str().map(str::to_owned)).collect();
    let dir = manifest.parent().context("a manifest without a folder")?.to_owned();
    Ok(Package { name, dir, floor, uses })
}

/// Rust files of a package: its sources and its tests.
fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for part in ["src", "tests"] {
        collect(&dir.join(part), &mut files)?;
    }
    files.sort();
    Ok(files)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Not a test: neither under `tests/` nor a `tests.rs`.
fn is_shipped(file: &Path) -> bool {
    let is_tests = |part: std::path::Component<'_>| {
        matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs"))
    };
    !file.components().any(is_tests)
}

fn report_sizes(packages: &[Package]) -> Result<()> {
    let mut total = 0;
    for package in packages {
        let mut lines = 0;
        for file in sources(&package.dir)? {
            let count = fs::read_to_string(&file)?.lines().count();
            lines += count;
            if count > LONG_FILE {
                println!("long: {} ({count} lines)", file.display());
            }
        }
        total += lines;
        println!("{:<12} {lines:>6} lines", package.name);
    }
    println!("{:<12} {total:>6} lines", "all");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str, floor: Floor, uses: &[&str]) -> Package {
        let uses = uses.iter().map(|&name| name.to_owned()).collect();
        Package { name: name.to_owned(), dir: PathBuf::new(), floor, uses }
    }

    #[test]
    fn the_tree_is_tidy() {
        let root = testkit::workspace();
        let packages = packages(&root).unwrap();
        assert_eq!(findings(&root, &packages).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_crate_may_not_use_its_own_floor_nor_what_is_not_shipped() {
        let crates = [
            at("engine", Floor::At(3), &["image", "testkit", "serde"]),
            at("image", Floor::At(2), &["logs"]),
            at("logs", Floor::At(2), &[]),
            at("testkit", Floor::Dev, &["engine"]),
        ];
        assert_eq!(
            floors(&crates),
            [
                "engine (At(3)) must not use testkit (Dev)",
                "image (At(2)) must not use logs (At(2))"
            ]
        );
    }

    #[test]
    fn a_decision_that_reads_the_clock_is_found_but_words_that_contain_it_are_not() {
        let text = "//! Pure.\nlet now = Instant::now();\n// Instant in a comment\nstruct InstantCoffee;\nlet a = operand::x;\n";
        assert_eq!(banned_paths("a.rs", text), ["a.rs:2: Instant: time comes in as an argument"]);
    }

    #[test]
    fn a_file_without_a_header_and_an_ignored_test_are_found() {
        assert_eq!(
            file_findings("a.rs", "use x;\n#[ignore]\nfn a() {}\n"),
            ["a.rs: begins without a //! header", "a.rs:2: #[ignore]"]
        );
    }
}
