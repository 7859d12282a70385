//! Who a certificate says its holder is, and whether it says so now.

use crate::Error;
use crate::authority::role_name;
use rustls::pki_types::CertificateDer;
use types::swarm::node::Role;
use types::swarm::session::PeerIdentity;
use types::{ClusterId, NodeId, Timestamp};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::AttributeTypeAndValue;

/// Who the other end is, and whether its certificate counts now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub identity: PeerIdentity,
    /// Why the certificate does not count now, in one sentence; none when it does.
    pub lapsed: Option<String>,
}

/// Node, role and cluster from the subject of a chain's first certificate (CN, OU, O). Checks no signature: TLS did.
pub fn peer_identity(chain: &[CertificateDer<'_>]) -> Result<PeerIdentity, Error> {
    identity_of(&first(chain)?)
}

/// As [`peer_identity`], and whether the certificate counts at `now`.
pub fn peer_standing(chain: &[CertificateDer<'_>], now: Timestamp) -> Result<Standing, Error> {
    let certificate = first(chain)?;
    let identity = identity_of(&certificate)?;
    let (node, (from, until)) = (&identity.node, validity_of(&certificate));
    let lapsed = if now < from {
        Some(format!(
            "the certificate of node {node} is not valid before {from}, but the clock here says {now}: one of the \
             clocks is wrong"
        ))
    } else if now > until {
        Some(format!(
            "the certificate of node {node} expired at {until}: it must join again with a token"
        ))
    } else {
        None
    };
    Ok(Standing { identity, lapsed })
}

pub(crate) fn identity_of(certificate: &X509Certificate<'_>) -> Result<PeerIdentity, Error> {
    let subject = certificate.subject();
    let role = match only(subject.iter_organizational_unit(), "OU")? {
        name if name == role_name(Role::Manager) => Role::Manager,
        name if name == role_name(Role::Worker) => Role::Worker,
        name => return Err(Error::malformed("certificate", format!("{name} is no role"))),
    };
    let node = NodeId::new(only(subject.iter_common_name(), "CN")?);
    let cluster = ClusterId::new(only(subject.iter_organization(), "O")?);
    Ok(PeerIdentity { node, cluster, role })
}

/// From when until when it counts.
pub(crate) fn validity_of(certificate: &X509Certificate<'_>) -> (Timestamp, Timestamp) {
    let validity = certificate.validity();
    let at = |time: &x509_parser::time::ASN1Time| Timestamp::from_seconds(time.timestamp());
    (at(&validity.not_before), at(&validity.not_after))
}

pub(crate) fn parse<'a>(what: &'static str, der: &'a [u8]) -> Result<X509Certificate<'a>, Error> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|err| Error::malformed(what, err))?;
    if !rest.is_empty() {
        return Err(Error::malformed(what, "bytes after its end"));
    }
    Ok(certificate)
}

fn first<'a>(chain: &'a [CertificateDer<'_>]) -> Result<X509Certificate<'a>, Error> {
    let certificate = chain.first().ok_or_else(|| Error::malformed("certificate", "none"))?;
    parse("certificate", certificate)
}

/// The one value of an attribute: a subject that says two things says nothing.
fn only<'a>(
    mut values: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>,
    name: &str,
) -> Result<&'a str, Error> {
    let missing = || Error::malformed("certificate", format!("it must have one {name}"));
    let value = values.next().ok_or_else(missing)?;
    if values.next().is_some() {
        return Err(missing());
    }
    value.as_str().map_err(|err| Error::malformed("certificate", err))
}
