//! Versions of the API: which ones are served, and Docker's sentences for those that are not.

use engine::Error;
use std::fmt;

/// `1.51`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion(pub u16, pub u16);

impl ApiVersion {
    /// What is served to clients that name none.
    pub const MAX: ApiVersion = ApiVersion(1, 51);
    /// dockerd 28's own lower bound.
    pub const MIN: ApiVersion = ApiVersion(1, 24);

    /// Reads `1.51`; `None` when it is no version.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Some(ApiVersion(major.parse().ok()?, minor.parse().ok()?))
    }

    /// Refuses what is outside [`Self::MIN`] and [`Self::MAX`].
    pub(crate) fn check(self) -> Result<Self, Error> {
        if self < Self::MIN {
            return Err(Error::invalid(format!(
                "client version {self} is too old. Minimum supported API version is {}, please upgrade your \
                 client to a newer version",
                Self::MIN
            )));
        }
        if self > Self::MAX {
            let max = Self::MAX;
            return Err(Error::invalid(format!(
                "client version {self} is too new. Maximum supported API version is {max}"
            )));
        }
        Ok(self)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_outside_the_range_get_dockers_sentences() {
        let text = |version| ApiVersion::parse(version).unwrap().check().unwrap_err().to_string();
        assert_eq!(
            text("1.23"),
            "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to \
             a newer version"
        );
        assert_eq!(
            text("1.99"),
            "client version 1.99 is too new. Maximum supported API version is 1.51"
        );
        assert!(ApiVersion::parse("1.24").unwrap().check().is_ok());
        assert!(ApiVersion(1, 9) < ApiVersion(1, 24), "minor versions are numbers, not fractions");
    }
}
