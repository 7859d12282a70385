//! How results look: tables, templates, JSON lines, sizes and durations.
//!
//! Pure; the commands hand in rows and print what comes back.

pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod units;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use template::Template;

/// Columns of a listing: the template field and its heading.
pub(crate) type Columns = &'static [(&'static str, &'static str)];

/// What to print for a list of rows.
pub(crate) struct Listing<'a> {
    /// `--format`, empty when absent.
    pub(crate) format: &'a str,
    /// `-q`: only this field.
    pub(crate) quiet: Option<&'static str>,
    /// The default table.
    pub(crate) table: Columns,
    /// Headings of fields that only a custom `table …` can show.
    pub(crate) more: Columns,
    /// Fields `--format json` leaves out (methods with arguments).
    pub(crate) hidden: &'static [&'static str],
}

impl Listing<'_> {
    /// Renders `rows` with a trailing newline each; an empty table still has its heading.
    pub(crate) fn render(&self, rows: &[Value]) -> Result<String> {
        let format = match (self.format, self.quiet) {
            ("" | "table", Some(field)) => format!("{{{{.{field}}}}}"),
            ("" | "table", None) => self.default_table(),
            ("json", _) => return Ok(self.json_lines(rows)),
            (custom, _) => unescape(custom),
        };
        match format.strip_prefix("table ") {
            Some(body) => self.table(body.trim(), rows),
            None => {
                let template = parse(&format)?;
                let mut out = String::new();
                for row in rows {
                    out.push_str(&execute(&template, row)?);
                    out.push('\n');
                }
                Ok(out)
            }
        }
    }

    fn default_table(&self) -> String {
        let fields: Vec<_> = self.table.iter().map(|(f, _)| format!("{{{{.{f}}}}}")).collect();
        format!("table {}", fields.join("\t"))
    }

    fn table(&self, body: &str, rows: &[Value]) -> Result<String> {
        let template = parse(body)?;
        let heading: Map<String, Value> = self
            .table
            .iter()
            .chain(self.more)
            .map(|(field, heading)| ((*field).to_owned(), Value::from(*heading)))
            .collect();
        let heading = Value::Object(heading);
        let mut lines = vec![execute(&template.without_functions(), &heading)?];
        for row in rows {
            lines.push(execute(&template, row)?);
        }
        Ok(table::align(&lines))
    }

    fn json_lines(&self, rows: &[Value]) -> String {
        let mut out = String::new();
        for row in rows {
            let mut row = row.clone();
            if let Value::Object(fields) = &mut row {
                fields.retain(|field, _| !self.hidden.contains(&field.as_str()));
                fields.sort_keys();
            }
            out.push_str(&template::go_json(&row));
            out.push('\n');
        }
        out
    }
}

/// Renders one object with `format`: `json` or a template.
pub(crate) fn render_one(format: &str, value: &Value) -> Result<String> {
    if format == "json" {
        return Ok(template::go_json(value));
    }
    let template = parse(&unescape(format))?;
    template.execute(value).context("template parsing error")
}

/// The first twelve digits of an id, `sha256:` left out.
pub(crate) fn short_id(id: &str, truncate: bool) -> String {
    if !truncate {
        return id.to_owned();
    }
    id.strip_prefix("sha256:").unwrap_or(id).chars().take(12).collect()
}

/// At most `width` characters, the last an ellipsis when something was cut.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// `a=b,c=d` in key order.
pub(crate) fn labels(labels: &Value) -> String {
    let mut pairs: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    pairs.join(",")
}

fn parse(text: &str) -> Result<Template> {
    Template::parse(text).context("failed to parse template")
}

fn execute(template: &Template, value: &Value) -> Result<String> {
    template.execute(value).context("failed to execute template")
}

/// Docker lets people write `\t` and `\n` in a shell word.
fn unescape(format: &str) -> String {
    format.replace("\\t", "\t").replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn listing(format: &str) -> Listing<'_> {
        Listing {
            format,
            quiet: None,
            table: &[("ID", "CONTAINER ID"), ("Names", "NAMES")],
            more: &[("Size", "SIZE")],
            hidden: &["Label"],
        }
    }

    #[test]
    fn the_default_table_has_dockers_padding() {
        let rows = [json!({"ID": "72e6a721b036", "Names": "c1"})];
        assert_eq!(listing("").render(&rows).unwrap(), "CONTAINER ID   NAMES\n72e6a721b036   c1\n");
        assert_eq!(listing("").render(&[]).unwrap(), "CONTAINER ID   NAMES\n");
    }

    #[test]
    fn a_custom_table_may_use_other_fields_and_functions() {
        let rows = [json!({"ID": "1", "Size": "2kB", "Names": "a"})];
        assert_eq!(
            listing(r"table {{upper .Size}}\t{{.ID}}").render(&rows).unwrap(),
            "SIZE      CONTAINER ID\n2KB       1\n"
        );
    }

    #[test]
    fn json_lines_are_sorted_and_escaped_as_go_does() {
        let rows = [json!({"Ports": "80->80", "ID": "1", "Label": {}})];
        assert_eq!(
            listing("json").render(&rows).unwrap(),
            "{\"ID\":\"1\",\"Ports\":\"80-\\u003e80\"}\n"
        );
    }

    #[test]
    fn an_unknown_field_is_an_error_that_names_it() {
        let err = listing("{{.Foo}}").render(&[json!({"ID": "1"})]).unwrap_err();
        assert!(format!("{err:#}").contains("<.Foo>"), "{err:#}");
    }
}
