//! What the helper carries: `cargo run --release -p wire --example throughput`, as root. Two machines in namespaces, one
//! TCP connection from one to the other.
#![allow(clippy::print_stdout, reason = "an example's result")]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use wire::{Config, Helper, KeyFile, Peer};

const FOR: Duration = Duration::from_secs(5);
const BLOCK: usize = 128 * 1024;
const PORT: u16 = 4790;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).peekable();
    match words.peek().and_then(|word| word.to_str()) {
        Some("wire") => wire::main(words.skip(1)),
        Some("take") => report(take()),
        Some("send") => report(send()),
        _ => report(measure()),
    }
}

fn report<E: std::fmt::Display>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            println!("{err}");
            ExitCode::FAILURE
        }
    }
}

fn ip(words: &str) -> io::Result<()> {
    match Command::new("ip").args(words.split(' ')).status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("ip {words}"))),
    }
}

fn mac(number: u8) -> [u8; 6] {
    [2, 0x57, 0, 0, 0, number]
}

fn measure() -> Outcome<()> {
    for number in [1, 2] {
        ip(&format!("netns add smp-wire{number}"))?;
    }
    let outcome = between();
    for number in [1, 2] {
        ip(&format!("netns del smp-wire{number}"))?;
    }
    outcome
}

fn between() -> Outcome<()> {
    ip("link add up0 netns smp-wire1 type veth peer name up0 netns smp-wire2")?;
    let dir = tempfile::tempdir()?;
    let keys = [1, 2].map(|number| KeyFile::at(dir.path().join(format!("key{number}"))).ensure());
    let [Ok(one), Ok(two)] = keys else { return Err("no keys".into()) };
    let program = PathBuf::from("/proc/self/exe");
    let mut helpers = Vec::new();
    for (number, other, own, its) in [(1, 2, &one, &two), (2, 1, &two, &one)] {
        let at = format!("-n smp-wire{number}");
        ip(&format!("{at} addr add 192.0.2.{number}/24 dev up0"))?;
        ip(&format!("{at} link set up0 up"))?;
        ip(&format!("{at} link set lo up"))?;
        let namespace = std::fs::File::open(format!("/run/netns/smp-wire{number}"))?;
        let config = Config {
            interface: "smw0".to_owned(),
            local: Ipv4Addr::new(192, 0, 2, number),
            port: PORT,
            mac: mac(number),
            private: own.clone(),
            peers: vec![Peer {
                underlay: Ipv4Addr::new(192, 0, 2, other),
                mac: mac(other),
                public: its.public(),
            }],
        };
        let mut helper = Helper::at(dir.path().join(format!("wire{number}")), program.clone());
        let helper = std::thread::spawn(move || -> io::Result<Helper> {
            nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
            let device = sys::tap::open("smw0")?;
            sys::tap::keep(device.as_fd())?;
            drop(device);
            let [.., last] = config.mac;
            ip(&format!("link set smw0 address 02:57:00:00:00:{last:02x} mtu 1420 up"))?;
            ip(&format!("addr add 10.9.0.{number}/24 dev smw0"))?;
            ip(&format!("neigh add 10.9.0.{other} lladdr 02:57:00:00:00:{other:02x} dev smw0"))?;
            helper.ensure(Some(&config))?;
            Ok(helper)
        });
        helpers.push(helper.join().map_err(|_| "the helper's thread died")??);
    }
    let mut taker = Command::new("ip")
        .args(["netns", "exec", "smp-wire2"])
        .arg(std::env::current_exe()?)
        .arg("take")
        .spawn()?;
    let sent = Command::new("ip")
        .args(["netns", "exec", "smp-wire1"])
        .arg(std::env::current_exe()?)
        .arg("send")
        .status()?;
    taker.kill()?;
    taker.wait()?;
    for helper in &mut helpers {
        helper.ensure(None)?;
    }
    sent.success().then_some(()).ok_or_else(|| "nothing was sent".into())
}

fn take() -> io::Result<()> {
    let (mut stream, _) = TcpListener::bind(("0.0.0.0", 9000))?.accept()?;
    let mut block = vec![0; BLOCK];
    let (mut got, begun) = (0_u64, Instant::now());
    loop {
        match stream.read(&mut block)? {
            0 => break,
            read => got += read as u64,
        }
    }
    let gigabits = got as f64 * 8.0 / begun.elapsed().as_secs_f64() / 1e9;
    stream.write_all(format!("{gigabits:.2} Gbit/s").as_bytes())
}

fn send() -> io::Result<()> {
    let until = Instant::now() + Duration::from_secs(30);
    let mut stream = loop {
        match TcpStream::connect(("10.9.0.2", 9000)) {
            Ok(stream) => break stream,
            Err(err) if Instant::now() > until => return Err(err),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let (block, begun) = (vec![7; BLOCK], Instant::now());
    while begun.elapsed() < FOR {
        stream.write_all(&block)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    println!("one connection by the userspace wire: {said}");
    Ok(())
}
