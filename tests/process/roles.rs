//! The work of these tests' worker processes, and small programs that this executable can be.

#![allow(
    clippy::exit,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::zombie_processes,
    reason = "ending badly, talking and leaving children behind is what these are for"
)]

use std::io::Write;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dishrack::{Blob, BlobMut, Delivery, JoinableQueue, Parts, Restart, StartMethod, Supervisor};
use nix::sys::signal::{SigHandler, Signal, signal};
use serde::{Deserialize, Serialize, Serializer};

use crate::{cpython, memory, strangers, support};

/// The work of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Return at once.
    Nothing,
    /// Return after so many milliseconds.
    Nap(u64),
    /// Print a line, and never return.
    Hang,
    /// End the process with this code.
    Exit(i32),
    /// Be killed by this signal.
    Signal(i32),
    /// Return the process's pid.
    Pid,
    /// Return the pid of the process that has preloaded this one's program.
    Loader,
    /// Count the process's open files.
    CountFiles,
    /// Close every file that the worker must not close.
    CloseFiles,
    /// Start a long-lived child, print its pid, and never return.
    StartChild,
    /// Write this to stderr, and end the process with code 3.
    Complain(String),
    /// Refuse, after writing this to stderr.
    Refuse(String),
    /// Let SIGTERM do nothing, and never return.
    Stubborn,
    /// Make a process end whose parent has ended.
    LeaveOrphan,
    /// Keep this many bytes for ever. Return the process's pid.
    Leak(usize),
    /// Do the same, and never return.
    Grow(usize),
    /// Make this file with `.started` after its name, and wait for it without.
    AwaitFile(String),
    /// Put this many items that do nothing.
    PutMore(u32),
    /// An item that only serializes halfway.
    #[serde(serialize_with = "refuse")]
    Unserializable(u8),
    /// Bytes to carry.
    Carry(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Return twice the sum of these bytes, plus 1 if they lie where the supervisor wrote them.
    Look(Blob),
    /// Keep these bytes, and return the sum of those kept until now.
    Keep(Blob),
    /// Cut short all shared memory that this process can name.
    Cut,
    /// Overwrite all memory of these bytes.
    Scribble(Blob),
    /// Overwrite all shared memory that this process can write to, if this file is not there yet.
    ScribbleOwn(String),
    /// Overwrite so many words of the memory that this process shares with its supervisor with this
    /// number, from its beginning, and then end with this code, unless it is 0.
    Nonsense(u64, usize, i32),
    /// Add a byte to this file.
    Note(String),
    /// The same, and fork: the child returns as well.
    Fork(String),
    /// End the loop.
    Leave,
}

static LOADER: AtomicU32 = AtomicU32::new(0);

fn refuse<S: Serializer>(_: &u8, _: S) -> Result<S::Ok, S::Error> {
    Err(serde::ser::Error::custom("it cannot be put into bytes"))
}

/// A handler of `Work`.
pub(crate) fn work(work: Work) -> Result<u64, String> {
    match work {
        Work::Hang => hang("hanging"),
        Work::Exit(code) => std::process::exit(code),
        Work::Signal(number) => {
            nix::sys::signal::raise(Signal::try_from(number).unwrap()).unwrap();
            hang("not killed")
        }
        Work::Pid => return Ok(std::process::id().into()),
        Work::Loader => return Ok(LOADER.load(Ordering::Relaxed).into()),
        Work::Complain(text) => {
            eprint!("{text}");
            std::process::exit(3)
        }
        Work::Refuse(text) => {
            eprint!("{text}");
            return Err("refused".into());
        }
        Work::Stubborn => {
            // SAFETY: no handler is installed, the signal is only ignored.
            unsafe { signal(Signal::SIGTERM, SigHandler::SigIgn) }.unwrap();
            hang("stubborn")
        }
        Work::LeaveOrphan => {
            let status = Command::new("sh").args(["-c", "true &"]).status().unwrap();
            assert!(status.success());
        }
        Work::Leak(bytes) => {
            std::mem::forget(vec![1_u8; bytes]);
            return Ok(std::process::id().into());
        }
        Work::Grow(bytes) => grow(bytes),
        Work::CountFiles => {
            return Ok(std::fs::read_dir("/proc/self/fd").unwrap().count() as u64);
        }
        Work::StartChild => {
            let child = Command::new("sleep").arg("1000").spawn().unwrap();
            hang(&format!("child {}", child.id()))
        }
        Work::AwaitFile(path) => await_file(&path),
        Work::CloseFiles => close_files(),
        Work::Nap(ms) => std::thread::sleep(Duration::from_millis(ms)),
        Work::PutMore(count) => put_more(count),
        Work::Carry(bytes) => return Ok(bytes.len() as u64),
        Work::Look(blob) => return Ok(2 * sum(&blob) + u64::from(blob.is_shared())),
        Work::Keep(blob) => {
            static KEPT: Mutex<Option<Blob>> = Mutex::new(None);
            let before = KEPT.lock().unwrap().replace(blob);
            return Ok(before.map_or(0, |blob| sum(&blob)));
        }
        Work::Cut => memory::cut(),
        Work::Scribble(blob) => return memory::scribble(&blob),
        Work::ScribbleOwn(path) => memory::scribble_own(&path),
        Work::Nonsense(value, words, code) => {
            memory::write_nonsense(value, words);
            if code != 0 {
                std::process::exit(code);
            }
        }
        Work::Note(path) => note(&path),
        Work::Fork(path) => {
            note(&path);
            // SAFETY: none, for the child: its return is the point.
            unsafe { nix::unistd::fork() }.unwrap();
        }
        Work::Nothing | Work::Unserializable(_) | Work::Leave => {}
    }
    Ok(0)
}

fn grow(bytes: usize) {
    std::mem::forget(vec![1_u8; bytes]);
    hang("grown")
}

fn await_file(path: &str) {
    std::fs::write(format!("{path}.started"), "").unwrap();
    while !std::path::Path::new(path).exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn close_files() {
    for fd in 3..1000 {
        // It is not open, or belongs to other code: that is the point.
        let _ = nix::unistd::close(fd);
    }
}

fn put_more(count: u32) {
    let queue = JoinableQueue::<Work>::current().unwrap();
    for _ in 0..count {
        queue.put(&Work::Nothing).unwrap();
    }
}

fn note(path: &str) {
    let mut file = std::fs::File::options();
    let mut file = file.create(true).append(true).open(path).unwrap();
    file.write_all(b"x").unwrap();
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().copied().map(u64::from).sum()
}

/// Returns its item.
pub(crate) fn mirror(blob: Blob) -> Result<Blob, String> {
    Ok(blob)
}

/// Returns the sum of all bytes, if the buffers are read where they lie and are aligned.
pub(crate) fn sum_parts(parts: Parts) -> Result<u64, String> {
    let is_aligned = |buffer: &Blob| buffer.as_ptr().addr().is_multiple_of(64);
    let is_fine = |buffer: &Blob| buffer.is_empty() || (buffer.is_shared() && is_aligned(buffer));
    match parts.buffers.iter().all(is_fine) {
        true => Ok(sum(&parts.inline) + parts.buffers.iter().map(|one| sum(one)).sum::<u64>()),
        false => Err("a buffer was copied, or is not aligned".into()),
    }
}

/// Writes to the buffers of its items, and gives each back at its first attempt or dies with it. What
/// is seen at the second one must be what was put.
pub(crate) fn overwrite_parts(queue: JoinableQueue<Parts>) {
    while let Ok(delivery) = queue.get() {
        let first = delivery.inline[0];
        let buffers = delivery.buffers.clone();
        let mut own: Vec<BlobMut> = buffers.into_iter().map(Blob::into_mut).collect();
        let is_as_put = own.iter().all(|one| one.iter().all(|byte| *byte == first));
        own.iter_mut().for_each(|one| one.fill(99));
        let is_written = own.iter().all(|one| one.iter().all(|byte| *byte == 99));
        match (is_as_put && is_written, delivery.attempt()) {
            (true, 1) if first.is_multiple_of(2) => std::process::abort(),
            (true, 1) => delivery.nack("again").unwrap(),
            (true, _) => delivery.task_done().unwrap(),
            (false, _) => delivery.nack("not what was put").unwrap(),
        }
        assert!(own.iter().all(|one| one.iter().all(|byte| *byte == 99)));
    }
}

/// Keeps the buffers of its items, two at a time, until they are acknowledged and beyond.
pub(crate) fn keep_parts(queue: JoinableQueue<Parts>) {
    let mut kept: Vec<(u8, Blob)> = Vec::new();
    while let Ok(delivery) = queue.get() {
        let first = delivery.inline[0];
        kept.extend(delivery.buffers.iter().map(|one| (first, one.clone())));
        delivery.task_done().unwrap();
        let is_right = |(byte, buffer): &(u8, Blob)| buffer.iter().all(|one| one == byte);
        assert!(kept.iter().all(is_right), "memory in use was used again");
        kept.drain(..kept.len().saturating_sub(4));
    }
}

/// Puts half of its item.
pub(crate) fn halve(blob: Blob) -> Result<(), String> {
    if blob.len() > 1 {
        let queue = JoinableQueue::<Blob>::current().unwrap();
        queue.put(&blob[..blob.len() / 2].into()).unwrap();
    }
    Ok(())
}

fn hang(word: &str) -> ! {
    let mut out = std::io::stdout();
    writeln!(out, "{word} {}", std::process::id()).unwrap();
    out.flush().unwrap();
    loop {
        std::thread::park();
    }
}

/// The chapter's loop, over `Work`.
pub(crate) fn chapters_loop(queue: JoinableQueue<Work>) {
    while let Ok(delivery) = queue.get() {
        if *delivery == Work::Leave {
            delivery.task_done().unwrap();
            return;
        }
        let _ = work(delivery.clone());
        queue.task_done().unwrap();
    }
}

/// Gets another item while it works on one, and keeps that until the next time, when it is settled
/// in a thread of its own.
pub(crate) fn get_within(work: Work) -> Result<(), String> {
    if let Work::Nap(ms) = work {
        std::thread::sleep(Duration::from_millis(ms));
    }
    static KEPT: Mutex<Option<Delivery<Work>>> = Mutex::new(None);
    let queue = JoinableQueue::<Work>::current().ok_or("it works for none")?;
    let got = queue.try_get().ok();
    let before = std::mem::replace(&mut *KEPT.lock().unwrap(), got);
    let settled = before.map(|before| std::thread::spawn(move || before.task_done()));
    let settled = settled.map(|settling| settling.join().unwrap());
    settled.unwrap_or(Ok(())).map_err(|error| error.to_string())
}

/// Gets three items, and settles them in threads of their own, the last one first.
pub(crate) fn settle_in_reverse(queue: JoinableQueue<Work>) {
    let mut held = Vec::new();
    while let Ok(delivery) = queue.get() {
        held.push(delivery);
        if held.len() == 3 {
            for delivery in held.drain(..).rev() {
                let settling = std::thread::spawn(move || delivery.task_done());
                settling.join().unwrap().unwrap();
            }
        }
    }
}

/// Puts two items and ends its process without a word.
pub(crate) fn put_and_exit(queue: JoinableQueue<Work>) {
    queue.put(&Work::Nothing).unwrap();
    queue.put(&Work::Nothing).unwrap();
    std::process::exit(0);
}

/// Puts large items, one after the other, until it is killed.
pub(crate) fn put_for_ever(queue: JoinableQueue<Work>) {
    loop {
        queue.put(&Work::Carry(vec![7; 1 << 20])).unwrap();
    }
}

/// Waits in `join` until it is killed.
pub(crate) fn wait_in_join(queue: JoinableQueue<Work>) {
    queue.join().unwrap();
}

/// Waits in `get` until it is killed.
pub(crate) fn wait_in_get(queue: JoinableQueue<Work>) {
    let _ = queue.get();
}

/// Runs before `serve` in every process, for workers that never come to serve.
pub(crate) fn before_serving() {
    if !is_worker_process() {
        return;
    }
    match support::play().as_deref() {
        Some("hangs in boot" | "hangs in boot for long") => hang("booting"),
        Some("dies in boot") => std::process::exit(7),
        Some("never serves") => {
            // A program that forgets the call goes on as if it were the first of its kind.
            let error = start(&JoinableQueue::unbounded(), 1).unwrap_err();
            assert!(
                error.to_string().contains("dishrack::serve was not called"),
                "{error}"
            );
            std::process::exit(0);
        }
        _ => {}
    }
}

fn is_worker_process() -> bool {
    std::env::var_os("DISHRACK_BOOT").is_some()
}

pub(crate) fn serve() {
    if support::play().as_deref() == Some("serves nothing") {
        return;
    }
    dishrack::serve(|roles| {
        roles.preload(|| LOADER.store(std::process::id(), Ordering::Relaxed));
        roles.handler(work);
        roles.handler(mirror);
        roles.handler(sum_parts);
        roles.worker(keep_parts);
        roles.worker(overwrite_parts);
        roles.handler_between(
            crate::submit::begin,
            crate::submit::count,
            crate::submit::end,
        );
        roles.handler(crate::submit::write_to_file);
        roles.handler(memory::mirror_and_cut);
        roles.handler(halve);
        roles.worker(chapters_loop);
        roles.worker(settle_in_reverse);
        roles.handler(get_within);
        roles.worker(put_and_exit);
        roles.worker(put_for_ever);
        roles.worker(wait_in_join);
        roles.worker(wait_in_get);
        crate::any_queue::register(roles);
        crate::copies::register(roles);
        #[cfg(feature = "failpoints")]
        crate::kill_points::register(roles);
        cpython::roles::serve(roles);
    });
}

/// Makes a pool of handlers.
pub(crate) fn start(
    queue: &JoinableQueue<Work>,
    workers: usize,
) -> Result<Supervisor<Work, u64>, dishrack::Error> {
    Supervisor::builder()
        .processes(workers)
        .handler(queue, work)
}

/// The small programs.
pub(crate) fn play(name: &str) {
    let queue = JoinableQueue::unbounded();
    let builder = Supervisor::builder()
        .processes(2)
        .boot_deadline(Duration::from_millis(200))
        .intensity(2, Duration::from_secs(100));
    match name {
        "starts children" | "starts children, forked" => {
            let method = match name {
                "starts children" => StartMethod::Spawn,
                _ => StartMethod::Fork,
            };
            let pool = Supervisor::builder().processes(2).start_method(method);
            let _pool = pool.handler(&queue, work).unwrap();
            queue.put(&Work::StartChild).unwrap();
            queue.put(&Work::StartChild).unwrap();
            queue.join().unwrap();
        }
        "complains" => {
            let _pool = start(&queue, 1).unwrap();
            queue.put(&Work::Complain("of the heat\n".into())).unwrap();
            say(&format!("{} dead", queue.join().unwrap().dead));
        }
        "carries much" => {
            // An item that was put before there were worker processes fails when it is handed out.
            queue.put(&Work::Carry(vec![7; 1 << 20])).unwrap();
            let _pool = start(&queue, 1).unwrap();
            queue.put(&Work::Nothing).unwrap();
            let error = queue.put(&Work::Carry(vec![7; 1 << 20])).unwrap_err();
            assert!(error.is_no_shared_memory());
            say(&error.to_string());
            let joined = queue.join().unwrap();
            say(&format!("{} done, {} dead", joined.done, joined.dead));
        }
        "hangs in boot for long" => {
            let _pool = start(&queue, 2).unwrap();
            queue.put(&Work::Nothing).unwrap();
            queue.join().unwrap();
        }
        "serves nothing" => say_setup_error(start(&queue, 2)),
        "hangs in boot" | "dies in boot" | "never serves" => {
            let _pool = builder.handler(&queue, work).unwrap();
            queue.put(&Work::Nothing).unwrap();
            let error = queue.join().unwrap_err();
            assert!(error.is_no_workers_left());
            say(&error.to_string());
        }
        "not registered" => {
            let other = |n: u64| Ok::<u64, String>(n);
            let queue = JoinableQueue::unbounded();
            say_setup_error(Supervisor::builder().processes(1).handler(&queue, other));
        }
        "captures" => {
            let more = queue.len() as u64;
            let other = move |n: u64| Ok::<u64, String>(n + more);
            let queue = JoinableQueue::unbounded();
            say_setup_error(Supervisor::builder().processes(1).handler(&queue, other));
        }
        "temporary" => {
            let builder = builder.restart(Restart::Temporary);
            let _pool = builder.handler(&queue, work).unwrap();
            queue.put(&Work::Exit(3)).unwrap();
            queue.put(&Work::Exit(3)).unwrap();
            say(&queue.join().unwrap_err().to_string());
        }
        "joins alone" => join_alone(&queue),
        other => play_an_attack(other),
    }
}

/// Waits on queues without workers: in the only thread, beside a short one, beside a late worker.
fn join_alone(queue: &JoinableQueue<Work>) {
    let say_error = |error: dishrack::Error| {
        assert!(error.is_no_workers_left(), "{error}");
        say(&error.to_string());
    };
    queue.put(&Work::Nothing).unwrap();
    say_error(queue.join().unwrap_err());
    say_error(queue.join_timeout(support::DEADLINE).unwrap_err());
    let full = JoinableQueue::<Work>::bounded(1);
    full.put(&Work::Nothing).unwrap();
    say_error(full.put(&Work::Nothing).unwrap_err());
    let main = std::process::id();
    let main_waits = move || support::until("it waits", || support::state(main) == Some('S'));
    std::thread::scope(|scope| {
        scope.spawn(main_waits);
        say_error(queue.join().unwrap_err());
        let late = scope.spawn(move || {
            main_waits();
            start(queue, 1).unwrap()
        });
        say(&format!("{} done", queue.join().unwrap().done));
        drop(late.join().unwrap());
    });
}

/// Runs the plays with an attack.
fn play_an_attack(name: &str) {
    match name {
        "cuts its memory short" => memory::have_it_cut(),
        "supervises at umask 000" => strangers::supervise(),
        "adopts orphans, spawned" => crate::adopted::adopt(StartMethod::Spawn),
        "adopts orphans, forked" => crate::adopted::adopt(StartMethod::Fork),
        "ignores SIGCHLD" => {
            // SAFETY: no handler is installed, the signal is only ignored.
            unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }.unwrap();
            say_setup_error(start(&JoinableQueue::unbounded(), 1));
        }
        "looks for a way in" => strangers::look_for_a_way_in(),
        crate::any_queue::CLIENT => crate::any_queue::play(),
        crate::any_queue::COUNTS => crate::any_queue::play_counts(),
        crate::control::CONNECTING => crate::control::play_connecting(),
        #[cfg(feature = "failpoints")]
        "keeps orphans" => crate::stop_points::keep(),
        #[cfg(feature = "failpoints")]
        "starts workers, spawned" => crate::stop_points::start_workers(StartMethod::Spawn),
        #[cfg(feature = "failpoints")]
        "starts workers, forked" => crate::stop_points::start_workers(StartMethod::Fork),
        other => cpython::roles::play(other),
    }
}

fn say_setup_error<T, R>(result: Result<Supervisor<T, R>, dishrack::Error>) {
    let error = result.unwrap_err();
    assert!(error.is_setup());
    say(&error.to_string());
}

pub(crate) fn say(line: &str) {
    println!("{line}");
}
