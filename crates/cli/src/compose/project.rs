//! Where a project is: its files, its folder, its variables. The only module here that reads the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use compose::desired::{self, Desired};
use compose::model::{Condition, Dependency, Service};
use compose::{Keep, LoadOptions, Project, Target, dotenv, labels, load};

use super::args::ProjectFlags;
use super::observe;
use crate::client::{Client, Query};
use crate::ctx::Ctx;

/// Names looked for, the best first.
const NAMES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
const OVERRIDES: [&str; 4] = [
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// A loaded project and what it wants.
pub(super) struct Loaded {
    pub(super) project: Project,
    pub(super) desired: Desired,
}

impl Loaded {
    /// Checks that all `names` are services and says which are not.
    pub(super) fn check(&self, names: &[String]) -> Result<()> {
        let known = || self.project.services.keys().map(String::as_str);
        for name in names {
            if !self.project.services.contains_key(name) {
                let near = compose::nearest(name, known());
                let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
                bail!("no such service: {name}{hint}");
            }
        }
        Ok(())
    }
}

impl Loaded {
    /// Whether it has every service of another reading of the same project.
    fn knows(&self, other: &Loaded) -> bool {
        let known = |name: &String| {
            self.desired.services.contains_key(name) || self.desired.disabled.contains(name)
        };
        other.desired.services.keys().all(known)
    }

    /// The named services (all when none), with what they depend on unless `no_deps`; by name.
    pub(super) fn closure(&self, names: &[String], no_deps: bool) -> Vec<String> {
        let services = &self.project.services;
        if names.is_empty() {
            return services.keys().cloned().collect();
        }
        let mut chosen = std::collections::BTreeSet::new();
        let mut open = names.to_vec();
        while let Some(name) = open.pop() {
            let Some(service) = services.get(&name) else { continue };
            if chosen.insert(name) && !no_deps {
                open.extend(service.depends_on.keys().cloned());
            }
        }
        chosen.into_iter().collect()
    }
}

/// The project of the files; without them, what the labels of the containers of `-p` or `COMPOSE_PROJECT_NAME` tell.
///
/// With `-p` alone the files of the folder count only when they know every service that the project has.
pub(super) async fn known(ctx: &Ctx, flags: &ProjectFlags, services: &[String]) -> Result<Loaded> {
    let given = flags.project_name.clone().filter(|name| !name.is_empty());
    let named = given.clone().or_else(|| variable("COMPOSE_PROJECT_NAME"));
    let guessed = flags.files.is_empty() && given.is_some();
    match (options(flags), named) {
        (Err(_), Some(name)) => from_labels(ctx.client().await?, &name).await,
        (Ok(_), Some(name)) if guessed => {
            let labelled = from_labels(ctx.client().await?, &name).await?;
            match of_files(flags, services) {
                Ok(files) if files.knows(&labelled) => Ok(files),
                _ => Ok(labelled),
            }
        }
        _ => of_files(flags, services),
    }
}

/// For words that make no container: what `env_file`s say does not matter, nor that they are there.
fn of_files(flags: &ProjectFlags, services: &[String]) -> Result<Loaded> {
    project_with(flags, services, true, Keep::default())
}

async fn from_labels(client: &Client, name: &str) -> Result<Loaded> {
    let filter = serde_json::json!({"label": [format!("{}={name}", labels::PROJECT)]}).to_string();
    let query = || Query::new().with("filters", filter.clone());
    let mut desired = Desired { project: name.to_owned(), ..Desired::default() };
    let mut project = Project::default();
    name.clone_into(&mut project.name);
    for row in observe::rows(client, name, true).await? {
        let service = observe::service(&row).to_owned();
        if row["Labels"][labels::ONEOFF] == "True" && desired.services.contains_key(&service) {
            continue;
        }
        let listed = row["Labels"][labels::DEPENDS_ON].as_str().unwrap_or_default();
        let depends_on: BTreeMap<_, _> = listed.split(',').filter_map(dependency).collect();
        let image = row["Image"].as_str().unwrap_or_default().to_owned();
        project.services.insert(
            service.clone(),
            Service { depends_on: depends_on.clone(), ..Service::default() },
        );
        let wanted =
            desired::Service { name: service.clone(), image, depends_on, ..Default::default() };
        desired.services.insert(service, wanted);
    }
    for row in client.get("/networks", &query()).await?.as_array().into_iter().flatten() {
        let name = row["Name"].as_str().unwrap_or_default().to_owned();
        let request = types::network::CreateRequest { name: name.clone(), ..Default::default() };
        desired
            .networks
            .insert(name, desired::Network { external: false, hash: String::new(), request });
    }
    for row in client.get("/volumes", &query()).await?["Volumes"].as_array().into_iter().flatten() {
        let name = row["Name"].as_str().unwrap_or_default().to_owned();
        let request = types::volume::CreateRequest { name: name.clone(), ..Default::default() };
        let hash = String::new();
        desired.volumes.insert(name, desired::Volume { external: false, hash, request });
    }
    Ok(Loaded { project, desired })
}

/// `db:service_healthy:true`: on whom, how, and whether its restart is ours.
fn dependency(word: &str) -> Option<(String, Dependency)> {
    let mut parts = word.split(':');
    let on = parts.next().filter(|on| !on.is_empty())?;
    let condition = match parts.next() {
        Some("service_healthy") => Condition::Healthy,
        Some("service_completed_successfully") => Condition::CompletedSuccessfully,
        _ => Condition::Started,
    };
    let restart = parts.next() == Some("true");
    Some((on.to_owned(), Dependency { condition, restart, required: true }))
}

/// Loads the project that flags, environment and the current folder name; warnings go to standard error.
pub(super) fn project(flags: &ProjectFlags, services: &[String]) -> Result<Loaded> {
    project_with(flags, services, false, Keep::default())
}

/// As [`project`]; with `keep_env`, `env_file`s stay unread, and what `keep` names stays as it is written.
pub(super) fn project_with(
    flags: &ProjectFlags,
    services: &[String],
    keep_env: bool,
    keep: Keep,
) -> Result<Loaded> {
    let options = LoadOptions { services: services.to_vec(), keep_env, keep, ..options(flags)? };
    let loaded = load(&options, &read).map_err(|report| anyhow!("{report}"))?;
    if !loaded.warnings.is_empty() {
        eprintln!("{}", compose::render(&loaded.warnings, &loaded.sources));
    }
    let desired = compose::desired::desired(&loaded.project);
    Ok(Loaded { project: loaded.project, desired })
}

fn read(path: &Path) -> std::io::Result<String> {
    match path.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(path),
    }
}

/// The files of a stack; its name is the project's.
pub(crate) fn of_stack(
    files: &[String],
    name: Option<&str>,
    keep: Keep,
) -> Result<compose::Loaded> {
    let flags = ProjectFlags {
        files: files.to_vec(),
        project_name: name.map(str::to_owned),
        ..ProjectFlags::default()
    };
    let options = LoadOptions { keep, target: Target::Cluster, ..options(&flags)? };
    load(&options, &read).map_err(|report| anyhow!("{report}"))
}

/// Builds what the project's services build; the result of each is tagged with its image's name.
pub(crate) async fn build_all(ctx: &Ctx, project: &Project, quiet: bool) -> Result<()> {
    let desired = compose::desired::desired(project);
    let loaded = Loaded { project: project.clone(), desired };
    let args = super::args::Build { quiet, ..Default::default() };
    for name in super::build::in_order(&loaded, loaded.closure(&[], false)) {
        super::build::build_one(ctx, &loaded, &name, &args).await?;
    }
    Ok(())
}

/// The project's name where no file is needed: `-p`, else the file's.
pub(super) fn name(flags: &ProjectFlags) -> Result<String> {
    let given = flags.project_name.clone().or_else(|| variable("COMPOSE_PROJECT_NAME"));
    match given.filter(|name| !name.is_empty()) {
        Some(name) => Ok(name),
        None => Ok(project(flags, &[])?.project.name),
    }
}

pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn options(flags: &ProjectFlags) -> Result<LoadOptions> {
    let cwd = std::env::current_dir().context("failed to read the current folder")?;
    let shell: BTreeMap<String, String> = std::env::vars().collect();
    let early = flags.project_directory.as_ref().map_or_else(|| cwd.clone(), |dir| cwd.join(dir));
    // what stands where one is counts first; with a file named, where that file is
    let named =
        flags.files.iter().find(|name| *name != "-").filter(|_| flags.project_directory.is_none());
    let named = named.and_then(|name| cwd.join(name).parent().map(Path::to_owned));
    let before = variables(flags, &shell, &named.unwrap_or_else(|| early.clone()))?;
    let files = files(flags, &before, &cwd, &early)?;
    let first =
        files.first().and_then(|file| file.parent()).filter(|dir| !dir.as_os_str().is_empty());
    let project_dir = match &flags.project_directory {
        Some(dir) => cwd.join(dir),
        None => first.map_or_else(|| cwd.clone(), Path::to_owned),
    };
    let project_dir = std::fs::canonicalize(&project_dir)
        .with_context(|| format!("cannot open {}", project_dir.display()))?;
    let env = variables(flags, &before, &project_dir)?;
    let mut profiles = flags.profiles.clone();
    let listed = env.get("COMPOSE_PROFILES").map(String::as_str).unwrap_or_default();
    profiles.extend(listed.split(',').filter(|name| !name.is_empty()).map(str::to_owned));
    Ok(LoadOptions {
        files,
        project_dir,
        project_name: flags.project_name.clone(),
        env,
        profiles,
        all_resources: flags.all_resources,
        compatible: flags.compatibility,
        ..LoadOptions::default()
    })
}

/// The shell's variables over those of `--env-file`, else of the folder's `.env`.
fn variables(
    flags: &ProjectFlags,
    shell: &BTreeMap<String, String>,
    dir: &Path,
) -> Result<BTreeMap<String, String>> {
    let mut env = BTreeMap::new();
    let listed = shell.get("COMPOSE_ENV_FILES").filter(|list| !list.is_empty());
    let off = shell
        .get("COMPOSE_DISABLE_ENV_FILE")
        .is_some_and(|word| matches!(word.as_str(), "1" | "true"));
    let (named, files) = match (&flags.env_files, listed) {
        (given, _) if !given.is_empty() => (true, given.clone()),
        (_, Some(list)) => (true, list.split(',').map(PathBuf::from).collect()),
        _ if off => (false, Vec::new()),
        _ => (false, vec![dir.join(".env")]),
    };
    for path in files {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(err) if !named && err.kind() == std::io::ErrorKind::NotFound => continue,
            Err(_) if !named && path.is_dir() => continue,
            Err(err) => {
                return Err(err)
                    .with_context(|| format!("couldn't find env file: {}", path.display()));
            }
        };
        let lookup = |name: &str| shell.get(name).cloned();
        let vars = dotenv::parse(&text, &lookup)
            .map_err(|err| anyhow!("failed to read {}: {err}", path.display()))?;
        env.extend(vars.into_iter().filter_map(|(key, value)| Some((key, value?))));
    }
    env.extend(shell.clone());
    Ok(env)
}

/// `-f`, else COMPOSE_FILE, else the nearest folder upwards with a default name.
fn files(
    flags: &ProjectFlags,
    env: &BTreeMap<String, String>,
    cwd: &Path,
    dir: &Path,
) -> Result<Vec<PathBuf>> {
    let separator = env.get("COMPOSE_PATH_SEPARATOR").map_or(":", String::as_str);
    let listed = env.get("COMPOSE_FILE").filter(|list| !list.is_empty());
    let named: Vec<String> = match (flags.files.is_empty(), listed) {
        (false, _) => flags.files.clone(),
        (true, Some(list)) => list.split(separator).map(str::to_owned).collect(),
        (true, None) => return search(dir),
    };
    Ok(named
        .iter()
        .map(|name| if name == "-" { PathBuf::from("-") } else { cwd.join(name) })
        .collect())
}

fn search(dir: &Path) -> Result<Vec<PathBuf>> {
    let found = dir.ancestors().find_map(|dir| {
        let name = NAMES.iter().find(|name| dir.join(name).is_file())?;
        Some((dir, dir.join(name)))
    });
    let Some((dir, file)) = found else {
        bail!(
            "no configuration file provided: not found (looked for {} in {} and above)",
            NAMES.join(", "),
            dir.display()
        );
    };
    let over = OVERRIDES.iter().map(|name| dir.join(name)).find(|path| path.is_file());
    Ok([Some(file), over].into_iter().flatten().collect())
}
