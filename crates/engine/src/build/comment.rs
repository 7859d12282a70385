//! The history line of each instruction, in dockerd's form. It is also the key of the cache: it says all
//! that an instruction's result depends on, beside its parent and its configuration. Pure.

use dockerfile::Kind;
use types::container::Config;

/// `/bin/sh -c #(nop)  ENV A=1`. `kind` is expanded; `config` is the one that results.
pub(super) fn metadata(shell: &[String], kind: &Kind, config: &Config) -> String {
    let text = match kind {
        Kind::Arg(list) => format!(" ARG {}", arguments(list)),
        Kind::Env(list) => format!(" ENV {}", pairs(list)),
        Kind::Label(list) => format!(" LABEL {}", pairs(list)),
        Kind::Expose(list) => format!(" EXPOSE {}", list.join(" ")),
        Kind::Volume(list) => format!(" VOLUME [{}]", list.join(" ")),
        Kind::User(user) => format!(" USER {user}"),
        Kind::Workdir(_) => format!("WORKDIR {}", config.working_dir),
        Kind::Cmd(_) => format!(" CMD {}", quoted(config.cmd.as_deref())),
        Kind::Entrypoint(_) => format!(" ENTRYPOINT {}", quoted(config.entrypoint.as_deref())),
        Kind::Healthcheck(health) => format!(" HEALTHCHECK {health:?}"),
        Kind::StopSignal(signal) => format!(" STOPSIGNAL {signal}"),
        Kind::Shell(words) => format!(" SHELL [{}]", words.join(" ")),
        Kind::Onbuild(text) => format!(" ONBUILD {text}"),
        Kind::Maintainer(name) => format!(" MAINTAINER {name}"),
        // These have lines of their own.
        Kind::Add(_) | Kind::Copy(_) | Kind::Run(_) => String::new(),
    };
    format!("{} #(nop) {text}", shell.join(" "))
}

/// `/bin/sh -c #(nop) COPY file:<hash> in /dest `.
pub(super) fn copy(
    shell: &[String],
    name: &str,
    flags: &str,
    hash: &str,
    destination: &str,
) -> String {
    format!("{} #(nop) {name} {flags}{hash} in {destination} ", shell.join(" "))
}

/// The command, with the build arguments that it sees: `|1 A=x /bin/sh -c make`.
pub(super) fn run(arguments: &[String], command: &[String]) -> String {
    let command = command.join(" ");
    match arguments {
        [] => command,
        list => format!("|{} {} {command}", list.len(), list.join(" ")),
    }
}

fn pairs(list: &[(String, String)]) -> String {
    let texts: Vec<String> = list.iter().map(|(name, value)| format!("{name}={value}")).collect();
    texts.join(" ")
}

fn arguments(list: &[(String, Option<String>)]) -> String {
    let text = |(name, default): &(String, Option<String>)| match default {
        Some(default) => format!("{name}={default}"),
        None => name.clone(),
    };
    list.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// Go's `%q` of a list.
fn quoted(words: Option<&[String]>) -> String {
    let words: Vec<String> =
        words.unwrap_or_default().iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Vec<String> {
        dockerfile::shell(&Config::default())
    }

    #[test]
    fn lines_are_dockerds() {
        let config = Config {
            cmd: Some(vec!["/bin/sh".into(), "-c".into(), "x \"y\"".into()]),
            working_dir: "/app".into(),
            ..Config::default()
        };
        let line = |kind: &Kind| metadata(&shell(), kind, &config);
        assert_eq!(
            line(&Kind::Env(vec![("A".into(), "1".into()), ("B".into(), "2".into())])),
            "/bin/sh -c #(nop)  ENV A=1 B=2"
        );
        assert_eq!(line(&Kind::Workdir("app".into())), "/bin/sh -c #(nop) WORKDIR /app");
        let command = dockerfile::Command { form: dockerfile::Form::Shell, words: vec![] };
        assert_eq!(
            line(&Kind::Cmd(command)),
            r#"/bin/sh -c #(nop)  CMD ["/bin/sh" "-c" "x \"y\""]"#
        );
        assert_eq!(
            copy(&shell(), "COPY", "--chown=1:2 ", "file:ab", "/x/"),
            "/bin/sh -c #(nop) COPY --chown=1:2 file:ab in /x/ "
        );
    }

    #[test]
    fn a_run_names_the_arguments_it_sees() {
        let command = ["/bin/sh".to_owned(), "-c".to_owned(), "make".to_owned()];
        assert_eq!(run(&[], &command), "/bin/sh -c make");
        assert_eq!(run(&["A=x".to_owned()], &command), "|1 A=x /bin/sh -c make");
    }
}
