//! The top level of a file: services, networks, volumes, secrets, configs.

use super::{
    BOOL, DISTINCT_LABELS, Field, INT, LABELS, OPTIONS, Object, PATH, SERVICE, STR, STR_LIST,
    STRINGS, Shape, keys,
};
use crate::short;

const fn f(name: &'static str, shape: &'static Shape) -> Field {
    Field::new(name, shape)
}

pub(crate) static TOP: Object = Object::new(
    "a Compose file",
    &[
        f("version", STR),
        f("name", STR),
        f("include", &Shape::List(&Shape::Form(short::include, &Shape::Object(&INCLUDE)), None))
            .nullable(),
        f("services", &Shape::Map(&Shape::Object(&SERVICE))).kept(),
        f("networks", &Shape::Map(&Shape::Form(short::external, &Shape::Object(&NETWORK)))),
        f("volumes", &Shape::Map(&Shape::Form(short::volume_object, &Shape::Object(&VOLUME)))),
        f("secrets", &Shape::Map(&Shape::Form(short::external, &Shape::Object(&SECRET)))),
        f("configs", &Shape::Map(&Shape::Form(short::external, &Shape::Object(&CONFIG)))),
        f("models", &Shape::Map(&Shape::Object(&MODEL))).unsupported("models are not run"),
    ],
);

static INCLUDE: Object = Object::new(
    "an include",
    &[f("env_file", STRINGS), f("path", STRINGS).required(), f("project_directory", STR)],
);

static NETWORK: Object = Object::new(
    "a network",
    &[
        f("name", STR),
        f("driver", STR),
        f("driver_opts", OPTIONS),
        f("ipam", &Shape::Object(&IPAM)),
        f("external", BOOL),
        f("internal", BOOL),
        f("attachable", BOOL),
        f("labels", LABELS),
        f("enable_ipv4", BOOL).kept(),
        f("enable_ipv6", BOOL).kept(),
    ],
);
static IPAM: Object = Object::new(
    "an address plan",
    &[
        f("driver", STR),
        f("config", &Shape::List(&Shape::Object(&IPAM_POOL), Some(keys::subnet))),
        f("options", &Shape::Map(STR)),
    ],
);
static IPAM_POOL: Object = Object::new(
    "an address pool",
    &[
        f("subnet", STR),
        f("gateway", STR),
        f("ip_range", STR),
        f("aux_addresses", &Shape::Map(STR)),
    ],
);

static VOLUME: Object = Object::new(
    "a volume",
    &[
        f("name", STR),
        f("driver", STR),
        f("driver_opts", OPTIONS),
        f("external", BOOL),
        f("labels", DISTINCT_LABELS),
    ],
);

static SECRET: Object = Object::new(
    "a secret",
    &[
        f("name", STR),
        f("file", PATH),
        f("environment", STR),
        f("external", BOOL),
        f("labels", DISTINCT_LABELS),
        f("driver", STR).unsupported("secrets come from files and the environment"),
        f("driver_opts", OPTIONS),
        f("template_driver", STR).unsupported("secrets are not templates"),
    ],
);

static CONFIG: Object = Object::new(
    "a config",
    &[
        f("name", STR),
        f("file", PATH),
        f("environment", STR),
        f("content", STR),
        f("external", BOOL),
        f("labels", DISTINCT_LABELS),
        f("template_driver", STR).unsupported("configs are not templates"),
    ],
);

static MODEL: Object = Object::new(
    "a model",
    &[
        f("name", STR),
        f("model", STR).required(),
        f("context_size", &Shape::Form(short::unquoted, INT)),
        f("runtime_flags", STR_LIST),
    ],
);
