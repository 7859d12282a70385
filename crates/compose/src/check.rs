//! Words with a grammar of their own.

use crate::units;

/// Docker's rule for container names.
pub(crate) fn container_name(text: &str) -> Result<(), &'static str> {
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if first && rest && text.len() > 1 {
        Ok(())
    } else {
        Err("expected letters, digits, `_`, `.` or `-`")
    }
}

/// Keys of services, networks, volumes, secrets and configs.
pub(crate) fn key(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// When an image is fetched.
pub(crate) fn pull_policy(text: &str) -> Result<(), &'static str> {
    const WORDS: [&str; 8] =
        ["always", "never", "build", "if_not_present", "missing", "refresh", "daily", "weekly"];
    let every = text.strip_prefix("every_").and_then(units::parse_duration);
    if WORDS.contains(&text) || every.is_some() {
        Ok(())
    } else {
        Err("expected always, never, build, missing, daily, weekly or every_<duration>")
    }
}

/// How old an image may be, in seconds, before the policy fetches it again; nothing for policies that do not ask.
pub fn pull_age(policy: &str) -> Option<i64> {
    const DAY: i64 = 86_400;
    match policy {
        "always" | "refresh" => Some(0),
        "daily" => Some(DAY),
        "weekly" => Some(7 * DAY),
        _ => Some(units::parse_duration(policy.strip_prefix("every_")?)? / 1_000_000_000),
    }
}

/// Restart policies of a container.
pub(crate) fn restart(text: &str) -> Result<(), &'static str> {
    let retries = text.strip_prefix("on-failure:").map(|n| n.parse::<u32>().is_ok());
    if retries.unwrap_or(matches!(text, "no" | "always" | "unless-stopped" | "on-failure")) {
        Ok(())
    } else {
        Err("expected no, always, unless-stopped, on-failure or on-failure:<retries>")
    }
}

/// A project's name: lower-case letters, digits, `-` and `_`, beginning with a letter or digit.
pub fn project_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
}

/// A stack's name, the beginning of its services' names.
pub(crate) fn stack_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

/// A folder's name made into a project's name; empty when nothing of it can be kept.
pub fn normalise_project_name(folder: &str) -> String {
    let kept: String = folder
        .to_lowercase()
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
        .collect();
    kept.trim_start_matches(['-', '_']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_become_project_names_as_composes_rule_says() {
        assert_eq!(normalise_project_name("My App.v2"), "myappv2");
        assert_eq!(normalise_project_name("_x-1"), "x-1");
        assert_eq!(normalise_project_name("..."), "");
        assert!(project_name("a-b_1") && !project_name("A") && !project_name("-a"));
    }

    #[test]
    fn ages_of_images_are_in_seconds() {
        let policies = ["always", "daily", "weekly", "every_2h", "missing", "never", "every_x"];
        let ages = policies.map(pull_age);
        assert_eq!(ages, [Some(0), Some(86_400), Some(604_800), Some(7_200), None, None, None]);
    }

    #[test]
    fn restart_and_pull_words_are_checked() {
        assert!(restart("on-failure:3").is_ok() && restart("on-failure:x").is_err());
        assert!(pull_policy("every_2d").is_ok() && pull_policy("sometimes").is_err());
    }
}
