//! Docker's service templates: `{{.Service.Name}}.{{.Task.Slot}}` in variables, hostnames, mounts, and in
//! secrets and configs that ask for it. Of Go's template language this knows fields, `index` and `join`,
//! and for files `env`, `secret` and `config`: what the documents of Swarm show. The rest is refused.

use std::collections::BTreeMap;

/// What a template may speak of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Context {
    /// `Service.Name` and the like, without the leading dot.
    pub(crate) fields: BTreeMap<&'static str, String>,
    pub(crate) service_labels: BTreeMap<String, String>,
    /// Only for files: the task's variables, and its secrets and configs by their targets.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) configs: BTreeMap<String, String>,
}

impl Context {
    /// `text` with its templates filled in; the reason why not, else.
    pub(crate) fn expand(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, after) =
                after.split_once("}}").ok_or_else(|| format!("unclosed action in {text:?}"))?;
            let (action, trims_before) = match action.strip_prefix("- ") {
                Some(action) => (action, true),
                None => (action, false),
            };
            let (action, trims_after) = match action.strip_suffix(" -") {
                Some(action) => (action, true),
                None => (action, false),
            };
            out.push_str(if trims_before { before.trim_end() } else { before });
            out.push_str(&self.value(action)?);
            rest = if trims_after { after.trim_start() } else { after };
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&self, action: &str) -> Result<String, String> {
        let words = words(action)?;
        let (first, rest) =
            words.split_first().ok_or_else(|| "missing value for command".to_owned())?;
        match (first, rest) {
            (Word::Field(_) | Word::Text(_), []) => self.word(first),
            (Word::Name(name), rest) => self.call(name, rest),
            _ => Err(format!("cannot evaluate {action:?}")),
        }
    }

    fn word(&self, word: &Word<'_>) -> Result<String, String> {
        match word {
            Word::Text(text) => Ok(text.clone()),
            Word::Field("Service.Labels") => {
                let pairs: Vec<String> = self
                    .service_labels
                    .iter()
                    .map(|(key, value)| format!("{key}:{value}"))
                    .collect();
                Ok(format!("map[{}]", pairs.join(" ")))
            }
            Word::Field(path) => {
                self.fields.get(path).cloned().ok_or_else(|| format!("can't evaluate field {path}"))
            }
            Word::Name(name) => Err(format!("function {name:?} not defined")),
        }
    }

    fn call(&self, name: &str, arguments: &[Word<'_>]) -> Result<String, String> {
        match (name, arguments) {
            ("index", [Word::Field("Service.Labels"), key]) => {
                Ok(self.service_labels.get(&self.word(key)?).cloned().unwrap_or_default())
            }
            ("join", [separator, parts @ ..]) => {
                let parts: Vec<String> =
                    parts.iter().map(|part| self.word(part)).collect::<Result<_, _>>()?;
                Ok(parts.join(&self.word(separator)?))
            }
            ("env", [name]) => Ok(self.env.get(&self.word(name)?).cloned().unwrap_or_default()),
            ("secret", [target]) => named(&self.secrets, "secret", &self.word(target)?),
            ("config", [target]) => named(&self.configs, "config", &self.word(target)?),
            _ => Err(format!("function {name:?} not defined")),
        }
    }
}

fn named(of: &BTreeMap<String, String>, kind: &str, target: &str) -> Result<String, String> {
    of.get(target).cloned().ok_or_else(|| format!("{kind} target {target} not found"))
}

/// One word of an action.
enum Word<'a> {
    Field(&'a str),
    Name(&'a str),
    Text(String),
}

fn words(action: &str) -> Result<Vec<Word<'_>>, String> {
    let mut words = Vec::new();
    let mut rest = action.trim();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix(['"', '`']) {
            let quote = if rest.starts_with('"') { '"' } else { '`' };
            let (text, after) =
                quoted.split_once(quote).ok_or_else(|| "unterminated quoted string".to_owned())?;
            words.push(Word::Text(text.to_owned()));
            rest = after.trim_start();
            continue;
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        words.push(match word.strip_prefix('.') {
            Some(path) => Word::Field(path),
            None => Word::Name(word),
        });
        rest = after.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context {
            fields: [("Service.Name", "web".to_owned()), ("Task.Slot", "2".to_owned())].into(),
            service_labels: [("tier".to_owned(), "front".to_owned())].into(),
            env: [("MODE".to_owned(), "dev".to_owned())].into(),
            ..Context::default()
        }
    }

    #[test]
    fn fields_labels_and_joins_are_filled_in() {
        let expand = |text: &str| context().expand(text).unwrap();
        assert_eq!(expand("{{.Service.Name}}-{{ .Task.Slot }}"), "web-2");
        assert_eq!(expand("{{index .Service.Labels \"tier\"}}"), "front");
        assert_eq!(expand("{{join \"_\" .Service.Name .Task.Slot}}"), "web_2");
        assert_eq!(expand("{{.Service.Labels}}"), "map[tier:front]");
        assert_eq!(
            expand("a {{- env \"MODE\" -}} b"),
            "a {{- env \"MODE\" -}} b".replace(" {{- env \"MODE\" -}} ", "dev")
        );
        assert_eq!(expand("plain { braces }"), "plain { braces }");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for text in ["{{.Service.Nope}}", "{{", "{{}}", "{{exec \"x\"}}", "{{secret \"x\"}}"] {
            assert!(context().expand(text).is_err(), "{text}");
        }
    }
}
