//! What a cluster's trust looks like from outside: `TLSInfo` of nodes and of the swarm.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use types::swarm::node::TlsInfo;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Of the roots that are trusted (PEM): all of them, and who the first is. Clients compare a node's with the cluster's.
pub fn tls_info(roots: &str) -> TlsInfo {
    let mut info = TlsInfo { trust_root: roots.to_owned(), ..TlsInfo::default() };
    let first = CertificateDer::pem_slice_iter(roots.as_bytes()).find_map(Result::ok);
    if let Some(der) = first
        && let Ok((_, root)) = X509Certificate::from_der(&der)
    {
        info.cert_issuer_subject = STANDARD.encode(root.subject().as_raw());
        info.cert_issuer_public_key = STANDARD.encode(root.public_key().raw);
    }
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_says_who_it_is() {
        let record = crate::found(types::Timestamp::from_seconds(1_800_000_000)).unwrap();
        let info = tls_info(&crate::trusted_roots(&record));
        let subject = STANDARD.decode(&info.cert_issuer_subject).unwrap();
        assert!(subject.windows(8).any(|part| part == b"swarm-ca"), "{subject:?}");
        assert!(STANDARD.decode(&info.cert_issuer_public_key).unwrap().len() > 60);
        assert_eq!(tls_info("nonsense").cert_issuer_subject, "");
    }
}
