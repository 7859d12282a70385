//! Scenes: machines outside that a network knows, hosts that are in a network themselves, policies that files say.

use crate::{Cluster, OUTSIDE, WAIT, WHO, ask};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use testkit::{Namespace, eventually};

const HOSTS: usize = crate::HOSTS;
/// Of programs outside of containers.
const PORT: u16 = 7700;

/// A program outside of containers: tells who comes its address. It ends when it is dropped.
struct Teller {
    port: u16,
    namespace: String,
    address: Ipv4Addr,
    stop: Arc<AtomicBool>,
}

impl Teller {
    /// `address` is one by which it can be reached from its namespace.
    fn start(namespace: &Namespace, address: Ipv4Addr, port: u16) -> Teller {
        let stop = Arc::new(AtomicBool::new(false));
        let listener = namespace.inside(|| Ok(TcpListener::bind(("0.0.0.0", port))?)).unwrap();
        let ended = stop.clone();
        thread::spawn(move || {
            while let Ok((mut stream, from)) = listener.accept() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                // A client that went away is no failure of the server.
                let _ = writeln!(stream, "teller saw {}", from.ip());
            }
        });
        Teller { port, namespace: namespace.name().to_owned(), address, stop }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let to = SocketAddr::from((self.address, self.port));
        if let Ok(namespace) = Namespace::existing(&self.namespace) {
            // The last client: it only wakes the server.
            let _ = namespace.connect(to);
        }
    }
}

/// A script that prints what a teller says at `name`; nothing when nobody answers.
fn hear(name: &str) -> String {
    format!("timeout 5 nc {name} {PORT} </dev/null | grep teller")
}

pub(super) fn machines_outside_are_known(cluster: &Cluster) {
    let hub = cluster.0.hub().namespace();
    let outside: Ipv4Addr = OUTSIDE.parse().unwrap();
    let teller = Teller::start(hub, outside, PORT);
    cluster.manager(&["network", "create", "-d", "overlay", "--internal", "--attachable", "vault"]);
    let address = format!("sampan.external={OUTSIDE}");
    let check = format!("sampan.external.check=tcp:{PORT}");
    let labels = ["--label", &address, "--label", &check];
    let create = ["service", "create", "--detach", "--no-resolve-image", "--name", "legacy"];
    let places = ["--replicas", "0", "--network", "front", "--network", "vault"];
    cluster.manager(&[&create[..], &places, &labels, &["busybox"]].concat());
    for host in 0..HOSTS {
        eventually("the machine outside is named", || {
            (cluster.resolve(host, "app", "tasks.legacy") == [OUTSIDE]).then_some(())
        });
        let vip = cluster.resolve(host, "app", "legacy");
        assert!(vip.len() == 1 && vip[0] != OUTSIDE, "{vip:?}");
        eventually("the machine outside is reached by its VIP", || {
            (!cluster.inside(host, "app", &hear("legacy")).is_empty()).then_some(())
        });
        let shown = cluster.0[host].get("/networks/front").json()["Externals"].clone();
        assert_eq!(shown["legacy"][OUTSIDE], "healthy", "{shown}");
    }
    // From an internal network nothing else outside is reached.
    let run = ["run", "-d", "--name", "safe", "--network", "vault", "busybox", "sh", "-c", WAIT];
    cluster.0[1].docker(&run).ok();
    eventually("an internal network reaches the machine that it knows", || {
        (!cluster.on(1, "safe", &hear("legacy")).is_empty()).then_some(())
    });
    let node = cluster.0[0].address();
    let reach = format!("nc -w 1 {node} 2377 </dev/null && echo reached");
    assert_eq!(cluster.on(1, "safe", &reach), "");

    let policy = ["network", "policy", "add", "--to", "legacy", "--from", "app", "front"];
    cluster.0[0].sampan(&policy).ok();
    let run = ["run", "-d", "--name", "guest", "--network", "front", "busybox", "sh", "-c", WAIT];
    cluster.0[2].docker(&run).ok();
    eventually("the policy is in force", || {
        cluster.on(2, "guest", &hear("legacy")).is_empty().then_some(())
    });
    assert!(!cluster.inside(2, "app", &hear("legacy")).is_empty(), "app was kept away");
    cluster.0[0].sampan(&["network", "policy", "rm", "front", "1"]).ok();
    cluster.0[2].docker(&["rm", "-f", "guest"]).ok();
    cluster.0[1].docker(&["rm", "-f", "safe"]).ok();

    drop(teller);
    eventually("nobody is led to a machine that does not answer", || {
        cluster.resolve(1, "app", "tasks.legacy").is_empty().then_some(())
    });
    let shown = cluster.0[1].get("/networks/front").json()["Externals"]["legacy"].clone();
    assert_eq!(shown[OUTSIDE], "unhealthy", "{shown}");
    let teller = Teller::start(hub, outside, PORT);
    eventually("it answers again", || {
        (!cluster.inside(1, "app", &hear("legacy")).is_empty()).then_some(())
    });
    drop(teller);
    let own = cluster.address(0, &cluster.container(0, "app"), "front");
    let before = cluster.manager(&["service", "ls", "-q"]);
    let inside = format!("sampan.external={own}");
    for (flags, want) in [
        (["--label", "sampan.external=db", "--replicas", "0"], "\"db\" is no IPv4 address"),
        (["--label", "sampan.external=127.0.0.1", "--replicas", "0"], "is no machine's address"),
        (
            ["--label", "sampan.external.check=tcp:1", "--replicas", "0"],
            "needs label sampan.external",
        ),
        (["--label", &address, "--replicas", "1"], "it must have 0 replicas"),
        (["--label", &inside, "--replicas", "0"], "is not outside: it belongs to network front"),
    ] {
        let create = ["service", "create", "--detach", "--no-resolve-image", "--network", "front"];
        let told = cluster.0[0].docker(&[&create[..], &flags, &["busybox"]].concat()).err();
        assert!(told.contains(want), "{flags:?}: {told}");
    }
    assert_eq!(cluster.manager(&["service", "ls", "-q"]), before);
    cluster.manager(&["service", "rm", "legacy"]);
    eventually("its network can go", || {
        (cluster.0[0].docker(&["network", "rm", "vault"]).status == 0).then_some(())
    });
}

pub(super) fn hosts_join(cluster: &mut Cluster) {
    let last = HOSTS - 1;
    let attach = ["network", "attach-host", "--name", "old", "--alias", "legacy", "front"];
    let address = cluster.0[last].sampan(&attach).ok();
    let own: Ipv4Addr = address.trim().parse().unwrap();
    let teller = Teller::start(cluster.0[last].namespace(), cluster.0[last].address(), PORT);
    for host in 0..HOSTS {
        for name in ["old", "legacy"] {
            eventually("the host is named", || {
                (cluster.resolve(host, "app", name) == [own.to_string()]).then_some(())
            });
        }
        let client = cluster.address(host, &cluster.container(host, "app"), "front");
        let told = format!("teller saw {client}");
        eventually("the host is reached, and sees who comes", || {
            (cluster.inside(host, "app", &hear("old")) == told).then_some(())
        });
    }
    let namespace = cluster.0[last].namespace();
    for name in ["web", "tasks.web"] {
        eventually("its resolver knows the network's names", || {
            let known = resolve_at(namespace, own, name);
            (known == cluster.resolve(0, "app", name)).then_some(())
        });
    }
    for name in ["web", "tasks.web"] {
        for to in resolve_at(namespace, own, name) {
            let to: Ipv4Addr = to.parse().unwrap();
            let said = eventually("the host reaches the service", || who(namespace, to));
            assert!(said.starts_with(&format!("{own} web-node")), "{to}: {said}");
        }
    }
    // Who is on no network with it does not reach it.
    cluster.0[0].docker(&["run", "-d", "--name", "alone", "busybox", "sh", "-c", WAIT]).ok();
    assert_eq!(cluster.on(0, "alone", &hear(&own.to_string())), "");
    cluster.0[0].docker(&["rm", "-f", "alone"]).ok();
    let shown = cluster.0[last].get("/networks/front").json()["HostAddress"].clone();
    assert_eq!(shown, own.to_string());

    let add = |from: &str| {
        ["network", "policy", "add", "--to", "web", "--from", from, "front"].map(str::to_owned)
    };
    let run = |words: &[String]| {
        cluster.0[0].sampan(&words.iter().map(String::as_str).collect::<Vec<_>>()).ok()
    };
    let web: Ipv4Addr = cluster.resolve(0, "app", "web")[0].parse().unwrap();
    run(&add("app"));
    eventually("a policy keeps the host away", || who(namespace, web).is_none().then_some(()));
    run(&add("old"));
    eventually("a policy lets the host in by its name", || who(namespace, web));
    cluster.0[0].sampan(&["network", "policy", "rm", "front", "1", "2"]).ok();

    for (words, want) in [
        (vec!["front"], "this host is in network front already"),
        (vec!["nowhere"], "network nowhere not found"),
        (vec!["bridge"], "is not the cluster's"),
        (vec!["--name", "a b", "front"], "invalid host name"),
    ] {
        let told =
            cluster.0[last].sampan(&[&["network", "attach-host"][..], &words].concat()).err();
        assert!(told.contains(want), "{words:?}: {told}");
    }
    let told = cluster.0[0].sampan(&["network", "attach-host", "--ip", &address, "front"]).err();
    assert!(told.contains("already in use"), "{told}");
    let told = cluster.0[0].sampan(&["network", "attach-host", "--ip", "192.0.2.7", "front"]).err();
    assert!(told.contains("no configured subnet"), "{told}");
    let told = cluster.0[0].sampan(&["network", "detach-host", "front"]).err();
    assert!(told.contains("this host is not in network front"), "{told}");

    cluster.0[last].restart();
    eventually("a daemon that starts again keeps the place", || {
        (!cluster.inside(0, "app", &hear("old")).is_empty()).then_some(())
    });
    eventually("and answers names there", || {
        let known = resolve_at(cluster.0[last].namespace(), own, "web");
        (known == cluster.resolve(0, "app", "web")).then_some(())
    });
    drop(teller);
    cluster.0[last].sampan(&["network", "detach-host", "front"]).ok();
    let addresses = cluster.0[last].namespace().run(&["ip", "-o", "address"]).unwrap();
    assert!(!addresses.contains(&own.to_string()), "{addresses}");
    eventually("the name is gone", || cluster.resolve(0, "app", "old").is_empty().then_some(()));
}

/// The addresses of a name, as the resolver at `server` tells them to the host.
fn resolve_at(namespace: &Namespace, server: Ipv4Addr, name: &str) -> Vec<String> {
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    let asked = namespace.inside(|| {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.send_to(&query, (server, 53))?;
        let mut reply = vec![0; 4096];
        let len = socket.recv(&mut reply)?;
        reply.truncate(len);
        Ok(reply)
    });
    let Ok(reply) = asked else { return Vec::new() };
    let mut found: Vec<Ipv4Addr> = Vec::new();
    // Answers have a pointer for their name, so each takes 16 bytes, the address last.
    for answer in reply[query.len().min(reply.len())..].chunks_exact(16) {
        if answer[2..4] == [0, 1] {
            found.push(Ipv4Addr::new(answer[12], answer[13], answer[14], answer[15]));
        }
    }
    found.sort_unstable();
    found.iter().map(ToString::to_string).collect()
}

/// What `WHO` answers to the host.
fn who(namespace: &Namespace, to: Ipv4Addr) -> Option<String> {
    let said = namespace.inside(|| {
        let to = SocketAddr::from((to, 80));
        let mut stream = std::net::TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(b"GET /cgi-bin/who HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    Some(said.ok()?.lines().last()?.to_owned()).filter(|said| said.contains("web-node"))
}

pub(super) fn files_say_who_may_come(cluster: &Cluster) {
    let file = cluster.0[0].dir().join("policy.yaml");
    let text = format!(
        "services:
  api: {{image: busybox, command: [sh, -c, \"{WAIT}\"], networks: [front]}}
  other: {{image: busybox, command: [sh, -c, \"{WAIT}\"], networks: [front]}}
  db:
    image: busybox
    hostname: web-node0
    command: [sh, -c, {WHO:?}]
    networks: [front]
    x-sampan-policy: {{from: api, ports: [80]}}
networks: {{front: {{external: true}}}}
"
    );
    fs::write(&file, text.replace("$", "$$")).unwrap();
    let file = file.to_str().unwrap().to_owned();
    cluster.0[0].sampan(&["stack", "deploy", "--detach=false", "-c", &file, "shop"]).ok();
    let at = |service: &str| {
        eventually("it runs", || (0..HOSTS).find(|host| cluster.runs(*host, service)))
    };
    let (api, other) = (at("shop_api"), at("shop_other"));
    eventually("who is let in comes in", || {
        cluster.inside(api, "shop_api", &ask("db")).contains("web-node0").then_some(())
    });
    eventually("who is not is refused on its own host, which says so", || {
        let said = cluster.inside(other, "shop_other", &ask("db"));
        let log = cluster.0[other].sampan(&["network", "policy", "log", "front"]).ok();
        // Others may have been refused at these addresses before.
        let is_told = log.lines().any(|line| {
            ["shop_other.1.", "shop_db.1.", "80/tcp"].iter().all(|word| line.contains(word))
        });
        (is_told && !said.contains("web-node0")).then_some(())
    });
    let shown = cluster.manager(&["network", "inspect", "--format", "{{json .}}", "front"]);
    let listed = cluster.0[0].sampan(&["network", "policy", "ls", "front"]).ok();
    assert!(listed.contains("shop_db") && listed.contains("shop_api"), "{listed} {shown}");
    cluster.0[0].sampan(&["stack", "rm", "shop"]).ok();
    let listed = cluster.0[0].sampan(&["network", "policy", "ls", "front"]).ok();
    assert!(!listed.contains("shop"), "{listed}");

    // The same file as a project of containers on one host.
    cluster.0[1].sampan(&["compose", "-p", "shop", "-f", &file, "up", "-d"]).ok();
    let inside = |container: &str| cluster.on(1, container, &ask("db"));
    eventually("who is let in comes in", || {
        inside("shop-api-1").contains("web-node0").then_some(())
    });
    eventually("who is not stays out", || {
        (!inside("shop-other-1").contains("web-node0")).then_some(())
    });
    cluster.0[1].sampan(&["compose", "-p", "shop", "-f", &file, "down", "-t", "0"]).ok();
    let rules = cluster.0[0].sampan(&["network", "policy", "rm", "--all", "front"]);
    assert_eq!(rules.status, 0, "{}", rules.stderr);
}
