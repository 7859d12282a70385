use super::*;

fn full(text: &str) -> String {
    match Reference::parse(text) {
        Ok(reference) => reference.to_string(),
        Err(err) => format!("error: {err}"),
    }
}

#[test]
fn short_names_get_docker_hub_and_library() {
    assert_eq!(full("busybox"), "docker.io/library/busybox");
    assert_eq!(full("user/x:1.0"), "docker.io/user/x:1.0");
    assert_eq!(full("index.docker.io/x"), "docker.io/library/x");
    assert_eq!(full("localhost/x"), "localhost/x");
    assert_eq!(full("127.0.0.1:5000/a/b:v"), "127.0.0.1:5000/a/b:v");
    assert_eq!(full("a.b/x"), "a.b/x");
    assert_eq!(full("[::1]:5000/x"), "[::1]:5000/x");
    let digest = Digest::of(b"");
    assert_eq!(full(&format!("x:y@{digest}")), format!("docker.io/library/x:y@{digest}"));
}

#[test]
fn familiar_names_leave_the_defaults_out() {
    let familiar = |text: &str| Reference::parse(text).unwrap().or_latest().familiar();
    assert_eq!(familiar("docker.io/library/busybox"), "busybox:latest");
    assert_eq!(familiar("docker.io/user/x"), "user/x:latest");
    assert_eq!(familiar("host:5000/library/x:1"), "host:5000/library/x:1");
}

#[test]
fn what_docker_refuses_is_refused_in_its_words() {
    let format = "error: invalid reference format";
    let malformed = [
        "",
        ":tag",
        "x:",
        "x:.bad",
        "-x",
        "x//y",
        "x/",
        "a___b",
        "x@sha256:zz",
        "ho_st:1/x",
        "x y",
    ];
    for bad in malformed {
        assert_eq!(full(bad), format, "{bad:?}");
    }
    assert_eq!(full("Foo"), format!("{format}: repository name (library/Foo) must be lowercase"));
    assert_eq!(full("a/Foo"), format!("{format}: repository name (a/Foo) must be lowercase"));
    assert_eq!(
        full(&"a".repeat(64)),
        format!(
            "error: invalid repository name ({}), cannot specify 64-byte hexadecimal strings",
            "a".repeat(64)
        )
    );
    assert_eq!(
        full(&"a/".repeat(130).trim_end_matches('/').replace('a', "ab")),
        "error: repository name must not be more than 255 characters"
    );
}

#[test]
fn separators_inside_a_component_are_dot_underscore_two_underscores_or_dashes() {
    for good in ["a.b", "a_b", "a__b", "a-b", "a---b"] {
        assert!(Reference::parse(good).is_ok(), "{good}");
    }
    for bad in ["a..b", "a._b", "a.", "_a"] {
        assert!(Reference::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_is_shown_means_the_same_when_it_is_typed() {
    let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (text, shown) in [
        (format!("library/{hex}"), format!("library/{hex}")),
        (format!("library/{hex}:1"), format!("{hex}:1")),
        ("docker.io/localhost/x".to_owned(), "docker.io/localhost/x".to_owned()),
        ("docker.io/a.b/x".to_owned(), "docker.io/a.b/x".to_owned()),
        ("docker.io/index.docker.io/x".to_owned(), "docker.io/index.docker.io/x".to_owned()),
        ("docker.io/library/localhost".to_owned(), "localhost".to_owned()),
        ("host/library/x".to_owned(), "host/library/x".to_owned()),
        ("library/a/b".to_owned(), "library/a/b".to_owned()),
    ] {
        let reference = Reference::parse(&text).unwrap();
        assert_eq!(reference.familiar(), shown, "{text}");
        assert_eq!(Reference::parse(&shown).unwrap(), reference, "{text}");
    }
}
