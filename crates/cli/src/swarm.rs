//! `sampan swarm …`, and `init`, `join`, `leave` for short.

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use crate::client::{Client, Query};
use crate::ctx::Ctx;
use crate::format::units;
use crate::report::{self, Exit};

/// Between looks at a rotation of the root.
const ROTATION_POLL: std::time::Duration = std::time::Duration::from_millis(200);

/// What `sampan swarm` offers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Display the root CA certificate of the cluster, or rotate it
    Ca(CaArgs),
    /// Initialize a swarm
    Init(Box<InitArgs>),
    /// Join a swarm as a node and/or manager
    Join(JoinArgs),
    /// Manage join tokens
    JoinToken(JoinTokenArgs),
    /// Leave the swarm
    Leave(LeaveArgs),
    /// Unlock swarm
    Unlock,
    /// Manage the unlock key
    UnlockKey(UnlockKeyArgs),
    /// Update the swarm
    Update(SettingArgs),
}

/// `swarm ca`.
#[derive(Debug, Args)]
pub(crate) struct CaArgs {
    /// Path to the PEM-formatted root CA certificate to use for the new cluster
    #[arg(long, value_name = "pem-file")]
    ca_cert: Option<std::path::PathBuf>,
    /// Path to the PEM-formatted root CA key to use for the new cluster
    #[arg(long, value_name = "pem-file")]
    ca_key: Option<std::path::PathBuf>,
    /// Validity period for node certificates (ns|us|ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = units::parse_duration)]
    cert_expiry: Option<i64>,
    /// Exit immediately instead of waiting for the root rotation to converge
    #[arg(short = 'd', long)]
    detach: bool,
    /// Specifications of one or more certificate signing endpoints
    #[arg(long, value_name = "external-ca")]
    external_ca: Vec<String>,
    /// Suppress progress output
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Rotate the swarm CA - if no certificate or key are provided, new ones will be generated
    #[arg(long)]
    rotate: bool,
}

/// `swarm init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Advertised address (format: "<ip|interface>[:port]")
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    advertise_addr: String,
    /// Availability of the node ("active", "pause", "drain")
    #[arg(long, value_name = "string", default_value = "active")]
    availability: String,
    /// Address or interface to use for data path traffic (format: "<ip|interface>")
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    data_path_addr: String,
    /// Port number to use for data path traffic (1024 - 49151)
    #[arg(long, value_name = "uint32", default_value_t = 0, hide_default_value = true)]
    data_path_port: u32,
    /// Default address pool in CIDR format
    #[arg(long, value_name = "ipNetSlice", value_delimiter = ',')]
    default_addr_pool: Vec<String>,
    /// Default address pool subnet mask length
    #[arg(long, value_name = "uint32", default_value_t = 24)]
    default_addr_pool_mask_length: u32,
    /// Force create a new cluster from current state
    #[arg(long)]
    force_new_cluster: bool,
    /// Listen address (format: "<ip|interface>[:port]")
    #[arg(long, value_name = "node-addr", default_value = "0.0.0.0:2377")]
    listen_addr: String,
    #[command(flatten)]
    settings: SettingArgs,
}

/// The cluster's settings.
#[derive(Debug, Args)]
pub(crate) struct SettingArgs {
    /// Allow services what Swarm refuses ("devices", "privileged", "shm-size", "security-opt", "pid-mode", "ipc-mode")
    #[arg(long, value_name = "word")]
    allow: Vec<String>,
    /// Enable manager autolocking (requiring an unlock key to start a stopped manager)
    #[arg(long, value_name = "bool", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    autolock: Option<bool>,
    /// Validity period for node certificates (ns|us|ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = units::parse_duration)]
    cert_expiry: Option<i64>,
    /// Dispatcher heartbeat period (ns|us|ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = units::parse_duration)]
    dispatcher_heartbeat: Option<i64>,
    /// Number of log entries between Raft snapshots
    #[arg(long, value_name = "uint")]
    snapshot_interval: Option<u64>,
    /// Number of additional snapshots to retain
    #[arg(long, value_name = "uint")]
    max_snapshots: Option<u64>,
    /// Task history retention limit
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    task_history_limit: Option<i64>,
}

/// `swarm join`.
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// Advertised address (format: "<ip|interface>[:port]")
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    advertise_addr: String,
    /// Availability of the node ("active", "pause", "drain")
    #[arg(long, value_name = "string", default_value = "active")]
    availability: String,
    /// Address or interface to use for data path traffic (format: "<ip|interface>")
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    data_path_addr: String,
    /// Listen address (format: "<ip|interface>[:port]")
    #[arg(long, value_name = "node-addr", default_value = "0.0.0.0:2377")]
    listen_addr: String,
    /// Token for entry into the swarm ("-" reads it from standard input)
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    token: String,
    #[arg(value_name = "HOST:PORT", required = true)]
    remotes: Vec<String>,
}

/// `swarm join-token`.
#[derive(Debug, Args)]
pub(crate) struct JoinTokenArgs {
    /// Only display token
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Rotate join token
    #[arg(long)]
    rotate: bool,
    #[arg(value_name = "worker|manager")]
    role: String,
}

/// `swarm leave`.
#[derive(Debug, Args)]
pub(crate) struct LeaveArgs {
    /// Force this node to leave the swarm, ignoring warnings
    #[arg(short = 'f', long)]
    force: bool,
}

/// `swarm unlock-key`.
#[derive(Debug, Args)]
pub(crate) struct UnlockKeyArgs {
    /// Only display token
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Rotate unlock key
    #[arg(long)]
    rotate: bool,
}

/// Runs a word of the `swarm` object.
pub(crate) async fn run(ctx: &Ctx, command: Command) -> Result<Exit> {
    match command {
        Command::Ca(args) => ca(ctx, &args).await,
        Command::Init(args) => init(ctx, *args).await,
        Command::Join(args) => join(ctx, args).await,
        Command::JoinToken(args) => join_token(ctx, &args).await,
        Command::Leave(args) => leave(ctx, &args).await,
        Command::Unlock => unlock(ctx).await,
        Command::UnlockKey(args) => unlock_key(ctx, &args).await,
        Command::Update(args) => update(ctx, &args).await,
    }
}

/// `sampan init`.
pub(crate) async fn init(ctx: &Ctx, args: InitArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let mut spec = json!({"Name": "default", "Labels": {}});
    args.settings.write(&mut spec);
    let pools = !args.default_addr_pool.is_empty();
    let request = json!({
        "ListenAddr": args.listen_addr,
        "AdvertiseAddr": args.advertise_addr,
        "DataPathAddr": args.data_path_addr,
        "DataPathPort": args.data_path_port,
        "DefaultAddrPool": pools.then_some(args.default_addr_pool),
        "SubnetSize": if pools { args.default_addr_pool_mask_length } else { 0 },
        "ForceNewCluster": args.force_new_cluster,
        "AutoLockManagers": args.settings.autolock == Some(true),
        "Availability": args.availability,
        "Spec": spec,
    });
    let made = client.json(Method::POST, "/swarm/init", &Query::new(), Some(&request)).await;
    let node = made.map_err(|err| match advice(&err.to_string()) {
        Some(advice) => anyhow!("{err}{advice}"),
        None => err.into(),
    })?;
    let node = node.as_str().unwrap_or_default();
    report::print(&format!("Swarm initialized: current node ({node}) is now a manager.\n\n"))?;
    print_join(client, "worker").await?;
    report::print(
        "To add a manager to this swarm, run 'sampan swarm join-token manager' and follow the instructions.\n\n",
    )?;
    if args.settings.autolock == Some(true) {
        let key = client.get("/swarm/unlockkey", &Query::new()).await?;
        print_unlock(key["UnlockKey"].as_str().unwrap_or_default())?;
    }
    Ok(report::OK)
}

/// What Docker's client adds to the daemon's words.
fn advice(err: &str) -> Option<&'static str> {
    let unclear =
        ["could not choose an IP address to advertise", "could not find the system's IP address"];
    unclear.iter().any(|it| err.contains(it)).then_some(" - specify one with --advertise-addr")
}

impl SettingArgs {
    /// Writes what was given over the cluster's spec; answers whether anything was.
    fn write(&self, spec: &mut Value) -> bool {
        let before = spec.clone();
        if !self.allow.is_empty() {
            let words: Vec<&str> = self.allow.iter().flat_map(|list| list.split(',')).collect();
            spec["Sampan"] = match words.as_slice() {
                [""] | ["none"] => json!({}),
                words => json!({ "Allow": words }),
            };
        }
        if let Some(lock) = self.autolock {
            spec["EncryptionConfig"]["AutoLockManagers"] = lock.into();
        }
        if let Some(expiry) = self.cert_expiry {
            spec["CAConfig"]["NodeCertExpiry"] = expiry.into();
        }
        if let Some(period) = self.dispatcher_heartbeat {
            spec["Dispatcher"]["HeartbeatPeriod"] = period.into();
        }
        if let Some(entries) = self.snapshot_interval {
            spec["Raft"]["SnapshotInterval"] = entries.into();
        }
        if let Some(kept) = self.max_snapshots {
            spec["Raft"]["KeepOldSnapshots"] = kept.into();
        }
        if let Some(kept) = self.task_history_limit {
            spec["Orchestration"]["TaskHistoryRetentionLimit"] = kept.into();
        }
        *spec != before
    }
}

/// `sampan join`.
pub(crate) async fn join(ctx: &Ctx, args: JoinArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let token = match args.token.as_str() {
        // A secret on the command line is in everybody's process list.
        "-" => read_line()?,
        _ => args.token,
    };
    let request = json!({
        "JoinToken": token,
        "ListenAddr": args.listen_addr,
        "AdvertiseAddr": args.advertise_addr,
        "DataPathAddr": args.data_path_addr,
        "RemoteAddrs": args.remotes,
        "Availability": args.availability,
    });
    client.json(Method::POST, "/swarm/join", &Query::new(), Some(&request)).await?;
    let info = client.get("/info", &Query::new()).await?;
    let role = if info["Swarm"]["ControlAvailable"] == true { "manager" } else { "worker" };
    report::say(&format!("This node joined a swarm as a {role}."))?;
    Ok(report::OK)
}

/// `sampan leave`.
pub(crate) async fn leave(ctx: &Ctx, args: &LeaveArgs) -> Result<Exit> {
    let query = Query::new().flag("force", args.force);
    ctx.client().await?.json(Method::POST, "/swarm/leave", &query, None).await?;
    report::say("Node left the swarm.")?;
    Ok(report::OK)
}

async fn ca(ctx: &Ctx, args: &CaArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let own = [
        ("ca-cert", args.ca_cert.is_some()),
        ("ca-key", args.ca_key.is_some()),
        ("cert-expiry", args.cert_expiry.is_some()),
        ("external-ca", !args.external_ca.is_empty()),
    ];
    if let Some((flag, _)) = own.iter().find(|(_, given)| *given && !args.rotate) {
        bail!("`--{flag}` flag requires the `--rotate` flag to update the CA");
    }
    if !args.external_ca.is_empty() {
        bail!(
            "external CAs are not supported: give the root and its key by --ca-cert and --ca-key"
        );
    }
    if args.ca_cert.is_some() != args.ca_key.is_some() {
        bail!("the --ca-cert and --ca-key flags must be given together");
    }
    let mut swarm = client.get("/swarm", &Query::new()).await?;
    if args.rotate {
        if let Some(expiry) = args.cert_expiry {
            swarm["Spec"]["CAConfig"]["NodeCertExpiry"] = expiry.into();
        }
        for (file, field) in [(&args.ca_cert, "SigningCACert"), (&args.ca_key, "SigningCAKey")] {
            if let Some(file) = file {
                let text = std::fs::read_to_string(file);
                let text = text.with_context(|| format!("reading {}", file.display()))?;
                swarm["Spec"]["CAConfig"][field] = text.into();
            }
        }
        let turns = swarm["Spec"]["CAConfig"]["ForceRotate"].as_u64().unwrap_or(0) + 1;
        swarm["Spec"]["CAConfig"]["ForceRotate"] = turns.into();
        write_back(client, &swarm, Query::new()).await?;
        if args.detach {
            return Ok(report::OK);
        }
        let mut told = args.quiet;
        loop {
            swarm = client.get("/swarm", &Query::new()).await?;
            if swarm["RootRotationInProgress"] != true {
                break;
            }
            if !told {
                eprintln!("waiting for every node to renew its certificate");
                told = true;
            }
            tokio::time::sleep(ROTATION_POLL).await;
        }
    }
    report::say(swarm["TLSInfo"]["TrustRoot"].as_str().unwrap_or_default().trim_end())?;
    Ok(report::OK)
}

async fn join_token(ctx: &Ctx, args: &JoinTokenArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let flag = match args.role.as_str() {
        "worker" => "rotateWorkerToken",
        "manager" => "rotateManagerToken",
        role => bail!("unknown role {role}"),
    };
    if args.rotate {
        let swarm = client.get("/swarm", &Query::new()).await?;
        write_back(client, &swarm, Query::new().with(flag, "true")).await?;
        if !args.quiet {
            report::print(&format!("Successfully rotated {} join token.\n\n", args.role))?;
        }
    }
    if args.quiet {
        let swarm = client.get("/swarm", &Query::new()).await?;
        report::say(token_of(&swarm, &args.role))?;
    } else {
        print_join(client, &args.role).await?;
    }
    Ok(report::OK)
}

async fn write_back(client: &Client, swarm: &Value, query: Query) -> Result<()> {
    let query = query.with("version", swarm["Version"]["Index"].to_string());
    client.json(Method::POST, "/swarm/update", &query, Some(&swarm["Spec"])).await?;
    Ok(())
}

fn token_of<'a>(swarm: &'a Value, role: &str) -> &'a str {
    let key = if role == "manager" { "Manager" } else { "Worker" };
    swarm["JoinTokens"][key].as_str().unwrap_or_default()
}

async fn print_join(client: &Client, role: &str) -> Result<()> {
    let info = client.get("/info", &Query::new()).await?;
    let node = info["Swarm"]["NodeID"].as_str().unwrap_or_default();
    let node = client.get(&format!("/nodes/{node}"), &Query::new()).await?;
    let swarm = client.get("/swarm", &Query::new()).await?;
    let Some(addr) = node["ManagerStatus"]["Addr"].as_str() else { return Ok(()) };
    report::print(&format!(
        "To add a {role} to this swarm, run the following command:\n\n    sampan swarm join --token {} {addr}\n\n",
        token_of(&swarm, role)
    ))?;
    Ok(())
}

async fn unlock(ctx: &Ctx) -> Result<Exit> {
    eprint!("Enter unlock key: ");
    let request = json!({ "UnlockKey": read_line()? });
    let client = ctx.client().await?;
    client.json(Method::POST, "/swarm/unlock", &Query::new(), Some(&request)).await?;
    Ok(report::OK)
}

fn read_line() -> Result<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

async fn unlock_key(ctx: &Ctx, args: &UnlockKeyArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    if args.rotate {
        let swarm = client.get("/swarm", &Query::new()).await?;
        if swarm["Spec"]["EncryptionConfig"]["AutoLockManagers"] != true {
            bail!("cannot rotate because autolock is not turned on");
        }
        write_back(client, &swarm, Query::new().with("rotateManagerUnlockKey", "true")).await?;
        if !args.quiet {
            report::print("Successfully rotated manager unlock key.\n\n")?;
        }
    }
    let key = client.get("/swarm/unlockkey", &Query::new()).await?;
    match key["UnlockKey"].as_str().unwrap_or_default() {
        "" => bail!("no unlock key is set"),
        key if args.quiet => report::say(key)?,
        key => print_unlock(key)?,
    }
    Ok(report::OK)
}

fn print_unlock(key: &str) -> std::io::Result<()> {
    report::print(&format!(
        "To unlock a swarm manager after it restarts, run the `sampan swarm unlock`\ncommand and provide the following key:\n\n    {key}\n\nRemember to store this key in a password manager, since without it you\nwill not be able to restart the manager.\n"
    ))
}

async fn update(ctx: &Ctx, args: &SettingArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let mut swarm = client.get("/swarm", &Query::new()).await?;
    let locked = swarm["Spec"]["EncryptionConfig"]["AutoLockManagers"] == true;
    if !args.write(&mut swarm["Spec"]) {
        bail!("nothing to change: see sampan swarm update --help");
    }
    write_back(client, &swarm, Query::new()).await?;
    report::say("Swarm updated.")?;
    if args.autolock == Some(true) && !locked {
        let key = client.get("/swarm/unlockkey", &Query::new()).await?;
        print_unlock(key["UnlockKey"].as_str().unwrap_or_default())?;
    }
    Ok(report::OK)
}
