//! Showing credentials to a registry, for `docker login`.

use super::client::{Access, Client};
use crate::{Error, Reference, Result, Store};
use types::image::AuthConfig;

/// As `docker login` without an address sends it.
const HUB_INDEX: &str = "index.docker.io";

impl Store {
    /// Asks the registry at `auth.serveraddress` whether it takes these credentials. Nothing is kept.
    ///
    /// # Errors
    /// The registry cannot be reached, or refuses them (dockerd's words).
    pub async fn login(&self, auth: &AuthConfig) -> Result<()> {
        let repository = Reference::parse(&format!("{}/login", host(&auth.serveraddress)))?;
        let clients = Client::connect(&self.0.registry, &repository, auth, Access::Login).await?;
        let client = clients.last().ok_or(Error::Cancelled)?;
        Ok(client.login().await?)
    }
}

/// `https://registry.example:5000/v2/` → `registry.example:5000`.
fn host(address: &str) -> &str {
    let bare = address.split_once("://").map_or(address, |(_, rest)| rest);
    match bare.split('/').next().unwrap_or_default() {
        "" | HUB_INDEX => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn an_address_may_be_a_url() {
        assert_eq!(host(""), "docker.io");
        assert_eq!(host("https://index.docker.io/v1/"), "docker.io");
        assert_eq!(host("localhost:5000"), "localhost:5000");
        assert_eq!(host("http://r.example:1/v2/"), "r.example:1");
    }
}
