//! The query string as Go's `r.Form` reads it.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use engine::{Error, Filters};
use std::convert::Infallible;
use std::str::FromStr;
use types::Timestamp;

/// The parameters in their order; names may repeat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let unescape = |text: &str| crate::path::decode(&text.replace('+', " "));
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(name), unescape(value))
        };
        Query(text.split('&').filter(|pair| !pair.is_empty()).map(pair).collect())
    }

    /// The first value of `name`; empty when there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The value as an owned string, when it is there and not empty.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.find(name).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// Every value of `name`.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(have, _)| have == name).map(|(_, value)| value.clone()).collect()
    }

    /// True unless absent or one of Docker's words for no: ``, `0`, `no`, `false`, `none`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.flag_or(name, false)
    }

    /// As [`Self::flag`], with what an absent parameter means.
    pub(crate) fn flag_or(&self, name: &str, absent: bool) -> bool {
        self.find(name).map_or(absent, |value| {
            !matches!(
                value.trim().to_ascii_lowercase().as_str(),
                "" | "0" | "no" | "false" | "none"
            )
        })
    }

    /// A flag that Go's `strconv.ParseBool` reads: what it does not know is refused.
    pub(crate) fn strict_flag(&self, name: &str) -> Result<bool, Error> {
        match self.get(name) {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            value => Err(Error::invalid(format!(
                "invalid value for {name}: {value}: strconv.ParseBool: parsing {value:?}: invalid syntax"
            ))),
        }
    }

    /// `until` of logs, for which 0 is no end: client libraries send it.
    pub(crate) fn until(&self) -> Result<Option<Timestamp>, Error> {
        Ok(self.timestamp("until")?.filter(|_| self.get("until") != "0"))
    }

    /// A number; `None` when absent or empty.
    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.find(name).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        match value.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => {
                Err(Error::invalid(format!("strconv.Atoi: parsing {value:?}: invalid syntax")))
            }
        }
    }

    /// A number, or 0 for whatever is none (Docker's `Int64ValueOrZero`).
    pub(crate) fn number_or_zero(&self, name: &str) -> i64 {
        self.get(name).parse().unwrap_or(0)
    }

    /// Seconds since the epoch with up to nine decimals; `None` when absent or empty.
    pub(crate) fn timestamp(&self, name: &str) -> Result<Option<Timestamp>, Error> {
        let Some(value) = self.find(name).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        let (seconds, fraction) = value.split_once('.').unwrap_or((value, ""));
        let bad = |part: &str| {
            Error::invalid(format!("strconv.ParseInt: parsing {part:?}: invalid syntax"))
        };
        let seconds: i64 = seconds.parse().map_err(|_| bad(seconds))?;
        if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad(fraction));
        }
        let nanos: i64 = format!("{fraction:0<9}").parse().map_err(|_| bad(fraction))?;
        Ok(Some(Timestamp(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))))
    }

    /// The `filters` parameter.
    pub(crate) fn filters(&self) -> Result<Filters, Error> {
        Filters::parse(self.get("filters"))
    }

    /// Height and width of a terminal.
    pub(crate) fn terminal_size(&self) -> Result<(u16, u16), Error> {
        Ok((self.dimension("h", "height")?, self.dimension("w", "width")?))
    }

    fn dimension(&self, name: &str, word: &str) -> Result<u16, Error> {
        let value = self.get(name);
        let wrong = |why| Error::invalid(format!("invalid resize {word} {value:?}: {why}"));
        let digits = value.strip_prefix('-').unwrap_or(value);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong("invalid syntax"));
        }
        match value.parse::<u32>() {
            Ok(number) => Ok(u16::try_from(number).unwrap_or(u16::MAX)),
            Err(_) => Err(wrong("value out of range")),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Query::parse(parts.uri.query().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_repeat_and_values_are_form_encoded() {
        let query = Query::parse("names=a%2Fb&names=c+d&empty&=x");
        assert_eq!(query.all("names"), ["a/b", "c d"]);
        assert_eq!(query.get("names"), "a/b");
        assert_eq!((query.get("empty"), query.get("absent")), ("", ""));
    }

    #[test]
    fn flags_read_as_dockerd_reads_them() {
        let query = Query::parse("a=1&b=true&c=anything&d=0&e=No&f=FALSE&g=none&h=&i=%20%20");
        let set: Vec<_> =
            "abcdefghij".chars().filter(|name| query.flag(&name.to_string())).collect();
        assert_eq!(set, ['a', 'b', 'c']);
        assert!(query.flag_or("absent", true) && !query.flag_or("h", true));
    }

    #[test]
    fn times_have_up_to_nine_decimals() {
        let query = Query::parse("a=12&b=12.000000001&c=12.5&d=x&e=1.0000000001&f=");
        let at = |name| query.timestamp(name).unwrap();
        assert_eq!(at("a"), Some(Timestamp(12_000_000_000)));
        assert_eq!(at("b"), Some(Timestamp(12_000_000_001)));
        assert_eq!(at("c"), Some(Timestamp(12_500_000_000)));
        assert_eq!(at("f"), None);
        assert!(query.timestamp("d").is_err() && query.timestamp("e").is_err());
    }

    #[test]
    fn a_terminal_needs_both_dimensions() {
        let error = |text| Query::parse(text).terminal_size().unwrap_err().to_string();
        assert_eq!(Query::parse("h=24&w=80").terminal_size().unwrap(), (24, 80));
        assert_eq!(error("w=80"), r#"invalid resize height "": invalid syntax"#);
        assert_eq!(error("h=24&w=-1"), r#"invalid resize width "-1": value out of range"#);
        assert_eq!(error("h=24&w=+1"), r#"invalid resize width " 1": invalid syntax"#);
    }
}
