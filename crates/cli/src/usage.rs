//! Reading the command line as docker reads it, and saying in one line what is wrong with it.
//!
//! Two trees of one grammar: the tree people see in help, and a relaxed one that also takes
//! `--flag=false` for every switch, which docker's flag library allows.

use std::ffi::OsString;

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};

use crate::app::Cli;
use crate::report::{self, Exit, FAILED, NOT_STARTED};

/// Titles and words of the help page, in the order people look for them.
const GROUPS: [(&str, &[&str]); 6] = [
    (
        "Common Commands",
        &[
            "run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search",
            "version", "info",
        ],
    ),
    ("Projects", &["compose", "up", "down"]),
    (
        "Cluster Commands",
        &["init", "join", "leave", "node", "service", "task", "secret", "config", "swarm"],
    ),
    ("Management Commands", &["builder", "container", "image", "network", "system", "volume"]),
    (
        "Container Commands",
        &[
            "attach", "commit", "cp", "create", "diff", "export", "kill", "logs", "pause", "port",
            "rename", "restart", "rm", "start", "stats", "stop", "top", "unpause", "update",
            "wait",
        ],
    ),
    (
        "Other Commands",
        &["events", "history", "import", "inspect", "load", "rmi", "save", "tag", "completion"],
    ),
];

/// The parsed command line, or the exit code after printing what there was to say.
pub(crate) fn parse(mut words: Vec<OsString>) -> Result<Cli, Exit> {
    // `-h` is a hostname after `run`; in front of the command it can only mean help
    if words.get(1).is_some_and(|word| word == "-h") {
        words[1] = "--help".into();
    }
    let relaxed = relax(Cli::command());
    let parsed =
        relaxed.try_get_matches_from(&words).and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|err| explain(&err, &words))
}

/// Makes every switch of the tree take an optional `=true` or `=false`.
fn relax(command: Command) -> Command {
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    // docker's flags may be repeated: the last one counts
    let command = command.args_override_self(true).mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => optional_value(arg),
        _ => arg,
    });
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, relax))
}

fn optional_value(arg: Arg) -> Arg {
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_value("false")
        .default_missing_value("true")
        .value_parser(BoolishValueParser::new())
}

/// Prints help, or the error with usage and hint; returns the exit code.
fn explain(err: &clap::Error, words: &[OsString]) -> Exit {
    let mut tree = Cli::command();
    tree = tree.clone().override_help(root_help(&tree));
    tree.build();
    match err.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // the tree without optional values has the help page
            let page = tree.try_get_matches_from(words).err();
            let page = page.as_ref().unwrap_or(err).render();
            let _ = report::print(&page.to_string().replacen("Usage: sampan", "Usage:  sampan", 1));
            return report::OK;
        }
        _ => {}
    }
    let mut command = deepest(&tree, words);
    let path = command.get_bin_name().unwrap_or("sampan").to_owned();
    let usage = docker_usage(&command.render_usage().to_string());
    let (message, code) = complaint(err, &path, &command);
    let usage = if err.kind() == ErrorKind::InvalidSubcommand {
        String::new()
    } else {
        format!("{usage}\n\n")
    };
    eprintln!("{message}\n\n{usage}Run '{path} --help' for more information");
    code
}

/// What is wrong, in docker's words, and docker's exit code for it.
fn complaint(err: &clap::Error, path: &str, command: &Command) -> (String, Exit) {
    let text = |kind| match err.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(list)) => list.join(" "),
        _ => String::new(),
    };
    let argument = text(ContextKind::InvalidArg);
    match err.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = text(ContextKind::InvalidSubcommand);
            let near = match err.get(ContextKind::SuggestedSubcommand) {
                Some(ContextValue::Strings(list)) if !list.is_empty() => {
                    format!("\n\nDid you mean '{path} {}'?", list[0])
                }
                Some(ContextValue::String(one)) => format!("\n\nDid you mean '{path} {one}'?"),
                _ => String::new(),
            };
            (format!("sampan: unknown command: {path} {word}{near}"), FAILED)
        }
        ErrorKind::UnknownArgument if argument.starts_with("--") => (
            format!("unknown flag: {}", argument.split('=').next().unwrap_or(&argument)),
            NOT_STARTED,
        ),
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            let letter = argument.chars().nth(1).unwrap_or('-');
            (format!("unknown shorthand flag: '{letter}' in {argument}"), NOT_STARTED)
        }
        ErrorKind::UnknownArgument => {
            let none = command.get_positionals().next().is_none();
            let accepts = if none {
                "accepts no arguments".to_owned()
            } else {
                format!("does not accept the argument {argument:?}")
            };
            (format!("sampan: '{path}' {accepts}"), FAILED)
        }
        ErrorKind::MissingRequiredArgument | ErrorKind::TooFewValues => {
            let count = match err.get(ContextKind::InvalidArg) {
                Some(ContextValue::Strings(list)) => list.len(),
                _ if err.kind() == ErrorKind::TooFewValues => 2,
                _ => 1,
            };
            let plural = if count == 1 { "" } else { "s" };
            (format!("sampan: '{path}' requires at least {count} argument{plural}"), FAILED)
        }
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let value = text(ContextKind::InvalidValue);
            let flag =
                argument.split_whitespace().next().unwrap_or(&argument).trim_end_matches("[=");
            let reason = std::error::Error::source(err).map(ToString::to_string);
            let shown = with_short(command, flag);
            if value.is_empty() {
                return (format!("flag needs an argument: {flag}"), NOT_STARTED);
            }
            let reason = reason.unwrap_or_else(|| "invalid value".to_owned());
            (format!("invalid argument {value:?} for \"{shown}\" flag: {reason}"), NOT_STARTED)
        }
        _ => {
            let full = err.render().to_string();
            let line = full.lines().next().unwrap_or_default();
            (line.strip_prefix("error: ").unwrap_or(line).to_owned(), NOT_STARTED)
        }
    }
}

/// `-m, --memory` for `--memory`.
fn with_short(command: &Command, flag: &str) -> String {
    let long = flag.trim_start_matches('-');
    let found = command.get_arguments().find(|arg| arg.get_long() == Some(long));
    match found.and_then(Arg::get_short) {
        Some(short) => format!("-{short}, {flag}"),
        None => flag.to_owned(),
    }
}

/// clap's usage line in docker's notation: `CONTAINER [CONTAINER...]`.
fn docker_usage(usage: &str) -> String {
    let words = usage.trim_start_matches("Usage:").split_whitespace().map(|word| {
        let Some(rest) = word.strip_prefix('<') else { return word.to_owned() };
        match (rest.strip_suffix(">..."), rest.strip_suffix('>')) {
            (Some(name), _) => format!("{name} [{name}...]"),
            (None, Some(name)) => name.to_owned(),
            _ => word.to_owned(),
        }
    });
    format!("Usage:  {}", words.collect::<Vec<_>>().join(" "))
}

/// The command the words reach, for its usage line.
fn deepest(root: &Command, words: &[OsString]) -> Command {
    let takes_value = [
        "-H",
        "--host",
        "-c",
        "--context",
        "-l",
        "--log-level",
        "--config",
        "--tlscacert",
        "--tlscert",
        "--tlskey",
    ];
    let mut level = root;
    let mut skip = false;
    for word in words.iter().skip(1).map(|word| word.to_string_lossy()) {
        if std::mem::take(&mut skip) {
            continue;
        }
        if word.starts_with('-') {
            if !std::ptr::eq(level, root) {
                break;
            }
            skip = takes_value.contains(&word.as_ref());
            continue;
        }
        match level.find_subcommand(word.as_ref()) {
            Some(next) => level = next,
            None => break,
        }
    }
    level.clone()
}

/// The grouped help page.
fn root_help(tree: &Command) -> String {
    let mut out = String::from(
        "Usage:  sampan [OPTIONS] COMMAND\n\nA small container engine that speaks Docker\n",
    );
    for (title, names) in GROUPS {
        out.push_str(&format!("\n{title}:\n"));
        for name in names {
            let about = tree.find_subcommand(name).and_then(Command::get_about);
            out.push_str(&format!(
                "  {name:<11} {}\n",
                about.map(ToString::to_string).unwrap_or_default()
            ));
        }
    }
    out.push_str("\nEngine:\n  daemon      Run the engine (see 'sampan daemon --help')\n");
    out.push_str("\nGlobal Options:\n");
    for arg in tree.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_positional()) {
        let short = arg.get_short().map_or("    ".to_owned(), |short| format!("-{short}, "));
        let value = match arg.get_action() {
            ArgAction::Set | ArgAction::Append => {
                arg.get_value_names().map_or("", |names| names[0].as_str())
            }
            _ => "",
        };
        let long = format!("--{} {value}", arg.get_long().unwrap_or_default());
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        out.push_str(&format!("  {short}{long:<20} {help}\n"));
    }
    out.push_str("\nRun 'sampan COMMAND --help' for more information on a command.\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parses(words: &[&str]) -> bool {
        let words = words.iter().map(OsString::from);
        relax(Cli::command()).try_get_matches_from(words).is_ok()
    }

    fn says(words: &[&str]) -> (String, Exit) {
        let err = relax(Cli::command()).try_get_matches_from(words).unwrap_err();
        let tree = Cli::command();
        complaint(&err, "sampan run", tree.find_subcommand("run").unwrap())
    }

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
        relax(Cli::command()).debug_assert();
    }

    #[test]
    fn switches_cluster_and_take_false() {
        assert!(parses(&["sampan", "run", "-it", "--rm=false", "busybox"]));
        assert!(parses(&["sampan", "run", "-dp", "80:80", "busybox"]));
        assert!(parses(&["sampan", "run", "-d", "-d", "--name", "a", "--name", "b", "busybox"]));
        assert!(parses(&[
            "sampan",
            "run",
            "-itd",
            "--init=true",
            "-eA=1",
            "busybox",
            "--rm=maybe"
        ]));
        assert!(!parses(&["sampan", "run", "--rm=maybe", "busybox"]));
    }

    #[test]
    fn every_grouped_word_is_a_command() {
        let tree = Cli::command();
        for name in GROUPS.iter().flat_map(|(_, names)| names.iter()) {
            assert!(tree.find_subcommand(name).is_some(), "{name}");
        }
    }

    #[test]
    fn mistakes_are_named_in_dockers_words() {
        assert_eq!(says(&["sampan", "run", "--foo", "b"]), ("unknown flag: --foo".to_owned(), 125));
        assert_eq!(says(&["sampan", "run", "-Q", "b"]).0, "unknown shorthand flag: 'Q' in -Q");
        assert_eq!(says(&["sampan", "run"]).0, "sampan: 'sampan run' requires at least 1 argument");
        assert_eq!(
            says(&["sampan", "run", "-m", "xx", "b"]).0,
            "invalid argument \"xx\" for \"-m, --memory\" flag: invalid size: 'xx'"
        );
    }
}
