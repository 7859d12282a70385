//! A service and everything inside it.

use super::{
    BOOL, BYTES, COMMAND, DURATION, ENVIRONMENT, FLOAT, Field, INT, LABELS, OPTIONS, Object, PATH,
    SCALAR, SCALAR_SET, STR, STR_LIST, STR_SET, STRINGS, Shape, keys,
};
use crate::{check, short};

const CLUSTER: &str = "it acts in a cluster only";
const WINDOWS: &str = "it acts on Windows only";
const KERNEL: &str = "the kernel's real-time and block limits are not set";

const fn f(name: &'static str, shape: &'static Shape) -> Field {
    Field::new(name, shape)
}

pub(crate) static SERVICE: Object = Object::new(
    "a service",
    &[
        f("annotations", LABELS),
        f("attach", BOOL),
        f("blkio_config", &Shape::Object(&BLKIO)),
        f("build", &Shape::Form(short::build, &Shape::Object(&BUILD))),
        f("cap_add", STR_SET),
        f("cap_drop", STR_SET),
        f("cgroup", &Shape::Enum(&["host", "private"])),
        f("cgroup_parent", STR),
        f("command", COMMAND),
        f(
            "configs",
            &Shape::List(&Shape::Form(short::config, &Shape::Object(&GRANT)), Some(keys::grant)),
        ),
        f("container_name", &Shape::Checked(check::container_name)),
        f("cpu_count", INT).unsupported(WINDOWS),
        f("cpu_percent", FLOAT).unsupported(WINDOWS),
        f("cpu_period", INT),
        f("cpu_quota", INT),
        f("cpu_rt_period", INT).unsupported(KERNEL),
        f("cpu_rt_runtime", INT).unsupported(KERNEL),
        f("cpu_shares", INT),
        f("cpus", FLOAT),
        f("cpuset", STR),
        f("credential_spec", &Shape::Object(&CREDENTIAL_SPEC)).unsupported(WINDOWS),
        f("depends_on", &Shape::Form(short::depends_on, &Shape::Map(&Shape::Object(&DEPENDENCY)))),
        f("deploy", &Shape::Object(&DEPLOY)),
        f("develop", &Shape::Object(&DEVELOP)),
        f("device_cgroup_rules", STR_SET),
        f(
            "devices",
            &Shape::List(&Shape::Form(short::device, &Shape::Object(&DEVICE)), Some(keys::target)),
        ),
        f("dns", STRINGS),
        f("dns_opt", STR_SET),
        f("dns_search", STRINGS),
        f("domainname", STR),
        f("entrypoint", COMMAND),
        f(
            "env_file",
            &Shape::Form(
                short::env_file,
                &Shape::List(&Shape::Object(&ENV_FILE), Some(keys::path)),
            ),
        ),
        f("environment", ENVIRONMENT),
        f("expose", SCALAR_SET),
        f("extends", &Shape::Form(short::extends, &Shape::Object(&EXTENDS))),
        f("external_links", STR_SET),
        f("extra_hosts", &Shape::Form(short::extra_hosts, STR_SET)),
        f("gpus", &Shape::Form(short::gpus, &Shape::List(&Shape::Object(&GPU), None)))
            .unsupported("no GPU is passed on"),
        f("group_add", SCALAR_SET),
        f("healthcheck", &Shape::Object(&HEALTHCHECK)),
        f("hostname", STR),
        f("image", STR),
        f("init", BOOL),
        f("ipc", STR),
        f("isolation", STR).unsupported(WINDOWS),
        f("label_file", &Shape::Form(short::list_of_one, &Shape::List(PATH, Some(keys::text)))),
        f("labels", LABELS),
        f("links", STR_SET),
        f("logging", &Shape::Object(&LOGGING)),
        f("mac_address", STR),
        f("mem_limit", BYTES),
        f("mem_reservation", BYTES),
        f("mem_swappiness", INT),
        f("memswap_limit", BYTES),
        f("models", &Shape::Any).unsupported("models are not run"),
        f("network_mode", STR),
        f("networks", &Shape::Form(short::names_to_map, &Shape::Map(&Shape::Object(&ENDPOINT)))),
        f("oom_kill_disable", BOOL),
        f("oom_score_adj", INT),
        f("pid", STR),
        f("pids_limit", INT),
        f("platform", STR),
        f(
            "ports",
            &Shape::List(&Shape::Form(short::port, &Shape::Object(&PORT)), Some(keys::port)),
        ),
        f("post_start", &Shape::List(&Shape::Object(&HOOK), None)),
        f("pre_stop", &Shape::List(&Shape::Object(&HOOK), None)),
        f("privileged", BOOL),
        f("profiles", STR_SET),
        f("provider", &Shape::Any).unsupported("providers are not run"),
        f("pull_policy", &Shape::Checked(check::pull_policy)),
        f("pull_refresh_after", STR).unsupported("use pull_policy: every_…"),
        f("read_only", BOOL),
        f("restart", &Shape::Checked(check::restart)),
        f("runtime", STR).unsupported("there is one runtime"),
        f("scale", INT),
        f(
            "secrets",
            &Shape::List(&Shape::Form(short::secret, &Shape::Object(&GRANT)), Some(keys::grant)),
        ),
        f("security_opt", STR_SET),
        f("shm_size", BYTES),
        f("stdin_open", BOOL),
        f("stop_grace_period", DURATION),
        f("stop_signal", STR),
        f("storage_opt", OPTIONS).unsupported("layers have no quota"),
        f("sysctls", LABELS),
        f("tmpfs", STRINGS),
        f("tty", BOOL),
        f("ulimits", ULIMITS),
        f("use_api_socket", BOOL).unsupported("mount the socket as a volume"),
        f("user", STR),
        f("userns_mode", STR),
        f("uts", STR),
        f(
            "volumes",
            &Shape::List(&Shape::Form(short::volume, &Shape::Object(&MOUNT)), Some(keys::target)),
        ),
        f("volumes_from", STR_SET),
        f("working_dir", STR),
    ],
);

const ULIMITS: &Shape = &Shape::Map(&Shape::Form(short::ulimit, &Shape::Object(&ULIMIT)));
static ULIMIT: Object =
    Object::new("a ulimit", &[f("hard", INT).required(), f("soft", INT).required()]);

static BUILD: Object = Object::new(
    "a build",
    &[
        f("additional_contexts", LABELS).unsupported("a build has one context"),
        f("args", ENVIRONMENT),
        f("cache_from", STR_SET),
        f("cache_to", STR_SET).unsupported("the build cache is not exported"),
        f("context", STR),
        f("dockerfile", STR),
        f("dockerfile_inline", STR),
        f("entitlements", STR_LIST).unsupported("builds get no privileges"),
        f("extra_hosts", &Shape::Form(short::extra_hosts, STR_SET)),
        f("isolation", STR).unsupported(WINDOWS),
        f("labels", LABELS),
        f("network", STR),
        f("no_cache", BOOL),
        f("platforms", STR_SET),
        f("privileged", BOOL).unsupported("builds get no privileges"),
        f("provenance", SCALAR).unsupported("no attestation is made"),
        f("pull", BOOL),
        f("sbom", SCALAR).unsupported("no attestation is made"),
        f(
            "secrets",
            &Shape::List(&Shape::Form(short::config, &Shape::Object(&GRANT)), Some(keys::grant)),
        )
        .unsupported("builds get no secrets yet"),
        f("shm_size", BYTES),
        f("ssh", LABELS).unsupported("builds get no SSH agent"),
        f("tags", STR_SET),
        f("target", STR),
        f("ulimits", ULIMITS),
    ],
);

static BLKIO: Object = Object::new(
    "a block IO limit",
    &[
        f("device_read_bps", &Shape::List(&Shape::Object(&BLKIO_RATE), Some(keys::path))),
        f("device_read_iops", &Shape::List(&Shape::Object(&BLKIO_RATE), Some(keys::path))),
        f("device_write_bps", &Shape::List(&Shape::Object(&BLKIO_RATE), Some(keys::path))),
        f("device_write_iops", &Shape::List(&Shape::Object(&BLKIO_RATE), Some(keys::path))),
        f("weight", INT),
        f("weight_device", &Shape::List(&Shape::Object(&BLKIO_WEIGHT), Some(keys::path))),
    ],
);
static BLKIO_RATE: Object = Object::new("a rate", &[f("path", STR), f("rate", BYTES)]);
static BLKIO_WEIGHT: Object = Object::new("a weight", &[f("path", STR), f("weight", INT)]);

static CREDENTIAL_SPEC: Object =
    Object::new("a credential spec", &[f("config", STR), f("file", STR), f("registry", STR)]);

static DEPENDENCY: Object = Object::new(
    "a dependency",
    &[
        f(
            "condition",
            &Shape::Enum(&["service_started", "service_healthy", "service_completed_successfully"]),
        )
        .required(),
        f("required", BOOL),
        f("restart", BOOL),
    ],
);

static DEVICE: Object = Object::new(
    "a device",
    &[f("permissions", STR), f("source", STR).required(), f("target", STR)],
);

static ENV_FILE: Object = Object::new(
    "an env_file",
    &[f("format", &Shape::Enum(&["raw"])), f("path", PATH).required(), f("required", BOOL)],
);

static EXTENDS: Object = Object::new("an extends", &[f("file", STR), f("service", STR).required()]);

static ENDPOINT: Object = Object::new(
    "a service's network",
    &[
        f("aliases", STR_SET),
        f("driver_opts", OPTIONS),
        f("gw_priority", INT),
        f("interface_name", STR).unsupported("interfaces are named by the engine"),
        f("ipv4_address", STR),
        f("ipv6_address", STR),
        f("link_local_ips", STR_SET),
        f("mac_address", STR),
        f("priority", INT),
    ],
);

static GRANT: Object = Object::new(
    "a secret or config grant",
    &[
        f("gid", STR),
        f("mode", &Shape::Mode),
        f("source", STR).required(),
        f("target", STR),
        f("uid", STR),
    ],
);

static HEALTHCHECK: Object = Object::new(
    "a health check",
    &[
        f("disable", BOOL),
        f("interval", DURATION),
        f("retries", INT),
        f("start_interval", DURATION),
        f("start_period", DURATION),
        f("test", &Shape::Replace(&Shape::Form(short::health_test, STR_LIST))),
        f("timeout", DURATION),
    ],
);

static HOOK: Object = Object::new(
    "a hook",
    &[
        f("command", COMMAND).required(),
        f("environment", ENVIRONMENT),
        f("privileged", BOOL),
        f("user", STR),
        f("working_dir", STR),
    ],
);

static LOGGING: Object = Object {
    what: "a logging section",
    fields: &[f("driver", STR), f("options", OPTIONS)],
    identity: Some("driver"),
};

static PORT: Object = Object::new(
    "a port",
    &[
        f("app_protocol", STR),
        f("host_ip", STR),
        f("mode", &Shape::Enum(&["host", "ingress"])),
        f("name", STR),
        f("protocol", &Shape::Enum(&["tcp", "udp", "sctp"])),
        f("published", SCALAR),
        f("target", INT).required(),
    ],
);

static MOUNT: Object = Object::new(
    "a volume mount",
    &[
        f("bind", &Shape::Object(&MOUNT_BIND)),
        f("consistency", STR),
        f("image", &Shape::Object(&MOUNT_IMAGE)),
        f("read_only", BOOL),
        f("source", STR),
        f("target", STR),
        f("tmpfs", &Shape::Object(&MOUNT_TMPFS)),
        f("type", &Shape::Enum(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"]))
            .required(),
        f("volume", &Shape::Object(&MOUNT_VOLUME)),
    ],
);
static MOUNT_BIND: Object = Object::new(
    "the options of a bind",
    &[
        f("create_host_path", BOOL),
        f("propagation", STR),
        f("recursive", &Shape::Enum(&["enabled", "disabled", "writable", "readonly"])),
        f("selinux", &Shape::Enum(&["z", "Z"])),
    ],
);
static MOUNT_IMAGE: Object = Object::new("the options of an image mount", &[f("subpath", STR)]);
static MOUNT_TMPFS: Object =
    Object::new("the options of a tmpfs", &[f("mode", INT), f("size", BYTES)]);
static MOUNT_VOLUME: Object = Object::new(
    "the options of a volume",
    &[f("labels", LABELS), f("nocopy", BOOL), f("subpath", STR)],
);

static DEVELOP: Object =
    Object::new("a develop section", &[f("watch", &Shape::List(&Shape::Object(&WATCH), None))]);
static WATCH: Object = Object::new(
    "a watch rule",
    &[
        f("action", &Shape::Enum(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"]))
            .required(),
        f("exec", &Shape::Object(&HOOK)),
        f("ignore", STRINGS),
        f("include", STRINGS),
        f("initial_sync", BOOL),
        f("path", PATH).required(),
        f("target", STR),
    ],
);

static DEPLOY: Object = Object::new(
    "a deploy section",
    &[
        f("endpoint_mode", STR).unsupported(CLUSTER),
        f("labels", LABELS).unsupported(CLUSTER),
        f("mode", &Shape::Enum(&["replicated", "global", "replicated-job", "global-job"])),
        f("placement", &Shape::Object(&PLACEMENT)).unsupported(CLUSTER),
        f("replicas", INT),
        f("resources", &Shape::Object(&RESOURCES)),
        f("restart_policy", &Shape::Object(&RESTART_POLICY)),
        f("rollback_config", &Shape::Object(&UPDATE)).unsupported(CLUSTER),
        f("update_config", &Shape::Object(&UPDATE)).unsupported(CLUSTER),
    ],
);
static PLACEMENT: Object = Object::new(
    "a placement",
    &[
        f("constraints", STR_LIST),
        f("max_replicas_per_node", INT),
        f("preferences", &Shape::List(&Shape::Object(&SPREAD), None)),
    ],
);
static SPREAD: Object = Object::new("a placement preference", &[f("spread", STR)]);
static UPDATE: Object = Object::new(
    "an update policy",
    &[
        f("delay", DURATION),
        f("failure_action", STR),
        f("max_failure_ratio", FLOAT),
        f("monitor", DURATION),
        f("order", &Shape::Enum(&["start-first", "stop-first"])),
        f("parallelism", INT),
    ],
);
static RESTART_POLICY: Object = Object::new(
    "a restart policy",
    &[
        f("condition", &Shape::Enum(&["none", "on-failure", "any"])),
        f("delay", DURATION),
        f("max_attempts", INT),
        f("window", DURATION),
    ],
);
static RESOURCES: Object = Object::new(
    "the resources",
    &[f("limits", &Shape::Object(&LIMITS)), f("reservations", &Shape::Object(&RESERVATIONS))],
);
static LIMITS: Object =
    Object::new("the limits", &[f("cpus", FLOAT), f("memory", BYTES), f("pids", INT)]);
static RESERVATIONS: Object = Object::new(
    "the reservations",
    &[
        f("cpus", FLOAT),
        f("devices", &Shape::List(&Shape::Object(&RESERVED_DEVICE), None))
            .unsupported("no GPU is passed on"),
        f("generic_resources", &Shape::List(&Shape::Object(&GENERIC), None)).unsupported(CLUSTER),
        f("memory", BYTES),
    ],
);
static GENERIC: Object =
    Object::new("a generic resource", &[f("discrete_resource_spec", &Shape::Object(&DISCRETE))]);
static DISCRETE: Object = Object::new("a discrete resource", &[f("kind", STR), f("value", FLOAT)]);
static RESERVED_DEVICE: Object = Object::new(
    "a device request",
    &[
        f("capabilities", STR_LIST).required(),
        f("count", SCALAR),
        f("device_ids", STR_LIST),
        f("driver", STR),
        f("options", LABELS),
    ],
);
static GPU: Object = Object::new(
    "a GPU request",
    &[
        f("capabilities", STR_LIST),
        f("count", SCALAR),
        f("device_ids", STR_LIST),
        f("driver", STR),
        f("options", LABELS),
    ],
);
