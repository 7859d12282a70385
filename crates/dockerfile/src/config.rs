//! What a metadata instruction changes in an image's configuration. Its words are expanded already.

use crate::error::{ParseError, Syntax};
use crate::expand;
use crate::glob;
use crate::instruction::{Form, Instruction, Kind};
use crate::lines;
use crate::parse::{self, Parsed};
use std::collections::BTreeMap;
use types::container::{Config, Empty};

/// The shell of an image that names none.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Applies `kind` to `config`. `false` for the instructions that are more than metadata: `ADD`, `COPY`,
/// `RUN`, `ARG`, `MAINTAINER`, `WORKDIR`'s directory (its configuration is set).
pub fn apply(config: &mut Config, kind: &Kind) -> bool {
    match kind {
        Kind::Env(pairs) => {
            let env = config.env.get_or_insert_default();
            pairs.iter().for_each(|(name, value)| set_env(env, name, value));
        }
        Kind::Label(pairs) => {
            let labels = config.labels.get_or_insert_default();
            labels.extend(pairs.iter().cloned());
        }
        Kind::Expose(ports) => {
            let exposed = config.exposed_ports.get_or_insert_default();
            exposed.extend(ports.iter().map(|port| (port.clone(), Empty {})));
        }
        Kind::Volume(paths) => {
            let volumes = config.volumes.get_or_insert_default();
            volumes.extend(paths.iter().map(|path| (path.clone(), Empty {})));
        }
        Kind::User(user) => config.user.clone_from(user),
        Kind::Workdir(path) => config.working_dir = workdir(&config.working_dir, path),
        Kind::StopSignal(signal) => config.stop_signal.clone_from(signal),
        Kind::Shell(words) => config.shell = Some(words.clone()),
        Kind::Healthcheck(health) => config.healthcheck = Some(health.clone()),
        Kind::Onbuild(text) => config.on_build.get_or_insert_default().push(text.clone()),
        Kind::Cmd(command) => {
            config.cmd = Some(command.arguments(&shell(config)));
            // Shell form is marked on Windows only; Docker leaves this false elsewhere.
            config.args_escaped = false;
        }
        Kind::Entrypoint(command) => {
            let words = command.arguments(&shell(config));
            let emptied = command.words.is_empty() && command.form == Form::Exec;
            config.entrypoint = if emptied { None } else { Some(words) };
        }
        Kind::Add(_) | Kind::Arg(_) | Kind::Copy(_) | Kind::Maintainer(_) | Kind::Run(_) => {
            return false;
        }
    }
    true
}

/// The image's shell, or Docker's.
pub fn shell(config: &Config) -> Vec<String> {
    match &config.shell {
        Some(words) if !words.is_empty() => words.clone(),
        _ => DEFAULT_SHELL.map(str::to_owned).to_vec(),
    }
}

/// Sets a variable in place, or adds it.
pub fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let entry = format!("{name}={value}");
    match env.iter_mut().find(|variable| variable.split('=').next() == Some(name)) {
        Some(variable) => *variable = entry,
        None => env.push(entry),
    }
}

fn workdir(current: &str, path: &str) -> String {
    if path.starts_with('/') {
        return glob::clean(path);
    }
    glob::clean(&format!("/{current}/{path}"))
}

/// `commit --change`, `import --change`: Dockerfile lines applied to a configuration.
pub fn change(mut config: Config, changes: &[String]) -> Result<Config, ParseError> {
    let mut command_given = false;
    let split = lines::split(&changes.join("\n"))?;
    for line in split.lines {
        let number = line.number;
        let at = |what| ParseError::At { line: number, what };
        let instruction = match parse::line(line, split.escape).map_err(at)? {
            Parsed::Instruction(instruction) => instruction,
            Parsed::From(_) => return Err(ParseError::NotAChange("from".to_owned())),
        };
        let environment = environment(&config);
        let lookup = |name: &str| environment.get(name).map(String::as_str);
        let kind = instruction.expanded(split.escape, &lookup)?;
        if matches!(kind, Kind::Shell(_)) || !apply(&mut config, &kind) {
            return Err(ParseError::NotAChange(instruction.name().to_lowercase()));
        }
        match kind {
            Kind::Cmd(_) => command_given = true,
            // The command before belonged to the entry point before.
            Kind::Entrypoint(_) if !command_given => config.cmd = None,
            _ => {}
        }
    }
    Ok(config)
}

fn environment(config: &Config) -> BTreeMap<String, String> {
    let pairs = config.env.iter().flatten().filter_map(|variable| variable.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Instruction {
    /// The instruction's word, in capitals.
    pub fn name(&self) -> &'static str {
        match &self.kind {
            Kind::Add(_) => "ADD",
            Kind::Arg(_) => "ARG",
            Kind::Cmd(_) => "CMD",
            Kind::Copy(_) => "COPY",
            Kind::Entrypoint(_) => "ENTRYPOINT",
            Kind::Env(_) => "ENV",
            Kind::Expose(_) => "EXPOSE",
            Kind::Healthcheck(_) => "HEALTHCHECK",
            Kind::Label(_) => "LABEL",
            Kind::Maintainer(_) => "MAINTAINER",
            Kind::Onbuild(_) => "ONBUILD",
            Kind::Run(_) => "RUN",
            Kind::Shell(_) => "SHELL",
            Kind::StopSignal(_) => "STOPSIGNAL",
            Kind::User(_) => "USER",
            Kind::Volume(_) => "VOLUME",
            Kind::Workdir(_) => "WORKDIR",
        }
    }

    /// The instruction with its words expanded, where Docker expands them: not in commands, triggers,
    /// health checks and maintainers. Ports and signals are checked here, for they may come from variables.
    pub fn expanded<'e>(
        &self,
        escape: char,
        env: &dyn Fn(&str) -> Option<&'e str>,
    ) -> Result<Kind, ParseError> {
        let word = |text: &str| expand::expand(text, escape, env);
        let words = |list: &[String]| list.iter().map(|text| word(text)).collect::<Result<_, _>>();
        let pairs = |list: &[(String, String)]| {
            let pair = |(name, value): &(String, String)| Ok((word(name)?, word(value)?));
            list.iter().map(pair).collect::<Result<Vec<_>, crate::ExpandError>>()
        };
        let maybe = |text: &Option<String>| text.as_deref().map(word).transpose();
        Ok(match &self.kind {
            Kind::Env(list) => Kind::Env(pairs(list)?),
            Kind::Label(list) => Kind::Label(pairs(list)?),
            Kind::Expose(list) => {
                let mut ports = Vec::new();
                for port in list {
                    for port in expand::expand_list(port, escape, env)? {
                        ports.extend(exposed(&port).map_err(|what| self.refuse(what))?);
                    }
                }
                Kind::Expose(ports)
            }
            Kind::Volume(list) => Kind::Volume(words(list)?),
            Kind::User(text) => Kind::User(word(text)?),
            Kind::Workdir(text) => Kind::Workdir(word(text)?),
            Kind::StopSignal(text) => Kind::StopSignal(word(text)?),
            Kind::Arg(list) => {
                let argument =
                    |(name, default): &(String, Option<String>)| Ok((word(name)?, maybe(default)?));
                Kind::Arg(list.iter().map(argument).collect::<Result<_, crate::ExpandError>>()?)
            }
            Kind::Add(copy) | Kind::Copy(copy) => {
                let mut copy = copy.clone();
                copy.sources = words(&copy.sources)?;
                copy.destination = word(&copy.destination)?;
                copy.chown = maybe(&copy.chown)?;
                copy.chmod = maybe(&copy.chmod)?;
                copy.exclude = words(&copy.exclude)?;
                for heredoc in copy.contents.iter_mut() {
                    heredoc.content = heredoc.text();
                    heredoc.chomp = false;
                    if heredoc.expand {
                        heredoc.content = expand::heredoc_text(&heredoc.content, escape, env)?;
                    }
                }
                if matches!(self.kind, Kind::Add(_)) { Kind::Add(copy) } else { Kind::Copy(copy) }
            }
            other => other.clone(),
        })
    }

    fn refuse(&self, what: Syntax) -> ParseError {
        ParseError::At { line: self.line, what }
    }
}

/// `80`, `80/udp`, `8000-8010/tcp` as `port/protocol` each.
fn exposed(text: &str) -> Result<Vec<String>, Syntax> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = if protocol.is_empty() { "tcp" } else { protocol };
    // `host:container` and `address:host:container` expose the container's port.
    let container = ports.rsplit(':').next().unwrap_or(ports);
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(Syntax::Protocol(protocol));
    }
    let bad = || Syntax::Port(container.to_owned());
    let (first, last) = container.split_once('-').unwrap_or((container, container));
    let first: u16 = first.parse().map_err(|_| bad())?;
    let last: u16 = last.parse().map_err(|_| bad())?;
    if last < first {
        return Err(bad());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests;
