//! One sandbox's resolver, with upstream servers that behave and that do not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use dnsd::{OWN_PORT, Sockets, View, serve};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use names::{EMBEDDED, Entry, Zone};
use netdev::{Sandboxes, lead_to_resolver, run_in};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use types::ContainerId;

const RESOLVER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11)), 53);
const WEB: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 2);

/// Runs `test` in a sandbox whose resolver knows `web`; the view can be replaced.
fn in_sandbox(test: impl AsyncFnOnce(watch::Sender<Arc<View>>) + Send) {
    let dir = tempfile::tempdir().unwrap();
    let sandboxes = Sandboxes::open(dir.path()).unwrap();
    let id = ContainerId::new("smp-dns");
    let netns = sandboxes.ensure(&id).unwrap();
    let run = |netns: &Path| {
        run_in(netns, || {
            lead_to_resolver(EMBEDDED, RESOLVER.port(), OWN_PORT)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let view = watch::Sender::new(Arc::new(view(&[])));
                let _server = serve(Sockets::open()?, view.subscribe())?;
                test(view).await;
                Ok(())
            })
        })
    };
    let outcome = run(&netns);
    sandboxes.remove(&id).unwrap();
    outcome.unwrap();
}

fn view(upstream: &[SocketAddr]) -> View {
    let names = ["web".to_owned()];
    let zone = Zone::new("front", [Entry { names: &names, address: WEB, six: None }]);
    View { zones: vec![Arc::new(zone)], upstream: upstream.to_vec() }
}

fn query(name: &str) -> Message {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    query
}

async fn ask_udp(name: &str) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&query(name).to_vec().unwrap(), RESOLVER).await.unwrap();
    let mut reply = [0; 4096];
    let got = socket.recv(&mut reply).await.unwrap();
    Message::from_vec(&reply[..got]).unwrap()
}

async fn exchange(stream: &mut TcpStream, message: &Message) -> Message {
    let bytes = message.to_vec().unwrap();
    stream.write_u16(bytes.len().try_into().unwrap()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let len = stream.read_u16().await.unwrap();
    let mut reply = vec![0; usize::from(len)];
    stream.read_exact(&mut reply).await.unwrap();
    Message::from_vec(&reply).unwrap()
}

fn addresses(message: &Message) -> Vec<Ipv4Addr> {
    let address = |data: &RData| if let RData::A(address) = data { Some(address.0) } else { None };
    message.answers.iter().filter_map(|record| address(&record.data)).collect()
}

/// A port of both protocols: what is free of one may be in use of the other.
async fn port_for_both() -> (UdpSocket, TcpListener) {
    for _ in 0..10 {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
            return (socket, listener);
        }
    }
    panic!("no port is free of both protocols");
}

/// A server that answers each query as `answer` does.
async fn upstream(answer: impl Fn(&Message) -> Message + Send + Sync + 'static) -> SocketAddr {
    let (socket, listener) = port_for_both().await;
    let address = socket.local_addr().unwrap();
    let answer = Arc::new(answer);
    let over_udp = answer.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((got, client)) = socket.recv_from(&mut buffer).await {
            let mut reply = over_udp(&Message::from_vec(&buffer[..got]).unwrap());
            // Too large for a datagram.
            if reply.answers.len() > 1 {
                reply = reply.truncate();
            }
            socket.send_to(&reply.to_vec().unwrap(), client).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let len = stream.read_u16().await.unwrap();
            let mut query = vec![0; usize::from(len)];
            stream.read_exact(&mut query).await.unwrap();
            let reply = answer(&Message::from_vec(&query).unwrap()).to_vec().unwrap();
            stream.write_u16(reply.len().try_into().unwrap()).await.unwrap();
            stream.write_all(&reply).await.unwrap();
        }
    });
    address
}

fn with_addresses(query: &Message, count: u8) -> Message {
    use hickory_proto::rr::{Record, rdata::A};
    let mut reply = names::refuse(query, ResponseCode::NoError);
    let name = &query.queries[0].name;
    let record =
        |last| Record::from_rdata(name.clone(), 60, RData::A(A(Ipv4Addr::new(203, 0, 113, last))));
    reply.add_answers((1..=count).map(record));
    reply
}

#[test]
fn several_queries_on_one_connection_are_answered_in_order() {
    in_sandbox(async |_view| {
        let mut stream = TcpStream::connect(RESOLVER).await.unwrap();
        for name in ["web.", "web.front."] {
            assert_eq!(addresses(&exchange(&mut stream, &query(name)).await), [WEB]);
        }
    });
}

#[test]
fn a_truncated_reply_is_passed_on_and_the_whole_one_is_had_over_tcp() {
    in_sandbox(async |view| {
        let server = upstream(|query| with_addresses(query, 3)).await;
        view.send_replace(Arc::new(self::view(&[server])));
        let reply = ask_udp("large.example.").await;
        assert!(reply.metadata.truncation && reply.answers.is_empty());
        let mut stream = TcpStream::connect(RESOLVER).await.unwrap();
        assert_eq!(addresses(&exchange(&mut stream, &query("large.example.")).await).len(), 3);
    });
}

#[test]
fn the_next_server_is_asked_when_one_refuses_or_is_not_there() {
    in_sandbox(async |view| {
        let refusing = upstream(|query| names::refuse(query, ResponseCode::Refused)).await;
        let absent = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let knowing = upstream(|query| with_addresses(query, 1)).await;
        view.send_replace(Arc::new(self::view(&[refusing, absent, knowing])));
        assert_eq!(addresses(&ask_udp("example.org.").await), [Ipv4Addr::new(203, 0, 113, 1)]);
        view.send_replace(Arc::new(self::view(&[refusing, absent])));
        assert_eq!(ask_udp("example.org.").await.metadata.response_code, ResponseCode::Refused);
    });
}

#[test]
fn without_a_server_a_foreign_name_is_servfail_and_nonsense_is_not_answered() {
    in_sandbox(async |_view| {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(b"nonsense", RESOLVER).await.unwrap();
        assert_eq!(ask_udp("example.org.").await.metadata.response_code, ResponseCode::ServFail);
        assert!(socket.try_recv(&mut [0; 16]).is_err());
    });
}

#[test]
fn a_new_view_counts_from_the_next_query_on() {
    in_sandbox(async |view| {
        assert_eq!(addresses(&ask_udp("web.").await), [WEB]);
        view.send_replace(Arc::new(View::default()));
        assert_eq!(ask_udp("web.").await.metadata.response_code, ResponseCode::ServFail);
    });
}

#[test]
fn a_program_that_takes_port_53_on_all_addresses_is_not_in_the_way() {
    in_sandbox(async |_view| {
        let any = (Ipv4Addr::UNSPECIFIED, RESOLVER.port());
        let datagrams = UdpSocket::bind(any).await.unwrap();
        let _streams = TcpListener::bind(any).await.unwrap();
        assert_eq!(addresses(&ask_udp("web").await), [WEB]);
        let mut stream = TcpStream::connect(RESOLVER).await.unwrap();
        assert_eq!(addresses(&exchange(&mut stream, &query("web")).await), [WEB]);
        // Its own clients reach it.
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(b"hello", (Ipv4Addr::LOCALHOST, RESOLVER.port())).await.unwrap();
        let mut got = [0; 16];
        let (len, from) = datagrams.recv_from(&mut got).await.unwrap();
        assert_eq!((&got[..len], from), (&b"hello"[..], client.local_addr().unwrap()));
    });
}
