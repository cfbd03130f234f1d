//! Another user of the machine who wants to be taken for a worker or for a supervisor, and other
//! users' files in the temporary folder.

#![allow(clippy::print_stderr, reason = "a test that cannot be done says so")]

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;
use rustix::fs::{XattrFlags, setxattr};

use crate::roles::{self, Work};
use crate::support::{PLAY, Run};

crate::trials!(
    another_user_never_meets_anybody_at_umask_000,
    living_sockets_of_other_users_stay,
    a_boot_variable_set_by_hand_is_told,
    a_folder_that_lets_others_in_is_not_used,
);

/// A user id without any rights.
const STRANGER: u32 = 65_534;

/// The number of processes that are started while the stranger looks for a way in.
const SPAWNS: usize = 200;

/// The variable with the temporary folder that the stranger searches.
const FOLDER: &str = "DISHRACK_TEST_FOLDER";

/// Returns `true` if this test is possible, which needs another user.
fn may_be_another_user(test: &str) -> bool {
    let may = geteuid().is_root();
    if !may {
        eprintln!("skipped: {test}, as only root can be another user");
    }
    may
}

fn another_user_never_meets_anybody_at_umask_000() {
    if !may_be_another_user("another_user_never_meets_anybody_at_umask_000") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    open_to_all(folder.path(), 0o1777);
    let play = |name: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .env(PLAY, name)
            .env(FOLDER, folder.path())
            .env("TMPDIR", folder.path());
        command
    };
    // The program is executed before it becomes another user, who may not be able to read it.
    let stranger = Run::of(play("looks for a way in"));
    assert_eq!(stranger.line().as_deref(), Some("looking"));
    let mut run = Run::of(play("supervises at umask 000"));
    let expected = format!("{SPAWNS} done, 0 dead, 0 restarts");
    assert_eq!(run.line(), Some(expected));
    assert!(run.exit().success());
    fs::write(folder.path().join("over"), "").unwrap();
    let found = stranger.line().unwrap();
    assert_eq!(found, "0 0", "times it was let in, and places that it saw");
    let left = fs::read_dir(folder.path()).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["over"], "files left");
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs the supervisor, with the umask that lets all users in. Each worker serves one item.
pub(crate) fn supervise() {
    umask(Mode::empty());
    let queue = dishrack::JoinableQueue::unbounded();
    let pool = dishrack::Supervisor::builder()
        .processes(2)
        .max_tasks_per_worker(1)
        .handler(&queue, roles::work)
        .unwrap();
    for _ in 0..SPAWNS {
        queue.put(&Work::Nothing).unwrap();
    }
    let joined = queue.join_timeout(crate::support::DEADLINE).unwrap();
    let (done, dead) = (joined.done, joined.dead);
    roles::say(&format!(
        "{done} done, {dead} dead, {} restarts",
        pool.restarts()
    ));
}

/// Connects to every socket until the test is over, and sends nothing.
pub(crate) fn look_for_a_way_in() {
    nix::unistd::setgroups(&[]).unwrap();
    nix::unistd::setgid(STRANGER.into()).unwrap();
    nix::unistd::setuid(STRANGER.into()).unwrap();
    let folder = std::path::PathBuf::from(std::env::var_os(FOLDER).unwrap());
    roles::say("looking");
    let (mut connections, mut seen) = (Vec::new(), 0_u64);
    while !folder.join("over").exists() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            if entry.file_name() == "over" {
                continue;
            }
            seen += 1;
            let flags = SockFlag::SOCK_CLOEXEC;
            let kind = SockType::SeqPacket;
            let socket = socket(AddressFamily::Unix, kind, flags, None).unwrap();
            let address = UnixAddr::new(&entry.path().join("socket")).unwrap();
            if connect(socket.as_raw_fd(), &address).is_ok() {
                connections.push(socket);
            }
        }
    }
    roles::say(&format!("{} {seen}", connections.len()));
}

/// The supervisor is root, which once removed files that looked like its own and were invisible
/// from its network namespace.
fn living_sockets_of_other_users_stay() {
    if !may_be_another_user("living_sockets_of_other_users_stay") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    open_to_all(folder.path(), 0o1777);
    let place = folder.path().join(".tmpAbc123");
    fs::create_dir(&place).unwrap();
    let path = place.join("socket");
    let listener = in_another_network(|| UnixListener::bind(&path).unwrap());
    let (old, day) = (SystemTime::now(), Duration::from_secs(86_400));
    for made in [&path, &place] {
        chown(made, Some(STRANGER), Some(STRANGER)).unwrap();
    }
    let file = fs::File::open(&place).unwrap();
    file.set_modified(old - day).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command
        .args(["-w", "1", "--wash", "0", "--dry", "0", "--format", "json"])
        .env("TMPDIR", folder.path());
    let (events, status) = Run::of(command).finish();
    assert!(status.success(), "{events:?}");
    assert!(path.exists(), "another user's socket was removed");
    std::os::unix::net::UnixStream::connect(&path).unwrap();
    drop(listener);
}

/// Runs this in a thread with a network of its own, or in this one's if that is not permitted.
fn in_another_network<R: Send>(run: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            match unshare(CloneFlags::CLONE_NEWNET) {
                Ok(()) | Err(Errno::EPERM) => {}
                Err(error) => panic!("no network namespace: {error}"),
            }
            run()
        });
        thread.join().unwrap()
    })
}

fn a_boot_variable_set_by_hand_is_told() {
    let me = std::process::id();
    for number in ["0", "7", "-1", "plate"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        command
            .env("DISHRACK_BOOT", format!("{me} {number}"))
            .process_group(0);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(70), "{number}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("DISHRACK_BOOT"), "{number}: {said}");
    }
}

/// A default ACL takes the place of the umask, for all that is made in its folder.
fn a_folder_that_lets_others_in_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    // Version 2; then tag, permissions and id: owner, group and others may do everything.
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for tag in [0x01_u16, 0x04, 0x20] {
        acl.extend(tag.to_le_bytes());
        acl.extend(7_u16.to_le_bytes());
        acl.extend(u32::MAX.to_le_bytes());
    }
    let name = "system.posix_acl_default";
    if let Err(error) = setxattr(folder.path(), name, &acl, XattrFlags::empty()) {
        eprintln!("skipped: a_folder_that_lets_others_in_is_not_used, as it has no ACL: {error}");
        return;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command
        .args(["-w", "1", "--wash", "0", "--dry", "0", "--format", "json"])
        .args(["--max-restarts", "0"])
        .env("TMPDIR", folder.path());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
