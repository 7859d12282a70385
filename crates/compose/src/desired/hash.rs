//! The fingerprint that tells a changed service from an unchanged one.

use crate::model::{Project, Service};
use sha2::{Digest, Sha256};

/// Keys that do not change what a container is.
const ELSEWHERE: [&str; 9] = [
    "attach",
    "build",
    "depends_on",
    "develop",
    "env_file",
    "profiles",
    "pull_policy",
    "scale",
    "deploy",
];

/// Hex SHA-256 over the canonical service, and over the contents of the configs and secrets written in the file.
pub(super) fn service(project: &Project, name: &str, service: &Service) -> String {
    let mut digest = Sha256::new();
    let node = project.tree().and_then(|tree| tree.at(&["services", name]));
    let json = node.map(crate::node::Node::to_json).unwrap_or_default();
    for (key, value) in json.as_object().into_iter().flatten() {
        if !ELSEWHERE.contains(&key.as_str()) && !key.starts_with("x-") {
            digest.update(format!("{key}={value}\n"));
        }
    }
    digest.update(format!("{:?}\n", service.deploy.resources));
    digest.update(format!("{:?}\n", service.deploy.restart_policy));
    for (grants, sources) in
        [(&service.configs, &project.configs), (&service.secrets, &project.secrets)]
    {
        for grant in grants {
            let source = sources.get(&grant.source);
            let variable = source.and_then(|source| source.environment.as_ref());
            digest.update(format!("{:?}", source.map(|source| (&source.content, &source.file))));
            digest
                .update(format!("{:?}\n", variable.and_then(|name| project.environment.get(name))));
        }
    }
    hex::encode(digest.finalize())
}

/// Hex SHA-256 over a canonical network or volume.
pub(super) fn object(project: &Project, kind: &str, key: &str) -> String {
    let node = project.tree().and_then(|tree| tree.at(&[kind, key]));
    let json = node.map(crate::node::Node::to_json).unwrap_or_default();
    hex::encode(Sha256::digest(json.to_string()))
}
