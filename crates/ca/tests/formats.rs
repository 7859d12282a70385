//! Formats that others read: Docker's tokens and keys, SwarmKit's certificates, openssl's PEM.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as the tests do")]

use ca::{Digest, Error, Identity, JoinToken, NodeKey, UnlockKey, rotation};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;
use types::swarm::extension::ClusterRecord;
use types::swarm::node::Role;
use types::swarm::session::PeerIdentity;
use types::{ClusterId, NodeId, Timestamp};

fn now() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
}

fn peer(role: Role) -> PeerIdentity {
    PeerIdentity {
        node: NodeId::new("4q1wl0dvcfkvxhjlmdhhq9bg4"),
        cluster: ClusterId::new("b6dd8wk5xkg1gpnc8w1udxwzo"),
        role,
    }
}

fn identity(record: &ClusterRecord, role: Role) -> Identity {
    let key = NodeKey::generate().unwrap();
    let issued =
        ca::issue(record, &key.request().unwrap(), &peer(role), Duration::ZERO, now()).unwrap();
    Identity::new(&issued.chain, key, &ca::trusted_roots(record)).unwrap()
}

/// What `openssl` prints; none where it is not installed.
fn openssl(args: &[&str]) -> Option<String> {
    match Command::new("openssl").args(args).output() {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "openssl {args:?}: {errors}");
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(_) => {
            eprintln!("SKIPPED: openssl is not installed");
            None
        }
    }
}

#[test]
fn a_token_is_what_docker_makes_of_the_same_digest_and_secret() {
    // By Go's big.Int: Text(36), padded to 50 and 25 with zeros.
    let low = JoinToken::new(&Digest([0; 32]), [0; 16]);
    assert_eq!(low.as_str(), format!("SWMTKN-1-{}-{}", "0".repeat(50), "0".repeat(25)));
    let high = JoinToken::new(&Digest([255; 32]), [255; 16]);
    assert_eq!(
        high.as_str(),
        "SWMTKN-1-6dp5qcb22im238nr3wvp0ic7q99w035jmy2iw7i6n43d37jtof-f5lxx1zz5pnorynqglhzmsp33"
    );
    let mut digest = [0; 32];
    digest[31] = 35;
    let token = JoinToken::new(&Digest(digest), [0; 16]);
    assert!(token.as_str().starts_with(&format!("SWMTKN-1-{}z-", "0".repeat(49))));
}

proptest! {
    #[test]
    fn a_token_is_read_as_it_was_written(digest: [u8; 32], secret: [u8; 16]) {
        let token = JoinToken::new(&Digest(digest), secret);
        prop_assert_eq!(token.as_str().len(), 85);
        let read = JoinToken::parse(token.as_str()).unwrap();
        prop_assert_eq!(read.digest(), &Digest(digest));
        prop_assert!(token.matches(read.as_str()));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(SWMTKN-1-)?[0-9a-zA-Z-]{0,90}") {
        let _ = JoinToken::parse(&text);
    }

    #[test]
    fn an_unlock_key_is_read_as_it_was_written(bytes in any::<[u8; 32]>()) {
        let key = UnlockKey::new(bytes);
        prop_assert_eq!(key.to_text().len(), "SWMKEY-1-".len() + 43);
        prop_assert!(UnlockKey::parse(&key.to_text()).unwrap() == key);
    }
}

#[test]
fn what_is_no_token_is_refused_in_dockers_words() {
    let good = JoinToken::new(&Digest([7; 32]), [7; 16]).as_str().to_owned();
    let cut = &good[..good.len() - 1];
    let too_large = format!("SWMTKN-1-{}-{}", "z".repeat(50), "0".repeat(25));
    let fips = good.replace("SWMTKN-1-", "SWMTKN-2-1-");
    let shouted = good.to_uppercase();
    let spaced = format!("{good} ");
    for text in ["", "SWMTKN", "SWMTKN-1-x-y", cut, &too_large, &fips, &shouted, &spaced] {
        let err = JoinToken::parse(text).unwrap_err();
        assert_eq!(err.to_string(), "invalid join token", "{text}");
    }
}

#[test]
fn only_the_whole_token_matches() {
    let token = JoinToken::new(&Digest([7; 32]), [7; 16]);
    let other = JoinToken::new(&Digest([7; 32]), [8; 16]);
    assert!(token.matches(token.as_str()));
    for wrong in [other.as_str(), "", &token.as_str()[..84]] {
        assert!(!token.matches(wrong));
    }
}

#[test]
fn an_unlock_key_is_dockers_and_what_is_none_is_refused_in_its_words() {
    let key = UnlockKey::new([0; 32]);
    assert_eq!(key.to_text(), format!("SWMKEY-1-{}", "A".repeat(43)));
    for text in ["", "SWMKEY-1-", "SWMKEY-1-!!", "SWMKEY-2-AAAA", "SWMKEY-1-AAAA"] {
        assert_eq!(UnlockKey::parse(text).unwrap_err().to_string(), "invalid key string", "{text}");
    }
    assert_ne!(key.derive("a"), key.derive("b"));
}

#[test]
fn nothing_secret_is_printed() {
    let record = ca::found(now()).unwrap();
    let token = JoinToken::parse(&record.worker_token).unwrap();
    let lock = UnlockKey::generate();
    let printed = format!(
        "{record:?} {token:?} {lock:?} {:?} {:?}",
        NodeKey::generate().unwrap(),
        identity(&record, Role::Manager)
    );
    assert!(!printed.contains("SWM") && !printed.contains("PRIVATE KEY"), "{printed}");
}

#[test]
fn a_certificate_says_what_swarmkits_say() {
    let record = ca::found(now()).unwrap();
    for (role, unit, names) in [
        (
            Role::Manager,
            "swarm-manager",
            "DNS:swarm-manager, DNS:4q1wl0dvcfkvxhjlmdhhq9bg4, DNS:swarm-ca",
        ),
        (Role::Worker, "swarm-worker", "DNS:swarm-worker, DNS:4q1wl0dvcfkvxhjlmdhhq9bg4"),
    ] {
        let identity = identity(&record, role);
        assert_eq!(identity.peer(), &peer(role));
        let hour = Duration::from_secs(3600);
        assert_eq!(identity.not_before().after(hour), now());
        assert_eq!(identity.not_after(), now().after(Duration::from_secs(90 * 24 * 3600)));

        let dir = tempfile::tempdir().unwrap();
        identity.save(dir.path(), None).unwrap();
        let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let (certificate, root, key) = (file("certificate.pem"), file("root.pem"), file("key.pem"));
        let subject =
            ["x509", "-noout", "-subject", "-issuer", "-nameopt", "RFC2253", "-in", &certificate];
        let Some(subject) = openssl(&subject) else { continue };
        assert_eq!(
            subject,
            format!(
                "subject=CN=4q1wl0dvcfkvxhjlmdhhq9bg4,OU={unit},O=b6dd8wk5xkg1gpnc8w1udxwzo\nissuer=CN=swarm-ca\n"
            )
        );
        let text = openssl(&["x509", "-noout", "-text", "-in", &certificate]).unwrap();
        assert!(text.contains(names), "{text}");
        assert!(
            text.contains("TLS Web Server Authentication, TLS Web Client Authentication"),
            "{text}"
        );
        assert!(text.contains("ASN1 OID: prime256v1"), "{text}");
        let at = now().seconds().to_string();
        let verify = ["verify", "-x509_strict", "-attime", &at, "-CAfile", &root, &certificate];
        assert!(openssl(&verify).unwrap().ends_with("OK\n"));
        // The key is read as it is, and is the certificate's.
        let of_key = openssl(&["pkey", "-pubout", "-in", &key]).unwrap();
        let of_certificate = openssl(&["x509", "-noout", "-pubkey", "-in", &certificate]).unwrap();
        assert_eq!(of_key, of_certificate);
    }
}

#[test]
fn a_digest_is_openssls_fingerprint() {
    let record = ca::found(now()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.pem");
    fs::write(&path, &record.root.certificate).unwrap();
    let args = ["x509", "-noout", "-fingerprint", "-sha256", "-in", path.to_str().unwrap()];
    let Some(printed) = openssl(&args) else { return };
    let hex = printed.trim().rsplit('=').next().unwrap().replace(':', "").to_lowercase();
    let digest = Digest::of_pem(&record.root.certificate).unwrap();
    assert_eq!(digest.to_string(), format!("sha256:{hex}"));
    assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
    assert_eq!(JoinToken::parse(&record.manager_token).unwrap().digest(), &digest);
}

#[test]
fn openssl_follows_a_cross_signed_chain_to_the_old_root() {
    let record = ca::found(now()).unwrap();
    let begun = rotation::begin(&record, now()).unwrap();
    let identity = identity(&begun, Role::Worker);
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let chain = write("chain.pem", identity.chain());
    let old = write("old.pem", &record.root.certificate);
    let new = write("new.pem", &begun.next_root.as_ref().unwrap().certificate);
    let at = now().seconds().to_string();
    let verify = ["verify", "-x509_strict", "-attime", &at, "-untrusted", &chain];
    for root in [&old, &new] {
        let Some(said) = openssl(&[&verify[..], &["-CAfile", root, &chain]].concat()) else {
            return;
        };
        assert!(said.ends_with("OK\n"), "{said}");
    }
}

/// A root of somebody's own, PEM: certificate and key.
fn root_of_ones_own(is_ca: bool) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "Our own");
    params.distinguished_name.push(rcgen::DnType::CommonName, "Our root");
    params.not_before = time::OffsetDateTime::from_unix_timestamp(1_799_000_000).unwrap();
    params.not_after = time::OffsetDateTime::from_unix_timestamp(1_899_000_000).unwrap();
    if is_ca {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    }
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn a_root_from_elsewhere_follows_the_clusters_own() {
    let record = ca::found(now()).unwrap();
    let (certificate, key) = root_of_ones_own(true);
    let begun = rotation::begin_with(&record, &certificate, &key, now()).unwrap();
    let member = identity(&begun, Role::Worker);
    let digest = Digest::of_pem(&certificate).unwrap();
    assert!(member.signed_by(&digest.to_string()));
    assert_eq!(
        Digest::of_pem(&rotation::finish(&begun).unwrap().root.certificate).unwrap(),
        digest
    );

    let refused = |certificate: &str, key: &str, at: i64| {
        let at = Timestamp::from_seconds(at);
        rotation::begin_with(&record, certificate, key, at).unwrap_err().to_string()
    };
    let good = now().seconds();
    let (leaf, leafs) = root_of_ones_own(false);
    assert!(refused(&leaf, &leafs, good).contains("is no CA's"));
    assert!(refused(&certificate, &leafs, good).contains("it is not the root certificate's"));
    assert!(refused(&certificate, &key, 1_899_000_001).contains("has expired"));
    assert!(refused("nonsense", &key, good).contains("must be one certificate"));
    assert!(refused(&format!("{certificate}{certificate}"), &key, good).contains("must be one"));

    // Who trusts the old root alone finds the way to the new one by its own name.
    let dir = tempfile::tempdir().unwrap();
    let (chain, old) = (dir.path().join("chain.pem"), dir.path().join("old.pem"));
    fs::write(&chain, member.chain()).unwrap();
    fs::write(&old, &record.root.certificate).unwrap();
    let (chain, old, at) = (chain.to_str().unwrap(), old.to_str().unwrap(), good.to_string());
    let verify = ["verify", "-attime", &at, "-untrusted", chain, "-CAfile", old, chain];
    let Some(said) = openssl(&verify) else { return };
    assert!(said.ends_with("OK\n"), "{said}");
}

#[test]
fn a_locked_identity_opens_with_its_key_alone() {
    let record = ca::found(now()).unwrap();
    let identity = identity(&record, Role::Manager);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("certificates");
    assert!(Identity::load(&dir, None).unwrap().is_none());
    let lock = UnlockKey::generate();
    identity.save(&dir, Some(&lock)).unwrap();
    assert!(Identity::is_locked(&dir).unwrap());
    assert!(!fs::read_to_string(dir.join("key.pem")).unwrap().contains(identity_secret(&identity)));

    let err = Identity::load(&dir, None).unwrap_err();
    assert!(matches!(err, Error::Locked), "{err}");
    let err = Identity::load(&dir, Some(&UnlockKey::generate())).unwrap_err();
    assert!(matches!(err, Error::WrongUnlockKey), "{err}");
    let read = Identity::load(&dir, Some(&lock)).unwrap().unwrap();
    assert_eq!(
        (read.peer(), read.chain(), read.roots()),
        (identity.peer(), identity.chain(), identity.roots())
    );

    // Unlocked for good.
    read.save(&dir, None).unwrap();
    assert!(!Identity::is_locked(&dir).unwrap());
    assert!(Identity::load(&dir, None).unwrap().is_some());
    let mode = fs::metadata(dir.join("key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// A line of the key's PEM.
fn identity_secret(identity: &Identity) -> &'static str {
    let dir = tempfile::tempdir().unwrap();
    identity.save(dir.path(), None).unwrap();
    let text = fs::read_to_string(dir.path().join("key.pem")).unwrap();
    text.lines().nth(1).unwrap().to_owned().leak()
}

#[test]
fn a_replacement_that_was_killed_half_way_is_ended_or_never_was() {
    let record = ca::found(now()).unwrap();
    let (old, new) = (identity(&record, Role::Worker), identity(&record, Role::Manager));
    let files = ["certificate.pem", "key.pem", "root.pem"];
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("source");
    new.save(&source, None).unwrap();

    // Killed while the draft was written: as many files of it as got there, the last one cut short.
    for written in 0..=3 {
        let dir = scratch.path().join(format!("draft{written}"));
        old.save(&dir, None).unwrap();
        fs::create_dir(dir.join("next.tmp")).unwrap();
        for name in &files[..written] {
            fs::write(dir.join("next.tmp").join(name), "-----BEG").unwrap();
        }
        let read = Identity::load(&dir, None).unwrap().unwrap();
        assert_eq!(read.chain(), old.chain(), "{written} files of the draft");
        assert!(!dir.join("next.tmp").exists());
    }
    // Killed after the change counted: as many files of it as had been moved.
    for moved in 0..=3 {
        let dir = scratch.path().join(format!("moved{moved}"));
        old.save(&dir, None).unwrap();
        fs::create_dir(dir.join("next")).unwrap();
        for (at, name) in files.iter().enumerate() {
            let to = if at < moved { dir.join(name) } else { dir.join("next").join(name) };
            fs::copy(source.join(name), to).unwrap();
        }
        let read = Identity::load(&dir, None).unwrap().unwrap();
        assert_eq!(read.chain(), new.chain(), "{moved} files moved");
        assert!(!dir.join("next").exists());
    }
}

#[test]
fn a_damaged_identity_is_named_and_nothing_is_changed() {
    let record = ca::found(now()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    identity(&record, Role::Worker).save(dir.path(), None).unwrap();
    let foreign = identity(&record, Role::Worker);
    fs::write(dir.path().join("certificate.pem"), foreign.chain()).unwrap();
    let err = Identity::load(dir.path(), None).unwrap_err().to_string();
    assert_eq!(err, "certificate: it is not this key's");
    fs::write(dir.path().join("certificate.pem"), "").unwrap();
    let err = Identity::load(dir.path(), None).unwrap_err().to_string();
    assert_eq!(err, "certificate: no PEM of certificates");
    fs::remove_file(dir.path().join("certificate.pem")).unwrap();
    let err = Identity::load(dir.path(), None).unwrap_err().to_string();
    assert_eq!(err, "certificate: the file is not there, though the key is");
}
