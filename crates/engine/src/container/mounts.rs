//! Which mounts a new container gets: binds, `--mount`, `--tmpfs`, volumes of the image and of other
//! containers, in Docker's order and with Docker's refusals. Pure but for the random names handed in.

use super::record::MountRecord;
use crate::{Error, Result};
use std::collections::BTreeMap;
use types::container::{Config, HostConfig};
use types::mount::{BindOptions, Mount, MountPoint, VolumeOptions};

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// What one container's mounts come to. Later sources give way to earlier ones of the same target.
pub(crate) fn resolve(
    config: &Config,
    host: &HostConfig,
    volumes_from: &[(Vec<MountRecord>, bool)],
    mut new_name: impl FnMut() -> String,
) -> Result<Vec<MountRecord>> {
    let mut mounts: BTreeMap<String, MountRecord> = BTreeMap::new();
    for (inherited, writable) in volumes_from {
        for mount in inherited {
            let mut mount = mount.clone();
            mount.point.rw &= writable;
            // The volume belongs to the container that made it, as far as `rm -v` goes.
            mount.anonymous = false;
            mounts.insert(mount.point.destination.clone(), mount);
        }
    }
    let mut named: BTreeMap<String, MountRecord> = BTreeMap::new();
    for bind in host.binds.iter().flatten() {
        claim(&mut named, driven(parse_bind(bind, &mut new_name)?, host))?;
    }
    for spec in host.mounts.iter().flatten() {
        claim(&mut named, from_mount(spec, &mut new_name)?)?;
    }
    for (target, options) in host.tmpfs.iter().flatten() {
        claim(&mut named, tmpfs(target, options)?)?;
    }
    mounts.extend(named);
    for target in config.volumes.iter().flatten().map(|(target, _)| target) {
        let target = clean(target);
        if target == "/" {
            return Err(Error::invalid("invalid volume: destination can't be '/'"));
        }
        let anonymous = || driven(anonymous(&target, new_name()), host);
        mounts.entry(target.clone()).or_insert_with(anonymous);
    }
    Ok(mounts.into_values().collect())
}

fn claim(mounts: &mut BTreeMap<String, MountRecord>, mount: MountRecord) -> Result<()> {
    let target = mount.point.destination.clone();
    match mounts.insert(target.clone(), mount) {
        Some(_) => Err(Error::invalid(format!("Duplicate mount point: {target}"))),
        None => Ok(()),
    }
}

/// `--volume-driver` is the driver of volumes that name none themselves.
fn driven(mut mount: MountRecord, host: &HostConfig) -> MountRecord {
    if mount.point.kind == "volume" && !host.volume_driver.is_empty() {
        mount.point.driver.clone_from(&host.volume_driver);
    }
    mount
}

fn anonymous(target: &str, name: String) -> MountRecord {
    let spec = Mount { kind: "volume".to_owned(), target: target.to_owned(), ..Mount::default() };
    volume(spec, name, true, String::new(), true)
}

fn volume(spec: Mount, name: String, anonymous: bool, mode: String, rw: bool) -> MountRecord {
    let options = spec.volume_options.clone().unwrap_or_default();
    let driver = options.driver_config.map(|driver| driver.name).unwrap_or_default();
    MountRecord {
        point: MountPoint {
            kind: "volume".to_owned(),
            name,
            destination: spec.target.clone(),
            driver: if driver.is_empty() { "local".to_owned() } else { driver },
            mode,
            rw,
            ..MountPoint::default()
        },
        copy_up: !options.no_copy,
        spec,
        anonymous,
        ..MountRecord::default()
    }
}

/// `source:target[:options]`, `target` alone, or `name:target`.
fn parse_bind(text: &str, new_name: &mut impl FnMut() -> String) -> Result<MountRecord> {
    let invalid = || Error::invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts[..] {
        [target] => (None, target, ""),
        [target, mode] if parse_mode(mode, false).is_some() && !mode.is_empty() => {
            (None, target, mode)
        }
        [source, target] => (Some(source), target, ""),
        [source, target, mode] => (Some(source), target, mode),
        _ => return Err(invalid()),
    };
    if target.is_empty() || source == Some("") {
        return Err(invalid());
    }
    let wrong = |reason: String| {
        let kind =
            if source.is_some_and(|source| source.starts_with('/')) { "bind" } else { "volume" };
        let reason = format!("invalid mount config for type \"{kind}\": {reason}");
        Error::invalid(format!("invalid volume specification: '{text}': {reason}"))
    };
    if !target.starts_with('/') {
        return Err(wrong(format!("invalid mount path: '{target}' mount path must be absolute")));
    }
    if clean(target) == "/" {
        return Err(wrong("invalid specification: destination can't be '/'".to_owned()));
    }
    let modes = parse_mode(mode, source.is_some_and(|source| source.starts_with('/')))
        .ok_or_else(|| Error::invalid(format!("invalid mode: {mode}")))?;
    let spec = Mount { target: clean(target), read_only: !modes.rw, ..Mount::default() };
    Ok(match source {
        Some(source) if source.starts_with('/') => bind(
            Mount {
                kind: "bind".to_owned(),
                source: clean(source),
                bind_options: Some(BindOptions {
                    propagation: modes.propagation,
                    ..BindOptions::default()
                }),
                ..spec
            },
            mode.to_owned(),
            true,
        ),
        source => {
            let options = VolumeOptions { no_copy: modes.no_copy, ..VolumeOptions::default() };
            let spec = Mount { kind: "volume".to_owned(), volume_options: Some(options), ..spec };
            let name = source.map_or_else(new_name, str::to_owned);
            // Docker shows `z` as the mode of a plain named volume.
            let mode = if mode.is_empty() { "z".to_owned() } else { mode.to_owned() };
            volume(spec, name, source.is_none(), mode, modes.rw)
        }
    })
}

struct Modes {
    rw: bool,
    no_copy: bool,
    propagation: String,
}

/// The options after the second colon; `None` when one is unknown or said twice.
fn parse_mode(mode: &str, is_bind: bool) -> Option<Modes> {
    let mut modes = Modes { rw: true, no_copy: false, propagation: String::new() };
    let mut access_seen = false;
    for option in mode.split(',').filter(|option| !option.is_empty()) {
        match option {
            "rw" | "ro" if !access_seen => {
                access_seen = true;
                modes.rw = option == "rw";
            }
            "z" | "Z" | "consistent" | "cached" | "delegated" => {}
            "nocopy" if !is_bind => modes.no_copy = true,
            propagation
                if PROPAGATIONS.contains(&propagation)
                    && is_bind
                    && modes.propagation.is_empty() =>
            {
                option.clone_into(&mut modes.propagation);
            }
            _ => return None,
        }
    }
    Some(modes)
}

fn bind(spec: Mount, mode: String, create_source: bool) -> MountRecord {
    let options = spec.bind_options.clone().unwrap_or_default();
    let propagation =
        if options.propagation.is_empty() { "rprivate".to_owned() } else { options.propagation };
    MountRecord {
        point: MountPoint {
            kind: "bind".to_owned(),
            source: spec.source.clone(),
            destination: spec.target.clone(),
            mode,
            rw: !spec.read_only,
            propagation,
            ..MountPoint::default()
        },
        create_source: create_source || options.create_mountpoint,
        spec,
        ..MountRecord::default()
    }
}

fn tmpfs(target: &str, options: &str) -> Result<MountRecord> {
    let refused = |reason: &str| Error::invalid(format!("invalid tmpfs option \"{reason}\""));
    if !target.starts_with('/') {
        return Err(Error::invalid(format!(
            "invalid mount path: '{target}' mount path must be absolute"
        )));
    }
    if clean(target) == "/" {
        return Err(Error::invalid("invalid specification: destination can't be '/'"));
    }
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let known = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"];
        let flags = [
            "rw",
            "ro",
            "exec",
            "noexec",
            "suid",
            "nosuid",
            "dev",
            "nodev",
            "sync",
            "async",
            "dirsync",
            "atime",
            "noatime",
            "diratime",
            "nodiratime",
            "relatime",
            "norelatime",
            "strictatime",
            "nostrictatime",
            "private",
            "rprivate",
            "shared",
            "rshared",
            "slave",
            "rslave",
            "unbindable",
            "runbindable",
            "bind",
            "rbind",
            "remount",
            "mand",
            "nomand",
            "defaults",
        ];
        let name = option.split_once('=').map_or(option, |(name, _)| name);
        if !(flags.contains(&option) || (option.contains('=') && known.contains(&name))) {
            return Err(refused(option));
        }
    }
    let spec = Mount { kind: "tmpfs".to_owned(), target: clean(target), ..Mount::default() };
    Ok(MountRecord {
        point: MountPoint {
            kind: "tmpfs".to_owned(),
            destination: spec.target.clone(),
            mode: options.to_owned(),
            rw: !options.split(',').any(|option| option == "ro"),
            ..MountPoint::default()
        },
        spec,
        ..MountRecord::default()
    })
}

/// An entry of `HostConfig.Mounts`.
fn from_mount(spec: &Mount, new_name: &mut impl FnMut() -> String) -> Result<MountRecord> {
    let invalid = |reason: String| {
        Error::invalid(format!("invalid mount config for type \"{}\": {reason}", spec.kind))
    };
    let extra = |field: &str| invalid(format!("field {field} must not be specified"));
    if spec.target.is_empty() {
        return Err(invalid("field Target must not be empty".to_owned()));
    }
    if !spec.target.starts_with('/') {
        return Err(invalid(format!(
            "invalid mount path: '{}' mount path must be absolute",
            spec.target
        )));
    }
    if clean(&spec.target) == "/" {
        return Err(invalid("invalid specification: destination can't be '/'".to_owned()));
    }
    let spec_clean = Mount { target: clean(&spec.target), ..spec.clone() };
    let others = |own: &str| {
        let options = [
            ("bind", "BindOptions", spec.bind_options.is_some()),
            ("volume", "VolumeOptions", spec.volume_options.is_some()),
            ("image", "ImageOptions", spec.image_options.is_some()),
            ("tmpfs", "TmpfsOptions", spec.tmpfs_options.is_some()),
        ];
        let wrong = options.into_iter().find(|(kind, _, given)| *given && *kind != own);
        wrong.map_or(Ok(()), |(_, field, _)| Err(extra(field)))
    };
    match spec.kind.as_str() {
        "bind" => {
            if spec.source.is_empty() {
                return Err(invalid("field Source must not be empty".to_owned()));
            }
            if !spec.source.starts_with('/') {
                return Err(invalid(format!(
                    "invalid mount path: '{}' mount path must be absolute",
                    spec.source
                )));
            }
            others("bind")?;
            let propagation = spec.bind_options.as_ref().map_or("", |options| &options.propagation);
            if !propagation.is_empty() && !PROPAGATIONS.contains(&propagation) {
                return Err(invalid(format!("invalid propagation mode: {propagation}")));
            }
            Ok(bind(Mount { source: clean(&spec.source), ..spec_clean }, String::new(), false))
        }
        "volume" => {
            others("volume")?;
            let nameless = spec.source.is_empty();
            let options = spec.volume_options.as_ref();
            if let Some(subpath) =
                options.map(|options| &options.subpath).filter(|sub| !sub.is_empty())
            {
                if nameless {
                    let refused = "must not set Subpath when using anonymous volumes";
                    return Err(invalid(refused.to_owned()));
                }
                check_subpath(subpath).map_err(invalid)?;
            }
            if nameless && spec.read_only {
                let refused = "must not set ReadOnly mode when using anonymous volumes";
                return Err(invalid(refused.to_owned()));
            }
            let name = if nameless { new_name() } else { spec.source.clone() };
            Ok(volume(spec_clean, name, nameless, "z".to_owned(), !spec.read_only))
        }
        "tmpfs" => {
            others("tmpfs")?;
            if !spec.source.is_empty() {
                return Err(extra("Source"));
            }
            let mut mount = tmpfs(&spec.target, "")?;
            mount.point.rw = !spec.read_only;
            mount.point.mode = tmpfs_mode(spec);
            mount.spec = spec_clean;
            Ok(mount)
        }
        "image" => {
            others("image")?;
            if spec.source.is_empty() {
                return Err(invalid("field Source must not be empty".to_owned()));
            }
            if let Some(options) =
                spec.image_options.as_ref().filter(|given| !given.subpath.is_empty())
            {
                check_subpath(&options.subpath).map_err(invalid)?;
            }
            Ok(image(spec_clean))
        }
        _ => Err(invalid("mount type unknown".to_owned())),
    }
}

/// Where it is and which image it is comes when it is made.
fn image(spec: Mount) -> MountRecord {
    MountRecord {
        point: MountPoint {
            kind: "image".to_owned(),
            name: spec.source.clone(),
            destination: spec.target.clone(),
            ..MountPoint::default()
        },
        spec,
        ..MountRecord::default()
    }
}

/// Go's `filepath.IsLocal`.
fn check_subpath(subpath: &str) -> std::result::Result<(), String> {
    let mut depth = 0_i32;
    let inside = subpath.split('/').all(|part| {
        depth += match part {
            "" | "." => 0,
            ".." => -1,
            _ => 1,
        };
        depth >= 0
    });
    if inside && !subpath.starts_with('/') {
        return Ok(());
    }
    Err("subpath must be a relative path within the volume".to_owned())
}

fn tmpfs_mode(spec: &Mount) -> String {
    let options = spec.tmpfs_options.clone().unwrap_or_default();
    let mut words = Vec::new();
    if spec.read_only {
        words.push("ro".to_owned());
    }
    if options.size_bytes > 0 {
        words.push(format!("size={}", options.size_bytes));
    }
    if options.mode != 0 {
        words.push(format!("mode={:o}", options.mode));
    }
    words.extend(options.options.into_iter().flatten().map(|pair| pair.join("=")));
    words.join(",")
}

/// A path without doubled and trailing slashes, `.` and `..` (Go's `path.Clean` of an absolute path).
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binds(list: &[&str]) -> Result<Vec<MountRecord>> {
        let host = HostConfig {
            binds: Some(list.iter().map(|bind| (*bind).to_owned()).collect()),
            ..HostConfig::default()
        };
        resolve(&Config::default(), &host, &[], || "fresh".to_owned())
    }
    fn refusal(list: &[&str]) -> String {
        binds(list).unwrap_err().to_string()
    }

    #[test]
    fn the_three_forms_of_v_are_told_apart() {
        let got = binds(&["/src:/a:ro", "data:/b", "/c"]).unwrap();
        let shown: Vec<_> = got
            .iter()
            .map(|mount| {
                (
                    mount.point.kind.as_str(),
                    mount.point.name.as_str(),
                    mount.point.rw,
                    mount.anonymous,
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("bind", "", false, false),
                ("volume", "data", true, false),
                ("volume", "fresh", true, true)
            ]
        );
    }

    #[test]
    fn wrong_binds_are_refused_in_dockers_words() {
        assert_eq!(refusal(&["/a:/b:rx"]), "invalid mode: rx");
        assert_eq!(refusal(&["/a:/b", "c:/b"]), "Duplicate mount point: /b");
        assert_eq!(refusal(&[""]), "invalid volume specification: ''");
        assert_eq!(
            refusal(&["a:b"]),
            "invalid volume specification: 'a:b': invalid mount config for type \"volume\": \
             invalid mount path: 'b' mount path must be absolute"
        );
        assert_eq!(
            refusal(&["/a:/"]),
            "invalid volume specification: '/a:/': invalid mount config for type \"bind\": \
             invalid specification: destination can't be '/'"
        );
        let root = HostConfig {
            tmpfs: Some([("//".to_owned(), String::new())].into()),
            ..HostConfig::default()
        };
        let refused = resolve(&Config::default(), &root, &[], String::new).unwrap_err();
        assert_eq!(refused.to_string(), "invalid specification: destination can't be '/'");
    }

    #[test]
    fn a_driver_given_for_all_volumes_is_that_of_binds_and_anonymous_ones() {
        let host = HostConfig {
            binds: Some(vec!["data:/b".to_owned(), "/src:/a".to_owned()]),
            volume_driver: "other".to_owned(),
            ..HostConfig::default()
        };
        let config = Config {
            volumes: Some([("/c".to_owned(), Default::default())].into()),
            ..Config::default()
        };
        let mounts = resolve(&config, &host, &[], || "fresh".to_owned()).unwrap();
        let drivers: Vec<_> = mounts.iter().map(|mount| mount.point.driver.as_str()).collect();
        assert_eq!(drivers, ["", "other", "other"]);
    }

    fn mount(spec: Mount) -> std::result::Result<MountRecord, String> {
        from_mount(&spec, &mut || "fresh".to_owned()).map_err(|err| err.to_string())
    }

    fn of(kind: &str, source: &str) -> Mount {
        let text = |text: &str| text.to_owned();
        Mount { kind: text(kind), source: text(source), target: text("/t"), ..Mount::default() }
    }

    #[test]
    fn an_image_is_mounted_read_only() {
        let made = mount(of("image", "busybox")).unwrap();
        assert_eq!((made.point.name.as_str(), made.point.rw), ("busybox", false));
        let refused = mount(of("image", "")).unwrap_err();
        assert!(refused.ends_with("field Source must not be empty"), "{refused}");
        let volume_options = Some(VolumeOptions::default());
        let refused = mount(Mount { volume_options, ..of("image", "busybox") }).unwrap_err();
        assert!(refused.ends_with("field VolumeOptions must not be specified"), "{refused}");
    }

    #[test]
    fn a_subpath_stays_inside_a_named_volume() {
        let with = |name: &str, subpath: &str| {
            let options = VolumeOptions { subpath: subpath.to_owned(), ..VolumeOptions::default() };
            mount(Mount { volume_options: Some(options), ..of("volume", name) })
        };
        with("v", "a/../b").unwrap();
        for outside in ["/a", "..", "a/../../b"] {
            let refused = with("v", outside).unwrap_err();
            assert!(refused.contains("subpath must be a relative path"), "{outside}: {refused}");
        }
        let refused = with("", "a").unwrap_err();
        assert!(refused.contains("must not set Subpath when using anonymous"), "{refused}");
        let refused = mount(of("nonsense", "")).unwrap_err();
        assert_eq!(refused, "invalid mount config for type \"nonsense\": mount type unknown");
    }

    #[test]
    fn an_image_volume_gives_way_to_a_mount_of_the_same_target() {
        let config = Config {
            volumes: Some([("/data/".to_owned(), types::container::Empty {})].into()),
            ..Config::default()
        };
        let host =
            HostConfig { binds: Some(vec!["named:/data".to_owned()]), ..HostConfig::default() };
        let got = resolve(&config, &host, &[], || "fresh".to_owned()).unwrap();
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].point.name, "named");
    }
}
