//! A private daemon for one test: its own directories, socket, network namespace and cgroup. `dockerd` can be started
//! the same way, so that a test or a benchmark runs on both.
//!
//! Dropping it ends every process and removes every mount, cgroup and namespace that carries its token, also after a
//! panic.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::client::{self, Output};
use crate::http::{self, Response};
use crate::leaks::Snapshot;
use crate::memory::{self, Weight};
use crate::namespace::Namespace;
use crate::{disk, images, leaks, sweep};

/// How long a daemon may take to answer after its start; debug builds on busy machines are slow.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// How long it may take to end after SIGTERM.
const GONE_WITHIN: Duration = Duration::from_secs(180);
/// How long what happens by itself is waited for: far longer than it takes, also on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(120);
/// The file that is a daemon's own disk.
const DISK: &str = "disk";
/// Addresses of the cable between the daemon's namespace and the one outside it.
const INSIDE: (Ipv4Addr, &str, &str) =
    (Ipv4Addr::new(10, 213, 77, 1), "10.213.77.1/30", "10.213.77.2/30");

/// Whose daemon to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    #[default]
    Sampan,
    Dockerd,
}

impl Engine {
    /// What the end-to-end tests are run on: Sampan, or dockerd when `TESTKIT_ENGINE=dockerd` asks what Docker does.
    pub fn under_test() -> Self {
        match std::env::var("TESTKIT_ENGINE").as_deref() {
            Ok("dockerd") => Engine::Dockerd,
            _ => Engine::Sampan,
        }
    }
}

/// How to start a daemon; the default is Sampan's, without images, without an outside.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub engine: Engine,
    /// The daemon's program; found beside the running test when absent.
    pub binary: Option<PathBuf>,
    /// The token to use instead of a fresh one; such a daemon is not swept away.
    pub token: Option<String>,
    /// The name of its machine; the real one's when absent.
    pub hostname: Option<String>,
    /// Gives it cgroup version 2 alone, whatever layout the machine has. A mount namespace of its own does it, so
    /// that such a daemon cannot be started [`again`](Daemon::again).
    pub unified_cgroups: bool,
    /// Further arguments of the daemon's command line.
    pub args: Vec<String>,
    /// Environment variables of the daemon.
    pub env: Vec<(String, String)>,
    /// Base images to load before it is handed over (`busybox`, `redis:alpine` …).
    pub images: Vec<&'static str>,
    /// Size of the disk under the data root, when it is to be a small one (a tmpfs).
    pub disk_bytes: Option<u64>,
    /// Size of a disk of its own under the data root (ext4 in a file), which [`Daemon::lose_power`] cuts off.
    pub own_disk_bytes: Option<u64>,
    /// A second namespace, joined by a cable, from which published ports are seen as other machines see them.
    pub outside: bool,
}

/// What the shell does before it becomes the daemon, `$0`.
const UNIFIED_CGROUPS: &str = "mount --make-rprivate / && umount -l /sys/fs/cgroup && \
    mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$0\" \"$@\"";

impl Options {
    /// The engine under test with these images loaded.
    pub fn with_images(images: &[&'static str]) -> Self {
        Options { engine: Engine::under_test(), images: images.to_vec(), ..Options::default() }
    }
}

/// A running private daemon (or, after [`kill9`](Daemon::kill9) or [`stop`](Daemon::stop), its remains).
#[derive(Debug)]
pub struct Daemon {
    token: String,
    dir: PathBuf,
    options: Options,
    child: Option<Child>,
    namespace: Namespace,
    outside: Option<Namespace>,
    baseline: Snapshot,
}

impl Daemon {
    /// Starts a daemon and waits until it answers.
    ///
    /// # Panics
    /// When it does not come up; the end of its log is in the message.
    #[track_caller]
    pub fn start(options: Options) -> Self {
        match Daemon::try_start(options) {
            Ok(daemon) => daemon,
            Err(err) => panic!("{err:#}"),
        }
    }

    /// Debian's dockerd with these images loaded, in the same kind of surroundings.
    #[track_caller]
    pub fn dockerd(images: &[&'static str]) -> Self {
        Daemon::start(Options { engine: Engine::Dockerd, ..Options::with_images(images) })
    }

    /// As [`start`](Daemon::start), for programs that are not tests.
    pub fn try_start(options: Options) -> Result<Self> {
        Daemon::try_start_on(options, |_| Ok(()))
    }

    /// The same, with cables laid into its namespace before it starts.
    pub(crate) fn try_start_on(
        options: Options,
        plug: impl FnOnce(&Namespace) -> Result<()>,
    ) -> Result<Self> {
        let token = options.token.clone().unwrap_or_else(next_token);
        let dir = std::env::temp_dir().join(&token);
        fs::create_dir_all(&dir)?;
        if let Some(bytes) = options.disk_bytes {
            disk::small(&dir.join("data"), bytes)?;
        }
        if let Some(bytes) = options.own_disk_bytes {
            disk::own(&dir.join(DISK), &dir.join("data"), bytes)?;
        }
        let namespace = Namespace::create(&token)?;
        let outside =
            options.outside.then(|| Namespace::create(&format!("{token}-out"))).transpose()?;
        if let Some(outside) = &outside {
            namespace.join(outside, INSIDE.1, INSIDE.2)?;
        }
        plug(&namespace)?;
        let baseline = Snapshot::default();
        let mut daemon = Daemon { token, dir, options, child: None, namespace, outside, baseline };
        daemon.try_again()?;
        for reference in daemon.options.images.clone() {
            daemon.load(&images::archive(reference)?)?;
        }
        daemon.rebase();
        Ok(daemon)
    }

    /// Starts it once more on the same directories, after [`kill9`](Daemon::kill9) or [`stop`](Daemon::stop).
    #[track_caller]
    pub fn again(&mut self) {
        if let Err(err) = self.try_again() {
            panic!("{err:#}");
        }
    }

    /// As [`again`](Daemon::again), for programs that are not tests.
    pub fn try_again(&mut self) -> Result<()> {
        self.launch()?;
        self.await_ready()
    }

    /// Starts it once more, and does not wait until it answers.
    pub fn launch(&mut self) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let mut command = match &self.options.hostname {
            _ if self.options.unified_cgroups => {
                let mut command = self.namespace.command("unshare");
                command.args(["--mount", "sh", "-c", UNIFIED_CGROUPS]).arg(self.program()?);
                command
            }
            None => self.namespace.command(self.program()?),
            Some(name) => {
                let mut command = self.namespace.command("unshare");
                let rename = "echo $0 > /proc/sys/kernel/hostname; exec \"$@\"";
                command.args(["--uts", "sh", "-c", rename, name]).arg(self.program()?);
                command
            }
        };
        if self.options.engine == Engine::Sampan {
            command.arg("daemon");
        }
        command.arg("--data-root").arg(self.data_root()).arg("--exec-root").arg(self.exec_root());
        command.arg("--pidfile").arg(self.dir.join("pid")).arg("--host").arg(self.host());
        command.args(["--cgroup-parent", &format!("/{}", self.token)]).args(&self.options.args);
        command
            .envs(self.options.env.iter().map(|(name, value)| (name, value)))
            .env("SMP_TESTKIT", &self.token);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().context("starting the daemon")?);
        Ok(())
    }

    /// Waits until it answers.
    pub fn await_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if self.request("GET", "/_ping", b"").is_ok_and(|reply| reply.status == 200) {
                return Ok(());
            }
            let ended = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            if let Some(status) = ended {
                bail!("the daemon ended at once ({status}):\n{}", self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("the daemon does not answer on {}:\n{}", self.host(), self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn program(&self) -> Result<PathBuf> {
        match (&self.options.binary, self.options.engine) {
            (Some(binary), _) => Ok(binary.clone()),
            (None, Engine::Dockerd) => Ok(PathBuf::from("dockerd")),
            (None, Engine::Sampan) => crate::sampan_binary(),
        }
    }

    /// SIGKILL, and waits until it is gone. Containers go on.
    #[track_caller]
    pub fn kill9(&mut self) {
        self.end(Signal::SIGKILL);
    }

    /// As if its host had lost power: the daemon, its shims and every container end at once by SIGKILL.
    #[track_caller]
    pub fn power_off(&mut self) {
        self.kill9();
        sweep::end_processes(&self.token);
    }

    /// The power of its host fails: what its own disk ([`Options::own_disk_bytes`]) was not asked to make durable is
    /// lost and the daemon ends, in this order and at once. [`restore_power`](Daemon::restore_power) does the rest.
    pub fn cut_power(&mut self) -> Result<()> {
        disk::lose_power(&self.data_root())?;
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            child.wait()?;
        }
        Ok(())
    }

    /// Its host is there again as after booting: no process or cgroup of before, nothing in `/run`, and on its disk what
    /// [`cut_power`](Daemon::cut_power) left. The daemon is not started.
    pub fn restore_power(&mut self) -> Result<()> {
        sweep::end_processes(&self.token);
        for below in sweep::mounts(&self.token).iter().rev() {
            if *below != self.data_root() {
                // What is busy is detached; what is gone needs nothing.
                let _ = nix::mount::umount2(below, nix::mount::MntFlags::MNT_DETACH);
            }
        }
        sweep::remove_all_cgroups(&self.token);
        disk::after_power_loss(&self.dir.join(DISK), &self.data_root())?;
        fs::remove_dir_all(self.exec_root()).or_else(|err| match err.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(err.into()),
        })
    }

    /// Stops the daemon where it is (SIGSTOP), or lets it go on.
    #[track_caller]
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { Signal::SIGSTOP } else { Signal::SIGCONT };
        // It may have ended by itself: whoever waits for it is told.
        let _ = kill(Pid::from_raw(self.pid().cast_signed()), signal);
    }

    /// Whether it was started and not ended by us.
    pub fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// SIGTERM, and waits until it is gone; returns its exit code (128 + n after signal n).
    #[track_caller]
    pub fn stop(&mut self) -> i32 {
        self.end(Signal::SIGTERM)
    }

    /// [`stop`](Daemon::stop), then [`again`](Daemon::again).
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.again();
    }

    #[track_caller]
    fn end(&mut self, signal: Signal) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let Some(mut child) = self.child.take() else { panic!("the daemon is not running") };
        // It may have ended by itself: then waiting tells.
        let _ = kill(Pid::from_raw(child.id().cast_signed()), signal);
        let gone = eventually_ok(GONE_WITHIN, || child.try_wait().ok().flatten());
        let Some(status) = gone else {
            panic!(
                "the daemon did not end within {GONE_WITHIN:?} after {signal}:\n{}",
                self.log_tail()
            )
        };
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }

    /// Whose daemon it is.
    pub fn engine(&self) -> Engine {
        self.options.engine
    }

    /// The daemon's process id.
    ///
    /// # Panics
    /// When it is not running.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        match &self.child {
            Some(child) => child.id(),
            None => panic!("the daemon is not running"),
        }
    }

    /// The token in the names and paths of all that belongs to this daemon.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The private directory of this daemon; tests may put files of their own there.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn data_root(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub fn exec_root(&self) -> PathBuf {
        self.dir.join("exec")
    }

    /// `unix://…`, as `DOCKER_HOST` wants it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("sock")
    }

    /// The namespace the daemon lives in.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The daemon's address as seen from outside, for published ports.
    pub fn outside_address(&self) -> Ipv4Addr {
        INSIDE.0
    }

    /// What the daemon has logged so far.
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// The real docker CLI against this daemon.
    #[track_caller]
    pub fn docker(&self, args: &[&str]) -> Output {
        self.docker_with(args, b"")
    }

    /// The real docker CLI with something on its standard input.
    #[track_caller]
    pub fn docker_with(&self, args: &[&str], input: &[u8]) -> Output {
        ran(client::run(self.docker_command().args(args), input))
    }

    /// The docker CLI as a command to spawn; standard streams are the caller's.
    pub fn docker_command(&self) -> Command {
        self.client("docker")
    }

    /// The docker CLI on a terminal of its own (`script`), with `input` typed at it.
    #[track_caller]
    pub fn docker_on_terminal(&self, args: &[&str], input: &[u8]) -> Output {
        let line = std::iter::once("docker")
            .chain(args.iter().copied())
            .map(quoted)
            .collect::<Vec<_>>()
            .join(" ");
        ran(client::run(self.client("script").args(["-qec", &line, "/dev/null"]), input))
    }

    /// Our own CLI against this daemon.
    #[track_caller]
    pub fn sampan(&self, args: &[&str]) -> Output {
        self.sampan_in(&self.dir, args)
    }

    /// Our own CLI in another working directory.
    #[track_caller]
    pub fn sampan_in(&self, dir: &Path, args: &[&str]) -> Output {
        let mut command = ran(self.sampan_command());
        ran(client::run(command.current_dir(dir).args(args), b""))
    }

    /// Our own CLI as a command to spawn, for another working directory or environment.
    pub fn sampan_command(&self) -> Result<Command> {
        Ok(self.client(crate::sampan_binary()?))
    }

    /// docker-compose 1.29 against this daemon, in `project`.
    #[track_caller]
    pub fn compose(&self, project: &Path, args: &[&str]) -> Output {
        self.compose_with(project, &[], args)
    }

    /// docker-compose with further environment variables (`PORT=5001`).
    #[track_caller]
    pub fn compose_with(&self, project: &Path, env: &[(&str, &str)], args: &[&str]) -> Output {
        let mut command = self.client("docker-compose");
        ran(client::run(command.envs(env.iter().copied()).current_dir(project).args(args), b""))
    }

    fn client(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        for inherited in
            ["DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION"]
        {
            command.env_remove(inherited);
        }
        command.env("DOCKER_HOST", self.host()).env("SAMPAN_HOST", self.host());
        // The classic builder, and no credentials or contexts of whoever runs the tests.
        command.env("DOCKER_BUILDKIT", "0").env("DOCKER_CONFIG", self.dir.join("docker-config"));
        command
    }

    /// Loads an image archive through the API.
    pub fn load(&self, archive: &Path) -> Result<()> {
        let mut file =
            File::open(archive).with_context(|| format!("opening {}", archive.display()))?;
        let length = file.metadata()?.len();
        let reply =
            self.send("POST", "/images/load?quiet=1", "application/x-tar", &mut file, length)?;
        let text = reply.text();
        anyhow::ensure!(
            reply.status == 200 && !text.contains("\"error"),
            "loading {}: {text}",
            archive.display()
        );
        Ok(())
    }

    /// `GET path` on the daemon's socket (`/v1.51/info`).
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        ran(self.request("GET", path, b""))
    }

    /// `POST path` with a JSON body; `null` sends none.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Response {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        ran(self.request("POST", path, body.as_bytes()))
    }

    #[track_caller]
    pub fn delete(&self, path: &str) -> Response {
        ran(self.request("DELETE", path, b""))
    }

    /// Any request with any bytes as its (JSON) body.
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> Result<Response> {
        self.send(method, path, "application/json", &mut &*body, body.len() as u64)
    }

    /// Any request with any body of known length.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: &mut dyn Read,
        length: u64,
    ) -> Result<Response> {
        http::exchange(self.connect()?, method, path, kind, body, length)
    }

    /// A fresh connection to the daemon's socket, for what no method here does.
    pub fn connect(&self) -> Result<UnixStream> {
        let stream = UnixStream::connect(self.socket()).context("connecting to the daemon")?;
        stream.set_read_timeout(Some(Duration::from_secs(300)))?;
        Ok(stream)
    }

    /// Requests a page of a published port from the daemon's own host (127.0.0.1).
    pub fn fetch(&self, port: u16, path: &str) -> Result<Response> {
        fetch(&self.namespace, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), path)
    }

    /// Requests a page of a published port from another host.
    pub fn fetch_from_outside(&self, port: u16, path: &str) -> Result<Response> {
        let outside = self.outside.as_ref().context("started without an outside")?;
        fetch(outside, SocketAddr::from((INSIDE.0, port)), path)
    }

    /// The namespace beyond the cable.
    pub fn outside(&self) -> Option<&Namespace> {
        self.outside.as_ref()
    }

    /// Takes the present state (links, rules, cgroups, open descriptors) as what [`leaks`](Daemon::leaks) compares with.
    pub fn rebase(&mut self) {
        self.baseline =
            Snapshot::take(&self.token, &self.namespace, self.child.as_ref().map(Child::id));
    }

    /// What is there and was not at the baseline, as sentences; waits a while for it to go away. Empty is good.
    pub fn leaks(&self) -> Vec<String> {
        let look = || self.additions();
        eventually_ok(PATIENCE, || look().is_empty().then(Vec::new)).unwrap_or_else(look)
    }

    /// What is there now and was not at the baseline.
    pub fn additions(&self) -> Vec<String> {
        let pid = self.child.as_ref().map(Child::id);
        leaks::compare(&self.baseline, &Snapshot::take(&self.token, &self.namespace, pid))
    }

    /// What the daemon and its helpers (shims, containerd) weigh, by program name; containers' own processes are not
    /// counted.
    pub fn weigh(&self) -> Vec<(String, Weight)> {
        memory::weigh(&self.token, self.child.as_ref().map(Child::id))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ends with\n{}\n---", self.log_tail());
        }
        if let Some(mut child) = self.child.take() {
            // Ended already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
        sweep::clear(&self.token);
    }
}

pub(crate) fn next_token() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Of fixed width, so that no token is the beginning of another.
    format!("smp-{}-{:03}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn fetch(namespace: &Namespace, address: SocketAddr, path: &str) -> Result<Response> {
    let stream = namespace.connect(address).with_context(|| format!("connecting to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    http::exchange(stream, "GET", path, "", &mut std::io::empty(), 0)
}

#[track_caller]
pub(crate) fn ran<T>(result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(err) => panic!("{err:#}"),
    }
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Asks again and again until `ask` gives a value; [`None`] when it does not within `limit`.
fn eventually_ok<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(10);
    loop {
        let asked = Instant::now();
        if let Some(value) = ask() {
            return Some(value);
        }
        if asked > deadline {
            return None;
        }
        // What costs much to ask is asked less often: the machine has better to do meanwhile.
        pause = pause.max(asked.elapsed() * 4).min(Duration::from_secs(1));
        std::thread::sleep(pause);
    }
}

/// Waits for something that happens by itself: asks until `ask` gives a value.
///
/// # Panics
/// When it does not within two minutes; `what` says what was awaited.
#[track_caller]
pub fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    match eventually_ok(PATIENCE, ask) {
        Some(value) => value,
        None => panic!("{}", anyhow!("waited in vain: {what}")),
    }
}
