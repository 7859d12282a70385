//! A service and everything inside it.

use super::{
    BOOL, BYTES, COMMAND, DISTINCT, DISTINCT_LABELS, DISTINCT_LIST, DURATION, ENVIRONMENT, FLOAT,
    Field, INT, LABELS, OPTIONS, Object, PATH, SCALAR, SCALAR_SET, STR, STR_LIST, STR_SET, STRINGS,
    Shape, keys,
};
use crate::{check, short};

/// Of keys that a stack honours and a single node does not.
pub(crate) const CLUSTER: &str = "it acts in a cluster only";
const WINDOWS: &str = "it acts on Windows only";
const KERNEL: &str = "the kernel's real-time and block limits are not set";

const fn f(name: &'static str, shape: &'static Shape) -> Field {
    Field::new(name, shape)
}

pub(crate) static SERVICE: Object = Object::new(
    "a service",
    &[
        f("profiles", STR_SET),
        f("annotations", LABELS),
        f("attach", BOOL).kept(),
        f("build", &Shape::Form(short::build, &Shape::Object(&BUILD))).kept(),
        f("develop", &Shape::Object(&DEVELOP)).kept().nullable(),
        f("blkio_config", &Shape::Object(&BLKIO)).kept(),
        f("cap_add", STR_SET),
        f("cap_drop", STR_SET),
        f("cgroup_parent", STR),
        f("cgroup", &Shape::Enum(&["host", "private"])),
        f("cpu_count", &Shape::Form(short::natural, INT)).unsupported(WINDOWS),
        f("cpu_percent", &Shape::Form(short::natural, &Shape::Form(short::whole, FLOAT)))
            .unsupported(WINDOWS),
        f("cpu_period", INT),
        f("cpu_quota", INT),
        f("cpu_rt_period", &Shape::Form(short::microseconds, INT)).unsupported(KERNEL),
        f("cpu_rt_runtime", &Shape::Form(short::microseconds, INT)).unsupported(KERNEL),
        f("cpus", FLOAT),
        f("cpuset", STR),
        f("cpu_shares", INT),
        f("command", COMMAND).kept(),
        f(
            "configs",
            &Shape::List(&Shape::Form(short::config, &Shape::Object(&GRANT)), Some(keys::grant)),
        ),
        f("container_name", &Shape::Checked(check::container_name)),
        f("credential_spec", &Shape::Object(&CREDENTIAL_SPEC)).kept().unsupported(WINDOWS),
        f("depends_on", &Shape::Form(short::depends_on, &Shape::Map(&Shape::Object(&DEPENDENCY)))),
        f("deploy", &Shape::Object(&DEPLOY)).kept().nullable(),
        f("device_cgroup_rules", DISTINCT),
        f(
            "devices",
            &Shape::List(&Shape::Form(short::device, &Shape::Object(&DEVICE)), Some(keys::target)),
        ),
        f("dns", &Shape::Form(short::without_empty, STRINGS)),
        f("dns_opt", STR_SET),
        f("dns_search", STRINGS),
        f("domainname", STR),
        f("entrypoint", COMMAND).kept(),
        f("provider", &Shape::Object(&PROVIDER)).kept().unsupported("providers are not run"),
        f("environment", ENVIRONMENT),
        f(
            "env_file",
            &Shape::Form(
                short::env_file,
                &Shape::List(&Shape::Object(&ENV_FILE), Some(keys::path)),
            ),
        ),
        f("expose", SCALAR_SET),
        f("extends", &Shape::Form(short::extends, &Shape::Object(&EXTENDS))),
        f("external_links", DISTINCT),
        f("extra_hosts", HOSTS),
        f("group_add", &Shape::Form(short::distinct, SCALAR_SET)),
        f(
            "gpus",
            &Shape::Form(
                short::gpus,
                &Shape::List(
                    &Shape::Form(short::device_request, &Shape::Object(&DEVICE_REQUEST)),
                    None,
                ),
            ),
        )
        .unsupported("no GPU is passed on"),
        f("hostname", STR),
        f("healthcheck", &Shape::Object(&HEALTHCHECK)).kept(),
        f("image", STR),
        f("init", BOOL).kept(),
        f("ipc", STR),
        f("isolation", STR).unsupported(WINDOWS),
        f("labels", LABELS),
        f("label_file", &Shape::Form(short::list_of_one, &Shape::List(PATH, Some(keys::text)))),
        f("links", STR_SET),
        f("logging", &Shape::Object(&LOGGING)).kept(),
        f("mem_limit", BYTES),
        f("mem_reservation", &Shape::Form(short::whole, BYTES)),
        f("memswap_limit", BYTES),
        f("mem_swappiness", &Shape::Form(short::whole, BYTES)),
        f("mac_address", STR),
        f("models", &Shape::Form(short::names_to_map, &Shape::Map(&Shape::Object(&SERVICE_MODEL))))
            .unsupported("models are not run"),
        f("network_mode", STR),
        f("networks", &Shape::Form(short::names_to_map, &Shape::Map(&Shape::Object(&ENDPOINT)))),
        f("oom_kill_disable", BOOL),
        f("oom_score_adj", &Shape::Form(short::score, INT)),
        f("pid", STR),
        f("pids_limit", INT),
        f("platform", STR),
        f(
            "ports",
            &Shape::List(&Shape::Form(short::port, &Shape::Object(&PORT)), Some(keys::port)),
        ),
        f("privileged", BOOL),
        f("pull_policy", &Shape::Form(short::pull_policy, &Shape::Checked(check::pull_policy))),
        f("pull_refresh_after", STR).unsupported("use pull_policy: every_…"),
        f("read_only", BOOL),
        f("restart", &Shape::Form(short::or_nothing, &Shape::Checked(check::restart))),
        f("runtime", STR).unsupported("there is one runtime"),
        f("scale", INT).kept(),
        f(
            "secrets",
            &Shape::List(&Shape::Form(short::secret, &Shape::Object(&GRANT)), Some(keys::grant)),
        ),
        f("security_opt", DISTINCT),
        f("shm_size", BYTES),
        f("stdin_open", BOOL),
        f("stop_grace_period", DURATION).kept(),
        f("stop_signal", STR),
        f("storage_opt", &Shape::Form(short::options, OPTIONS)).unsupported("layers have no quota"),
        f("sysctls", LABELS),
        f("tmpfs", STRINGS),
        f("tty", BOOL),
        f("ulimits", ULIMITS),
        f("use_api_socket", &Shape::Form(short::unquoted, BOOL))
            .unsupported("mount the socket as a volume"),
        f("user", STR),
        f("userns_mode", STR),
        f("uts", STR),
        f(
            "volumes",
            &Shape::List(&Shape::Form(short::volume, &Shape::Object(&MOUNT)), Some(keys::target)),
        ),
        f("volumes_from", STR_SET),
        f("working_dir", STR),
        f("pre_start", &Shape::List(&Shape::Object(&INIT_HOOK), None)),
        f("post_start", &Shape::List(&Shape::Object(&HOOK), None)),
        f("pre_stop", &Shape::List(&Shape::Object(&HOOK), None)),
    ],
);

/// One number for both limits, or the two.
const ULIMITS: &Shape = &Shape::Map(&Shape::Replace(&Shape::Or(INT, &Shape::Object(&ULIMIT))));
static ULIMIT: Object =
    Object::new("a ulimit", &[f("soft", INT).required().kept(), f("hard", INT).required().kept()]);
const HOSTS: &Shape = &Shape::Form(short::extra_hosts, STR_SET);

static BUILD: Object = Object::new(
    "a build",
    &[
        f("context", STR),
        f("dockerfile", STR),
        f("dockerfile_inline", STR),
        f("entitlements", STR_LIST).unsupported("builds get no privileges"),
        f("args", ENVIRONMENT),
        f("provenance", &Shape::Form(short::no_number, SCALAR))
            .unsupported("no attestation is made"),
        f("sbom", &Shape::Form(short::no_number, SCALAR)).unsupported("no attestation is made"),
        f("ssh", &Shape::Form(short::ssh, STR_SET)).unsupported("builds get no SSH agent"),
        f("labels", LABELS),
        f("cache_from", STR_LIST),
        f("cache_to", STR_LIST).unsupported("the build cache is not exported"),
        f("no_cache", BOOL),
        f("no_cache_filter", &Shape::Form(short::distinct, STRINGS))
            .unsupported("the cache is used for all stages or for none"),
        f("additional_contexts", &Shape::Form(short::contexts, LABELS)),
        f("pull", BOOL),
        f("extra_hosts", HOSTS),
        f("isolation", STR).unsupported(WINDOWS),
        f("network", STR),
        f("target", STR),
        f(
            "secrets",
            &Shape::List(&Shape::Form(short::config, &Shape::Object(&GRANT)), Some(keys::grant)),
        ),
        f("shm_size", &Shape::Form(short::whole, BYTES)),
        f("tags", STR_SET),
        f("ulimits", ULIMITS),
        f("platforms", STR_LIST),
        f("privileged", BOOL).unsupported("builds get no privileges"),
    ],
);

static BLKIO: Object = Object::new(
    "a block IO limit",
    &[
        f("weight", &Shape::Form(short::unquoted, INT)),
        f("weight_device", &Shape::List(&Shape::Object(&BLKIO_WEIGHT), Some(keys::path))),
        f("device_read_bps", &Shape::List(&Shape::Object(&BLKIO_RATE), Some(keys::path))),
        f("device_read_iops", &Shape::List(&Shape::Object(&BLKIO_RATE), Some(keys::path))),
        f("device_write_bps", &Shape::List(&Shape::Object(&BLKIO_RATE), Some(keys::path))),
        f("device_write_iops", &Shape::List(&Shape::Object(&BLKIO_RATE), Some(keys::path))),
    ],
);
static BLKIO_RATE: Object =
    Object::new("a rate", &[f("path", STR).kept(), f("rate", BYTES).kept()]);
static BLKIO_WEIGHT: Object =
    Object::new("a weight", &[f("path", STR).kept(), f("weight", INT).kept()]);

static CREDENTIAL_SPEC: Object =
    Object::new("a credential spec", &[f("config", STR), f("file", STR), f("registry", STR)]);

static DEPENDENCY: Object = Object::new(
    "a dependency",
    &[
        f(
            "condition",
            &Shape::Enum(&["service_started", "service_healthy", "service_completed_successfully"]),
        ),
        f("restart", BOOL),
        f("required", BOOL).kept(),
    ],
);

static DEVICE: Object = Object::new(
    "a device",
    &[
        f("source", &Shape::Form(short::given, STR)).required(),
        f("target", &Shape::Form(short::given, STR)).required(),
        f("permissions", STR),
    ],
);

static ENV_FILE: Object = Object::new(
    "an env_file",
    &[
        f("path", PATH).required(),
        f("required", BOOL).kept(),
        f("format", &Shape::Form(short::or_nothing, &Shape::Enum(&["raw"]))),
    ],
);

static EXTENDS: Object = Object::new("an extends", &[f("file", STR), f("service", STR).required()]);

static ENDPOINT: Object = Object::new(
    "a service's network",
    &[
        f("aliases", STR_SET),
        f("driver_opts", OPTIONS),
        f("gw_priority", &Shape::Form(short::unquoted, INT)),
        f("interface_name", STR).unsupported("interfaces are named by the engine"),
        f("ipv4_address", STR),
        f("ipv6_address", STR),
        f("link_local_ips", STR_SET),
        f("mac_address", STR),
        f("priority", &Shape::Form(short::unquoted, INT)),
    ],
);

static GRANT: Object = Object::new(
    "a secret or config grant",
    &[
        f("source", STR).required(),
        f("target", STR),
        f("uid", STR),
        f("gid", STR),
        f("mode", &Shape::Mode).kept(),
    ],
);

static HEALTHCHECK: Object = Object::new(
    "a health check",
    &[
        f("test", &Shape::Replace(&Shape::Form(short::health_test, STR_LIST))),
        f("timeout", DURATION).kept(),
        f("interval", DURATION).kept(),
        f("retries", &Shape::Form(short::natural, INT)).kept(),
        f("start_period", DURATION).kept(),
        f("start_interval", DURATION).kept(),
        f("disable", BOOL),
    ],
);

static HOOK: Object = Object::new(
    "a hook",
    &[
        f("command", COMMAND).kept().required(),
        f("user", STR),
        f("privileged", BOOL),
        f("working_dir", STR),
        f("environment", &Shape::Form(short::distinct, ENVIRONMENT)),
    ],
);
/// A watch rule's command: none where the rule runs none.
static EXEC: Object = Object::new(
    "a command",
    &[
        f("command", COMMAND),
        f("user", STR),
        f("privileged", BOOL),
        f("working_dir", STR),
        f("environment", &Shape::Form(short::distinct, ENVIRONMENT)),
    ],
);
static INIT_HOOK: Object = Object::new(
    "an init container",
    &[
        f("command", COMMAND).kept(),
        f("image", STR),
        f("user", STR),
        f("privileged", BOOL),
        f("working_dir", STR),
        f("environment", &Shape::Form(short::distinct, ENVIRONMENT)),
        f("per_replica", BOOL),
    ],
);

static LOGGING: Object = Object {
    what: "a logging section",
    fields: &[f("driver", STR), f("options", &Shape::Form(short::options, OPTIONS))],
    identity: Some("driver"),
};

static PORT: Object = Object::new(
    "a port",
    &[
        f("name", STR),
        f("mode", &Shape::Enum(&["host", "ingress"])),
        f("host_ip", STR),
        f("target", INT).required(),
        f("published", &Shape::Form(short::whole, &Shape::Word)),
        f("protocol", &Shape::Enum(&["tcp", "udp", "sctp"])),
        f("app_protocol", STR),
    ],
);

static MOUNT: Object = Object::new(
    "a volume mount",
    &[
        f("type", &Shape::Enum(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"]))
            .required(),
        f("source", STR),
        f("target", STR),
        f("read_only", BOOL),
        f("consistency", STR),
        f("bind", &Shape::Object(&MOUNT_BIND)).kept(),
        f("volume", &Shape::Object(&MOUNT_VOLUME)).kept(),
        f("tmpfs", &Shape::Object(&MOUNT_TMPFS)).kept(),
        f("image", &Shape::Object(&MOUNT_IMAGE)).kept(),
    ],
);
static MOUNT_BIND: Object = Object::new(
    "the options of a bind",
    &[
        f("selinux", &Shape::Enum(&["z", "Z"])),
        f("propagation", STR),
        f("create_host_path", BOOL).opt_out(),
        f("recursive", &Shape::Enum(&["enabled", "disabled", "writable", "readonly"])),
    ],
);
static MOUNT_IMAGE: Object = Object::new("the options of an image mount", &[f("subpath", STR)]);
static MOUNT_TMPFS: Object = Object::new(
    "the options of a tmpfs",
    &[f("size", &Shape::Form(short::whole, BYTES)), f("mode", &Shape::Form(short::unquoted, INT))],
);
static MOUNT_VOLUME: Object = Object::new(
    "the options of a volume",
    &[f("labels", DISTINCT_LABELS), f("nocopy", BOOL), f("subpath", STR)],
);

static DEVELOP: Object =
    Object::new("a develop section", &[f("watch", &Shape::List(&Shape::Object(&WATCH), None))]);
static WATCH: Object = Object::new(
    "a watch rule",
    &[
        f("path", &Shape::Form(short::given, PATH)).required(),
        f("action", &Shape::Enum(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"]))
            .required(),
        f("target", STR),
        f("exec", &Shape::Object(&EXEC)),
        f("include", &Shape::Form(short::distinct, STRINGS)),
        f("ignore", &Shape::Form(short::distinct, STRINGS)),
        f("initial_sync", &Shape::Form(short::unquoted, BOOL)),
    ],
);

static DEPLOY: Object = Object::new(
    "a deploy section",
    &[
        f(
            "mode",
            &Shape::Form(
                short::or_nothing,
                &Shape::Enum(&["replicated", "global", "replicated-job", "global-job"]),
            ),
        ),
        f("replicas", INT).kept(),
        f("labels", LABELS).unsupported(CLUSTER),
        f("update_config", &Shape::Object(&UPDATE)).kept().unsupported(CLUSTER),
        f("rollback_config", &Shape::Object(&UPDATE)).kept().unsupported(CLUSTER),
        f("resources", &Shape::Object(&RESOURCES)),
        f("restart_policy", &Shape::Object(&RESTART_POLICY)).kept(),
        f("placement", &Shape::Object(&PLACEMENT)).unsupported(CLUSTER),
        f("endpoint_mode", STR).unsupported(CLUSTER),
    ],
);
static PLACEMENT: Object = Object::new(
    "a placement",
    &[
        f("constraints", STR_LIST),
        f("preferences", &Shape::List(&Shape::Object(&SPREAD), None)),
        f("max_replicas_per_node", INT),
    ],
);
static SPREAD: Object = Object::new("a placement preference", &[f("spread", STR)]);
static UPDATE: Object = Object::new(
    "an update policy",
    &[
        f("parallelism", INT).kept(),
        f("delay", DURATION),
        f("failure_action", STR),
        f("monitor", DURATION),
        f("max_failure_ratio", FLOAT),
        f("order", &Shape::Enum(&["start-first", "stop-first"])),
    ],
);
static RESTART_POLICY: Object = Object::new(
    "a restart policy",
    &[
        f(
            "condition",
            &Shape::Form(
                short::or_nothing,
                &Shape::Enum(&["none", "on-failure", "any", "no", "always", "unless-stopped"]),
            ),
        ),
        f("delay", DURATION).kept(),
        f("max_attempts", &Shape::Form(short::natural, INT)).kept(),
        f("window", DURATION).kept(),
    ],
);
static RESOURCES: Object = Object::new(
    "the resources",
    &[
        f("limits", &Shape::Object(&LIMITS)).kept(),
        f("reservations", &Shape::Object(&RESERVATIONS)).kept(),
    ],
);
static LIMITS: Object = Object::new(
    "the limits",
    &[f("cpus", FLOAT), f("memory", &Shape::Form(short::text_only, BYTES)), f("pids", INT)],
);
static RESERVATIONS: Object = Object::new(
    "the reservations",
    &[
        f("cpus", FLOAT),
        f("memory", &Shape::Form(short::text_only, BYTES)),
        f("pids", INT),
        f(
            "devices",
            &Shape::List(
                &Shape::Form(short::device_request, &Shape::Object(&RESERVED_DEVICE)),
                None,
            ),
        )
        .unsupported("no GPU is passed on"),
        f("generic_resources", &Shape::List(&Shape::Object(&GENERIC), None)).unsupported(CLUSTER),
    ],
);
static GENERIC: Object =
    Object::new("a generic resource", &[f("discrete_resource_spec", &Shape::Object(&DISCRETE))]);
static DISCRETE: Object =
    Object::new("a discrete resource", &[f("kind", STR).kept(), f("value", FLOAT).kept()]);
static RESERVED_DEVICE: Object = Object::new(
    "a device request",
    &[
        f("capabilities", DISTINCT_LIST).required(),
        f("driver", STR),
        f("count", &Shape::Form(short::count, INT)),
        f("device_ids", DISTINCT_LIST),
        f("options", DISTINCT_LABELS),
    ],
);
static DEVICE_REQUEST: Object = Object::new(
    "a GPU request",
    &[
        f("capabilities", DISTINCT_LIST),
        f("driver", STR),
        f("count", &Shape::Form(short::count, INT)),
        f("device_ids", DISTINCT_LIST),
        f("options", DISTINCT_LABELS),
    ],
);

static SERVICE_MODEL: Object =
    Object::new("a service's model", &[f("endpoint_var", STR), f("model_var", STR)]);
static PROVIDER: Object = Object::new(
    "a provider",
    &[
        f("type", STR).required(),
        f("options", &Shape::Map(&Shape::Form(short::list_of_one, &Shape::List(SCALAR, None)))),
    ],
);
