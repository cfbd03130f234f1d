//! Handlers that write to wrong places, or cut memory short: they end themselves at most.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use dishrack::{Blob, Exit, JoinableQueue, Joined, Options, StartMethod, Supervisor};
use nix::sys::mman::{ProtFlags, mprotect};
use nix::sys::signal::Signal;
use nix::unistd::ftruncate;

use crate::roles::{self, Work};
use crate::support::{DEADLINE, Run, until};

crate::trials!(
    memory_that_is_cut_short_ends_no_supervisor,
    who_writes_over_payloads_dies_and_the_others_arrive,
    who_writes_over_its_ring_pair_ends_alone,
    who_always_writes_over_its_ring_pair_becomes_a_dead_letter,
    small_nonsense_in_a_ring_pair_harms_no_other_item,
    only_the_process_that_was_started_speaks_for_its_items,
    only_the_process_that_was_started_goes_on_with_a_loop,
    a_copy_of_a_pool_of_this_process_ends,
    workers_map_payloads_to_read_only,
);

const METHODS: [StartMethod; 2] = [StartMethod::Spawn, StartMethod::Fork];

/// A mapping of shared memory, from `/proc/PID/maps`.
struct Shared {
    start: usize,
    end: usize,
    may_write: bool,
}

fn shared_of(pid: &str) -> Vec<Shared> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let shared = maps.lines().filter(|line| line.contains("/memfd:"));
    let parsed = shared.map(|line| {
        let mut words = line.split(' ');
        let (start, end) = words.next().unwrap().split_once('-').unwrap();
        Shared {
            start: usize::from_str_radix(start, 16).unwrap(),
            end: usize::from_str_radix(end, 16).unwrap(),
            may_write: words.next().unwrap().starts_with("rw"),
        }
    });
    parsed.collect()
}

/// Cuts all memory short that has a name here, by any file that leads to it.
pub(crate) fn cut() {
    for folder in ["/proc/self/fd", "/proc/self/map_files"] {
        // Only root may read the second one.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let target = fs::read_link(&path).unwrap_or_default();
            if !target.to_string_lossy().starts_with("/memfd:") {
                continue;
            }
            if let Ok(file) = File::options().read(true).write(true).open(&path) {
                let _ = ftruncate(&file, 0);
            }
            if let Ok(number) = entry.file_name().to_string_lossy().parse() {
                // SAFETY: it was open a moment ago, and is only cut short, which is the point.
                let file = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
                let _ = ftruncate(file.as_fd(), 0);
            }
        }
    }
}

/// Tries all ways to overwrite the memory of these bytes: as root, who may open anything.
pub(crate) fn scribble(blob: &Blob) -> Result<u64, String> {
    let at = blob.as_ptr().addr();
    let all = shared_of("self");
    let mapping = all.iter().find(|one| (one.start..one.end).contains(&at));
    let mapping = mapping.ok_or("they do not lie in shared memory")?;
    let rubbish = vec![9; mapping.end - mapping.start];
    let mem = File::options().write(true).open("/proc/self/mem").unwrap();
    if mem.write_all_at(&rubbish, mapping.start as u64).is_ok() {
        return Err("it was written through /proc/self/mem".into());
    }
    let start = std::ptr::NonNull::new(mapping.start as *mut std::ffi::c_void).unwrap();
    // SAFETY: the effect on the mapping is the point of this.
    let opened = unsafe { mprotect(start, rubbish.len(), ProtFlags::PROT_WRITE) };
    if opened.is_ok() {
        return Err("it was made writable".into());
    }
    // SAFETY: none. The process must die of it.
    unsafe {
        let start = start.as_ptr().cast::<u8>();
        start.copy_from_nonoverlapping(rubbish.as_ptr(), rubbish.len());
    }
    Err("it was written".into())
}

/// Overwrites all shared memory that this process can write to, which is its ring pair. It does so
/// only once, if there is a file to remember it.
pub(crate) fn scribble_own(path: &str) {
    if !path.is_empty() && File::create_new(path).is_err() {
        return;
    }
    for mapping in shared_of("self").iter().filter(|one| one.may_write) {
        // SAFETY: none, for this process; no other can be harmed by it, which is the point.
        unsafe {
            let start = mapping.start as *mut u8;
            start.write_bytes(0xa5, mapping.end - mapping.start);
        }
    }
}

/// Writes a number over the first words of this process's ring pair.
pub(crate) fn write_nonsense(value: u64, words: usize) {
    for mapping in shared_of("self").iter().filter(|one| one.may_write) {
        for word in 0..words {
            // SAFETY: none, as above.
            unsafe { (mapping.start as *mut u64).add(word).write_volatile(value) };
        }
    }
}

/// Runs the supervisor in a process of its own, because it would be the one to die.
pub(crate) fn have_it_cut() {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let builder = Supervisor::builder().processes(2).start_method(method);
        let pool = builder.handler(&queue, roles::work).unwrap();
        for round in 0..20 {
            queue.put(&Work::Look(vec![1; 1 << 20].into())).unwrap();
            queue.put(&Work::Cut).unwrap();
            queue.put(&Work::Nothing).unwrap();
            let joined = queue.join_timeout(DEADLINE).unwrap();
            assert_eq!(joined.done, 3 * (round + 1));
        }
        // Results lie in memory of the worker's own.
        let mirrors = JoinableQueue::unbounded();
        let builder = Supervisor::builder().processes(1).start_method(method);
        let pool_of_mirrors = builder.handler(&mirrors, mirror_and_cut).unwrap();
        let blobs = (0..20_u8).map(|n| Blob::from(vec![n; 1 << 20]));
        for (n, back) in (0..20_u8).zip(pool_of_mirrors.map(blobs)) {
            assert!(back.unwrap().iter().all(|byte| *byte == n));
        }
        roles::say(&format!("{} restarts", pool.restarts()));
    }
}

/// Returns its item, after it has cut the memory of earlier results short.
pub(crate) fn mirror_and_cut(blob: Blob) -> Result<Blob, String> {
    cut();
    Ok(blob)
}

fn memory_that_is_cut_short_ends_no_supervisor() {
    let mut run = Run::play("cuts its memory short");
    for _ in METHODS {
        assert_eq!(run.line().as_deref(), Some("0 restarts"));
    }
    assert_eq!(run.exit().code(), Some(0));
}

fn who_writes_over_payloads_dies_and_the_others_arrive() {
    for method in METHODS {
        let queue = JoinableQueue::with(Options::default().max_attempts(1));
        let builder = Supervisor::builder().processes(2).start_method(method);
        let pool = builder.handler(&queue, roles::work).unwrap();
        // They lie side by side in one segment.
        let work = |n: u8| match n % 4 {
            0 => Work::Scribble(vec![n; 100_000].into()),
            _ => Work::Look(vec![n; 100_000].into()),
        };
        let results: Vec<_> = pool.map((0..24).map(work)).collect();
        for (n, result) in (0..24_u8).zip(results) {
            match (n % 4, result) {
                (0, Err(error)) => {
                    let died = Exit::Signaled(Signal::SIGSEGV as i32).to_string();
                    assert!(error.to_string().contains(&died), "{method:?}: {error}");
                }
                (_, result) => assert_eq!(result.unwrap(), 2 * u64::from(n) * 100_000 + 1),
            }
        }
    }
}

fn who_writes_over_its_ring_pair_ends_alone() {
    for method in METHODS {
        let folder = tempfile::tempdir().unwrap();
        let queue = JoinableQueue::unbounded();
        let builder = Supervisor::builder().processes(2).start_method(method);
        let pool = builder
            .time_limit(Duration::from_secs(1))
            .time_limit_grace(Duration::from_millis(100))
            .handler(&queue, roles::work)
            .unwrap();
        for n in 0..5 {
            let path = folder.path().join(n.to_string()).display().to_string();
            queue.put(&Work::ScribbleOwn(path)).unwrap();
            for _ in 0..20 {
                queue.put(&Work::Carry(vec![1; 100])).unwrap();
                queue.put(&Work::Look(vec![1; 100_000].into())).unwrap();
            }
        }
        let Joined { done, dead, .. } = queue.join_timeout(DEADLINE).unwrap();
        assert_eq!((done, dead), (205, 0), "{method:?}");
        // Each of them ends one worker, and one item is charged with that.
        let charged = queue.counts().unwrap().retries;
        assert_eq!((pool.restarts(), charged), (5, 5), "{method:?}");
    }
}

fn who_always_writes_over_its_ring_pair_becomes_a_dead_letter() {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let builder = Supervisor::builder().processes(2).start_method(method);
        let pool = builder.intensity(1, DEADLINE).handler(&queue, roles::work);
        let pool = pool.unwrap();
        for n in 0..60 {
            let work = match n % 20 {
                10 => Work::ScribbleOwn(String::new()),
                _ => Work::Carry(vec![1; 100]),
            };
            queue.put(&work).unwrap();
        }
        let Joined { done, dead, .. } = queue.join_timeout(DEADLINE).unwrap();
        assert_eq!((done, dead), (57, 3), "{method:?}");
        for letter in queue.dead_letters().unwrap() {
            assert_eq!(letter.payload, Work::ScribbleOwn(String::new()));
            assert_eq!(letter.history.len(), 3);
        }
        drop(pool);
    }
}

/// The words at the beginning of a ring pair: the scoreboard, and all that is not a ring.
const BOARD_WORDS: usize = 6;
const HEADER_WORDS: usize = 512;

fn small_nonsense_in_a_ring_pair_harms_no_other_item() {
    let folder = tempfile::tempdir().unwrap();
    for (value, words) in [0, 1, 2, 5]
        .map(|value| [(value, BOARD_WORDS), (value, HEADER_WORDS)])
        .concat()
    {
        for code in [9, 0] {
            let queue = JoinableQueue::unbounded();
            let builder = Supervisor::builder().processes(1);
            let pool = builder.intensity(1, DEADLINE).handler(&queue, roles::work);
            let pool = pool.unwrap();
            let what = format!("{value} over {words} words, code {code}");
            for n in 0..30 {
                let work = match n {
                    10 => Work::Nonsense(value, words, code),
                    _ => Work::Note(folder.path().join(n.to_string()).display().to_string()),
                };
                queue.put(&work).unwrap();
            }
            let joined = queue.join_timeout(DEADLINE);
            let joined = joined.unwrap_or_else(|error| panic!("{what}: {error}"));
            let Joined { done, dead, .. } = joined;
            assert_eq!((done, dead), (29, 1), "{what}");
            let letters = queue.dead_letters().unwrap();
            assert_eq!(
                letters[0].payload,
                Work::Nonsense(value, words, code),
                "{what}"
            );
            // Done items were run, though perhaps more than once.
            let ran = fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().path());
            let ran: Vec<_> = ran.collect();
            assert_eq!(ran.len(), 29, "{what}");
            for path in ran {
                fs::remove_file(path).unwrap();
            }
            drop(pool);
        }
    }
}

/// Items that fork, and the number of their runs.
struct Forks {
    folder: tempfile::TempDir,
    queue: JoinableQueue<Work>,
}

/// The number of items that fork.
const FORKS: usize = 30;

impl Forks {
    fn new() -> Self {
        Forks {
            folder: tempfile::tempdir().unwrap(),
            queue: JoinableQueue::unbounded(),
        }
    }

    fn assert_each_runs_once(&self, what: &str) {
        let file = self.folder.path().join("ran");
        for _ in 0..FORKS {
            let work = Work::Fork(file.display().to_string());
            self.queue.put(&work).unwrap();
        }
        let Joined { done, dead, .. } = self.queue.join_timeout(DEADLINE).unwrap();
        assert_eq!((done, dead), (FORKS as u64, 0), "{what}");
        let refused = self.queue.counts().unwrap().refused;
        assert_eq!(refused, 0, "{what}: late words");
        assert_eq!(fs::read(file).unwrap().len(), FORKS, "{what}");
    }
}

fn only_the_process_that_was_started_speaks_for_its_items() {
    for method in METHODS {
        let forks = Forks::new();
        let builder = Supervisor::builder().processes(2).start_method(method);
        let _pool = builder.handler(&forks.queue, roles::work).unwrap();
        forks.assert_each_runs_once(&format!("{method:?}"));
    }
}

fn only_the_process_that_was_started_goes_on_with_a_loop() {
    let forks = Forks::new();
    let builder = Supervisor::builder().processes(2);
    let _pool = builder.worker(&forks.queue, roles::chapters_loop).unwrap();
    forks.assert_each_runs_once("a loop");
}

fn a_copy_of_a_pool_of_this_process_ends() {
    let forks = Forks::new();
    let _pool = Supervisor::builder()
        .threads(2)
        .handler(&forks.queue, roles::work)
        .unwrap();
    forks.assert_each_runs_once("threads");
    let forks = Forks::new();
    let _pool = Supervisor::builder()
        .inline()
        .handler(&forks.queue, roles::work)
        .unwrap();
    forks.assert_each_runs_once("inline");
}

fn workers_map_payloads_to_read_only() {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let builder = Supervisor::builder().processes(2).start_method(method);
        let pool = builder.handler(&queue, roles::work).unwrap();
        until("all are ready", || pool.workers().len() == 2);
        for bytes in [1 << 20, 9 << 20] {
            let works = (0..8).map(|_| Work::Look(vec![1; bytes].into()));
            assert!(pool.map(works).all(|result| result.is_ok()));
        }
        let mut segments = 0;
        for worker in pool.workers() {
            let all = shared_of(&worker.pid.to_string());
            let (writable, readable): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.may_write);
            assert_eq!(writable.len(), 1, "its lane");
            assert!(writable[0].end - writable[0].start < 1 << 20, "its lane");
            segments += readable.len();
        }
        assert!(segments > 1, "{segments} segments were mapped");
    }
}
