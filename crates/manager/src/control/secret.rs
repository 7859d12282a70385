//! Secrets and configs: their form, and what of them may change.

use super::error::{bad_request, invalid};
use super::{Error, find, from_spec};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use store::validate::{check_config_size, check_secret_size};
use store::{Change, Kind, Snapshot, StoreError};
use types::swarm::secret::{Config, ConfigSpec, Secret, SecretSpec};
use types::swarm::{Driver, Version};
use types::{ConfigId, SecretId};

const LONGEST_NAME: usize = 64;

/// `POST /secrets/create`.
pub fn create_secret(
    _state: &Snapshot,
    id: SecretId,
    spec: &SecretSpec,
) -> Result<Vec<Change>, Error> {
    check_name(&spec.name)?;
    check_templating(spec.templating.as_ref())?;
    match &spec.driver {
        Some(driver) if driver.name.is_empty() => {
            return Err(invalid("secret driver must have a name"));
        }
        // Its tasks would find an empty file: there are no plugins to ask.
        Some(driver) => return Err(invalid(format!("secret driver {} not found", driver.name))),
        None => check_secret_size(length(&spec.data)?).map_err(from_spec)?,
    }
    let secret = Secret { id, spec: spec.clone(), ..Secret::default() };
    Ok(vec![Change::Create(secret.into())])
}

/// `POST /secrets/{id}/update`: the labels.
pub fn update_secret(
    state: &Snapshot,
    key: &str,
    version: u64,
    spec: &SecretSpec,
) -> Result<Vec<Change>, Error> {
    let old = find::secret(state, key)?;
    let kept = spec.name == old.spec.name
        && (spec.data.is_empty() || spec.data == old.spec.data)
        && (spec.driver.is_none() || spec.driver == old.spec.driver)
        && (spec.templating.is_none() || spec.templating == old.spec.templating);
    if !kept {
        return Err(StoreError::OnlyLabels.into());
    }
    check_version(Kind::Secret, old.id.as_ref(), old.meta.version, version)?;
    let mut new = Secret::clone(old);
    new.spec.labels.clone_from(&spec.labels);
    Ok(vec![Change::Update(new.into())])
}

pub fn remove_secret(state: &Snapshot, key: &str) -> Result<Vec<Change>, Error> {
    let id = find::secret(state, key)?.id.to_string();
    Ok(vec![Change::Remove { kind: Kind::Secret, id, version: None }])
}

/// `POST /configs/create`.
pub fn create_config(
    _state: &Snapshot,
    id: ConfigId,
    spec: &ConfigSpec,
) -> Result<Vec<Change>, Error> {
    check_name(&spec.name)?;
    check_templating(spec.templating.as_ref())?;
    check_config_size(length(&spec.data)?).map_err(from_spec)?;
    let config = Config { id, spec: spec.clone(), ..Config::default() };
    Ok(vec![Change::Create(config.into())])
}

/// `POST /configs/{id}/update`: the labels and, beyond Docker, the data: agents swap the file in place.
pub fn update_config(
    state: &Snapshot,
    key: &str,
    version: u64,
    spec: &ConfigSpec,
) -> Result<Vec<Change>, Error> {
    let old = find::config(state, key)?;
    let kept = spec.name == old.spec.name
        && (spec.templating.is_none() || spec.templating == old.spec.templating);
    if !kept {
        return Err(StoreError::OnlyLabels.into());
    }
    check_version(Kind::Config, old.id.as_ref(), old.meta.version, version)?;
    let mut new = Config::clone(old);
    new.spec.labels.clone_from(&spec.labels);
    if !spec.data.is_empty() {
        check_config_size(length(&spec.data)?).map_err(from_spec)?;
        new.spec.data.clone_from(&spec.data);
    }
    Ok(vec![Change::Update(new.into())])
}

pub fn remove_config(state: &Snapshot, key: &str) -> Result<Vec<Change>, Error> {
    let id = find::config(state, key)?.id.to_string();
    Ok(vec![Change::Remove { kind: Kind::Config, id, version: None }])
}

/// Agents fill in Go's templates, and no others.
fn check_templating(driver: Option<&Driver>) -> Result<(), Error> {
    match driver.map(|driver| driver.name.as_str()) {
        None | Some("" | "golang") => Ok(()),
        Some(other) => Err(invalid(format!("template driver {other} not found"))),
    }
}

/// Secrets and configs have a wider alphabet than services: they are files.
fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(invalid("name must be provided"));
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let ends = edge(name.chars().next()) && edge(name.chars().next_back());
    if name.len() > LONGEST_NAME || !ends || !name.chars().all(inner) {
        return Err(invalid(
            "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]",
        ));
    }
    Ok(())
}

/// The bytes behind base64, or Go's words for what is none.
fn length(data: &str) -> Result<usize, Error> {
    STANDARD.decode(data).map(|bytes| bytes.len()).map_err(|err| {
        let at = match err {
            base64::DecodeError::InvalidByte(at, _)
            | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            base64::DecodeError::InvalidLength(at) => at,
            base64::DecodeError::InvalidPadding => data.len(),
        };
        bad_request(format!("invalid JSON: illegal base64 data at input byte {at}"))
    })
}

fn check_version(kind: Kind, id: &str, have: Version, named: u64) -> Result<(), Error> {
    if have.index == named {
        return Ok(());
    }
    Err(StoreError::OutOfSequence { kind, id: id.to_owned() }.into())
}
