//! Making a container: everything is checked and merged first, then made in an order in which a crash
//! leaves only what the next start sweeps away (a directory without a record, a layer without a container).

use super::record::{Container, MountRecord, Record};
use super::{merge, mounts, names, validate};
use crate::{Engine, Error, Result};
use rand::Rng;
use std::collections::BTreeMap;
use std::sync::Arc;
use types::container::{CreateRequest, CreateResponse, HostConfig};
use types::{ContainerId, Timestamp};

impl Engine {
    /// `POST /containers/create`.
    pub async fn container_create(&self, mut request: CreateRequest) -> Result<CreateResponse> {
        if let Some(name) = &mut request.name {
            *name = name.strip_prefix('/').unwrap_or(name).to_owned();
            validate::name(name)?;
        }
        let no_weight = self.0.facts.without.contains(&ocispec::Controller::IoWeight);
        if no_weight && request.host_config.blkio_weight != 0 {
            // dockerd discards it, with a warning, before it looks whether it makes sense.
            request.host_config.blkio_weight = validate::LEAST_IO_WEIGHT;
        }
        let mut warnings = validate::request(&request.config, &request.host_config)?;
        validate::cpus(
            &request.host_config,
            std::thread::available_parallelism().map_or(1, usize::from),
        )?;
        self.check_sets(&request.host_config)?;
        let image = self.image_for_container(&request.config.image, request.platform.as_deref())?;
        warnings.extend(image.warning.clone());
        merge::merge(&mut request.config, &image.config);
        if merge::command_line(&request.config).is_empty() {
            return Err(Error::invalid("no command specified"));
        }
        self.default_host_config(&mut request.host_config)?;
        warnings.append(&mut self.kernel_warnings(&request.host_config)?);
        if no_weight {
            request.host_config.blkio_weight = 0;
        }
        let mounts = self.resolve_mounts(&request)?;
        check_bind_sources(&mounts)?;
        self.name_shared_namespaces(&mut request.host_config)?;
        self.check_network_mode(&mut request).await?;
        self.check_links(&mut request.host_config)?;

        let id = ContainerId::new(random_hex());
        let name = self.reserve_name(request.name.as_deref(), &id)?;
        let made = self.make(id.clone(), name.clone(), request, image, mounts).await;
        let container = made.inspect_err(|_| self.0.containers.release(&name))?;
        self.0.events.emit("container", "create", id.as_str(), container.attributes());
        Ok(CreateResponse { id, warnings })
    }

    /// Writes layer, volumes and record. On failure nothing of them stays.
    async fn make(
        &self,
        id: ContainerId,
        name: String,
        request: CreateRequest,
        image: crate::rootfs::ContainerImage,
        mounts: Vec<MountRecord>,
    ) -> Result<Arc<Container>> {
        let mut config = request.config;
        if config.hostname.is_empty() && request.host_config.uts_mode != "host" {
            config.hostname = match request.host_config.network_mode.as_str() {
                "host" => nix::unistd::gethostname()
                    .ok()
                    .and_then(|name| name.into_string().ok())
                    .unwrap_or_default(),
                // The other's name is the name of the network that they share.
                mode if mode.starts_with("container:") => {
                    let other = self.0.containers.find(&mode["container:".len()..]);
                    other.map(|other| other.record().config.hostname.clone()).unwrap_or_default()
                }
                _ => id.short().to_owned(),
            };
        }
        let record = Record {
            id: id.clone(),
            name,
            created: Timestamp::from(std::time::SystemTime::now()),
            image: image.id.to_string(),
            platform: image.os.clone(),
            networks: wanted_networks(
                &request.host_config,
                request.networking_config.endpoints_config,
            ),
            config,
            host_config: request.host_config,
            mounts,
            ..Record::default()
        };
        let container =
            Arc::new(Container::new(record, self.container_dir(&id), self.run_dir(&id)));
        let made = self.make_files(&container, &image).await;
        if let Err(err) = made {
            self.discard(&container).await;
            return Err(err);
        }
        self.0.containers.insert(container.clone());
        Ok(container)
    }

    async fn make_files(
        &self,
        container: &Arc<Container>,
        image: &crate::rootfs::ContainerImage,
    ) -> Result<()> {
        std::fs::create_dir_all(&container.dir).map_err(|err| {
            Error::caused(format!("failed to create {}", container.dir.display()), err)
        })?;
        self.create_rootfs(&container.id, &image.id).await?;
        self.claim_volumes(container).await?;
        container.update(|_| ())
    }

    /// Takes back what `make_files` may have made. Failures are logged: the next start sweeps again.
    async fn discard(&self, container: &Container) {
        self.0.volumes.release(&container.id);
        self.remove_anonymous_volumes(container).await;
        for err in self.remove_rootfs(container).await {
            tracing::warn!(container = container.id.short(), error = %err, "failed to remove a layer");
        }
        if let Err(err) = std::fs::remove_dir_all(&container.dir) {
            tracing::warn!(container = container.id.short(), error = %err, "failed to remove the directory");
        }
    }

    fn reserve_name(&self, wanted: Option<&str>, id: &ContainerId) -> Result<String> {
        let name = match wanted {
            Some(name) => name.to_owned(),
            None => names::generate(|name| self.0.containers.is_taken(name)),
        };
        self.0.containers.reserve(&name, id)?;
        Ok(name)
    }

    /// Fills in what Docker fills in at creation, so that `inspect` shows what will happen.
    fn default_host_config(&self, host: &mut HostConfig) -> Result<()> {
        let defaults = |field: &mut String, value: &str| {
            if field.is_empty() {
                value.clone_into(field);
            }
        };
        if host.network_mode == "default" {
            host.network_mode.clear();
        }
        defaults(&mut host.network_mode, "bridge");
        defaults(&mut host.ipc_mode, "private");
        let v2 = self.0.facts.cgroup_v2;
        defaults(&mut host.cgroupns_mode, if v2 { "private" } else { "host" });
        defaults(&mut host.runtime, self.0.runtimes.default_name());
        defaults(&mut host.restart_policy.name, "no");
        if !v2 {
            host.oom_kill_disable.get_or_insert_default();
        }
        let shares = host.pid_mode == "host" || host.ipc_mode == "host" || host.privileged;
        let labels = host.security_opt.get_or_insert_default();
        if shares && !labels.iter().any(|option| option.starts_with("label")) {
            labels.push("label=disable".to_owned());
        }
        host.security_opt.take_if(|options| options.is_empty());
        if host.shm_size == 0 {
            host.shm_size = 64 * 1024 * 1024;
        }
        if host.memory > 0 && host.memory_swap == 0 {
            host.memory_swap = host.memory.saturating_mul(2);
        }
        if host.log_config.driver.is_empty() {
            host.log_config.driver = match self.0.config.default_log_driver.as_str() {
                "" => "json-file".to_owned(),
                driver => driver.to_owned(),
            };
            if host.log_config.config.is_empty() {
                host.log_config.config.clone_from(&self.0.config.default_log_opts);
            }
        }
        self.check_log_config(host)?;
        self.0.runtimes.get(&host.runtime)?;
        if !host.privileged {
            let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
            host.masked_paths.get_or_insert_with(|| words(ocispec::MASKED_PATHS));
            host.readonly_paths.get_or_insert_with(|| words(ocispec::READONLY_PATHS));
        }
        Ok(())
    }

    /// Containers whose PID or IPC namespace is shared are kept by their ids: they may be renamed.
    fn name_shared_namespaces(&self, host: &mut HostConfig) -> Result<()> {
        for mode in [&mut host.pid_mode, &mut host.ipc_mode] {
            if let Some(other) = mode.strip_prefix("container:") {
                let found = self.0.containers.find(other);
                let found = found.map_err(|err| Error::invalid(err.to_string()))?;
                *mode = format!("container:{}", found.id);
            }
        }
        Ok(())
    }

    /// Refuses CPUs and memory nodes that this machine has not.
    pub(crate) fn check_sets(&self, host: &HostConfig) -> Result<()> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpus = read("/sys/devices/system/cpu/online");
        let mems = read("/sys/devices/system/node/online");
        validate::sets(host, &validate::Available { cpus: cpus.trim(), mems: mems.trim() })
    }

    fn resolve_mounts(&self, request: &CreateRequest) -> Result<Vec<MountRecord>> {
        let mut inherited = Vec::new();
        for entry in request.host_config.volumes_from.iter().flatten() {
            let (name, mode) = entry.split_once(':').unwrap_or((entry, ""));
            let writable = match mode {
                "" | "rw" | "z" | "Z" => true,
                "ro" => false,
                mode => return Err(Error::invalid(format!("invalid mode: {mode}"))),
            };
            let other = self.0.containers.find(name);
            let other = other.map_err(|err| err.with_kind(errdefs::ErrorKind::InvalidParameter))?;
            inherited.push((other.record().mounts.clone(), writable));
        }
        mounts::resolve(&request.config, &request.host_config, &inherited, random_hex)
    }

    /// Makes the volumes and the images' layers that are not there yet and fills in where they are.
    async fn claim_volumes(&self, container: &Arc<Container>) -> Result<()> {
        let wanted = container.record().mounts.clone();
        let mut settled = Vec::with_capacity(wanted.len());
        for mut mount in wanted {
            match mount.point.kind.as_str() {
                "volume" => {
                    let volume = self.claim_volume(container, &mount)?;
                    mount.point.source = volume.mountpoint;
                    mount.point.driver = volume.driver;
                }
                "image" => self.claim_image(&container.id, &mut mount).await?,
                _ => {}
            }
            settled.push(mount);
        }
        container.modify(|record| record.mounts = settled);
        Ok(())
    }

    fn claim_volume(
        &self,
        container: &Container,
        mount: &MountRecord,
    ) -> Result<types::volume::Volume> {
        let options = mount.spec.volume_options.clone().unwrap_or_default();
        let driver = options.driver_config.unwrap_or_default();
        let request = types::volume::CreateRequest {
            name: mount.point.name.clone(),
            driver: mount.point.driver.clone(),
            driver_opts: driver.options,
            labels: options.labels,
        };
        self.ensure_volume(request, mount.anonymous, &container.id)
    }
}

/// `--mount type=bind` of a missing source is refused at creation; `-v` makes it at start.
fn check_bind_sources(mounts: &[MountRecord]) -> Result<()> {
    for mount in mounts.iter().filter(|mount| mount.point.kind == "bind" && !mount.create_source) {
        if !std::path::Path::new(&mount.point.source).exists() {
            return Err(Error::invalid(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                mount.point.source
            )));
        }
    }
    Ok(())
}

/// The network of the mode, with the user's settings for it and for the others he names.
fn wanted_networks(
    host: &HostConfig,
    wanted: Option<BTreeMap<String, types::network::EndpointSettings>>,
) -> BTreeMap<String, types::network::EndpointSettings> {
    let mut networks = wanted.unwrap_or_default();
    if let Some(settings) = networks.remove("default") {
        networks.entry("bridge".to_owned()).or_insert(settings);
    }
    if !host.network_mode.starts_with("container:") {
        networks.entry(host.network_mode.clone()).or_default();
    }
    networks
}

/// 32 random bytes in hex: the form of every id.
pub(crate) fn random_hex() -> String {
    let mut bytes = [0u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}
