//! The Compose specification as data: which keys exist, what each holds, how two files' values merge.
//!
//! One table drives checking, canonical forms, merging and printing, so that the four cannot disagree.
//! The order of a table is the order in which `config` prints, which is Compose v2's.
//! The tables follow the public schema of the Compose specification.

mod keys;
mod service;
mod top;

use crate::canon::Canon;
use crate::node::Node;
use crate::short;

pub(crate) use service::{CLUSTER, SERVICE};
pub(crate) use top::TOP;

/// Rewrites a short form to the long one; one short form may stand for several (port ranges).
pub(crate) type Form = fn(&mut Canon<'_>, Node) -> Vec<Node>;
/// What makes two list entries the same thing; the later file's entry then replaces the earlier one's.
pub(crate) type Identity = fn(&Node) -> Option<String>;

/// What a key may hold.
pub(crate) enum Shape {
    /// Text only; a bare number is refused as the specification does.
    Str,
    /// Text, number or boolean; kept as text.
    Scalar,
    /// Text or number; kept as text.
    Word,
    Bool,
    Int,
    Float,
    /// Text such as `1m30s`; kept in Go's spelling.
    Duration,
    /// A number or text such as `512m`; kept as text of bytes.
    Bytes,
    /// An octal file mode; kept as text such as `"0440"`.
    Mode,
    /// A path on this host, made absolute.
    Path,
    Enum(&'static [&'static str]),
    /// Text that the function finds no fault with.
    Checked(fn(&str) -> Result<(), &'static str>),
    List(&'static Shape, Option<Identity>),
    /// One string or a list of them; kept as a list without doubles.
    Strings,
    Map(&'static Shape),
    Object(&'static Object),
    /// A mapping or a list of `KEY=value`; kept as a mapping to text.
    Dict {
        bare_is_null: bool,
    },
    /// Null, a string split in shell words, or a list; replaced as a whole by a later file.
    Command,
    /// Short forms are rewritten first.
    Form(Form, &'static Shape),
    /// Replaced as a whole by a later file.
    Replace(&'static Shape),
    /// The first for a scalar, the second for a mapping.
    Or(&'static Shape, &'static Shape),
    /// Kept as it is.
    Any,
}

impl Shape {
    /// `a list`: for "must be …".
    pub(crate) fn expected(&self) -> &'static str {
        match self {
            Shape::Bool => "a boolean",
            Shape::Int => "an integer",
            Shape::Float => "a number",
            Shape::Duration => "a duration such as 1m30s",
            Shape::Bytes => "a size such as 512m",
            Shape::Mode => "an octal file mode such as 0440",
            Shape::Scalar => "a string, a number or a boolean",
            Shape::Word => "a string or a number",
            Shape::List(..) => "a list",
            Shape::Map(_) | Shape::Object(_) => "a mapping",
            Shape::Dict { .. } => "a mapping or a list of KEY=value",
            Shape::Strings | Shape::Command => "a string or a list of strings",
            Shape::Form(_, inner) | Shape::Replace(inner) | Shape::Or(_, inner) => inner.expected(),
            Shape::Str | Shape::Path | Shape::Enum(_) | Shape::Checked(_) => "a string",
            Shape::Any => "a value",
        }
    }
}

/// A mapping with known keys. `x-*` is always allowed.
pub(crate) struct Object {
    /// `a service`: for messages.
    pub(crate) what: &'static str,
    pub(crate) fields: &'static [Field],
    /// If a later file changes this key, its mapping replaces the earlier one.
    pub(crate) identity: Option<&'static str>,
}

impl Object {
    const fn new(what: &'static str, fields: &'static [Field]) -> Self {
        Object { what, fields, identity: None }
    }

    /// The field of that name.
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A key of an [`Object`].
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: &'static Shape,
    pub(crate) required: bool,
    /// Printed even when it is empty, false or zero: it then means something else than absence.
    pub(crate) kept: bool,
    /// A flag that is true unless it is said not to be: only `false` says something.
    pub(crate) opt_out: bool,
    /// The key may stand without a value.
    pub(crate) nullable: bool,
    /// Why a single node does not honour the key.
    pub(crate) unsupported: Option<&'static str>,
}

impl Field {
    const fn new(name: &'static str, shape: &'static Shape) -> Self {
        Field {
            name,
            shape,
            required: false,
            kept: false,
            opt_out: false,
            nullable: false,
            unsupported: None,
        }
    }

    const fn required(self) -> Self {
        Field { required: true, ..self }
    }

    const fn kept(self) -> Self {
        Field { kept: true, ..self }
    }

    const fn opt_out(self) -> Self {
        Field { opt_out: true, ..self }
    }

    const fn nullable(self) -> Self {
        Field { nullable: true, ..self }
    }

    const fn unsupported(self, reason: &'static str) -> Self {
        Field { unsupported: Some(reason), ..self }
    }
}

// Names for the commonest shapes: the tables read as the specification does.
const STR: &Shape = &Shape::Str;
const SCALAR: &Shape = &Shape::Scalar;
const BOOL: &Shape = &Shape::Bool;
const INT: &Shape = &Shape::Int;
const FLOAT: &Shape = &Shape::Float;
const DURATION: &Shape = &Shape::Duration;
const BYTES: &Shape = &Shape::Bytes;
const PATH: &Shape = &Shape::Path;
const STRINGS: &Shape = &Shape::Strings;
const COMMAND: &Shape = &Shape::Command;
/// A list of strings; the same string twice is one.
const STR_SET: &Shape = &Shape::List(STR, Some(keys::text));
const SCALAR_SET: &Shape = &Shape::List(SCALAR, Some(keys::text));
const STR_LIST: &Shape = &Shape::List(STR, None);
/// `KEY` alone means an empty value.
const LABELS: &Shape = &Shape::Dict { bare_is_null: false };
/// `KEY` alone means the value of the caller's environment.
const ENVIRONMENT: &Shape = &Shape::Dict { bare_is_null: true };
const OPTIONS: &Shape = &Shape::Map(&Shape::Word);
// What one file must not say twice; the same of two files is one.
const DISTINCT: &Shape = &Shape::Form(short::distinct, STR_SET);
const DISTINCT_LIST: &Shape = &Shape::Form(short::distinct, STR_LIST);
const DISTINCT_LABELS: &Shape = &Shape::Form(short::distinct, LABELS);
