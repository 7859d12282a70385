//! The values of the flags of `service create` and `update`.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use bollard::models::Mount;
use serde_json::{Map, Value, json};

use crate::opts::{self, mount, port};

/// `--mount` words.
pub(super) fn mounts(given: &[String]) -> Result<Vec<Mount>> {
    let mounts: Result<Vec<Mount>, String> = given.iter().map(|word| mount::mount(word)).collect();
    mounts.map_err(|err| anyhow!(err))
}

/// `host:ip` words as `/etc/hosts` has them: the address first.
pub(super) fn hosts(given: &[String]) -> Result<Vec<String>> {
    let line = |word: &String| {
        let checked = opts::extra_host(word).map_err(|err| anyhow!(err))?;
        let (host, address) = checked.split_once(':').unwrap_or((&checked, ""));
        Ok(format!("{address} {host}"))
    };
    given.iter().map(line).collect()
}

/// `spread=node.labels.rack`.
pub(super) fn preferences(given: &[String]) -> Result<Vec<Value>> {
    let preference = |word: &String| match word.split_once('=') {
        Some(("spread", descriptor)) => Ok(json!({"Spread": {"SpreadDescriptor": descriptor}})),
        _ => bail!("unsupported placement preference (only spread is supported): {word}"),
    };
    given.iter().map(preference).collect()
}

/// A network's name, or `name=net,alias=web,driver-opt=k=v`.
pub(super) fn networks(given: &[String]) -> Result<Vec<Value>> {
    let network = |word: &String| {
        if !word.contains('=') {
            return Ok(json!({ "Target": word }));
        }
        let (mut target, mut aliases, mut options) = (String::new(), Vec::new(), Map::new());
        for field in word.split(',') {
            match field.split_once('=') {
                Some(("name", name)) => target = name.to_owned(),
                Some(("alias", alias)) => aliases.push(alias.to_owned()),
                Some(("driver-opt", option)) => {
                    let (key, value) = option.split_once('=').unwrap_or((option, ""));
                    options.insert(key.to_owned(), value.into());
                }
                _ => bail!("invalid field '{field}' in network {word}"),
            }
        }
        Ok(json!({"Target": target, "Aliases": aliases, "DriverOpts": options}))
    };
    given.iter().map(network).collect()
}

/// `8080:80/tcp`, or `published=8080,target=80,protocol=tcp,mode=host`.
pub(super) fn ports(given: &[String]) -> Result<Vec<Value>> {
    let mut ports = Vec::new();
    for word in given {
        if word.contains('=') {
            ports.push(long_port(word)?);
            continue;
        }
        let mut bindings = port::Bindings::new();
        port::publish(word, &mut bindings).map_err(|err| anyhow!(err))?;
        let sorted: BTreeMap<_, _> = bindings.into_iter().collect();
        for (key, bindings) in sorted {
            let (target, protocol) = key.split_once('/').unwrap_or((&key, "tcp"));
            for binding in bindings.into_iter().flatten() {
                let published = binding.host_port.unwrap_or_default();
                ports.push(json!({
                    "Protocol": protocol,
                    "TargetPort": target.parse::<u16>()?,
                    "PublishedPort": if published.is_empty() { 0 } else { published.parse::<u16>()? },
                    "PublishMode": "ingress",
                }));
            }
        }
    }
    Ok(ports)
}

fn long_port(word: &str) -> Result<Value> {
    let mut found = json!({"Protocol": "tcp", "PublishMode": "ingress"});
    for field in word.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        let number = || {
            value.parse::<u16>().map_err(|_| {
                anyhow!("invalid {key} port ({value}): value must be an integer: strconv.ParseUint: parsing {value:?}: invalid syntax")
            })
        };
        match key {
            "target" => found["TargetPort"] = number()?.into(),
            "published" => found["PublishedPort"] = number()?.into(),
            "protocol" if matches!(value, "tcp" | "udp" | "sctp") => {
                found["Protocol"] = value.into();
            }
            "protocol" => bail!("invalid protocol value '{value}'"),
            "mode" if matches!(value, "ingress" | "host") => found["PublishMode"] = value.into(),
            "mode" => {
                bail!("invalid publish mode value ({value}): must be either 'ingress' or 'host'")
            }
            _ => bail!("invalid field key: {key}"),
        }
    }
    if found["TargetPort"].is_null() {
        bail!("missing mandatory field 'target'");
    }
    Ok(found)
}

/// A secret's or config's source, and where it goes: `name`, or `source=…,target=…,uid=…,gid=…,mode=…`.
pub(super) fn reference(word: &str) -> Result<(String, Map<String, Value>)> {
    let mut file = Map::new();
    if !word.contains(['=', ',']) {
        return Ok((word.to_owned(), file));
    }
    let mut source = String::new();
    for field in word.split(',') {
        let Some((key, value)) = field.split_once('=') else {
            bail!("invalid field '{field}' must be a key=value pair");
        };
        match key {
            "source" | "src" => source = value.to_owned(),
            "target" => drop(file.insert("Name".to_owned(), value.into())),
            "uid" => drop(file.insert("UID".to_owned(), value.into())),
            "gid" => drop(file.insert("GID".to_owned(), value.into())),
            "mode" => {
                let mode = u32::from_str_radix(value, 8)
                    .map_err(|_| anyhow!("invalid mode specified: {value}"))?;
                file.insert("Mode".to_owned(), mode.into());
            }
            _ => bail!("invalid field in secret request: {key}"),
        }
    }
    if source.is_empty() {
        bail!("source is required");
    }
    Ok((source, file))
}

/// The whole target: Docker's owner and mode where none was given. A config's file lies at the root.
pub(super) fn target(mut file: Map<String, Value>, name: &str, kind: &str) -> Value {
    let place = if kind == "Config" { format!("/{name}") } else { name.to_owned() };
    file.entry("Name").or_insert(place.into());
    file.entry("UID").or_insert("0".into());
    file.entry("GID").or_insert("0".into());
    file.entry("Mode").or_insert(0o444.into());
    file.into()
}

/// Adds to a list, or replaces the entry of the same key; then removes by key.
pub(super) fn change(
    list: &mut Value,
    added: Vec<Value>,
    gone: &[String],
    key: impl Fn(&Value) -> String,
) {
    if added.is_empty() && gone.is_empty() {
        return;
    }
    let mut entries = list.as_array().cloned().unwrap_or_default();
    entries.retain(|entry| !gone.contains(&key(entry)));
    for entry in added {
        match entries.iter_mut().find(|have| key(have) == key(&entry)) {
            Some(have) => *have = entry,
            None => entries.push(entry),
        }
    }
    *list = entries.into();
}

/// The same for `key=value` words.
pub(super) fn change_map(map: &mut Value, added: &[String], gone: &[String]) {
    if added.is_empty() && gone.is_empty() {
        return;
    }
    let mut entries = map.as_object().cloned().unwrap_or_default();
    for key in gone {
        entries.shift_remove(key);
    }
    for (key, value) in opts::pairs(added) {
        entries.insert(key, value.into());
    }
    *map = entries.into();
}

/// Ports go by their target port and, when one was named, their protocol.
pub(super) fn change_ports(ports: &mut Value, added: Vec<Value>, gone: &[String]) {
    if added.is_empty() && gone.is_empty() {
        return;
    }
    let mut entries = ports.as_array().cloned().unwrap_or_default();
    entries.retain(|port| {
        !gone.iter().any(|word| {
            let (target, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
            port["TargetPort"].as_u64() == target.parse().ok() && port["Protocol"] == protocol
        })
    });
    for port in added {
        if !entries.contains(&port) {
            entries.push(port);
        }
    }
    *ports = entries.into();
}

/// A command line as a shell would cut it: blanks, quotes, backslashes.
pub(super) fn shell(text: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        bail!("invalid command line string");
    }
    words.extend(word);
    Ok(words)
}

/// `gpu=2` as the spec has it. Docker's clients know no named ones.
pub(super) fn generic_resources(words: &[String]) -> Result<Vec<Value>> {
    let one = |word: &String| {
        let (kind, value) = word
            .split_once('=')
            .ok_or_else(|| anyhow!("incorrect term {word}, missing '=' or malformed expression"))?;
        let value: i64 = value.parse().map_err(|_| {
            anyhow!(
                "invalid generic-resource request `{kind}={value}`, Named Generic Resources is not supported for \
                 service create or update"
            )
        })?;
        Ok(json!({"DiscreteResourceSpec": {"Kind": kind, "Value": value}}))
    };
    words.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(word: &str) -> String {
        match ports(&[word.to_owned()]) {
            Ok(ports) => Value::from(ports).to_string(),
            Err(err) => err.to_string(),
        }
    }

    #[test]
    fn ports_have_a_short_and_a_long_form() {
        assert_eq!(
            port("8080:80/udp"),
            r#"[{"Protocol":"udp","TargetPort":80,"PublishedPort":8080,"PublishMode":"ingress"}]"#
        );
        assert_eq!(
            port("published=8080,target=80,mode=host"),
            r#"[{"Protocol":"tcp","PublishMode":"host","PublishedPort":8080,"TargetPort":80}]"#
        );
        assert_eq!(port("published=80"), "missing mandatory field 'target'");
        assert_eq!(
            port("target=1,mode=x"),
            "invalid publish mode value (x): must be either 'ingress' or 'host'"
        );
    }

    #[test]
    fn a_reference_goes_to_its_own_name_unless_told() {
        let (source, file) = reference("source=s,target=/run/x,mode=0400").unwrap();
        assert_eq!(source, "s");
        assert_eq!(
            target(file, "s", "Secret").to_string(),
            r#"{"Name":"/run/x","Mode":256,"UID":"0","GID":"0"}"#
        );
        let (_, file) = reference("c").unwrap();
        assert_eq!(target(file, "c", "Config")["Name"], "/c");
        assert!(reference("target=x").is_err());
    }

    #[test]
    fn entries_are_replaced_by_key_and_removed_by_key() {
        let key = |word: &Value| word.as_str().unwrap().split('=').next().unwrap().to_owned();
        let mut list = json!(["A=1", "B=2", "C=3"]);
        change(&mut list, vec!["A=9".into(), "D=4".into()], &["C".to_owned()], key);
        assert_eq!(list, json!(["A=9", "B=2", "D=4"]));
    }

    #[test]
    fn a_command_line_is_cut_as_a_shell_cuts_it() {
        assert_eq!(shell(r#"sh -c "a 'b' \"c\"" ''"#).unwrap(), ["sh", "-c", "a 'b' \"c\"", ""]);
        assert!(shell("'open").is_err());
    }
}
