//! The top level of a file: services, networks, volumes, secrets, configs.

use super::{BOOL, Field, LABELS, OPTIONS, Object, PATH, SCALAR, SERVICE, STR, STRINGS, Shape};
use crate::short;

const fn f(name: &'static str, shape: &'static Shape) -> Field {
    Field::new(name, shape)
}

pub(crate) static TOP: Object = Object::new(
    "a Compose file",
    &[
        f("configs", &Shape::Map(&Shape::Form(short::external, &Shape::Object(&CONFIG)))),
        f("include", &Shape::List(&Shape::Form(short::include, &Shape::Object(&INCLUDE)), None)),
        f("models", &Shape::Any).unsupported("models are not run"),
        f("name", STR),
        f("networks", &Shape::Map(&Shape::Form(short::external, &Shape::Object(&NETWORK)))),
        f("secrets", &Shape::Map(&Shape::Form(short::external, &Shape::Object(&SECRET)))),
        f("services", &Shape::Map(&Shape::Object(&SERVICE))),
        f("version", SCALAR),
        f("volumes", &Shape::Map(&Shape::Form(short::external, &Shape::Object(&VOLUME)))),
    ],
);

static INCLUDE: Object = Object::new(
    "an include",
    &[f("env_file", STRINGS), f("path", STRINGS).required(), f("project_directory", STR)],
);

static NETWORK: Object = Object::new(
    "a network",
    &[
        f("attachable", BOOL),
        f("driver", STR),
        f("driver_opts", OPTIONS),
        f("enable_ipv4", BOOL),
        f("enable_ipv6", BOOL),
        f("external", BOOL),
        f("internal", BOOL),
        f("ipam", &Shape::Object(&IPAM)),
        f("labels", LABELS),
        f("name", STR),
    ],
);
static IPAM: Object = Object::new(
    "an address plan",
    &[
        f("config", &Shape::List(&Shape::Object(&IPAM_POOL), None)),
        f("driver", STR),
        f("options", OPTIONS),
    ],
);
static IPAM_POOL: Object = Object::new(
    "an address pool",
    &[f("aux_addresses", OPTIONS), f("gateway", STR), f("ip_range", STR), f("subnet", STR)],
);

static VOLUME: Object = Object::new(
    "a volume",
    &[
        f("driver", STR),
        f("driver_opts", OPTIONS),
        f("external", BOOL),
        f("labels", LABELS),
        f("name", STR),
    ],
);

static SECRET: Object = Object::new(
    "a secret",
    &[
        f("driver", STR).unsupported("secrets come from files and the environment"),
        f("driver_opts", OPTIONS),
        f("environment", STR),
        f("external", BOOL),
        f("file", PATH),
        f("labels", LABELS),
        f("name", STR),
        f("template_driver", STR).unsupported("secrets are not templates"),
    ],
);

static CONFIG: Object = Object::new(
    "a config",
    &[
        f("content", STR),
        f("environment", STR),
        f("external", BOOL),
        f("file", PATH),
        f("labels", LABELS),
        f("name", STR),
        f("template_driver", STR).unsupported("configs are not templates"),
    ],
);
