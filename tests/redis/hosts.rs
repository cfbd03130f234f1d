//! Hosts on a network of their own, with a cable each that can be pulled: network namespaces, by
//! the `ip` command. Needs root.
//!
//! The namespaces have no names, only open files of this process. So they end with this process,
//! and cannot meet those of another one. `/proc/PID/fd` lists them; `nsenter
//! --net=/proc/PID/fd/NUMBER` enters one.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::thread::scope;

use libtest_mimic::Trial;
use nix::sched::{CloneFlags, setns, unshare};

use crate::redis_server::answer;

/// Returns `true` if this machine permits hosts. If not, it says so on stderr, once.
pub(crate) fn may_make_hosts() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| match try_hosts::<2>() {
        Ok(_) => true,
        Err(why) => {
            #[expect(clippy::print_stderr, reason = "nobody should take them for tried")]
            {
                eprintln!("skipped: tests on several hosts, as none can be made here: {why}");
            }
            false
        }
    })
}

/// Returns these tests, ignored if no hosts can be made.
pub(crate) fn where_possible(trials: Vec<Trial>) -> Vec<Trial> {
    let is_ignored = !may_make_hosts();
    let mark = |trial: Trial| trial.with_ignored_flag(is_ignored);
    trials.into_iter().map(mark).collect()
}

/// Makes so many hosts on one Ethernet, which live until they are dropped and their programs end.
pub(crate) fn hosts<const COUNT: usize>() -> [Host; COUNT] {
    try_hosts().unwrap_or_else(|error| panic!("no hosts can be made here: {error}"))
}

fn try_hosts<const COUNT: usize>() -> Result<[Host; COUNT], String> {
    let switch = Arc::new(Namespace::new()?);
    switch.ip("link add switch type bridge")?;
    switch.ip("link set switch up")?;
    let hosts: Result<Vec<Host>, String> = (1..)
        .take(COUNT)
        .map(|number| Host::on(&switch, number))
        .collect();
    Ok(hosts?.try_into().ok().expect("there are so many"))
}

pub(crate) struct Host {
    number: u8,
    namespace: Arc<Namespace>,
    /// The end of all cables.
    switch: Arc<Namespace>,
}

impl Host {
    fn on(switch: &Arc<Namespace>, number: u8) -> Result<Host, String> {
        let host = Host {
            number,
            namespace: Arc::new(Namespace::new()?),
            switch: Arc::clone(switch),
        };
        let (cable, address, own) = (host.cable(), host.address(), &host.namespace);
        let path = own.path();
        switch.ip(&format!(
            "link add {cable} type veth peer name net netns {path}"
        ))?;
        switch.ip(&format!("link set {cable} master switch up"))?;
        own.ip("link set lo up")?;
        own.ip(&format!("address add {address}/24 dev net"))?;
        own.ip("link set net up")?;
        Ok(host)
    }

    fn cable(&self) -> String {
        format!("cable{}", self.number)
    }

    /// Returns its address for the others.
    pub(crate) fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, self.number)
    }

    /// Returns a command that will run on it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.enter(&mut command);
        command
    }

    /// Makes a command run on it.
    pub(crate) fn enter(&self, command: &mut Command) {
        self.namespace.enter(command);
    }

    /// Does the same as `enter`, for code that must not borrow the host: `Options::prepared`.
    pub(crate) fn entrance(&self) -> impl Fn(&mut Command) + Send + Sync + use<> {
        let namespace = Arc::clone(&self.namespace);
        move |command| namespace.enter(command)
    }

    /// Does something on it, in a thread whose sockets, and those of its children, are the host's.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.inside(work).expect("it is ours")
    }

    /// Pulls its cable: messages of both directions are lost without an error.
    pub(crate) fn cut(&self) {
        self.set_cable("down");
    }

    /// Plugs it in again.
    pub(crate) fn restore(&self) {
        self.set_cable("up");
    }

    fn set_cable(&self, state: &str) {
        // It is the switch's end, because a host whose own end is down loses its routes as well.
        let set = format!("link set {} {state}", self.cable());
        self.switch.ip(&set).unwrap();
    }
}

/// A network namespace. It exists while its file is open or a thread is in it.
struct Namespace(File);

impl Namespace {
    fn new() -> Result<Namespace, String> {
        // The thread that makes it is in it, and ends.
        let made = scope(|scope| scope.spawn(make_namespace).join());
        match made.expect("it does not panic") {
            Ok(file) => Ok(Namespace(file)),
            Err(error) => Err(format!("a network namespace: {error}")),
        }
    }

    /// Returns its path for other processes.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    fn ip(&self, arguments: &str) -> Result<(), String> {
        let mut command = Command::new("ip");
        command.args(arguments.split_whitespace());
        self.enter(&mut command);
        match answer(command) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("ip {arguments}: {error}")),
        }
    }

    fn enter(&self, command: &mut Command) {
        let file = self.0.as_fd().try_clone_to_owned().expect("a file more");
        let enter = move || Ok(setns(&file, CloneFlags::CLONE_NEWNET)?);
        // SAFETY: between fork and exec only a system call is made.
        unsafe {
            command.pre_exec(enter);
        }
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let there = || {
            setns(&self.0, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        };
        scope(|scope| match scope.spawn(there).join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}

fn make_namespace() -> io::Result<File> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    File::open("/proc/thread-self/ns/net")
}
