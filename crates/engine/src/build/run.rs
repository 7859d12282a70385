//! `RUN`: a container whose writable layer becomes the next layer.

use super::comment;
use super::executor::{Executor, blocking, discard};
use super::output::{Failure, Frames};
use super::{scope, sources};
use crate::container::random_hex;
use crate::{AttachOptions, RemoveOptions, WaitCondition};
use dockerfile::{Ignore, MountKind, Run, RunMount};
use futures_util::StreamExt;
use image::{LayerSource, NewLayer, RwLayer};
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use types::container::{Config, CreateRequest, HealthConfig, HostConfig};
use types::mount::{Mount, TmpfsOptions};
use types::{ContainerId, ImageId};

/// A step's mounts, and what must go when it is done.
#[derive(Default)]
struct Mounts {
    mounts: Vec<Mount>,
    /// What of them the cache's key must say.
    key: String,
    /// Other stages and images, mounted for this step.
    images: Vec<RwLayer>,
    /// The folder with the secrets of this step.
    secrets: Option<PathBuf>,
    /// `NAME=content` of secrets that are asked for as variables.
    env: Vec<String>,
}

impl Executor {
    pub(super) async fn run_command(&mut self, run: &Run) -> Result<(), Failure> {
        if run.security.as_deref() == Some("insecure") {
            return Err(Failure::new("RUN --security=insecure is not allowed"));
        }
        let mut mounts = Mounts::default();
        let outcome = match self.prepare(&run.mounts, &mut mounts).await {
            Ok(()) => self.run_with(run, &mounts).await,
            Err(failure) => Err(failure),
        };
        for rw in mounts.images {
            discard(rw).await;
        }
        if let Some(dir) = mounts.secrets {
            // in a folder that only we can open; what is left goes when the daemon starts
            let _gone = blocking(move || {
                std::fs::remove_dir_all(dir).map_err(|err| Failure::new(err.to_string()))
            })
            .await;
        }
        outcome
    }

    async fn run_with(&mut self, run: &Run, mounts: &Mounts) -> Result<(), Failure> {
        let command = run.command.arguments(&dockerfile::shell(&self.stage.config));
        let env = self.stage.config.env.clone().unwrap_or_default();
        let mut created_by = comment::run(&self.args.environment(&env, true), &command);
        created_by.push_str(&mounts.key);
        let config = self.stage.config.clone();
        if self.cached(&created_by, &config).await {
            return Ok(());
        }
        let Some(image) = self.stage.image.clone() else {
            let program = command.first().cloned().unwrap_or_default();
            return Err(Failure::new(format!(
                "exec: {program:?}: there is no file system: the stage is empty"
            )));
        };
        let mut variables = self.args.environment(&env, false);
        variables.extend(mounts.env.iter().cloned());
        let request = self.request(&image, run, &command, variables, mounts);
        let id = self.engine.container_create(request).await?.id;
        self.output.text(format!(" ---> Running in {}\n", id.short())).await;
        let ran = self.run_container(&id, &command).await;
        let layer = match ran {
            Ok(()) => self.layer_of(&id).await,
            Err(failure) => Err(failure),
        };
        self.clean_up(&id, layer.is_ok()).await;
        self.commit(created_by, config, Some(&layer?)).await
    }

    fn request(
        &self,
        image: &ImageId,
        run: &Run,
        command: &[String],
        arguments: Vec<String>,
        mounts: &Mounts,
    ) -> CreateRequest {
        let mut host = HostConfig { mounts: Some(mounts.mounts.clone()), ..self.host.clone() };
        if let Some(network) = run.network.as_deref().filter(|network| *network != "default") {
            host.network_mode = network.to_owned();
        }
        let config = Config {
            image: image.to_string(),
            attach_stdout: true,
            attach_stderr: true,
            env: Some(arguments),
            cmd: Some(command.to_vec()),
            // Says "none", where nothing at all would mean the image's.
            entrypoint: Some(vec![String::new()]),
            healthcheck: Some(HealthConfig {
                test: vec!["NONE".to_owned()],
                ..HealthConfig::default()
            }),
            ..Config::default()
        };
        CreateRequest { config, host_config: host, ..CreateRequest::default() }
    }

    /// Runs it and passes its output on. Killed when nobody waits for the build any more.
    async fn run_container(&mut self, id: &ContainerId, command: &[String]) -> Result<(), Failure> {
        let engine = self.engine.clone();
        let attach =
            AttachOptions { stream: true, stdout: true, stderr: true, ..AttachOptions::default() };
        let session = engine.container_attach(id.as_str(), attach).await?;
        let exit = engine.container_wait(id.as_str(), WaitCondition::NextExit).await?;
        engine.container_start(id.as_str()).await?;
        let mut bytes = session.into_output();
        let mut frames = Frames::default();
        let cancelled = self.output.cancelled();
        tokio::pin!(cancelled);
        let relay = async {
            while let Some(Ok(chunk)) = bytes.next().await {
                for text in frames.feed(&chunk) {
                    self.output.text(text).await;
                }
            }
            exit.await
        };
        let exit = tokio::select! {
            exit = relay => exit,
            () = &mut cancelled => return Err(Failure::new("build cancelled")),
        };
        match exit.status_code {
            0 => Ok(()),
            code => Err(Failure {
                message: format!(
                    "The command '{}' returned a non-zero code: {code}",
                    command.join(" ")
                ),
                code: Some(code),
            }),
        }
    }

    async fn layer_of(&self, id: &ContainerId) -> Result<NewLayer, Failure> {
        let images = &self.engine.0.images;
        let gone = || Failure::new(format!("the file system of container {} is gone", id.short()));
        let rw = images.rw(id.as_str()).ok_or_else(gone)?;
        let source = if self.options.remove { LayerSource::Consume } else { LayerSource::Keep };
        Ok(images.layer_from_rw(rw, source).await?)
    }

    /// Removes the container if the client wants so: `rm` for success, `forcerm` for failure. One that
    /// nobody waits for goes always.
    async fn clean_up(&mut self, id: &ContainerId, succeeded: bool) {
        let wanted = self.options.force_remove || (succeeded && self.options.remove);
        if !wanted && !self.output.is_cancelled() {
            return;
        }
        let options = RemoveOptions { force: true, volumes: true, link: false };
        match self.engine.container_remove(id.as_str(), options).await {
            Ok(()) => {
                self.output.text(format!("Removing intermediate container {}\n", id.short())).await;
            }
            Err(err) => {
                let text = format!("Error removing intermediate container {}: {err}\n", id.short());
                self.output.text(text).await;
            }
        }
    }

    /// Makes ready what `RUN --mount` asks for.
    async fn prepare(&mut self, wanted: &[RunMount], ready: &mut Mounts) -> Result<(), Failure> {
        for mount in wanted {
            let target = self.absolute(&mount.target);
            ready.key.push_str(&format!(" # {:?} {target}", mount.kind));
            match mount.kind {
                MountKind::Cache => ready.mounts.push(self.cache_mount(mount, target)?),
                MountKind::Tmpfs => ready.mounts.push(tmpfs_mount(mount, target)),
                MountKind::Bind => self.bind_mount(mount, target, ready).await?,
                MountKind::Secret => self.secret_mount(mount, ready)?,
                // Nobody can send us an agent: an optional one is simply not there.
                MountKind::Ssh if !mount.required => {}
                MountKind::Ssh => {
                    return Err(Failure::new(
                        "RUN --mount=type=ssh needs a BuildKit session, which this builder has not",
                    ));
                }
            }
        }
        Ok(())
    }

    fn absolute(&self, target: &str) -> String {
        let below = Path::new("/").join(&self.stage.config.working_dir).join(target);
        below.to_string_lossy().into_owned()
    }

    fn cache_mount(&self, mount: &RunMount, target: String) -> Result<Mount, Failure> {
        use std::os::unix::fs::{PermissionsExt, chown};
        let id = mount.id.clone().unwrap_or_else(|| target.clone());
        let dir = self.engine.build_caches().join(hex::encode(Sha256::digest(id.as_bytes())));
        let make = || -> io::Result<()> {
            if dir.is_dir() {
                return Ok(());
            }
            std::fs::create_dir_all(&dir)?;
            let mode = mount.mode.unwrap_or(0o755);
            std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(mode))?;
            chown(&dir, Some(mount.uid.unwrap_or(0)), Some(mount.gid.unwrap_or(0)))
        };
        make().map_err(|err| Failure::new(format!("failed to create build cache {id}: {err}")))?;
        Ok(bind(dir.to_string_lossy().into_owned(), target, mount.read_only))
    }

    /// A file of the client's, readable by root alone unless told otherwise. Its content is no part of the cache's key.
    fn secret_mount(&self, mount: &RunMount, ready: &mut Mounts) -> Result<(), Failure> {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
        let name = mount.target.rsplit('/').next().unwrap_or_default();
        let id = mount.id.as_deref().unwrap_or(name);
        let Some(content) = self.options.secrets.get(id) else {
            return match mount.required {
                true => Err(Failure::new(format!("secret {id}: not found"))),
                false => Ok(()),
            };
        };
        if let Some(variable) = &mount.env {
            let text = String::from_utf8_lossy(content);
            ready.env.push(format!("{variable}={text}"));
            if mount.target.is_empty() {
                return Ok(());
            }
        }
        let failed =
            |err: io::Error| Failure::new(format!("failed to hand over secret {id}: {err}"));
        let home = self.engine.build_secrets();
        let dir = ready.secrets.get_or_insert_with(|| home.join(random_hex()));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&*dir).map_err(failed)?;
        let path = dir.join(ready.mounts.len().to_string());
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        file.write_all(content).map_err(failed)?;
        chown(&path, Some(mount.uid.unwrap_or(0)), Some(mount.gid.unwrap_or(0))).map_err(failed)?;
        let mode = std::fs::Permissions::from_mode(mount.mode.unwrap_or(0o400));
        std::fs::set_permissions(&path, mode).map_err(failed)?;
        let target = match mount.target.as_str() {
            "" => format!("/run/secrets/{id}"),
            target => self.absolute(target),
        };
        ready.mounts.push(bind(path.to_string_lossy().into_owned(), target, true));
        Ok(())
    }

    async fn bind_mount(
        &mut self,
        mount: &RunMount,
        target: String,
        ready: &mut Mounts,
    ) -> Result<(), Failure> {
        let origin = self.origin(mount.from.as_deref()).await?;
        ready.images.extend(origin.mounted);
        let source = Path::new(&mount.source);
        let failed =
            |err: io::Error| Failure::new(format!("failed to mount {}: {err}", mount.source));
        let path = scope::follow(&origin.root, source).map_err(failed)?;
        let found = sources::find(&origin.root, &mount.source)?;
        let hash = blocking(move || {
            sources::hash(&found, &Ignore::default()).map_err(|err| Failure::new(err.to_string()))
        });
        ready.key.push_str(&format!(" {}", hash.await?));
        ready.mounts.push(bind(path.to_string_lossy().into_owned(), target, mount.read_only));
        Ok(())
    }
}

fn bind(source: String, target: String, read_only: bool) -> Mount {
    Mount { kind: "bind".to_owned(), source, target, read_only, ..Mount::default() }
}

fn tmpfs_mount(mount: &RunMount, target: String) -> Mount {
    let options =
        mount.size.map(|size_bytes| TmpfsOptions { size_bytes, ..TmpfsOptions::default() });
    Mount { kind: "tmpfs".to_owned(), target, tmpfs_options: options, ..Mount::default() }
}

/// Removes all cache directories; returns their bytes.
pub(super) fn prune_caches(dir: &Path) -> io::Result<u64> {
    let freed = tree_bytes(dir)?;
    match std::fs::remove_dir_all(dir) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => Ok(freed),
    }
}

fn tree_bytes(path: &Path) -> io::Result<u64> {
    let meta = match std::fs::symlink_metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(0),
        meta => meta?,
    };
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    let mut sum = 0;
    for name in sources::sorted(path)? {
        sum += tree_bytes(&path.join(name))?;
    }
    Ok(sum)
}
