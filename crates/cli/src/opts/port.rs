//! `-p` and `--expose`.

use std::collections::HashMap;

use bollard::models::PortBinding;

/// Container port (`80/tcp`) to its bindings, as `HostConfig.PortBindings`.
pub(crate) type Bindings = HashMap<String, Option<Vec<PortBinding>>>;

/// Reads `[[ip:][host]:]container[/proto]`, ranges included, into `bindings`.
pub(crate) fn publish(text: &str, bindings: &mut Bindings) -> Result<(), String> {
    let (spec, protocol) = split_protocol(text)?;
    let (ip, host, container) = split_address(spec, text)?;
    if container.is_empty() {
        return Err(format!("no port specified: {text}<empty>"));
    }
    let (first, last) =
        range(container).ok_or_else(|| format!("invalid containerPort: {container}"))?;
    let hosts = match host {
        "" => None,
        host => Some(range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?),
    };
    let count = last - first;
    if let Some((from, to)) = hosts {
        // one container port may take any free port of a host range
        if to - from != count && count != 0 {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {container} and {host}"
            ));
        }
    }
    for offset in 0..=count {
        let host_port = match hosts {
            None => String::new(),
            Some((from, to)) if count == 0 && from != to => format!("{from}-{to}"),
            Some((from, _)) => (from + offset).to_string(),
        };
        let binding = PortBinding { host_ip: Some(ip.to_owned()), host_port: Some(host_port) };
        let key = format!("{}/{protocol}", first + offset);
        bindings.entry(key).or_default().get_or_insert_default().push(binding);
    }
    Ok(())
}

/// Reads `80`, `80-82/udp` into port keys.
pub(crate) fn expose(text: &str) -> Result<Vec<String>, String> {
    if text.contains(':') {
        return Err(format!("invalid port format for --expose: {text}"));
    }
    let (spec, protocol) = split_protocol(text)?;
    let (first, last) =
        range(spec).ok_or_else(|| format!("invalid range format for --expose: {text}"))?;
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn split_protocol(text: &str) -> Result<(&str, String), String> {
    let (spec, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    Ok((spec, protocol))
}

/// Host address, host port and container port; the address may be a bracketed IPv6.
fn split_address<'a>(spec: &'a str, whole: &str) -> Result<(&'a str, &'a str, &'a str), String> {
    let Some((rest, container)) = spec.rsplit_once(':') else { return Ok(("", "", spec)) };
    let Some((ip, host)) = rest.rsplit_once(':') else { return Ok(("", rest, container)) };
    let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if !ip.is_empty() && ip.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address: {ip} in {whole}"));
    }
    Ok((ip, host, container))
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
        None => {
            let port = text.parse().ok()?;
            (port, port)
        }
    };
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut bindings = Bindings::new();
        if let Err(err) = publish(text, &mut bindings) {
            return err;
        }
        let mut lines: Vec<String> = bindings
            .into_iter()
            .flat_map(|(key, list)| list.into_iter().flatten().map(move |b| (key.clone(), b)))
            .map(|(key, b)| {
                format!(
                    "{}:{}->{key}",
                    b.host_ip.unwrap_or_default(),
                    b.host_port.unwrap_or_default()
                )
            })
            .collect();
        lines.sort();
        lines.join(" ")
    }

    #[test]
    fn every_form_of_publishing_is_understood() {
        assert_eq!(shown("80"), ":->80/tcp");
        assert_eq!(shown("8080:80"), ":8080->80/tcp");
        assert_eq!(shown("127.0.0.1:8080:80/udp"), "127.0.0.1:8080->80/udp");
        assert_eq!(shown("127.0.0.1::80"), "127.0.0.1:->80/tcp");
        assert_eq!(shown("[::1]:8080:80"), "::1:8080->80/tcp");
        assert_eq!(shown("8000-8001:80-81"), ":8000->80/tcp :8001->81/tcp");
        assert_eq!(shown("8000-8010:80"), ":8000-8010->80/tcp");
    }

    #[test]
    fn bad_ports_are_named_as_docker_names_them() {
        assert_eq!(shown("99999"), "invalid containerPort: 99999");
        assert_eq!(shown("x:80"), "invalid hostPort: x");
        assert_eq!(shown("80/foo"), "invalid proto: foo");
        assert_eq!(shown("300.1.1.1:1:80"), "invalid IP address: 300.1.1.1 in 300.1.1.1:1:80");
        assert_eq!(
            shown("8000-8005:80-81"),
            "invalid ranges specified for container and host Ports: 80-81 and 8000-8005"
        );
    }

    #[test]
    fn exposed_ranges_are_spelled_out() {
        assert_eq!(expose("80-81/udp").unwrap(), ["80/udp", "81/udp"]);
        assert!(expose("80:80").is_err());
    }
}
