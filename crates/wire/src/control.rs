//! The daemon's side of the helper.

use crate::config::{Answer, Config, Order};
use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const SOCKET: &str = "socket";
pub(crate) const LOCK: &str = "lock";
/// A helper of another version is replaced: its peers' sessions begin anew within a second.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long a helper may take to begin to listen, on a loaded machine.
const START: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(10);

/// The helper of one daemon, whether it runs or not.
#[derive(Debug)]
pub struct Helper {
    /// Only root may look into it: keys go through the socket.
    dir: PathBuf,
    program: PathBuf,
    /// The one that this daemon started, to bury it.
    child: Option<Child>,
    /// There is none, by this daemon's own doing.
    is_stopped: bool,
}

impl Helper {
    /// `program` is the one that calls [`crate::main`], with the word `wire`.
    pub fn at(dir: PathBuf, program: PathBuf) -> Self {
        Helper { dir, program, child: None, is_stopped: false }
    }

    /// Has the helper do `config`, and starts one if there is none; without a configuration there is none after it.
    /// Cheap when nothing changed.
    pub fn ensure(&mut self, config: Option<&Config>) -> io::Result<()> {
        self.bury();
        let Some(config) = config else {
            if !self.is_stopped {
                self.stop()?;
                self.is_stopped = true;
            }
            return Ok(());
        };
        self.is_stopped = false;
        let order = serde_json::to_vec(&Order::Carry(Box::new(config.clone())))?;
        match self.say(&order) {
            Ok(answer) if answer.version == VERSION && answer.error.is_none() => return Ok(()),
            // Another program than ours, or one with another device.
            Ok(_) => self.stop()?,
            Err(_) => {}
        }
        self.start()?;
        let answer = self.say_once_it_listens(&order)?;
        answer.error.map_or(Ok(()), |error| Err(io::Error::other(error)))
    }

    fn start(&mut self) -> io::Result<()> {
        if !self.dir.is_dir() {
            DirBuilder::new().mode(0o700).recursive(true).create(&self.dir)?;
        }
        let child = Command::new(&self.program)
            .arg("wire")
            .arg(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    fn say_once_it_listens(&mut self, order: &[u8]) -> io::Result<Answer> {
        let until = Instant::now() + START;
        loop {
            match self.say(order) {
                Err(err) if Instant::now() >= until => return Err(err),
                Err(_) => std::thread::sleep(PAUSE),
                answer => return answer,
            }
        }
    }

    /// Once it has ended: who has no more to do must not be left behind.
    fn stop(&mut self) -> io::Result<()> {
        if self.say(&serde_json::to_vec(&Order::Stop)?).is_ok() {
            let until = Instant::now() + START;
            while self.dir.join(SOCKET).exists() && Instant::now() < until {
                std::thread::sleep(PAUSE);
            }
        }
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        match fs::remove_dir_all(&self.dir) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            _ => Ok(()),
        }
    }

    fn bury(&mut self) {
        if self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|it| it.is_some())) {
            self.child = None;
        }
    }

    fn say(&self, order: &[u8]) -> io::Result<Answer> {
        let mut stream = UnixStream::connect(self.dir.join(SOCKET))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(order)?;
        stream.shutdown(Shutdown::Write)?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text)?;
        Ok(serde_json::from_slice(&text)?)
    }
}
