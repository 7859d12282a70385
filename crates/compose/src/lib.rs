//! Compose files to plans, without touching anything: parse → interpolate → extend, include and merge →
//! profiles → check → normalise → [`Project`]; then [`desired`] objects and a [`plan()`] against what is there, or a
//! [`stack`](stack::stack) of the cluster.
//!
//! Refuses IO, clocks and the environment: files are read through the caller's function, variables are given.
//! All errors of all files come at once, with file, line and column (see [`Report`]).

mod arrange;
mod canon;
mod check;
pub mod desired;
mod diagnostic;
pub mod dotenv;
mod emit;
mod graph;
mod interpolate;
mod json;
pub mod labels;
mod load;
mod merge;
pub mod model;
mod node;
mod normalise;
mod nulls;
mod paths;
pub mod plan;
mod policy;
mod schema;
mod short;
mod source;
pub mod stack;
mod units;
mod validate;
mod words;
mod yaml;

pub use check::{normalise_project_name, project_name, pull_age};
pub use diagnostic::{Diagnostic, Level, Report, nearest, render};
pub use emit::{templates, yaml};
pub use interpolate::{Lookup, Variable, variables};
pub use json::json;
pub use load::{Keep, LoadOptions, Loaded, Read, Target, load};
pub use model::Project;
pub use node::{Map, Node, Value};
pub use paths::is_remote;
pub use plan::plan;
pub use policy::policies;
pub use source::{FileId, Source, Sources, Span};
