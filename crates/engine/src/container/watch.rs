//! Watching one container by what it is, not by what is announced of it: nothing is missed by reading late.

use super::record::{Container, Life};
use crate::{Engine, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use types::ContainerId;

/// A container at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sight {
    pub running: bool,
    /// It was started at least once.
    pub has_run: bool,
    /// Of the last run; 0 while the first one lasts.
    pub exit_code: i64,
    /// 0 when it does not run.
    pub pid: i32,
    /// `starting`, `healthy`, `unhealthy`; `None` without a health check.
    pub health: Option<String>,
    pub removed: bool,
}

/// A place from which to look at one container.
pub struct Watch {
    container: Arc<Container>,
    life: watch::Receiver<Life>,
}

impl Watch {
    pub fn id(&self) -> &ContainerId {
        &self.container.id
    }

    /// As it is now. What changes from here on makes [`Watch::changed`] return.
    pub fn look(&mut self) -> Sight {
        let life = self.life.borrow_and_update().clone();
        let record = self.container.record();
        let state = &record.state;
        Sight {
            // Begun once the record says so, ended once that is dealt with.
            running: life.running || state.running,
            has_run: record.has_run,
            exit_code: state.exit_code,
            pid: state.pid,
            health: state.health.as_ref().map(|health| health.status.clone()),
            removed: life.removed,
        }
    }

    /// Returns once it started, ended, was removed, or its health changed since the last look.
    pub async fn changed(&mut self) {
        if self.life.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Engine {
    /// `id`: an id or a name.
    pub fn container_watch(&self, id: &str) -> Result<Watch> {
        let container = self.0.containers.find(id)?;
        let life = container.life.subscribe();
        Ok(Watch { container, life })
    }

    /// Labels of every container that has the label `key`.
    pub fn containers_labelled(&self, key: &str) -> Vec<(ContainerId, BTreeMap<String, String>)> {
        let labels = |container: Arc<Container>| {
            let labels = container.record().config.labels.clone()?;
            labels.contains_key(key).then(|| (container.id.clone(), labels))
        };
        self.0.containers.all().into_iter().filter_map(labels).collect()
    }

    /// Whether a container here answers to this id, id prefix or name.
    pub fn container_exists(&self, wanted: &str) -> bool {
        self.0.containers.find(wanted).is_ok()
    }

    /// Whether `name` means an image that is here.
    pub fn image_exists(&self, name: &str) -> bool {
        self.image_id_of(name).is_some()
    }
}
