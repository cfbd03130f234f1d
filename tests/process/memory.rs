//! Handlers that write where they should not, or cut memory short: they end themselves at most.

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
    who_writes_over_its_lane_ends_alone,
    workers_map_payloads_to_read_only,
);

const METHODS: [StartMethod; 2] = [StartMethod::Spawn, StartMethod::Fork];

/// A mapping of shared memory, out of `/proc/PID/maps`.
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

/// Cuts every memory short that has a name here, by any file that leads to it.
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

/// Tries all ways to write over the memory in which these bytes lie: as root, who may open anything.
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
    // SAFETY: what becomes of the mapping is the point of this.
    let opened = unsafe { mprotect(start, rubbish.len(), ProtFlags::PROT_WRITE) };
    if opened.is_ok() {
        return Err("it was made writable".into());
    }
    // SAFETY: none. The process is to die of it.
    unsafe {
        let start = start.as_ptr().cast::<u8>();
        start.copy_from_nonoverlapping(rubbish.as_ptr(), rubbish.len());
    }
    Err("it was written".into())
}

/// Writes over everything shared that this process can write to, which is its lane. Once: nobody could
/// tell which item had a worker destroy even what says at which one it is.
pub(crate) fn scribble_own(path: &str) {
    if File::create_new(path).is_err() {
        return;
    }
    for mapping in shared_of("self").iter().filter(|one| one.may_write) {
        // SAFETY: none, for this process; nobody else can be harmed by it, which is the point.
        unsafe {
            let start = mapping.start as *mut u8;
            start.write_bytes(0xa5, mapping.end - mapping.start);
        }
    }
}

/// The supervisor, in a process of its own: it would be the one to die.
pub(crate) fn have_it_cut() {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let builder = Supervisor::builder().processes(2).start_method(method);
        let crew = builder.handler(&queue, roles::work).unwrap();
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
        let crew_of_mirrors = builder.handler(&mirrors, mirror_and_cut).unwrap();
        let blobs = (0..20_u8).map(|n| Blob::from(vec![n; 1 << 20]));
        for (n, back) in (0..20_u8).zip(crew_of_mirrors.map(blobs)) {
            assert!(back.unwrap().iter().all(|byte| *byte == n));
        }
        roles::say(&format!("{} restarts", crew.restarts()));
    }
}

/// Gives back what it got, after it has cut short what earlier results lie in.
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
        let queue = JoinableQueue::with(Options {
            max_attempts: 1,
            ..Options::default()
        });
        let builder = Supervisor::builder().processes(2).start_method(method);
        let crew = builder.handler(&queue, roles::work).unwrap();
        // They lie side by side in one segment.
        let work = |n: u8| match n % 4 {
            0 => Work::Scribble(vec![n; 100_000].into()),
            _ => Work::Look(vec![n; 100_000].into()),
        };
        let results: Vec<_> = crew.map((0..24).map(work)).collect();
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

fn who_writes_over_its_lane_ends_alone() {
    for method in METHODS {
        let folder = tempfile::tempdir().unwrap();
        let queue = JoinableQueue::with(Options {
            max_attempts: 1,
            ..Options::default()
        });
        let builder = Supervisor::builder().processes(2).start_method(method);
        let crew = builder
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
        let Joined { done, dead } = queue.join_timeout(DEADLINE).unwrap();
        assert_eq!((done, dead), (205, 0), "{method:?}");
        // One life may come to several of them before it is seen to write nonsense.
        let restarts = crew.restarts();
        assert!((1..=5).contains(&restarts), "{method:?}: {restarts}");
    }
}

fn workers_map_payloads_to_read_only() {
    for method in METHODS {
        let queue = JoinableQueue::unbounded();
        let builder = Supervisor::builder().processes(2).start_method(method);
        let crew = builder.handler(&queue, roles::work).unwrap();
        until("all are ready", || crew.workers().len() == 2);
        for bytes in [1 << 20, 9 << 20] {
            let works = (0..8).map(|_| Work::Look(vec![1; bytes].into()));
            assert!(crew.map(works).all(|result| result.is_ok()));
        }
        let mut segments = 0;
        for worker in crew.workers() {
            let all = shared_of(&worker.pid.to_string());
            let (writable, readable): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.may_write);
            assert_eq!(writable.len(), 1, "its lane");
            assert!(writable[0].end - writable[0].start < 1 << 20, "its lane");
            segments += readable.len();
        }
        assert!(segments > 1, "{segments} segments were mapped");
    }
}
