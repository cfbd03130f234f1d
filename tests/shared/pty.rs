//! A terminal for programs that behave differently on one. It does not know what is drawn there.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex};

use nix::fcntl::OFlag;
use nix::libc;
use nix::pty::{Winsize, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::{Pid, setsid};

use crate::deadline::{DEADLINE, until};

pub(crate) const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

/// A program with a controlling terminal. It is killed when the test is over.
pub(crate) struct Terminal {
    pub(crate) child: Child,
    pub(crate) master: OwnedFd,
    shown: Arc<Shown>,
}

#[derive(Default)]
struct Shown {
    bytes: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // This fails if the test has waited for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn window(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

/// Opens both ends of a new terminal. They are not inherited by chance, because another program
/// would keep the terminal from ending.
fn open(size: &Winsize) -> (OwnedFd, OwnedFd) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let mut options = File::options();
    let options = options.read(true).write(true).custom_flags(libc::O_NOCTTY);
    let terminal = options.open(ptsname_r(&master).unwrap()).unwrap();
    // SAFETY: the descriptor is open, and the argument lives until the call returns.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, size) };
    assert_eq!(done, 0);
    // SAFETY: this is its only owner.
    let master = unsafe { OwnedFd::from_raw_fd(master.into_raw_fd()) };
    (master, terminal.into())
}

impl Terminal {
    /// Runs the `supervisor` command with all three streams on a terminal, after a change of the command.
    pub(crate) fn of(arguments: &[&str], change: impl FnOnce(&mut Command)) -> Terminal {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        command.args(arguments);
        Terminal::start(command, change)
    }

    /// Runs this command.
    pub(crate) fn start(mut command: Command, change: impl FnOnce(&mut Command)) -> Terminal {
        let (master, terminal) = open(&window(COLUMNS, ROWS));
        let slave = || terminal.try_clone().unwrap();
        command.env("TERM", "xterm");
        command.stdin(slave()).stdout(slave()).stderr(slave());
        change(&mut command);
        // SAFETY: between fork and exec only system calls are made, with arguments that outlive
        // them; descriptor 2 is the terminal.
        unsafe {
            command.pre_exec(|| {
                signal(Signal::SIGINT, SigHandler::SigDfl)?;
                setsid()?;
                match libc::ioctl(2, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let child = command.spawn().unwrap();
        // This process's copies would keep the terminal from ending.
        drop((command, terminal));
        let shown = Arc::<Shown>::default();
        read(master.try_clone().unwrap(), Arc::clone(&shown));
        Terminal {
            child,
            master,
            shown,
        }
    }

    /// Types keys, like a person.
    pub(crate) fn type_in(&self, keys: &[u8]) {
        nix::unistd::write(&self.master, keys).unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Waits until this is so of all output.
    pub(crate) fn await_output(&self, what: &str, is_so: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let seen = self.shown.bytes.lock().unwrap();
        let still = |(bytes, is_over): &mut (Vec<u8>, bool)| !is_so(bytes) && !*is_over;
        let waited = self.shown.changed.wait_timeout_while(seen, DEADLINE, still);
        let bytes = waited.unwrap().0.0.clone();
        assert!(
            is_so(&bytes),
            "{what}: {:?}",
            String::from_utf8_lossy(&bytes)
        );
        bytes
    }

    /// Returns `true` if what is typed is shown and passed on line by line, as a shell wants it.
    pub(crate) fn is_cooked(&self) -> bool {
        let flags = tcgetattr(&self.master).unwrap().local_flags;
        flags.contains(LocalFlags::ECHO | LocalFlags::ICANON)
    }

    /// Returns all output, and the exit status.
    pub(crate) fn finish(&mut self) -> (Vec<u8>, ExitStatus) {
        let mut status = None;
        until("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let bytes = self.shown.bytes.lock().unwrap();
        let (bytes, _) = self
            .shown
            .changed
            .wait_timeout_while(bytes, DEADLINE, |(_, is_over)| !*is_over)
            .unwrap();
        assert!(bytes.1, "somebody still has the terminal");
        (bytes.0.clone(), status.unwrap())
    }
}

fn read(master: OwnedFd, shown: Arc<Shown>) {
    std::thread::spawn(move || {
        let mut master = File::from(master);
        let mut chunk = [0; 4096];
        loop {
            // It fails when no process has the terminal open any more.
            let count = master.read(&mut chunk).unwrap_or(0);
            let mut bytes = shown.bytes.lock().unwrap();
            bytes.0.extend_from_slice(&chunk[..count]);
            bytes.1 = count == 0;
            shown.changed.notify_all();
            if count == 0 {
                return;
            }
        }
    });
}
