//! Durations (`1m30s`) and byte sizes (`512m`, `1.5gb`), as Go's tools read and print them.

/// Nanoseconds of `1h2m3.5s`, also with `d` and `w`; a bare number is not a duration except `0`.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == ' ').unwrap_or(rest.len());
        total += number * unit_nanos(&rest[..letters])?;
        rest = rest[letters..].trim_start();
    }
    let nanos = total.round();
    (nanos < 9.2e18).then_some(if negative { -(nanos as i64) } else { nanos as i64 })
}

fn unit_nanos(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        "d" => 86400e9,
        "w" => 604_800e9,
        _ => return None,
    })
}

/// `1m30s`, `1.5s`, `0s`: Go's way to print.
pub(crate) fn print_duration(nanos: i64) -> String {
    let (sign, abs) = if nanos < 0 { ("-", nanos.unsigned_abs()) } else { ("", nanos as u64) };
    let fraction = |value: u64, scale: u64| {
        let text =
            format!("{}.{:0width$}", value / scale, value % scale, width = scale.ilog10() as usize);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match abs {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{abs}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", fraction(abs, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", fraction(abs, 1_000_000)),
        _ => {
            let seconds = fraction(abs % 60_000_000_000, 1_000_000_000);
            let minutes = abs / 60_000_000_000;
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, m) => format!("{sign}{m}m{seconds}s"),
                (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
            }
        }
    }
}

/// Bytes of `512`, `64k`, `1.5GB`, `1gib`: always powers of 1024. `-1` is allowed (unlimited).
pub(crate) fn parse_bytes(text: &str) -> Option<i64> {
    let text = text.trim();
    let letters = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let number: f64 = text[..letters].trim().parse().ok()?;
    let unit = text[letters..].to_ascii_lowercase();
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" if matches!(unit.as_str(), "" | "b") => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = number * 1024f64.powi(power);
    (bytes.abs() < 9.2e18).then_some(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_trip_in_gos_spelling() {
        for (text, nanos, printed) in [
            ("90s", 90_000_000_000, "1m30s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("1h", 3_600_000_000_000, "1h0m0s"),
            ("300ms", 300_000_000, "300ms"),
            ("1d", 86_400_000_000_000, "24h0m0s"),
            ("10us", 10_000, "10µs"),
            ("0", 0, "0s"),
        ] {
            assert_eq!(parse_duration(text), Some(nanos), "{text}");
            assert_eq!(print_duration(nanos), printed);
            assert_eq!(parse_duration(printed), Some(nanos), "{printed}");
        }
        for text in ["", "10", "s", "1x", "1.2.3s", "-"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("64", 64),
            ("64b", 64),
            ("1k", 1024),
            ("1kb", 1024),
            ("1.5G", 1_610_612_736),
            ("2gib", 2_147_483_648),
            ("-1", -1),
        ] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "m", "1x", "1ibb", "ten"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }
}
