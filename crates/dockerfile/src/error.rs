//! What can be wrong with a Dockerfile, in the words of Docker's own builder.

use errdefs::{Classify, ErrorKind};

/// A Dockerfile that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Holds the file's name.
    #[error("the Dockerfile ({0}) cannot be empty")]
    Empty(String),
    #[error("failed to parse {0}: file with no instructions")]
    NoInstructions(String),
    #[error("dockerfile contains no stages to build")]
    NoStages,
    #[error("failed to reach build target {0} in Dockerfile")]
    NoTarget(String),
    /// The line is the instruction's first, counted from 1.
    #[error("dockerfile parse error on line {line}: {what}")]
    At { line: usize, what: Syntax },
    /// `commit --change` takes metadata instructions only.
    #[error("{0} is not a valid change command")]
    NotAChange(String),
    #[error(transparent)]
    Expand(#[from] ExpandError),
}

impl Classify for ParseError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidParameter
    }
}

/// What is wrong on a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Syntax {
    #[error("unknown instruction: {0}")]
    UnknownInstruction(String),
    #[error("no build stage in current context")]
    NoStage,
    #[error("{0} requires exactly one argument")]
    ExactlyOne(&'static str),
    #[error("{0} requires at least one argument")]
    AtLeastOne(&'static str),
    #[error("FROM requires either one or three arguments")]
    FromArguments,
    #[error(
        "invalid name for build stage: {0:?}, name can't start with a number or contain symbols"
    )]
    StageName(String),
    #[error("{0} must have two arguments")]
    TwoArguments(&'static str),
    #[error("Syntax error - can't find = in {0:?}. Must be of the form: name=value")]
    NoEquals(String),
    #[error("{0} names can not be blank")]
    BlankName(&'static str),
    #[error(
        "{0} requires at least two arguments, but only one was provided. Destination could not be determined"
    )]
    NoDestination(&'static str),
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    NotStrings,
    #[error("{0} requires the arguments to be in JSON form")]
    NotJson(&'static str),
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,
    #[error("unknown flag: --{0}")]
    UnknownFlag(String),
    #[error("missing a value on flag: --{0}")]
    FlagWithoutValue(String),
    #[error("expecting boolean value for flag {0}, not: {1}")]
    FlagNotBoolean(String, String),
    #[error("duplicate flag specified: {0}")]
    DuplicateFlag(String),
    #[error("HEALTHCHECK NONE takes no arguments")]
    HealthNone,
    #[error("Missing command after HEALTHCHECK CMD")]
    HealthNoCommand,
    #[error("Unknown type {0:?} in HEALTHCHECK (try CMD)")]
    HealthType(String),
    #[error("{0}")]
    Duration(DurationError),
    #[error("Interval {0:?} cannot be less than 1ms")]
    ShortInterval(String),
    #[error("strconv.ParseInt: parsing {0:?}: invalid syntax")]
    Retries(String),
    #[error("--retries cannot be negative ({0})")]
    NegativeRetries(i64),
    #[error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    OnbuildChain,
    #[error("{0} isn't allowed as an ONBUILD trigger")]
    OnbuildTrigger(String),
    #[error("invalid escape token '{0}' does not match ` or \\")]
    EscapeToken(String),
    #[error("only one {0} parser directive can be used")]
    DuplicateDirective(String),
    #[error("Invalid proto: {0}")]
    Protocol(String),
    #[error("Invalid containerPort: {0}")]
    Port(String),
    #[error("unterminated heredoc")]
    UnterminatedHeredoc,
    #[error("unsupported mount type {0:?}")]
    MountType(String),
    #[error("invalid field {0:?}: {1}")]
    MountField(String, &'static str),
    #[error("invalid network mode {0:?}")]
    NetworkMode(String),
}

/// Go's `time.ParseDuration` refusing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    #[error("time: missing unit in duration {0:?}")]
    NoUnit(String),
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit { unit: String, text: String },
}

/// A word that cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {word:?}: {why}")]
pub struct ExpandError {
    /// As it is written in the Dockerfile.
    pub word: String,
    pub why: ExpandProblem,
}

impl Classify for ExpandError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidParameter
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandProblem {
    #[error("unexpected end of statement while looking for matching {0}")]
    Unclosed(&'static str),
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    /// `${V?message}`.
    #[error("{name}: {message}")]
    Required { name: String, message: String },
}
