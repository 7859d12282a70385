//! Network namespaces of our own, so that bridges, addresses, rules and ports of a private daemon meet nobody else's.
//!
//! Entered by `nsenter --net` or `setns`, never by `ip netns exec`, which mounts a new /sys without the v1 cgroups.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use nix::sched::{CloneFlags, setns};

/// A named network namespace with loopback up; removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// It is not ours to remove.
    keep: bool,
}

impl Namespace {
    /// Makes the namespace `name` (begins with `smp-`).
    pub fn create(name: &str) -> Result<Self> {
        ip(&["netns", "add", name])?;
        let namespace = Namespace { name: name.to_owned(), keep: false };
        namespace.run(&["ip", "link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The namespace `name`, made by a program before.
    pub fn existing(name: &str) -> Result<Self> {
        let namespace = Namespace { name: name.to_owned(), keep: true };
        ensure!(namespace.path().exists(), "there is no network namespace {name}");
        Ok(namespace)
    }

    /// Its name, as `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is pinned.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// A command that runs `program` inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs a program inside and returns what it printed.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let (program, args) = words.split_first().context("nothing to run")?;
        crate::client::run(self.command(program).args(args), b"")?.checked()
    }

    /// Connects from inside.
    pub fn connect(&self, address: SocketAddr) -> Result<TcpStream> {
        self.inside(move || Ok(TcpStream::connect_timeout(&address, Duration::from_secs(60))?))
    }

    /// Runs `work` on a thread that has moved inside; sockets it makes stay there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let pin = File::open(self.path())
            .with_context(|| format!("opening the namespace {}", self.name))?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(&pin, CloneFlags::CLONE_NEWNET)?;
                work()
            });
            thread.join().map_err(|_| anyhow!("the thread inside the namespace panicked"))?
        })
    }

    /// Joins this namespace to `other` by a veth pair; each gets the given address (`10.213.0.1/30`).
    pub fn join(&self, other: &Namespace, ours: &str, theirs: &str) -> Result<()> {
        self.cable(other, "smp-in", "smp-out")?;
        for (namespace, link, address) in [(self, "smp-in", ours), (other, "smp-out", theirs)] {
            namespace.ip(&["addr", "add", address, "dev", link])?;
            namespace.ip(&["link", "set", link, "up"])?;
        }
        Ok(())
    }

    /// A veth pair between this namespace and `other`, both ends down.
    pub(crate) fn cable(&self, other: &Namespace, ours: &str, theirs: &str) -> Result<()> {
        self.ip(&[
            "link",
            "add",
            ours,
            "type",
            "veth",
            "peer",
            "name",
            theirs,
            "netns",
            &other.name,
        ])
    }

    /// `ip` on this namespace.
    pub(crate) fn ip(&self, args: &[&str]) -> Result<()> {
        let words: Vec<&str> = ["-n", &self.name].into_iter().chain(args.iter().copied()).collect();
        ip(&words)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // Gone already is as good.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .context("running ip (Debian: iproute2)")?;
    ensure!(
        output.status.success(),
        "`ip {}` failed: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
