//! Keys of nodes, and the file that this node's is in.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use boringtun::x25519::{PublicKey, StaticSecret};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A Curve25519 key, public or private. Base64 in text, as `wg` shows them. It does not print itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key([u8; 32]);

impl Key {
    /// `None` of what is no key.
    pub fn parse(text: &str) -> Option<Self> {
        STANDARD.decode(text.trim()).ok()?.try_into().ok().map(Key)
    }

    pub fn to_text(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Of a private one.
    pub fn public(&self) -> Key {
        Key(PublicKey::from(&self.secret()).to_bytes())
    }

    pub(crate) fn secret(&self) -> StaticSecret {
        StaticSecret::from(self.0)
    }

    pub(crate) fn as_public(&self) -> PublicKey {
        PublicKey::from(self.0)
    }

    fn new() -> io::Result<Self> {
        let mut bytes = [0; 32];
        fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Key(bytes))
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.to_text())
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Key::parse(&text).ok_or_else(|| de::Error::custom("no key"))
    }
}

/// This node's private key on disk. A file that is gone or unreadable is as none: there is a new key then, and the other
/// nodes hear of it as of any change of a node.
#[derive(Debug, Clone)]
pub struct KeyFile(PathBuf);

impl KeyFile {
    pub fn at(path: PathBuf) -> Self {
        KeyFile(path)
    }

    /// The key; made if there is none.
    pub fn ensure(&self) -> io::Result<Key> {
        if let Some(key) = fs::read_to_string(&self.0).ok().and_then(|text| Key::parse(&text)) {
            return Ok(key);
        }
        let key = Key::new()?;
        let dir = self.0.parent().unwrap_or(&self.0);
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.as_file().set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(key.to_text().as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.0).map_err(|err| err.error)?;
        Ok(key)
    }

    /// The node is in no cluster any more.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.0) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_until_it_is_removed_and_nobody_else_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let file = KeyFile::at(path.clone());
        let key = file.ensure().unwrap();
        assert!(file.ensure().unwrap() == key && key.public() != key);
        assert!(Key::parse(&key.to_text()) == Some(key.clone()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        file.remove().unwrap();
        file.remove().unwrap();
        assert!(file.ensure().unwrap() != key);
        fs::write(&path, "cut sho").unwrap();
        let mended = file.ensure().unwrap();
        assert!(file.ensure().unwrap() == mended);
    }
}
