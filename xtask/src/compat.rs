//! `cargo xtask compat`: clients' flows against ours and against Debian's dockerd, case by case.
//!
//! A case (`compat/cases.txt`) is a few shell lines that drive the docker CLI, docker-compose or docker-py. Both sides run
//! all of them; what differs is printed, ours and theirs. A case that names its reason (`differs:`) may differ, and stands in
//! `docs/compat.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use testkit::{Daemon, Engine, Options};

use crate::debian;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only cases whose name contains this
    #[arg(default_value = "")]
    only: String,
    /// Show the output of every case
    #[arg(long)]
    verbose: bool,
    /// Write docs/compat.md
    #[arg(long)]
    write: bool,
}

struct Case {
    name: String,
    script: String,
    differs: Option<String>,
}

/// Longer than any case takes on a busy machine.
const SECONDS: &str = "300";

pub(crate) fn run(args: &Args) -> Result<()> {
    debian::ensure_installed(&[debian::RUN, debian::TEST])?;
    let cases = read(include_str!("compat/cases.txt"))?;
    let sides = [Engine::Sampan, Engine::Dockerd]
        .map(|engine| Daemon::try_start(Options { engine, ..Options::with_images(&["busybox"]) }));
    let [ours, theirs] = sides;
    let (ours, theirs) = (ours?, theirs?);
    let (mut same, mut known, mut new) = (0, Vec::new(), Vec::new());
    for case in cases.iter().filter(|case| case.name.contains(&args.only)) {
        let (mine, other) = (outcome(&ours, case)?, outcome(&theirs, case)?);
        let differs = mine != other;
        let word = match (differs, &case.differs) {
            (false, _) => "same",
            (true, Some(_)) => "known",
            (true, None) => "DIFFERS",
        };
        println!("{word:8} {}", case.name);
        if args.verbose || (differs && case.differs.is_none()) {
            println!("--- ours\n{mine}--- theirs\n{other}---");
        }
        match (differs, &case.differs) {
            (false, _) => same += 1,
            (true, Some(reason)) => known.push((case.name.clone(), reason.clone())),
            (true, None) => new.push(case.name.clone()),
        }
    }
    println!("{same} the same, {} known to differ, {} differ", known.len(), new.len());
    if args.write {
        fs::write(testkit::workspace().join("docs/compat.md"), page(same, &cases))?;
    }
    ensure!(new.is_empty(), "ours differs: {}", new.join("; "));
    Ok(())
}

fn read(text: &str) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("== ") {
            let name = name.to_owned();
            cases.push(Case { name, script: String::new(), differs: None });
        } else if let Some(case) = cases.last_mut() {
            match line.strip_prefix("differs: ") {
                Some(reason) => case.differs = Some(reason.to_owned()),
                None => case.script.push_str(&format!("{line}\n")),
            }
        } else {
            ensure!(line.is_empty(), "a line before the first case: {line:?}");
        }
    }
    Ok(cases)
}

/// What the case's lines print, and their exit code; without what varies.
fn outcome(daemon: &Daemon, case: &Case) -> Result<String> {
    let dir = tempfile_dir(daemon.dir())?;
    let script = dir.join("case.sh");
    fs::write(&script, &case.script)?;
    let mut command = daemon.docker_command();
    let env: Vec<_> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    command = Command::new("timeout");
    command.args([SECONDS, "sh", "case.sh"]).current_dir(&dir).envs(env);
    // The versions that both speak.
    command.env("DOCKER_API_VERSION", "1.41").env("COMPOSE_API_VERSION", "1.41");
    let out = command.stdin(Stdio::null()).output().context("running a case")?;
    let text = format!(
        "{}{}exit {}\n",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
        out.status.code().unwrap_or(-1)
    );
    let own = [daemon.token().to_owned(), dir.display().to_string()];
    Ok(normal(&text, &own))
}

fn tempfile_dir(base: &Path) -> Result<std::path::PathBuf> {
    let dir = base.join("case");
    let _old = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// Ids, times, addresses and paths of one run replaced by words.
fn normal(text: &str, own: &[String]) -> String {
    let text = own.iter().rev().fold(text.to_owned(), |text, part| text.replace(part, "OWN"));
    let mut out = String::new();
    let mut rest = text.as_str();
    let is_word = |letter: char| letter.is_ascii_alphanumeric();
    while let Some(letter) = rest.chars().next() {
        let length = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
        if length == 0 {
            out.push(letter);
            rest = &rest[letter.len_utf8()..];
            continue;
        }
        let (word, after) = rest.split_at(length);
        let hex = word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = word.parse::<u64>().ok();
        match number {
            _ if hex && (word.len() == 12 || word.len() == 64) => out.push_str("ID"),
            Some(32768..=65535) => out.push_str("PORT"),
            Some(172) if after.starts_with('.') => {
                let end = after.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
                out.push_str("ADDRESS");
                rest = &after[end.unwrap_or(after.len())..];
                continue;
            }
            _ => out.push_str(word),
        }
        rest = after;
    }
    out
}

fn page(same: usize, cases: &[Case]) -> String {
    let mut page = format!(
        "# Clients' flows beside dockerd\n\n`cargo xtask compat` runs {} cases with the docker CLI, docker-compose 1.29 and docker-py \
         against ours and against Debian's dockerd 20.10, at the\nAPI version that both speak. {same} give the same output and exit \
         codes. What differs, and why:\n\n| Case | Why |\n|---|---|\n",
        cases.len()
    );
    for case in cases {
        if let Some(reason) = &case.differs {
            let _ = writeln!(page, "| {} | {reason} |", case.name);
        }
    }
    page.push_str(include_str!("compat/notes.md"));
    page
}
