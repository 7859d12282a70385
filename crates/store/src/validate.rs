//! What managers refuse of a user's spec, in their words. Only form: whether a name is free or a reference
//! there is the store's to say.

use errdefs::{Classify, ErrorKind};

/// 500 KiB, as in SwarmKit: secrets travel with assignments and lie in memory everywhere.
const MOST_SECRET_BYTES: usize = 500 * 1024;
/// 16 MiB; SwarmKit's 1000 KiB is less than many a program's configuration.
const MOST_CONFIG_BYTES: usize = 16 << 20;
const LONGEST_SERVICE_NAME: usize = 63;

/// A spec that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("rpc error: code = InvalidArgument desc = meta: name must be provided")]
    NoServiceName,
    #[error("rpc error: code = InvalidArgument desc = name must be valid as a DNS name component")]
    ServiceName,
    #[error("rpc error: code = InvalidArgument desc = name must be 63 characters or fewer")]
    LongServiceName,
    #[error(
        "rpc error: code = InvalidArgument desc = secret data must be larger than 0 and less than {MOST_SECRET_BYTES} bytes"
    )]
    SecretSize,
    #[error(
        "rpc error: code = InvalidArgument desc = config data must be larger than 0 and less than {MOST_CONFIG_BYTES} bytes"
    )]
    ConfigSize,
}

impl Classify for SpecError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidParameter
    }
}

/// A service's name is a DNS label with underscores: its tasks are found by it.
pub fn check_service_name(name: &str) -> Result<(), SpecError> {
    if name.is_empty() {
        return Err(SpecError::NoServiceName);
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if !name.chars().all(inner) || !edge(name.chars().next()) || !edge(name.chars().next_back()) {
        return Err(SpecError::ServiceName);
    }
    if name.len() > LONGEST_SERVICE_NAME {
        return Err(SpecError::LongServiceName);
    }
    Ok(())
}

/// `bytes` is the length after base64.
pub fn check_secret_size(bytes: usize) -> Result<(), SpecError> {
    if bytes == 0 || bytes >= MOST_SECRET_BYTES { Err(SpecError::SecretSize) } else { Ok(()) }
}

/// `bytes` is the length after base64.
pub fn check_config_size(bytes: usize) -> Result<(), SpecError> {
    if bytes == 0 || bytes >= MOST_CONFIG_BYTES { Err(SpecError::ConfigSize) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_name_is_a_dns_label() {
        assert_eq!(check_service_name("web-1_a"), Ok(()));
        assert_eq!(check_service_name(""), Err(SpecError::NoServiceName));
        for bad in ["-web", "web-", "a.b", "ü"] {
            assert_eq!(check_service_name(bad), Err(SpecError::ServiceName), "{bad}");
        }
        assert_eq!(check_service_name(&"a".repeat(64)), Err(SpecError::LongServiceName));
    }

    #[test]
    fn secrets_and_configs_have_a_size() {
        assert_eq!(check_secret_size(1), Ok(()));
        assert_eq!(check_secret_size(0), Err(SpecError::SecretSize));
        assert_eq!(check_config_size(16 << 20), Err(SpecError::ConfigSize));
    }
}
