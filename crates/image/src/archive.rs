//! Images as files: `load`, `save`, `import`.

pub(crate) mod import;
pub(crate) mod load;
pub(crate) mod save;
