//! A stack's files: `stack config`, and the stack that they describe.

use anyhow::{Result, anyhow};
use clap::Args;
use compose::stack::{Stack, stack};
use compose::{Keep, Project, Report, templates, yaml};

use crate::compose::project;
use crate::report::{self, Exit};

/// Which files.
#[derive(Debug, Clone, Args)]
pub(crate) struct Files {
    /// Path to a Compose file, or "-" to read from stdin
    #[arg(short = 'c', long = "compose-file", value_name = "strings", value_delimiter = ',')]
    pub(super) files: Vec<String>,
}

/// `stack config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    files: Files,
    /// Skip interpolation and output only merged config
    #[arg(long)]
    skip_interpolation: bool,
}

/// Prints the merged files.
pub(super) fn config(args: &ConfigArgs) -> Result<Exit> {
    let keep = Keep { variables: args.skip_interpolation, ..Keep::default() };
    let loaded = project::of_stack(&args.files.files, None, keep)?;
    if !loaded.warnings.is_empty() {
        eprintln!("{}", compose::render(&loaded.warnings, &loaded.sources));
    }
    let print = if args.skip_interpolation { templates } else { yaml };
    report::print(&loaded.project.tree().map(print).unwrap_or_default())?;
    Ok(report::OK)
}

/// Reads the files of a stack; what is said about them goes to standard error.
pub(super) fn read(files: &Files, name: &str) -> Result<(Project, Stack)> {
    let loaded = project::of_stack(&files.files, Some(name), Keep::default())?;
    let contents = |path: &str| std::fs::read(path);
    let (stack, said) = match stack(&loaded.project, &contents) {
        Ok(both) => both,
        Err(diagnostics) => {
            let report = Report { diagnostics, sources: loaded.sources };
            return Err(anyhow!("{report}"));
        }
    };
    let said = [loaded.warnings, said].concat();
    if !said.is_empty() {
        eprintln!("{}", compose::render(&said, &loaded.sources));
    }
    Ok((loaded.project, stack))
}
