//! Signal names as Docker takes them: `SIGTERM`, `term`, `15`, `RTMIN+3`.

/// The number; `None` when the text names no signal.
pub(crate) fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return realtime(34, offset);
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        return realtime(64, offset);
    }
    let full = format!("SIG{name}");
    full.parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

fn realtime(base: i32, offset: &str) -> Option<i32> {
    let offset = if offset.is_empty() { 0 } else { offset.parse::<i32>().ok()? };
    base.checked_add(offset).filter(|number| (34..=64).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_realtime_signals_are_read() {
        assert_eq!(parse("SIGTERM"), Some(15));
        assert_eq!(parse("kill"), Some(9));
        assert_eq!(parse("3"), Some(3));
        assert_eq!(parse("SIGRTMIN+3"), Some(37));
        assert_eq!(parse("RTMAX-1"), Some(63));
        assert_eq!(parse("0"), None);
        assert_eq!(parse("NOPE"), None);
    }
}
