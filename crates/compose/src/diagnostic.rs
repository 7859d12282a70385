//! Errors and warnings as rustc gives them: file, line, column, the line itself, what was expected.
//!
//! Nothing here stops at the first mistake: callers push into a list and decide at the end.

use crate::source::{Sources, Span};
use std::fmt::{self, Write as _};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing may be created.
    Error,
    /// Said and carried on.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub level: Level,
    /// `services.web.ports[0]`, empty for a whole file.
    pub path: String,
    pub message: String,
    pub span: Span,
    /// Stands under the marked text: what was expected there.
    pub label: String,
    /// A way out, such as the nearest name.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at `span`.
    pub fn error(path: impl Into<String>, message: impl Into<String>, span: Span) -> Self {
        Diagnostic {
            level: Level::Error,
            path: path.into(),
            message: message.into(),
            span,
            label: String::new(),
            help: None,
        }
    }

    /// A warning at `span`.
    pub fn warning(path: impl Into<String>, message: impl Into<String>, span: Span) -> Self {
        Diagnostic { level: Level::Warning, ..Self::error(path, message, span) }
    }

    /// What was expected at the marked place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// A way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// `error: services.web: …` with the line from `sources`.
    pub fn render(&self, sources: &Sources) -> String {
        let mut out = String::new();
        let level = match self.level {
            Level::Error => "error",
            Level::Warning => "warning",
        };
        let subject = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        let _ = write!(out, "{level}: {subject}{}", self.message);
        let width = if self.span.is_real() { self.span.line.to_string().len() } else { 1 };
        self.render_place(sources, width, &mut out);
        if let Some(help) = &self.help {
            let _ = write!(out, "\n{:width$} = help: {help}", "");
        }
        out
    }

    fn render_place(&self, sources: &Sources, width: usize, out: &mut String) {
        let Some(source) = sources.get(self.span.file).filter(|_| self.span.is_real()) else {
            return;
        };
        let (line, column) = (self.span.line, self.span.column);
        let _ = write!(out, "\n{:width$}--> {}:{line}:{column}", "", source.path.display());
        let Some(text) = sources.line(self.span) else { return };
        let shown: String =
            text.chars().take(160).map(|c| if c == '\t' { ' ' } else { c }).collect();
        let gap = " ".repeat((column as usize).saturating_sub(1).min(160));
        let marks = "^".repeat((self.span.len.max(1) as usize).min(80));
        let label = if self.label.is_empty() { String::new() } else { format!(" {}", self.label) };
        let _ =
            write!(out, "\n{:width$} |\n{line} | {shown}\n{:width$} | {gap}{marks}{label}", "", "");
    }
}

/// Why a project could not be loaded: every error and warning, with the files they speak of.
#[derive(Debug, Clone)]
pub struct Report {
    pub diagnostics: Vec<Diagnostic>,
    pub sources: Sources,
}

impl Report {
    /// Number of errors, without warnings.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|d| d.level == Level::Error).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(&self.diagnostics, &self.sources))
    }
}

/// Findings under each other with a line between; of very many, the first ones and how many are left out.
pub fn render(diagnostics: &[Diagnostic], sources: &Sources) -> String {
    let (shown, rest) = diagnostics.split_at(diagnostics.len().min(SHOWN));
    let mut parts: Vec<String> =
        shown.iter().map(|diagnostic| diagnostic.render(sources)).collect();
    let errors = rest.iter().filter(|d| d.level == Level::Error).count();
    for (count, what) in [(errors, "error"), (rest.len() - errors, "warning")] {
        if count > 0 {
            parts.push(format!("{what}: {count} more {what}s are not shown"));
        }
    }
    parts.join("\n\n")
}

impl std::error::Error for Report {}

/// More findings than a person reads; a file of nothing but mistakes has hundreds of thousands.
const SHOWN: usize = 200;
/// Comparisons of names in all findings of one load together.
const COMPARISONS: usize = 100_000;

/// As [`nearest`] for the finding after `findings` others: nothing for those that are not shown, nor where very many
/// names stand against very many findings.
pub(crate) fn suggestion<'a>(
    findings: usize,
    word: &str,
    candidates: impl ExactSizeIterator<Item = &'a str>,
) -> Option<&'a str> {
    let affordable =
        findings < SHOWN && candidates.len().saturating_mul(findings + 1) <= COMPARISONS;
    if affordable { nearest(word, candidates) } else { None }
}

/// The candidate that `word` was probably meant to be: at most a third of its letters differ.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) between two words; `-` and `_` are the same.
fn distance(a: &str, b: &str) -> usize {
    let fold = |s: &str| -> Vec<char> {
        s.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
    };
    let (a, b) = (fold(a), fold(b));
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best =
                (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}
