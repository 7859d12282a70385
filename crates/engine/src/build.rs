//! `POST /build`: the classic builder.
//!
//! ```text
//!   context ──► private directory ──► Dockerfile ──► stages ──► for each instruction:
//!
//!      metadata        new configuration ─────────────────────────────┐
//!      COPY, ADD       hash of the sources ─► cache? ─► files ─► layer ├─► image ─► next parent
//!      RUN             command and arguments ─► cache? ─► container ───┘
//! ```
//!
//! Every instruction makes an image whose parent is the one before; the cache is nothing but those images,
//! found by parent, history line and configuration. A build is one task. It ends with its last message,
//! or at the next instruction or output once its client is gone, and then takes its container, its
//! writable layers and its context with it. What a crash leaves, the image store sweeps when it opens.

mod archive;
mod cache;
mod comment;
mod context;
mod copy;
mod executor;
mod git;
mod options;
mod output;
mod owner;
mod place;
mod run;
mod scope;
mod sources;

pub use options::BuildOptions;

use crate::{Body, Engine, Error, Result};
use executor::Executor;
use output::Output;
use tokio::sync::mpsc;
use types::image::Progress;

/// Messages that wait for a slow client; then the build waits.
const MESSAGE_QUEUE: usize = 256;

impl Engine {
    /// `POST /build`. What is wrong with the request or with the Dockerfile fails this call; what goes
    /// wrong later is the stream's last message. Dropping the stream cancels the build.
    pub async fn image_build(
        &self,
        options: BuildOptions,
        context: Body,
    ) -> Result<mpsc::Receiver<Progress>> {
        let tags = options.references()?;
        let context = self.build_context(&options, context).await?;
        let file = context.dockerfile(&options)?;
        let (send, receive) = mpsc::channel(MESSAGE_QUEUE);
        let output = Output::new(send, options.quiet, self.0.closing.clone());
        let executor = Executor::new(self.clone(), options, file, context, output);
        self.0.tasks.spawn(executor.finish(tags));
        Ok(receive)
    }

    /// `POST /build/prune`: the directories of `RUN --mount=type=cache`. Layers that no image needs go
    /// with `image prune`. Returns the bytes freed.
    pub async fn build_prune(&self) -> Result<u64> {
        let dir = self.build_caches();
        let pruned = tokio::task::spawn_blocking(move || run::prune_caches(&dir)).await;
        let pruned = pruned.map_err(|err| Error::caused("failed to prune the build cache", err))?;
        pruned.map_err(|err| Error::caused("failed to prune the build cache", err))
    }

    fn build_caches(&self) -> std::path::PathBuf {
        self.0.config.data_root.join("build-cache")
    }

    /// Secrets of steps under way.
    fn build_secrets(&self) -> std::path::PathBuf {
        self.0.config.exec_root.join("build-secrets")
    }
}
