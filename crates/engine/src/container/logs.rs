//! A container's past and future output. The shim writes the file, whether the daemon lives or not; here
//! it is read.

use super::options::LogsOptions;
use super::record::{Container, Record};
use crate::{ByteStream, Engine, Error, Result};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use types::Timestamp;
use types::container::HostConfig;

/// Enough for a command that does nothing but speak, on a busy machine.
const FIRST_WORDS: Duration = Duration::from_millis(500);

impl Engine {
    /// `GET /containers/{id}/logs`. Framed unless the container has a tty; the flag tells which.
    pub async fn container_logs(
        &self,
        id: &str,
        options: LogsOptions,
    ) -> Result<(ByteStream, bool)> {
        let container = self.0.containers.find(id)?;
        if !options.stdout && !options.stderr {
            return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
        }
        let record = container.snapshot();
        let Some(path) = log_path(&container, &record) else {
            return Err(Error::not_implemented(
                "configured logging driver does not support reading",
            ));
        };
        if !options.follow {
            first_words(&container, &path).await;
        }
        let tty = record.config.tty;
        let query = logs::ReadOptions {
            stdout: options.stdout,
            stderr: options.stderr,
            since: options.since,
            until: options.until,
            tail: options.tail,
            timestamps: options.timestamps,
            details: options.details,
            framing: match (tty, options.joined) {
                (true, _) => logs::Framing::Raw,
                (false, true) => logs::Framing::Joined,
                (false, false) => logs::Framing::Multiplexed,
            },
        };
        let ended = options.follow.then(|| self.end_of_output(&container));
        Ok((Box::pin(logs::read(&path, query, ended)), tty))
    }

    /// Turns true when the container does not run (any more), so that a follower may end.
    fn end_of_output(&self, container: &Container) -> watch::Receiver<bool> {
        let mut life = container.life.subscribe();
        let running = life.borrow_and_update().running;
        let (tell, ended) = watch::channel(!running);
        self.0.tasks.spawn(async move {
            tokio::select! {
                _stopped = life.wait_for(|life| !life.running) => { tell.send_replace(true); }
                () = tell.closed() => {}
            }
        });
        ended
    }

    /// Checks driver and options at creation.
    pub(crate) fn check_log_config(&self, host: &HostConfig) -> Result<()> {
        let log = &host.log_config;
        logs::LogOptions::parse(&log.driver, &log.config).map(drop).map_err(Error::from_lower)
    }
}

/// A client that starts a container and asks for its log at once means to see what a short command says: dockerd's own
/// start takes longer than such a command. Waits for the first bytes while the container is younger than [`FIRST_WORDS`].
async fn first_words(container: &Container, log: &Path) {
    let said = || std::fs::metadata(log).is_ok_and(|meta| meta.len() > 0);
    let is_young = || {
        let record = container.record();
        let state = &record.state;
        let age = Timestamp::from(SystemTime::now()).since(state.started_at);
        state.running && age < FIRST_WORDS
    };
    while is_young() && !said() {
        tokio::time::sleep(FIRST_WORDS / 50).await;
    }
}

/// What the shim is to do with the output; `None` keeps nothing.
pub(crate) fn log_target(
    container: &Container,
    record: &Record,
) -> Result<Option<runtime::LogTarget>> {
    let log = &record.host_config.log_config;
    let options = logs::LogOptions::parse(&log.driver, &log.config).map_err(Error::from_lower)?;
    let empty = std::collections::BTreeMap::new();
    let tag = logs::TagInfo {
        id: record.id.as_str(),
        name: &record.name,
        image_id: &record.image,
        image_name: &record.config.image,
    };
    let labels = record.config.labels.as_ref().unwrap_or(&empty);
    let attributes =
        options.attributes(labels, record.config.env.as_deref().unwrap_or_default(), tag);
    Ok(log_path(container, record).map(|path| runtime::LogTarget {
        path,
        max_size: options.rotation.max_bytes,
        max_file: options.rotation.max_files,
        attributes: attributes.into_iter().collect(),
    }))
}

/// Where the shim writes; `None` with the driver `none`.
pub(crate) fn log_path(container: &Container, record: &Record) -> Option<PathBuf> {
    let kept = record.host_config.log_config.driver != "none";
    kept.then(|| container.dir.join(format!("{}-json.log", record.id)))
}
