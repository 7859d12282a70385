//! `-v`, `--mount` and `--tmpfs`.

use std::path::Path;

use bollard::models::{
    Mount, MountBindOptions, MountBindOptionsPropagationEnum as Propagation, MountImageOptions,
    MountTmpfsOptions, MountType, MountVolumeOptions, MountVolumeOptionsDriverConfig,
};

/// What a `-v` word means: an anonymous volume or an entry of `HostConfig.Binds`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum VolumeFlag {
    Anonymous(String),
    Bind(String),
}

/// Reads a `-v` word; a relative host path is joined to `cwd`. The daemon checks the rest.
pub(crate) fn volume(text: &str, cwd: &Path) -> VolumeFlag {
    match text.split_once(':') {
        None => VolumeFlag::Anonymous(text.to_owned()),
        Some((source, rest)) if source.starts_with('.') => {
            let joined = normal(&cwd.join(source));
            VolumeFlag::Bind(format!("{joined}:{rest}"))
        }
        Some(_) => VolumeFlag::Bind(text.to_owned()),
    }
}

/// Resolves `.` and `..` by text alone: the source need not exist yet.
fn normal(path: &Path) -> String {
    let mut parts: Vec<_> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                parts.pop();
            }
            std::path::Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            _ => {}
        }
    }
    format!("/{}", parts.join("/"))
}

/// Reads `type=bind,source=…,target=…,readonly` and its siblings.
pub(crate) fn mount(text: &str) -> Result<Mount, String> {
    let mut mount = Mount { typ: Some(MountType::VOLUME), ..Mount::default() };
    let mut bind = MountBindOptions::default();
    let mut volume = MountVolumeOptions::default();
    let mut tmpfs = MountTmpfsOptions::default();
    let mut image = MountImageOptions::default();
    let (mut has_bind, mut has_volume, mut has_tmpfs) = (false, false, false);
    let mut has_image = false;
    for field in csv(text) {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        let flag = || boolean(&key, value);
        let given = value.unwrap_or_default();
        let known_alone = matches!(
            key.as_str(),
            "readonly" | "ro" | "volume-nocopy" | "bind-nonrecursive" | "bind-create-src"
        );
        if value.is_none() && !known_alone {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        }
        match key.as_str() {
            "type" => mount.typ = Some(mount_type(given)?),
            "source" | "src" => mount.source = Some(given.to_owned()),
            "target" | "dst" | "destination" => mount.target = Some(given.to_owned()),
            "readonly" | "ro" => mount.read_only = Some(flag()?),
            "consistency" => mount.consistency = Some(given.to_owned()),
            "bind-propagation" => {
                bind.propagation = Some(propagation(given)?);
                has_bind = true;
            }
            "bind-nonrecursive" => {
                bind.non_recursive = Some(flag()?);
                has_bind = true;
            }
            "bind-create-src" => {
                bind.create_mountpoint = Some(flag()?);
                has_bind = true;
            }
            "volume-nocopy" => {
                volume.no_copy = Some(flag()?);
                has_volume = true;
            }
            "volume-subpath" => {
                volume.subpath = Some(given.to_owned());
                has_volume = true;
            }
            "image-subpath" => {
                image.subpath = Some(given.to_owned());
                has_image = true;
            }
            "volume-label" => {
                let (k, v) = given.split_once('=').unwrap_or((given, ""));
                volume.labels.get_or_insert_default().insert(k.to_owned(), v.to_owned());
                has_volume = true;
            }
            "volume-driver" => {
                driver(&mut volume).name = Some(given.to_owned());
                has_volume = true;
            }
            "volume-opt" => {
                let (k, v) = given.split_once('=').unwrap_or((given, ""));
                let options = driver(&mut volume).options.get_or_insert_default();
                options.insert(k.to_owned(), v.to_owned());
                has_volume = true;
            }
            "tmpfs-size" => {
                let size = crate::format::units::parse_ram(given);
                tmpfs.size_bytes =
                    Some(size.map_err(|_| format!("invalid value for {key}: {given}"))?);
                has_tmpfs = true;
            }
            "tmpfs-mode" => {
                let mode = i64::from_str_radix(given, 8);
                tmpfs.mode = Some(mode.map_err(|_| format!("invalid value for {key}: {given}"))?);
                has_tmpfs = true;
            }
            _ => return Err(format!("unknown option '{key}' in '{field}'")),
        }
    }
    let kind = mount.typ;
    let wrong = |option: &str| {
        Err(format!(
            "cannot mix '{option}' options with mount type '{}'",
            kind.map_or_else(String::new, |k| k.to_string())
        ))
    };
    if mount.target.is_none() {
        return Err("target is required".to_owned());
    }
    if has_bind && kind != Some(MountType::BIND) {
        return wrong("bind-*");
    }
    if has_volume && kind != Some(MountType::VOLUME) {
        return wrong("volume-*");
    }
    if has_tmpfs && kind != Some(MountType::TMPFS) {
        return wrong("tmpfs-*");
    }
    if has_image && kind != Some(MountType::IMAGE) {
        return wrong("image-*");
    }
    mount.image_options = has_image.then_some(image);
    mount.bind_options = has_bind.then_some(bind);
    mount.volume_options = has_volume.then_some(volume);
    mount.tmpfs_options = has_tmpfs.then_some(tmpfs);
    Ok(mount)
}

/// `/run:size=64m` as an entry of `HostConfig.Tmpfs`.
pub(crate) fn tmpfs(text: &str) -> (String, String) {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    (path.to_owned(), options.to_owned())
}

fn driver(volume: &mut MountVolumeOptions) -> &mut MountVolumeOptionsDriverConfig {
    volume.driver_config.get_or_insert_default()
}

fn mount_type(text: &str) -> Result<MountType, String> {
    match text.to_ascii_lowercase().as_str() {
        "bind" => Ok(MountType::BIND),
        "volume" => Ok(MountType::VOLUME),
        "tmpfs" => Ok(MountType::TMPFS),
        "image" => Ok(MountType::IMAGE),
        other => Err(format!("mount type unknown: {other:?}")),
    }
}

fn propagation(text: &str) -> Result<Propagation, String> {
    match text {
        "private" => Ok(Propagation::PRIVATE),
        "rprivate" => Ok(Propagation::RPRIVATE),
        "shared" => Ok(Propagation::SHARED),
        "rshared" => Ok(Propagation::RSHARED),
        "slave" => Ok(Propagation::SLAVE),
        "rslave" => Ok(Propagation::RSLAVE),
        other => Err(format!("invalid propagation mode: {other}")),
    }
}

fn boolean(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("1" | "true" | "True" | "TRUE" | "t") => Ok(true),
        Some("0" | "false" | "False" | "FALSE" | "f") => Ok(false),
        Some(other) => Err(format!("invalid value for {key}: {other}")),
    }
}

/// One CSV record: fields may be quoted when they hold commas.
fn csv(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => {
                if let Some(field) = fields.last_mut() {
                    field.push(c);
                }
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_source_is_made_absolute() {
        let cwd = Path::new("/home/me");
        assert_eq!(volume("./a/../b:/x:ro", cwd), VolumeFlag::Bind("/home/me/b:/x:ro".to_owned()));
        assert_eq!(volume("data:/x", cwd), VolumeFlag::Bind("data:/x".to_owned()));
        assert_eq!(volume("/x", cwd), VolumeFlag::Anonymous("/x".to_owned()));
    }

    #[test]
    fn mounts_of_every_type_are_read() {
        let bind = mount("type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave").unwrap();
        assert_eq!(bind.typ, Some(MountType::BIND));
        assert_eq!(bind.read_only, Some(true));
        assert_eq!(bind.bind_options.unwrap().propagation, Some(Propagation::RSLAVE));
        let volume =
            mount("source=v,target=/d,volume-opt=type=nfs,\"volume-opt=o=addr=1,rw\"").unwrap();
        let options = volume.volume_options.unwrap().driver_config.unwrap().options.unwrap();
        assert_eq!(options["o"], "addr=1,rw");
        let tmpfs = mount("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1777").unwrap();
        assert_eq!(tmpfs.tmpfs_options.unwrap().mode, Some(0o1777));
    }

    #[test]
    fn wrong_mounts_say_which_word_is_wrong() {
        assert_eq!(mount("type=bind,src=/a").unwrap_err(), "target is required");
        assert_eq!(
            mount("foo,dst=/a").unwrap_err(),
            "invalid field 'foo' must be a key=value pair"
        );
        assert_eq!(mount("foo=1,dst=/a").unwrap_err(), "unknown option 'foo' in 'foo=1'");
        assert_eq!(
            mount("type=bind,dst=/a,volume-nocopy").unwrap_err(),
            "cannot mix 'volume-*' options with mount type 'bind'"
        );
    }
}
