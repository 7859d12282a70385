//! What this machine and this engine are: `info`, `version`, `df`.
//!
//! Everything is looked at when it is asked for; nothing here fails for want of an answer, it leaves the
//! field empty and, where a container would notice, adds a warning.

mod host;

use crate::{Engine, Error, Filters, ListOptions, Result};
use host::Cgroups;
use image::ListFilter;
use std::collections::BTreeMap;
use types::Timestamp;
use types::container::Status;
use types::image::AuthConfig;
use types::system::{
    AddressPool, AuthReply, Commit, Component, DiskUsage, Firewall, Index, Info, Platform, Plugins,
    RegistryConfig, Runtime, Swarm, Version,
};

/// The API that is served, newest and oldest.
pub const API_VERSION: &str = "1.51";
pub const MIN_API_VERSION: &str = "1.24";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Which parts of `system df` to measure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUsageOptions {
    pub containers: bool,
    pub images: bool,
    pub volumes: bool,
    pub build_cache: bool,
}

/// This machine's name.
pub(crate) fn hostname() -> String {
    host::name()
}

impl Engine {
    /// `GET /info`.
    pub async fn system_info(&self) -> Info {
        let config = &self.0.config;
        let cgroups = Cgroups::look();
        let os = host::os_release();
        let mut info = Info {
            id: self.0.id.clone(),
            images: self.0.images.images().len(),
            driver: "overlay2".to_owned(),
            driver_status: driver_status(&config.data_root),
            plugins: plugins(),
            ipv4_forwarding: host::ipv4_forwarding(),
            debug: config.debug,
            n_fd: host::open_files(),
            n_goroutines: self.0.handle.metrics().num_alive_tasks(),
            system_time: Timestamp::from(std::time::SystemTime::now()),
            logging_driver: if config.default_log_driver.is_empty() {
                "json-file".to_owned()
            } else {
                config.default_log_driver.clone()
            },
            kernel_version: host::kernel(),
            operating_system: os.pretty_name,
            os_version: os.version_id,
            os_type: "linux".to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            index_server_address: "https://index.docker.io/v1/".to_owned(),
            registry_config: registries(&config.registry_mirrors, &config.insecure_registries),
            n_cpu: std::thread::available_parallelism().map_or(1, usize::from),
            mem_total: host::memory_bytes(),
            docker_root_dir: config.data_root.to_string_lossy().into_owned(),
            http_proxy: host::proxy(["HTTP_PROXY", "http_proxy"]),
            https_proxy: host::proxy(["HTTPS_PROXY", "https_proxy"]),
            no_proxy: host::proxy(["NO_PROXY", "no_proxy"]),
            name: host::name(),
            labels: config.labels.clone(),
            server_version: VERSION.to_owned(),
            runtimes: self.runtime_paths(),
            default_runtime: self.0.runtimes.default_name().to_owned(),
            swarm: Swarm::default(),
            live_restore_enabled: true,
            init_binary: "docker-init".to_owned(),
            containerd_commit: absent(),
            runc_commit: absent(),
            init_commit: absent(),
            security_options: security_options(&cgroups),
            default_address_pools: config
                .default_address_pools
                .iter()
                .map(|pool| AddressPool { base: pool.base.clone(), size: pool.size })
                .collect(),
            firewall_backend: Some(Firewall { driver: "nftables".to_owned(), info: Vec::new() }),
            ..Info::default()
        };
        self.count_containers(&mut info);
        cgroups.describe(&mut info);
        info.warnings = cgroups.warnings(&info);
        info.warnings.extend(host::missing_capabilities());
        info
    }

    fn count_containers(&self, info: &mut Info) {
        for container in self.0.containers.all() {
            info.containers += 1;
            match container.status() {
                Status::Running | Status::Restarting => info.containers_running += 1,
                Status::Paused => info.containers_paused += 1,
                _ => info.containers_stopped += 1,
            }
        }
    }

    fn runtime_paths(&self) -> BTreeMap<String, Runtime> {
        let path = |name: &str| match self.0.config.runtimes.get(name) {
            Some(path) => path.to_string_lossy().into_owned(),
            None => name.to_owned(),
        };
        self.0
            .runtimes
            .names()
            .map(|name| (name.to_owned(), Runtime { path: path(name) }))
            .collect()
    }

    /// `GET /version`.
    pub fn system_version(&self) -> Version {
        let kernel = host::kernel();
        let details = [
            ("ApiVersion", API_VERSION),
            ("MinAPIVersion", MIN_API_VERSION),
            ("Os", "linux"),
            ("Arch", host::go_arch()),
            ("KernelVersion", &kernel),
            ("Experimental", "false"),
        ];
        let details = details.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Version {
            platform: Platform { name: "Sampan".to_owned() },
            components: vec![Component {
                name: "Engine".to_owned(),
                version: VERSION.to_owned(),
                details,
            }],
            version: VERSION.to_owned(),
            api_version: API_VERSION.to_owned(),
            min_api_version: MIN_API_VERSION.to_owned(),
            os: "linux".to_owned(),
            arch: host::go_arch().to_owned(),
            kernel_version: kernel,
            ..Version::default()
        }
    }

    /// `POST /auth`.
    pub async fn registry_login(&self, auth: AuthConfig) -> Result<AuthReply> {
        self.0.images.login(&auth).await.map_err(Error::from_lower)?;
        Ok(AuthReply { status: "Login Succeeded".to_owned(), identity_token: String::new() })
    }

    /// `GET /system/df`.
    pub async fn system_df(&self, wanted: DiskUsageOptions) -> Result<DiskUsage> {
        let mut usage = DiskUsage::default();
        if wanted.containers {
            let options =
                ListOptions { all: true, size: true, limit: 0, filters: Filters::default() };
            usage.containers = Some(self.container_list(options).await?);
        }
        if wanted.images {
            usage.layers_size =
                i64::try_from(self.0.images.layers_size_bytes()).unwrap_or(i64::MAX);
            usage.images = Some(self.image_usage()?);
        }
        if wanted.volumes {
            usage.volumes = Some(self.volume_usage().await);
        }
        if wanted.build_cache {
            usage.build_cache = Some(Vec::new());
        }
        Ok(usage)
    }

    fn image_usage(&self) -> Result<Vec<types::image::Summary>> {
        let uses = self.image_uses();
        let mut images =
            self.0.images.list(&ListFilter::default(), Some(&uses)).map_err(Error::from_lower)?;
        let shared = self.0.images.shared_sizes();
        for image in &mut images {
            let bytes = shared.get(&image.id).copied().unwrap_or(0);
            image.shared_size = i64::try_from(bytes).unwrap_or(i64::MAX);
        }
        Ok(images)
    }
}

/// Nothing of that kind is in this engine.
fn absent() -> Commit {
    Commit { id: "N/A".to_owned(), expected: String::new() }
}

fn plugins() -> Plugins {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Plugins {
        volume: words(&["local"]),
        network: words(&["bridge", "host", "null"]),
        authorization: None,
        log: words(&["json-file", "local", "none"]),
    }
}

fn driver_status(data_root: &std::path::Path) -> Vec<[String; 2]> {
    let pair = |name: &str, value: &str| [name.to_owned(), value.to_owned()];
    vec![
        pair("Backing Filesystem", host::file_system(data_root)),
        pair("Supports d_type", "true"),
        pair("Using metacopy", "false"),
        pair("Native Overlay Diff", "true"),
        pair("userxattr", "false"),
    ]
}

fn security_options(cgroups: &Cgroups) -> Vec<String> {
    let mut options = Vec::new();
    if host::has_seccomp() {
        options.push("name=seccomp,profile=builtin".to_owned());
    }
    if cgroups.is_unified() {
        options.push("name=cgroupns".to_owned());
    }
    options
}

/// Docker Hub, and each registry that may be reached without TLS. CIDRs stand apart from names.
fn registries(mirrors: &[String], insecure: &[String]) -> RegistryConfig {
    let index = |name: &str, secure, official| Index {
        name: name.to_owned(),
        mirrors: if official { mirrors.to_vec() } else { Vec::new() },
        secure,
        official,
    };
    let (cidrs, names): (Vec<_>, Vec<_>) =
        insecure.iter().cloned().partition(|name| name.contains('/'));
    let mut index_configs =
        BTreeMap::from([("docker.io".to_owned(), index("docker.io", true, true))]);
    index_configs.extend(names.iter().map(|name| (name.clone(), index(name, false, false))));
    let loopback = ["::1/128", "127.0.0.0/8"].map(str::to_owned);
    RegistryConfig {
        insecure_registry_cidrs: cidrs.into_iter().chain(loopback).collect(),
        index_configs,
        mirrors: mirrors.to_vec(),
    }
}
