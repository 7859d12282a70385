//! Go's built-in template functions and docker's additions, and Go's way to print values.

use std::cmp::Ordering;

use serde_json::Value;

const NAMES: [&str; 27] = [
    "json", "split", "join", "title", "lower", "upper", "pad", "truncate", "println", "print",
    "printf", "len", "index", "slice", "eq", "ne", "lt", "le", "gt", "ge", "not", "and", "or",
    "html", "js", "table", "urlquery",
];

/// True when a template may call `name`.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls `name`; the error is the reason alone.
pub(super) fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    let arity = |wanted: usize| match args.len() == wanted {
        true => Ok(()),
        false => Err(format!("wrong number of args for {name}: want {wanted} got {}", args.len())),
    };
    match name {
        "json" => arity(1).map(|()| Value::from(go_json(&args[0]))),
        "lower" => arity(1).map(|()| Value::from(go_string(&args[0]).to_lowercase())),
        "upper" => arity(1).map(|()| Value::from(go_string(&args[0]).to_uppercase())),
        "title" => arity(1).map(|()| Value::from(title(&go_string(&args[0])))),
        "html" | "js" | "urlquery" | "table" => arity(1).map(|()| args[0].clone()),
        "split" => arity(2).map(|()| {
            let (text, by) = (go_string(&args[0]), go_string(&args[1]));
            Value::from(text.split(by.as_str()).map(str::to_owned).collect::<Vec<_>>())
        }),
        "join" => arity(2).map(|()| {
            let items = args[0].as_array().map(Vec::as_slice).unwrap_or_default();
            let items: Vec<_> = items.iter().map(go_string).collect();
            Value::from(items.join(&go_string(&args[1])))
        }),
        "pad" => arity(3).map(|()| {
            let spaces = |value: &Value| " ".repeat(value.as_u64().unwrap_or(0) as usize);
            let text = go_string(&args[0]);
            let padded = format!("{}{text}{}", spaces(&args[1]), spaces(&args[2]));
            Value::from(if text.is_empty() { text } else { padded })
        }),
        "truncate" => arity(2).map(|()| {
            let count = args[1].as_u64().unwrap_or(0) as usize;
            Value::from(go_string(&args[0]).chars().take(count).collect::<String>())
        }),
        "print" => Ok(Value::from(args.iter().map(go_string).collect::<String>())),
        "println" => {
            Ok(Value::from(args.iter().map(go_string).collect::<Vec<_>>().join(" ") + "\n"))
        }
        "printf" => printf(args).map(Value::from),
        "len" => arity(1).and_then(|()| len(&args[0])),
        "index" => index(args),
        "slice" => slice(args),
        "not" => arity(1).map(|()| Value::from(!is_true(&args[0]))),
        "eq" => match args {
            [first, others @ ..] if !others.is_empty() => {
                Ok(Value::from(others.iter().any(|other| compare(first, other).is_eq())))
            }
            _ => Err("missing argument for comparison".to_owned()),
        },
        "ne" => arity(2).map(|()| Value::from(compare(&args[0], &args[1]).is_ne())),
        "lt" => arity(2).map(|()| Value::from(compare(&args[0], &args[1]).is_lt())),
        "le" => arity(2).map(|()| Value::from(compare(&args[0], &args[1]).is_le())),
        "gt" => arity(2).map(|()| Value::from(compare(&args[0], &args[1]).is_gt())),
        "ge" => arity(2).map(|()| Value::from(compare(&args[0], &args[1]).is_ge())),
        _ => Err(format!("function {name:?} not defined")),
    }
}

/// Go's `text/template` truth: zero, empty and nil are false.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Go's `%v`.
pub(super) fn go_string(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(nested_string).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let mut entries: Vec<_> =
                map.iter().map(|(k, v)| format!("{k}:{}", nested_string(v))).collect();
            entries.sort();
            format!("map[{}]", entries.join(" "))
        }
        other => other.to_string(),
    }
}

fn nested_string(value: &Value) -> String {
    if value.is_null() { "<nil>".to_owned() } else { go_string(value) }
}

/// Compact JSON with the characters Go escapes for HTML.
pub(crate) fn go_json(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// A number literal: integers stay integers.
pub(super) fn number(number: f64) -> Value {
    if number.fract() == 0.0 { Value::from(number as i64) } else { Value::from(number) }
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .flat_map(|c| {
            let shown: Vec<char> = if start { c.to_uppercase().collect() } else { vec![c] };
            start = !c.is_alphanumeric();
            shown
        })
        .collect()
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        _ if a == b => Ordering::Equal,
        _ => go_string(a).cmp(&go_string(b)).then(Ordering::Less),
    }
}

fn len(value: &Value) -> Result<Value, String> {
    let len = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        Value::Null => 0,
        other => return Err(format!("len of type {}", go_string(other))),
    };
    Ok(Value::from(len))
}

fn index(args: &[Value]) -> Result<Value, String> {
    let (value, keys) =
        args.split_first().ok_or("wrong number of args for index: want at least 1 got 0")?;
    keys.iter().try_fold(value.clone(), |value, key| match &value {
        // Go gives the zero value of the element type: "" where all values are strings, else nil
        Value::Object(map) => Ok(map.get(&go_string(key)).cloned().unwrap_or_else(|| {
            if map.values().all(Value::is_string) { Value::from("") } else { Value::Null }
        })),
        Value::Array(items) => {
            let at = key.as_u64().ok_or("cannot index slice/array with that type")? as usize;
            items.get(at).cloned().ok_or_else(|| {
                format!("error calling index: reflect: slice index out of range: {at}")
            })
        }
        Value::Null => Err("error calling index: index of untyped nil".to_owned()),
        other => Err(format!("error calling index: can't index item of {}", go_string(other))),
    })
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let (value, bounds) = args.split_first().ok_or("wrong number of args for slice")?;
    let bound = |at: usize, default: usize| {
        bounds.get(at).and_then(Value::as_u64).map_or(default, |n| n as usize)
    };
    let range = |len: usize| {
        let (from, to) = (bound(0, 0), bound(1, len));
        if from <= to && to <= len {
            Ok(from..to)
        } else {
            Err(format!("error calling slice: index out of range: {}", to.max(from)))
        }
    };
    match value {
        Value::String(text) => {
            let range = range(text.len())?;
            let part = text.get(range).ok_or("error calling slice: not a character boundary")?;
            Ok(Value::from(part))
        }
        Value::Array(items) => Ok(Value::from(items[range(items.len())?].to_vec())),
        other => Err(format!("error calling slice: can't slice item of {}", go_string(other))),
    }
}

/// `%s %v %d %q %%` with width and `-`; unknown verbs print as Go prints them.
fn printf(args: &[Value]) -> Result<String, String> {
    let (format, args) = args.split_first().ok_or("wrong number of args for printf")?;
    let format = go_string(format);
    let mut args = args.iter();
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = String::new();
        let verb = loop {
            match chars.next() {
                Some(c) if c.is_ascii_digit() || c == '-' || c == '.' => flags.push(c),
                other => break other,
            }
        };
        let Some(verb) = verb else { return Ok(out + "%!(NOVERB)") };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(arg) = args.next() else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let (flags, precision) = flags.split_once('.').unwrap_or((&flags, ""));
        let text = match (verb, arg.as_f64(), precision.parse::<usize>()) {
            ('q', ..) => format!("{:?}", go_string(arg)),
            ('f', Some(number), Ok(digits)) => format!("{number:.digits$}"),
            ('s' | 'v', None, Ok(digits)) => go_string(arg).chars().take(digits).collect(),
            _ => go_string(arg),
        };
        let width: usize = flags.trim_start_matches('-').parse().unwrap_or(0);
        if flags.starts_with('-') {
            out.push_str(&format!("{text:<width$}"));
        } else {
            out.push_str(&format!("{text:>width$}"));
        }
    }
    Ok(out)
}
