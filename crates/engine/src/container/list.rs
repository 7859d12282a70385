//! `ps`: which containers, in which order, and the sentence on each.

use super::record::{Container, Record};
use crate::container::options::ListOptions;
use crate::{Engine, Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use types::Timestamp;
use types::container::{
    Config, Health, Status, Summary, SummaryHostConfig, SummaryNetworkSettings,
};
use types::port::{PortMap, PortSummary, parse_port};

const FILTERS: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "isolation",
    "is-task",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
const STATUSES: &[&str] =
    &["created", "restarting", "running", "removing", "paused", "exited", "dead"];

impl Engine {
    /// `GET /containers/json`, newest first.
    pub async fn container_list(&self, options: ListOptions) -> Result<Vec<Summary>> {
        let filters = &options.filters;
        filters.validate(FILTERS)?;
        if let Some(wrong) = filters.get("status").find(|status| !STATUSES.contains(status)) {
            return Err(Error::invalid(format!("invalid filter 'status={wrong}'")));
        }
        let healths = ["none", "starting", "healthy", "unhealthy"];
        if let Some(wrong) = filters.get("health").find(|health| !healths.contains(health)) {
            return Err(Error::invalid(format!("Unrecognised filter value for health: {wrong}")));
        }
        let task = filters.flag("is-task")?;
        for code in filters.get("exited") {
            code.parse::<i64>()
                .map_err(|_| Error::invalid(format!("invalid filter 'exited={code}'")))?;
        }
        let mut found: Vec<(Arc<Container>, Record)> = self
            .0
            .containers
            .all()
            .into_iter()
            .map(|container| (container.clone(), container.snapshot()))
            .collect();
        found.sort_by(|(_, a), (_, b)| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        let bounds = self.bounds(&options)?;
        let stopped_too = options.all || options.limit > 0 || filters.contains("status");
        let ancestors = self.ancestor_ids(&options);
        let now = Timestamp::from(std::time::SystemTime::now());
        let mut rows = Vec::new();
        for (container, record) in found {
            let wanted = (stopped_too || record.state.running)
                && bounds.hold(record.created)
                && ancestors.as_ref().is_none_or(|ids| ids.contains(&record.image))
                && task.is_none_or(|task| task == is_task(&record))
                && matches(&record, &options);
            if !wanted {
                continue;
            }
            let mut row = summary(&record, now);
            row.image = self.shown_image(&record);
            if options.size {
                (row.size_rw, row.size_root_fs) = self.sizes(&container).await;
            }
            rows.push(row);
            if options.limit > 0 && rows.len() == options.limit {
                break;
            }
        }
        Ok(rows)
    }

    fn bounds(&self, options: &ListOptions) -> Result<Bounds> {
        let created = |name: &str| -> Result<Vec<Timestamp>> {
            options
                .filters
                .get(name)
                .map(|id| Ok(self.0.containers.find(id)?.record().created))
                .collect()
        };
        Ok(Bounds {
            before: created("before")?.into_iter().max(),
            since: created("since")?.into_iter().min(),
        })
    }

    /// Ids of the images that the `ancestor` filter names, and of all that were built on them.
    fn ancestor_ids(&self, options: &ListOptions) -> Option<BTreeSet<String>> {
        if !options.filters.contains("ancestor") {
            return None;
        }
        let mut ids = BTreeSet::new();
        let mut open: Vec<_> =
            options.filters.get("ancestor").filter_map(|name| self.image_id_of(name)).collect();
        while let Some(id) = open.pop() {
            open.extend(self.0.images.children(&id).iter().map(|child| child.id.clone()));
            ids.insert(id.to_string());
        }
        Some(ids)
    }

    /// The tag the user gave, or the image's id when that tag now means another image.
    fn shown_image(&self, record: &Record) -> String {
        match self.image_id_of(&record.config.image) {
            Some(id) if id.as_str() != record.image => record.image.clone(),
            _ => record.config.image.clone(),
        }
    }
}

struct Bounds {
    before: Option<Timestamp>,
    since: Option<Timestamp>,
}

impl Bounds {
    fn hold(&self, created: Timestamp) -> bool {
        self.before.is_none_or(|before| created < before)
            && self.since.is_none_or(|since| created > since)
    }
}

fn matches(record: &Record, options: &ListOptions) -> bool {
    let filters = &options.filters;
    let empty = BTreeMap::new();
    let labels = record.config.labels.as_ref().unwrap_or(&empty);
    let mount = |wanted: &str| {
        record
            .mounts
            .iter()
            .any(|mount| mount.point.name == wanted || mount.point.destination == wanted)
    };
    let network = |wanted: &str| {
        record.networks.iter().any(|(name, endpoint)| {
            name == wanted
                || (!endpoint.network_id.is_empty() && endpoint.network_id.starts_with(wanted))
        })
    };
    let health = record.state.health.as_ref().map_or("none", |health| health.status.as_str());
    filters.matches("id", |wanted| record.id.as_str().starts_with(wanted))
        && filters.matches("name", |wanted| matches_name(&record.name, wanted))
        && filters.matches("status", |wanted| wanted == record.state.status.as_str())
        && filters.matches("exited", |code| {
            record.has_run && !record.state.running && code.parse() == Ok(record.state.exit_code)
        })
        && filters.matches("health", |wanted| wanted == health)
        && filters.matches("isolation", |wanted| wanted == isolation(record))
        && filters.matches_labels("label", labels)
        && filters.matches("volume", mount)
        && filters.matches("network", network)
        && filters.matches("publish", |wanted| {
            record.host_config.port_bindings.keys().any(|port| matches_port(port, wanted))
        })
        && filters.matches("expose", |wanted| {
            record.config.exposed_ports.iter().flatten().any(|(port, _)| matches_port(port, wanted))
        })
}

/// The agent marks what it makes for the cluster.
fn is_task(record: &Record) -> bool {
    let labels = record.config.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key("com.docker.swarm.task.id"))
}

fn isolation(record: &Record) -> &str {
    match record.host_config.isolation.as_str() {
        "" => "default",
        isolation => isolation,
    }
}

/// Path and arguments, those with spaces in quotes.
fn shown_command(config: &Config) -> String {
    let words = super::command_line(config);
    let quoted = words.iter().enumerate().map(|(n, word)| match word.contains(' ') && n > 0 {
        true => format!("'{word}'"),
        false => word.clone(),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Docker matches names as regular expressions, with and without the leading slash.
fn matches_name(name: &str, wanted: &str) -> bool {
    match regex_lite::Regex::new(wanted) {
        Ok(pattern) => pattern.is_match(name) || pattern.is_match(&format!("/{name}")),
        Err(_) => name == wanted,
    }
}

/// `80`, `80/tcp`, `8000-8080/tcp`.
fn matches_port(port: &str, wanted: &str) -> bool {
    let Some((number, proto)) = parse_port(port) else { return false };
    let (range, wanted_proto) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    let (Ok(low), Ok(high)) = (low.parse::<u16>(), high.parse::<u16>()) else { return false };
    proto.as_str() == wanted_proto && (low..=high).contains(&number)
}

fn summary(record: &Record, now: Timestamp) -> Summary {
    Summary {
        id: record.id.clone(),
        names: vec![format!("/{}", record.name)],
        image: record.config.image.clone(),
        image_id: record.image.clone(),
        command: shown_command(&record.config),
        created: record.created.seconds(),
        ports: port_rows(record),
        labels: record.config.labels.clone().unwrap_or_default(),
        state: record.state.status.as_str().to_owned(),
        status: status_line(record, now),
        host_config: SummaryHostConfig {
            network_mode: record.host_config.network_mode.clone(),
            annotations: record.host_config.annotations.clone(),
        },
        network_settings: SummaryNetworkSettings { networks: record.networks.clone() },
        mounts: record.shown_mounts(),
        ..Summary::default()
    }
}

fn port_rows(record: &Record) -> Vec<PortSummary> {
    if !record.state.running {
        return Vec::new();
    }
    let mut rows = Vec::new();
    let ports: &PortMap = &record.network_settings.ports;
    for (port, bindings) in ports {
        let Some((private_port, protocol)) = parse_port(port) else { continue };
        let row = PortSummary {
            private_port,
            protocol: protocol.as_str().to_owned(),
            ..PortSummary::default()
        };
        match bindings {
            None => rows.push(row),
            Some(bindings) => rows.extend(bindings.iter().map(|binding| PortSummary {
                ip: binding.host_ip.clone(),
                public_port: binding.host_port.parse().ok(),
                ..row.clone()
            })),
        }
    }
    rows
}

/// The STATUS column.
pub(crate) fn status_line(record: &Record, now: Timestamp) -> String {
    let state = &record.state;
    let ago = |at: Timestamp| human_duration(now.since(at));
    match state.status {
        Status::Running | Status::Paused => {
            let up = format!("Up {}", ago(state.started_at));
            match (state.status, health_word(state.health.as_ref())) {
                (Status::Paused, _) => format!("{up} (Paused)"),
                (_, Some(word)) => format!("{up} ({word})"),
                (_, None) => up,
            }
        }
        Status::Restarting => {
            format!("Restarting ({}) {} ago", state.exit_code, ago(state.finished_at))
        }
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Created => "Created".to_owned(),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, ago(state.finished_at)),
    }
}

fn health_word(health: Option<&Health>) -> Option<String> {
    match health?.status.as_str() {
        "" | "none" => None,
        "starting" => Some("health: starting".to_owned()),
        status => Some(status.to_owned()),
    }
}

/// docker/go-units' `HumanDuration`.
fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let hours = (duration.as_secs_f64() / 3600.0 + 0.5) as u64;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if seconds / 60 == 1 => "About a minute".to_owned(),
        () if seconds / 60 < 60 => format!("{} minutes", seconds / 60),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_docker_prints_them() {
        let shown = |seconds| human_duration(Duration::from_secs(seconds));
        assert_eq!(shown(0), "Less than a second");
        assert_eq!(shown(90), "About a minute");
        assert_eq!(shown(3600), "About an hour");
        assert_eq!(shown(3600 * 47), "47 hours");
        assert_eq!(shown(3600 * 24 * 3), "3 days");
    }

    #[test]
    fn arguments_with_spaces_are_quoted() {
        let words = ["sh", "-c", "exit 5"].map(str::to_owned).to_vec();
        let config = Config { cmd: Some(words), ..Config::default() };
        assert_eq!(shown_command(&config), "sh -c 'exit 5'");
    }

    #[test]
    fn a_name_filter_is_a_pattern_with_or_without_the_slash() {
        assert!(matches_name("web_1", "eb"));
        assert!(matches_name("web_1", "^/web"));
        assert!(matches_name("web_1", "^web_1$"));
        assert!(!matches_name("web_10", "^web_1$"));
    }
}
