//! One build, from the first `ARG` to the last tag.

use super::cache::{self, Hit, Step};
use super::context::Context;
use super::output::{Failure, Output};
use super::{BuildOptions, comment, scope};
use crate::Engine;
use crate::container::random_hex;
use dockerfile::{BuildArgs, Dockerfile, From, Instruction, Kind, Stage};
use image::{Commit, Image, LayerSource, NewLayer, Platform, PullOptions, Reference, RwLayer};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use types::ImageId;
use types::container::{Config, HostConfig};
use types::image::{History, Progress};

/// What an image without a `PATH` gets, as from dockerd.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const NOTHING: &str = "scratch";

/// A build under way.
pub(super) struct Executor {
    pub(super) engine: Engine,
    pub(super) options: BuildOptions,
    pub(super) file: Dockerfile,
    pub(super) context: Context,
    pub(super) output: Output,
    pub(super) host: HostConfig,
    pub(super) args: BuildArgs,
    /// The current stage.
    pub(super) stage: State,
    /// The results of the stages before it.
    pub(super) built: Vec<Option<ImageId>>,
    /// What `--cache-from` names and is here; `None` when it names nothing.
    cache_sources: Option<Vec<Arc<Image>>>,
    step: usize,
}

/// Where a stage stands.
#[derive(Debug, Default)]
pub(super) struct State {
    /// `None` before the first instruction on `scratch`.
    pub(super) image: Option<ImageId>,
    pub(super) config: Config,
    /// `CMD` was given in this stage: an `ENTRYPOINT` then leaves it alone.
    command_given: bool,
    author: String,
    platform: Option<Platform>,
}

impl Executor {
    pub(super) fn new(
        engine: Engine,
        options: BuildOptions,
        file: Dockerfile,
        context: Context,
        output: Output,
    ) -> Self {
        let platform = match options.platform.as_str() {
            "" => Platform::host().to_string(),
            platform => platform.to_owned(),
        };
        let sources =
            options.cache_from.iter().filter_map(|name| engine.0.images.resolve(name).ok());
        Executor {
            cache_sources: (!options.cache_from.is_empty()).then(|| sources.collect()),
            host: options.host_config(),
            args: BuildArgs::new(options.build_args.clone(), &platform),
            stage: State::default(),
            built: Vec::new(),
            step: 0,
            engine,
            options,
            file,
            context,
            output,
        }
    }

    /// Runs the build to its end and tells the client of it. The context goes with it.
    pub(super) async fn finish(mut self, tags: Vec<Reference>) {
        if let Err(failure) = self.run(&tags).await {
            self.output.failed(failure).await;
        }
        let context = self.context;
        let _removed = tokio::task::spawn_blocking(move || drop(context)).await;
    }

    async fn run(&mut self, tags: &[Reference]) -> Result<(), Failure> {
        self.global_arguments().await?;
        for stage in self.file.stages.clone() {
            self.build_stage(&stage).await?;
            self.built.push(self.stage.image.clone());
        }
        self.add_labels().await?;
        let unused = self.args.unused();
        if !unused.is_empty() {
            let names = unused.join(" ");
            let text = format!("[Warning] One or more build-args [{names}] were not consumed\n");
            self.output.text(text).await;
        }
        let id = self.stage.image.clone();
        let id =
            id.ok_or_else(|| Failure::new("No image was generated. Is your Dockerfile empty?"))?;
        self.output.message(Progress::aux(serde_json::json!({ "ID": id.as_str() }))).await;
        self.output.text(format!("Successfully built {}\n", id.short())).await;
        for tag in tags {
            let (name, version) = (tag.familiar_name(), tag.tag().unwrap_or_default());
            self.engine.image_tag(id.as_str(), &name, version).await?;
            self.output.text(format!("Successfully tagged {}\n", tag.familiar())).await;
        }
        self.output.quiet_result(id.as_str()).await;
        Ok(())
    }

    async fn global_arguments(&mut self) -> Result<(), Failure> {
        for instruction in self.file.global_args.clone() {
            self.announce(&instruction.source).await?;
            let expanded =
                instruction.expanded(self.file.escape, &|name| self.args.global_value(name))?;
            if let Kind::Arg(list) = expanded {
                list.into_iter()
                    .for_each(|(name, default)| self.args.declare_global(&name, default));
            }
        }
        Ok(())
    }

    /// `Step 1/8 : …`. A build that nobody waits for ends here.
    async fn announce(&mut self, source: &str) -> Result<(), Failure> {
        if self.output.is_cancelled() {
            return Err(Failure::new("build cancelled"));
        }
        self.step += 1;
        let labels = usize::from(!self.options.labels.is_empty());
        let total = self.file.steps() + labels;
        self.output.text(format!("Step {}/{total} : {source}", self.step)).await;
        self.output.text("\n").await;
        Ok(())
    }

    async fn build_stage(&mut self, stage: &Stage) -> Result<(), Failure> {
        self.begin(&stage.from).await?;
        for instruction in &stage.instructions {
            self.announce(&instruction.source).await?;
            self.execute(instruction).await?;
        }
        Ok(())
    }

    async fn begin(&mut self, from: &From) -> Result<(), Failure> {
        self.announce(&from.source).await?;
        let (escape, args) = (self.file.escape, &self.args);
        let word = |text: &str| dockerfile::expand(text, escape, &|name| args.global_value(name));
        let name = word(&from.image).map_err(|err| Failure::new(err.to_string()))?;
        let platform = from.platform.as_deref().map(word).transpose();
        let platform = platform.map_err(|err| Failure::new(err.to_string()))?;
        if name.is_empty() {
            return Err(Failure::new(format!("base name ({}) should not be blank", from.image)));
        }
        self.args.next_stage();
        let platform = self.platform(platform)?;
        let base = match self.earlier_stage(&name) {
            Some(Some(id)) => Some(self.engine.0.images.resolve(id.as_str())?),
            Some(None) => None,
            None if name == NOTHING => None,
            None => Some(self.resolve(&name, platform.clone()).await?),
        };
        self.start_from(base.as_deref(), platform);
        let short = self.stage.image.as_ref().map(ImageId::short).unwrap_or_default();
        self.output.text(format!(" ---> {short}\n")).await;
        self.run_triggers().await
    }

    fn platform(&self, asked: Option<String>) -> Result<Option<Platform>, Failure> {
        let text =
            asked.filter(|text| !text.is_empty()).unwrap_or_else(|| self.options.platform.clone());
        if text.is_empty() {
            return Ok(None);
        }
        let bad = || {
            Failure::new(format!(
                "{text:?}: unknown operating system or architecture: invalid argument"
            ))
        };
        Platform::parse(&text).map(Some).ok_or_else(bad)
    }

    fn start_from(&mut self, base: Option<&Image>, platform: Option<Platform>) {
        let mut config = base.map(|base| base.config.config.clone()).unwrap_or_default();
        let env = config.env.get_or_insert_default();
        if !env.iter().any(|variable| variable.starts_with("PATH=")) {
            dockerfile::set_env(env, "PATH", DEFAULT_PATH);
        }
        self.stage = State {
            image: base.map(|base| base.id.clone()),
            config,
            platform: if base.is_none() { platform } else { None },
            ..State::default()
        };
    }

    /// The base image's `ONBUILD`s, which its children inherit no more.
    async fn run_triggers(&mut self) -> Result<(), Failure> {
        let triggers = self.stage.config.on_build.take().unwrap_or_default();
        if triggers.is_empty() {
            return Ok(());
        }
        let plural = if triggers.len() == 1 { "" } else { "s" };
        self.output.text(format!("# Executing {} build trigger{plural}\n", triggers.len())).await;
        for text in &triggers {
            let trigger = dockerfile::trigger(text).map_err(|err| Failure::new(err.to_string()))?;
            self.execute(&trigger).await?;
        }
        Ok(())
    }

    async fn execute(&mut self, instruction: &Instruction) -> Result<(), Failure> {
        let kind = self.expanded(instruction)?;
        match &kind {
            Kind::Run(run) => self.run_command(run).await,
            Kind::Copy(copy) => self.copy("COPY", copy).await,
            Kind::Add(copy) => self.copy("ADD", copy).await,
            _ => self.change_metadata(&kind).await,
        }
    }

    fn expanded(&self, instruction: &Instruction) -> Result<Kind, Failure> {
        let env = self.stage.config.env.as_deref().unwrap_or_default();
        let lookup = |name: &str| {
            let own = env.iter().filter_map(|variable| variable.split_once('='));
            own.into_iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
                .or_else(|| self.args.value(name))
        };
        Ok(instruction.expanded(self.file.escape, &lookup)?)
    }

    async fn change_metadata(&mut self, kind: &Kind) -> Result<(), Failure> {
        let shell = dockerfile::shell(&self.stage.config);
        let mut config = self.stage.config.clone();
        dockerfile::apply(&mut config, kind);
        match kind {
            Kind::Arg(list) => {
                list.iter().for_each(|(name, default)| self.args.declare(name, default.clone()));
            }
            Kind::Maintainer(name) => self.stage.author.clone_from(name),
            Kind::Cmd(_) => self.stage.command_given = true,
            // The inherited command belonged to the inherited entry point.
            Kind::Entrypoint(_) if !self.stage.command_given => config.cmd = None,
            Kind::StopSignal(signal) if !is_signal(signal) => {
                return Err(Failure::new(format!("Invalid signal: {signal}")));
            }
            _ => {}
        }
        let created_by = comment::metadata(&shell, kind, &config);
        if self.cached(&created_by, &config).await {
            return Ok(());
        }
        let layer = match kind {
            Kind::Workdir(_) => Some(self.directory(config.working_dir.clone()).await?),
            _ => None,
        };
        self.commit(created_by, config, layer.as_ref()).await
    }

    /// `--label`: a last step of its own, its words taken as they are.
    async fn add_labels(&mut self) -> Result<(), Failure> {
        if self.options.labels.is_empty() {
            return Ok(());
        }
        let pairs: Vec<_> = self.options.labels.clone().into_iter().collect();
        let shown: Vec<String> =
            pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        self.announce(&format!("LABEL {}", shown.join(" "))).await?;
        self.change_metadata(&Kind::Label(pairs)).await
    }

    /// Goes on with what the cache has for this step, if anything.
    pub(super) async fn cached(&mut self, created_by: &str, config: &Config) -> bool {
        if self.options.no_cache {
            return false;
        }
        let step = Step { parent: self.stage.image.as_ref(), created_by, config };
        let store = &self.engine.0.images;
        let image = match cache::find(store, step, self.cache_sources.as_deref()) {
            None => return false,
            Some(Hit::Whole(image)) => image,
            Some(Hit::Within { source, at }) => {
                let parent = self.stage.image.clone();
                match store.restore_step(parent, &source, at, config.clone()).await {
                    Ok(image) => image,
                    Err(err) => {
                        tracing::warn!(error = errdefs::chain(&err), "a cached step is made anew");
                        return false;
                    }
                }
            }
        };
        self.output.text(" ---> Using cache\n").await;
        self.arrive(&image).await;
        true
    }

    /// Makes the step's image and goes on from it.
    pub(super) async fn commit(
        &mut self,
        created_by: String,
        config: Config,
        layer: Option<&NewLayer>,
    ) -> Result<(), Failure> {
        let history = History {
            created: SystemTime::now().into(),
            created_by,
            author: self.stage.author.clone(),
            ..History::default()
        };
        let commit = Commit {
            parent: self.stage.image.clone(),
            config,
            history,
            platform: self.stage.platform.clone(),
            ..Commit::default()
        };
        let image = self.engine.0.images.create_image(commit, layer).await?;
        self.arrive(&image).await;
        Ok(())
    }

    async fn arrive(&mut self, image: &Image) {
        self.stage.image = Some(image.id.clone());
        self.stage.config = image.config.config.clone();
        self.stage.platform = None;
        self.output.text(format!(" ---> {}\n", image.id.short())).await;
    }

    /// The result of an earlier stage by name or number: `Some(None)` when it is empty.
    pub(super) fn earlier_stage(&self, name: &str) -> Option<Option<ImageId>> {
        let index = self.file.find(name)?;
        self.built.get(index).cloned()
    }

    /// An image by its name, fetched when it is not here or when newer ones are asked for.
    pub(super) async fn resolve(
        &mut self,
        name: &str,
        platform: Option<Platform>,
    ) -> Result<Arc<Image>, Failure> {
        let here = self.engine.0.images.resolve(name);
        match here {
            Ok(image) if !self.options.pull => return Ok(image),
            Ok(_) | Err(image::Error::NoSuchImage(_)) => {}
            Err(err) => return Err(err.into()),
        }
        let reference =
            Reference::parse(name).map_err(|err| Failure::new(err.to_string()))?.or_latest();
        let domain = match reference.domain() {
            "docker.io" => "https://index.docker.io/v1/",
            domain => domain,
        };
        let auth = self.options.auth.get(domain).cloned().unwrap_or_default();
        let options = PullOptions { platform, auth };
        let progress = self.output.progress();
        let pull = self.engine.0.images.pull(&reference, &options, &progress);
        let obtain = async {
            match pull.await {
                Ok(outcome) => Ok(outcome.image),
                // What no registry has, or none that answers, another node may have.
                Err(err) => {
                    let fetched = self.engine.image_fetch(&reference, &options, &progress).await;
                    fetched.ok_or(err)
                }
            }
        };
        tokio::select! {
            image = obtain => Ok(image?),
            () = self.output.cancelled() => Err(Failure::new("build cancelled")),
        }
    }

    /// A layer that `work` writes into the stage's file system.
    pub(super) async fn layer(
        &self,
        work: impl FnOnce(PathBuf) -> Result<(), Failure> + Send + 'static,
    ) -> Result<NewLayer, Failure> {
        let rw = self.writable(self.stage.image.as_ref()).await?;
        match written(&rw, work).await {
            Ok(()) => Ok(self.engine.0.images.layer_from_rw(rw, LayerSource::Consume).await?),
            Err(failure) => {
                discard(rw).await;
                Err(failure)
            }
        }
    }

    /// A writable layer of our own. What a crash leaves of it goes when the engine opens: no container has
    /// its name.
    pub(super) async fn writable(&self, image: Option<&ImageId>) -> Result<RwLayer, Failure> {
        let (images, name) = (&self.engine.0.images, random_hex());
        Ok(match image {
            Some(image) => images.create_rw(&name, image).await?,
            None => images.create_rw_from_scratch(&name).await?,
        })
    }

    async fn directory(&self, path: String) -> Result<NewLayer, Failure> {
        self.layer(move |root| {
            let failed = |err: std::io::Error| {
                Failure::new(format!("failed to create working directory {path}: {err}"))
            };
            let place = scope::follow(&root, Path::new(&path)).map_err(failed)?;
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(place).map_err(failed)
        })
        .await
    }
}

async fn written(
    rw: &RwLayer,
    work: impl FnOnce(PathBuf) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let root = rw.mount().await?;
    blocking(move || work(root)).await
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|err| Err(Failure::new(err.to_string())))
}

/// Takes a writable layer away. What stays is swept when the engine opens.
pub(super) async fn discard(rw: RwLayer) {
    if let Err(err) = rw.remove().await {
        tracing::warn!(error = %errdefs::chain(&err), "failed to remove a build's layer");
    }
}

/// A number or a name that the kernel's signals have, real-time ones included.
fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    name.starts_with("RTMIN")
        || name.starts_with("RTMAX")
        || format!("SIG{name}").parse::<nix::sys::signal::Signal>().is_ok()
}
