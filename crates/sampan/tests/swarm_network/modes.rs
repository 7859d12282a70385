//! Scenes: how packets travel between hosts (encrypted, without encapsulation), and IPv6 beside IPv4.

use crate::{Cluster, OUTSIDE, PYTHON, WAIT, WHO, ask};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use testkit::{Namespace, eventually};

const HOSTS: usize = crate::HOSTS;
/// Nobody else says that.
const MARK: &str = "plainly-to-be-read";
/// Says to each client, of either family, which address it has and who answers.
const TELL: &str = "import socket\n\
    s = socket.socket(socket.AF_INET6)\n\
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
    s.bind(('::', 80))\n\
    s.listen(99)\n\
    while True:\n\
    \x20   c, a = s.accept()\n\
    \x20   c.sendall((a[0] + ' ' + socket.gethostname()).encode())\n\
    \x20   c.close()";

/// What is on the switch's wires, as long as it lives: whether some frame had the mark in it.
struct Tap {
    seen: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Tap {
    fn on(namespace: &Namespace) -> Tap {
        let open = || {
            let flags = SockFlag::SOCK_CLOEXEC;
            let all = SockProtocol::EthAll;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, all)?;
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(100))?;
            Ok(socket)
        };
        let socket = namespace.inside(open).unwrap();
        let (seen, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (found, stop) = (seen.clone(), ended.clone());
        let reader = thread::spawn(move || {
            let mut frame = vec![0; 65_536];
            while !stop.load(Ordering::SeqCst) {
                let Ok(got) = recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) else {
                    continue;
                };
                if frame[..got].windows(MARK.len()).any(|text| text == MARK.as_bytes()) {
                    found.store(true, Ordering::SeqCst);
                }
            }
        });
        Tap { seen, ended, reader: Some(reader) }
    }

    fn has_seen_it(&self) -> bool {
        self.seen.load(Ordering::SeqCst)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// As [`ask`], with the mark in the question.
fn ask_plainly(name: &str) -> String {
    format!(
        "printf 'GET /cgi-bin/who?{MARK} HTTP/1.0\\r\\n\\r\\n' | timeout 20 nc {name} 80 | tail -n 1"
    )
}

/// What [`TELL`] says at a name by IPv6; nothing when it cannot be reached.
fn hear_six(name: &str) -> String {
    format!(
        "python3 -c \"import socket; \
         a = socket.getaddrinfo('{name}', 80, socket.AF_INET6, socket.SOCK_STREAM)[0][4]; \
         s = socket.socket(socket.AF_INET6); s.settimeout(10); s.connect(a); \
         print(s.recv(99).decode())\""
    )
}

/// The processes that carry encrypted packets for the daemon whose helper is in `dir`.
fn helpers(dir: &Path) -> Vec<i32> {
    let wanted = format!("/proc/self/exe\0wire\0{}\0", dir.display());
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_one = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline"));
        words.is_ok_and(|words| words == wanted.as_bytes())
    };
    pids.filter(is_one).collect()
}

pub(super) fn encrypted_packets_are_nobodys_to_read(cluster: &mut Cluster) {
    let own = ["--opt", "encrypted", "--attachable"];
    cluster.manager(&[&["network", "create", "-d", "overlay"], &own[..], &["vault"]].concat());
    let published = ["--network", "vault", "--replicas", "2", "--publish", "8085:80"];
    let first = ["--constraint", "node.hostname!=node4", "--constraint", "node.hostname!=node5"];
    cluster.service("safe", &[&published[..], &first].concat(), WHO);
    let everywhere = ["--network", "vault", "--network", "front", "--mode", "global"];
    cluster.service("both", &everywhere, WAIT);
    let tap = Tap::on(cluster.0.hub().namespace());
    for host in 0..HOSTS {
        for _ in 0..3 {
            eventually("the service answers by the encrypted network", || {
                cluster.inside(host, "both", &ask_plainly("safe")).contains(" safe-").then_some(())
            });
        }
    }
    assert!(!tap.has_seen_it(), "what is encrypted could be read on the way");
    eventually("what is not encrypted can be read on the way", || {
        for host in 0..HOSTS {
            cluster.inside(host, "both", &ask_plainly("web"));
        }
        tap.has_seen_it().then_some(())
    });
    drop(tap);
    // By a published port of every host, the client's address is kept.
    for host in 0..HOSTS {
        eventually("the mesh leads to an encrypted network", || {
            let seen = cluster.seen_from_outside(host, 8085);
            seen.starts_with(&format!("{OUTSIDE} safe-")).then_some(())
        });
    }
    // A daemon that is killed cuts nobody off, a helper that is killed is there again.
    cluster.0[2].kill9();
    for _ in 0..3 {
        eventually("it answers while a daemon is away", || {
            cluster.inside(0, "both", &ask("safe")).contains(" safe-").then_some(())
        });
    }
    cluster.0[2].again();
    let dir = cluster.0[0].exec_root().join("wire");
    let [helper] = helpers(&dir)[..] else { panic!("one helper, not {:?}", helpers(&dir)) };
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(helper), nix::sys::signal::SIGKILL).unwrap();
    eventually("another helper goes on", || {
        let said = cluster.inside(0, "both", &ask("safe"));
        let next = helpers(&dir);
        (said.contains(" safe-") && next.len() == 1 && next != [helper]).then_some(())
    });
    // Who sends as a container of the network from outside of it does not get in.
    let task = (0..HOSTS).find(|host| cluster.runs(*host, "safe")).unwrap();
    let to = cluster.address(task, &cluster.container(task, "safe"), "vault");
    let hub = cluster.0.hub().namespace();
    let by = cluster.0[task].address().to_string();
    hub.run(&["ip", "route", "add", &format!("{to}/32"), "via", &by]).unwrap();
    let to: Ipv4Addr = to.parse().unwrap();
    let knock = || {
        Ok(std::net::TcpStream::connect_timeout(
            &SocketAddr::from((to, 80)),
            Duration::from_millis(500),
        )
        .is_ok())
    };
    assert!(!hub.inside(knock).unwrap(), "reached from outside");
    hub.run(&["ip", "route", "del", &format!("{to}/32")]).unwrap();
    cluster.manager(&["service", "rm", "safe", "both"]);
    eventually("the network goes", || {
        (cluster.0[0].docker(&["network", "rm", "vault"]).status == 0).then_some(())
    });
    for host in 0..HOSTS {
        eventually("nothing of it stays", || {
            let links = cluster.0[host].namespace().run(&["ip", "-o", "link"]).unwrap();
            let helper = cluster.0[host].exec_root().join("wire");
            (!links.contains("smw") && !helper.exists()).then_some(())
        });
    }
    eventually("its helper ends", || helpers(&dir).is_empty().then_some(()));
}

pub(super) fn a_network_without_encapsulation_is_open_to_the_outside(cluster: &Cluster) {
    for (options, wanted) in [
        (
            vec!["--opt", "mode=Direct"],
            "invalid mode \"Direct\": vxlan, direct and wireguard are there",
        ),
        (vec!["--opt", "mode=vxlan", "--opt", "encrypted"], "mode vxlan does not encrypt"),
        (vec!["--opt", "mode=direct", "--ipv6"], "mode direct has no IPv6"),
    ] {
        let words = [&["network", "create", "-d", "overlay"], &options[..], &["plain"]].concat();
        let refused = cluster.0[0].docker(&words);
        assert!(refused.stderr.contains(wanted), "{options:?}: {}", refused.stderr);
    }
    cluster.manager(&["network", "create", "-d", "overlay", "--opt", "mode=direct", "plain"]);
    let global = ["--network", "plain", "--mode", "global", "--publish", "8086:80"];
    cluster.service("open", &global, WHO);
    for host in 0..HOSTS {
        for _ in 0..3 {
            assert!(cluster.hear(host, "open", "open").contains(" open-"), "from {host}");
        }
        eventually("the mesh leads there", || {
            let seen = cluster.seen_from_outside(host, 8086);
            seen.starts_with(&format!("{OUTSIDE} open-")).then_some(())
        });
    }
    let hub = cluster.0.hub().namespace();
    let routes = cluster.0[0].sampan(&["network", "routes", "plain"]).ok();
    assert_eq!(routes.lines().count(), HOSTS, "{routes}");
    hub.run(&["sh", "-c", &routes]).unwrap();
    for host in 0..HOSTS {
        let own = cluster.address(host, &cluster.container(host, "open"), "plain");
        let to: Ipv4Addr = own.parse().unwrap();
        eventually("a machine outside reaches the container itself", || {
            let seen = fetch(hub, SocketAddr::from((to, 80)));
            seen.contains(&format!("{OUTSIDE} open-")).then_some(())
        });
        // A container's own address is what a machine outside sees: by a way back that the routes are.
        let back = cluster.inside(host, "open", &format!("ping -c 1 -w 20 {OUTSIDE}"));
        assert!(back.contains("1 packets received"), "{back}");
    }
    hub.run(&["sh", "-c", &routes.replace("replace", "del")]).unwrap();
    cluster.manager(&["service", "rm", "open"]);
    eventually("the network goes", || {
        (cluster.0[0].docker(&["network", "rm", "plain"]).status == 0).then_some(())
    });
}

fn fetch(from: &Namespace, to: SocketAddr) -> String {
    let Ok(mut stream) = from.connect(to) else { return String::new() };
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // Who answers without asking may be gone by then.
    let _ = std::io::Write::write_all(&mut stream, b"GET /cgi-bin/who HTTP/1.0\r\n\r\n");
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

pub(super) fn ipv6_goes_beside_ipv4(cluster: &Cluster) {
    let refused = [
        (
            vec!["--subnet", "10.77.0.0/16", "--subnet", "fd77::/120"],
            "has no room for the addresses",
        ),
        (vec!["--subnet", "fd77::/200"], "invalid"),
    ];
    for (options, wanted) in refused {
        let words =
            [&["network", "create", "-d", "overlay", "--ipv6"], &options[..], &["dual"]].concat();
        let said = cluster.0[0].docker(&words);
        assert!(said.stderr.contains(wanted), "{options:?}: {}", said.stderr);
    }
    // Encrypted: what is IPv6 inside goes the same way.
    for (name, options) in [("dual", vec![]), ("twin", vec!["--opt", "encrypted"])] {
        let words = ["network", "create", "-d", "overlay", "--attachable", "--ipv6"];
        cluster.manager(&[&words[..], &options, &[name]].concat());
    }
    let shown = cluster.manager(&["network", "inspect", "dual", "twin"]);
    assert_eq!(shown.matches("\"EnableIPv6\": true").count(), 2, "{shown}");
    let format = "{{range .IPAM.Config}}{{.Subnet}} {{end}}";
    let subnets = cluster.manager(&["network", "inspect", "-f", format, "dual"]);
    let six = subnets.split_whitespace().find(|subnet| subnet.starts_with("fd")).unwrap();
    assert!(six.ends_with("::/64"), "{subnets}");
    let taken = cluster.0[0]
        .docker(&["network", "create", "-d", "overlay", "--ipv6", "--subnet", six, "third"]);
    assert!(taken.stderr.contains("Pool overlaps"), "{}", taken.stderr);
    for (name, port) in [("dual", "8087:80"), ("twin", "8088:80")] {
        let create = ["service", "create", "--name", name, "--network", name, "--mode", "global"];
        let more = ["--publish", port, "--hostname", "{{.Service.Name}}-{{.Node.Hostname}}"];
        cluster.manager(&[&create[..], &more, &[PYTHON, "python3", "-c", TELL]].concat());
    }
    // On the network of the service's own name; the ingress network has IPv6, too.
    let address_of = |host: usize, name: &str| {
        let format =
            format!("{{{{(index .NetworkSettings.Networks {name:?}).GlobalIPv6Address}}}}");
        let id = cluster.container(host, name);
        cluster.0[host].docker(&["inspect", "-f", &format, &id]).ok().trim().to_owned()
    };
    for name in ["dual", "twin"] {
        let addresses: Vec<String> = (0..HOSTS).map(|host| address_of(host, name)).collect();
        for (host, own) in addresses.iter().enumerate() {
            let next = &addresses[(host + 1) % HOSTS];
            for to in [next.as_str(), name, &format!("tasks.{name}")] {
                eventually("it answers by IPv6", || {
                    let said = cluster.inside(host, name, &hear_six(to));
                    said.starts_with(&format!("{own} {name}-")).then_some(())
                });
            }
        }
        // A name has both, and an address has a name.
        let next: Ipv6Addr = addresses[1].parse().unwrap();
        let lookup = format!(
            "python3 -c \"import socket; print(socket.getnameinfo(('{next}', 80), 0)[0])\""
        );
        eventually("an address has its name", || {
            let said = cluster.inside(0, name, &lookup);
            (said.starts_with(&format!("{name}.")) && said.ends_with(&format!(".{name}")))
                .then_some(())
        });
    }
    // By a published port of every host, over IPv6; the client is seen as it is.
    let client = "fd99::fe";
    let hub = cluster.0.hub().namespace();
    let give = |namespace: &Namespace, interface: &str, address: &str| {
        let off = format!("echo 0 > /proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
        let add = format!("ip addr add {address}/64 dev {interface} nodad");
        namespace.run(&["sh", "-c", &format!("{off}; {add}")]).unwrap();
    };
    give(hub, "br0", client);
    for host in 0..HOSTS {
        give(cluster.0[host].namespace(), "eth0", &format!("fd99::{}", host + 1));
    }
    for host in 0..HOSTS {
        let to: Ipv6Addr = format!("fd99::{}", host + 1).parse().unwrap();
        for (name, port) in [("dual", 8087), ("twin", 8088)] {
            eventually("the mesh answers by IPv6", || {
                let seen = fetch(hub, SocketAddr::from((to, port)));
                seen.starts_with(&format!("{client} {name}-")).then_some(())
            });
        }
    }
    // From another network nobody gets in.
    let to = address_of(0, "dual");
    let said = cluster.inside(1, "twin", &hear_six(&to).replace("10)", "2)"));
    assert_eq!(said, "", "reached another network");
    cluster.manager(&["service", "rm", "dual", "twin"]);
    eventually("the networks go", || {
        (cluster.0[0].docker(&["network", "rm", "dual", "twin"]).status == 0).then_some(())
    });
}
