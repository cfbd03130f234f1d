//! Redis servers for tests: each is a process of its own with a folder and a port of its own, and
//! is gone after the test. Needs `redis-server`, `redis-cli`, `timeout` and, for TLS, `openssl`.
//!
//! A suite that uses this declares the modules `certificate`, `deadline`, `dependants` and `port`
//! of this folder beside it.
#![allow(dead_code, reason = "each suite uses what it needs")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::certificate;
use crate::deadline::{DEADLINE, until};
use crate::dependants;
use crate::port::Port;

/// The number of starts of a server, because another program may take its port first.
const ATTEMPTS_MAX: usize = 10;

/// Changes a command before it runs, say so that it runs on another host.
type Prepare = Arc<dyn Fn(&mut Command) + Send + Sync>;

/// The settings of a server. By default: no password, no TLS, and no persistence.
#[derive(Clone, Default)]
pub(crate) struct Options {
    is_durable: bool,
    password: Option<String>,
    lines: Vec<String>,
    address: Option<String>,
    has_tls: bool,
    has_socket: bool,
    is_replica: bool,
    prepare: Option<Prepare>,
}

impl Options {
    /// Makes each write durable on the disk, in the append-only file, before it is answered.
    pub(crate) fn durable(mut self) -> Options {
        self.is_durable = true;
        self
    }

    /// Sets the default user's password.
    pub(crate) fn password(mut self, password: &str) -> Options {
        self.password = Some(password.to_owned());
        self
    }

    /// Adds a line to redis.conf.
    pub(crate) fn line(mut self, line: &str) -> Options {
        self.lines.push(line.to_owned());
        self
    }

    /// Adds a user with these `rules` of redis.conf: `"~* &* +@all -xautoclaim"`.
    pub(crate) fn user(self, name: &str, password: &str, rules: &str) -> Options {
        self.line(&format!("user {name} on >{password} {rules}"))
    }

    /// Sets the bound beyond which writes that need memory are errors.
    pub(crate) fn memory_max(self, bytes: u64) -> Options {
        self.line(&format!("maxmemory {bytes}"))
            .line("maxmemory-policy noeviction")
    }

    /// Permits TLS alone. The certificate is for the address and for `localhost`.
    pub(crate) fn tls(mut self) -> Options {
        self.has_tls = true;
        self
    }

    /// Adds a Unix socket: `Server::socket` returns its path.
    pub(crate) fn socket(mut self) -> Options {
        self.has_socket = true;
        self
    }

    /// Makes it a replica; `start` returns when it has its master's data. Both have the same
    /// password.
    pub(crate) fn replica_of(mut self, master: &Server) -> Options {
        self.is_replica = true;
        self.line(&format!("replicaof {} {}", master.address(), master.port()))
    }

    /// Makes it listen there, in place of 127.0.0.1.
    pub(crate) fn address(mut self, address: &str) -> Options {
        self.address = Some(address.to_owned());
        self
    }

    /// Changes the server's own command and its `redis-cli` before they run.
    pub(crate) fn prepared(mut self, by: impl Fn(&mut Command) + Send + Sync + 'static) -> Options {
        self.prepare = Some(Arc::new(by));
        self
    }

    /// Starts it, and waits until it answers.
    pub(crate) fn start(self) -> Server {
        Server::start(self)
    }

    fn address_or_loopback(&self) -> &str {
        self.address.as_deref().unwrap_or("127.0.0.1")
    }

    /// Returns the content of redis.conf.
    fn file(&self, folder: &Path, port: u16) -> String {
        let folder = folder.display();
        let mut lines = vec![
            format!("dir {folder}"),
            format!("bind {}", self.address_or_loopback()),
            "protected-mode no".to_owned(),
            // Neither a snapshot nor a new append-only file starts by itself: each is a process.
            "save \"\"".to_owned(),
            "auto-aof-rewrite-percentage 0".to_owned(),
            // A replica need not wait for others that might come.
            "repl-diskless-sync-delay 0".to_owned(),
        ];
        let (plain, tls) = if self.has_tls { (0, port) } else { (port, 0) };
        lines.push(format!("port {plain}"));
        if self.has_tls {
            lines.extend([
                format!("tls-port {tls}"),
                format!("tls-ca-cert-file {folder}/{}", certificate::CA),
                format!("tls-cert-file {folder}/{}", certificate::SERVER),
                format!("tls-key-file {folder}/{}", certificate::SERVER_KEY),
                "tls-auth-clients no".to_owned(),
                "tls-replication yes".to_owned(),
            ]);
        }
        if self.is_durable {
            lines.extend(["appendonly yes", "appendfsync always"].map(str::to_owned));
        }
        if let Some(password) = &self.password {
            lines.push(format!("requirepass {password}"));
            lines.push(format!("masterauth {password}"));
        }
        if self.has_socket {
            lines.push(format!("unixsocket {folder}/{SOCKET}"));
        }
        lines.extend(self.lines.iter().cloned());
        lines.join("\n") + "\n"
    }
}

const SOCKET: &str = "redis.sock";
const LOG: &str = "redis.log";

/// A server that runs, or was killed and may be started again. It is killed when it is dropped.
pub(crate) struct Server {
    options: Options,
    port: Port,
    child: Mutex<Child>,
    // The folder must be dropped after the process.
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child());
    }
}

impl Server {
    /// Starts a server without any option.
    pub(crate) fn plain() -> Server {
        Options::default().start()
    }

    fn start(options: Options) -> Server {
        let folder = tempfile::Builder::new().prefix("redis-").tempdir().unwrap();
        if options.has_tls {
            certificate::make(folder.path(), options.address_or_loopback());
        }
        let port = Port::reserve();
        let child = spawn(&options, folder.path(), port.number());
        let mut server = Server {
            options,
            port,
            child: Mutex::new(child),
            folder,
        };
        let mut attempts = 1;
        while !server.comes_up() {
            assert!(
                attempts < ATTEMPTS_MAX,
                "each of {attempts} ports was taken"
            );
            attempts += 1;
            server.port = Port::reserve();
            server.spawn();
        }
        if server.options.is_replica {
            until("the replica has what its master has", || {
                let told = server.cli(&["info", "replication"]);
                told.contains("master_link_status:up")
            });
        }
        server
    }

    /// Returns its address for clients, with the password.
    pub(crate) fn url(&self) -> String {
        self.url_by(self.port())
    }

    /// Does the same for another port of this machine, say a proxy's.
    pub(crate) fn url_by(&self, port: u16) -> String {
        match &self.options.password {
            Some(password) => self.url_with(&format!(":{password}@"), port),
            None => self.url_with("", port),
        }
    }

    /// Returns its address for clients, as this user.
    pub(crate) fn url_of(&self, user: &str, password: &str) -> String {
        self.url_with(&format!("{user}:{password}@"), self.port())
    }

    fn url_with(&self, who: &str, port: u16) -> String {
        let scheme = if self.options.has_tls {
            "rediss"
        } else {
            "redis"
        };
        format!("{scheme}://{who}{}:{port}", self.address())
    }

    pub(crate) fn address(&self) -> &str {
        self.options.address_or_loopback()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns the path of its Unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        assert!(self.options.has_socket, "it was asked for none");
        self.folder.path().join(SOCKET)
    }

    /// Returns the certificate of the authority that signed its own.
    pub(crate) fn ca(&self) -> PathBuf {
        assert!(self.options.has_tls, "it was asked for no TLS");
        self.folder.path().join(certificate::CA)
    }

    /// Returns the folder of its files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns its log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child().id()
    }

    /// Returns the output of `redis-cli` for this command, without the last line's end. It includes
    /// an error reply; a missing connection is a panic.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        self.try_cli(arguments).unwrap_or_else(|error| {
            panic!("redis-cli {arguments:?}: {error}\n{}", self.log());
        })
    }

    /// Does the same as `cli`, if there may be no connection.
    pub(crate) fn try_cli(&self, arguments: &[&str]) -> Result<String, String> {
        answer(self.cli_command(arguments))
    }

    /// Returns the command that `cli` runs.
    pub(crate) fn cli_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        // A suspended server never answers.
        command.args(["-s", "KILL", &DEADLINE.as_secs().to_string(), "redis-cli"]);
        command.args(["-h", self.address(), "-p", &self.port().to_string()]);
        if self.options.has_tls {
            command.arg("--tls").arg("--cacert").arg(self.ca());
        }
        if let Some(password) = &self.options.password {
            command.env("REDISCLI_AUTH", password);
        } else {
            command.env_remove("REDISCLI_AUTH");
        }
        command.args(arguments);
        self.options.prepare(&mut command);
        command
    }

    /// Sets a new bound of memory; 0 is none.
    pub(crate) fn limit_memory(&self, bytes: u64) {
        let limit = bytes.to_string();
        let policy = ["config", "set", "maxmemory-policy", "noeviction"];
        assert_eq!(self.cli(&policy), "OK");
        assert_eq!(self.cli(&["config", "set", "maxmemory", &limit]), "OK");
    }

    /// Kills it by SIGKILL, and returns when it has ended.
    pub(crate) fn kill(&self) {
        end(&mut self.child());
    }

    /// Kills it if it still runs, starts it in the same folder on the same port, and waits for it.
    pub(crate) fn restart(&self) {
        self.kill();
        self.spawn();
        assert!(self.comes_up(), "its port was taken:\n{}", self.log());
    }

    /// Suspends it by SIGSTOP, and returns when it stands still.
    pub(crate) fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        until("the server stands still", || self.state() == Some('T'));
    }

    /// Continues it.
    pub(crate) fn cont(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Returns the process's state, as a letter of proc(5).
    fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        // A test that panicked still has its server killed.
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self) {
        let child = spawn(&self.options, self.folder.path(), self.port());
        *self.child() = child;
    }

    /// Waits until it answers. Returns `false` if it ended because its port was taken.
    fn comes_up(&self) -> bool {
        let mut has_ended = false;
        // The log is its own, while another server may answer at its port.
        until("the server is ready", || {
            has_ended = self.child().try_wait().unwrap().is_some();
            has_ended || self.log().contains("Ready to accept connections")
        });
        if has_ended {
            let log = self.log();
            let is_taken = log.contains("Address already in use");
            assert!(is_taken, "redis-server ended:\n{log}");
            return false;
        }
        until("the server answers", || {
            self.try_cli(&["ping"]).as_deref() == Ok("PONG")
        });
        true
    }
}

impl Options {
    fn prepare(&self, command: &mut Command) {
        if let Some(prepare) = &self.prepare {
            prepare(command);
        }
    }
}

fn spawn(options: &Options, folder: &Path, port: u16) -> Child {
    let file = folder.join("redis.conf");
    fs::write(&file, options.file(folder, port)).unwrap();
    // The log is of this process only, so that it shows the reason of its end.
    let log = File::create(folder.join(LOG)).unwrap();
    let mut command = Command::new("redis-server");
    command
        .arg(file)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    options.prepare(&mut command);
    dependants::spawn(command)
        .unwrap_or_else(|error| panic!("redis-server: {error}; tests/run --prepare installs it"))
}

fn end(child: &mut Child) {
    // This fails if the test has killed it.
    let _ = child.kill();
    let _ = child.wait();
}

/// Returns a command's stdout, or an error with its stderr or the reason why it did not start.
pub(crate) fn answer(mut command: Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    let text = |bytes| String::from_utf8_lossy(bytes).trim_end().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!("{} ({})", text(&output.stderr), output.status)),
    }
}
