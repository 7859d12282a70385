//! `top`.

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use crate::client::{Query, segment};
use crate::ctx::Ctx;
use crate::format::table;
use crate::report::{self, Exit};

/// `sampan top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Container, then options for ps
    #[arg(value_name = "CONTAINER", trailing_var_arg = true, required = true)]
    container_and_options: Vec<String>,
}

/// Prints the process table.
pub(crate) async fn run(ctx: &Ctx, args: TopArgs) -> Result<Exit> {
    let (container, options) =
        args.container_and_options.split_first().map_or(("", &[][..]), |(c, o)| (c.as_str(), o));
    let query = Query::new().opt("ps_args", Some(&options.join(" ")));
    let path = format!("/containers/{}/top", segment(container));
    let reply = ctx.client().await?.get(&path, &query).await?;
    let line = |cells: &Value| {
        let cells = cells.as_array().into_iter().flatten();
        cells.filter_map(Value::as_str).collect::<Vec<_>>().join("\t")
    };
    let mut lines = vec![line(&reply["Titles"])];
    lines.extend(reply["Processes"].as_array().into_iter().flatten().map(line));
    report::print(&table::align_at(20, &lines))?;
    Ok(report::OK)
}
