//! What the chores need from Debian's packages: looked for, installed when run as root, else named.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// To fetch packages and to compile: certificates, a C compiler for zstd, ring and jemalloc, and libseccomp for the container runtime.
pub(crate) const BUILD: &[&str] =
    &["ca-certificates", "gcc", "libc6-dev", "make", "pkg-config", "libseccomp-dev"];
/// To run containers.
pub(crate) const RUN: &[&str] = &["nftables", "iproute2", "util-linux"];
/// What the tests drive or compare with: the real clients, runc as the second runtime, a registry on loopback, a
/// clock of one's own.
pub(crate) const TEST: &[&str] = &[
    "docker.io",
    "docker-compose",
    "docker-registry",
    "skopeo",
    "runc",
    "iptables",
    "procps",
    "bsdutils",
    "curl",
    "libfaketime",
];
/// What the benchmarks compare with.
pub(crate) const BENCH: &[&str] = &["docker.io", "iptables"];
/// And what replicated writes are set beside.
pub(crate) const ETCD: &[&str] = &["etcd-server", "etcd-client", "nghttp2-client"];

/// Makes sure that all of these packages are installed.
pub(crate) fn ensure_installed(groups: &[&[&str]]) -> Result<()> {
    let missing = missing(&groups.concat())?;
    if missing.is_empty() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "Debian packages are missing; install them with\n  sudo apt-get install {}",
            missing.join(" ")
        );
    }
    eprintln!("==> installing {} Debian packages: {}", missing.len(), missing.join(" "));
    if install(&missing).is_err() {
        // The lists may be missing or old.
        apt(&["update"])?;
        install(&missing)?;
    }
    Ok(())
}

fn missing(wanted: &[&str]) -> Result<Vec<String>> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(wanted)
        .stdin(Stdio::null())
        .output()
        .context("running dpkg-query: Sampan is built and tried on Debian 12")?;
    // It fails when it does not know one of them, and still lists the others.
    let known = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_missing = |name: &&str| !known.lines().any(|line| line == format!("{name} installed"));
    Ok(wanted.iter().copied().filter(is_missing).map(str::to_owned).collect())
}

fn install(names: &[String]) -> Result<()> {
    let mut args = vec!["install", "--yes", "--no-install-recommends"];
    args.extend(names.iter().map(String::as_str));
    apt(&args)
}

fn apt(args: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(["-qq", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=120"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("running apt-get")?;
    ensure!(status.success(), "`apt-get {}` failed", args.join(" "));
    Ok(())
}
