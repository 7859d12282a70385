//! `top`: the host's `ps`, narrowed to the container's processes.

use crate::{Engine, Error, Result};
use std::collections::BTreeSet;
use types::container::{Status, Top};

impl Engine {
    /// `GET /containers/{id}/top`. `ps_args`: `-ef` when empty.
    pub async fn container_top(&self, id: &str, ps_args: &str) -> Result<Top> {
        let container = self.0.containers.find(id)?;
        if container.status() == Status::Restarting {
            return Err(Error::conflict(format!(
                "Container {} is restarting, wait until the container is running",
                container.id
            )));
        }
        drop(container.running_shim()?);
        let args: Vec<&str> =
            if ps_args.is_empty() { vec!["-ef"] } else { ps_args.split_whitespace().collect() };
        let cgroup = runtime::cgroup::Cgroup::open(&self.cgroup_path(&container))
            .map_err(|err| Error::caused("failed to read the container's processes", err))?;
        let pids: BTreeSet<i32> = cgroup.pids().into_iter().collect();
        let output = tokio::process::Command::new("ps")
            .args(&args)
            .output()
            .await
            .map_err(|err| Error::caused("error running ps", err))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let why = text.lines().find(|line| !line.is_empty()).unwrap_or_default();
            return Err(Error::system(format!("ps: {why}")));
        }
        narrow(&String::from_utf8_lossy(&output.stdout), &pids)
    }
}

/// Keeps the head line and the rows whose PID column is wanted. The last column takes the rest of its line.
fn narrow(text: &str, pids: &BTreeSet<i32>) -> Result<Top> {
    let mut lines = text.lines();
    let titles: Vec<String> =
        lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let pid_column = titles
        .iter()
        .position(|title| title == "PID")
        .ok_or_else(|| Error::system("Couldn't find PID field in ps output"))?;
    let mut processes = Vec::new();
    for line in lines {
        let mut columns: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let wanted = columns
            .get(pid_column)
            .and_then(|pid| pid.parse().ok())
            .is_some_and(|pid| pids.contains(&pid));
        if !wanted {
            continue;
        }
        if columns.len() > titles.len() {
            let rest = columns.split_off(titles.len() - 1).join(" ");
            columns.push(rest);
        }
        processes.push(columns);
    }
    Ok(Top { titles, processes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_rows_stay_and_commands_stay_whole() {
        let text = "UID PID CMD\nroot 7 sleep 5\nroot 8 top -b\n";
        let top = narrow(text, &BTreeSet::from([7])).unwrap();
        assert_eq!(top.titles, ["UID", "PID", "CMD"]);
        assert_eq!(top.processes, [["root", "7", "sleep 5"]]);
        assert!(narrow("USER CMD\n", &BTreeSet::new()).is_err());
    }
}
