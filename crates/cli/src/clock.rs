//! The only module that reads the clock; turns moments into the words of listings.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::format::units;

/// Seconds since the epoch.
pub(crate) fn now_seconds() -> i64 {
    Timestamp::now().as_second()
}

/// `3 weeks ago`, from seconds since the epoch.
pub(crate) fn ago(created: i64) -> String {
    format!("{} ago", units::human_duration(now_seconds() - created))
}

/// Seconds since the epoch of an RFC 3339 moment; none for Go's zero time.
pub(crate) fn seconds_of(text: &str) -> Option<i64> {
    let moment: Timestamp = text.parse().ok()?;
    (moment.as_second() > 0).then(|| moment.as_second())
}

/// Go's `time.Time.String()` of whole seconds, in the local zone.
pub(crate) fn go_time(seconds: i64) -> String {
    let Ok(moment) = Timestamp::from_second(seconds) else { return seconds.to_string() };
    moment.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

/// Go's `time.Time.String()` of an RFC 3339 moment, fraction and zone kept.
pub(crate) fn go_time_text(text: &str) -> String {
    let Ok(moment) = text.parse::<Timestamp>() else { return text.to_owned() };
    let zoned = moment.to_zoned(TimeZone::UTC);
    let fraction = text.split_once('.').map_or(String::new(), |(_, rest)| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        format!(".{}", digits.trim_end_matches('0'))
    });
    let fraction = if fraction == "." { String::new() } else { fraction };
    format!("{}{fraction} +0000 UTC", zoned.strftime("%Y-%m-%d %H:%M:%S"))
}

/// RFC 3339 in UTC without fraction.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let moment = Timestamp::from_second(seconds);
    moment.map_or_else(|_| seconds.to_string(), |m| m.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// RFC 3339 with nanoseconds in the local zone, as `events` prints it.
pub(crate) fn rfc3339_nano(nanoseconds: i64) -> String {
    let Ok(moment) = Timestamp::from_nanosecond(i128::from(nanoseconds)) else {
        return nanoseconds.to_string();
    };
    let zoned = moment.to_zoned(TimeZone::system());
    let offset = zoned.strftime("%:z").to_string();
    let offset = if offset == "+00:00" { "Z".to_owned() } else { offset };
    format!("{}{offset}", zoned.strftime("%Y-%m-%dT%H:%M:%S.%9f"))
}

/// `--since`/`--until`: a Go duration ago, an RFC 3339 moment or seconds, as the API's `secs.nanos`.
pub(crate) fn api_time(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    if let Ok(age) = units::parse_duration(text) {
        let moment = Timestamp::now().as_nanosecond() - i128::from(age);
        return Ok(seconds_and_nanos(moment));
    }
    if text.parse::<f64>().is_ok() {
        return Ok(text.to_owned());
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(seconds_and_nanos(moment.as_nanosecond()));
    }
    let local: Result<jiff::civil::DateTime, _> = text.parse();
    local
        .ok()
        .and_then(|date| date.to_zoned(TimeZone::system()).ok())
        .map(|zoned| seconds_and_nanos(zoned.timestamp().as_nanosecond()))
        .ok_or_else(|| format!("failed to parse value as time or duration: {text:?}"))
}

fn seconds_and_nanos(nanoseconds: i128) -> String {
    format!(
        "{}.{:09}",
        nanoseconds.div_euclid(1_000_000_000),
        nanoseconds.rem_euclid(1_000_000_000)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_every_form_docker_takes() {
        assert_eq!(api_time("2024-01-02T03:04:05Z"), Ok("1704164645.000000000".to_owned()));
        assert_eq!(api_time("1704164645"), Ok("1704164645".to_owned()));
        assert!(api_time("yesterday").is_err());
        assert!(api_time("10m").is_ok());
    }

    #[test]
    fn go_prints_times_with_fraction_and_zone() {
        assert_eq!(
            go_time_text("2026-11-21T08:09:55.206872784Z"),
            "2026-11-21 08:09:55.206872784 +0000 UTC"
        );
        assert_eq!(go_time_text("2026-11-21T08:09:55Z"), "2026-11-21 08:09:55 +0000 UTC");
        assert_eq!(seconds_of("0001-01-01T00:00:00Z"), None);
    }
}
