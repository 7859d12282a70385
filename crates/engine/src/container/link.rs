//! Links of the time before networks (`--link other:alias` on the default bridge): lines in `/etc/hosts` and
//! variables that tell where the other is.
//!
//! They are kept in `HostConfig.Links` as `<id>:<alias>` and shown as `/other:/own/alias`. The variables
//! tell what was true at the start; the lines follow the other when it starts again. On networks that users made, a link is
//! an alias in the resolver instead (see `networks`).

use super::merge::env_name;
use super::record::{Container, Record};
use crate::{Engine, Error, Result};
use std::collections::BTreeSet;
use std::sync::Arc;
use types::ContainerId;
use types::container::HostConfig;
use types::port::parse_port;

/// What links give to a container that starts.
#[derive(Debug, Default)]
pub(crate) struct Linked {
    /// `NAMES:ADDRESS`, several names with spaces between.
    pub(crate) hosts: Vec<String>,
    pub(crate) env: Vec<String>,
}

impl Engine {
    /// Turns the names into what is kept.
    pub(crate) fn check_links(&self, host: &mut HostConfig) -> Result<()> {
        if host.network_mode != "bridge" {
            return Ok(());
        }
        let resolve = |text: &mut String| {
            let (target, alias) = parse_link(text)?;
            let other = self.0.containers.find(target).map_err(|err| {
                Error::invalid(errdefs::chain(&err))
                    .context(format!("could not get container for {target}"))
            })?;
            if other.record().host_config.network_mode == "host" {
                return Err(Error::invalid(
                    "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
                ));
            }
            *text = format!("{}:{alias}", other.id);
            Ok(())
        };
        host.links.iter_mut().flatten().try_for_each(resolve)
    }

    /// The links of a container on the default bridge whose other end is there still.
    fn links_of<'a>(&self, host: &'a HostConfig) -> Vec<(Arc<Container>, &'a str)> {
        if host.network_mode != "bridge" {
            return Vec::new();
        }
        let links = host.links.iter().flatten().filter_map(|link| parse_link(link).ok());
        let found = |(id, alias)| Some((self.0.containers.get(&ContainerId::new(id))?, alias));
        links.filter_map(found).collect()
    }

    /// As `inspect` shows them.
    pub(crate) fn shown_links(&self, record: &Record) -> Option<Vec<String>> {
        if record.host_config.network_mode != "bridge" {
            return record.host_config.links.clone();
        }
        let links = self.links_of(&record.host_config);
        let shown = links
            .iter()
            .map(|(other, alias)| format!("/{}:/{}/{alias}", other.name(), record.name));
        Some(shown.collect()).filter(|links: &Vec<String>| !links.is_empty())
    }

    /// What a container that starts now is told. All that it is linked to must run.
    pub(crate) fn linked(&self, record: &Record) -> Result<Linked> {
        let mut linked = Linked::default();
        for (other, alias) in self.links_of(&record.host_config) {
            let other = other.snapshot();
            if !other.state.running {
                return Err(Error::system(format!(
                    "Cannot link to a non running container: /{} AS /{}/{alias}",
                    other.name, record.name
                )));
            }
            let Some(place) = other.networks.get("bridge") else {
                return Err(Error::system(format!(
                    "container {} not attached to default bridge network",
                    other.id
                )));
            };
            let mut names = vec![alias, other.config.hostname.as_str()];
            names.extend((alias != other.name).then_some(other.name.as_str()));
            linked.hosts.push(format!("{}:{}", names.join(" "), place.ip_address));
            linked.env.extend(variables(&record.name, alias, &place.ip_address, &other));
        }
        Ok(linked)
    }

    /// Running containers that are linked to one that starts learn where it is now.
    pub(crate) fn tell_linked(&self, started: &Container) {
        let record = started.record();
        let Some(place) = record.networks.get("bridge") else { return };
        for parent in self.0.containers.all() {
            let of_parent = parent.record();
            if !of_parent.state.running {
                continue;
            }
            let links = self.links_of(&of_parent.host_config);
            for (_, alias) in links.iter().filter(|(other, _)| other.id == started.id) {
                if let Err(err) = parent.move_host(alias, &place.ip_address) {
                    tracing::warn!(container = parent.id.short(), error = %err, "failed to follow a link");
                }
            }
        }
    }

    /// `DELETE /containers/{id}/{alias}?link=1`.
    pub async fn container_unlink(&self, id: &str, alias: &str) -> Result<()> {
        let container = self.0.containers.find(id).map_err(|err| {
            err.context(format!("Cannot get parent {id} for link name {id}/{alias}"))
        })?;
        let _one_at_a_time = container.op.lock().await;
        container.update(|record| {
            if let Some(links) = &mut record.host_config.links {
                links.retain(|link| parse_link(link).is_ok_and(|(_, known)| known != alias));
            }
        })
    }
}

/// `other:alias`, or `other` alone; also as `inspect` shows it, `/other:/own/alias`.
pub(crate) fn parse_link(text: &str) -> Result<(&str, &str)> {
    let (target, alias) = text.split_once(':').unwrap_or((text, text));
    let alias = alias.rsplit('/').next().unwrap_or(alias);
    match (target, alias) {
        ("", _) | (_, "") => Err(Error::invalid(format!("bad format for links: {text}"))),
        (_, alias) if alias.contains(':') => {
            Err(Error::invalid(format!("bad format for links: {text}")))
        }
        both => Ok(both),
    }
}

/// Adds what links say; what the user says counts more.
pub(crate) fn add_link_variables(env: &mut Vec<String>, links: &[String]) {
    let known: BTreeSet<String> = env.iter().map(|entry| env_name(entry).to_owned()).collect();
    env.extend(links.iter().filter(|entry| !known.contains(env_name(entry))).cloned());
}

fn variables(own: &str, alias: &str, address: &str, other: &Record) -> Vec<String> {
    let prefix = alias.to_ascii_uppercase().replace('-', "_");
    let mut variables = vec![format!("{prefix}_NAME=/{own}/{alias}")];
    let mut ports: Vec<(u16, &str)> = other
        .config
        .exposed_ports
        .iter()
        .flat_map(|ports| ports.keys())
        .filter_map(|key| parse_port(key).map(|(port, protocol)| (port, protocol.as_str())))
        .collect();
    ports.sort_unstable();
    if let Some((port, protocol)) = ports.first() {
        variables.push(format!("{prefix}_PORT={protocol}://{address}:{port}"));
    }
    for (port, protocol) in ports {
        let of_port = format!("{prefix}_PORT_{port}_{}", protocol.to_ascii_uppercase());
        variables.extend([
            format!("{of_port}={protocol}://{address}:{port}"),
            format!("{of_port}_ADDR={address}"),
            format!("{of_port}_PORT={port}"),
            format!("{of_port}_PROTO={protocol}"),
        ]);
    }
    let env = other.config.env.iter().flatten();
    let told = env.filter(|entry| !matches!(env_name(entry), "HOME" | "PATH"));
    variables.extend(told.map(|entry| format!("{prefix}_ENV_{entry}")));
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_in_all_its_spellings() {
        assert_eq!(parse_link("db:alias").unwrap(), ("db", "alias"));
        assert_eq!(parse_link("db").unwrap(), ("db", "db"));
        assert_eq!(parse_link("/db:/web/alias").unwrap(), ("/db", "alias"));
        for bad in ["", "db:", ":alias", "a:b:c"] {
            parse_link(bad).unwrap_err();
        }
    }

    #[test]
    fn the_variables_tell_name_ports_and_the_others_environment() {
        let mut other = Record::default();
        other.config.env = Some(vec!["FOO=1".to_owned(), "PATH=/bin".to_owned()]);
        other.config.exposed_ports =
            Some([("80/tcp".to_owned(), Default::default())].into_iter().collect());
        let told = variables("web", "my-db", "172.17.0.2", &other);
        assert_eq!(
            told,
            [
                "MY_DB_NAME=/web/my-db",
                "MY_DB_PORT=tcp://172.17.0.2:80",
                "MY_DB_PORT_80_TCP=tcp://172.17.0.2:80",
                "MY_DB_PORT_80_TCP_ADDR=172.17.0.2",
                "MY_DB_PORT_80_TCP_PORT=80",
                "MY_DB_PORT_80_TCP_PROTO=tcp",
                "MY_DB_ENV_FOO=1",
            ]
        );
    }

    #[test]
    fn the_users_variables_count_more_than_a_links() {
        let mut env = vec!["A_NAME=mine".to_owned()];
        add_link_variables(&mut env, &["A_NAME=/x/a".to_owned(), "A_ENV_B=1".to_owned()]);
        assert_eq!(env, ["A_NAME=mine", "A_ENV_B=1"]);
    }
}
