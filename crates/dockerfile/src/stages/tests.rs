use super::*;
use crate::{Form, MountKind, Run};
use insta::assert_snapshot;

fn refusal(text: &str) -> String {
    match Dockerfile::parse(text, "Dockerfile") {
        Ok(file) => format!("accepted: {file:?}"),
        Err(err) => err.to_string(),
    }
}

fn only(text: &str) -> Kind {
    let file = Dockerfile::parse(&format!("FROM a\n{text}"), "Dockerfile").unwrap();
    file.stages[0].instructions[0].kind.clone()
}

/// Texts of dockerd, in its later spelling `on line N`; where dockerd names no line, we do.
#[test]
fn refusals_are_dockers_with_the_line() {
    let whole = [
        "",
        "# only comment\n",
        "FROM busybox\n\nFOO bar",
        "FROM",
        "FROM a b",
        "FROM a as 1x",
        "RUN x",
        "ARG X\n",
    ];
    let second_lines = [
        "ENV A",
        "ENV A=1 B",
        "ENV =x",
        "LABEL A",
        "LABEL",
        "COPY a",
        "COPY [\"a\"]",
        "EXPOSE",
        "HEALTHCHECK",
        "HEALTHCHECK FOO",
        "HEALTHCHECK NONE x",
        "HEALTHCHECK --interval=1 CMD x",
        "HEALTHCHECK --interval=1us CMD x",
        "HEALTHCHECK --retries=-1 CMD x",
        "HEALTHCHECK CMD",
        "STOPSIGNAL",
        "SHELL sh",
        "SHELL []",
        "VOLUME",
        "VOLUME [\"\"]",
        "USER",
        "WORKDIR",
        "ONBUILD",
        "ONBUILD FROM x",
        "ONBUILD ONBUILD RUN x",
        "ONBUILD FOO x",
        "RUN --foo ls",
        "RUN --mount ls",
        "RUN --mount=type=foo,target=/x ls",
        "RUN --mount=type=cache ls",
        "RUN --network=x ls",
        "COPY --foo=1 a /",
        "COPY --from a /",
        "COPY --from=a --from=b a /",
        "COPY --link=maybe a /",
        "MAINTAINER",
        "ARG",
        "ARG =x",
        "CMD [\"a\", 1]",
        "CMD --x",
        "RUN <<EOF\nls",
    ];
    let second_lines = second_lines.map(|line| format!("FROM busybox\n{line}"));
    let cases = whole.iter().map(|text| (*text).to_owned()).chain(second_lines);
    let shown: String = cases.map(|text| format!("{text:?}\n  {}\n", refusal(&text))).collect();
    assert_snapshot!(shown);
}

#[test]
fn stages_are_found_by_name_and_number_and_cut_at_the_target() {
    let text = "ARG V=1\nFROM a:$V AS Build\nRUN x\nFROM b\nCOPY --from=build /x /\nFROM c AS last";
    let file = Dockerfile::parse(text, "Dockerfile").unwrap();
    assert_eq!(file.steps(), 6);
    assert_eq!((file.find("BUILD"), file.find("1"), file.find("3")), (Some(0), Some(1), None));
    assert_eq!(file.clone().until("1").unwrap().stages.len(), 2);
    assert_eq!(file.clone().until("").unwrap().stages.len(), 3);
    assert_eq!(
        file.until("x").unwrap_err().to_string(),
        "failed to reach build target x in Dockerfile"
    );
}

#[test]
fn commands_know_their_form() {
    let words = |kind: Kind| match kind {
        Kind::Cmd(command) | Kind::Entrypoint(command) | Kind::Run(Run { command, .. }) => {
            (command.form, command.words)
        }
        other => panic!("{other:?}"),
    };
    let exec = |list: &[&str]| {
        (Form::Exec, list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    };
    let shell = |text: &str| (Form::Shell, vec![text.to_owned()]);
    assert_eq!(words(only("CMD [\"a\", \"b c\"]")), exec(&["a", "b c"]));
    assert_eq!(words(only("ENTRYPOINT []")), exec(&[]));
    assert_eq!(words(only("RUN a | b \\\n c")), shell("a | b  c"));
    // Not JSON: single quotes. The shell gets it as it is.
    assert_eq!(words(only("CMD ['a']")), shell("['a']"));
    assert_eq!(words(only("CMD")), (Form::Shell, vec![]));
    assert_eq!(words(only("RUN <<EOF\necho a\necho b\nEOF")), shell("echo a\necho b\n"));
    assert_eq!(words(only("RUN <<-EOF\n\techo a\n\tEOF")), shell("echo a\n"));
    assert_eq!(words(only("RUN cat <<'E' >/x\n$a\nE")), shell("cat <<'E' >/x\n$a\nE"));
    assert!(words(only("RUN <<E\n#!/usr/bin/env python\nprint('x')\nE")).1[0].contains("chmod"));
}

#[test]
fn run_keeps_its_flags() {
    let Kind::Run(run) = only(
        "RUN --mount=type=cache,target=/c,id=x,mode=0755 --mount=target=/src,rw --mount=type=tmpfs,dst=/t,size=64m --network=none ls",
    ) else {
        panic!("not a RUN")
    };
    let kinds: Vec<_> = run.mounts.iter().map(|mount| (mount.kind, mount.read_only)).collect();
    assert_eq!(
        kinds,
        [(MountKind::Cache, false), (MountKind::Bind, false), (MountKind::Tmpfs, false)]
    );
    assert_eq!((run.mounts[0].mode, run.mounts[2].size), (Some(0o755), Some(64 << 20)));
    assert_eq!(run.network.as_deref(), Some("none"));
}

#[test]
fn copy_tells_files_from_heredocs() {
    let Kind::Copy(copy) = only(
        "COPY --chown=1:2 --chmod=600 --link --exclude=*.a --exclude=b <<A f <<\"B\" /d/\n$x\nA\ny\nB",
    ) else {
        panic!("not a COPY")
    };
    assert_eq!((copy.sources, copy.destination), (vec!["f".to_owned()], "/d/".to_owned()));
    let contents: Vec<_> = copy
        .contents
        .iter()
        .map(|doc| (doc.name.as_str(), doc.content.as_str(), doc.expand))
        .collect();
    assert_eq!(contents, [("A", "$x\n", true), ("B", "y\n", false)]);
    assert_eq!((copy.chown.as_deref(), copy.link, copy.exclude.len()), (Some("1:2"), true, 2));
    let Kind::Add(add) = only("ADD [\"a b\", \"c\", \"/d e/\"]") else { panic!("not an ADD") };
    assert_eq!(
        (add.sources, add.destination),
        (vec!["a b".to_owned(), "c".into()], "/d e/".to_owned())
    );
}

#[test]
fn both_forms_of_env_are_read() {
    assert_eq!(only("ENV a  b c"), Kind::Env(vec![("a".into(), "b c".into())]));
    assert_eq!(
        only("ENV a=\"x y\" b=c\\ d"),
        Kind::Env(vec![("a".into(), "\"x y\"".into()), ("b".into(), "c\\ d".into())])
    );
}
