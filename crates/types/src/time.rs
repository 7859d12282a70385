//! Points in time as Docker writes them: RFC 3339 in UTC with up to nine digits.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Nanoseconds since 1970-01-01T00:00:00Z. Always an argument or an observation: nothing on floors 0
/// and 1 reads a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Go's zero time, `0001-01-01T00:00:00Z`: "never".
    pub const ZERO: Timestamp = Timestamp(i64::MIN);

    /// Whether this is "never".
    pub const fn is_zero(self) -> bool {
        self.0 == i64::MIN
    }
    /// Whole seconds since the epoch (0 for "never").
    pub const fn seconds(self) -> i64 {
        if self.is_zero() { 0 } else { self.0.div_euclid(1_000_000_000) }
    }
    /// From whole seconds since the epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Timestamp(seconds.saturating_mul(1_000_000_000))
    }
    /// This point moved into the future by `by`; "never" stays.
    pub fn after(self, by: Duration) -> Self {
        if self.is_zero() {
            return self;
        }
        Timestamp(self.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }
    /// How much later this is than `earlier`; zero when it is not later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        if self.is_zero() || earlier.is_zero() || self < earlier {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.0.abs_diff(earlier.0))
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        Timestamp::ZERO
    }
}

impl From<std::time::SystemTime> for Timestamp {
    fn from(at: std::time::SystemTime) -> Self {
        match at.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => Timestamp(i64::try_from(after.as_nanos()).unwrap_or(i64::MAX)),
            Err(before) => {
                let nanos = i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX);
                Timestamp(nanos.saturating_neg())
            }
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0001-01-01T00:00:00Z");
        }
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(at) => fmt::Display::fmt(&at, f),
            Err(_) => f.write_str("0001-01-01T00:00:00Z"),
        }
    }
}

impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.starts_with("0001-01-01T00:00:00") {
            return Ok(Timestamp::ZERO);
        }
        let at: jiff::Timestamp = text.parse().map_err(|err: jiff::Error| err.to_string())?;
        i64::try_from(at.as_nanosecond()).map(Timestamp).map_err(|err| err.to_string())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_gos_zero_time_both_ways() {
        assert_eq!(Timestamp::ZERO.to_string(), "0001-01-01T00:00:00Z");
        assert_eq!("0001-01-01T00:00:00Z".parse(), Ok(Timestamp::ZERO));
    }

    #[test]
    fn nanoseconds_survive_a_round_trip() {
        let at: Timestamp = "2026-11-21T07:08:09.123456789Z".parse().unwrap();
        assert_eq!(at.to_string(), "2026-11-21T07:08:09.123456789Z");
        assert_eq!(at.after(Duration::from_secs(1)).since(at), Duration::from_secs(1));
        assert_eq!(at.since(at.after(Duration::from_secs(1))), Duration::ZERO);
    }
}
