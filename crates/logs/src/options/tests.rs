use super::*;

fn parse(driver: &str, options: &[(&str, &str)]) -> Result<LogOptions, String> {
    let config = options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    LogOptions::parse(driver, &config).map_err(|err| err.to_string())
}

#[test]
fn sizes_are_dockers_decimal_ones_and_a_size_alone_keeps_one_file() {
    let rotation = |options: &[(&str, &str)]| parse("", options).unwrap().rotation;
    let want = |max_bytes, max_files| Rotation { max_bytes, max_files };
    assert_eq!(rotation(&[]), want(Some(10_000_000), 5));
    assert_eq!(rotation(&[("max-size", "1k")]), want(Some(1000), 1));
    assert_eq!(rotation(&[("max-size", "1.5MiB"), ("max-file", "3")]), want(Some(1_500_000), 3));
    assert_eq!(rotation(&[("max-size", "-1")]), want(None, 1));
}

#[test]
fn refusals_are_dockers_sentences() {
    let cases = [
        ("gelf", "x", "y", "logger: no log driver named 'gelf' is registered"),
        ("json-file", "bogus", "1", "unknown log opt 'bogus' for json-file log driver"),
        ("local", "labels", "a", "unknown log opt 'labels' for log driver local"),
        ("", "mode", "fast", "logger: logging mode not supported: fast"),
        ("", "max-size", "ten", "invalid size: 'ten'"),
        ("", "max-size", "0", "max-size must be a positive number"),
        ("", "env-regex", "(", "error parsing regexp: found open group without closing ')'"),
        ("", "max-file", "0", "max-file cannot be less than 1"),
        ("", "max-file", "x", "strconv.Atoi: parsing \"x\": invalid syntax"),
        (
            "",
            "max-buffer-size",
            "1m",
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
    ];
    for (driver, key, value, want) in cases {
        assert_eq!(parse(driver, &[(key, value)]).unwrap_err(), want);
    }
    assert!(parse("none", &[("anything", "goes")]).is_ok());
    assert!(parse("", &[("mode", "non-blocking"), ("max-buffer-size", "4m")]).is_ok());
}

#[test]
fn chosen_labels_variables_and_the_tag_become_attributes() {
    let options =
        parse("", &[("labels", "a,missing"), ("env-regex", "^HO"), ("tag", "{{.Name}}/{{.ID}}")]);
    let labels =
        BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
    let env = ["HOME=/root".to_owned(), "PATH=/bin".to_owned()];
    let info = TagInfo { id: "0123456789abcdef", name: "web", ..TagInfo::default() };
    let attributes = options.unwrap().attributes(&labels, &env, info);
    let pairs: Vec<_> = attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(pairs, ["HOME=/root", "a=1", "tag=web/0123456789ab"]);
}
