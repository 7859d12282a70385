use super::*;
use crate::{DEFAULT_CAPABILITIES, ExecUser, Facts, Shm};
use std::collections::BTreeMap;
use std::path::Path;
use types::container::{Config, HostConfig};

fn facts() -> Facts {
    Facts {
        cgroup_v1_mounts: vec!["memory".to_owned(), "pids".to_owned()],
        swap_limit: true,
        capabilities: DEFAULT_CAPABILITIES.map(str::to_owned).to_vec(),
        arch: "x86_64".to_owned(),
        ..Facts::default()
    }
}

fn spec_of(host: &HostConfig, facts: &Facts, change: impl Fn(&mut Input<'_>)) -> Value {
    let config = Config::default();
    let mut input = Input {
        config: &config,
        host,
        args: vec!["true".to_owned()],
        env: vec!["PATH=/bin".to_owned()],
        cwd: "/srv",
        user: ExecUser::default(),
        rootfs: Path::new("/rootfs"),
        mounts: Vec::new(),
        devices: Vec::new(),
        block_devices: BTreeMap::new(),
        network: Namespace::Path("/run/netns/a".to_owned()),
        pid: Namespace::Private,
        ipc: Namespace::Private,
        uts: Namespace::Private,
        cgroupns: Namespace::Host,
        shm: Shm::Private,
        hostname: "box",
        cgroup_path: "/docker/a",
        init: Init::Command,
        facts,
    };
    change(&mut input);
    serde_json::to_value(build(&input).unwrap().0).unwrap()
}

fn default_spec() -> Value {
    spec_of(&HostConfig::default(), &facts(), |_| {})
}

fn destinations(spec: &Value) -> Vec<&str> {
    spec["mounts"].as_array().unwrap().iter().map(|m| m["destination"].as_str().unwrap()).collect()
}

fn bind(destination: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind: "bind".to_owned(),
        source: "/src".to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    }
}

#[test]
fn v1_controllers_are_read_only_by_name_and_their_directory_last() {
    let spec = default_spec();
    let readonly = spec["linux"]["readonlyPaths"].as_array().unwrap();
    let tail: Vec<&str> =
        readonly.iter().rev().take(3).rev().map(|p| p.as_str().unwrap()).collect();
    assert_eq!(tail, ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids", "/sys/fs/cgroup"]);
    let v2 = Facts { cgroup_v2: true, ..facts() };
    let spec = spec_of(&HostConfig::default(), &v2, |_| {});
    assert!(!spec["linux"]["readonlyPaths"].as_array().unwrap().contains(&"/sys/fs/cgroup".into()));
}

#[test]
fn the_default_container_is_confined_as_dockers() {
    let spec = default_spec();
    assert_eq!(spec["process"].get("noNewPrivileges"), None);
    let mut caps: Vec<&str> = spec["process"]["capabilities"]["bounding"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cap| cap.as_str().unwrap())
        .collect();
    let mut expected = DEFAULT_CAPABILITIES.to_vec();
    caps.sort_unstable();
    expected.sort_unstable();
    assert_eq!(caps, expected);
    assert_eq!(spec["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(spec["linux"]["resources"]["devices"][0]["allow"], false);
    assert_eq!(
        destinations(&spec),
        ["/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm"]
    );
    let kinds: Vec<&Value> =
        spec["linux"]["namespaces"].as_array().unwrap().iter().map(|ns| &ns["type"]).collect();
    assert_eq!(kinds, ["mount", "network", "pid", "ipc", "uts"]);
}

#[test]
fn privileged_takes_every_fence_down() {
    let host = HostConfig { privileged: true, ..HostConfig::default() };
    let spec = spec_of(&host, &facts(), |_| {});
    assert_eq!(spec["linux"].get("seccomp"), None);
    assert_eq!(spec["linux"]["maskedPaths"], json!([]));
    assert_eq!(spec["linux"]["readonlyPaths"], json!([]));
    assert_eq!(spec["linux"]["resources"]["devices"].as_array().unwrap().len(), 1);
}

#[test]
fn the_users_mounts_replace_defaults_and_come_shallow_first() {
    let spec = spec_of(&HostConfig::default(), &facts(), |input| {
        input.mounts =
            vec![bind("/data/deep", &["rbind"]), bind("/dev/shm", &["rbind"]), bind("/data", &[])];
    });
    let all = destinations(&spec);
    assert_eq!(all.iter().filter(|d| **d == "/dev/shm").count(), 1);
    assert_eq!(all[all.len() - 3..], ["/data", "/data/deep", "/dev/shm"]);
}

#[test]
fn shared_mounts_make_the_root_shared() {
    let spec = spec_of(&HostConfig::default(), &facts(), |input| {
        input.mounts = vec![bind("/data", &["rbind", "rshared"])];
    });
    assert_eq!(spec["linux"]["rootfsPropagation"], "shared");
    assert_eq!(default_spec()["linux"].get("rootfsPropagation"), None);
}

#[test]
fn an_init_is_a_file_before_the_command_or_built_in() {
    let spec = spec_of(&HostConfig::default(), &facts(), |input| {
        input.init = Init::File("/usr/bin/tini-static".to_owned());
    });
    assert_eq!(spec["process"]["args"], json!(["/sbin/docker-init", "--", "true"]));
    assert!(destinations(&spec).contains(&"/sbin/docker-init"));
    let spec = spec_of(&HostConfig::default(), &facts(), |input| input.init = Init::BuiltIn);
    assert_eq!(spec["annotations"][INIT_ANNOTATION], "true");
}

#[test]
fn the_hosts_namespaces_are_not_named_nor_written_to() {
    let spec = spec_of(&HostConfig::default(), &facts(), |input| {
        (input.network, input.uts) = (Namespace::Host, Namespace::Host);
    });
    assert_eq!(spec.get("hostname"), None);
    assert_eq!(spec["linux"]["sysctl"], json!({}));
}
