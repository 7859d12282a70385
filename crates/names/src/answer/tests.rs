use super::*;
use crate::Entry;
use insta::assert_snapshot;

fn zones() -> Vec<Arc<Zone>> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let web = owned(&["Web_1", "web", "aaaa00001111"]);
    let second = owned(&["web_2", "web"]);
    let elsewhere = owned(&["web", "db"]);
    let ip = |last| Ipv4Addr::new(172, 18, 0, last);
    let six = Some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3));
    let front = [
        Entry { names: &web, address: ip(2), six: None },
        Entry { names: &second, address: ip(3), six },
    ];
    let back = [Entry { names: &elsewhere, address: Ipv4Addr::new(172, 19, 0, 9), six: None }];
    vec![Arc::new(Zone::new("front", front)), Arc::new(Zone::new("back", back))]
}

fn ask(name: &str, kind: RecordType, turn: usize) -> String {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    match answer(&zones(), &query, turn) {
        Reply::Forward => "forward".to_owned(),
        Reply::Answer(reply) => {
            let data: Vec<_> = reply.answers.iter().map(|record| record.data.to_string()).collect();
            format!("{} {}", reply.metadata.response_code, data.join(" "))
        }
    }
}

#[test]
fn names_aliases_short_ids_and_qualified_names_are_found_whatever_their_case() {
    assert_snapshot!(ask("web_1.", RecordType::A, 0), @"No Error 172.18.0.2");
    assert_snapshot!(ask("WEB_1.", RecordType::A, 0), @"No Error 172.18.0.2");
    assert_snapshot!(ask("aaaa00001111.", RecordType::A, 0), @"No Error 172.18.0.2");
    assert_snapshot!(ask("db.back.", RecordType::A, 0), @"No Error 172.19.0.9");
    assert_snapshot!(ask("web.back.", RecordType::A, 0), @"No Error 172.19.0.9");
}

#[test]
fn a_shared_alias_rotates_and_the_first_network_wins() {
    assert_snapshot!(ask("web.", RecordType::A, 0), @"No Error 172.18.0.2 172.18.0.3");
    assert_snapshot!(ask("web.", RecordType::A, 1), @"No Error 172.18.0.3 172.18.0.2");
}

#[test]
fn a_known_name_never_is_nxdomain() {
    assert_snapshot!(ask("db.", RecordType::AAAA, 0), @"No Error");
    assert_snapshot!(ask("web.", RecordType::HTTPS, 0), @"No Error");
    assert_snapshot!(ask("2.0.18.172.in-addr.arpa.", RecordType::A, 0), @"No Error");
}

#[test]
fn who_has_ipv6_is_found_there_too() {
    assert_snapshot!(ask("web.", RecordType::AAAA, 0), @"No Error fd00::3");
    assert_snapshot!(ask("web_2.front.", RecordType::AAAA, 0), @"No Error fd00::3");
    let zeros = "0.".repeat(24);
    let name = format!("3.0.0.0.{zeros}0.0.d.f.ip6.arpa.");
    assert_snapshot!(ask(&name, RecordType::PTR, 0), @"No Error web_2.front.");
    assert_snapshot!(ask("3.0.0.0.ip6.arpa.", RecordType::PTR, 0), @"forward");
}

#[test]
fn an_address_is_named_with_its_network() {
    assert_snapshot!(ask("2.0.18.172.in-addr.arpa.", RecordType::PTR, 0), @"No Error Web_1.front.");
    assert_snapshot!(ask("9.9.9.9.in-addr.arpa.", RecordType::PTR, 0), @"forward");
}

#[test]
fn anything_else_is_forwarded_and_nonsense_refused() {
    assert_snapshot!(ask("example.org.", RecordType::A, 0), @"forward");
    let empty = Message::query();
    let Reply::Answer(reply) = answer(&zones(), &empty, 0) else { panic!("forwarded") };
    assert_eq!(reply.metadata.response_code, ResponseCode::FormErr);
}
