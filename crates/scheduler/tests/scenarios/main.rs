//! Runs `scenarios/*.txt`. With `UPDATE=1` the outputs are written anew instead of compared.

mod script;
mod words;

use script::Script;
use std::fs;
use std::path::Path;

#[test]
fn every_scenario_ends_as_it_is_told() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "only {} scenarios", files.len());
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for file in files {
        let told = fs::read_to_string(&file).unwrap();
        let played = play(&told);
        if update {
            fs::write(&file, &played).unwrap();
        } else if told != played {
            wrong.push(format!("{}:\n{played}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "these end otherwise (UPDATE=1 rewrites):\n{}", wrong.join("\n"));
}

/// The file with the outputs as they are now.
fn play(told: &str) -> String {
    let mut script = Script::default();
    let (mut played, mut output, mut skipping) = (String::new(), String::new(), false);
    for line in told.lines() {
        let text = line.trim();
        if text == "----" {
            played += "----\n";
            played += &std::mem::take(&mut output);
            skipping = true;
        } else if text.is_empty() {
            skipping = false;
            assert!(output.is_empty(), "output without ---- before:\n{output}");
            played += "\n";
        } else if !skipping {
            played += line;
            played += "\n";
            if !text.starts_with('#') {
                output += &script.run(text);
            }
        }
    }
    played
}
