//! What a task's secrets and configs contain, and where. Decides; writes nothing.

use crate::assigned::Share;
use crate::files::Wanted;
use crate::spec::{self, NodeFacts};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use types::swarm::Driver;
use types::swarm::task::{FileTarget, Task};

/// On a secret's or config's labels: the signal that containers get when its content has changed.
pub(crate) const SIGNAL_LABEL: &str = "sampan.signal";
/// Docker's mode for a file that names none.
const MODE: u32 = 0o444;

/// The files of a task whose secrets and configs are all assigned.
pub(crate) fn files(task: &Task, share: &Share, node: &NodeFacts) -> Result<Vec<Wanted>, String> {
    let mut wanted = Vec::new();
    let Some(spec) = task.spec.container_spec.as_ref() else { return Ok(wanted) };
    for reference in &spec.secrets {
        let Some(file) = &reference.file else { continue };
        let secret = share.secrets.get(&reference.secret_id);
        let secret =
            secret.ok_or_else(|| format!("secret {} is missing", reference.secret_name))?;
        let data = decode(&secret.spec.data)?;
        let data = filled_in(data, secret.spec.templating.as_ref(), task, share, node)?;
        wanted.push(place(file, "/run/secrets/", data)?);
    }
    for reference in &spec.configs {
        let Some(file) = &reference.file else { continue };
        let config = share.configs.get(&reference.config_id);
        let config =
            config.ok_or_else(|| format!("config {} is missing", reference.config_name))?;
        let data = decode(&config.spec.data)?;
        let data = filled_in(data, config.spec.templating.as_ref(), task, share, node)?;
        wanted.push(place(file, "/", data)?);
    }
    Ok(wanted)
}

/// The signal that one of the task's secrets or configs asks for.
pub(crate) fn signal(task: &Task, share: &Share) -> Option<String> {
    let spec = task.spec.container_spec.as_ref()?;
    let secrets = spec.secrets.iter().filter_map(|it| share.secrets.get(&it.secret_id));
    let configs = spec.configs.iter().filter_map(|it| share.configs.get(&it.config_id));
    secrets
        .map(|secret| &secret.spec.labels)
        .chain(configs.map(|config| &config.spec.labels))
        .find_map(|labels| labels.get(SIGNAL_LABEL).cloned())
}

fn decode(text: &str) -> Result<Vec<u8>, String> {
    let decoded = BASE64_STANDARD.decode(text).or_else(|_| BASE64_URL_SAFE.decode(text));
    decoded.map_err(|_| "its data are not base64".to_owned())
}

fn place(file: &FileTarget, base: &str, data: Vec<u8>) -> Result<Wanted, String> {
    let number = |what: &str, text: &str| match text {
        "" => Ok(0),
        text => text.parse().map_err(|_| format!("invalid {what} {text:?} of {}", file.name)),
    };
    let target = match file.name.starts_with('/') {
        true => file.name.clone(),
        false => format!("{base}{}", file.name),
    };
    let mode = if file.mode == 0 { MODE } else { file.mode & 0o7777 };
    Ok(Wanted {
        target,
        data,
        uid: number("UID", &file.uid)?,
        gid: number("GID", &file.gid)?,
        mode,
    })
}

fn filled_in(
    data: Vec<u8>,
    driver: Option<&Driver>,
    task: &Task,
    share: &Share,
    node: &NodeFacts,
) -> Result<Vec<u8>, String> {
    let Some(driver) = driver.filter(|driver| !driver.name.is_empty()) else { return Ok(data) };
    if driver.name != "golang" {
        return Err(format!("template driver {} is not supported", driver.name));
    }
    let service = share.services.get(task.service_id.as_str()).ok_or("its service is not known")?;
    let mut context = spec::context(task, service, node);
    let Some(spec) = task.spec.container_spec.as_ref() else { return Ok(data) };
    for entry in &spec.env {
        let entry = context.expand(entry)?;
        let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
        context.env.insert(name.to_owned(), value.to_owned());
    }
    let text = |data: &str| String::from_utf8(decode(data).unwrap_or_default()).unwrap_or_default();
    for it in &spec.secrets {
        if let (Some(file), Some(secret)) = (&it.file, share.secrets.get(&it.secret_id)) {
            context.secrets.insert(file.name.clone(), text(&secret.spec.data));
        }
    }
    for it in &spec.configs {
        if let (Some(file), Some(config)) = (&it.file, share.configs.get(&it.config_id)) {
            context.configs.insert(file.name.clone(), text(&config.spec.data));
        }
    }
    let template = String::from_utf8(data).map_err(|_| "a template must be text".to_owned())?;
    context.expand(&template).map(String::into_bytes)
}
