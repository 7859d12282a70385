//! Applies a tree to a value.

use serde_json::Value;

use super::TemplateError;
use super::functions::{self, go_string, is_true};
use super::parser::{Node, Pipeline, Term};

/// Renders `nodes` with `.` and `$` set to `root`.
pub(super) fn execute(nodes: &[Node], root: &Value) -> Result<String, TemplateError> {
    let mut scope = Scope { variables: vec![(String::new(), root.clone())], out: String::new() };
    scope.nodes(nodes, root)?;
    Ok(scope.out)
}

struct Scope {
    /// Innermost last; the unnamed one is `$`.
    variables: Vec<(String, Value)>,
    out: String,
}

impl Scope {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        nodes.iter().try_for_each(|node| self.node(node, dot))
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), TemplateError> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.out.push_str(&go_string(&value));
            }
            Node::Set(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.declare(&pipeline.declares, value);
            }
            Node::If { test, then, otherwise } => {
                let value = self.pipeline(test, dot)?;
                let branch = if is_true(&value) { then } else { otherwise };
                self.scoped(|scope| {
                    scope.declare(&test.declares, value);
                    scope.nodes(branch, dot)
                })?;
            }
            Node::With { test, then, otherwise } => {
                let value = self.pipeline(test, dot)?;
                self.scoped(|scope| {
                    scope.declare(&test.declares, value.clone());
                    if is_true(&value) {
                        scope.nodes(then, &value)
                    } else {
                        scope.nodes(otherwise, dot)
                    }
                })?;
            }
            Node::Range { over, body, otherwise } => self.range(over, body, otherwise, dot)?,
        }
        Ok(())
    }

    fn range(
        &mut self,
        over: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<(), TemplateError> {
        let items: Vec<(Value, Value)> = match self.pipeline(over, dot)? {
            Value::Array(items) => {
                items.into_iter().enumerate().map(|(i, v)| (Value::from(i), v)).collect()
            }
            // Go walks maps in key order
            Value::Object(mut map) => {
                map.sort_keys();
                map.into_iter().map(|(k, v)| (Value::from(k), v)).collect()
            }
            Value::Null => Vec::new(),
            Value::Number(n) => {
                (0..n.as_u64().unwrap_or(0)).map(|i| (Value::from(i), Value::from(i))).collect()
            }
            other => {
                return Err(TemplateError::Execution {
                    at: describe(over),
                    reason: format!("range can't iterate over {}", go_string(&other)),
                });
            }
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, value) in items {
            self.scoped(|scope| {
                match over.declares.as_slice() {
                    [element] => scope.declare(std::slice::from_ref(element), value.clone()),
                    [index, element] => {
                        scope.declare(std::slice::from_ref(index), key);
                        scope.declare(std::slice::from_ref(element), value.clone());
                    }
                    _ => {}
                }
                scope.nodes(body, &value)
            })?;
        }
        Ok(())
    }

    fn scoped(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<(), TemplateError>,
    ) -> Result<(), TemplateError> {
        let depth = self.variables.len();
        let outcome = run(self);
        self.variables.truncate(depth);
        outcome
    }

    fn declare(&mut self, names: &[String], value: Value) {
        if let Some(name) = names.last() {
            self.variables.push((name.clone(), value));
        }
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut carried = None;
        for command in &pipeline.commands {
            carried = Some(self.command(command, carried, dot)?);
        }
        Ok(carried.unwrap_or(Value::Null))
    }

    fn command(
        &self,
        command: &[Term],
        carried: Option<Value>,
        dot: &Value,
    ) -> Result<Value, TemplateError> {
        let Some((head, rest)) = command.split_first() else { return Ok(Value::Null) };
        let Term::Function(name) = head else {
            let value = self.term(head, dot)?;
            // `.Label "key"`: a method of docker's, here a map that is looked up
            let mut arguments =
                rest.iter().map(|term| self.term(term, dot)).collect::<Result<Vec<_>, _>>()?;
            arguments.extend(carried);
            return if arguments.is_empty() {
                Ok(value)
            } else if value.is_object() {
                Ok(arguments
                    .iter()
                    .try_fold(&value, |value, key| value.get(key.as_str()?))
                    .cloned()
                    .unwrap_or_else(|| Value::from("")))
            } else {
                Err(TemplateError::Execution {
                    at: shown(head),
                    reason: "can't give argument to non-function".to_owned(),
                })
            };
        };
        if matches!(name.as_str(), "and" | "or") {
            return self.logic(name, rest, carried, dot);
        }
        let mut arguments =
            rest.iter().map(|term| self.term(term, dot)).collect::<Result<Vec<_>, _>>()?;
        arguments.extend(carried);
        functions::call(name, &arguments)
            .map_err(|reason| TemplateError::Execution { at: name.clone(), reason })
    }

    /// `and` and `or` stop at the first argument that decides.
    fn logic(
        &self,
        name: &str,
        terms: &[Term],
        carried: Option<Value>,
        dot: &Value,
    ) -> Result<Value, TemplateError> {
        let mut last = Value::Null;
        for term in terms {
            last = self.term(term, dot)?;
            if is_true(&last) == (name == "or") {
                return Ok(last);
            }
        }
        Ok(carried.unwrap_or(last))
    }

    fn term(&self, term: &Term, dot: &Value) -> Result<Value, TemplateError> {
        match term {
            Term::Field(path) => walk(dot, path, term),
            Term::Variable(name, path) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) = found.ok_or_else(|| TemplateError::Execution {
                    at: shown(term),
                    reason: format!("undefined variable \"${name}\""),
                })?;
                walk(value, path, term)
            }
            Term::Function(name) => functions::call(name, &[])
                .map_err(|reason| TemplateError::Execution { at: name.clone(), reason }),
            Term::Text(text) => Ok(Value::from(text.as_str())),
            Term::Number(number) => Ok(functions::number(*number)),
            Term::Bool(value) => Ok(Value::from(*value)),
            Term::Nil => Ok(Value::Null),
            Term::Nested(inner, path) => walk(&self.pipeline(inner, dot)?, path, term),
        }
    }
}

fn walk(value: &Value, path: &[String], term: &Term) -> Result<Value, TemplateError> {
    let mut value = value;
    for field in path {
        value = match value {
            Value::Object(map) => map.get(field).ok_or_else(|| TemplateError::Execution {
                at: shown(term),
                reason: format!("map has no entry for key {field:?}"),
            })?,
            other => {
                let kind = match other {
                    Value::Null => "nil data; no entry for key",
                    _ => "can't evaluate field",
                };
                return Err(TemplateError::Execution {
                    at: shown(term),
                    reason: format!("{kind} {field:?}"),
                });
            }
        };
    }
    Ok(value.clone())
}

fn shown(term: &Term) -> String {
    match term {
        Term::Field(path) => format!(".{}", path.join(".")),
        Term::Variable(name, path) if path.is_empty() => format!("${name}"),
        Term::Variable(name, path) => format!("${name}.{}", path.join(".")),
        Term::Function(name) => name.clone(),
        Term::Text(text) => format!("{text:?}"),
        Term::Number(number) => number.to_string(),
        Term::Bool(value) => value.to_string(),
        Term::Nil => "nil".to_owned(),
        Term::Nested(_, path) => format!("(…).{}", path.join(".")),
    }
}

fn describe(pipeline: &Pipeline) -> String {
    pipeline.commands.iter().flatten().map(shown).collect::<Vec<_>>().join(" ")
}
