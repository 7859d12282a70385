//! Sizes and durations in Docker's words (go-units and Go's `time.ParseDuration`), both ways.

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// Powers of 1000, four significant digits: `1.984MB`.
pub(crate) fn human_size(bytes: f64) -> String {
    scaled(bytes, 1000.0, &DECIMAL, 4)
}

/// Powers of 1000, three significant digits, as listings show image sizes: `1.98MB`.
pub(crate) fn human_size3(bytes: f64) -> String {
    scaled(bytes, 1000.0, &DECIMAL, 3)
}

/// Powers of 1024: `656KiB`.
pub(crate) fn bytes_size(bytes: f64) -> String {
    scaled(bytes, 1024.0, &BINARY, 4)
}

fn scaled(mut size: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    format!("{}{}", significant(size, digits), units[unit])
}

/// Go's `%.{digits}g` for numbers of moderate size.
fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let exponential = format!("{:.*e}", digits - 1, value);
    let exponent: i32 =
        exponential.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or_default();
    if exponent >= digits as i32 {
        let (mantissa, _) = exponential.split_once('e').unwrap_or((&exponential, ""));
        return format!("{}e+{exponent:02}", trim_zeros(mantissa));
    }
    let decimals = usize::try_from(digits as i32 - 1 - exponent).unwrap_or(0);
    trim_zeros(&format!("{value:.decimals$}")).to_owned()
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// A duration as people say it: `About a minute`, `3 weeks`.
pub(crate) fn human_duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = (seconds as f64 / 3600.0).round() as i64;
    match (seconds, minutes, hours) {
        (..1, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, ..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, ..48) => format!("{hours} hours"),
        (_, _, 48..336) => format!("{} days", hours / 24),
        (_, _, 336..1440) => format!("{} weeks", hours / 24 / 7),
        (_, _, 1440..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// Bytes of a memory size such as `512m` or `1.5GiB` (powers of 1024).
pub(crate) fn parse_ram(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let split = text.rfind(|c: char| c.is_ascii_digit()).map_or(0, |at| at + 1);
    let (number, suffix) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let suffix = suffix.trim().to_ascii_lowercase();
    let power = match suffix.as_bytes() {
        [] | [b'b'] => 0,
        [unit] | [unit, b'b'] | [unit, b'i', b'b'] => {
            1 + b"kmgtp".iter().position(|known| known == unit).ok_or_else(invalid)?
        }
        _ => return Err(invalid()),
    };
    if number < 0.0 {
        return Err(invalid());
    }
    Ok((number * 1024f64.powi(power as i32)) as i64)
}

/// Nanoseconds of a Go duration such as `1m30s` or `500ms`.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    if text == "0" {
        return Ok(0);
    }
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(|| format!("time: missing unit in duration {text:?}"))?;
        let (number, tail) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        total += number * scale;
        rest = tail;
    }
    Ok(if negative { -total } else { total } as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_go_units_digits() {
        assert_eq!(human_size(1_984_000.0), "1.984MB");
        assert_eq!(human_size3(1_984_000.0), "1.98MB");
        assert_eq!(human_size(0.0), "0B");
        assert_eq!(human_size(999.0), "999B");
        assert_eq!(human_size(1e6), "1MB");
        assert_eq!(bytes_size(656.0 * 1024.0), "656KiB");
        assert_eq!(bytes_size(23.54 * 1024f64.powi(3)), "23.54GiB");
        assert_eq!(bytes_size(1023.0), "1023B");
    }

    #[test]
    fn durations_are_said_as_docker_says_them() {
        let said = |s| human_duration(s);
        assert_eq!(said(0), "Less than a second");
        assert_eq!(said(1), "1 second");
        assert_eq!(said(59), "59 seconds");
        assert_eq!(said(60), "About a minute");
        assert_eq!(said(120), "2 minutes");
        assert_eq!(said(3600), "About an hour");
        assert_eq!(said(2 * 3600), "2 hours");
        assert_eq!(said(3 * 86400), "3 days");
        assert_eq!(said(21 * 86400), "3 weeks");
        assert_eq!(said(90 * 86400), "3 months");
        assert_eq!(said(3 * 365 * 86400), "3 years");
    }

    #[test]
    fn memory_sizes_take_all_suffixes() {
        assert_eq!(parse_ram("64"), Ok(64));
        assert_eq!(parse_ram("1k"), Ok(1024));
        assert_eq!(parse_ram("1.5MiB"), Ok(1_572_864));
        assert_eq!(parse_ram("2GB"), Ok(2 << 30));
        assert_eq!(parse_ram("xx"), Err("invalid size: 'xx'".to_owned()));
        assert_eq!(parse_ram("-1m"), Err("invalid size: '-1m'".to_owned()));
    }

    #[test]
    fn go_durations_are_read_and_bad_ones_explained() {
        assert_eq!(parse_duration("1m30s"), Ok(90_000_000_000));
        assert_eq!(parse_duration("1.5h"), Ok(5_400_000_000_000));
        assert_eq!(parse_duration("500ms"), Ok(500_000_000));
        assert_eq!(parse_duration("10"), Err("time: missing unit in duration \"10\"".to_owned()));
        assert!(parse_duration("1y").is_err());
    }
}
