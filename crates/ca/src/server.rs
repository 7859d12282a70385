//! A certificate for what clients outside of the cluster reach on a manager: they trust the cluster's root, and call the
//! manager by an address of theirs.

use crate::authority::{serial, span};
use crate::{Authority, Error};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::net::IpAddr;
use std::time::Duration;
use types::Timestamp;

/// PEM.
pub struct ServerCertificate {
    pub chain: String,
    pub key: String,
}

impl Authority {
    /// For a server that is called by these host names and addresses. It is no node's: it opens no door of the cluster.
    ///
    /// # Errors
    /// When a name is none.
    pub fn issue_server(
        &self,
        names: &[String],
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<ServerCertificate, Error> {
        let key = KeyPair::generate().map_err(|err| Error::malformed("server key", err))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "sampan registry");
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(
                    name.as_str().try_into().map_err(|err| Error::malformed("server name", err))?,
                ),
            });
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial());
        let until = now.after(lifetime).min(self.expires_at);
        (params.not_before, params.not_after) = span(now, until)?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(|err| Error::malformed("server certificate", err))?;
        Ok(ServerCertificate { chain: certificate.pem(), key: key.serialize_pem() })
    }
}
