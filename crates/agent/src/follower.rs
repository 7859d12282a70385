//! Has the kernel follow the endpoint table as the engine has it, and tells which version it follows. What comes
//! while one is applied is applied together.

use engine::Engine;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// After a failure.
const AGAIN: Duration = Duration::from_secs(1);

/// `heard`: the engine has another table. `applied`: the version that the kernel and the names follow.
pub(crate) async fn run(
    engine: Engine,
    mut heard: watch::Receiver<()>,
    applied: watch::Sender<Option<u64>>,
    stop: CancellationToken,
) {
    let work = async {
        let mut trouble = String::new();
        while heard.changed().await.is_ok() {
            loop {
                match engine.apply_endpoints().await {
                    Ok(version) => {
                        applied.send_replace(version);
                        trouble.clear();
                        break;
                    }
                    Err(err) => {
                        let text = errdefs::chain(&err);
                        if text != trouble {
                            tracing::warn!(error = text, "failed to follow the endpoint table");
                        }
                        trouble = text;
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
}
