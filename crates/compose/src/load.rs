//! Files to one project: parse, interpolate, check, extend, include, merge, then finish as a whole.
//!
//! Reads files only through the caller's function. Every error of every file is collected;
//! whole-project checks run only over what was free of errors.

mod extends;
mod include;

use crate::arrange::arrange;
use crate::canon::Canon;
use crate::check;
use crate::diagnostic::{Diagnostic, Level, Report, suggestion};
use crate::interpolate::{expand, interpolate};
use crate::merge::{merge, settle};
use crate::model::Project;
use crate::node::{Map, Node, Value};
use crate::schema::{Shape, TOP};
use crate::source::{Sources, Span};
use crate::yaml::MOST_VALUES;
use crate::{normalise, nulls, validate, yaml};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

pub(crate) const TOP_SHAPE: &Shape = &Shape::Object(&TOP);
/// Files of one project, included and extended ones counted as often as they are read.
const MOST_FILES: usize = 1000;

/// Reads a file for the loader: the crate itself opens nothing.
pub type Read<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// What to load, and with which surroundings.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Absolute paths, the later over the earlier.
    pub files: Vec<PathBuf>,
    /// Absolute; relative paths in `files` start here.
    pub project_dir: PathBuf,
    /// `-p`; wins over `name:` and the folder's name.
    pub project_name: Option<String>,
    /// The caller's environment, already over the `.env` file.
    pub env: BTreeMap<String, String>,
    /// Active profiles; `*` is all.
    pub profiles: Vec<String>,
    /// Services named by the user: active whatever their profile.
    pub services: Vec<String>,
    /// Leave `env_file` and bare variables as they are (`config --no-env-resolution`).
    pub keep_env: bool,
    /// Keep networks, volumes, secrets and configs that no service uses.
    pub all_resources: bool,
    /// Names with `_`, as docker-compose 1.x gives them.
    pub compatible: bool,
    /// What to leave as it is written.
    pub keep: Keep,
    pub target: Target,
}

/// What the project is for: keys that act elsewhere only are warned of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Target {
    #[default]
    Node,
    /// A stack of a cluster. Its name may have capitals.
    Cluster,
}

/// What a load leaves as it is written: for looking at files, not for running them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// `$VARIABLES`; the project is then a tree without typed values.
    pub variables: bool,
    /// Relative paths.
    pub paths: bool,
    /// Names, defaults and implied dependencies are not added.
    pub form: bool,
    /// What the whole project contradicts is not reported.
    pub contradictions: bool,
}

/// A project and what was said about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub project: Project,
    pub warnings: Vec<Diagnostic>,
    pub sources: Sources,
}

/// Loads a project.
///
/// # Errors
/// Every mistake found in the files, with the warnings among them.
pub fn load(options: &LoadOptions, read: Read<'_>) -> Result<Loaded, Report> {
    let mut loader = Loader {
        read,
        sources: Sources::default(),
        diagnostics: Vec::new(),
        keep: options.keep,
        target: options.target,
        files_left: MOST_FILES + 1,
        values_left: MOST_VALUES,
        included: BTreeMap::new(),
    };
    let project = loader.project(options);
    let failed = loader.diagnostics.iter().any(|d| d.level == Level::Error);
    match project {
        Some(project) if !failed => {
            Ok(Loaded { project, warnings: loader.diagnostics, sources: loader.sources })
        }
        _ => Err(Report { diagnostics: loader.diagnostics, sources: loader.sources }),
    }
}

/// The surroundings of one model: the project's own, or an included one's.
pub(crate) struct Scope {
    pub(crate) dir: PathBuf,
    pub(crate) env: BTreeMap<String, String>,
}

impl Scope {
    fn lookup(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }
}

pub(crate) struct Loader<'a> {
    read: Read<'a>,
    pub(crate) sources: Sources,
    pub(crate) diagnostics: Vec<Diagnostic>,
    keep: Keep,
    target: Target,
    /// How many more files may be read.
    pub(crate) files_left: usize,
    /// How many more values services may come to by `extends`.
    values_left: usize,
    /// Variables of included models that their secrets and configs are read from.
    pub(crate) included: BTreeMap<String, String>,
}

impl Loader<'_> {
    fn project(&mut self, options: &LoadOptions) -> Option<Project> {
        let mut parsed = Vec::new();
        for file in &options.files {
            let documents = self.parse(file, Span::NONE)?;
            parsed.push((file.clone(), documents));
        }
        if let Some((path, _)) = parsed.first()
            && parsed.iter().all(|(_, documents)| documents.is_empty())
        {
            let message = format!("{}: empty compose file", path.display());
            self.diagnostics.push(Diagnostic::error("", message, Span::NONE));
            return None;
        }
        let name = self.name(options, &parsed)?;
        let mut env = options.env.clone();
        env.insert("COMPOSE_PROJECT_NAME".to_owned(), name.clone());
        let scope = Scope { dir: options.project_dir.clone(), env };
        let mut tree = self.model(&scope, parsed, &mut options.files.clone());
        self.finish(&mut tree, &name, &scope, options)
    }

    fn finish(
        &mut self,
        tree: &mut Node,
        name: &str,
        scope: &Scope,
        options: &LoadOptions,
    ) -> Option<Project> {
        let failed = |loader: &Self| loader.diagnostics.iter().any(|d| d.level == Level::Error);
        let Keep { variables, form, contradictions, .. } = self.keep;
        let checked = !contradictions && !variables;
        if !form {
            normalise::dependencies(tree);
        }
        let profiles = normalise::all_profiles(tree);
        let disabled = normalise::profiles(tree, &options.profiles, &options.services);
        if checked {
            validate::services(tree, self.target, &mut self.diagnostics);
            validate::references(tree, &disabled, &mut self.diagnostics);
        }
        if !options.keep_env && !variables {
            normalise::environment(self, tree, scope, &options.services);
        }
        normalise::names(tree, name, form);
        if !options.all_resources && !form {
            normalise::prune(tree);
        }
        arrange(tree, TOP_SHAPE);
        if checked {
            validate::cycles(tree, &mut self.diagnostics);
        }
        if failed(self) {
            return None;
        }
        let files = options.files.clone();
        if variables {
            return Some(Project::untyped(name, tree.clone(), scope.env.clone()));
        }
        match Project::decode(tree.clone(), options.project_dir.clone(), files, disabled) {
            Ok(mut project) => {
                project.environment = scope.env.clone();
                for (name, value) in std::mem::take(&mut self.included) {
                    project.environment.entry(name).or_insert(value);
                }
                project.profiles = profiles;
                project.compatible = options.compatible;
                Some(project)
            }
            Err(error) => {
                let message = format!("the canonical form does not fit the model: {error}");
                self.diagnostics.push(Diagnostic::error("", message, Span::NONE));
                None
            }
        }
    }

    /// Text of a file, or an error at `from` (the place that names it).
    pub(crate) fn read(&mut self, path: &Path, from: Span) -> Option<String> {
        match (self.read)(path) {
            Ok(text) => Some(text),
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                self.diagnostics.push(Diagnostic::error("", message, from));
                None
            }
        }
    }

    /// Like [`Loader::read`], with Compose's sentence for an env file that is not there.
    pub(crate) fn read_env(&mut self, path: &Path, from: Span) -> Option<String> {
        match (self.read)(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let message = format!("env file {} not found: {error}", path.display());
                self.diagnostics.push(Diagnostic::error("", message, from));
                None
            }
            Ok(text) => Some(text),
            Err(_) => self.read(path, from),
        }
    }

    /// Like [`Loader::read`], but a file that is not there is nothing.
    pub(crate) fn read_if_exists(&mut self, path: &Path, from: Span) -> Option<String> {
        match (self.read)(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Ok(text) => Some(text),
            Err(_) => self.read(path, from),
        }
    }

    /// The documents of a file; nothing when they cannot be used.
    fn parse(&mut self, path: &Path, from: Span) -> Option<Vec<Node>> {
        match self.files_left {
            0 => return None,
            1 => {
                let message = format!("the project is made of more than {MOST_FILES} files");
                self.diagnostics.push(Diagnostic::error("", message, from));
            }
            _ => {}
        }
        self.files_left -= 1;
        let text = self.read(path, from)?;
        let file = self.sources.add(path, text);
        let text = &self.sources.get(file)?.text;
        let (documents, diagnostics) = yaml::parse(file, text);
        let failed = !diagnostics.is_empty();
        self.diagnostics.extend(diagnostics);
        let mut maps = Vec::new();
        for document in documents {
            match document.value {
                Value::Map(_) => maps.push(document),
                Value::Null => {}
                _ => {
                    let message = format!("a Compose file is a mapping, not {}", document.kind());
                    let diagnostic = Diagnostic::error("", message, document.span)
                        .label("expected keys such as `services:`");
                    self.diagnostics.push(diagnostic);
                    return None;
                }
            }
        }
        (!failed).then_some(maps)
    }

    fn name(&mut self, options: &LoadOptions, parsed: &[(PathBuf, Vec<Node>)]) -> Option<String> {
        let given = options
            .project_name
            .clone()
            .or_else(|| options.env.get("COMPOSE_PROJECT_NAME").cloned())
            .filter(|name| !name.is_empty());
        let lookup = |name: &str| options.env.get(name).cloned();
        let mut written =
            parsed.iter().flat_map(|(_, documents)| documents).filter_map(|document| {
                let node = document.get("name")?;
                let text = expand(node.as_str()?, &lookup, &mut BTreeSet::new()).ok()?;
                (!text.is_empty()).then_some((text, node.span))
            });
        let (name, span) = match (given, written.next_back()) {
            (Some(name), _) => (name, Span::NONE),
            (None, Some((text, span))) => (check::normalise_project_name(&text), span),
            (None, None) => {
                let folder = options.project_dir.file_name().unwrap_or_default().to_string_lossy();
                (check::normalise_project_name(&folder), Span::NONE)
            }
        };
        if check::project_name(&name)
            || (self.target == Target::Cluster && check::stack_name(&name))
        {
            return Some(name);
        }
        let message = if name.is_empty() {
            "project name must not be empty".to_owned()
        } else {
            format!(
                "invalid project name {name:?}: must consist only of lowercase alphanumeric characters, hyphens, and underscores as well as start with a letter or number"
            )
        };
        self.diagnostics
            .push(Diagnostic::error("", message, span).help("give one with -p or `name:`"));
        None
    }

    /// Files merged to one canonical tree; `open` are the files being loaded, against cycles.
    pub(crate) fn model(
        &mut self,
        scope: &Scope,
        files: Vec<(PathBuf, Vec<Node>)>,
        open: &mut Vec<PathBuf>,
    ) -> Node {
        let mut tree = Node::new(Value::Map(Map::new()), Span::NONE);
        for (path, documents) in files {
            for document in documents {
                let mut layer = self.layer(document, &scope.dir, scope);
                let includes = layer.as_map_mut().and_then(|map| map.shift_remove("include"));
                if let Some(includes) = includes {
                    include::apply(self, &mut layer, &includes, scope, open);
                }
                extends::resolve_all(self, &mut layer, &tree, &path, scope);
                tree = merge(tree, layer, TOP_SHAPE);
            }
        }
        settle(&mut tree, TOP_SHAPE);
        nulls::report(&mut tree, TOP_SHAPE, &mut self.diagnostics);
        if !self.keep.variables {
            normalise::bare_names(&mut tree, scope);
        }
        if !self.keep.form {
            normalise::builds(&mut tree, scope);
            normalise::init_images(&mut tree);
        }
        tree
    }

    /// One document made canonical.
    fn layer(&mut self, mut document: Node, dir: &Path, scope: &Scope) -> Node {
        if !self.keep.variables {
            interpolate(&mut document, &|name| scope.lookup(name), &mut self.diagnostics);
        }
        let home = scope.env.get("HOME").map(String::as_str);
        let mut canon = Canon::new(dir, home, self.keep, self.target);
        let layer = canon.node(document, TOP_SHAPE);
        self.diagnostics.extend(canon.diagnostics);
        layer.unwrap_or_else(|| Node::new(Value::Map(Map::new()), Span::NONE))
    }

    /// `did you mean …` for a name that is not among `known`.
    pub(crate) fn unknown<'n>(
        &mut self,
        path: String,
        message: String,
        place: Span,
        (name, known): (&str, impl ExactSizeIterator<Item = &'n str>),
    ) {
        let mut diagnostic = Diagnostic::error(path, message, place).label("not found");
        if let Some(near) = suggestion(self.diagnostics.len(), name, known) {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
        }
        self.diagnostics.push(diagnostic);
    }
}
