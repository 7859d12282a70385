//! The process that carries: `sampan wire DIR`.

use crate::carry::Carrier;
use crate::config::{Answer, Config, Order};
use crate::control::{LOCK, SOCKET, VERSION};
use crate::peers::Peers;
use nix::fcntl::{Flock, FlockArg};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// A daemon that says something says all of it at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs until it is told to stop or its device is gone. One in each directory.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(dir) = arguments.next().map(PathBuf::from) else { return ExitCode::FAILURE };
    match run(&dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(dir: &Path) -> io::Result<()> {
    let _ = nix::sys::prctl::set_name(c"sampan-wire");
    // Not ended with the daemon's terminal.
    let _ = nix::unistd::setsid();
    let lock = OpenOptions::new().create(true).append(true).open(dir.join(LOCK))?;
    // Another one is there, and does it.
    let Ok(_lock) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) else { return Ok(()) };
    let path = dir.join(SOCKET);
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    let mut carrying: Option<(Config, Arc<Carrier>)> = None;
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let Ok(order) = listen(&mut stream) else { continue };
        let error = match order {
            Order::Carry(config) => carry(&mut carrying, *config).err().map(|err| err.to_string()),
            Order::Stop => {
                let _ = answer(&mut stream, None);
                break;
            }
        };
        let _ = answer(&mut stream, error);
    }
    let _ = std::fs::remove_file(&path);
    Ok(())
}

fn listen(stream: &mut UnixStream) -> io::Result<Order> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

fn answer(stream: &mut UnixStream, error: Option<String>) -> io::Result<()> {
    let text = serde_json::to_vec(&Answer { version: VERSION.to_owned(), error })?;
    stream.write_all(&text)
}

/// Another device or port is for another process: this one would keep threads that nobody ends.
fn carry(carrying: &mut Option<(Config, Arc<Carrier>)>, config: Config) -> io::Result<()> {
    if let Some((now, carrier)) = carrying {
        let place = |config: &Config| (config.interface.clone(), config.local, config.port);
        if place(now) != place(&config) {
            return Err(io::Error::other("the helper carries for another device"));
        }
        if *now != config {
            carrier.set_peers(Peers::new(config.clone(), Some(&carrier.peers())));
            *now = config;
        }
        return Ok(());
    }
    let socket = UdpSocket::bind((config.local, config.port))?;
    let device = sys::tap::open(&config.interface)?;
    let carrier = Carrier::new(device, socket, Peers::new(config.clone(), None))?;
    carrier.greet();
    let (out, back, clock) = (carrier.clone(), carrier.clone(), carrier.clone());
    // With the device or the socket the process ends: the daemon starts another one.
    std::thread::spawn(move || {
        let _gone = out.carry_out();
        std::process::exit(1);
    });
    std::thread::spawn(move || {
        let _gone = back.carry_in();
        std::process::exit(1);
    });
    std::thread::spawn(move || clock.keep_time());
    *carrying = Some((config, carrier));
    Ok(())
}
