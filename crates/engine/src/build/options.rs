//! What a client may ask of a build, as data.

use crate::{Error, Result};
use image::Reference;
use std::collections::BTreeMap;
use types::container::{HostConfig, LogConfig, Ulimit};
use types::image::AuthConfig;

/// The query of `POST /build` and its `X-Registry-Config`. `squash`, `outputs` and `version` have no place
/// here: the first is ignored, as without experimental features, the others belong to BuildKit.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// `t`: names of the result.
    pub tags: Vec<String>,
    /// The Dockerfile's path in the context; `Dockerfile` when empty.
    pub dockerfile: String,
    /// Where the context is, when the body is none.
    pub remote: String,
    /// `q`: only the id.
    pub quiet: bool,
    pub no_cache: bool,
    /// Ask registries for newer base images.
    pub pull: bool,
    /// `rm`: remove intermediate containers after success. Clients send 1 unless told otherwise.
    pub remove: bool,
    /// `forcerm`: after a failure too.
    pub force_remove: bool,
    /// `None` for a name without a value.
    pub build_args: BTreeMap<String, Option<String>>,
    pub labels: BTreeMap<String, String>,
    pub target: String,
    /// `os/arch[/variant]`; this machine's when empty.
    pub platform: String,
    pub cache_from: Vec<String>,
    /// By registry.
    pub auth: BTreeMap<String, AuthConfig>,
    /// What `RUN --mount=type=secret` gives to a step, by id. In no layer, no history and no cache key.
    pub secrets: BTreeMap<String, Vec<u8>>,

    /// For the containers of `RUN`.
    pub network_mode: String,
    pub extra_hosts: Vec<String>,
    pub memory: i64,
    /// Memory plus swap.
    pub memory_swap: i64,
    pub cpu_shares: i64,
    pub cpu_period: i64,
    pub cpu_quota: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    pub cgroup_parent: String,
    pub shm_size: i64,
    pub ulimits: Vec<Ulimit>,
    pub security_opt: Vec<String>,
}

impl BuildOptions {
    /// The checked tags, each once.
    pub(super) fn references(&self) -> Result<Vec<Reference>> {
        let mut tags: Vec<Reference> = Vec::new();
        for text in self.tags.iter().filter(|text| !text.is_empty()) {
            let tag = Reference::parse(text).map_err(|err| Error::invalid(err.to_string()))?;
            if tag.digest().is_some() {
                return Err(Error::invalid("build tag cannot contain a digest"));
            }
            let tag = tag.or_latest();
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        Ok(tags)
    }

    /// How the containers of `RUN` are set up. They keep no logs: their output goes to the client.
    pub(super) fn host_config(&self) -> HostConfig {
        HostConfig {
            network_mode: self.network_mode.clone(),
            extra_hosts: Some(self.extra_hosts.clone()).filter(|hosts| !hosts.is_empty()),
            memory: self.memory,
            memory_swap: self.memory_swap,
            cpu_shares: self.cpu_shares,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            cgroup_parent: self.cgroup_parent.clone(),
            shm_size: self.shm_size,
            ulimits: Some(self.ulimits.clone()).filter(|limits| !limits.is_empty()),
            security_opt: Some(self.security_opt.clone()).filter(|options| !options.is_empty()),
            log_config: LogConfig { driver: "none".to_owned(), ..LogConfig::default() },
            ..HostConfig::default()
        }
    }
}
