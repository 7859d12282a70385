//! The fuzz target: files made of the fixtures' pieces, changed at random, are loaded for as long as one likes.
//!
//! `cargo xtask fuzz compose --minutes N [--seed S]`. Whatever the bytes: no panic, an answer within a second,
//! and where a file loads, `config` of `config` is the same. The first input that breaks this is printed.

#![allow(clippy::print_stdout, reason = "a tool for the terminal")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use compose::{LoadOptions, load, yaml};
use std::path::Path;
use std::time::{Duration, Instant};

/// What the grammar of YAML and of Compose is made of.
const WORDS: [&str; 40] = [
    "services:",
    "image:",
    "ports:",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "<<: *a",
    "!reset ",
    "!override ",
    "\"",
    "'",
    "|\n",
    ">-\n",
    "${X:-",
    "${",
    "$",
    "}",
    "null",
    "~",
    "0x10",
    "-1",
    "1e309",
    "\t",
    "\n",
    "  ",
    "#",
    "---\n",
    "extends:",
    "include:",
    "depends_on:",
    "deploy:",
    "build:",
    "é",
    "\u{feff}",
    "99999999999999999999",
];

/// Xorshift: good enough, and the same for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

fn argument(name: &str, default: u64) -> u64 {
    let mut words = std::env::args().skip_while(|word| word != name);
    words.nth(1).and_then(|word| word.parse().ok()).unwrap_or(default)
}

fn seeds() -> Vec<Vec<char>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut out = Vec::new();
    for dir in [dir.join("apps"), dir.join("cases")] {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if let Ok(text) = std::fs::read_to_string(entry.path()) {
                out.push(text.chars().collect());
            }
        }
    }
    out
}

fn mutate(random: &mut Random, seeds: &[Vec<char>]) -> String {
    let mut text = seeds.get(random.below(seeds.len())).cloned().unwrap_or_default();
    for _ in 0..=random.below(6) {
        let at = random.below(text.len() + 1);
        match random.below(5) {
            0 => {
                let word = WORDS[random.below(WORDS.len())];
                text.splice(at..at, word.chars());
            }
            1 => {
                let end = (at + random.below(40)).min(text.len());
                text.drain(at..end);
            }
            2 => {
                let other = seeds.get(random.below(seeds.len())).cloned().unwrap_or_default();
                let from = random.below(other.len());
                let end = (from + random.below(200)).min(other.len());
                text.splice(at..at, other[from..end].iter().copied());
            }
            3 if at < text.len() => {
                text[at] = char::from_u32(random.below(0x250) as u32).unwrap_or('?');
            }
            _ => {
                let end = (at + random.below(120)).min(text.len());
                let copy: Vec<char> = text[at..end].to_vec();
                text.splice(at..at, copy);
            }
        }
    }
    text.into_iter().collect()
}

/// The canonical text, if the file loads; otherwise the rendered report must be possible too.
fn config(text: &str) -> Option<String> {
    let read = |_: &Path| Ok(text.to_owned());
    let options = LoadOptions {
        files: vec!["/app/compose.yaml".into()],
        project_dir: "/app".into(),
        keep_env: true,
        ..LoadOptions::default()
    };
    match load(&options, &read) {
        Ok(loaded) => loaded.project.tree().map(yaml),
        Err(report) => {
            assert!(!report.to_string().is_empty(), "an error without words");
            None
        }
    }
}

fn check(text: &str) -> Result<bool, String> {
    let began = Instant::now();
    let caught = std::panic::catch_unwind(|| {
        let once = config(text)?;
        let twice = config(&once);
        Some((once, twice))
    });
    let took = began.elapsed();
    match caught {
        Err(_) => Err("it panicked".to_owned()),
        Ok(_) if took > Duration::from_secs(4) => Err(format!("it took {took:?}")),
        Ok(None) => Ok(false),
        Ok(Some((once, twice))) if twice.as_deref() == Some(&once) => Ok(true),
        Ok(Some((once, twice))) => {
            Err(format!("config is no fixed point:\n{once}\nbecame\n{}", twice.unwrap_or_default()))
        }
    }
}

fn main() {
    let seed = argument("--seed", 1).max(1);
    let until = Instant::now() + Duration::from_secs(60 * argument("--minutes", 1));
    let seeds = seeds();
    let mut random = Random(seed);
    let (mut inputs, mut loaded) = (0_u64, 0_u64);
    while Instant::now() < until {
        let text = mutate(&mut random, &seeds);
        inputs += 1;
        match check(&text) {
            Ok(fine) => loaded += u64::from(fine),
            Err(reason) => {
                println!("{text}\n--- input {inputs} of seed {seed}: {reason}");
                std::process::exit(1);
            }
        }
    }
    println!("{inputs} inputs of seed {seed}, {loaded} of them load: nothing found");
}
