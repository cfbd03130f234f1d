//! Logs of small outputs: what each command of a worker wrote, one record after the other in a
//! file.
//!
//! A worker appends a record before it acknowledges the item, and the run reads it when it shows
//! the item's output. A record counts when it is whole, so its writer may be killed anywhere in it.
//! A long log is followed by another one; the run removes those of which all is taken and that get
//! no more. The module does not know what else is in the folder.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use super::spool::{FileKind, Spool, WorkerFile};
use dishrack_core::ledger::ItemId;

/// The length at which a log gets no more records.
const LOG_BYTES: u64 = 4 * 1024 * 1024;

/// The bytes that are looked through at once for records.
const CHUNK_BYTES: usize = 64 * 1024;

/// The length of what stands before the two outputs: item, attempt, and the length of each output.
const HEADER_BYTES: usize = 20;

/// Makes the record of an attempt.
pub(super) fn record(id: ItemId, attempt: u32, outputs: [&[u8]; 2]) -> io::Result<Vec<u8>> {
    let length = |output: &[u8]| u32::try_from(output.len()).map_err(io::Error::other);
    let header = LogHeader {
        id,
        attempt,
        lengths: Some([length(outputs[0])?, length(outputs[1])?]),
    };
    Ok([header.bytes().as_slice(), outputs[0], outputs[1]].concat())
}

/// Makes the record of an attempt whose output is in files of its own, so that nobody looks for it
/// here.
pub(super) fn record_of_files(id: ItemId, attempt: u32) -> Vec<u8> {
    let header = LogHeader {
        id,
        attempt,
        lengths: None,
    };
    header.bytes().to_vec()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LogHeader {
    id: ItemId,
    attempt: u32,
    /// The lengths of both outputs; `None` if they are in files of the attempt's own.
    lengths: Option<[u32; 2]>,
}

impl LogHeader {
    /// The lengths that stand for none in a record.
    const IN_FILES: [u32; 2] = [u32::MAX; 2];

    fn bytes(&self) -> [u8; HEADER_BYTES] {
        let [stdout, stderr] = self.lengths.unwrap_or(Self::IN_FILES);
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.id.0.to_le_bytes());
        for (place, number) in [(8, self.attempt), (12, stdout), (16, stderr)] {
            bytes[place..place + 4].copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// Reads the header at the beginning of these bytes, if all of it is there.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk::<8>()?;
        let (attempt, rest) = rest.split_first_chunk::<4>()?;
        let (stdout, rest) = rest.split_first_chunk::<4>()?;
        let (stderr, _) = rest.split_first_chunk::<4>()?;
        let lengths = [u32::from_le_bytes(*stdout), u32::from_le_bytes(*stderr)];
        Some(LogHeader {
            id: ItemId(u64::from_le_bytes(*id)),
            attempt: u32::from_le_bytes(*attempt),
            lengths: (lengths != Self::IN_FILES).then_some(lengths),
        })
    }

    fn record_bytes(&self) -> u64 {
        let lengths = self.lengths.into_iter().flatten();
        let outputs: u64 = lengths.map(u64::from).sum();
        HEADER_BYTES as u64 + outputs
    }
}

/// The worker's end of its log.
#[derive(Debug)]
pub(super) struct LogWriter {
    file: File,
    length: u64,
    /// False if a record was written in part.
    is_whole: bool,
}

impl LogWriter {
    pub(super) fn create(spool: &Spool) -> io::Result<Self> {
        let file = spool.create_for_worker(WorkerFile::new(FileKind::Log))?;
        Ok(LogWriter {
            file,
            length: 0,
            is_whole: true,
        })
    }

    /// Appends a record; begins another log if this one is long, or was removed.
    ///
    /// # Errors
    /// There is no room for it, for example. Then it does not count.
    pub(super) fn append(&mut self, spool: &Spool, record: &[u8]) -> io::Result<()> {
        let is_removed = self.file.metadata()?.nlink() == 0;
        if is_removed || !self.is_whole || self.length >= LOG_BYTES {
            *self = LogWriter::create(spool)?;
        }
        self.is_whole = false;
        (&self.file).write_all(record)?;
        self.is_whole = true;
        self.length += record.len() as u64;
        Ok(())
    }
}

/// The output of an attempt, in a log.
#[derive(Debug)]
pub(crate) struct Kept {
    file: Arc<File>,
    at: u64,
    lengths: [u32; 2],
}

impl Kept {
    /// Reads what the command wrote to stdout and to stderr.
    pub(crate) fn read(&self) -> io::Result<[Vec<u8>; 2]> {
        let [stdout, stderr] = self.lengths.map(|length| length as usize);
        let mut whole = vec![0; stdout + stderr];
        if !whole.is_empty() {
            self.file.read_exact_at(&mut whole, self.at)?;
        }
        let stderr = whole.split_off(stdout);
        Ok([whole, stderr])
    }
}

/// A log that is read.
#[derive(Debug)]
struct Log {
    name: WorkerFile,
    file: Arc<File>,
    read_to: u64,
    /// The number of its records that were found and not taken.
    left: usize,
}

/// The run's end of all its workers' logs.
#[derive(Debug)]
pub(crate) struct Logs {
    spool: Spool,
    /// Those of each worker process, in the order in which they were begun.
    logs: HashMap<u32, Vec<Log>>,
    seen: BTreeSet<WorkerFile>,
    found: FoundOutputs,
    /// The processes that have ended.
    ended: BTreeSet<u32>,
    /// The bytes that are looked through for records.
    chunk: Vec<u8>,
}

/// Records that were found, with the log that each is in; `None` for an attempt that has files of
/// its own. An attempt that did not count has the number of the one that followed, so the worker's
/// process is a part of the key.
type FoundOutputs = HashMap<(u32, ItemId, u32), (WorkerFile, Option<Kept>)>;

impl Logs {
    pub(crate) fn new(spool: Spool) -> Self {
        Logs {
            spool,
            logs: HashMap::new(),
            seen: BTreeSet::new(),
            found: FoundOutputs::new(),
            ended: BTreeSet::new(),
            chunk: vec![0; CHUNK_BYTES],
        }
    }

    /// Returns `true` if this worker process has ended an attempt, as far as its output goes.
    pub(crate) fn has(&mut self, pid: u32, id: ItemId, attempt: u32) -> bool {
        let key = (pid, id, attempt);
        if !self.found.contains_key(&key) {
            self.look(pid);
        }
        if !self.found.contains_key(&key) && self.list() {
            self.look(pid);
        }
        self.found.contains_key(&key)
    }

    /// Takes the output of an attempt, if this worker process has put it into a log.
    pub(crate) fn take(&mut self, pid: u32, id: ItemId, attempt: u32) -> Option<Kept> {
        self.has(pid, id, attempt);
        let (name, kept) = self.found.remove(&(pid, id, attempt))?;
        let logs = self.logs.get_mut(&name.pid).into_iter().flatten();
        for log in logs.filter(|log| log.name == name) {
            log.left -= 1;
        }
        self.remove_taken(name.pid);
        kept
    }

    /// Notes that a worker process writes no more.
    pub(crate) fn end(&mut self, pid: u32) {
        self.list();
        self.look(pid);
        self.ended.insert(pid);
        self.remove_taken(pid);
    }

    /// Looks for logs that were begun. Returns `true` if there are new ones.
    fn list(&mut self) -> bool {
        let mut is_any = false;
        let mut names = self.spool.worker_files();
        names.retain(|name| name.kind == FileKind::Log && !self.seen.contains(name));
        names.sort_unstable();
        for name in names {
            // The next look finds one that cannot be opened now.
            let Ok(Some(file)) = self.spool.open_of_worker(name) else {
                continue;
            };
            self.seen.insert(name);
            self.ended.remove(&name.pid);
            is_any = true;
            self.logs.entry(name.pid).or_default().push(Log {
                name,
                file: Arc::new(file),
                read_to: 0,
                left: 0,
            });
        }
        is_any
    }

    /// Finds the new records of a worker process.
    fn look(&mut self, pid: u32) {
        for log in self.logs.get_mut(&pid).into_iter().flatten() {
            // What cannot be read is missing, which is told where it is to be shown.
            let _ = log.find(&mut self.found, &mut self.chunk);
        }
    }

    /// Removes the logs that get no more records and have none left.
    fn remove_taken(&mut self, pid: u32) {
        let Some(logs) = self.logs.get_mut(&pid) else {
            return;
        };
        let has_ended = self.ended.contains(&pid);
        let mut later = logs.len();
        logs.retain_mut(|log| {
            later -= 1;
            let is_over = has_ended || later > 0;
            if is_over && log.left == 0 {
                // It may have got records since it was last looked at.
                let _ = log.find(&mut self.found, &mut self.chunk);
            }
            let is_needed = log.left > 0 || !is_over;
            if !is_needed {
                self.spool.remove_of_worker(log.name);
            }
            is_needed
        });
        if logs.is_empty() && has_ended {
            self.logs.remove(&pid);
            self.ended.remove(&pid);
        }
    }
}

impl Log {
    /// Finds its new records.
    fn find(&mut self, found: &mut FoundOutputs, chunk: &mut [u8]) -> io::Result<()> {
        loop {
            let count = self.file.read_at(chunk, self.read_to)?;
            let mut at = 0;
            let mut is_short = false;
            while let Some(header) = LogHeader::read(chunk.get(at..count).unwrap_or_default()) {
                let end = self.read_to + at as u64 + header.record_bytes();
                // A record is longer than what was read if it is not whole, or not in this chunk.
                let is_read = at as u64 + header.record_bytes() <= count as u64;
                if !is_read && self.file.metadata()?.len() < end {
                    is_short = true;
                    break;
                }
                let kept = header.lengths.map(|lengths| Kept {
                    file: Arc::clone(&self.file),
                    at: self.read_to + (at + HEADER_BYTES) as u64,
                    lengths,
                });
                found.insert(
                    (self.name.pid, header.id, header.attempt),
                    (self.name, kept),
                );
                self.left += 1;
                at += usize::try_from(header.record_bytes()).map_err(io::Error::other)?;
            }
            self.read_to += at as u64;
            if is_short || at == 0 || count < chunk.len() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn spool() -> (tempfile::TempDir, Spool) {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::made(folder.path(), "");
        (folder, spool)
    }

    fn append(log: &mut LogWriter, spool: &Spool, id: u64, outputs: [&[u8]; 2]) {
        let record = record(ItemId(id), 1, outputs).unwrap();
        log.append(spool, &record).unwrap();
    }

    #[test]
    fn what_is_appended_is_found_once_and_in_any_order() {
        let (_folder, spool) = spool();
        let pid = std::process::id();
        let mut logs = Logs::new(spool.clone());
        assert!(logs.take(pid, ItemId(1), 1).is_none());
        let mut log = LogWriter::create(&spool).unwrap();
        for id in 1..=3000 {
            append(
                &mut log,
                &spool,
                id,
                [id.to_string().as_bytes(), &[b'e'; 70]],
            );
        }
        for id in [2999, 1, 3000, 2] {
            let kept = logs.take(pid, ItemId(id), 1).unwrap();
            let [stdout, stderr] = kept.read().unwrap();
            assert_eq!(stdout, id.to_string().into_bytes());
            assert_eq!(stderr, [b'e'; 70]);
            assert!(logs.take(pid, ItemId(id), 1).is_none());
        }
    }

    /// It was begun again by another worker, and its number did not change.
    #[test]
    fn an_attempt_that_did_not_count_is_not_taken_for_the_one_that_does() {
        let (_folder, spool) = spool();
        let pid = std::process::id();
        let mut lost = spool
            .create_for_worker(WorkerFile {
                pid: pid + 1,
                ..WorkerFile::new(FileKind::Log)
            })
            .unwrap();
        let of_lost = record(ItemId(1), 1, [b"lost", b""]).unwrap();
        lost.write_all(&of_lost).unwrap();
        let mut log = LogWriter::create(&spool).unwrap();
        let mut logs = Logs::new(spool.clone());
        logs.end(pid + 1);
        append(&mut log, &spool, 1, [b"done", b""]);
        let kept = logs.take(pid, ItemId(1), 1).unwrap();
        assert_eq!(kept.read().unwrap()[0], b"done");
    }

    #[test]
    fn an_attempt_with_files_of_its_own_is_known_and_has_nothing_here() {
        let (_folder, spool) = spool();
        let pid = std::process::id();
        let mut log = LogWriter::create(&spool).unwrap();
        log.append(&spool, &record_of_files(ItemId(1), 1)).unwrap();
        append(&mut log, &spool, 2, [b"b", b""]);
        let mut logs = Logs::new(spool);
        assert!(logs.has(pid, ItemId(1), 1));
        assert!(logs.take(pid, ItemId(1), 1).is_none());
        let kept = logs.take(pid, ItemId(2), 1).unwrap();
        assert_eq!(kept.read().unwrap()[0], b"b");
    }

    #[test]
    fn a_record_longer_than_a_chunk_is_found_and_so_are_those_behind_it() {
        let (_folder, spool) = spool();
        let mut log = LogWriter::create(&spool).unwrap();
        let long = vec![b'x'; 3 * CHUNK_BYTES];
        append(&mut log, &spool, 1, [&long, b""]);
        append(&mut log, &spool, 2, [b"", b"y"]);
        let mut logs = Logs::new(spool);
        let mut take = |id| logs.take(std::process::id(), ItemId(id), 1).unwrap().read();
        assert_eq!(take(2).unwrap(), [b"".to_vec(), b"y".to_vec()]);
        assert_eq!(take(1).unwrap(), [long, Vec::new()]);
    }

    /// Its writer may be killed anywhere in it.
    #[test]
    fn a_record_that_is_not_whole_does_not_count_until_it_is() {
        let (_folder, spool) = spool();
        let pid = std::process::id();
        let name = WorkerFile::new(FileKind::Log);
        let whole = record(ItemId(7), 2, [b"out", b"err"]).unwrap();
        let mut file = spool.create_for_worker(name).unwrap();
        let mut logs = Logs::new(spool);
        for byte in &whole {
            assert!(logs.take(pid, ItemId(7), 2).is_none());
            file.write_all(&[*byte]).unwrap();
        }
        let kept = logs.take(pid, ItemId(7), 2).unwrap();
        assert_eq!(kept.read().unwrap(), [b"out".to_vec(), b"err".to_vec()]);
    }

    #[test]
    fn a_log_is_removed_when_all_of_it_is_taken_and_it_gets_no_more() {
        let (_folder, spool) = spool();
        let pid = std::process::id();
        let mut log = LogWriter::create(&spool).unwrap();
        let count = |spool: &Spool| spool.worker_files().len();
        append(&mut log, &spool, 1, [&vec![b'x'; 5 * 1024 * 1024], b""]);
        append(&mut log, &spool, 2, [b"", b""]);
        assert_eq!(count(&spool), 2);
        let mut logs = Logs::new(spool.clone());
        assert!(logs.take(pid, ItemId(2), 1).is_some());
        assert_eq!(count(&spool), 2);
        assert!(logs.take(pid, ItemId(1), 1).is_some());
        assert_eq!(count(&spool), 1);
        append(&mut log, &spool, 3, [b"z", b""]);
        logs.end(pid);
        assert_eq!(count(&spool), 1);
        let kept = logs.take(pid, ItemId(3), 1).unwrap();
        assert_eq!(count(&spool), 0);
        assert_eq!(kept.read().unwrap()[0], b"z");
    }

    /// Another worker's new log is looked for, and this one's is found along with it.
    #[test]
    fn a_log_is_read_to_its_end_before_it_is_removed() {
        let (_folder, spool) = spool();
        let pid = std::process::id();
        let mut logs = Logs::new(spool.clone());
        let mut first = LogWriter::create(&spool).unwrap();
        for id in 1..=2 {
            append(&mut first, &spool, id, [b"a", b""]);
        }
        assert!(logs.take(pid, ItemId(1), 1).is_some());
        append(&mut first, &spool, 3, [b"b", b""]);
        let _second = LogWriter::create(&spool).unwrap();
        logs.end(1);
        for id in 2..=3 {
            assert!(logs.take(pid, ItemId(id), 1).is_some());
        }
        assert_eq!(spool.worker_files().len(), 1);
    }

    #[test]
    fn a_log_that_was_removed_is_followed_by_another() {
        let (_folder, spool) = spool();
        let pid = std::process::id();
        let mut log = LogWriter::create(&spool).unwrap();
        append(&mut log, &spool, 1, [b"a", b""]);
        std::fs::remove_dir_all(spool.folder()).unwrap();
        append(&mut log, &spool, 2, [b"b", b""]);
        let mut logs = Logs::new(spool);
        assert!(logs.take(pid, ItemId(1), 1).is_none());
        assert!(logs.take(pid, ItemId(2), 1).is_some());
    }
}
