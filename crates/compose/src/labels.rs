//! The labels by which every Compose knows its objects. docker-compose 1.x and Compose v2 write the same names.

pub const PROJECT: &str = "com.docker.compose.project";
pub const SERVICE: &str = "com.docker.compose.service";
pub const NUMBER: &str = "com.docker.compose.container-number";
/// `True` on containers of `run`, `False` on those of `up`.
pub const ONEOFF: &str = "com.docker.compose.oneoff";
pub const HASH: &str = "com.docker.compose.config-hash";
pub const WORKING_DIR: &str = "com.docker.compose.project.working_dir";
pub const CONFIG_FILES: &str = "com.docker.compose.project.config_files";
pub const VERSION: &str = "com.docker.compose.version";
pub const NETWORK: &str = "com.docker.compose.network";
pub const VOLUME: &str = "com.docker.compose.volume";
/// `db:service_started:false,…`
pub const DEPENDS_ON: &str = "com.docker.compose.depends_on";
/// The id of the image the container was made from.
pub const IMAGE: &str = "com.docker.compose.image";
/// The id of the container this one took the place of.
pub const REPLACE: &str = "com.docker.compose.replace";

/// What a container is a hook for: `pre_start`.
pub const HOOK: &str = "com.docker.compose.hook";

/// What a volume of ours was made with. A name of our own: a volume holds data, and no other Compose that computes
/// [`HASH`] otherwise may take it for a changed one.
pub const SETTINGS: &str = "sampan.volume.settings";

/// What we write as [`VERSION`]: a Compose v2 whose label set ours is.
pub const OUR_VERSION: &str = "2.40.0";
