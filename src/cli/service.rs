//! The service manager that looks after this process, such as systemd: tells it that the run is ready,
//! how it stands, that it lives, and that it ends, as sd_notify(3) has it. One thread does so, because
//! the manager may be slow. It does not know the items.

mod announcements;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select, unbounded};
use sd_notify::NotifyState;

use self::announcements::{Announcement, Announcements, EXTENSION};
use super::screen;
use super::stop::Stop;
use crate::sys::threads::spawn;

/// The longest time in which the manager must take a message.
const SEND_TIME: Duration = Duration::from_secs(10);

/// The time for which the end of a run waits until the manager was told of it.
const TELL_TIME: Duration = Duration::from_secs(1);

/// The time that a run may need for its end beyond that of its workers.
const END_TIME: Duration = Duration::from_secs(30);

/// The manager, as the environment describes it.
#[derive(Debug, Clone)]
struct ServiceManager {
    socket: Option<OsString>,
    /// The time within which it wants signs of life.
    watchdog: Option<Duration>,
    /// True if it has started this very process, and no shell in between.
    has_started_this: bool,
}

static MANAGER: OnceLock<ServiceManager> = OnceLock::new();

/// Takes what is for this process alone out of the environment, so that no child of it speaks in its
/// name. Call it at the start of `main`, while this process has one thread.
pub(super) fn take_from_environment() {
    let own = std::process::id().to_string();
    let variable = std::env::var_os;
    let manager = ServiceManager {
        socket: variable("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()),
        watchdog: sd_notify::watchdog_enabled().filter(|time| !time.is_zero()),
        has_started_this: variable("SYSTEMD_EXEC_PID").is_some_and(|pid| pid == *own),
    };
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        // SAFETY: this process has one thread.
        unsafe { std::env::remove_var(name) };
    }
    // It is set once.
    let _ = MANAGER.set(manager);
}

/// The run, as far as its manager is to know of it.
pub(super) trait ServiceRun: Send + 'static {
    /// Returns `true` if it can do its work.
    fn is_ready(&self) -> bool;

    /// Tells how it stands, in a line.
    fn standing(&self) -> String;

    /// Returns `true` if it answers within this time.
    fn is_alive(&self, time: Duration) -> bool;
}

/// The news of a run for its manager.
#[derive(Debug)]
enum ServiceNews {
    Reloading,
    Reloaded,
    /// The run is over. The channel ends when that was told.
    Over(Sender<()>),
}

/// The manager of this process's run, if there is one.
#[derive(Debug, Clone)]
pub(super) struct Service {
    news: Option<Sender<ServiceNews>>,
    inbox: Option<Receiver<ServiceNews>>,
    changed: Sender<()>,
    changes: Receiver<()>,
    is_reloaded_by_hangup: bool,
}

impl Service {
    /// Finds the manager, if there is one.
    pub(super) fn of_process() -> Self {
        let manager = MANAGER.get();
        let is_there =
            |manager: &ServiceManager| manager.socket.is_some() || manager.has_started_this;
        let (news, inbox) = unbounded();
        let is_told = manager.is_some_and(|manager| manager.socket.is_some());
        let (changed, changes) = bounded(1);
        Service {
            news: is_told.then_some(news),
            inbox: is_told.then_some(inbox),
            changed,
            changes,
            is_reloaded_by_hangup: manager.is_some_and(is_there) && !has_terminal(),
        }
    }

    /// Returns `true` if SIGHUP is the manager's order to reload. At a terminal it says that the
    /// terminal is gone.
    pub(super) fn is_reloaded_by_hangup(&self) -> bool {
        self.is_reloaded_by_hangup
    }

    /// Returns where a change of how the run stands is to be told; `None` if nobody wants to know.
    pub(super) fn changed(&self) -> Option<Sender<()>> {
        self.news.is_some().then(|| self.changed.clone())
    }

    /// Begins to tell the manager of the run, which has `grace` for its workers when it is stopped.
    pub(super) fn tell_of(
        &self,
        subject: impl ServiceRun,
        stop: &Stop,
        grace: Duration,
    ) -> io::Result<()> {
        let (Some(manager), Some(news)) = (MANAGER.get(), self.inbox.clone()) else {
            return Ok(());
        };
        let socket = match connect(manager) {
            Ok(socket) => socket,
            Err(error) => {
                cannot_be_told(&error);
                return Ok(());
            }
        };
        let told = ServiceThread {
            subject,
            socket,
            watchdog: manager.watchdog,
            stop: stop.clone(),
            grace,
            announcements: Announcements::new(manager.watchdog, Instant::now()),
            reloads: 0,
            has_failed: false,
        };
        let changes = self.changes.clone();
        spawn("service", move || told.run(&news, &changes))
    }

    pub(super) fn reloading(&self) {
        self.tell(ServiceNews::Reloading);
    }

    pub(super) fn reloaded(&self) {
        self.tell(ServiceNews::Reloaded);
    }

    /// Says that the run has come to its end.
    pub(super) fn over(&self) {
        let (telling, told) = bounded(0);
        self.tell(ServiceNews::Over(telling));
        // Disconnected, as nothing is ever sent; also where nobody is told.
        let _ = told.recv_timeout(TELL_TIME);
    }

    fn tell(&self, news: ServiceNews) {
        if let Some(sender) = &self.news {
            // Nobody may be told.
            let _ = sender.send(news);
        }
    }
}

/// Returns `true` if this process has a controlling terminal.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

fn connect(manager: &ServiceManager) -> io::Result<UnixDatagram> {
    let name = manager.socket.as_deref().unwrap_or_default().as_bytes();
    let address = match name {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
        _ => {
            return Err(io::Error::other(
                "NOTIFY_SOCKET is neither a path nor @NAME",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(SEND_TIME))?;
    Ok(socket)
}

fn cannot_be_told(why: &dyn fmt::Display) {
    screen::complain(&format_args!(
        "the service manager cannot be told how the run stands: {why}"
    ));
}

/// The run of which the manager is told.
struct ServiceThread<S> {
    subject: S,
    socket: UnixDatagram,
    watchdog: Option<Duration>,
    stop: Stop,
    grace: Duration,
    announcements: Announcements,
    /// The reloads that are under way.
    reloads: u32,
    has_failed: bool,
}

impl<S: ServiceRun> ServiceThread<S> {
    fn run(mut self, news: &Receiver<ServiceNews>, changes: &Receiver<()>) {
        // Disconnected when the run is to stop, which is heard once.
        let mut stopped = self.stop.stopped().clone();
        loop {
            if !self.announcements.is_ready() && self.subject.is_ready() {
                self.announcements.handle_ready();
            }
            for one in self.announcements.poll(Instant::now()) {
                self.announce(one);
            }
            let next = self.announcements.next();
            let due = next.map_or_else(never, |at| {
                after(at.saturating_duration_since(Instant::now()))
            });
            select! {
                recv(changes) -> _ => self.announcements.handle_change(),
                recv(stopped) -> _ => {
                    stopped = never();
                    self.handle_stop();
                }
                recv(news) -> news => match news {
                    Ok(news) => self.handle(news),
                    Err(_) => return,
                },
                recv(due) -> _ => {}
            }
        }
    }

    fn handle_stop(&mut self) {
        let now = Instant::now();
        // Without a signal it takes as long as the items that are begun.
        let is_bounded = self.stop.signal().is_some();
        let time = self.stop.left_of(self.grace).saturating_add(END_TIME);
        let by = is_bounded.then(|| now.checked_add(time)).flatten();
        self.announcements.handle_stop(now, by);
        self.announcements.handle_change();
    }

    fn handle(&mut self, news: ServiceNews) {
        match news {
            ServiceNews::Reloading => {
                self.reloads += 1;
                if let Ok(now) = NotifyState::monotonic_usec_now() {
                    self.send(&[NotifyState::Reloading, now]);
                }
            }
            ServiceNews::Reloaded => {
                self.reloads = self.reloads.saturating_sub(1);
                if self.reloads == 0 && self.announcements.is_ready() {
                    self.announce(Announcement::Ready);
                }
            }
            ServiceNews::Over(telling) => {
                // A manager takes a service that ends without it for one that could not start.
                if self.stop.loss().is_none() {
                    self.announcements.handle_ready();
                }
                self.announcements.handle_stop(Instant::now(), None);
                for one in self.announcements.poll(Instant::now()) {
                    self.announce(one);
                }
                drop(telling);
            }
        }
    }

    fn announce(&mut self, announcement: Announcement) {
        let standing;
        match announcement {
            Announcement::Ready => {
                standing = self.subject.standing();
                self.send(&[NotifyState::Ready, NotifyState::Status(&standing)]);
            }
            Announcement::Status => {
                standing = self.subject.standing();
                self.send(&[NotifyState::Status(&standing)]);
            }
            Announcement::Stopping => self.send(&[NotifyState::Stopping]),
            Announcement::Alive => {
                let time = self.watchdog.unwrap_or_default() / 4;
                if self.subject.is_alive(time) {
                    self.send(&[NotifyState::Watchdog]);
                }
            }
            Announcement::Extension => {
                if self.subject.is_alive(EXTENSION / 4) {
                    let micros = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
                    self.send(&[NotifyState::ExtendTimeoutUsec(micros)]);
                }
            }
        }
    }

    /// Sends a message. That it cannot be sent is told once.
    fn send(&mut self, states: &[NotifyState<'_>]) {
        let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
        let sent = self.socket.send(lines.join("\n").as_bytes());
        if let Err(error) = sent
            && !std::mem::replace(&mut self.has_failed, true)
        {
            cannot_be_told(&error);
        }
    }
}
