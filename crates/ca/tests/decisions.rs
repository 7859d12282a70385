//! Whom the cluster lets in, what it signs, when nodes renew, what a doctor says.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as the tests do")]

use ca::{Admission, Authority, Error, Identity, NodeKey, Standing, doctor, renewal, rotation};
use proptest::prelude::{prop_assert, proptest};
use std::time::Duration;
use types::swarm::extension::ClusterRecord;
use types::swarm::node::Role;
use types::swarm::session::PeerIdentity;
use types::{ClusterId, NodeId, Timestamp};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn now() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
}

fn peer(node: &str) -> PeerIdentity {
    PeerIdentity { node: NodeId::new(node), cluster: ClusterId::new("c1"), role: Role::Worker }
}

fn identity(record: &ClusterRecord, lifetime: Duration) -> Identity {
    let key = NodeKey::generate().unwrap();
    let issued = ca::issue(record, &key.request().unwrap(), &peer("n1"), lifetime, now()).unwrap();
    Identity::new(&issued.chain, key, &ca::trusted_roots(record)).unwrap()
}

#[test]
fn tokens_join_certificates_renew_and_expired_ones_need_a_token() {
    let record = ca::found(now()).unwrap();
    let (worker, manager) =
        (Some(record.worker_token.as_str()), Some(record.manager_token.as_str()));
    let current = Standing { identity: peer("n1"), lapsed: None };
    let lapsed = Standing { identity: peer("n1"), lapsed: Some("it expired".to_owned()) };
    let admit = |peer: Option<&Standing>, token: Option<&str>| {
        ca::admit(&record, peer, token).map_err(|err| err.to_string())
    };
    let n1 = || NodeId::new("n1");
    let refused = "A valid join token is necessary to join this cluster";

    assert_eq!(admit(None, worker), Ok(Admission::Join(Role::Worker)));
    assert_eq!(admit(None, manager), Ok(Admission::Join(Role::Manager)));
    assert_eq!(admit(None, None), Err(refused.to_owned()));
    assert_eq!(admit(None, Some("")), Err(refused.to_owned()));
    assert_eq!(admit(Some(&current), None), Ok(Admission::Renew(n1())));
    assert_eq!(admit(Some(&current), worker), Ok(Admission::Renew(n1())));
    assert_eq!(admit(Some(&current), Some("wrong")), Err(refused.to_owned()));
    assert_eq!(admit(Some(&lapsed), manager), Ok(Admission::Rejoin(n1(), Role::Manager)));
    assert_eq!(admit(Some(&lapsed), Some("wrong")), Err(refused.to_owned()));
    assert_eq!(admit(Some(&lapsed), None), Err("it expired".to_owned()));
}

#[test]
fn a_cluster_without_tokens_lets_nobody_in() {
    let record = ClusterRecord::default();
    assert!(matches!(ca::admit(&record, None, Some("")), Err(Error::TokenRefused)));
}

#[test]
fn only_a_request_that_proves_its_key_is_signed() {
    let record = ca::found(now()).unwrap();
    let request = NodeKey::generate().unwrap().request().unwrap();
    let sign = |request: &str| ca::issue(&record, request, &peer("n1"), HOUR, now());
    assert!(sign(&request).is_ok());
    for bad in ["", "x", &record.root.certificate, &tampered(&request)] {
        let err = sign(bad).unwrap_err();
        assert!(matches!(err, Error::InvalidRequest(_)), "{err}");
    }
}

/// Another signature under the same request.
fn tampered(request: &str) -> String {
    let mut block = pem::parse(request).unwrap().into_contents();
    let last = block.last_mut().unwrap();
    *last ^= 1;
    pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", block))
}

#[test]
fn a_node_key_of_another_kind_is_refused() {
    let record = ca::found(now()).unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    let err = ca::issue(&record, &request.pem().unwrap(), &peer("n1"), HOUR, now()).unwrap_err();
    assert_eq!(err.to_string(), "invalid certificate signing request: the key is not ECDSA P-256");
}

#[test]
fn a_root_whose_key_is_another_ones_is_not_loaded() {
    let (mut root, other) = (Authority::create(now()).unwrap(), Authority::create(now()).unwrap());
    root.key = other.key;
    let err = Authority::load(&root).unwrap_err().to_string();
    assert_eq!(err, "root key: it is not the root certificate's");
}

#[test]
fn no_certificate_outlives_its_root() {
    let record = ca::found(now()).unwrap();
    let long = Duration::from_secs(100 * 365 * 24 * 3600);
    let identity = identity(&record, long);
    assert_eq!(identity.not_after(), now().after(Duration::from_secs(630_720_000)));
}

#[test]
fn a_rotation_that_begins_anew_still_convinces_those_of_the_first_root() {
    let record = ca::found(now()).unwrap();
    let first = rotation::begin(&record, now()).unwrap();
    let second = rotation::begin(&first, now()).unwrap();
    assert_eq!(second.root, record.root);
    assert_ne!(second.next_root, first.next_root);
    assert_eq!(second.worker_token, record.worker_token, "joining nodes trust the old root");
    let roots = ca::trusted_roots(&second);
    assert_eq!(roots.matches("BEGIN CERTIFICATE").count(), 2);
    let done = rotation::finish(&second).unwrap();
    assert_eq!(ca::trusted_roots(&done), done.root.certificate);
    assert!(done.next_root.is_none() && done.root.cross_signed.is_empty());
    let again = rotation::finish(&done).unwrap();
    assert!(again == done, "finished twice, it changes nothing more");
}

proptest! {
    #[test]
    fn renewal_is_due_between_half_and_four_fifths_of_a_life(seconds in 10u64..10_000_000, jitter in 0.0..1.0f64) {
        let from = now();
        let made = from.after(HOUR);
        let until = made.after(Duration::from_secs(seconds));
        let due = renewal::due(from, until, jitter).since(made).as_secs_f64() / seconds as f64;
        prop_assert!((0.4999..0.8001).contains(&due), "{due}");
    }
}

#[test]
fn the_doctor_says_what_is_wrong_in_one_sentence() {
    let record = ca::found(now()).unwrap();
    let identity = identity(&record, 90 * DAY);
    let at = |days: u32| doctor::examine(&identity, now().after(days * DAY));
    assert_eq!(at(0), None);
    assert_eq!(at(70), None);
    assert_eq!(
        at(80).unwrap(),
        "this node's certificate expires at 2027-04-15T08:00:00Z and should have been renewed by \
         2027-03-28T08:00:00Z: no manager renews it"
    );
    assert_eq!(
        at(91).unwrap(),
        "this node's certificate expired at 2027-04-15T08:00:00Z (its clock says 2027-04-16T08:00:00Z): join again \
         with a token, or set the clock if it is wrong"
    );
    let yesterday = Timestamp::from_seconds(now().seconds() - 24 * 3600);
    assert_eq!(
        doctor::examine(&identity, yesterday).unwrap(),
        "this node's certificate is valid from 2027-01-15T07:00:00Z on, but its clock says 2027-01-14T08:00:00Z: set \
         the clock"
    );
    let other = ca::found(now()).unwrap();
    let left = identity.with_roots(&other.root.certificate).unwrap();
    assert!(doctor::examine(&left, now()).unwrap().contains("signed by none of the roots"));

    assert_eq!(doctor::skew(now(), now().after(Duration::from_secs(4)), "m1"), None);
    assert_eq!(
        doctor::skew(now(), now().after(DAY), "m1").unwrap(),
        "this node's clock is 86400 s behind m1's: set one of the clocks"
    );
    assert_eq!(
        doctor::skew(now().after(DAY), now(), "m1").unwrap(),
        "this node's clock is 86400 s ahead of m1's: set one of the clocks"
    );
}
