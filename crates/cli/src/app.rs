//! The grammar of the whole command line, and which module runs which word.
//!
//! The rule for words that Compose and Docker share: Docker's meaning wins where it is complete;
//! `sampan compose …`, `sampan up` and `sampan down` are Compose.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::client::ConnectOptions;
use crate::ctx::Ctx;
use crate::report::{self, Exit};
use crate::{
    blob, cluster, compose, container, image, insight, inspect, network, node, registry, service,
    stack, start, swarm, system, task, volume,
};

/// The client.
#[derive(Debug, Parser)]
#[command(
    name = "sampan",
    bin_name = "sampan",
    version,
    disable_version_flag = true,
    about = "A small container engine that speaks Docker",
    subcommand_required = true,
    arg_required_else_help = true,
    override_usage = "sampan [OPTIONS] COMMAND",
    disable_help_flag = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options in front of the command.
#[derive(Debug, Args)]
struct Global {
    /// Location of client config files
    #[arg(long, value_name = "string")]
    config: Option<PathBuf>,
    /// Accepted for docker's sake; there are no contexts
    #[arg(short = 'c', long, value_name = "string", hide = true)]
    context: Option<String>,
    /// Enable debug mode
    #[arg(short = 'D', long)]
    debug: bool,
    /// Daemon socket to connect to (unix:///path or tcp://host:port)
    #[arg(short = 'H', long, value_name = "list")]
    host: Option<String>,
    /// Set the logging level
    #[arg(short = 'l', long, value_name = "string", hide = true)]
    log_level: Option<String>,
    /// Use TLS
    #[arg(long)]
    tls: bool,
    /// Trust certs signed only by this CA
    #[arg(long, value_name = "string")]
    tlscacert: Option<PathBuf>,
    /// Path to TLS certificate file
    #[arg(long, value_name = "string")]
    tlscert: Option<PathBuf>,
    /// Path to TLS key file
    #[arg(long, value_name = "string")]
    tlskey: Option<PathBuf>,
    /// Use TLS and verify the remote
    #[arg(long)]
    tlsverify: bool,
    /// Print version information and quit
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    /// Print usage
    #[arg(long, global = true, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// The words of the top level.
#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Container(container::Verb),
    #[command(flatten)]
    Image(image::Verb),
    /// List containers
    Ps(container::PsArgs),
    /// List images
    Images(image::ImagesArgs),
    /// Remove one or more images
    Rmi(image::RmiArgs),
    /// Return low-level information on objects
    Inspect(inspect::AnyArgs),
    /// Get real time events from the server
    Events(system::EventsArgs),
    /// Display system-wide information
    Info(system::InfoArgs),
    /// Show the version information of client and daemon
    Version(system::VersionArgs),
    /// Authenticate to a registry
    Login(registry::LoginArgs),
    /// Log out from a registry
    Logout(registry::LogoutArgs),
    /// Search a registry for images
    Search(image::SearchArgs),
    /// Manage containers
    #[command(name = "container", subcommand)]
    ManageContainer(container::Command),
    /// Manage images
    #[command(name = "image", subcommand)]
    ManageImage(image::Command),
    /// Manage networks
    #[command(subcommand)]
    Network(network::Command),
    /// Manage volumes
    #[command(subcommand)]
    Volume(volume::Command),
    /// Manage the engine
    #[command(subcommand)]
    System(system::Command),
    /// Make a cluster of this node; starts the daemon where none runs
    Init(Box<swarm::InitArgs>),
    /// Make this node part of a cluster; starts the daemon where none runs
    Join(swarm::JoinArgs),
    /// Leave the cluster
    Leave(swarm::LeaveArgs),
    /// Manage the cluster
    #[command(subcommand)]
    Swarm(swarm::Command),
    /// Look after the cluster as a whole
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Explain why a task, service or node is as it is
    Why(insight::WhyArgs),
    /// Show what an update of a service would do
    Plan(Box<insight::PlanArgs>),
    /// Look for what may go wrong with this node and its cluster
    Doctor(insight::DoctorArgs),
    /// Manage the cluster's nodes
    #[command(subcommand)]
    Node(node::Command),
    /// Manage services
    #[command(subcommand)]
    Service(service::Command),
    /// Manage stacks: Compose files deployed on the cluster
    #[command(subcommand)]
    Stack(stack::Command),
    /// Manage tasks
    #[command(subcommand)]
    Task(task::Command),
    /// Manage secrets
    #[command(subcommand)]
    Secret(blob::Command),
    /// Manage configs
    #[command(subcommand)]
    Config(blob::Command),
    /// Manage builds
    #[command(subcommand)]
    Builder(system::BuilderCommand),
    /// Define and run multi-container applications with Compose files
    Compose(compose::ComposeArgs),
    /// Create and start the services of a Compose project
    Up(compose::UpArgs),
    /// Stop and remove the containers and networks of a Compose project
    Down(compose::DownArgs),
    /// Print a completion script for a shell
    Completion(CompletionArgs),
}

/// `sampan completion`.
#[derive(Debug, Args)]
struct CompletionArgs {
    shell: clap_complete::Shell,
}

impl Cli {
    /// Runs what the command line says.
    pub(crate) async fn run(self) -> Result<Exit> {
        let config_dir = self.global.config.clone();
        let ctx = Ctx::new(self.global.connect_options(), config_dir);
        dispatch(&ctx, self.command).await
    }
}

async fn dispatch(ctx: &Ctx, command: Command) -> Result<Exit> {
    match command {
        Command::Container(verb) => container::run_verb(ctx, verb).await,
        Command::Image(verb) => image::run_verb(ctx, verb).await,
        Command::Ps(args) => container::list(ctx, args).await,
        Command::Images(args) => image::list(ctx, args).await,
        Command::Rmi(args) => image::remove(ctx, args).await,
        Command::Inspect(args) => inspect::run_any(ctx, args).await,
        Command::Events(args) => system::events(ctx, args).await,
        Command::Info(args) => system::info(ctx, args).await,
        Command::Version(args) => system::version(ctx, args).await,
        Command::Login(args) => registry::login(ctx, args).await,
        Command::Logout(args) => registry::logout(ctx, &args),
        Command::Search(args) => image::search(ctx, args).await,
        Command::ManageContainer(command) => container::run(ctx, command).await,
        Command::ManageImage(command) => image::run(ctx, command).await,
        Command::Network(command) => network::run(ctx, command).await,
        Command::Volume(command) => volume::run(ctx, command).await,
        Command::System(command) => system::run(ctx, command).await,
        Command::Init(args) => {
            start::daemon(ctx).await?;
            swarm::init(ctx, *args).await
        }
        Command::Join(args) => {
            start::daemon(ctx).await?;
            swarm::join(ctx, args).await
        }
        Command::Leave(args) => swarm::leave(ctx, &args).await,
        Command::Swarm(command) => swarm::run(ctx, command).await,
        Command::Cluster(command) => cluster::run(ctx, command).await,
        Command::Why(args) => insight::why(ctx, &args).await,
        Command::Plan(args) => insight::plan(ctx, &args).await,
        Command::Doctor(args) => insight::doctor(ctx, &args).await,
        Command::Node(command) => node::run(ctx, command).await,
        Command::Service(command) => service::run(ctx, command).await,
        Command::Stack(command) => stack::run(ctx, command).await,
        Command::Task(command) => task::run(ctx, command).await,
        Command::Secret(command) => blob::run(ctx, blob::Blob::Secret, command).await,
        Command::Config(command) => blob::run(ctx, blob::Blob::Config, command).await,
        Command::Builder(command) => system::run_builder(ctx, command).await,
        Command::Compose(args) => compose::run(ctx, args).await,
        Command::Up(args) => compose::up(ctx, args).await,
        Command::Down(args) => compose::down(ctx, args).await,
        Command::Completion(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "sampan", &mut script);
            report::print(&String::from_utf8_lossy(&script))?;
            Ok(report::OK)
        }
    }
}

impl Global {
    /// Flags first, then SAMPAN_HOST and docker's variables.
    fn connect_options(&self) -> ConnectOptions {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let certificates = variable("DOCKER_CERT_PATH").map(PathBuf::from);
        let file = |flag: &Option<PathBuf>, name: &str| {
            flag.clone().or_else(|| certificates.as_ref().map(|dir| dir.join(name)))
        };
        ConnectOptions {
            host: self
                .host
                .clone()
                .or_else(|| variable("SAMPAN_HOST"))
                .or_else(|| variable("DOCKER_HOST")),
            tls: self.tls || variable("DOCKER_TLS").is_some(),
            tls_verify: self.tlsverify || variable("DOCKER_TLS_VERIFY").is_some(),
            ca: file(&self.tlscacert, "ca.pem"),
            cert: file(&self.tlscert, "cert.pem"),
            key: file(&self.tlskey, "key.pem"),
            api_version: variable("DOCKER_API_VERSION"),
        }
    }
}
