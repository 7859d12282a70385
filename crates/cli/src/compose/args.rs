//! Compose's grammar, as Compose v2 has it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `sampan compose …`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct ComposeArgs {
    #[command(flatten)]
    pub(super) project: ProjectFlags,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// `sampan up …`: what stands before and after the word in `sampan compose … up …`.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(super) project: ProjectFlags,
    #[command(flatten)]
    pub(super) up: Up,
}

/// `sampan down …`.
#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    #[command(flatten)]
    pub(super) project: ProjectFlags,
    #[command(flatten)]
    pub(super) down: Down,
}

/// Which project, and from which files.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ProjectFlags {
    /// Compose configuration files
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(super) files: Vec<String>,
    /// Project name
    #[arg(short = 'p', long, value_name = "NAME")]
    pub(super) project_name: Option<String>,
    /// Specify an alternate environment file
    #[arg(long = "env-file", value_name = "FILE")]
    pub(super) env_files: Vec<PathBuf>,
    /// Specify a profile to enable
    #[arg(long = "profile", value_name = "NAME")]
    pub(super) profiles: Vec<String>,
    /// Specify an alternate working directory (default: the path of the first Compose file)
    #[arg(long, value_name = "DIR", alias = "workdir")]
    pub(super) project_directory: Option<PathBuf>,
    /// Control when to print ANSI control characters ("never"|"always"|"auto")
    #[arg(long, value_name = "WHEN", env = "COMPOSE_ANSI", default_value = "auto")]
    pub(super) ansi: String,
    /// Set type of progress output ("auto"|"tty"|"plain"|"json"|"quiet")
    #[arg(long, value_name = "TYPE", env = "COMPOSE_PROGRESS", default_value = "auto", value_parser = ["auto", "tty", "plain", "json", "quiet"])]
    pub(super) progress: String,
    /// Control max parallelism, -1 for unlimited
    #[arg(long, value_name = "N", env = "COMPOSE_PARALLEL_LIMIT", default_value_t = -1, allow_negative_numbers = true)]
    pub(super) parallel: i64,
    /// Include all resources, even those not used by services
    #[arg(long)]
    pub(super) all_resources: bool,
    /// Name containers and images as docker-compose 1.x does
    #[arg(long, env = "COMPOSE_COMPATIBILITY", value_parser = clap::builder::FalseyValueParser::new(), hide_env = true)]
    pub(super) compatibility: bool,
    /// An older spelling of --ansi never
    #[arg(long, hide = true)]
    pub(super) no_ansi: bool,
    /// Show more output
    #[arg(long, hide = true)]
    pub(super) verbose: bool,
    /// Show what would be done, and do nothing
    #[arg(long, global = true)]
    pub(super) dry_run: bool,
}

/// The words after `compose`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Attach local standard input, output, and error streams to a service's running container
    Attach(Attach),
    /// Create a new image from a service container's changes
    Commit(Commit),
    /// Export a service container's filesystem as a tar archive
    Export(Export),
    /// Scale services
    Scale(Scale),
    /// List volumes
    Volumes(Volumes),
    /// Watch build context for service and rebuild/refresh containers when files are updated
    Watch(Watch),
    /// Build or rebuild services
    Build(Build),
    /// Parse, resolve and render compose file in canonical format
    #[command(visible_alias = "convert")]
    Config(Config),
    /// Copy files/folders between a service container and the local filesystem
    Cp(Copy),
    /// Creates containers for a service
    Create(Create),
    /// Stop and remove containers, networks
    Down(Down),
    /// Receive real time events from containers
    Events(Events),
    /// Execute a command in a running container
    Exec(Exec),
    /// List images used by the created containers
    Images(Images),
    /// Force stop service containers
    Kill(Kill),
    /// View output from containers
    Logs(Logs),
    /// List running compose projects
    Ls(Ls),
    /// Pause services
    Pause(Named),
    /// Print the public port for a port binding
    Port(Port),
    /// List containers
    Ps(Ps),
    /// Pull service images
    Pull(Pull),
    /// Push service images
    Push(Push),
    /// Restart service containers
    Restart(Restart),
    /// Removes stopped service containers
    Rm(Rm),
    /// Run a one-off command on a service
    Run(Box<Run>),
    /// Start services
    Start(Start),
    /// Display a live stream of container(s) resource usage statistics
    Stats(Stats),
    /// Stop services
    Stop(Stop),
    /// Display the running processes
    Top(Named),
    /// Unpause services
    Unpause(Named),
    /// Create and start containers
    Up(Up),
    /// Show the Compose version information
    Version(Version),
    /// Block until containers of all (or specified) services stop
    Wait(Wait),
    /// Is not supported
    #[command(hide = true)]
    Publish(Unsupported),
    /// Is not supported
    #[command(hide = true)]
    Bridge(Unsupported),
    /// Is not supported
    #[command(hide = true)]
    Alpha(Unsupported),
}

/// Words of Compose v2 that we have not: whatever follows them, they say so.
#[derive(Debug, Args)]
pub(crate) struct Unsupported {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub(super) rest: Vec<String>,
}

/// Words that take services only.
#[derive(Debug, Args)]
pub(crate) struct Named {
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// `attach`.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Override the key sequence for detaching from a container
    #[arg(long, value_name = "KEYS")]
    pub(super) detach_keys: Option<String>,
    /// Index of the container if service has multiple replicas
    #[arg(long, value_name = "N")]
    pub(super) index: Option<u32>,
    /// Do not attach STDIN
    #[arg(long)]
    pub(super) no_stdin: bool,
    /// Proxy all received signals to the process
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, hide_default_value = true)]
    pub(super) sig_proxy: bool,
    #[arg(value_name = "SERVICE")]
    pub(super) service: String,
}

/// `commit`.
#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short = 'a', long, value_name = "string")]
    pub(super) author: Option<String>,
    /// Apply Dockerfile instruction to the created image
    #[arg(short = 'c', long, value_name = "list")]
    pub(super) change: Vec<String>,
    /// Index of the container if service has multiple replicas
    #[arg(long, value_name = "N")]
    pub(super) index: Option<u32>,
    /// Commit message
    #[arg(short = 'm', long, value_name = "string")]
    pub(super) message: Option<String>,
    /// Pause container during commit
    #[arg(short = 'p', long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, hide_default_value = true)]
    pub(super) pause: bool,
    #[arg(value_name = "SERVICE")]
    pub(super) service: String,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(super) reference: Option<String>,
}

/// `export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Index of the container if service has multiple replicas
    #[arg(long, value_name = "N")]
    pub(super) index: Option<u32>,
    /// Write to a file, instead of STDOUT
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(super) output: Option<String>,
    #[arg(value_name = "SERVICE")]
    pub(super) service: String,
}

/// `scale`.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// Don't start linked services
    #[arg(long)]
    pub(super) no_deps: bool,
    #[arg(value_name = "SERVICE=REPLICAS", required = true)]
    pub(super) counts: Vec<String>,
}

/// `volumes`.
#[derive(Debug, Args)]
pub(crate) struct Volumes {
    /// Format output: 'table', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(super) format: String,
    /// Only display volume names
    #[arg(short = 'q', long)]
    pub(super) quiet: bool,
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// `watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Do not build & start services before watching
    #[arg(long)]
    pub(super) no_up: bool,
    /// Hide build output
    #[arg(long)]
    pub(super) quiet: bool,
    /// Prune dangling images on rebuild
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, hide = true)]
    pub(super) prune: bool,
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// `start`.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Wait for services to be running|healthy. Implies detached mode
    #[arg(long)]
    pub(super) wait: bool,
    /// Maximum duration in seconds to wait for the project to be running|healthy
    #[arg(long, value_name = "SECONDS")]
    pub(super) wait_timeout: Option<u64>,
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// `wait`.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Drops project when the first container stops
    #[arg(long)]
    pub(super) down_project: bool,
    #[arg(value_name = "SERVICE", required = true)]
    pub(super) services: Vec<String>,
}

/// What `up` and `create` share.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Converge {
    /// Build images before starting containers
    #[arg(long)]
    pub(super) build: bool,
    /// Don't build an image, even if it's missing
    #[arg(long, conflicts_with = "build")]
    pub(super) no_build: bool,
    /// Recreate containers even if their configuration and image haven't changed
    #[arg(long)]
    pub(super) force_recreate: bool,
    /// If containers already exist, don't recreate them
    #[arg(long, conflicts_with = "force_recreate")]
    pub(super) no_recreate: bool,
    /// Pull image before running ("always"|"missing"|"never")
    #[arg(long, value_name = "POLICY")]
    pub(super) pull: Option<String>,
    /// Pull without printing progress information
    #[arg(long)]
    pub(super) quiet_pull: bool,
    /// Remove containers for services not defined in the Compose file
    #[arg(long)]
    pub(super) remove_orphans: bool,
    /// Scale SERVICE to NUM instances
    #[arg(long, value_name = "SERVICE=NUM")]
    pub(super) scale: Vec<String>,
    /// Assume "yes" as answer to all prompts: there are none
    #[arg(short = 'y', long = "yes")]
    pub(super) yes: bool,
    /// Suppress the build output
    #[arg(long)]
    pub(super) quiet_build: bool,
}

/// `up`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(super) converge: Converge,
    /// Detached mode: Run containers in the background
    #[arg(short = 'd', long)]
    pub(super) detach: bool,
    /// Don't start linked services
    #[arg(long)]
    pub(super) no_deps: bool,
    /// Don't start the services after creating them
    #[arg(long)]
    pub(super) no_start: bool,
    /// Recreate anonymous volumes instead of retrieving data from the previous containers
    #[arg(short = 'V', long)]
    pub(super) renew_anon_volumes: bool,
    /// Stops all containers if any container was stopped
    #[arg(long)]
    pub(super) abort_on_container_exit: bool,
    /// Stops all containers if any container exited with failure
    #[arg(long, conflicts_with = "abort_on_container_exit")]
    pub(super) abort_on_container_failure: bool,
    /// Recreate dependent containers
    #[arg(long, conflicts_with = "no_recreate")]
    pub(super) always_recreate_deps: bool,
    /// Automatically attach to log output of dependent services
    #[arg(long, conflicts_with = "attach")]
    pub(super) attach_dependencies: bool,
    /// Has no effect: there is no menu of shortcuts
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    pub(super) menu: Option<bool>,
    /// Watch source code and rebuild/refresh containers when files are updated
    #[arg(short = 'w', long, conflicts_with = "detach")]
    pub(super) watch: bool,
    /// Return the exit code of the selected service container
    #[arg(long, value_name = "SERVICE")]
    pub(super) exit_code_from: Option<String>,
    /// Attach to these services only
    #[arg(long, value_name = "SERVICE")]
    pub(super) attach: Vec<String>,
    /// Do not attach to these services
    #[arg(long, value_name = "SERVICE")]
    pub(super) no_attach: Vec<String>,
    /// Wait for services to be running|healthy. Implies detached mode
    #[arg(long)]
    pub(super) wait: bool,
    /// Maximum duration in seconds to wait for the project to be running|healthy
    #[arg(long, value_name = "SECONDS")]
    pub(super) wait_timeout: Option<u64>,
    /// Show timestamps
    #[arg(long)]
    pub(super) timestamps: bool,
    /// Produce monochrome output
    #[arg(long)]
    pub(super) no_color: bool,
    /// Don't print prefix in logs
    #[arg(long)]
    pub(super) no_log_prefix: bool,
    /// Use this timeout in seconds for container shutdown
    #[arg(short = 't', long, value_name = "SECONDS")]
    pub(super) timeout: Option<i64>,
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// `create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(super) converge: Converge,
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// `down`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Down {
    /// Remove containers for services not defined in the Compose file
    #[arg(long)]
    pub(super) remove_orphans: bool,
    /// Remove images used by services ("local"|"all")
    #[arg(long, value_name = "TYPE", value_parser = ["local", "all"])]
    pub(super) rmi: Option<String>,
    /// Specify a shutdown timeout in seconds
    #[arg(short = 't', long, value_name = "SECONDS")]
    pub(super) timeout: Option<i64>,
    /// Remove named volumes declared in the "volumes" section and anonymous volumes
    #[arg(short = 'v', long)]
    pub(super) volumes: bool,
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// `build`.
#[derive(Debug, Default, Args)]
pub(crate) struct Build {
    /// Set build-time variables for services
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) build_arg: Vec<String>,
    /// Do not use cache when building the image
    #[arg(long)]
    pub(super) no_cache: bool,
    /// Always attempt to pull a newer version of the image
    #[arg(long)]
    pub(super) pull: bool,
    /// Don't print anything to STDOUT
    #[arg(short = 'q', long)]
    pub(super) quiet: bool,
    /// Also build dependencies
    #[arg(long)]
    pub(super) with_dependencies: bool,
    /// Set memory limit for the build container
    #[arg(short = 'm', long, value_name = "bytes")]
    pub(super) memory: Option<String>,
    /// Push service images
    #[arg(long)]
    pub(super) push: bool,
    /// Check build configuration: names the services that would be built
    #[arg(long)]
    pub(super) check: bool,
    /// Has no effect: a build prints its steps
    #[arg(long = "progress", id = "build_progress", value_name = "string", hide = true)]
    pub(super) build_progress: Option<String>,
    /// Has no effect: there is one builder
    #[arg(long, value_name = "string", hide = true)]
    pub(super) builder: Option<String>,
    /// Is refused: builds get no SSH agent
    #[arg(long, value_name = "string", num_args = 0..=1, require_equals = true, hide = true)]
    pub(super) ssh: Option<Option<String>>,
    /// Has no effect: services are built one after the other
    #[arg(long, hide = true)]
    pub(super) parallel: bool,
    /// Has no effect: the context is sent as it is
    #[arg(long, hide = true)]
    pub(super) compress: bool,
    /// Has no effect: intermediate containers are removed
    #[arg(long, hide = true)]
    pub(super) force_rm: bool,
    /// Has no effect: intermediate containers are removed
    #[arg(long, hide = true)]
    pub(super) no_rm: bool,
    /// Has no effect: no attestation is made
    #[arg(long, value_name = "string", hide = true)]
    pub(super) provenance: Option<String>,
    /// Has no effect: no attestation is made
    #[arg(long, value_name = "string", hide = true)]
    pub(super) sbom: Option<String>,
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// `pull`.
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Pull what it can and ignores images with pull failures
    #[arg(long)]
    pub(super) ignore_pull_failures: bool,
    /// Ignore images that can be built
    #[arg(long)]
    pub(super) ignore_buildable: bool,
    /// Also pull services declared as dependencies
    #[arg(long)]
    pub(super) include_deps: bool,
    /// Pull without printing progress information
    #[arg(short = 'q', long)]
    pub(super) quiet: bool,
    /// Has no effect: images are pulled at the same time
    #[arg(long, hide = true)]
    pub(super) parallel: bool,
    /// Has no effect: images are pulled at the same time
    #[arg(long, hide = true)]
    pub(super) no_parallel: bool,
    /// Apply pull policy ("missing"|"always")
    #[arg(long, value_name = "POLICY")]
    pub(super) policy: Option<String>,
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// `push`.
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Push what it can and ignores images with push failures
    #[arg(long)]
    pub(super) ignore_push_failures: bool,
    /// Push without printing progress information
    #[arg(short = 'q', long)]
    pub(super) quiet: bool,
    /// Also push images of services declared as dependencies
    #[arg(long)]
    pub(super) include_deps: bool,
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// `ps`.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Show all stopped containers (including those created by the run command)
    #[arg(short = 'a', long)]
    pub(super) all: bool,
    /// Format output: 'table', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(super) format: String,
    /// Only display IDs
    #[arg(short = 'q', long)]
    pub(super) quiet: bool,
    /// Display services
    #[arg(long)]
    pub(super) services: bool,
    /// Filter services by a property (supported filters: status)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) filter: Option<String>,
    /// Include orphaned services (not declared by project)
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, hide_default_value = true)]
    pub(super) orphans: bool,
    /// Filter services by status
    #[arg(long, value_name = "STATUS")]
    pub(super) status: Vec<String>,
    /// Don't truncate output
    #[arg(long)]
    pub(super) no_trunc: bool,
    #[arg(value_name = "SERVICE")]
    pub(super) names: Vec<String>,
}

/// `ls`.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Show all stopped Compose projects
    #[arg(short = 'a', long)]
    pub(super) all: bool,
    /// Format the output: table or json
    #[arg(long, value_name = "string", default_value = "table")]
    pub(super) format: String,
    /// Filter output based on conditions provided (name=…)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) filter: Vec<String>,
    /// Only display project names
    #[arg(short = 'q', long)]
    pub(super) quiet: bool,
}

/// `images`.
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// Format the output: table or json
    #[arg(long, value_name = "string", default_value = "table")]
    pub(super) format: String,
    /// Only display IDs
    #[arg(short = 'q', long)]
    pub(super) quiet: bool,
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// `port`.
#[derive(Debug, Args)]
pub(crate) struct Port {
    /// Index of the container if service has multiple replicas
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) index: u32,
    /// tcp or udp
    #[arg(long, value_name = "string", default_value = "tcp")]
    pub(super) protocol: String,
    #[arg(value_name = "SERVICE")]
    pub(super) service: String,
    #[arg(value_name = "PRIVATE_PORT")]
    pub(super) port: u16,
}

/// `logs`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Logs {
    /// Follow log output
    #[arg(short = 'f', long)]
    pub(super) follow: bool,
    /// Produce monochrome output
    #[arg(long)]
    pub(super) no_color: bool,
    /// Don't print prefix in logs
    #[arg(long)]
    pub(super) no_log_prefix: bool,
    /// Show logs since timestamp or relative (e.g. 42m for 42 minutes)
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(super) since: String,
    /// Number of lines to show from the end of the logs for each container
    #[arg(
        short = 'n',
        long,
        value_name = "string",
        default_value = "all",
        allow_hyphen_values = true
    )]
    pub(super) tail: String,
    /// Show timestamps
    #[arg(short = 't', long)]
    pub(super) timestamps: bool,
    /// Show logs before a timestamp or relative (e.g. 42m for 42 minutes)
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(super) until: String,
    /// Index of the container if service has multiple replicas
    #[arg(long, value_name = "N")]
    pub(super) index: Option<u32>,
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// `restart`.
#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// Specify a shutdown timeout in seconds
    #[arg(short = 't', long, value_name = "SECONDS")]
    pub(super) timeout: Option<i64>,
    /// Don't restart dependent services
    #[arg(long)]
    pub(super) no_deps: bool,
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// `stop`.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Specify a shutdown timeout in seconds
    #[arg(short = 't', long, value_name = "SECONDS")]
    pub(super) timeout: Option<i64>,
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// `kill`.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// SIGNAL to send to the container
    #[arg(short = 's', long, value_name = "string", default_value = "SIGKILL")]
    pub(super) signal: String,
    /// Remove containers for services not defined in the Compose file
    #[arg(long)]
    pub(super) remove_orphans: bool,
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// `rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Don't ask to confirm removal
    #[arg(short = 'f', long)]
    pub(super) force: bool,
    /// Stop the containers, if required, before removing
    #[arg(short = 's', long)]
    pub(super) stop: bool,
    /// Remove any anonymous volumes attached to containers
    #[arg(short = 'v', long)]
    pub(super) volumes: bool,
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Build image before starting container
    #[arg(long)]
    pub(super) build: bool,
    /// Add Linux capabilities
    #[arg(long, value_name = "CAP")]
    pub(super) cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "CAP")]
    pub(super) cap_drop: Vec<String>,
    /// Set environment variables from file
    #[arg(long, value_name = "FILE")]
    pub(super) env_from_file: Vec<PathBuf>,
    /// Pull image before running ("always"|"missing"|"never")
    #[arg(long, value_name = "POLICY")]
    pub(super) pull: Option<String>,
    /// Don't print anything to STDOUT
    #[arg(short = 'q', long)]
    pub(super) quiet: bool,
    /// Suppress progress output from the build process
    #[arg(long)]
    pub(super) quiet_build: bool,
    /// Pull without printing progress information
    #[arg(long)]
    pub(super) quiet_pull: bool,
    /// Remove containers for services not defined in the Compose file
    #[arg(long)]
    pub(super) remove_orphans: bool,
    /// Run container in background and print container ID
    #[arg(short = 'd', long)]
    pub(super) detach: bool,
    /// Override the entrypoint of the image
    #[arg(long, value_name = "string")]
    pub(super) entrypoint: Option<String>,
    /// Set environment variables
    #[arg(short = 'e', long, value_name = "KEY=VALUE")]
    pub(super) env: Vec<String>,
    /// Keep STDIN open even if not attached
    #[arg(short = 'i', long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, hide_default_value = true)]
    pub(super) interactive: bool,
    /// Add or override a label
    #[arg(short = 'l', long, alias = "labels", value_name = "KEY=VALUE")]
    pub(super) label: Vec<String>,
    /// Assign a name to the container
    #[arg(long, value_name = "string")]
    pub(super) name: Option<String>,
    /// Disable pseudo-TTY allocation
    #[arg(short = 'T', long = "no-tty", alias = "no-TTY")]
    pub(super) no_tty: bool,
    /// Don't start linked services
    #[arg(long)]
    pub(super) no_deps: bool,
    /// Publish a container's port(s) to the host
    #[arg(short = 'p', long, value_name = "PORT")]
    pub(super) publish: Vec<String>,
    /// Automatically remove the container when it exits
    #[arg(long)]
    pub(super) rm: bool,
    /// Run command with all service's ports enabled and mapped to the host
    #[arg(short = 'P', long)]
    pub(super) service_ports: bool,
    /// Use the service's network useAliases in the network(s) the container connects to
    #[arg(long)]
    pub(super) use_aliases: bool,
    /// Run as specified username or uid
    #[arg(short = 'u', long, value_name = "string")]
    pub(super) user: Option<String>,
    /// Bind mount a volume
    #[arg(short = 'v', long, alias = "volumes", value_name = "VOLUME")]
    pub(super) volume: Vec<String>,
    /// Working directory inside the container
    #[arg(short = 'w', long, value_name = "string")]
    pub(super) workdir: Option<String>,
    /// Service, then the command and its arguments
    #[arg(value_name = "SERVICE COMMAND", trailing_var_arg = true, required = true)]
    pub(super) service_and_command: Vec<String>,
}

/// `exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Detached mode: Run command in the background
    #[arg(short = 'd', long)]
    pub(super) detach: bool,
    /// Set environment variables
    #[arg(short = 'e', long, value_name = "KEY=VALUE")]
    pub(super) env: Vec<String>,
    /// Index of the container if service has multiple replicas
    #[arg(long, value_name = "N")]
    pub(super) index: Option<u32>,
    /// Keep STDIN open (the default)
    #[arg(short = 'i', long, hide = true)]
    pub(super) interactive: bool,
    /// Allocate a pseudo-TTY (the default on a terminal)
    #[arg(short = 't', long, hide = true)]
    pub(super) tty: bool,
    /// Disable pseudo-TTY allocation
    #[arg(short = 'T', long = "no-tty", alias = "no-TTY")]
    pub(super) no_tty: bool,
    /// Give extended privileges to the process
    #[arg(long)]
    pub(super) privileged: bool,
    /// Run the command as this user
    #[arg(short = 'u', long, value_name = "string")]
    pub(super) user: Option<String>,
    /// Path to workdir directory for this command
    #[arg(short = 'w', long, value_name = "string")]
    pub(super) workdir: Option<String>,
    /// Service, then the command and its arguments
    #[arg(value_name = "SERVICE COMMAND", trailing_var_arg = true, required = true, num_args = 2..)]
    pub(super) service_and_command: Vec<String>,
}

/// `cp`.
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// Include containers created by the run command
    #[arg(long)]
    pub(super) all: bool,
    /// Archive mode (copy all uid/gid information)
    #[arg(short = 'a', long)]
    pub(super) archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long)]
    pub(super) follow_link: bool,
    /// Index of the container if service has multiple replicas
    #[arg(long, value_name = "N")]
    pub(super) index: Option<u32>,
    #[arg(value_name = "SRC")]
    pub(super) source: String,
    #[arg(value_name = "DEST")]
    pub(super) destination: String,
}

/// `stats`.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Show all containers (default shows just running)
    #[arg(short = 'a', long)]
    pub(super) all: bool,
    /// Format output: 'table', 'json' or a Go template
    #[arg(long, value_name = "string")]
    pub(super) format: Option<String>,
    /// Do not truncate output
    #[arg(long)]
    pub(super) no_trunc: bool,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    pub(super) no_stream: bool,
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// `events`.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Output events as a stream of json objects
    #[arg(long)]
    pub(super) json: bool,
    /// Show all events created since timestamp
    #[arg(long, value_name = "string")]
    pub(super) since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long, value_name = "string")]
    pub(super) until: Option<String>,
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,
}

/// `config`.
#[derive(Debug, Args)]
pub(crate) struct Config {
    /// Format the output: yaml or json
    #[arg(long, value_name = "FORMAT", value_parser = ["yaml", "json"])]
    pub(super) format: Option<String>,
    /// Print the service config hash, one per line; "*" is all services
    #[arg(long, value_name = "SERVICE")]
    pub(super) hash: Option<String>,
    /// Print the image names, one per line
    #[arg(long)]
    pub(super) images: bool,
    /// Print the network names, one per line
    #[arg(long)]
    pub(super) networks: bool,
    /// Print the profile names, one per line
    #[arg(long)]
    pub(super) profiles: bool,
    /// Only validate the configuration, don't print anything
    #[arg(short = 'q', long)]
    pub(super) quiet: bool,
    /// Print the service names, one per line
    #[arg(long)]
    pub(super) services: bool,
    /// Print the volume names, one per line
    #[arg(long)]
    pub(super) volumes: bool,
    /// Print environment used for interpolation
    #[arg(long)]
    pub(super) environment: bool,
    /// Produces an override file with image digests
    #[arg(long)]
    pub(super) lock_image_digests: bool,
    /// Print the model names, one per line
    #[arg(long)]
    pub(super) models: bool,
    /// Don't check model consistency
    #[arg(long)]
    pub(super) no_consistency: bool,
    /// Don't interpolate environment variables
    #[arg(long)]
    pub(super) no_interpolate: bool,
    /// Don't normalize compose model
    #[arg(long)]
    pub(super) no_normalize: bool,
    /// Don't resolve file paths
    #[arg(long)]
    pub(super) no_path_resolution: bool,
    /// Pin image tags to digests
    #[arg(long)]
    pub(super) resolve_image_digests: bool,
    /// Print model variables and default values
    #[arg(long)]
    pub(super) variables: bool,
    /// Don't resolve service env files
    #[arg(long)]
    pub(super) no_env_resolution: bool,
    /// Save to file (default to stdout)
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    #[arg(value_name = "SERVICE")]
    pub(super) names: Vec<String>,
}

/// `version`.
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// Shows only Compose's version number
    #[arg(long)]
    pub(super) short: bool,
    /// Format the output. Values: [pretty | json]
    #[arg(short = 'f', long, value_name = "string", default_value = "pretty", value_parser = ["pretty", "json"])]
    pub(super) format: String,
}
