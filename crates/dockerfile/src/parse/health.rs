//! `HEALTHCHECK`, and Go's durations.

use super::{Source, strings};
use crate::error::{DurationError, Syntax};
use types::container::HealthConfig;

/// Docker's shortest interval: one millisecond.
const SHORTEST: i64 = 1_000_000;

pub(super) fn healthcheck(source: Source) -> Result<HealthConfig, Syntax> {
    let Source { rest, mut flags, .. } = source;
    let (kind, rest) = rest.split_once(char::is_whitespace).unwrap_or((&rest, ""));
    let rest = rest.trim();
    if kind.is_empty() {
        return Err(Syntax::AtLeastOne("HEALTHCHECK"));
    }
    match kind.to_ascii_uppercase().as_str() {
        "NONE" if !rest.is_empty() => Err(Syntax::HealthNone),
        "NONE" => {
            flags.done()?;
            Ok(HealthConfig { test: vec!["NONE".to_owned()], ..HealthConfig::default() })
        }
        "CMD" => {
            let mut health = HealthConfig { test: test(rest)?, ..HealthConfig::default() };
            for (name, field) in [
                ("interval", &mut health.interval),
                ("timeout", &mut health.timeout),
                ("start-period", &mut health.start_period),
                ("start-interval", &mut health.start_interval),
            ] {
                *field = flags.text(name)?.map_or(Ok(0), |text| interval(&text))?;
            }
            health.retries = flags.text("retries")?.map_or(Ok(0), |text| retries(&text))?;
            flags.done()?;
            Ok(health)
        }
        other => Err(Syntax::HealthType(other.to_owned())),
    }
}

fn test(rest: &str) -> Result<Vec<String>, Syntax> {
    if rest.is_empty() {
        return Err(Syntax::HealthNoCommand);
    }
    let words = |kind: &str, words: Vec<String>| {
        std::iter::once(kind.to_owned()).chain(words).collect::<Vec<_>>()
    };
    match strings(rest)? {
        Some(list) if list.is_empty() => Err(Syntax::HealthNoCommand),
        Some(list) => Ok(words("CMD", list)),
        None => Ok(words("CMD-SHELL", vec![rest.to_owned()])),
    }
}

fn interval(text: &str) -> Result<i64, Syntax> {
    let nanos = duration(text).map_err(Syntax::Duration)?;
    match nanos {
        0 => Ok(0),
        1..SHORTEST => Err(Syntax::ShortInterval(text.to_owned())),
        nanos if nanos < 0 => Err(Syntax::ShortInterval(text.to_owned())),
        nanos => Ok(nanos),
    }
}

fn retries(text: &str) -> Result<i64, Syntax> {
    match text.parse::<i64>() {
        Ok(count) if count < 0 => Err(Syntax::NegativeRetries(count)),
        Ok(count) => Ok(count),
        Err(_) => Err(Syntax::Retries(text.to_owned())),
    }
}

/// Go's `time.ParseDuration`, in nanoseconds: `1h2m3.5s`.
pub(crate) fn duration(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
        let (number, after) = rest.split_at(digits.unwrap_or(rest.len()));
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let end = after.find(|letter: char| letter.is_ascii_digit() || letter == '.');
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        total += number * nanos_per(unit, text)?;
        rest = after;
    }
    let total = if negative { -total } else { total };
    if total.abs() < i64::MAX as f64 { Ok(total as i64) } else { Err(invalid()) }
}

fn nanos_per(unit: &str, text: &str) -> Result<f64, DurationError> {
    Ok(match unit {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        "" => return Err(DurationError::NoUnit(text.to_owned())),
        _ => {
            let unit = unit.to_owned();
            return Err(DurationError::UnknownUnit { unit, text: text.to_owned() });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let second = 1_000_000_000;
        for (text, want) in [
            ("30s", 30 * second),
            ("1m30s", 90 * second),
            ("1.5h", 5400 * second),
            ("500ms", second / 2),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(want), "{text}");
        }
        assert_eq!(duration("1").unwrap_err().to_string(), "time: missing unit in duration \"1\"");
        assert_eq!(
            duration("1d").unwrap_err().to_string(),
            "time: unknown unit \"d\" in duration \"1d\""
        );
        assert_eq!(duration("x").unwrap_err().to_string(), "time: invalid duration \"x\"");
    }
}
