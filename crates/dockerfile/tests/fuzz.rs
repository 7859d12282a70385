//! Generated Dockerfiles and `.dockerignore` files (`cargo xtask fuzz dockerfile|dockerignore`).

#![allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]

use dockerfile::{Dockerfile, Ignore};
use testkit::fuzz::fuzz;

const WORDS: &[&str] = &[
    "FROM ",
    "FROM busybox AS a\n",
    "from scratch\n",
    "RUN ",
    "RUN <<EOF\n",
    "RUN --mount=type=cache,target=/x ",
    "EOF\n",
    "COPY ",
    "COPY --from=a ",
    "COPY <<A <<-B /x/\n",
    "ADD ",
    "ADD --chown=a:b ",
    "ENV ",
    "ENV A=1 B=\"2 3\"\n",
    "ARG ",
    "ARG A=${B:-c}\n",
    "CMD ",
    "ENTRYPOINT ",
    "EXPOSE ",
    "VOLUME ",
    "LABEL ",
    "USER ",
    "WORKDIR ",
    "ONBUILD ",
    "STOPSIGNAL ",
    "HEALTHCHECK --interval=5s CMD ",
    "HEALTHCHECK NONE\n",
    "SHELL ",
    "MAINTAINER ",
    "# escape=`\n",
    "# syntax=x\n",
    "#",
    "\\\n",
    "`\n",
    "\n",
    "\r\n",
    "\t",
    " ",
    "[\"a\", \"b\"]",
    "[",
    "]",
    "\"",
    "'",
    "\\",
    "$",
    "${",
    "}",
    "${A:+b}",
    "${A##*/}",
    "${A/b/c}",
    "$A",
    "=",
    "a",
    "a=b",
    "/",
    ".",
    "..",
    "*",
    "--",
    "--x",
    "80/tcp",
    "\u{0}",
    "ü",
    "\u{feff}",
    "<<",
    "A\n",
    "B\n",
];

#[test]
fn fuzz_dockerfile() {
    fuzz("dockerfile", |dice| {
        let mut text = dice.words(WORDS, 40);
        if dice.once_in(4) {
            let mut bytes = text.into_bytes();
            dice.spoil(&mut bytes);
            text = String::from_utf8_lossy(&bytes).into_owned();
        }
        if let Ok(file) = Dockerfile::parse(&text, "Dockerfile") {
            drop(file.until("a"));
        }
        let changes: Vec<String> = text.lines().map(str::to_owned).collect();
        drop(dockerfile::change(types::container::Config::default(), &changes));
    });
}

#[test]
fn fuzz_dockerignore() {
    let words = [
        "a", "b", "dir", "/", "/", "*", "**", "**/", "?", "[a-z]", "[^a]", "[", "]", "!", "!a",
        "#", "\\", "\\*", ".", "..", "\n", "\n", " ", "\t", "ü", "-", "{a,b}", "\r\n", "\u{feff}",
    ];
    fuzz("dockerignore", |dice| {
        let text = dice.words(&words, 24);
        let Ok(ignore) = Ignore::parse(&text) else { return };
        for _ in 0..4 {
            let path = dice.words(&["a", "b", "dir", "/", ".", "..", "ü", "*", "\\"], 6);
            // What is not entered is left out as a whole.
            let whole = ignore.matches(&path) && ignore.prunes(&path);
            let below = format!("{}/below", path.trim_end_matches('/'));
            assert!(
                !whole || ignore.matches(&below),
                "{text:?} prunes {path:?} and keeps {below:?}"
            );
        }
    });
}
