//! Keeps the daemon alive and on time when containers take all there is. As far as it may: each step that is
//! refused is told once and left out.

use std::path::{Path, PathBuf};

/// dockerd's: before this process go most others, but not all.
const OOM_SCORE_ADJ: i32 = -500;
/// Of the processor, when it is scarce: ten times a container's usual share.
const CPU_WEIGHT: &str = "1000";
const CPU_SHARES: &str = "10240";
/// That the kernel leaves this process whatever containers want.
const MEMORY_MIN: &str = "67108864";

/// Protects this process. Its children begin with its OOM score: whoever starts containers sets theirs.
pub(crate) fn daemon() {
    lower_oom_score();
    let Ok(table) = std::fs::read_to_string("/proc/self/cgroup") else { return };
    let root = Path::new("/sys/fs/cgroup");
    for (file, value) in knobs(root, &table) {
        if let Err(err) = std::fs::write(&file, value) {
            tracing::debug!(file = %file.display(), error = %err, "the daemon's cgroup stays as it is");
        }
    }
}

fn lower_oom_score() {
    let path = "/proc/self/oom_score_adj";
    let score = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if score.is_some_and(|score| score <= OOM_SCORE_ADJ) {
        return;
    }
    if let Err(err) = std::fs::write(path, OOM_SCORE_ADJ.to_string()) {
        tracing::warn!(error = %err, "the daemon is not protected from the out-of-memory killer");
    }
}

/// Files of the daemon's own cgroup. Never a root's: that is everybody's.
fn knobs(root: &Path, table: &str) -> Vec<(PathBuf, &'static str)> {
    let mut knobs = Vec::new();
    for line in table.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let path = path.trim_start_matches('/');
        if path.is_empty() || !path.ends_with(".service") {
            continue;
        }
        match controllers {
            "" => {
                let dir = root.join(path);
                knobs.push((dir.join("cpu.weight"), CPU_WEIGHT));
                knobs.push((dir.join("memory.min"), MEMORY_MIN));
            }
            v1 if v1.split(',').any(|controller| controller == "cpu") => {
                knobs.push((root.join(v1).join(path).join("cpu.shares"), CPU_SHARES));
            }
            _ => {}
        }
    }
    knobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_service_of_its_own_is_weighted() {
        let files = |table: &str| -> Vec<String> {
            let knobs = knobs(Path::new("/c"), table);
            knobs.into_iter().map(|(file, _)| file.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(files("0::/"), [""; 0]);
        assert_eq!(files("0::/user.slice/session-1.scope"), [""; 0]);
        assert_eq!(
            files("0::/system.slice/sampan.service"),
            [
                "/c/system.slice/sampan.service/cpu.weight",
                "/c/system.slice/sampan.service/memory.min"
            ]
        );
        assert_eq!(
            files("3:cpu,cpuacct:/system.slice/sampan.service\n2:pids:/x.service"),
            ["/c/cpu,cpuacct/system.slice/sampan.service/cpu.shares"]
        );
    }
}
