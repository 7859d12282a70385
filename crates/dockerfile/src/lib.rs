//! Dockerfiles as data: what is written, what it means, what the ignore file leaves out. No file is read
//! here and nothing is built.
//!
//! ```text
//!   text ──lines──► logical lines ──parse──► instructions ──stages──► Dockerfile
//!                                                 │
//!   environment + build arguments ──expand────────┴──config──► image configuration
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | `lines` | directives, comments, continuations, heredocs |
//! | `split` | the quoting rules of flags and of `name=value` lists |
//! | `instruction`, `parse` | every instruction, and how it is read from a line |
//! | `stages` | instructions grouped by `FROM` |
//! | `expand` | `$V`, `${V:-word}` and their relatives |
//! | `args` | which build arguments an instruction sees |
//! | `config` | what a metadata instruction changes in an image's configuration; `commit --change` |
//! | `glob`, `ignore` | Go's path patterns; `.dockerignore` |

mod args;
mod config;
mod error;
mod expand;
mod glob;
mod ignore;
mod instruction;
mod lines;
mod parse;
mod split;
mod stages;

pub use args::BuildArgs;
pub use config::{apply, change, set_env, shell};
pub use error::{ExpandError, ParseError, Syntax};
pub use expand::{expand, expand_list};
pub use glob::matches as glob_matches;
pub use ignore::{Ignore, IgnoreError};
pub use instruction::{
    Command, Copy, Form, From, Heredoc, Instruction, Kind, MountKind, Run, RunMount,
};
pub use parse::trigger;
pub use stages::{Dockerfile, Stage};
