use super::*;
use proptest::prelude::*;

fn env(name: &str) -> Option<&'static str> {
    match name {
        "PWD" => Some("/home"),
        "EMPTY" => Some(""),
        "LIST" => Some("a b"),
        "FILE" => Some("dir/x.tar.gz"),
        _ => None,
    }
}

fn one(word: &str) -> String {
    expand(word, '\\', &env).unwrap_or_else(|err| err.to_string())
}

/// The cases of buildkit's own table, in our words.
#[test]
fn words_expand_as_the_classic_builder_expands_them() {
    for (word, want) in [
        ("hello", "hello"),
        ("he'll'o", "hello"),
        ("he\"ll\"o", "hello"),
        ("he\\'llo", "he'llo"),
        ("'he\\llo'", "he\\llo"),
        ("\"he\\llo\"", "he\\llo"),
        ("\"he\\\"llo\"", "he\"llo"),
        ("\"\\$PWD\"", "$PWD"),
        ("\\$PWD", "$PWD"),
        ("'$PWD'", "$PWD"),
        ("\"$PWD\"", "/home"),
        ("$PWD", "/home"),
        ("he$PWD.x", "he/home.x"),
        ("he${PWD}y", "he/homey"),
        ("$PWDY", ""),
        ("$", "$"),
        ("a$", "a$"),
        ("$.", "$."),
        ("$1x", "x"),
        ("${UNSET:-def}", "def"),
        ("${UNSET-def}", "def"),
        ("${EMPTY-def}", ""),
        ("${EMPTY:-def}", "def"),
        ("${UNSET:-${PWD}}", "/home"),
        ("${UNSET:-\"x y\"}", "x y"),
        ("${PWD:+yes}", "yes"),
        ("${EMPTY:+yes}", ""),
        ("${EMPTY+yes}", "yes"),
        ("${UNSET+yes}", ""),
        ("${PWD:?must}", "/home"),
        ("${FILE#*/}", "x.tar.gz"),
        ("${FILE%.*}", "dir/x.tar"),
        ("${FILE%%.*}", "dir/x"),
        ("${FILE##*.}", "gz"),
        ("${FILE/./-}", "dir/x-tar.gz"),
        ("${FILE//./-}", "dir/x-tar-gz"),
        ("安${PWD}全", "安/home全"),
    ] {
        assert_eq!(one(word), want, "{word}");
    }
}

#[test]
fn refusals_quote_the_word() {
    for (word, want) in [
        ("${A:?no}", "failed to process \"${A:?no}\": A: no"),
        ("${A?}", "failed to process \"${A?}\": A: is not allowed to be unset"),
        ("${EMPTY:?}", "failed to process \"${EMPTY:?}\": EMPTY: is not allowed to be empty"),
        ("${A", "failed to process \"${A\": syntax error: missing '}'"),
        ("${A:-x", "failed to process \"${A:-x\": syntax error: missing '}'"),
        ("${}", "failed to process \"${}\": syntax error: bad substitution"),
        ("${A:x}", "failed to process \"${A:x}\": unsupported modifier (:x) in substitution"),
        ("${A,x}", "failed to process \"${A,x}\": unsupported modifier (,) in substitution"),
        (
            "\"a",
            "failed to process \"\\\"a\": unexpected end of statement while looking for matching double-quote",
        ),
        (
            "'a",
            "failed to process \"'a\": unexpected end of statement while looking for matching single-quote",
        ),
    ] {
        assert_eq!(one(word), want, "{word}");
    }
}

#[test]
fn lists_split_at_blanks_that_came_unquoted() {
    for (word, want) in [
        ("80 $LIST \"$LIST\"", vec!["80", "a", "b", "a b"]),
        ("x\\ y  z", vec!["x y", "z"]),
        ("''", vec![]),
        ("$UNSET", vec![]),
        ("", vec![]),
    ] {
        assert_eq!(expand_list(word, '\\', &env).unwrap(), want, "{word}");
    }
}

#[test]
fn a_heredoc_keeps_its_quotes_and_another_escape_token_is_taken() {
    assert_eq!(heredoc_text("a='$PWD' \\$PWD\n", '\\', &env).unwrap(), "a='/home' $PWD\n");
    assert_eq!(expand("c:\\x`$PWD", '`', &env).unwrap(), "c:\\x$PWD");
}

proptest! {
    #[test]
    fn nothing_makes_the_lexer_fail_to_end(word in "[$\\{\\}:?+\\-#%/'\"\\\\a-c ]{0,24}") {
        let whole = expand(&word, '\\', &env);
        let list = expand_list(&word, '\\', &env);
        prop_assert_eq!(whole.is_ok(), list.is_ok());
    }
}
