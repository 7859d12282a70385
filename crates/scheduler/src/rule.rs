//! Rules over counts of tasks per value of an attribute: Marathon's constraints and affinities.
//!
//! All of them ask one question of one number: how many tasks of a service run on nodes with this value.

use crate::error::PlacementError;
use crate::wish::{Site, Wish};
use regex_lite::Regex;
use types::ServiceId;
use types::swarm::constraint::Attribute;
use types::swarm::placement::{Affinity, PlacementExtensions};

/// A count of `service`'s tasks, taken per value of `over`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Rule {
    pub(crate) service: ServiceId,
    pub(crate) over: Attribute,
    pub(crate) test: Test,
    pub(crate) force: Force,
    /// As the user wrote it.
    pub(crate) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Test {
    /// Fewer than this on the value.
    Below(u64),
    /// At least one on the value.
    Present,
    /// At least one on the value, unless there is none anywhere.
    Together,
}

/// What comes of a rule that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Force {
    /// The node is refused, as a constraint. A node without the attribute is, too (Marathon).
    Constraint,
    /// The node is refused, as an affinity.
    Affinity,
    /// The node comes after others.
    Preference,
}

/// `LIKE` or `UNLIKE`: the node's whole value against an expression.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Pattern {
    pub(crate) over: Attribute,
    pub(crate) expression: String,
    pub(crate) like: bool,
    pub(crate) text: String,
}

impl Test {
    /// Whether it holds on a value with `here` tasks, when there are `all` in the cluster.
    pub(crate) fn holds(self, here: u64, all: u64) -> bool {
        match self {
            Test::Below(limit) => here < limit,
            Test::Present => here > 0,
            Test::Together => here > 0 || all == 0,
        }
    }
}

impl Pattern {
    /// The expression, matched against the whole value as Java's `matches` does.
    pub(crate) fn regex(&self) -> Result<Regex, PlacementError> {
        Regex::new(&format!("^(?:{})$", self.expression)).map_err(|_| PlacementError::Value {
            operator: if self.like { "LIKE" } else { "UNLIKE" },
            expected: "regular expression",
            value: self.expression.clone(),
        })
    }
}

/// Fills the rules of `wish`, the patterns and leading spread levels of `site`.
pub(crate) fn compile_rules(
    wish: &mut Wish,
    site: &mut Site,
    extensions: &PlacementExtensions,
    resolve: impl Fn(&str) -> ServiceId,
) -> Result<(), PlacementError> {
    for words in &extensions.constraints {
        marathon(wish, site, words)?;
    }
    for affinity in &extensions.affinities {
        wish.rules.push(affinity_rule(affinity, &wish.service, &resolve)?);
    }
    Ok(())
}

fn marathon(wish: &mut Wish, site: &mut Site, words: &[String]) -> Result<(), PlacementError> {
    let text = words.join(" ");
    let (field, operator, value) = match words {
        [field, operator] => (field, operator, ""),
        [field, operator, value] => (field, operator, value.as_str()),
        _ => return Err(PlacementError::Shape(text)),
    };
    let over = field_attribute(field);
    let service = wish.service.clone();
    let rule = |over, test, text| Rule { service, over, test, force: Force::Constraint, text };
    match operator.to_ascii_uppercase().as_str() {
        "UNIQUE" => wish.rules.push(rule(over, Test::Below(1), text)),
        "MAX_PER" => wish.rules.push(rule(over, Test::Below(number("MAX_PER", value)?), text)),
        "CLUSTER" if value.is_empty() => wish.rules.push(rule(over, Test::Together, text)),
        "CLUSTER" => {
            let expression = regex_lite::escape(value);
            site.patterns.push(Pattern { over, expression, like: true, text });
        }
        "GROUP_BY" => {
            if !value.is_empty() {
                number("GROUP_BY", value)?;
            }
            site.spread.push(over);
        }
        word @ ("LIKE" | "UNLIKE") => {
            let like = word == "LIKE";
            let pattern = Pattern { over, expression: value.to_owned(), like, text };
            pattern.regex()?;
            site.patterns.push(pattern);
        }
        _ => return Err(PlacementError::Operator(operator.clone())),
    }
    Ok(())
}

fn number(operator: &'static str, value: &str) -> Result<u64, PlacementError> {
    let wrong =
        || PlacementError::Value { operator, expected: "number above 0", value: value.to_owned() };
    value.parse().ok().filter(|number| *number > 0).ok_or_else(wrong)
}

/// Marathon's field: its own words, a constraint's key, or the name of a node label.
fn field_attribute(field: &str) -> Attribute {
    match field {
        "hostname" | "@hostname" => Attribute::Hostname,
        other => match Attribute::parse(other) {
            Attribute::Unknown(label) => Attribute::NodeLabel(label),
            known => known,
        },
    }
}

fn affinity_rule(
    affinity: &Affinity,
    own: &ServiceId,
    resolve: impl Fn(&str) -> ServiceId,
) -> Result<Rule, PlacementError> {
    if affinity.service.is_empty() {
        return Err(PlacementError::NoService);
    }
    let over = match affinity.over.as_str() {
        "" => Attribute::Id,
        key => Attribute::parse(key),
    };
    if let Attribute::Unknown(key) = over {
        return Err(PlacementError::Attribute(key));
    }
    let service = resolve(&affinity.service);
    let test = match affinity.anti {
        true => Test::Below(1),
        // Its own first task has nobody to be near to.
        false if service == *own => Test::Together,
        false => Test::Present,
    };
    let force = if affinity.required { Force::Affinity } else { Force::Preference };
    let word = if affinity.anti { "away from" } else { "near" };
    let text = format!("{word} {}", affinity.service);
    Ok(Rule { service, over, test, force, text })
}
