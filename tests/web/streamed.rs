//! A stream in Redis with several supervisors that work on it, and its page.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::deadline::DEADLINE;
use crate::dependants;
use crate::http::ask;
use crate::redis_server::Server;
use crate::shown::{COMMAND, address_of, supervisor};

/// A stream that is shown, until it is dropped.
pub(crate) struct ShownStream {
    works: Vec<Child>,
    page: Child,
    /// The address of its page, without a slash at its end.
    address: String,
    folder: tempfile::TempDir,
    server: Server,
}

impl ShownStream {
    /// Puts these items on a stream, and has so many supervisors work on it, each with one worker.
    pub(crate) fn of(items: &[&str], supervisors: usize) -> Self {
        let folder = tempfile::Builder::new().prefix("web-").tempdir().unwrap();
        let server = Server::plain();
        let command = |subcommand: &str| -> Command {
            let mut command = Command::new(supervisor());
            command.args([subcommand, "--redis", &server.url(), "--stream", "jobs"]);
            // The sockets of these runs are in there, and no others.
            command.env("XDG_RUNTIME_DIR", folder.path());
            command.current_dir(folder.path()).stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let put = command("put").arg(":::").args(items).status();
        assert!(put.unwrap().success());
        let works = (0..supervisors).map(|at| {
            let mut work = command("work");
            work.args(["--workers", "1", "--max-attempts", "2", "--name"]);
            work.arg(name(at))
                .args(["--", "sh", "-c", COMMAND, "_", "{}"]);
            dependants::spawn(work).unwrap()
        });
        let works = works.collect();
        let mut web = command("web");
        web.arg("127.0.0.1:0").stderr(Stdio::piped());
        let mut page = dependants::spawn(web).unwrap();
        let address = address_of(&mut page).trim_end_matches('/').to_owned();
        ShownStream {
            works,
            page,
            address,
            folder,
            server,
        }
    }

    pub(crate) fn page(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// Returns the process of one of the supervisors.
    pub(crate) fn pid(&self, at: usize) -> u32 {
        self.works[at].id()
    }

    fn socket(&self, at: usize) -> PathBuf {
        let folder = self.folder.path().join("dishrack");
        folder.join(format!("{}.sock", name(at)))
    }

    /// Asks one of the supervisors, over its own control socket.
    pub(crate) fn get(&self, at: usize, path: &str) -> Value {
        ask(&self.socket(at), "GET", path, b"").json()
    }

    /// Returns the answer of a subcommand about the stream, as JSON; nothing where it is refused.
    pub(crate) fn told(&self, line: &str) -> Option<Value> {
        let mut command = Command::new(supervisor());
        command.args(line.split(' ')).args(["--format", "json"]);
        command.args(["--redis", &self.server.url(), "--stream", "jobs"]);
        let said = command.stdin(Stdio::null()).output().unwrap();
        serde_json::from_slice(&said.stdout).ok()
    }

    /// Returns how the stream stands.
    pub(crate) fn status(&self) -> Value {
        let status = self.told("status --interval 0");
        status.expect("the stream is there")
    }

    /// Waits until it is so.
    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < DEADLINE, "{what}: {}", self.status());
            std::thread::yield_now();
        }
    }

    /// Waits until each supervisor has taken an item, and as many are dead letters.
    pub(crate) fn await_leased_and_dead(&self, dead: u64) {
        self.until(&format!("all are busy, {dead} are dead"), |stream| {
            let is_busy = |at| {
                let is_there = stream.socket(at).exists();
                is_there && stream.get(at, "/v1/status")["worker_states"]["busy"] == 1
            };
            stream.status()["dead"] == dead && (0..stream.works.len()).all(is_busy)
        });
    }

    /// Waits until this supervisor has ended, and returns its exit code.
    pub(crate) fn end_of(&mut self, at: usize) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.works[at].try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < DEADLINE, "{} does not end", name(at));
            std::thread::yield_now();
        }
    }
}

/// Returns the name of the run of a supervisor.
fn name(at: usize) -> String {
    format!("work-{}", at + 1)
}

impl Drop for ShownStream {
    fn drop(&mut self) {
        for child in self.works.iter_mut().chain([&mut self.page]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
