//! What a process in a container may do: the same rules for its first process and for every exec.

use crate::caps;
use crate::error::{SpecError, Warning};
use crate::input::Facts;
use crate::security::Security;
use crate::user::ExecUser;
use oci_spec::runtime::Process;
use serde_json::{Map, Value, json};
use types::container::{HostConfig, Ulimit};

/// What a process is made of.
#[derive(Debug, Clone)]
pub struct ProcessInput<'a> {
    pub host: &'a HostConfig,
    pub args: Vec<String>,
    /// HOME is added when it is missing.
    pub env: Vec<String>,
    /// Absolute; `/` when empty.
    pub cwd: &'a str,
    pub user: ExecUser,
    pub tty: bool,
    /// The container's, or the exec's own.
    pub privileged: bool,
    pub facts: &'a Facts,
}

/// Builds an OCI process.
pub fn process(input: &ProcessInput<'_>) -> Result<(Process, Vec<Warning>), SpecError> {
    let mut warnings = Vec::new();
    let value = value(input, &mut warnings)?;
    let process = serde_json::from_value(value).map_err(SpecError::Invalid)?;
    Ok((process, warnings))
}

pub(crate) fn value(
    input: &ProcessInput<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Value, SpecError> {
    let security = Security::parse(input.host.security_opt.as_deref().unwrap_or_default())?;
    let caps = caps::of_container(input.host, input.privileged, input.facts, warnings)?;
    let user = &input.user;
    let mut process = json!({
        "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.additional_gids },
        "args": input.args,
        "env": environment(input),
        "cwd": if input.cwd.is_empty() { "/" } else { input.cwd },
        // Without ambient capabilities: a user other than root loses the rest at execve, as in Docker.
        "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
        "rlimits": rlimits(input, warnings)?,
        "oomScoreAdj": oom_score(input, warnings),
    });
    if let Some(process) = process.as_object_mut() {
        flags(process, input, &security);
    }
    Ok(process)
}

fn flags(process: &mut Map<String, Value>, input: &ProcessInput<'_>, security: &Security) {
    if input.tty {
        process.insert("terminal".to_owned(), true.into());
    }
    // Absent rather than false: libcontainer takes its mere presence for a promise that the filter can be
    // loaded without CAP_SYS_ADMIN.
    if security.no_new_privileges {
        process.insert("noNewPrivileges".to_owned(), true.into());
    }
}

fn environment(input: &ProcessInput<'_>) -> Vec<String> {
    let mut env = input.env.clone();
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        let home = if input.user.home.is_empty() { "/" } else { &input.user.home };
        env.push(format!("HOME={home}"));
    }
    env
}

const RLIMITS: [&str; 16] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
    "as",
];

fn rlimits(input: &ProcessInput<'_>, warnings: &mut Vec<Warning>) -> Result<Vec<Value>, SpecError> {
    let asked = input.host.ulimits.as_deref().unwrap_or_default();
    asked.iter().map(|ulimit| rlimit(ulimit, input.facts, warnings)).collect()
}

fn rlimit(ulimit: &Ulimit, facts: &Facts, warnings: &mut Vec<Warning>) -> Result<Value, SpecError> {
    let name = ulimit.name.to_ascii_lowercase();
    if !RLIMITS.contains(&name.as_str()) {
        return Err(SpecError::Ulimit(ulimit.name.clone()));
    }
    let kind = format!("RLIMIT_{}", name.to_ascii_uppercase());
    // -1 is the kernel's "infinity", all ones.
    let (mut hard, mut soft) = (ulimit.hard.cast_unsigned(), ulimit.soft.cast_unsigned());
    if let Some(given) = facts.hard_limits.get(&kind).copied()
        && hard > given
        && !facts.has("CAP_SYS_RESOURCE")
    {
        warnings.push(Warning::Ulimit { name, asked: ulimit.hard, given });
        (hard, soft) = (given, soft.min(given));
    }
    Ok(json!({ "type": kind, "hard": hard, "soft": soft }))
}

fn oom_score(input: &ProcessInput<'_>, warnings: &mut Vec<Warning>) -> i64 {
    let (asked, own) = (input.host.oom_score_adj, input.facts.oom_score_adj);
    if asked < own && !input.facts.has("CAP_SYS_RESOURCE") {
        warnings.push(Warning::OomScore { asked, given: own });
        return own;
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(host: &HostConfig) -> (Value, Vec<Warning>) {
        let facts = Facts {
            capabilities: crate::DEFAULT_CAPABILITIES.map(str::to_owned).to_vec(),
            hard_limits: [("RLIMIT_NOFILE".to_owned(), 1024)].into(),
            ..Facts::default()
        };
        let input = ProcessInput {
            host,
            args: vec!["true".to_owned()],
            env: Vec::new(),
            cwd: "",
            user: ExecUser { uid: 5, ..ExecUser::default() },
            tty: false,
            privileged: false,
            facts: &facts,
        };
        let (process, warnings) = process(&input).unwrap();
        (serde_json::to_value(process).unwrap(), warnings)
    }

    #[test]
    fn no_new_privileges_is_absent_unless_asked_for() {
        let (process, _) = built(&HostConfig::default());
        assert_eq!(process.get("noNewPrivileges"), None);
        assert_eq!(process["env"], json!(["HOME=/"]));
        let opts = Some(vec!["no-new-privileges".to_owned()]);
        let (process, _) = built(&HostConfig { security_opt: opts, ..HostConfig::default() });
        assert_eq!(process["noNewPrivileges"], json!(true));
    }

    #[test]
    fn limits_beyond_the_daemons_own_are_lowered_with_a_warning() {
        let ulimits = Some(vec![Ulimit { name: "nofile".to_owned(), hard: 4096, soft: 2048 }]);
        let host = HostConfig { ulimits, oom_score_adj: -500, ..HostConfig::default() };
        let (process, warnings) = built(&host);
        let limit = json!([{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }]);
        assert_eq!((&process["rlimits"], &process["oomScoreAdj"]), (&limit, &json!(0)));
        assert_eq!(warnings.len(), 2);
    }
}
