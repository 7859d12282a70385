//! One instruction from one logical line.

mod flags;
mod health;

use crate::error::Syntax;
use crate::instruction::{Command, Copy, Form, From, Heredoc, Instruction, Kind, Run};
use crate::lines::Line;
use crate::split::{self, NotStrings};
use flags::Flags;

/// A line is either the start of a stage or a part of one.
#[derive(Debug)]
pub(crate) enum Parsed {
    From(From),
    Instruction(Instruction),
}

/// What every instruction is made from.
struct Source {
    /// Behind the flags.
    rest: String,
    flags: Flags,
    heredocs: Vec<Heredoc>,
    escape: char,
}

/// Reads one line.
pub(crate) fn line(line: Line, escape: char) -> Result<Parsed, Syntax> {
    let Line { number, text, heredocs } = line;
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((&text, ""));
    let name = word.to_ascii_uppercase();
    let (flags, rest) = split::flags(rest);
    let source =
        Source { rest: rest.trim().to_owned(), flags: Flags::new(flags)?, heredocs, escape };
    if name == "FROM" {
        return from(source, number, text.clone()).map(Parsed::From);
    }
    let kind = kind(&name, word, source)?;
    Ok(Parsed::Instruction(Instruction { line: number, source: text, kind }))
}

/// An `ONBUILD` trigger of a base image.
pub fn trigger(text: &str) -> Result<Instruction, Syntax> {
    let split = crate::lines::split(text).map_err(|err| match err {
        crate::ParseError::At { what, .. } => what,
        _ => Syntax::UnknownInstruction(text.to_owned()),
    })?;
    let unknown = || Syntax::UnknownInstruction(text.to_owned());
    let first = split.lines.into_iter().next().ok_or_else(unknown)?;
    match line(Line { number: 0, ..first }, split.escape)? {
        Parsed::Instruction(Instruction { kind: Kind::Onbuild(_), .. }) => {
            Err(Syntax::OnbuildChain)
        }
        Parsed::Instruction(Instruction { kind: Kind::Maintainer(_), .. }) => {
            Err(Syntax::OnbuildTrigger("MAINTAINER".to_owned()))
        }
        Parsed::Instruction(instruction) => Ok(instruction),
        Parsed::From(_) => Err(Syntax::OnbuildTrigger("FROM".to_owned())),
    }
}

fn kind(name: &str, word: &str, source: Source) -> Result<Kind, Syntax> {
    match name {
        "ADD" => copy("ADD", source).map(Kind::Add),
        "COPY" => copy("COPY", source).map(Kind::Copy),
        "RUN" => run(source).map(Kind::Run),
        "HEALTHCHECK" => health::healthcheck(source).map(Kind::Healthcheck),
        _ => {
            source.flags.done()?;
            plain(name, word, &source)
        }
    }
}

/// The instructions without flags.
fn plain(name: &str, word: &str, source: &Source) -> Result<Kind, Syntax> {
    let Source { rest, escape, .. } = source;
    match name {
        "ARG" => arguments(rest, *escape).map(Kind::Arg),
        "CMD" => command(rest).map(Kind::Cmd),
        "ENTRYPOINT" => command(rest).map(Kind::Entrypoint),
        "ENV" => pairs("ENV", rest, *escape).map(Kind::Env),
        "LABEL" => pairs("LABEL", rest, *escape).map(Kind::Label),
        "EXPOSE" => match rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>() {
            ports if ports.is_empty() => Err(Syntax::AtLeastOne("EXPOSE")),
            ports => Ok(Kind::Expose(ports)),
        },
        "MAINTAINER" => exactly_one("MAINTAINER", rest).map(Kind::Maintainer),
        "STOPSIGNAL" => exactly_one("STOPSIGNAL", rest).map(Kind::StopSignal),
        "USER" => exactly_one("USER", rest).map(Kind::User),
        "WORKDIR" => exactly_one("WORKDIR", rest).map(Kind::Workdir),
        "ONBUILD" => onbuild(rest, *escape, &source.heredocs),
        "SHELL" => shell(rest).map(Kind::Shell),
        "VOLUME" => volumes(rest).map(Kind::Volume),
        _ => Err(Syntax::UnknownInstruction(word.to_uppercase())),
    }
}

fn from(source: Source, line: usize, text: String) -> Result<From, Syntax> {
    let Source { rest, mut flags, .. } = source;
    let platform = flags.text("platform")?;
    flags.done()?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (image, name) = match words[..] {
        [image] => (image, None),
        [image, word, name] if word.eq_ignore_ascii_case("as") => (image, Some(name)),
        _ => return Err(Syntax::FromArguments),
    };
    let name = name.map(stage_name).transpose()?;
    Ok(From { image: image.to_owned(), platform, name, line, source: text })
}

fn stage_name(written: &str) -> Result<String, Syntax> {
    let name = written.to_lowercase();
    let valid = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if valid { Ok(name) } else { Err(Syntax::StageName(written.to_owned())) }
}

fn exactly_one(name: &'static str, rest: &str) -> Result<String, Syntax> {
    if rest.is_empty() { Err(Syntax::ExactlyOne(name)) } else { Ok(rest.to_owned()) }
}

fn strings(rest: &str) -> Result<Option<Vec<String>>, Syntax> {
    split::json_strings(rest).transpose().map_err(|NotStrings| Syntax::NotStrings)
}

fn command(rest: &str) -> Result<Command, Syntax> {
    if let Some(words) = strings(rest)? {
        return Ok(Command { form: Form::Exec, words });
    }
    let words = if rest.is_empty() { Vec::new() } else { vec![rest.to_owned()] };
    Ok(Command { form: Form::Shell, words })
}

fn shell(rest: &str) -> Result<Vec<String>, Syntax> {
    match strings(rest)? {
        Some(words) if !words.is_empty() => Ok(words),
        Some(_) => Err(Syntax::AtLeastOne("SHELL")),
        None if rest.is_empty() => Err(Syntax::AtLeastOne("SHELL")),
        None => Err(Syntax::NotJson("SHELL")),
    }
}

/// A JSON array, or words.
fn list(rest: &str) -> Result<Vec<String>, Syntax> {
    let words = || rest.split_whitespace().map(str::to_owned).collect();
    Ok(strings(rest)?.unwrap_or_else(words))
}

fn volumes(rest: &str) -> Result<Vec<String>, Syntax> {
    let volumes: Vec<String> = list(rest)?.iter().map(|path| path.trim().to_owned()).collect();
    if volumes.is_empty() {
        return Err(Syntax::AtLeastOne("VOLUME"));
    }
    if volumes.iter().any(String::is_empty) {
        return Err(Syntax::EmptyVolume);
    }
    Ok(volumes)
}

fn arguments(rest: &str, escape: char) -> Result<Vec<(String, Option<String>)>, Syntax> {
    let words = split::words(rest, escape);
    if words.is_empty() {
        return Err(Syntax::AtLeastOne("ARG"));
    }
    let argument = |word: String| match word.split_once('=') {
        Some(("", _)) => Err(Syntax::BlankName("ARG")),
        Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
        None => Ok((word, None)),
    };
    words.into_iter().map(argument).collect()
}

/// `name=value …`, or the old `name value`.
fn pairs(name: &'static str, rest: &str, escape: char) -> Result<Vec<(String, String)>, Syntax> {
    let words = split::words(rest, escape);
    let Some(first) = words.first() else { return Err(Syntax::AtLeastOne(name)) };
    if !first.contains('=') {
        let (key, value) =
            rest.split_once(char::is_whitespace).ok_or(Syntax::TwoArguments(name))?;
        return Ok(vec![(key.to_owned(), value.trim_start().to_owned())]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some(("", _)) => Err(Syntax::BlankName(name)),
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(Syntax::NoEquals(word)),
    };
    words.into_iter().map(pair).collect()
}

fn onbuild(rest: &str, escape: char, heredocs: &[Heredoc]) -> Result<Kind, Syntax> {
    let Some(word) = rest.split_whitespace().next() else {
        return Err(Syntax::AtLeastOne("ONBUILD"));
    };
    match word.to_ascii_uppercase().as_str() {
        "ONBUILD" => return Err(Syntax::OnbuildChain),
        name @ ("FROM" | "MAINTAINER") => return Err(Syntax::OnbuildTrigger(name.to_owned())),
        _ => {}
    }
    let inner = Line { number: 0, text: rest.to_owned(), heredocs: heredocs.to_vec() };
    line(inner, escape)?;
    let mut text = rest.to_owned();
    for heredoc in heredocs {
        text.push_str(&format!("\n{}{}", heredoc.content, heredoc.name));
    }
    Ok(Kind::Onbuild(text))
}

fn copy(name: &'static str, source: Source) -> Result<Copy, Syntax> {
    let Source { rest, mut flags, heredocs, .. } = source;
    let mut copy = Copy {
        chown: flags.text("chown")?,
        chmod: flags.text("chmod")?,
        link: flags.boolean("link")?.unwrap_or(false),
        exclude: flags.many("exclude")?,
        ..Copy::default()
    };
    if name == "COPY" {
        copy.from = flags.text("from")?;
        copy.parents = flags.boolean("parents")?.unwrap_or(false);
    } else {
        copy.checksum = flags.text("checksum")?;
        copy.unpack = flags.boolean("unpack")?;
        flags.boolean("keep-git-dir")?;
    }
    flags.done()?;
    let mut words = list(&rest)?;
    if words.len() < 2 {
        return Err(Syntax::NoDestination(name));
    }
    copy.destination = words.pop().unwrap_or_default();
    for word in words {
        match heredocs.iter().find(|heredoc| heredoc.opening == word) {
            Some(heredoc) => copy.contents.push(heredoc.clone()),
            None => copy.sources.push(word),
        }
    }
    Ok(copy)
}

fn run(source: Source) -> Result<Run, Syntax> {
    let Source { rest, mut flags, heredocs, .. } = source;
    let mounts =
        flags.many("mount")?.iter().map(|text| flags::mount(text)).collect::<Result<_, _>>()?;
    let network = flags.text("network")?;
    if let Some(mode) =
        network.as_deref().filter(|mode| !matches!(*mode, "default" | "none" | "host"))
    {
        return Err(Syntax::NetworkMode(mode.to_owned()));
    }
    let security = flags.text("security")?;
    flags.done()?;
    let mut command = command(&rest)?;
    if let (Some(text), false) = (command.words.first_mut(), heredocs.is_empty()) {
        *text = heredoc_script(text, &heredocs);
    }
    Ok(Run { command, mounts, network, security })
}

/// A heredoc alone is the script; one among other words is the shell's to read.
fn heredoc_script(text: &str, heredocs: &[Heredoc]) -> String {
    if let [only] = heredocs
        && only.opening == text
    {
        return script(only);
    }
    heredocs.iter().fold(text.to_owned(), |text, heredoc| {
        format!("{text}\n{}{}", heredoc.content, heredoc.name)
    })
}

/// The text for the shell. With `#!`, another program reads it: the shell writes it to a file and runs that.
fn script(heredoc: &Heredoc) -> String {
    let text = heredoc.text();
    if !text.starts_with("#!") {
        return text;
    }
    let quoted = text.replace('\'', "'\\''");
    let path = "/tmp/.build-script";
    format!(
        "printf %s '{quoted}' >{path} && chmod 700 {path} && {path}; s=$?; rm -f {path}; exit $s"
    )
}
