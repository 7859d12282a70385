//! `cargo xtask cluster`: several daemons on one machine, each in a network namespace of its own, as a swarm to play
//! with and to break.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use testkit::{Hosts, Hub, Options, host_address, host_token};

use crate::{chores, debian};

/// In the names of all that belongs to it; not a test's, so that `sweep` leaves it alone.
const TOKEN: &str = "smp-cluster";

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Start the daemons and make them a swarm
    Up {
        #[arg(long, default_value_t = 3)]
        nodes: u8,
        /// How many of them are managers
        #[arg(long, default_value_t = 3)]
        managers: usize,
        /// The sampan binary [default: built in release mode]
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
    },
    /// End them and remove all that was theirs
    Down,
    /// Take a node's power: its daemon and its containers end at once
    Kill { node: u8 },
    /// Cut a node off from the others
    Cut { node: u8 },
    /// Let every packet pass again
    Heal,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "containers need root: run `cargo xtask cluster` as root"
    );
    match &args.what {
        What::Up { nodes, managers, binary } => up(*nodes, *managers, binary.as_ref()),
        What::Down => {
            testkit::clear(TOKEN);
            Ok(())
        }
        What::Kill { node } => {
            testkit::end_processes(&host_token(TOKEN, *node));
            Ok(())
        }
        What::Cut { node } => cut(*node),
        What::Heal => Hub::existing(TOKEN)?.heal(),
    }
}

fn up(nodes: u8, managers: usize, binary: Option<&PathBuf>) -> Result<()> {
    debian::ensure_installed(&[debian::BUILD, debian::RUN])?;
    let binary = binary.cloned().map_or_else(chores::release_binary, Ok)?;
    testkit::images::make(&testkit::images::default_dir(), &["busybox", "nginx:latest"])?;
    testkit::clear(TOKEN);
    let options = Options {
        token: Some(TOKEN.to_owned()),
        binary: Some(binary.clone()),
        ..Options::with_images(&["busybox", "nginx:latest"])
    };
    let hosts = Hosts::try_start(nodes, &options)?;
    hosts.swarm(managers);
    for (number, host) in (1..).zip(hosts.iter()) {
        println!(
            "node{number}  {}  export DOCKER_HOST={host_api} SAMPAN_HOST={host_api}",
            host.address(),
            host_api = host.host()
        );
    }
    println!("\n{} node ls", binary.display());
    println!(
        "nsenter --net=/run/netns/{} curl {}   # as from another machine",
        TOKEN,
        host_address(1)
    );
    println!("cargo xtask cluster kill 2 | cut 2 | heal | down");
    hosts.leave();
    Ok(())
}

fn cut(node: u8) -> Result<()> {
    let hub = Hub::existing(TOKEN)?;
    let others = (1..=u8::MAX).filter(|other| *other != node);
    for other in others.take_while(|other| {
        std::path::Path::new("/run/netns").join(host_token(TOKEN, *other)).exists() || *other < node
    }) {
        hub.cut_one_way(host_address(node), host_address(other))?;
        hub.cut_one_way(host_address(other), host_address(node))?;
    }
    Ok(())
}
