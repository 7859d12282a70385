//! Placement constraints: `node.labels.disk == ssd`, in SwarmKit's grammar and words.
//!
//! Parsing refuses what SwarmKit refuses. Matching goes beyond it in one thing: `*` and `?` in a value are
//! globs. Here and not in the scheduler because orchestrators of global services ask too.

use super::node::{Node, Role};
use std::fmt;
use std::net::IpAddr;

const NODE_LABELS: &str = "node.labels.";
const ENGINE_LABELS: &str = "engine.labels.";

/// One `KEY OP VALUE`, printed with single spaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Constraint {
    pub attribute: Attribute,
    pub operator: Operator,
    /// Compared without regard to case; `*` and `?` are globs.
    pub value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    Equal,
    NotEqual,
}

/// Something of a node that has a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attribute {
    Id,
    Hostname,
    Ip,
    Role,
    Os,
    Arch,
    /// Label names keep their case, the words before them do not matter.
    NodeLabel(String),
    EngineLabel(String),
    /// No node has it: a constraint on it is satisfied nowhere, whatever its operator.
    Unknown(String),
}

/// A constraint that is none, in SwarmKit's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConstraintError {
    Operator,
    Key(String),
    Value(String),
}

impl fmt::Display for ConstraintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConstraintError::Operator => {
                f.write_str("constraint expected one operator from ==, !=")
            }
            ConstraintError::Key(key) => write!(f, "key '{key}' is invalid"),
            ConstraintError::Value(value) => write!(f, "value '{value}' is invalid"),
        }
    }
}

impl std::error::Error for ConstraintError {}

/// Reads all, or refuses the first that is wrong.
pub fn parse_all(texts: &[String]) -> Result<Vec<Constraint>, ConstraintError> {
    texts.iter().map(|text| Constraint::parse(text)).collect()
}

/// Whether `node` satisfies every constraint.
pub fn matches_all(constraints: &[Constraint], node: &Node) -> bool {
    constraints.iter().all(|constraint| constraint.matches(node))
}

impl Constraint {
    pub fn parse(text: &str) -> Result<Self, ConstraintError> {
        // SwarmKit looks for `==` first, wherever it stands.
        let (operator, (key, value)) = match (text.split_once("=="), text.split_once("!=")) {
            (Some(parts), _) => (Operator::Equal, parts),
            (None, Some(parts)) => (Operator::NotEqual, parts),
            (None, None) => return Err(ConstraintError::Operator),
        };
        let (key, value) = (key.trim(), value.trim());
        if !is_key(key) {
            return Err(ConstraintError::Key(key.to_owned()));
        }
        if value.is_empty() || !value.chars().all(in_value) {
            return Err(ConstraintError::Value(value.to_owned()));
        }
        Ok(Constraint { attribute: Attribute::parse(key), operator, value: value.to_owned() })
    }

    pub fn matches(&self, node: &Node) -> bool {
        let same = match &self.attribute {
            Attribute::Unknown(_) => return false,
            Attribute::Ip => match ip_within(&self.value, &node.status.addr) {
                Some(within) => within,
                None => return false,
            },
            attribute => glob(&self.value, attribute.of(node)),
        };
        same == (self.operator == Operator::Equal)
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match self.operator {
            Operator::Equal => "==",
            Operator::NotEqual => "!=",
        };
        write!(f, "{} {operator} {}", self.attribute, self.value)
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attribute::Id => f.write_str("node.id"),
            Attribute::Hostname => f.write_str("node.hostname"),
            Attribute::Ip => f.write_str("node.ip"),
            Attribute::Role => f.write_str("node.role"),
            Attribute::Os => f.write_str("node.platform.os"),
            Attribute::Arch => f.write_str("node.platform.arch"),
            Attribute::NodeLabel(label) => write!(f, "{NODE_LABELS}{label}"),
            Attribute::EngineLabel(label) => write!(f, "{ENGINE_LABELS}{label}"),
            Attribute::Unknown(key) => f.write_str(key),
        }
    }
}

impl Attribute {
    /// The attribute called `key`; never fails, see [`Attribute::Unknown`].
    pub fn parse(key: &str) -> Self {
        if let Some(label) = after(key, NODE_LABELS) {
            return Attribute::NodeLabel(label.to_owned());
        }
        if let Some(label) = after(key, ENGINE_LABELS) {
            return Attribute::EngineLabel(label.to_owned());
        }
        match key.to_ascii_lowercase().as_str() {
            "node.id" => Attribute::Id,
            "node.hostname" => Attribute::Hostname,
            "node.ip" => Attribute::Ip,
            "node.role" => Attribute::Role,
            "node.platform.os" => Attribute::Os,
            "node.platform.arch" => Attribute::Arch,
            _ => Attribute::Unknown(key.to_owned()),
        }
    }

    /// The node's value; empty where it has none.
    pub fn of<'a>(&self, node: &'a Node) -> &'a str {
        let label = |value: Option<&'a String>| value.map_or("", String::as_str);
        match self {
            Attribute::Id => node.id.as_str(),
            Attribute::Hostname => &node.description.hostname,
            Attribute::Ip => &node.status.addr,
            Attribute::Role => match node.spec.role {
                Role::Worker => "worker",
                Role::Manager => "manager",
            },
            Attribute::Os => &node.description.platform.os,
            Attribute::Arch => &node.description.platform.architecture,
            Attribute::NodeLabel(name) => label(node.spec.labels.get(name)),
            Attribute::EngineLabel(name) => label(node.description.engine.labels.get(name)),
            Attribute::Unknown(_) => "",
        }
    }
}

fn after<'a>(key: &'a str, prefix: &str) -> Option<&'a str> {
    let head = key.get(..prefix.len())?;
    (head.eq_ignore_ascii_case(prefix) && key.len() > prefix.len()).then(|| &key[prefix.len()..])
}

fn is_key(key: &str) -> bool {
    let mut chars = key.chars();
    let head = chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    head && key.len() > 1
        && chars.all(|other| other.is_ascii_alphanumeric() || matches!(other, '-' | '_' | '.'))
}

/// No character of an operator that may come one day.
fn in_value(character: char) -> bool {
    character.is_ascii_alphanumeric()
        || matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0c')
        || r":-_.*()?+[]\^$|/".contains(character)
}

/// Whether `addr` is `wanted` or lies in it; `None` when `wanted` is neither address nor network.
fn ip_within(wanted: &str, addr: &str) -> Option<bool> {
    let addr: Option<IpAddr> = addr.parse().ok();
    if let Ok(ip) = wanted.parse::<IpAddr>() {
        return Some(addr == Some(ip));
    }
    let (network, length) = wanted.split_once('/')?;
    let (network, length): (IpAddr, u32) = (network.parse().ok()?, length.parse().ok()?);
    let shared =
        |one: u128, other: u128, width: u32| length == 0 || (one ^ other) >> (width - length) == 0;
    match (network, addr) {
        (IpAddr::V4(_), _) if length > 32 => None,
        (IpAddr::V6(_), _) if length > 128 => None,
        (IpAddr::V4(net), Some(IpAddr::V4(ip))) => {
            Some(shared(net.to_bits().into(), ip.to_bits().into(), 32))
        }
        (IpAddr::V6(net), Some(IpAddr::V6(ip))) => Some(shared(net.to_bits(), ip.to_bits(), 128)),
        _ => Some(false),
    }
}

/// Whether `text` is `pattern` without regard to case, where `*` is any run and `?` any one character.
pub fn glob(pattern: &str, text: &str) -> bool {
    if pattern.is_ascii() && text.is_ascii() && !pattern.contains(['*', '?']) {
        return pattern.eq_ignore_ascii_case(text);
    }
    let fold = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<Vec<_>>();
    let (pattern, text) = (fold(pattern), fold(text));
    // Where to go on after the last `*` when what follows it does not fit: one character later.
    let (mut at, mut read, mut retry) = (0, 0, None);
    while read < text.len() {
        match pattern.get(at) {
            Some('*') => {
                retry = Some((at, read));
                at += 1;
            }
            Some(want) if *want == '?' || *want == text[read] => {
                at += 1;
                read += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    at = star + 1;
                    read = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeId;

    fn node() -> Node {
        let mut node = Node { id: NodeId::new("n1"), ..Node::default() };
        node.description.hostname = "Web-01".to_owned();
        node.status.addr = "10.0.3.7".to_owned();
        node.spec.labels.insert("disk".to_owned(), "ssd".to_owned());
        node.description.engine.labels.insert("Zone".to_owned(), "b".to_owned());
        node
    }
    fn holds(text: &str) -> bool {
        Constraint::parse(text).unwrap().matches(&node())
    }
    fn refusal(text: &str) -> String {
        Constraint::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_constraint_is_refused_in_swarmkits_words() {
        assert_eq!(refusal("node.id"), "constraint expected one operator from ==, !=");
        assert_eq!(refusal("node.id = n1"), "constraint expected one operator from ==, !=");
        assert_eq!(refusal("1node==x"), "key '1node' is invalid");
        assert_eq!(refusal("n==x"), "key 'n' is invalid");
        assert_eq!(refusal("node.id=="), "value '' is invalid");
        assert_eq!(refusal("node.id==a<b"), "value 'a<b' is invalid");
    }

    #[test]
    fn values_are_compared_without_case_and_label_names_with_it() {
        assert!(
            holds("node.hostname == WEB-01") && holds("NODE.ID==n1") && holds("node.role!=manager")
        );
        assert!(holds("node.labels.disk==SSD") && !holds("node.labels.Disk==ssd"));
        assert!(holds("engine.labels.Zone == b") && holds("node.labels.none != x"));
    }

    #[test]
    fn stars_and_question_marks_are_globs() {
        assert!(
            holds("node.hostname==web-*")
                && holds("node.hostname==*-0?")
                && !holds("node.hostname!=w*b*")
        );
        assert!(!holds("node.hostname==web-??1"));
        assert!(
            glob("a*b*c", "a-b-b-c") && !glob("a*b*c", "a-b-b-") && glob("*", "") && !glob("?", "")
        );
    }

    #[test]
    fn an_address_matches_itself_and_its_networks() {
        assert!(
            holds("node.ip==10.0.3.7")
                && holds("node.ip==10.0.0.0/16")
                && holds("node.ip!=10.1.0.0/16")
        );
        assert!(!holds("node.ip==fe80--1") && !holds("node.ip!=fe80--1"));
    }

    #[test]
    fn a_key_that_nothing_has_matches_nowhere() {
        assert!(!holds("node.colour==red") && !holds("node.colour!=red"));
    }
}
