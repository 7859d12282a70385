//! `additional_contexts`: images and other services' images become stages of the Dockerfile that bear the
//! context's name, so that `FROM name` and `COPY --from=name` find them. A second folder cannot be sent.

use std::path::Path;

use anyhow::{Context, Result, bail};
use compose::model::Build;

use super::Loaded;

/// The Dockerfile to build with, when it is not the context's own.
pub(super) fn dockerfile(loaded: &Loaded, section: &Build) -> Result<Option<String>> {
    let mut stages = String::new();
    for (name, context) in &section.additional_contexts {
        let image = if let Some(image) = context.strip_prefix("docker-image://") {
            image.to_owned()
        } else if let Some(service) = context.strip_prefix("service:") {
            let wanted = loaded.desired.services.get(service);
            wanted.with_context(|| format!("no such service: {service}"))?.image.clone()
        } else {
            bail!(
                "additional context {name}: only docker-image:// and service: are understood, not {context}"
            );
        };
        stages.push_str(&format!("FROM {image} AS {name}\n"));
    }
    if stages.is_empty() {
        return Ok(section.dockerfile_inline.clone());
    }
    let text = match &section.dockerfile_inline {
        Some(text) => text.clone(),
        None => {
            let path = Path::new(&section.context).join(&section.dockerfile);
            std::fs::read_to_string(&path)
                .with_context(|| format!("failed to read {}", path.display()))?
        }
    };
    Ok(Some(insert(&text, &stages)))
}

/// Puts `stages` before the first `FROM`: what stands above it are arguments for all stages.
fn insert(text: &str, stages: &str) -> String {
    let mut out = String::new();
    let mut placed = false;
    for line in text.split_inclusive('\n') {
        let word = line.split_whitespace().next().unwrap_or_default();
        if !placed && word.eq_ignore_ascii_case("FROM") {
            out.push_str(stages);
            placed = true;
        }
        out.push_str(line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::insert;

    #[test]
    fn contexts_stand_before_the_first_stage_and_after_global_arguments() {
        let text = "# syntax=x\nARG TAG=1\nFROM base:$TAG\nCOPY --from=tools /t /t\nFROM scratch\n";
        let want = "# syntax=x\nARG TAG=1\nFROM busybox AS tools\nFROM base:$TAG\nCOPY --from=tools /t /t\nFROM scratch\n";
        assert_eq!(insert(text, "FROM busybox AS tools\n"), want);
    }
}
