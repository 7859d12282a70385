//! `import`: a root file system's tar becomes an image of one layer.

use crate::store::Image;
use crate::{Commit, Platform, Reference, Result, Store};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::AsyncRead;
use types::container::Config;
use types::image::History;

/// What the new image says beside its files.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Already changed by the user's `--change` instructions.
    pub config: Config,
    /// Docker writes `Imported from -` when the user gave none.
    pub message: String,
    pub platform: Option<Platform>,
    /// Its name, or none.
    pub reference: Option<Reference>,
}

impl Store {
    /// Reads `tar`, compressed or not, to its end.
    pub async fn import(
        &self,
        tar: impl AsyncRead + Unpin,
        options: ImportOptions,
    ) -> Result<Arc<Image>> {
        let layer = self.layer_from_tar(None, tar).await?;
        let message = match options.message.as_str() {
            "" => "Imported from -",
            message => message,
        };
        let history = History {
            created: SystemTime::now().into(),
            comment: message.to_owned(),
            ..History::default()
        };
        let commit = Commit {
            config: options.config,
            history,
            platform: options.platform,
            ..Commit::default()
        };
        let image = self.create_image(commit, Some(&layer)).await?;
        match options.reference {
            Some(reference) => self.set_reference(reference.or_latest(), image.id.clone()).await,
            None => Ok(image),
        }
    }
}
