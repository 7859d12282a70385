//! `--security-opt`, as far as it means something here: labels and AppArmor are accepted and unused, for
//! neither SELinux nor AppArmor is applied.

use crate::error::SpecError;

/// What the options come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    pub no_new_privileges: bool,
    /// `None` is the default profile; `unconfined` or a profile's JSON.
    pub seccomp: Option<String>,
    /// `systempaths=unconfined`: nothing masked, nothing read-only.
    pub bare_system_paths: bool,
}

impl Security {
    /// Reads the list; also the check at creation.
    pub fn parse(options: &[String]) -> Result<Security, SpecError> {
        let mut result = Security::default();
        for option in options {
            result.take(option)?;
        }
        Ok(result)
    }

    fn take(&mut self, option: &str) -> Result<(), SpecError> {
        if option == "no-new-privileges" {
            self.no_new_privileges = true;
            return Ok(());
        }
        if option == "disable" {
            return Ok(());
        }
        // Docker takes a colon too, from long ago.
        let (key, value) = option
            .split_once('=')
            .or_else(|| option.split_once(':'))
            .ok_or_else(|| SpecError::SecurityOption(option.to_owned()))?;
        match key {
            "seccomp" if value == "builtin" => self.seccomp = None,
            "seccomp" => self.seccomp = Some(value.to_owned()),
            "no-new-privileges" => {
                self.no_new_privileges =
                    value.parse().map_err(|_| SpecError::SecurityOptionKey(option.to_owned()))?;
            }
            "systempaths" if value == "unconfined" => self.bare_system_paths = true,
            "label" | "apparmor" | "writable-cgroups" => {}
            _ => return Err(SpecError::SecurityOptionKey(option.to_owned())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(option: &str) -> Result<Security, String> {
        Security::parse(&[option.to_owned()]).map_err(|err| err.to_string())
    }

    #[test]
    fn known_options_are_read_in_both_spellings() {
        assert!(parse("no-new-privileges").unwrap().no_new_privileges);
        assert!(!parse("no-new-privileges:false").unwrap().no_new_privileges);
        assert_eq!(parse("seccomp=unconfined").unwrap().seccomp.as_deref(), Some("unconfined"));
        assert!(parse("systempaths=unconfined").unwrap().bare_system_paths);
    }

    #[test]
    fn unknown_options_are_refused_as_by_dockerd() {
        assert_eq!(parse("foo"), Err(r#"invalid --security-opt 1: "foo""#.to_owned()));
        assert_eq!(parse("foo=bar"), Err(r#"invalid --security-opt 2: "foo=bar""#.to_owned()));
    }
}
