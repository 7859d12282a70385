//! Why a connection failed, in words that tell what to do about it.

use rustls::{AlertDescription, CertificateError};
use std::error::Error as StdError;
use std::io;
use types::{NodeId, Timestamp};

/// Why a handshake with `addr` failed. `expect` is whom the connection was for.
pub(crate) fn handshake(err: &io::Error, addr: &str, expect: Option<&NodeId>) -> String {
    match tls_error(err) {
        Some(rustls::Error::InvalidCertificate(reason)) => certificate(reason, addr, expect),
        Some(rustls::Error::AlertReceived(alert)) => refused(*alert, addr),
        Some(rustls::Error::InvalidMessage(_)) => {
            format!("{addr} does not speak TLS: is it the cluster's port?")
        }
        Some(other) => format!("TLS with {addr} failed: {other}"),
        None => err.to_string(),
    }
}

/// The TLS error in an error's chain. An [`io::Error`] hides what it was made of from `source`.
pub(crate) fn tls_error<'a>(err: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(err);
    while let Some(err) = next {
        if let Some(tls) = err.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        next = match err.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => err.source(),
        };
    }
    None
}

/// Why a connection that had been opened was lost; `alert` is what TLS said of it.
pub(crate) fn lost(err: &hyper::Error, alert: Option<&rustls::Error>, addr: &str) -> String {
    match alert {
        Some(rustls::Error::AlertReceived(alert)) => refused(*alert, addr),
        _ => format!("the connection to {addr} was lost: {}", errdefs::chain(err)),
    }
}

fn certificate(reason: &CertificateError, addr: &str, expect: Option<&NodeId>) -> String {
    let at = |time: &rustls::pki_types::UnixTime| {
        Timestamp::from_seconds(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
    };
    match reason {
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the certificate of {addr} expired at {}; the clock here says {}",
            at(not_after),
            at(time)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the certificate of {addr} is not valid before {}, but the clock here says {}: one of the clocks is wrong",
            at(not_before),
            at(time)
        ),
        CertificateError::UnknownIssuer => format!(
            "{addr} is of another cluster: its certificate was not signed by a root that this node trusts"
        ),
        CertificateError::NotValidForNameContext { presented, .. } => match expect {
            Some(expect) => {
                format!("{addr} is not node {expect}: its certificate is for {}", names(presented))
            }
            None => {
                format!("{addr} is not a manager: its certificate is for {}", names(presented))
            }
        },
        other => format!("the certificate of {addr} is not good: {other}"),
    }
}

/// The other end refused our certificate. An alert is all that TLS lets it say.
fn refused(alert: AlertDescription, addr: &str) -> String {
    match alert {
        AlertDescription::UnknownCA | AlertDescription::DecryptError => format!(
            "{addr} refused this node's certificate: it was not signed by a root that is trusted there"
        ),
        AlertDescription::CertificateExpired => {
            format!(
                "{addr} refused this node's certificate: it expired, or one of the clocks is wrong"
            )
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateRevoked
        | AlertDescription::AccessDenied
        | AlertDescription::CertificateRequired => {
            format!("{addr} refused this node's certificate ({alert:?})")
        }
        other => format!("{addr} ended the connection: {other:?}"),
    }
}

fn names(presented: &[String]) -> String {
    let name = |text: &String| {
        let name = text.strip_prefix("DnsName(\"").and_then(|rest| rest.strip_suffix("\")"));
        name.unwrap_or(text).to_owned()
    };
    presented.iter().map(name).collect::<Vec<_>>().join(", ")
}
