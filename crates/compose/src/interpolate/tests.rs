//! The table of the specification, and what it forbids.

use super::{TemplateError, expand};
use std::collections::BTreeSet;

fn run(text: &str) -> Result<String, TemplateError> {
    let lookup = |name: &str| match name {
        "A" => Some("one".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    expand(text, &lookup, &mut BTreeSet::new())
}

#[test]
fn every_operator_follows_the_specification() {
    for (text, want) in [
        ("$A-${A}", "one-one"),
        ("$$A $${A}", "$A ${A}"),
        ("${A:-x}${EMPTY:-x}${NO:-x}", "onexx"),
        ("${A-x}${EMPTY-x}${NO-x}", "onex"),
        ("${A:+x}${EMPTY:+x}${NO:+x}", "x"),
        ("${A+x}${EMPTY+x}${NO+x}", "xx"),
        ("${NO:-${A}}", "one"),
        ("${NO:-${EMPTY:-deep}}!", "deep!"),
        ("${NO-a:b/c?d}", "a:b/c?d"),
        ("${A:?gone}", "one"),
        ("$NO|$A_", "|"),
    ] {
        assert_eq!(run(text).as_deref(), Ok(want), "{text}");
    }
}

#[test]
fn a_missing_required_variable_carries_its_message() {
    for text in ["${NO:?set $A first}", "${NO?set $A first}", "${EMPTY:?set $A first}"] {
        let error = run(text).expect_err(text).to_string();
        assert!(error.ends_with("is missing a value: set one first"), "{error}");
    }
}

#[test]
fn a_dollar_before_no_name_is_a_dollar() {
    for text in ["$(date)", "cost: 5$", "$1", "^a$|b"] {
        assert_eq!(run(text).as_deref(), Ok(text));
    }
}

#[test]
fn an_unfinished_expression_is_refused() {
    for text in ["${", "${}", "${A", "${A!x}"] {
        assert!(matches!(run(text), Err(TemplateError::Invalid(_))), "{text}");
    }
}
