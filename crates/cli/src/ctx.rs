//! What every command may use: the connection (made on first use) and the configuration file.

use std::path::PathBuf;

use anyhow::Result;
use tokio::sync::OnceCell;

use crate::client::{Client, ClientError, ConnectOptions};
use crate::config::ConfigFile;
use crate::session::detach::DetachKeys;

/// One invocation's context.
pub(crate) struct Ctx {
    pub(crate) options: ConnectOptions,
    pub(crate) config_dir: Option<PathBuf>,
    client: OnceCell<Client>,
}

impl Ctx {
    /// Nothing is opened yet.
    pub(crate) fn new(options: ConnectOptions, config_dir: Option<PathBuf>) -> Self {
        Ctx { options, config_dir, client: OnceCell::new() }
    }

    /// The daemon; connected and negotiated once.
    pub(crate) async fn client(&self) -> Result<&Client, ClientError> {
        self.client.get_or_try_init(|| Client::connect(&self.options)).await
    }

    /// The configuration file as it is now.
    pub(crate) fn config(&self) -> Result<ConfigFile> {
        ConfigFile::load(self.config_dir.clone())
    }

    /// `--detach-keys`, else the configuration's, else docker's.
    pub(crate) fn detach_keys(&self, flag: Option<&str>) -> Result<(DetachKeys, String)> {
        let config = self.config()?;
        let text = flag.or(config.detach_keys()).unwrap_or_default().to_owned();
        let keys = DetachKeys::parse(&text)
            .map_err(|err| anyhow::anyhow!("invalid detach escape keys: {err}"))?;
        Ok((keys, text))
    }
}
