//! The root: makes itself, signs nodes' requests, and signs its successor.

use crate::peer::{parse, validity_of};
use crate::{Digest, Error};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use std::fmt;
use std::time::Duration;
use time::OffsetDateTime;
use types::Timestamp;
use types::swarm::extension::RootAuthority;
use types::swarm::node::Role;
use types::swarm::session::PeerIdentity;
use x509_parser::asn1_rs::Tag;

/// Every root's name: Docker's clients show it as the issuer.
const ROOT_NAME: &str = "swarm-ca";
/// Twenty years, as SwarmKit's root.
const ROOT_LIFETIME: Duration = Duration::from_secs(630_720_000);
/// Certificates begin this much before they are made, so that a node whose clock is a little behind can use its own.
pub(crate) const BACKDATE: Duration = Duration::from_secs(3600);
/// Docker's default for `CAConfig.NodeCertExpiry`.
pub(crate) const NODE_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);

/// What a certificate says of its holder's role: SwarmKit's words.
pub(crate) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Manager => "swarm-manager",
        Role::Worker => "swarm-worker",
    }
}

/// A node's certificate as its manager made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// PEM: the certificate, and the cross-signed root above it during a rotation.
    pub chain: String,
    pub expires_at: Timestamp,
    /// Of the root that signed it.
    pub root: Digest,
}

/// A root that can sign.
pub struct Authority {
    digest: Digest,
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) expires_at: Timestamp,
    cross_signed: String,
}

impl Authority {
    /// A new root: ECDSA P-256, self-signed, for 20 years.
    pub fn create(now: Timestamp) -> Result<RootAuthority, Error> {
        let key = KeyPair::generate().map_err(|err| Error::malformed("root key", err))?;
        let mut params = authority_params();
        (params.not_before, params.not_after) = span(now, now.after(ROOT_LIFETIME))?;
        let certificate =
            params.self_signed(&key).map_err(|err| Error::malformed("root certificate", err))?;
        Ok(RootAuthority {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            cross_signed: String::new(),
        })
    }

    /// A root that was made elsewhere, if nodes can live under it: it is a CA, good now, and the key is its own.
    pub fn adopt(certificate: &str, key: &str, now: Timestamp) -> Result<RootAuthority, Error> {
        let refused = |why: &str| Error::InvalidRoot(why.to_owned());
        let blocks = pem::parse_many(certificate)
            .map_err(|_| refused("the signing CA certificate is not PEM"))?;
        let [block] = blocks.as_slice() else {
            return Err(refused("the signing CA certificate must be one certificate"));
        };
        let root = RootAuthority {
            certificate: pem::encode(block).replace("\r\n", "\n"),
            key: key.to_owned(),
            cross_signed: String::new(),
        };
        Authority::load(&root).map_err(|err| refused(&err.to_string()))?;
        subject_of(&root.certificate).map_err(|err| refused(&err.to_string()))?;
        let parsed = parse("root certificate", block.contents())?;
        if !parsed.is_ca() {
            return Err(refused("the signing CA certificate is no CA's"));
        }
        let (from, until) = validity_of(&parsed);
        if now < from || now > until {
            return Err(refused("the signing CA certificate has expired, or is not valid yet"));
        }
        Ok(root)
    }

    /// Checks that key and certificate belong together.
    pub fn load(root: &RootAuthority) -> Result<Self, Error> {
        let key = KeyPair::from_pem(&root.key).map_err(|err| Error::malformed("root key", err))?;
        let digest = Digest::of_pem(&root.certificate)?;
        let block = pem::parse(&root.certificate)
            .map_err(|err| Error::malformed("root certificate", err))?;
        let certificate = parse("root certificate", block.contents())?;
        if certificate.public_key().raw != key.subject_public_key_info() {
            return Err(Error::malformed("root key", "it is not the root certificate's"));
        }
        let expires_at = validity_of(&certificate).1;
        let issuer = Issuer::from_ca_cert_pem(&root.certificate, key)
            .map_err(|err| Error::malformed("root certificate", err))?;
        Ok(Authority { digest, issuer, expires_at, cross_signed: root.cross_signed.clone() })
    }

    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Signs a node's request (PEM). Of the request only the key counts; names and role are the cluster's.
    pub fn issue(
        &self,
        request: &str,
        to: &PeerIdentity,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Issued, Error> {
        // Parsing verifies that whoever asks holds the key.
        let request = CertificateSigningRequestParams::from_pem(request)
            .map_err(|err| Error::InvalidRequest(err.to_string()))?;
        if request.public_key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(Error::InvalidRequest("the key is not ECDSA P-256".to_owned()));
        }
        let expires_at = now.after(lifetime).min(self.expires_at);
        let mut params = node_params(to)?;
        (params.not_before, params.not_after) = span(now, expires_at)?;
        let certificate = params
            .signed_by(&request.public_key, &self.issuer)
            .map_err(|err| Error::malformed("node certificate", err))?;
        // X.509 counts whole seconds.
        let expires_at = Timestamp::from_seconds(expires_at.seconds());
        Ok(Issued { chain: certificate.pem() + &self.cross_signed, expires_at, root: self.digest })
    }

    /// `next`'s certificate signed by this root, PEM: those who trust only this one then trust what `next` signs.
    pub fn cross_sign(&self, next: &RootAuthority, now: Timestamp) -> Result<String, Error> {
        let next_key =
            KeyPair::from_pem(&next.key).map_err(|err| Error::malformed("root key", err))?;
        let next_key = SubjectPublicKeyInfo::from_der(&next_key.subject_public_key_info())
            .map_err(|err| Error::malformed("root key", err))?;
        let mut params = authority_params();
        // What it signs names it so.
        params.distinguished_name = subject_of(&next.certificate)?;
        (params.not_before, params.not_after) = span(now, self.expires_at)?;
        let certificate = params
            .signed_by(&next_key, &self.issuer)
            .map_err(|err| Error::malformed("root certificate", err))?;
        Ok(certificate.pem())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.digest)
    }
}

/// The name that a root's certificate has, to be written the same again.
fn subject_of(certificate: &str) -> Result<DistinguishedName, Error> {
    let malformed = |why: &str| Error::malformed("root certificate", why);
    let block = pem::parse(certificate).map_err(|err| malformed(&err.to_string()))?;
    let certificate = parse("root certificate", block.contents())?;
    let mut name = DistinguishedName::new();
    for set in certificate.subject().iter() {
        let mut parts = set.iter();
        let (Some(part), None) = (parts.next(), parts.next()) else {
            return Err(malformed("its name has parts of several values"));
        };
        let kind = part.attr_type().iter().map(Iterator::collect::<Vec<u64>>);
        let kind = kind.ok_or_else(|| malformed("its name has a part of no known kind"))?;
        let text = part.as_str().map_err(|_| malformed("its name is not text"))?;
        let value = match part.attr_value().header.tag() {
            Tag::Utf8String => DnValue::Utf8String(text.to_owned()),
            Tag::PrintableString => DnValue::PrintableString(
                text.try_into().map_err(|_| malformed("its name is not text"))?,
            ),
            _ => return Err(malformed("its name is neither UTF8String nor PrintableString")),
        };
        name.push(DnType::from_oid(&kind), value);
    }
    Ok(name)
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, ROOT_NAME);
    // One root below it, at most: the next one, while it is cross-signed.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial());
    params
}

fn node_params(to: &PeerIdentity) -> Result<CertificateParams, Error> {
    let role = role_name(to.role);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, to.cluster.as_str());
    params.distinguished_name.push(DnType::OrganizationalUnitName, role);
    params.distinguished_name.push(DnType::CommonName, to.node.as_str());
    let mut names = vec![role, to.node.as_str()];
    if to.role == Role::Manager {
        names.push(ROOT_NAME);
    }
    for name in names {
        let name = name.try_into().map_err(|err| Error::malformed("node id", err))?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial());
    Ok(params)
}

/// 127 random bits: positive, and never a certificate's twice.
pub(crate) fn serial() -> SerialNumber {
    let mut bytes: [u8; 16] = rand::random();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

pub(crate) fn span(
    now: Timestamp,
    until: Timestamp,
) -> Result<(OffsetDateTime, OffsetDateTime), Error> {
    let backdate = i64::try_from(BACKDATE.as_secs()).unwrap_or(0);
    let at = |seconds| {
        OffsetDateTime::from_unix_timestamp(seconds).map_err(|err| Error::malformed("time", err))
    };
    Ok((at(now.seconds().saturating_sub(backdate))?, at(until.seconds())?))
}
