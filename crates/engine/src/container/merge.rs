//! The container's configuration: what the user asks for over what the image says. Pure.

use types::container::{Config, HealthConfig};

/// Fills `config` with the image's settings where the user said nothing (moby's `merge`).
pub(crate) fn merge(config: &mut Config, image: &Config) {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    if let Some(ports) = &image.exposed_ports {
        config.exposed_ports.get_or_insert_default().extend(ports.clone());
    }
    merge_env(config, image);
    let mut labels = image.labels.clone().unwrap_or_default();
    labels.extend(config.labels.take().unwrap_or_default());
    config.labels = Some(labels);
    let no_command = config.cmd.as_ref().is_none_or(Vec::is_empty);
    if config.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if no_command {
            config.cmd.clone_from(&image.cmd);
            config.args_escaped = image.args_escaped;
        }
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    // `--entrypoint ""` arrives as [""] and means: none.
    if config.entrypoint.as_deref() == Some(&[String::new()]) {
        config.entrypoint = None;
    }
    if let Some(health) = &image.healthcheck {
        merge_health(config, health);
    }
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    if let Some(volumes) = &image.volumes {
        config.volumes.get_or_insert_default().extend(volumes.clone());
    }
    if config.stop_signal.is_empty() {
        config.stop_signal.clone_from(&image.stop_signal);
    }
    if config.stop_timeout.is_none() {
        config.stop_timeout = image.stop_timeout;
    }
    if config.shell.is_none() {
        config.shell.clone_from(&image.shell);
    }
}

fn merge_env(config: &mut Config, image: &Config) {
    let own = config.env.get_or_insert_default();
    let names: Vec<String> = own.iter().map(|entry| env_name(entry).to_owned()).collect();
    let inherited = image.env.iter().flatten();
    own.extend(
        inherited.filter(|entry| !names.iter().any(|name| name == env_name(entry))).cloned(),
    );
}

pub(crate) fn env_name(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

fn merge_health(config: &mut Config, image: &HealthConfig) {
    let Some(own) = &mut config.healthcheck else {
        config.healthcheck = Some(image.clone());
        return;
    };
    if own.test.is_empty() {
        own.test.clone_from(&image.test);
    }
    let fill = |own: &mut i64, image: i64| {
        if *own == 0 {
            *own = image;
        }
    };
    fill(&mut own.interval, image.interval);
    fill(&mut own.timeout, image.timeout);
    fill(&mut own.start_period, image.start_period);
    fill(&mut own.start_interval, image.start_interval);
    fill(&mut own.retries, image.retries);
}

/// The command line: entrypoint then command.
pub(crate) fn command_line(config: &Config) -> Vec<String> {
    let entrypoint = config.entrypoint.iter().flatten();
    entrypoint.chain(config.cmd.iter().flatten()).cloned().collect()
}

/// The process's environment, in dockerd's order: PATH, HOSTNAME, TERM with a tty, then the user's; a name
/// without `=` takes itself out. HOME is added by the runtime from the image's passwd.
pub(crate) fn environment(config: &Config) -> Vec<String> {
    let mut env: Vec<String> =
        vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    env.push(format!("HOSTNAME={}", config.hostname));
    if config.tty {
        env.push("TERM=xterm".to_owned());
    }
    replace_or_append(&mut env, config.env.as_deref().unwrap_or_default());
    env
}

/// Later entries win; `NAME` without a value removes the name.
pub(crate) fn replace_or_append(env: &mut Vec<String>, changes: &[String]) {
    for change in changes {
        let name = env_name(change);
        match env.iter().position(|entry| env_name(entry) == name) {
            Some(at) if change.contains('=') => env[at].clone_from(change),
            Some(at) => drop(env.remove(at)),
            None if change.contains('=') => env.push(change.clone()),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn words(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|word| (*word).to_owned()).collect())
    }
    fn env_map(env: &[String]) -> BTreeMap<&str, &str> {
        env.iter().filter_map(|entry| entry.split_once('=')).collect()
    }
    fn image() -> Config {
        Config {
            entrypoint: words(&["/entry"]),
            cmd: words(&["serve"]),
            env: words(&["A=image", "B=image"]),
            ..Config::default()
        }
    }

    #[test]
    fn a_command_replaces_the_images_command_but_an_entrypoint_drops_both() {
        let mut config = Config { cmd: words(&["sh"]), ..Config::default() };
        merge(&mut config, &image());
        assert_eq!(command_line(&config), ["/entry", "sh"]);

        let mut config = Config { entrypoint: words(&["/mine"]), ..Config::default() };
        merge(&mut config, &image());
        assert_eq!(command_line(&config), ["/mine"]);
    }

    #[test]
    fn an_empty_entrypoint_means_none() {
        let mut config =
            Config { entrypoint: words(&[""]), cmd: words(&["sh"]), ..Config::default() };
        merge(&mut config, &image());
        assert_eq!(command_line(&config), ["sh"]);
    }

    #[test]
    fn the_users_environment_wins_and_a_bare_name_removes() {
        let mut config = Config { env: words(&["A=mine", "HOSTNAME"]), ..Config::default() };
        merge(&mut config, &image());
        let env = environment(&config);
        assert_eq!(env_map(&env)["A"], "mine");
        assert_eq!(env_map(&env)["B"], "image");
        assert!(!env_map(&env).contains_key("HOSTNAME"));
    }
}
