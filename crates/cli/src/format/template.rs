//! The part of Go's `text/template` that `--format` uses, over JSON values.
//!
//! Actions: fields and chains, `index`, pipelines, parentheses, variables, `if`/`else if`, `range`
//! (with index and element), `with`, comments, `{{-` trimming. A missing field is an error, as in docker.

mod eval;
mod functions;
mod lexer;
mod parser;

use serde_json::Value;

pub(crate) use functions::go_json;
use parser::Node;

/// Why a template cannot be read or applied; the text is Go's where docker users know it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TemplateError {
    #[error("template: :1: {0}")]
    Syntax(String),
    #[error("template: :1: executing \"\" at <{at}>: {reason}")]
    Execution { at: String, reason: String },
}

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    nodes: Vec<Node>,
}

impl Template {
    /// Reads `text`.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        Ok(Template { nodes: parser::parse(lexer::lex(text)?)? })
    }

    /// Applies the template to `value`.
    pub(crate) fn execute(&self, value: &Value) -> Result<String, TemplateError> {
        eval::execute(&self.nodes, value)
    }

    /// The same template with bare fields only: what a table's heading line is rendered with.
    pub(crate) fn without_functions(&self) -> Self {
        Template { nodes: parser::bare_fields(&self.nodes) }
    }
}

#[cfg(test)]
mod tests;
