//! A redis-server for one measurement: on a free port of the loopback and a socket in a temporary
//! folder, without writes to a disk. `redis_server.py` starts the same.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use tempfile::TempDir;

const PROGRAM: &str = "redis-server";

/// The number of attempts, because another process may take the free port first.
const STARTS_MAX: usize = 5;

/// A server that ends with the thread that started it, so that a killed run leaves none behind.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        (0..STARTS_MAX)
            .find_map(|_| Self::try_start())
            .unwrap_or_else(|| panic!("{PROGRAM} does not start"))
    }

    /// Returns `None` if it ended before it answered.
    fn try_start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let port = free_port();
        let mut command = Command::new(PROGRAM);
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--unixsocket", "socket", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(folder.path())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        // SAFETY: between fork and exec the closure makes one system call, and allocates nothing.
        unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        let child = command.spawn().expect("redis-server is installed");
        let mut server = Server {
            child,
            port,
            folder,
        };
        server.is_answering().then_some(server)
    }

    /// Waits until it answers. Returns `false` if it has ended.
    fn is_answering(&mut self) -> bool {
        let client = redis::Client::open(self.url()).expect("the address is well-formed");
        while self.child.try_wait().expect("it is our child").is_none() {
            if client.get_connection().is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        false
    }

    /// Returns its address over TCP.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Returns its address over a Unix socket.
    pub(crate) fn socket_url(&self) -> String {
        format!("redis+unix://{}/socket", self.folder.path().display())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing of it is kept, so it need not end in order.
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }
}

pub(crate) fn is_installed() -> bool {
    let mut version = Command::new(PROGRAM);
    version.arg("--version").stdout(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}
