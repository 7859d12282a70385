//! Text scenarios: files of commands, `----`, and what the commands print. Not shipped; tests of decisions use it.
//!
//! ```text
//! # A comment.
//! a command
//! another one
//! ----
//! what they print
//!
//! the next block, after a blank line
//! ```
//!
//! With `UPDATE=1` in the environment the outputs are written anew, to be read as prose in the change.

use std::path::Path;
use std::{fs, io};

/// What plays one file from its beginning.
pub trait Play {
    /// Runs one command and answers what it prints. A command that it does not know is a panic.
    fn run(&mut self, line: &str) -> String;
    /// Asked after the last line.
    fn finish(&self) {}
}

/// Plays every file of `dir`, each in a world of its own, and answers those that end otherwise than they tell, as they
/// end now. Fails when a file cannot be read or written, or when there are fewer than `least`.
pub fn differences<P: Play>(
    dir: &Path,
    least: usize,
    mut begin: impl FnMut() -> P,
) -> io::Result<Vec<String>> {
    let mut files =
        fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    files.sort();
    if files.len() < least {
        return Err(io::Error::other(format!("only {} files in {}", files.len(), dir.display())));
    }
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for file in files {
        let told = fs::read_to_string(&file)?;
        let played = play(&told, begin());
        if update {
            fs::write(&file, &played)?;
        } else if told != played {
            wrong.push(format!("{} (UPDATE=1 rewrites):\n{played}", file.display()));
        }
    }
    Ok(wrong)
}

/// The file with the outputs as they are now.
fn play(told: &str, mut world: impl Play) -> String {
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
                output += &world.run(text);
            }
        }
    }
    world.finish();
    played
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Prints each line twice.
    struct Echo;

    impl Play for Echo {
        fn run(&mut self, line: &str) -> String {
            format!("{line}\n{line}\n")
        }
    }

    #[test]
    fn outputs_are_written_anew_and_the_rest_stays() {
        let told = "# Prose.\na\nb\n----\nold\n\nc\n----\n";
        let now = "# Prose.\na\nb\n----\na\na\nb\nb\n\nc\n----\nc\nc\n";
        assert_eq!(play(told, Echo), now);
        assert_eq!(play(now, Echo), now);
    }
}
