//! Waiting for an exit. The place in line is taken before the call returns.

use super::options::{WaitCondition, WaitHandle};
use super::record::{Container, Life};
use crate::{Engine, Result};
use std::sync::Arc;
use tokio::sync::watch;
use types::container::{WaitError, WaitResponse};

impl Engine {
    /// Registered when this returns, so that an exit right after is not missed: send the response's head then.
    pub async fn container_wait(&self, id: &str, condition: WaitCondition) -> Result<WaitHandle> {
        let container = self.0.containers.find(id)?;
        let mut life = container.life.subscribe();
        let exits = life.borrow().exits;
        Ok(Box::pin(async move {
            let met = |life: &Life| match condition {
                WaitCondition::NotRunning => !life.running || life.removed,
                WaitCondition::NextExit => life.exits > exits || life.removed,
                WaitCondition::Removed => life.removed,
            };
            answer(&mut life, met).await
        }))
    }
}

async fn answer(life: &mut watch::Receiver<Life>, met: impl Fn(&Life) -> bool) -> WaitResponse {
    match life.wait_for(met).await {
        Ok(life) => life.last.clone(),
        Err(_closed) => WaitResponse {
            status_code: -1,
            error: Some(WaitError { message: "the engine is shutting down".to_owned() }),
        },
    }
}

/// Resolves when the container does not run, within `limit` if there is one. True when it stopped.
pub(crate) async fn stopped_within(
    container: &Arc<Container>,
    limit: Option<std::time::Duration>,
) -> bool {
    let mut life = container.life.subscribe();
    let stopped = life.wait_for(|life| !life.running || life.removed);
    match limit {
        None => stopped.await.is_ok(),
        Some(limit) => tokio::time::timeout(limit, stopped).await.is_ok_and(|seen| seen.is_ok()),
    }
}
