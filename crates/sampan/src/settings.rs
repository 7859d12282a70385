//! From flags and file to what the parts need. Pure but for reading the file.

use crate::flags::{Cli, Options};
use anyhow::{Context, Result, bail};
use api::{Host, RegistryOptions, TlsFiles};
use engine::{AddressPool, EngineConfig, Housekeeping};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Table;

const CONFIG_FILE: &str = "/etc/sampan/daemon.toml";
const SOCKET: &str = "/run/sampan.sock";
const DATA_ROOT: &str = "/var/lib/sampan";
const EXEC_ROOT: &str = "/run/sampan";
const PIDFILE: &str = "/run/sampan.pid";

/// Everything settled.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) engine: EngineConfig,
    pub(crate) cluster: cluster::Config,
    pub(crate) hosts: Vec<Host>,
    pub(crate) group: Option<String>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) allow_plain_tcp: bool,
    pub(crate) registry: Option<Registry>,
    pub(crate) pidfile: PathBuf,
    pub(crate) log_filter: String,
    pub(crate) log_json: bool,
}

/// The registry that managers are.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    pub(crate) listen: SocketAddr,
    pub(crate) options: RegistryOptions,
}

/// As `POST /sampan/spread` has it.
const REGISTRY_COPIES: usize = 3;

impl Settings {
    /// Reads the file that `cli` names, or the usual one if it exists, and lays the flags over it.
    pub(crate) fn load(cli: &Cli) -> Result<Self> {
        let file = match &cli.config_file {
            Some(path) => read(path)?,
            None if Path::new(CONFIG_FILE).exists() => read(Path::new(CONFIG_FILE))?,
            None => Options::default(),
        };
        settle(merge(file, &cli.options)?)
    }
}

fn read(path: &Path) -> Result<Options> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("unable to read the configuration file {}", path.display()))?;
    toml::from_str(&text)
        .with_context(|| format!("unable to configure the daemon with file {}", path.display()))
}

/// What the flags say, and what only the file says.
fn merge(file: Options, flags: &Options) -> Result<Options> {
    let mut merged = Table::try_from(file).context("failed to read the configuration file")?;
    merged.extend(Table::try_from(flags).context("failed to read the flags")?);
    merged.try_into().context("failed to join flags and configuration file")
}

fn settle(options: Options) -> Result<Settings> {
    refuse_unsupported(&options)?;
    let debug = options.debug.unwrap_or(false);
    let hosts = match options.host.is_empty() {
        true => vec![Host::Unix(SOCKET.into())],
        false => options.host.iter().map(|host| host.parse()).collect::<Result<_, _>>()?,
    };
    let level = options.log_level.as_deref().unwrap_or("info");
    let log_filter = crate::logging::filter(if debug { "debug" } else { level })?;
    let log_json = match options.log_format.as_deref() {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => bail!("invalid log format: {other}"),
    };
    Ok(Settings {
        tls: tls(&options),
        registry: registry(&options)?,
        allow_plain_tcp: options.allow_plain_tcp.unwrap_or(false),
        group: options.group.clone(),
        pidfile: options.pidfile.clone().unwrap_or_else(|| PIDFILE.into()),
        cluster: cluster(&options),
        engine: engine(options, debug)?,
        hosts,
        log_filter,
        log_json,
    })
}

fn registry(options: &Options) -> Result<Option<Registry>> {
    let Some(listen) = &options.registry_listen else { return Ok(None) };
    let listen = listen
        .parse()
        .with_context(|| format!("--registry-listen {listen:?} is not an address and a port"))?;
    let options = RegistryOptions {
        names: options.registry_name.clone(),
        copies: options.registry_copies.unwrap_or(REGISTRY_COPIES),
    };
    Ok(Some(Registry { listen, options }))
}

/// dockerd's switches for what is here always so, turned to what is not.
fn refuse_unsupported(options: &Options) -> Result<()> {
    if options.live_restore == Some(false) {
        bail!("--live-restore=false is not supported: containers always outlive the daemon");
    }
    if options.iptables == Some(false) {
        bail!("--iptables=false is not supported: published ports and networks need rules");
    }
    match options.storage_driver.as_deref() {
        None | Some("overlay2") => Ok(()),
        Some(other) => bail!("error initializing graphdriver: driver not supported: {other}"),
    }
}

fn tls(options: &Options) -> Option<TlsFiles> {
    let verify = options.tlsverify.unwrap_or(false);
    if !verify && !options.tls.unwrap_or(false) {
        return None;
    }
    let home =
        PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".docker");
    let or_home =
        |given: &Option<PathBuf>, name: &str| given.clone().unwrap_or_else(|| home.join(name));
    Some(TlsFiles {
        certificate: or_home(&options.tlscert, "cert.pem"),
        key: or_home(&options.tlskey, "key.pem"),
        client_ca: verify.then(|| or_home(&options.tlscacert, "ca.pem")),
    })
}

fn cluster(options: &Options) -> cluster::Config {
    let data_root = options.data_root.clone().unwrap_or_else(|| DATA_ROOT.into());
    let default_advertise_addr = options.swarm_default_advertise_addr.clone().unwrap_or_default();
    cluster::Config { dir: data_root.join("swarm"), default_advertise_addr }
}

fn engine(options: Options, debug: bool) -> Result<EngineConfig> {
    for label in &options.label {
        if !label.contains('=') {
            bail!("bad attribute format: {label}");
        }
    }
    let housekeeping = housekeeping(&options)?;
    Ok(EngineConfig {
        data_root: options.data_root.unwrap_or_else(|| DATA_ROOT.into()),
        exec_root: options.exec_root.unwrap_or_else(|| EXEC_ROOT.into()),
        cgroup_parent: options.cgroup_parent.unwrap_or_default(),
        default_address_pools: options
            .default_address_pool
            .iter()
            .map(|pool| address_pool(pool))
            .collect::<Result<_>>()?,
        bip: options.bip.unwrap_or_default(),
        bridge: options.bridge.unwrap_or_default(),
        mtu: options.mtu.filter(|mtu| *mtu != 0),
        dns: options.dns,
        dns_search: options.dns_search,
        dns_options: options.dns_opt,
        registry_mirrors: options.registry_mirror,
        insecure_registries: options.insecure_registry,
        runtimes: pairs("runtime", &options.add_runtime)?
            .into_iter()
            .map(|(name, path)| (name, path.into()))
            .collect(),
        default_runtime: options.default_runtime.unwrap_or_default(),
        init: options.init.unwrap_or(false),
        labels: options.label,
        default_log_driver: options.log_driver.unwrap_or_default(),
        default_log_opts: pairs("log option", &options.log_opt)?,
        debug,
        housekeeping,
        ..EngineConfig::default()
    })
}

fn pairs(what: &str, list: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => bail!("invalid {what}: {text:?}, want NAME=VALUE"),
    };
    list.iter().map(pair).collect()
}

fn housekeeping(options: &Options) -> Result<Housekeeping> {
    let usual = Housekeeping::default();
    let rules = Housekeeping {
        every: options.prune_every.as_deref().map_or(Ok(usual.every), duration)?,
        low: options.prune_below.unwrap_or(usual.low),
        target: options.prune_until.unwrap_or(usual.target),
        keep: options.prune_keep.unwrap_or(usual.keep),
    };
    if rules.target < rules.low {
        bail!("prune-until ({}) must not be less than prune-below ({})", rules.target, rules.low);
    }
    Ok(rules)
}

/// `90s`, `30m`, `24h`, `7d`.
fn duration(text: &str) -> Result<Duration> {
    let bad = || format!("invalid duration {text:?}, want a number with s, m, h or d");
    let number = text.trim_end_matches(['s', 'm', 'h', 'd']);
    let seconds: u64 = match &text[number.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => bail!(bad()),
    };
    let number: u64 = number.parse().with_context(bad)?;
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

/// `base=10.0.0.0/8,size=24`.
fn address_pool(text: &str) -> Result<AddressPool> {
    let mut pool = AddressPool { base: String::new(), size: 0 };
    for field in text.split(',') {
        match field.trim().split_once('=') {
            Some(("base", base)) => base.clone_into(&mut pool.base),
            Some(("size", size)) => {
                pool.size = size.parse().with_context(|| format!("invalid size value: {size}"))?;
            }
            _ => bail!("invalid default address pool: {text:?}, want base=CIDR,size=N"),
        }
    }
    let (address, length) =
        pool.base.split_once('/').with_context(|| format!("invalid base pool {:?}", pool.base))?;
    let address: std::net::IpAddr =
        address.parse().with_context(|| format!("invalid base pool {:?}", pool.base))?;
    let length: u8 =
        length.parse().with_context(|| format!("invalid base pool {:?}", pool.base))?;
    let widest = if address.is_ipv4() { 32 } else { 128 };
    if length > pool.size || pool.size > widest {
        bail!(
            "invalid default address pool: {text:?}: size must lie between the base's {length} and {widest}"
        );
    }
    Ok(pool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn load(file: &str, flags: &[&str]) -> Result<Settings> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("daemon.toml");
        std::fs::write(&path, file)?;
        let path = path.to_string_lossy().into_owned();
        let args = ["daemon", "--config-file", &path].into_iter().chain(flags.iter().copied());
        Settings::load(&Cli::try_parse_from(args)?)
    }

    #[test]
    fn the_disk_is_looked_after_as_often_as_is_said_and_never_without() {
        let got = load("", &[]).unwrap().engine.housekeeping;
        assert!(got.every.is_zero());
        let got = load("prune-every = \"30m\"\n", &["--prune-keep", "5"]).unwrap();
        let want =
            Housekeeping { every: Duration::from_secs(1800), keep: 5, ..Housekeeping::default() };
        assert_eq!(got.engine.housekeeping, want);
        for wrong in [["--prune-every", "30"], ["--prune-until", "1"], ["--prune-below", "101"]] {
            let args = ["daemon"].into_iter().chain(wrong);
            let read = Cli::try_parse_from(args).map_err(anyhow::Error::from);
            assert!(read.and_then(|cli| Settings::load(&cli)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_defaults() {
        let file = "hosts = [\"tcp://127.0.0.1:1\"]\ndata-root = \"/a\"\nexec-root = \"/b\"\ndebug = true\n";
        let got = load(file, &["--data-root", "/c", "-H", "unix:///s", "--debug=false"]).unwrap();
        assert_eq!(got.engine.data_root, Path::new("/c"));
        assert_eq!(got.engine.exec_root, Path::new("/b"));
        assert_eq!(got.hosts, [Host::Unix("/s".into())]);
        assert!(!got.engine.debug);
        assert_eq!(got.pidfile, Path::new(PIDFILE));
    }

    #[test]
    fn an_unknown_name_in_the_file_is_refused_with_its_line() {
        let error = format!("{:#}", load("debug = true\ndata-rot = \"/a\"\n", &[]).unwrap_err());
        assert!(error.contains("line 2") && error.contains("data-rot"), "{error}");
    }

    #[test]
    fn pools_runtimes_and_labels_are_checked() {
        let flags = [
            "--default-address-pool",
            "base=10.0.0.0/8,size=24",
            "--add-runtime",
            "crun=/bin/crun",
        ];
        let got = load("", &flags).unwrap();
        assert_eq!(
            got.engine.default_address_pools,
            [AddressPool { base: "10.0.0.0/8".into(), size: 24 }]
        );
        assert_eq!(got.engine.runtimes["crun"], Path::new("/bin/crun"));
        for wrong in [
            ["--default-address-pool", "base=10.0.0.0/8,size=4"],
            ["--default-address-pool", "10.0.0.0/8"],
            ["--add-runtime", "crun"],
            ["--label", "noequals"],
            ["-H", "http://x"],
            ["--log-level", "loud"],
            ["--storage-driver", "aufs"],
        ] {
            assert!(load("", &wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn verified_tls_needs_an_authority_and_plain_tls_does_not() {
        let files = |flag| {
            load("", &[flag, "--tlscacert", "/ca", "--tlscert", "/c", "--tlskey", "/k"])
                .unwrap()
                .tls
        };
        assert_eq!(files("--tls").unwrap().client_ca, None);
        assert_eq!(files("--tlsverify").unwrap().client_ca, Some("/ca".into()));
    }
}
