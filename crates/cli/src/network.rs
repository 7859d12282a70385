//! `sampan network …`.

pub(crate) mod policy;
mod routes;

use std::collections::HashMap;

use anyhow::{Result, anyhow, bail};
use bollard::models::{
    ConfigReference, EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest,
    NetworkCreateRequest, NetworkDisconnectRequest,
};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use types::network::HostRequest;

use crate::client::{ClientError, Query, segment};
use crate::clock;
use crate::container::PruneArgs;
use crate::container::prune_support as support;
use crate::ctx::Ctx;
use crate::format::{Listing, labels, short_id};
use crate::inspect;
use crate::opts;
use crate::report::{self, Exit};
use crate::terminal;

/// What `sampan network` offers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Put this host itself into a network of the cluster
    AttachHost(AttachHostArgs),
    /// Connect a container to a network
    Connect(ConnectArgs),
    /// Create a network
    Create(Box<CreateArgs>),
    /// Take this host itself out of a network of the cluster
    DetachHost {
        #[arg(value_name = "NETWORK")]
        network: String,
    },
    /// Disconnect a container from a network
    Disconnect(DisconnectArgs),
    /// Display detailed information on one or more networks
    Inspect(inspect::InspectArgs),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Manage who may talk to whom on a network of the cluster
    #[command(subcommand)]
    Policy(policy::Command),
    /// Remove all unused networks
    Prune(PruneArgs),
    /// Remove one or more networks
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Show by which node each part of a network without encapsulation is reached, for routers and machines outside
    Routes(routes::RoutesArgs),
}

/// `network attach-host`.
#[derive(Debug, Args)]
pub(crate) struct AttachHostArgs {
    /// Name by which others reach it (default: the host's)
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    name: String,
    /// Further names
    #[arg(long, value_name = "strings")]
    alias: Vec<String>,
    /// IPv4 address (e.g., "10.0.1.200")
    #[arg(long, value_name = "ip")]
    ip: Option<std::net::Ipv4Addr>,
    #[arg(value_name = "NETWORK")]
    network: String,
}

/// `network connect`.
#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// Add network-scoped alias for the container
    #[arg(long, value_name = "strings")]
    alias: Vec<String>,
    /// Driver options for the network
    #[arg(long, value_name = "strings")]
    driver_opt: Vec<String>,
    /// IPv4 address (e.g., "172.30.100.104")
    #[arg(long, value_name = "ip")]
    ip: Option<std::net::Ipv4Addr>,
    /// IPv6 address (e.g., "2001:db8::33")
    #[arg(long, value_name = "ip")]
    ip6: Option<std::net::Ipv6Addr>,
    /// Add link to another container
    #[arg(long, value_name = "list")]
    link: Vec<String>,
    /// Add a link-local address for the container
    #[arg(long, value_name = "strings")]
    link_local_ip: Vec<String>,
    #[arg(value_name = "NETWORK")]
    network: String,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// `network create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Enable manual container attachment
    #[arg(long)]
    attachable: bool,
    /// Auxiliary IPv4 or IPv6 addresses used by Network driver
    #[arg(long, value_name = "map")]
    aux_address: Vec<String>,
    /// The network from which to copy the configuration
    #[arg(long, value_name = "string")]
    config_from: Option<String>,
    /// Create a configuration only network
    #[arg(long)]
    config_only: bool,
    /// Driver to manage the Network
    #[arg(short = 'd', long, value_name = "string", default_value = "bridge")]
    driver: String,
    /// IPv4 or IPv6 Gateway for the master subnet
    #[arg(long, value_name = "strings")]
    gateway: Vec<String>,
    /// Create swarm routing-mesh network
    #[arg(long)]
    ingress: bool,
    /// Restrict external access to the network
    #[arg(long)]
    internal: bool,
    /// Allocate container ip from a sub-range
    #[arg(long, value_name = "strings")]
    ip_range: Vec<String>,
    /// IP Address Management Driver
    #[arg(long, value_name = "string", default_value = "default")]
    ipam_driver: String,
    /// Set IPAM driver specific options
    #[arg(long, value_name = "map")]
    ipam_opt: Vec<String>,
    /// Enable or disable IPv6 networking
    #[arg(long)]
    ipv6: bool,
    /// Set metadata on a network
    #[arg(long, value_name = "list")]
    label: Vec<String>,
    /// Set driver specific options
    #[arg(short = 'o', long, value_name = "map")]
    opt: Vec<String>,
    /// Control the network's scope
    #[arg(long, value_name = "string")]
    scope: Option<String>,
    /// Subnet in CIDR format that represents a network segment
    #[arg(long, value_name = "strings")]
    subnet: Vec<String>,
    #[arg(value_name = "NETWORK")]
    name: String,
}

/// `network disconnect`.
#[derive(Debug, Args)]
pub(crate) struct DisconnectArgs {
    /// Force the container to disconnect from a network
    #[arg(short = 'f', long)]
    force: bool,
    #[arg(value_name = "NETWORK")]
    network: String,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// `network ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Provide filter values (e.g. "driver=bridge")
    #[arg(short = 'f', long, value_name = "filter")]
    filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
    /// Do not truncate the output
    #[arg(long)]
    no_trunc: bool,
    /// Only display network IDs
    #[arg(short = 'q', long)]
    quiet: bool,
}

/// `network rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Do not error if the network does not exist
    #[arg(short = 'f', long)]
    force: bool,
    #[arg(value_name = "NETWORK", required = true)]
    networks: Vec<String>,
}

/// Runs a word of the `network` object.
pub(crate) async fn run(ctx: &Ctx, command: Command) -> Result<Exit> {
    match command {
        Command::AttachHost(args) => attach_host(ctx, args).await,
        Command::DetachHost { network } => {
            let path = format!("/networks/{}/attach-host", segment(&network));
            ctx.client().await?.json(Method::DELETE, &path, &Query::new(), None).await?;
            Ok(report::OK)
        }
        Command::Connect(args) => connect(ctx, args).await,
        Command::Create(args) => create(ctx, &args).await,
        Command::Disconnect(args) => disconnect(ctx, args).await,
        Command::Inspect(args) => inspect::run(ctx, args, inspect::Kind::Network).await,
        Command::Ls(args) => list(ctx, args).await,
        Command::Policy(command) => policy::run(ctx, command).await,
        Command::Prune(args) => prune(ctx, args).await,
        Command::Rm(args) => remove(ctx, args).await,
        Command::Routes(args) => routes::run(ctx, args).await,
    }
}

async fn attach_host(ctx: &Ctx, args: AttachHostArgs) -> Result<Exit> {
    let body = serde_json::to_value(HostRequest {
        name: args.name,
        aliases: args.alias,
        address: args.ip.map(|ip| ip.to_string()).unwrap_or_default(),
    })?;
    let path = format!("/networks/{}/attach-host", segment(&args.network));
    let made = ctx.client().await?.json(Method::POST, &path, &Query::new(), Some(&body)).await?;
    report::say(made["Address"].as_str().unwrap_or_default())?;
    Ok(report::OK)
}

async fn connect(ctx: &Ctx, args: ConnectArgs) -> Result<Exit> {
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let ipam = EndpointIpamConfig {
        ipv4_address: args.ip.map(|ip| ip.to_string()),
        ipv6_address: args.ip6.map(|ip| ip.to_string()),
        link_local_ips: some(args.link_local_ip),
    };
    let endpoint = EndpointSettings {
        ipam_config: (ipam != EndpointIpamConfig::default()).then_some(ipam),
        links: some(args.link),
        aliases: some(args.alias),
        driver_opts: (!args.driver_opt.is_empty()).then(|| opts::pairs(&args.driver_opt)),
        ..EndpointSettings::default()
    };
    let request =
        NetworkConnectRequest { container: args.container, endpoint_config: Some(endpoint) };
    let client = ctx.client().await?;
    client.docker.connect_network(&args.network, request).await.map_err(ClientError::from)?;
    Ok(report::OK)
}

async fn disconnect(ctx: &Ctx, args: DisconnectArgs) -> Result<Exit> {
    let request = NetworkDisconnectRequest { container: args.container, force: Some(args.force) };
    let client = ctx.client().await?;
    client.docker.disconnect_network(&args.network, request).await.map_err(ClientError::from)?;
    Ok(report::OK)
}

async fn create(ctx: &Ctx, args: &CreateArgs) -> Result<Exit> {
    let request = NetworkCreateRequest {
        name: args.name.clone(),
        driver: (!args.config_only).then(|| args.driver.clone()),
        scope: args.scope.clone(),
        internal: Some(args.internal),
        attachable: Some(args.attachable),
        ingress: Some(args.ingress),
        config_only: Some(args.config_only),
        config_from: args
            .config_from
            .clone()
            .map(|network| ConfigReference { network: Some(network) }),
        ipam: Some(ipam(args)?),
        enable_ipv4: None,
        enable_ipv6: args.ipv6.then_some(true),
        options: Some(opts::pairs(&args.opt)),
        labels: Some(opts::pairs(&args.label)),
    };
    let client = ctx.client().await?;
    let created = client.docker.create_network(request).await.map_err(ClientError::from)?;
    if !created.warning.is_empty() {
        eprintln!("WARNING: {}", created.warning);
    }
    report::say(&created.id)?;
    Ok(report::OK)
}

/// One pool per subnet; ranges, gateways and further addresses go to the subnet that holds them.
fn ipam(args: &CreateArgs) -> Result<Ipam> {
    let mut pools: Vec<IpamConfig> = args
        .subnet
        .iter()
        .map(|subnet| IpamConfig { subnet: Some(subnet.clone()), ..IpamConfig::default() })
        .collect();
    if pools.is_empty() && !(args.gateway.is_empty() && args.ip_range.is_empty()) {
        bail!("every ip-range or gateway must have a corresponding subnet");
    }
    for range in &args.ip_range {
        let pool = holder(&mut pools, range)
            .ok_or_else(|| anyhow!("no matching subnet for range {range}"))?;
        pool.ip_range = Some(range.clone());
    }
    for gateway in &args.gateway {
        let pool = holder(&mut pools, gateway)
            .ok_or_else(|| anyhow!("no matching subnet for gateway {gateway}"))?;
        pool.gateway = Some(gateway.clone());
    }
    for (name, address) in opts::pairs(&args.aux_address) {
        let pool = holder(&mut pools, &address)
            .ok_or_else(|| anyhow!("no matching subnet for aux-address {address}"))?;
        pool.auxiliary_addresses.get_or_insert_with(HashMap::new).insert(name, address);
    }
    Ok(Ipam {
        driver: Some(args.ipam_driver.clone()),
        config: Some(pools),
        options: Some(opts::pairs(&args.ipam_opt)),
    })
}

fn holder<'a>(pools: &'a mut [IpamConfig], address: &str) -> Option<&'a mut IpamConfig> {
    let address: std::net::IpAddr = address.split('/').next()?.parse().ok()?;
    pools
        .iter_mut()
        .find(|pool| pool.subnet.as_deref().is_some_and(|subnet| contains(subnet, address)))
}

fn contains(subnet: &str, address: std::net::IpAddr) -> bool {
    use std::net::IpAddr::{V4, V6};
    let Some((base, bits)) = subnet.split_once('/') else { return false };
    match (base.parse(), address, bits.parse::<u32>()) {
        (Ok(V4(base)), V4(address), Ok(bits @ 0..=32)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(base) & mask == u32::from(address) & mask
        }
        (Ok(V6(base)), V6(address), Ok(bits @ 0..=128)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(base) & mask == u128::from(address) & mask
        }
        _ => false,
    }
}

async fn list(ctx: &Ctx, args: LsArgs) -> Result<Exit> {
    let filters = opts::filters(&args.filter).map_err(|err| anyhow!(err))?;
    let query = Query::new().with("filters", filters.to_string());
    let found = ctx.client().await?.get("/networks", &query).await?;
    let mut networks: Vec<&Value> = found.as_array().into_iter().flatten().collect();
    networks.sort_by_key(|network| network["Name"].as_str().unwrap_or_default());
    let rows: Vec<Value> =
        networks.into_iter().map(|network| row(network, !args.no_trunc)).collect();
    let listing = Listing {
        format: &args.format,
        quiet: args.quiet.then_some("ID"),
        table: &[("ID", "NETWORK ID"), ("Name", "NAME"), ("Driver", "DRIVER"), ("Scope", "SCOPE")],
        more: &[
            ("IPv4", "IPV4"),
            ("IPv6", "IPV6"),
            ("Internal", "INTERNAL"),
            ("Labels", "LABELS"),
            ("Label", "LABEL"),
            ("CreatedAt", "CREATED AT"),
        ],
        hidden: &["Label"],
    };
    report::print(&listing.render(&rows)?)?;
    Ok(report::OK)
}

fn row(network: &Value, truncate: bool) -> Value {
    let text = |key: &str| network[key].as_str().unwrap_or_default();
    let truth = |key: &str| (network[key] == true).to_string();
    json!({
        "CreatedAt": clock::go_time_text(text("Created")),
        "Driver": text("Driver"),
        "ID": short_id(text("Id"), truncate),
        "IPv4": truth("EnableIPv4"),
        "IPv6": truth("EnableIPv6"),
        "Internal": truth("Internal"),
        "Label": network["Labels"],
        "Labels": labels(&network["Labels"]),
        "Name": text("Name"),
        "Scope": text("Scope"),
    })
}

async fn remove(ctx: &Ctx, args: RmArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    report::each(&args.networks, async |name| {
        match client.docker.remove_network(&name).await.map_err(ClientError::from) {
            Err(ClientError::Daemon { status: 404, .. }) if args.force => Ok(None),
            other => other.map(|()| Some(name)).map_err(Into::into),
        }
    })
    .await
}

async fn prune(ctx: &Ctx, args: PruneArgs) -> Result<Exit> {
    let question = "WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue?";
    if !args.force && !terminal::confirm(question)? {
        return Ok(report::OK);
    }
    let reply = support::prune_call(ctx, "/networks/prune", &args.filter).await?;
    support::report_pruned(&reply, "Deleted Networks", "NetworksDeleted")?;
    Ok(report::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_the_subnet_that_holds_it() {
        assert!(contains("10.1.0.0/16", "10.1.2.3".parse().unwrap()));
        assert!(!contains("10.1.0.0/16", "10.2.2.3".parse().unwrap()));
        assert!(contains("0.0.0.0/0", "10.2.2.3".parse().unwrap()));
        assert!(contains("fd00::/8", "fd12::1".parse().unwrap()));
        assert!(!contains("fd00::/8", "10.1.2.3".parse().unwrap()));
    }
}
