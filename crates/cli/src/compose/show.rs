//! `config` and `version`: what the files say, without a daemon.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use super::args::{Config, ProjectFlags, Version};
use super::project::{self, Loaded};
use crate::report::{self, Exit};

/// `compose config`.
pub(super) fn config(flags: &ProjectFlags, args: &Config) -> Result<Exit> {
    let loaded = project::project_with(flags, &args.names, args.no_env_resolution)?;
    loaded.check(&args.names)?;
    if args.quiet {
        return Ok(report::OK);
    }
    let text = text(&loaded, args)?;
    match &args.output {
        Some(path) => {
            std::fs::write(path, text)
                .with_context(|| format!("failed to write {}", path.display()))?;
        }
        None => report::print(&text)?,
    }
    Ok(report::OK)
}

fn text(loaded: &Loaded, args: &Config) -> Result<String> {
    let project = &loaded.project;
    let lines = |words: Vec<String>| words.into_iter().map(|word| word + "\n").collect();
    if args.services {
        return Ok(lines(project.services.keys().cloned().collect()));
    }
    if args.volumes {
        return Ok(lines(project.volumes.keys().cloned().collect()));
    }
    if args.networks {
        return Ok(lines(project.networks.keys().cloned().collect()));
    }
    if args.images {
        let images: BTreeSet<String> =
            loaded.desired.services.values().map(|s| s.image.clone()).collect();
        return Ok(lines(images.into_iter().collect()));
    }
    if args.profiles {
        let all: BTreeSet<String> =
            project.services.values().flat_map(|service| service.profiles.clone()).collect();
        return Ok(lines(all.into_iter().collect()));
    }
    if let Some(wanted) = &args.hash {
        let chosen = |name: &str| wanted == "*" || wanted.split(',').any(|word| word == name);
        let hashes = loaded.desired.services.values().filter(|service| chosen(&service.name));
        return Ok(lines(
            hashes.map(|service| format!("{} {}", service.name, service.hash)).collect(),
        ));
    }
    let Some(tree) = project.tree() else { return Ok(String::new()) };
    match args.format.as_str() {
        "json" => Ok(serde_json::to_string_pretty(&tree.to_json())? + "\n"),
        _ => Ok(compose::yaml(tree)),
    }
}

/// `compose version`.
pub(super) fn version(args: &Version) -> Result<Exit> {
    let version = env!("CARGO_PKG_VERSION");
    report::say(&if args.short {
        version.to_owned()
    } else {
        format!("Sampan Compose version v{version}")
    })?;
    Ok(report::OK)
}
