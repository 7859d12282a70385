//! `service inspect --pretty`.

use serde_json::Value;

use crate::clock;
use crate::format::units;

/// The service in Docker's layout.
pub(super) fn render(service: &Value) -> String {
    let mut page = Page(String::new());
    let spec = &service["Spec"];
    page.line("", "ID:\t\t", text(&service["ID"]));
    page.line("", "Name:\t\t", text(&spec["Name"]));
    page.pairs("Labels:", &spec["Labels"], "=");
    mode(&mut page, &spec["Mode"]);
    update_status(&mut page, &service["UpdateStatus"]);
    placement(&mut page, &spec["TaskTemplate"]["Placement"]);
    config(&mut page, "Update", &spec["UpdateConfig"]);
    config(&mut page, "Rollback", &spec["RollbackConfig"]);
    container(&mut page, &spec["TaskTemplate"]["ContainerSpec"]);
    resources(&mut page, &spec["TaskTemplate"]["Resources"]);
    let networks = list(&spec["TaskTemplate"]["Networks"]);
    let targets: Vec<&str> = networks.map(|network| text(&network["Target"])).collect();
    page.line("", "Networks: ", &targets.join(" "));
    page.line("", "Endpoint Mode:\t", text(&service["Endpoint"]["Spec"]["Mode"]));
    let ports: Vec<&Value> = list(&service["Endpoint"]["Ports"]).collect();
    if !ports.is_empty() {
        page.0.push_str("Ports:\n");
    }
    for port in ports {
        page.line(" ", "PublishedPort = ", &port["PublishedPort"].to_string());
        page.line("  ", "Protocol = ", text(&port["Protocol"]));
        page.line("  ", "TargetPort = ", &port["TargetPort"].to_string());
        page.line("  ", "PublishMode = ", text(&port["PublishMode"]));
    }
    page.0
}

struct Page(String);

impl Page {
    /// Left out when there is nothing to say.
    fn line(&mut self, indent: &str, name: &str, value: &str) {
        if !value.is_empty() {
            self.0.push_str(&format!("{indent}{name}{value}\n"));
        }
    }

    fn pairs(&mut self, title: &str, map: &Value, between: &str) {
        let Some(map) = map.as_object().filter(|map| !map.is_empty()) else { return };
        self.0.push_str(&format!("{title}\n"));
        for (key, value) in map {
            self.line(" ", key, &format!("{between}{}", text(value)));
        }
    }
}

fn mode(page: &mut Page, mode: &Value) {
    let replicas = &mode["Replicated"]["Replicas"];
    let word = match mode {
        mode if mode["Global"].is_object() => "Global",
        mode if mode["GlobalJob"].is_object() => "Global Job",
        mode if mode["ReplicatedJob"].is_object() => "Replicated Job",
        _ => "Replicated",
    };
    page.line("", "Service Mode:\t", word);
    if replicas.is_u64() {
        page.line(" ", "Replicas:\t", &replicas.to_string());
    }
}

fn update_status(page: &mut Page, status: &Value) {
    if text(&status["State"]).is_empty() {
        return;
    }
    let ago = |key: &str| clock::seconds_of(text(&status[key])).map(clock::ago).unwrap_or_default();
    page.0.push_str("UpdateStatus:\n");
    page.line(" ", "State:\t\t", text(&status["State"]));
    page.line(" ", "Started:\t", &ago("StartedAt"));
    page.line(" ", "Completed:\t", &ago("CompletedAt"));
    page.line(" ", "Message:\t", text(&status["Message"]));
}

fn placement(page: &mut Page, placement: &Value) {
    page.0.push_str("Placement:\n");
    page.line(" ", "Constraints:\t", &words(&placement["Constraints"]));
    let preferences = list(&placement["Preferences"]);
    let preferences: Vec<String> = preferences
        .map(|preference| format!("spread={}", text(&preference["Spread"]["SpreadDescriptor"])))
        .collect();
    page.line(" ", "Preferences:   ", &preferences.join(" "));
    if let Some(most) = placement["MaxReplicas"].as_u64().filter(|most| *most > 0) {
        page.line(" ", "Max Replicas Per Node:   ", &most.to_string());
    }
}

fn config(page: &mut Page, kind: &str, config: &Value) {
    if !config.is_object() {
        return;
    }
    let period = |key: &str| config[key].as_i64().filter(|n| *n > 0).map(duration);
    page.0.push_str(&format!("{kind}Config:\n"));
    page.line(" ", "Parallelism:\t", &config["Parallelism"].to_string());
    page.line(" ", "Delay:\t\t", &period("Delay").unwrap_or_default());
    page.line(" ", "On failure:\t", text(&config["FailureAction"]));
    page.line(" ", "Monitoring Period: ", &period("Monitor").unwrap_or_default());
    let ratio = config["MaxFailureRatio"].as_f64().unwrap_or(0.0);
    page.line(" ", "Max failure ratio: ", &ratio.to_string());
    let name = format!("{kind} order:");
    page.line(" ", &format!("{name:<19}"), text(&config["Order"]));
}

fn container(page: &mut Page, container: &Value) {
    page.0.push_str("ContainerSpec:\n");
    page.line(" ", "Image:\t\t", text(&container["Image"]));
    page.line(" ", "Args:\t\t", &words(&container["Args"]));
    page.line(" ", "Env:\t\t", &words(&container["Env"]));
    page.line(" ", "Dir:\t\t", text(&container["Dir"]));
    if let Some(init) = container["Init"].as_bool() {
        page.line(" ", "Init:\t\t", &init.to_string());
    }
    page.line(" ", "User: ", text(&container["User"]));
    page.pairs("SysCtls:", &container["Sysctls"], ": ");
    let mounts: Vec<&Value> = list(&container["Mounts"]).collect();
    if !mounts.is_empty() {
        page.0.push_str("Mounts:\n");
    }
    for mount in mounts {
        page.line(" ", "Target:\t", text(&mount["Target"]));
        page.line("  ", "Source:\t", text(&mount["Source"]));
        page.line("  ", "ReadOnly:\t", &(mount["ReadOnly"] == true).to_string());
        page.line("  ", "Type:\t\t", text(&mount["Type"]));
    }
    for (title, key, name) in
        [("Configs:", "Configs", "ConfigName"), ("Secrets:", "Secrets", "SecretName")]
    {
        let references: Vec<&Value> = list(&container[key]).collect();
        if !references.is_empty() {
            page.0.push_str(&format!("{title}\n"));
        }
        for reference in references {
            page.line(" ", "Target:\t", text(&reference["File"]["Name"]));
            page.line("  ", "Source:\t", text(&reference[name]));
        }
    }
}

fn resources(page: &mut Page, resources: &Value) {
    page.0.push_str("Resources:\n");
    for (title, amounts) in
        [("Reservations:", &resources["Reservations"]), ("Limits:", &resources["Limits"])]
    {
        let cpus = amounts["NanoCPUs"].as_f64().unwrap_or(0.0) / 1e9;
        let memory = amounts["MemoryBytes"].as_f64().unwrap_or(0.0);
        if cpus == 0.0 && memory == 0.0 {
            continue;
        }
        page.0.push_str(&format!(" {title}\n"));
        if cpus > 0.0 {
            page.line("  ", "CPU:\t\t", &cpus.to_string());
        }
        if memory > 0.0 {
            page.line("  ", "Memory:\t", &units::bytes_size(memory));
        }
    }
}

/// Go's spelling of a duration, of whole seconds or less.
fn duration(nanos: i64) -> String {
    let seconds = nanos / 1_000_000_000;
    match (seconds, nanos % 1_000_000_000) {
        (0, rest) => format!("{}ms", rest as f64 / 1e6),
        (1..60, 0) => format!("{seconds}s"),
        (60..3600, 0) => format!("{}m{}s", seconds / 60, seconds % 60),
        (_, 0) => format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60),
        _ => format!("{}s", nanos as f64 / 1e9),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn words(value: &Value) -> String {
    list(value).map(text).collect::<Vec<_>>().join(" ")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_service_reads_as_docker_shows_it() {
        let service = json!({"ID": "x", "Spec": {
            "Name": "web", "Labels": {"a": "b"}, "Mode": {"Replicated": {"Replicas": 3}},
            "TaskTemplate": {
                "ContainerSpec": {"Image": "nginx", "Env": ["A=1"]},
                "Resources": {"Limits": {"MemoryBytes": 67108864}},
            },
            "UpdateConfig": {"Parallelism": 1, "Monitor": 5_000_000_000_i64, "FailureAction": "pause",
                "MaxFailureRatio": 0.0, "Order": "stop-first"},
        }, "Endpoint": {"Spec": {"Mode": "vip"},
            "Ports": [{"PublishedPort": 80, "TargetPort": 8080, "Protocol": "tcp", "PublishMode": "ingress"}]}});
        let want = "ID:\t\tx\nName:\t\tweb\nLabels:\n a=b\nService Mode:\tReplicated\n Replicas:\t3\n\
            Placement:\nUpdateConfig:\n Parallelism:\t1\n On failure:\tpause\n Monitoring Period: 5s\n \
            Max failure ratio: 0\n Update order:      stop-first\nContainerSpec:\n Image:\t\tnginx\n \
            Env:\t\tA=1\nResources:\n Limits:\n  Memory:\t64MiB\nEndpoint Mode:\tvip\nPorts:\n \
            PublishedPort = 80\n  Protocol = tcp\n  TargetPort = 8080\n  PublishMode = ingress\n";
        assert_eq!(render(&service), want);
    }
}
