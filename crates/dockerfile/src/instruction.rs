//! Every instruction of a Dockerfile, as data.

use types::container::HealthConfig;

/// One instruction as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Of its first line, from 1; 0 for an `ONBUILD` trigger of a base image.
    pub line: usize,
    /// Its text with continuations joined: what `Step 1/8 : ` shows.
    pub source: String,
    pub kind: Kind,
}

/// What it asks for. Words are unexpanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Add(Copy),
    /// Names and their defaults.
    Arg(Vec<(String, Option<String>)>),
    Cmd(Command),
    Copy(Copy),
    Entrypoint(Command),
    Env(Vec<(String, String)>),
    Expose(Vec<String>),
    /// `test` is empty only for inheriting.
    Healthcheck(HealthConfig),
    Label(Vec<(String, String)>),
    Maintainer(String),
    /// The trigger's text.
    Onbuild(String),
    Run(Run),
    Shell(Vec<String>),
    StopSignal(String),
    User(String),
    Volume(Vec<String>),
    Workdir(String),
}

/// How a command line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `["a", "b"]`: run as it is.
    Exec,
    /// Text for the image's shell.
    Shell,
}

/// The command line of `RUN`, `CMD`, `ENTRYPOINT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub form: Form,
    /// One text in shell form; empty when nothing was given.
    pub words: Vec<String>,
}

impl Command {
    /// With the shell put before a text.
    pub fn arguments(&self, shell: &[String]) -> Vec<String> {
        match self.form {
            Form::Exec => self.words.clone(),
            Form::Shell => shell.iter().chain(&self.words).cloned().collect(),
        }
    }
}

/// `FROM [--platform=P] image [AS name]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// Unexpanded, as the platform is.
    pub image: String,
    pub platform: Option<String>,
    /// In lower case.
    pub name: Option<String>,
    pub line: usize,
    pub source: String,
}

/// `COPY` and `ADD`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copy {
    pub sources: Vec<String>,
    /// Sources that stand in the Dockerfile itself.
    pub contents: Vec<Heredoc>,
    pub destination: String,
    /// A stage's name or number, or an image.
    pub from: Option<String>,
    pub chown: Option<String>,
    pub chmod: Option<String>,
    /// Accepted and without effect: every layer of ours is made apart from those below it.
    pub link: bool,
    /// Keep the sources' parent directories.
    pub parents: bool,
    pub exclude: Vec<String>,
    /// `ADD`: the digest that a remote file must have.
    pub checksum: Option<String>,
    /// `ADD`: whether archives are unpacked; by default local ones are, remote ones not.
    pub unpack: Option<bool>,
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub command: Command,
    pub mounts: Vec<RunMount>,
    /// `default`, `none` or `host`.
    pub network: Option<String>,
    /// `insecure` or `sandbox`.
    pub security: Option<String>,
}

/// `RUN --mount=…`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunMount {
    pub kind: MountKind,
    pub from: Option<String>,
    pub source: String,
    pub target: String,
    pub read_only: bool,
    /// A cache's name; its target when unset.
    pub id: Option<String>,
    /// Bytes of a tmpfs.
    pub size: Option<i64>,
    /// Permission bits of a cache's directory.
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// A secret that must be there.
    pub required: bool,
    /// The variable that a secret's content is given in.
    pub env: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MountKind {
    #[default]
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

/// `<<NAME` with the lines up to `NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heredoc {
    pub name: String,
    /// As written; with `chomp`, leading tabs are still there.
    pub content: String,
    /// The name was not quoted: variables in the content are expanded.
    pub expand: bool,
    /// `<<-`: leading tabs are dropped.
    pub chomp: bool,
    /// How it was opened, for the shell: `<<-"NAME"`.
    pub opening: String,
}

impl Heredoc {
    /// Reads `<<NAME`, `<<-NAME`, `<<'NAME'`, with a file descriptor's number before it if any.
    pub(crate) fn opening(word: &str) -> Option<Self> {
        let after = word.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let rest = after.strip_prefix("<<")?;
        let (chomp, name) = match rest.strip_prefix('-') {
            Some(name) => (true, name),
            None => (false, rest),
        };
        let bare: String = name.chars().filter(|letter| !matches!(letter, '\'' | '"')).collect();
        if bare.is_empty() || bare.contains(['<', '>', '|', ';', '&', '(']) {
            return None;
        }
        let expand = bare == name;
        Some(Heredoc {
            name: bare,
            content: String::new(),
            expand,
            chomp,
            opening: word.to_owned(),
        })
    }

    /// The content with `<<-`'s tabs dropped.
    pub fn text(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}
