//! From flags to a service's spec, new or changed. The daemon checks; here words only find their place.

mod words;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use super::flags::{Common, CreateArgs, UpdateArgs};
use crate::client::{Client, Query};
use crate::opts::{self, env};

/// The spec of a new service.
pub(super) async fn create(client: &Client, args: &CreateArgs) -> Result<Value> {
    let mut container = json!({
        "Image": args.image,
        "Args": args.command,
        "Env": environment(args)?,
        "Labels": opts::pairs(&args.container_label),
        "Groups": args.group,
        "Hosts": words::hosts(&args.host)?,
        "CapabilityAdd": args.cap_add,
        "CapabilityDrop": args.cap_drop,
        "Sysctls": opts::pairs(&args.sysctl),
        "Mounts": words::mounts(&args.mount)?,
        "Secrets": references(client, "/secrets", "Secret", &args.secret).await?,
        "Configs": references(client, "/configs", "Config", &args.config).await?,
        "DNSConfig": {
            "Nameservers": args.dns, "Search": args.dns_search, "Options": args.dns_option,
        },
    });
    let ulimits: Result<Vec<_>, String> =
        args.ulimit.iter().map(|word| opts::ulimit(word)).collect();
    container["Ulimits"] = serde_json::to_value(ulimits.map_err(|err| anyhow!(err))?)?;
    if let Some(extensions) = extensions(args)? {
        container["Sampan"] = extensions;
    }
    let mut spec = json!({
        "Name": args.name,
        "Labels": opts::pairs(&args.label),
        "Mode": mode(args)?,
        "TaskTemplate": {
            "ContainerSpec": container,
            "Placement": {
                "Constraints": args.constraint,
                "Preferences": words::preferences(&args.placement_pref)?,
            },
            "Networks": words::networks(&args.network)?,
        },
        "EndpointSpec": {"Mode": "vip", "Ports": words::ports(&args.publish)?},
    });
    if !args.generic_resource.is_empty() {
        let wanted = words::generic_resources(&args.generic_resource)?;
        spec["TaskTemplate"]["Resources"]["Reservations"]["GenericResources"] = wanted.into();
    }
    set_common(&mut spec, &args.common)?;
    Ok(spec)
}

fn mode(args: &CreateArgs) -> Result<Value> {
    let replicas = args.common.replicas;
    Ok(match args.mode.as_str() {
        "replicated" => json!({"Replicated": {"Replicas": replicas}}),
        "replicated-job" => {
            let concurrent = args.common.max_concurrent.or(replicas);
            json!({"ReplicatedJob": {"MaxConcurrent": concurrent, "TotalCompletions": replicas}})
        }
        "global" | "global-job" if replicas.is_some() => {
            bail!("replicas can only be used with replicated or replicated-job mode")
        }
        "global" => json!({"Global": {}}),
        "global-job" => json!({"GlobalJob": {}}),
        mode => bail!("Unknown mode: {mode}, only replicated and global supported"),
    })
}

fn environment(args: &CreateArgs) -> Result<Vec<String>> {
    let lookup = |name: &str| std::env::var(name).ok();
    let mut words = Vec::new();
    for file in &args.env_file {
        let text = std::fs::read_to_string(file).with_context(|| format!("open {file}"))?;
        words.extend(env::file(&text, file, lookup).map_err(|err| anyhow!(err))?);
    }
    for word in &args.env {
        words.extend(env::word(word, lookup).map_err(|err| anyhow!(err))?);
    }
    Ok(env::merge(words))
}

fn extensions(args: &CreateArgs) -> Result<Option<Value>> {
    let mut extensions = serde_json::Map::new();
    if args.privileged {
        extensions.insert("Privileged".to_owned(), true.into());
    }
    if !args.device.is_empty() {
        let devices: Result<Vec<_>, String> =
            args.device.iter().map(|word| opts::device(word)).collect();
        let devices = serde_json::to_value(devices.map_err(|err| anyhow!(err))?)?;
        extensions.insert("Devices".to_owned(), devices);
    }
    if let Some(bytes) = args.shm_size {
        extensions.insert("ShmSize".to_owned(), bytes.into());
    }
    if !args.security_opt.is_empty() {
        extensions.insert("SecurityOpt".to_owned(), args.security_opt.clone().into());
    }
    for (key, mode) in [("PidMode", &args.pid), ("IpcMode", &args.ipc)] {
        if let Some(mode) = mode {
            extensions.insert(key.to_owned(), mode.as_str().into());
        }
    }
    Ok((!extensions.is_empty()).then(|| extensions.into()))
}

/// Secrets or configs by name, with the ids that the daemon knows them by.
async fn references(
    client: &Client,
    path: &str,
    kind: &str,
    given: &[String],
) -> Result<Vec<Value>> {
    if given.is_empty() {
        return Ok(Vec::new());
    }
    let known = client.get(path, &Query::new()).await?;
    let id_of = |name: &str| {
        let mut rows = known.as_array().into_iter().flatten();
        let row = rows.find(|row| row["Spec"]["Name"] == name || row["ID"] == name)?;
        Some((row["ID"].clone(), row["Spec"]["Name"].clone()))
    };
    let mut references = Vec::new();
    for word in given {
        let (source, file) = words::reference(word)?;
        let (id, name) =
            id_of(&source).ok_or_else(|| anyhow!("{} not found: {source}", kind.to_lowercase()))?;
        let file = words::target(file, name.as_str().unwrap_or_default(), kind);
        references.push(json!({
            "File": file, (format!("{kind}ID")): id, (format!("{kind}Name")): name,
        }));
    }
    Ok(references)
}

/// Changes a spec.
pub(super) async fn update(client: &Client, spec: &mut Value, args: &UpdateArgs) -> Result<()> {
    let container = &mut spec["TaskTemplate"]["ContainerSpec"];
    if let Some(image) = &args.image {
        container["Image"] = image.as_str().into();
    }
    if let Some(text) = &args.args {
        container["Args"] = words::shell(text)?.into();
    }
    let key = |word: &Value| {
        let word = word.as_str().unwrap_or_default();
        word.split('=').next().unwrap_or_default().to_owned()
    };
    let lookup = |name: &str| std::env::var(name).ok();
    let mut added = Vec::new();
    for word in &args.env_add {
        added.extend(env::word(word, lookup).map_err(|err| anyhow!(err))?.map(Value::from));
    }
    words::change(&mut container["Env"], added, &args.env_rm, key);
    words::change_map(
        &mut container["Labels"],
        &args.container_label_add,
        &args.container_label_rm,
    );
    words::change_map(&mut container["Sysctls"], &args.sysctl_add, &args.sysctl_rm);
    let whole = |word: &Value| word.as_str().unwrap_or_default().to_owned();
    let hosts = words::hosts(&args.host_add)?.into_iter().map(Value::from).collect();
    let gone = words::hosts(&args.host_rm)?;
    words::change(&mut container["Hosts"], hosts, &gone, whole);
    let caps = |list: &[String]| list.iter().map(|word| Value::from(word.as_str())).collect();
    words::change(&mut container["CapabilityAdd"], caps(&args.cap_add), &args.cap_drop, whole);
    words::change(&mut container["CapabilityDrop"], caps(&args.cap_drop), &args.cap_add, whole);
    let mounts = serde_json::to_value(words::mounts(&args.mount_add)?)?;
    let mounts = mounts.as_array().cloned().unwrap_or_default();
    let target = |mount: &Value| mount["Target"].as_str().unwrap_or_default().to_owned();
    words::change(&mut container["Mounts"], mounts, &args.mount_rm, target);
    for (path, kind, add, gone) in [
        ("/secrets", "Secret", &args.secret_add, &args.secret_rm),
        ("/configs", "Config", &args.config_add, &args.config_rm),
    ] {
        let added = references(client, path, kind, add).await?;
        let name =
            |word: &Value| word[format!("{kind}Name")].as_str().unwrap_or_default().to_owned();
        words::change(&mut container[format!("{kind}s")], added, gone, name);
    }
    change_lists(container, args)?;
    change_generic(&mut spec["TaskTemplate"], args)?;
    words::change_map(&mut spec["Labels"], &args.label_add, &args.label_rm);
    change_task(client, &mut spec["TaskTemplate"], args, whole).await?;
    let ports = words::ports(&args.publish_add)?;
    words::change_ports(&mut spec["EndpointSpec"]["Ports"], ports, &args.publish_rm);
    set_mode(&mut spec["Mode"], &args.common)?;
    set_common(spec, &args.common)
}

/// Lists of the container in which each word stands for itself, and its limits.
fn change_lists(container: &mut Value, args: &UpdateArgs) -> Result<()> {
    let values = |list: &[String]| list.iter().map(|word| Value::from(word.as_str())).collect();
    let whole = |word: &Value| word.as_str().unwrap_or_default().to_owned();
    let dns = [
        ("Nameservers", &args.dns_add, &args.dns_rm),
        ("Search", &args.dns_search_add, &args.dns_search_rm),
        ("Options", &args.dns_option_add, &args.dns_option_rm),
    ];
    for (key, add, gone) in dns {
        if !add.is_empty() || !gone.is_empty() {
            words::change(&mut container["DNSConfig"][key], values(add), gone, whole);
        }
    }
    words::change(&mut container["Groups"], values(&args.group_add), &args.group_rm, whole);
    let ulimits: Result<Vec<_>, String> =
        args.ulimit_add.iter().map(|word| opts::ulimit(word)).collect();
    let ulimits = serde_json::to_value(ulimits.map_err(|err| anyhow!(err))?)?;
    let ulimits = ulimits.as_array().cloned().unwrap_or_default();
    let name = |limit: &Value| limit["Name"].as_str().unwrap_or_default().to_owned();
    words::change(&mut container["Ulimits"], ulimits, &args.ulimit_rm, name);
    Ok(())
}

fn change_generic(task: &mut Value, args: &UpdateArgs) -> Result<()> {
    if args.generic_resource_add.is_empty() && args.generic_resource_rm.is_empty() {
        return Ok(());
    }
    let added = words::generic_resources(&args.generic_resource_add)?;
    let gone: Vec<String> = args
        .generic_resource_rm
        .iter()
        .map(|word| word.split('=').next().unwrap_or_default().to_owned())
        .collect();
    let kind = |resource: &Value| {
        resource["DiscreteResourceSpec"]["Kind"].as_str().unwrap_or_default().to_owned()
    };
    let place = &mut task["Resources"]["Reservations"]["GenericResources"];
    words::change(place, added, &gone, kind);
    Ok(())
}

async fn change_task(
    client: &Client,
    task: &mut Value,
    args: &UpdateArgs,
    whole: fn(&Value) -> String,
) -> Result<()> {
    let placement = &mut task["Placement"];
    let constraints = args.constraint_add.iter().map(|word| word.as_str().into()).collect();
    words::change(&mut placement["Constraints"], constraints, &args.constraint_rm, whole);
    let preferences = words::preferences(&args.placement_pref_add)?;
    let spread = |pref: &Value| {
        let descriptor = pref["Spread"]["SpreadDescriptor"].as_str().unwrap_or_default();
        format!("spread={descriptor}")
    };
    words::change(&mut placement["Preferences"], preferences, &args.placement_pref_rm, spread);
    let mut gone = args.network_rm.clone();
    if !gone.is_empty() {
        // The spec knows networks by their ids, people by their names.
        let known = client.get("/networks", &Query::new()).await?;
        for network in known.as_array().into_iter().flatten() {
            if args.network_rm.iter().any(|name| network["Name"] == name.as_str()) {
                gone.push(network["Id"].as_str().unwrap_or_default().to_owned());
            }
        }
    }
    let target = |network: &Value| network["Target"].as_str().unwrap_or_default().to_owned();
    words::change(&mut task["Networks"], words::networks(&args.network_add)?, &gone, target);
    if args.force {
        task["ForceUpdate"] = (task["ForceUpdate"].as_u64().unwrap_or(0) + 1).into();
    }
    Ok(())
}

fn set_mode(mode: &mut Value, common: &Common) -> Result<()> {
    if let Some(replicas) = common.replicas {
        if mode["Replicated"].is_object() {
            mode["Replicated"]["Replicas"] = replicas.into();
        } else if mode["ReplicatedJob"].is_object() {
            mode["ReplicatedJob"]["TotalCompletions"] = replicas.into();
        } else {
            bail!("replicas can only be used with replicated or replicated-job mode");
        }
    }
    if let Some(most) = common.max_concurrent {
        if !mode["ReplicatedJob"].is_object() {
            bail!("max-concurrent can only be used with replicated-job mode");
        }
        mode["ReplicatedJob"]["MaxConcurrent"] = most.into();
    }
    Ok(())
}

/// What was given over what is there; the rest stays.
fn set_common(spec: &mut Value, common: &Common) -> Result<()> {
    let mut set = |path: &[&str], value: Option<Value>| {
        let Some(value) = value else { return };
        let place = path.iter().fold(&mut *spec, |place, key| &mut place[*key]);
        *place = value;
    };
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    let number = |number: Option<i64>| number.map(Value::from);
    let count = |number: Option<u64>| number.map(Value::from);
    let container = |key: &'static str| ["TaskTemplate", "ContainerSpec", key];
    if let Some(entrypoint) = &common.entrypoint {
        set(&container("Command"), Some(words::shell(entrypoint)?.into()));
    }
    set(&container("Hostname"), text(&common.hostname));
    set(&container("User"), text(&common.user));
    set(&container("Dir"), text(&common.workdir));
    set(&container("StopSignal"), text(&common.stop_signal));
    set(&container("StopGracePeriod"), number(common.stop_grace_period));
    if common.credential_spec.is_some() {
        bail!("credential specs are for Windows containers");
    }
    set(&container("OomScoreAdj"), number(common.oom_score_adj));
    set(&container("Isolation"), text(&common.isolation));
    set(&container("Init"), common.init.then(|| true.into()));
    set(&container("TTY"), common.tty.then(|| true.into()));
    set(&container("ReadOnly"), common.read_only.then(|| true.into()));
    if common.no_healthcheck {
        set(&container("Healthcheck"), Some(json!({"Test": ["NONE"]})));
    }
    let health = |key: &'static str| ["TaskTemplate", "ContainerSpec", "Healthcheck", key];
    let command = common.health_cmd.as_ref().map(|command| json!(["CMD-SHELL", command]));
    set(&health("Test"), command);
    set(&health("Interval"), number(common.health_interval));
    set(&health("Timeout"), number(common.health_timeout));
    set(&health("StartPeriod"), number(common.health_start_period));
    set(&health("StartInterval"), number(common.health_start_interval));
    set(&health("Retries"), number(common.health_retries));
    let resource = |kind: &'static str, key: &'static str| ["TaskTemplate", "Resources", kind, key];
    set(&resource("Limits", "NanoCPUs"), number(common.limit_cpu));
    set(&resource("Limits", "MemoryBytes"), number(common.limit_memory));
    set(&resource("Limits", "Pids"), number(common.limit_pids));
    set(&resource("Reservations", "NanoCPUs"), number(common.reserve_cpu));
    set(&resource("Reservations", "MemoryBytes"), number(common.reserve_memory));
    let restart = |key: &'static str| ["TaskTemplate", "RestartPolicy", key];
    set(&restart("Condition"), text(&common.restart_condition));
    set(&restart("Delay"), number(common.restart_delay));
    set(&restart("MaxAttempts"), count(common.restart_max_attempts));
    set(&restart("Window"), number(common.restart_window));
    set(&["TaskTemplate", "Placement", "MaxReplicas"], count(common.replicas_max_per_node));
    if common.log_driver.is_some() || !common.log_opt.is_empty() {
        let driver = json!({"Name": common.log_driver, "Options": opts::pairs(&common.log_opt)});
        set(&["TaskTemplate", "LogDriver"], Some(driver));
    }
    set(&["EndpointSpec", "Mode"], text(&common.endpoint_mode));
    let update = &common.update_config;
    set(&["UpdateConfig", "Parallelism"], count(update.update_parallelism));
    set(&["UpdateConfig", "Delay"], number(update.update_delay));
    set(&["UpdateConfig", "FailureAction"], text(&update.update_failure_action));
    set(&["UpdateConfig", "Monitor"], number(update.update_monitor));
    set(&["UpdateConfig", "MaxFailureRatio"], update.update_max_failure_ratio.map(Value::from));
    set(&["UpdateConfig", "Order"], text(&update.update_order));
    let back = &common.rollback_config;
    set(&["RollbackConfig", "Parallelism"], count(back.rollback_parallelism));
    set(&["RollbackConfig", "Delay"], number(back.rollback_delay));
    set(&["RollbackConfig", "FailureAction"], text(&back.rollback_failure_action));
    set(&["RollbackConfig", "Monitor"], number(back.rollback_monitor));
    set(&["RollbackConfig", "MaxFailureRatio"], back.rollback_max_failure_ratio.map(Value::from));
    set(&["RollbackConfig", "Order"], text(&back.rollback_order));
    one_at_a_time(spec);
    Ok(())
}

/// Docker's client begins an update config with one task at a time, not with all.
fn one_at_a_time(spec: &mut Value) {
    for key in ["UpdateConfig", "RollbackConfig"] {
        if spec[key].is_object() && spec[key]["Parallelism"].is_null() {
            spec[key]["Parallelism"] = 1.into();
        }
    }
    // Looking at a key that is absent leaves a null there, which means the same to the daemon.
}
