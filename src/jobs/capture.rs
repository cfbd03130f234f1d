//! The pair of files that a worker's commands write to, one after the other, while their output is
//! small.
//!
//! At a command's end what it wrote goes into the worker's log, and the files are empty again. So
//! no file is made for an item. The files have names, so that the output of an attempt whose worker
//! was killed is found. A command that wrote more keeps them: they get the names of its attempt. So
//! does one that left a process behind which may still write to them. A read lease says so: the
//! kernel grants it only for a file that nobody has open for writing. Where it grants none, each
//! attempt has its own files.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use parking_lot::Mutex;

use super::CurrentAttempt;
use super::output_log::{self, LogWriter};
use super::spool::{FileKind, OutputStream, Spool, WorkerFile};
use crate::fail;
use crate::sys::descriptors::path_of;

/// The greatest number of bytes, of both streams together, that go into the log.
pub(super) const SMALL_BYTES: u64 = 16 * 1024;

/// The pair, while no command has it.
static IDLE: Mutex<Option<Capture>> = Mutex::new(None);

/// The log, which outlives the pair.
static LOG: Mutex<Option<LogWriter>> = Mutex::new(None);

/// True if files here cannot be leased.
static IS_WITHOUT_LEASES: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
pub(super) struct Capture {
    /// Open for reading only, because whoever has one open for writing hinders the lease.
    files: [File; 2],
    names: [WorkerFile; 2],
}

impl Capture {
    /// Takes the pair, or makes one. Returns `None` where files cannot be leased.
    pub(super) fn take(spool: &Spool) -> io::Result<Option<Self>> {
        if IS_WITHOUT_LEASES.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if let Some(capture) = IDLE.lock().take() {
            return Ok(Some(capture));
        }
        let capture = Capture::make(spool)?;
        if is_unshared(&capture.files[0]).is_err() {
            IS_WITHOUT_LEASES.store(true, Ordering::Relaxed);
            capture.remove(spool);
            return Ok(None);
        }
        Ok(Some(capture))
    }

    fn make(spool: &Spool) -> io::Result<Self> {
        // Who opens a leased file for writing has the kernel send this to the lessee.
        SigSet::from(Signal::SIGIO).thread_block()?;
        let stdout = WorkerFile::new(FileKind::Output(OutputStream::Stdout));
        let stderr = WorkerFile {
            kind: FileKind::Output(OutputStream::Stderr),
            ..stdout
        };
        let read_only = |name| -> io::Result<File> {
            let file = spool.create_for_worker(name)?;
            File::open(path_of(&file))
        };
        let files = read_only(stdout).and_then(|out| Ok([out, read_only(stderr)?]));
        let names = [stdout, stderr];
        if files.is_err() {
            names.iter().for_each(|name| spool.remove_of_worker(*name));
        }
        Ok(Capture {
            files: files?,
            names,
        })
    }

    /// Opens the files for a command. If that fails, the pair must not be used.
    pub(super) fn open(&self, spool: &Spool) -> io::Result<[File; 2]> {
        let open = |file: &File| {
            let mut options = File::options();
            options.read(true).append(true).open(path_of(file))
        };
        let [stdout, stderr] = &self.files;
        let opened = open(stdout).and_then(|out| Ok([out, open(stderr)?]));
        if opened.is_err() {
            self.remove(spool);
        }
        opened
    }

    /// Puts the output of an attempt into the log, after its command's files were closed here.
    /// Returns the pair if the attempt must keep it.
    pub(super) fn log(self, spool: &Spool, attempt: CurrentAttempt) -> Result<(), Self> {
        match self.write_record(spool, attempt) {
            Ok(Some(lengths)) => {
                fail::point("output: logged");
                // The record is the attempt's output from here on, so the attempt keeps no pair.
                match self.empty(lengths) {
                    Ok(()) => *IDLE.lock() = Some(self),
                    Err(_) => self.remove(spool),
                }
                fail::point("output: logged, and its files empty");
                Ok(())
            }
            Ok(None) | Err(_) => Err(self),
        }
    }

    /// Writes a record of both outputs into the log. Returns their lengths; `None` if they cannot
    /// go there.
    fn write_record(&self, spool: &Spool, attempt: CurrentAttempt) -> io::Result<Option<[u64; 2]>> {
        let [stdout, stderr] = &self.files;
        if !is_unshared(stdout)? || !is_unshared(stderr)? {
            return Ok(None);
        }
        // Only now: a process that was left behind may have written until it ended.
        let lengths = [stdout.metadata()?.len(), stderr.metadata()?.len()];
        if lengths.iter().sum::<u64>() > SMALL_BYTES {
            return Ok(None);
        }
        let outputs = [content(stdout, lengths[0])?, content(stderr, lengths[1])?];
        let outputs = outputs.each_ref().map(Vec::as_slice);
        let record = output_log::record(attempt.id, attempt.attempt, outputs)?;
        fail::point("output: to be logged");
        append(spool, &record)?;
        Ok(Some(lengths))
    }

    fn empty(&self, lengths: [u64; 2]) -> io::Result<()> {
        let files = self.files.iter().zip(lengths);
        let mut written = files.filter(|(_, length)| *length > 0);
        written.try_for_each(|(file, _)| empty(file))
    }

    /// Gives a file the name of the attempt's own.
    pub(super) fn rename(
        &self,
        spool: &Spool,
        attempt: CurrentAttempt,
        stream: OutputStream,
    ) -> io::Result<()> {
        let to = spool.path(attempt.run(), stream);
        fail::point("output: to be named");
        fs::rename(spool.path_of_worker(self.name(stream)), to)?;
        fail::point("output: named");
        Ok(())
    }

    pub(super) fn file(&self, stream: OutputStream) -> &File {
        stream.of(&self.files)
    }

    fn name(&self, stream: OutputStream) -> WorkerFile {
        *stream.of(&self.names)
    }

    pub(super) fn remove_one(&self, spool: &Spool, stream: OutputStream) {
        spool.remove_of_worker(self.name(stream));
    }

    /// Removes the files of a pair that is not used again.
    pub(super) fn remove(&self, spool: &Spool) {
        for name in self.names {
            spool.remove_of_worker(name);
        }
    }
}

/// Notes in the log that an attempt has files of its own.
pub(super) fn note_files(spool: &Spool, attempt: CurrentAttempt) {
    let record = output_log::record_of_files(attempt.id, attempt.attempt);
    // Without it the files are found after a longer look.
    let _ = append(spool, &record);
    fail::point("output: its files noted");
}

fn append(spool: &Spool, record: &[u8]) -> io::Result<()> {
    let mut log = LOG.lock();
    let log = match &mut *log {
        Some(log) => log,
        none => none.insert(LogWriter::create(spool)?),
    };
    log.append(spool, record)
}

/// Removes the pair of a worker that has no more items.
pub(super) fn end(spool: &Spool) {
    if let Some(capture) = IDLE.lock().take() {
        capture.remove(spool);
    }
}

/// Empties a file that may be open for reading only.
///
/// File systems take a file that is cut off and written again for one that is replaced, and write
/// it to the disk when it is closed, for which the next emptying would wait. They forget that when
/// it is closed empty, as it is here.
fn empty(file: &File) -> io::Result<()> {
    let mut options = File::options();
    let emptied = options.write(true).truncate(true).open(path_of(file))?;
    drop(emptied);
    Ok(())
}

fn content(file: &File, length: u64) -> io::Result<Vec<u8>> {
    let mut content = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    if length > 0 {
        file.read_exact_at(&mut content, 0)?;
    }
    Ok(content)
}

/// Returns `true` if nobody has the file open for writing.
///
/// # Errors
/// The file cannot be leased.
fn is_unshared(file: &File) -> io::Result<bool> {
    match lease(file, libc::F_RDLCK) {
        Ok(()) => lease(file, libc::F_UNLCK).map(|()| true),
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(false),
        Err(error) => Err(error),
    }
}

fn lease(file: &File, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: a system call on a file that is open here; its argument is a number.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
    Errno::result(done)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::{Duration, Instant};

    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;
    use crate::jobs::output_log::Logs;
    use dishrack_core::ledger::ItemId;

    fn attempt(id: u64) -> CurrentAttempt {
        CurrentAttempt {
            id: ItemId(id),
            attempt: 1,
            copy: 1,
            place: 1,
            slot: 0,
        }
    }

    /// Tests of this module take the pair of the process in turns.
    static TURN: Mutex<()> = Mutex::new(());

    /// Makes a folder for a process that has neither pair nor log yet.
    fn fresh() -> (tempfile::TempDir, Spool) {
        (*IDLE.lock(), *LOG.lock()) = (None, None);
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::made(folder.path(), "");
        (folder, spool)
    }

    /// A child that another test's thread has just forked has the files open until its exec.
    fn log_in_time(mut capture: Capture, spool: &Spool, attempt: CurrentAttempt) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(back) = capture.log(spool, attempt) {
            assert!(Instant::now() < deadline, "somebody has the files open");
            capture = back;
            std::thread::yield_now();
        }
    }

    #[test]
    fn small_output_goes_into_the_log_and_the_pair_is_used_again() {
        let _turn = TURN.lock();
        let (_folder, spool) = fresh();
        let mut logs = Logs::new(spool.clone());
        for id in 1..=3 {
            let capture = Capture::take(&spool).unwrap().unwrap();
            let [mut stdout, stderr] = capture.open(&spool).unwrap();
            stdout.write_all(b"out").unwrap();
            drop((stdout, stderr));
            log_in_time(capture, &spool, attempt(id));
            let kept = logs.take(std::process::id(), ItemId(id), 1).unwrap();
            assert_eq!(kept.read().unwrap(), [b"out".to_vec(), Vec::new()]);
        }
        assert_eq!(spool.worker_files().len(), 3);
        assert!(spool.attempts().is_empty());
        end(&spool);
        assert_eq!(spool.worker_files().len(), 1);
    }

    #[test]
    fn what_is_in_the_log_stays_there_if_a_file_cannot_be_emptied() {
        let _turn = TURN.lock();
        let (_folder, spool) = fresh();
        let mut logs = Logs::new(spool.clone());
        let mut capture = Capture::take(&spool).unwrap().unwrap();
        let [mut stdout, _] = capture.open(&spool).unwrap();
        stdout.write_all(b"out").unwrap();
        let mut sealed = File::from(memfd_create("stderr", MFdFlags::MFD_ALLOW_SEALING).unwrap());
        sealed.write_all(b"err").unwrap();
        fcntl(&sealed, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).unwrap();
        capture.files[1] = File::open(path_of(&sealed)).unwrap();
        drop((stdout, sealed));
        log_in_time(capture, &spool, attempt(1));
        let kept = logs.take(std::process::id(), ItemId(1), 1).unwrap();
        assert_eq!(kept.read().unwrap(), [b"out".to_vec(), b"err".to_vec()]);
        assert!(spool.attempts().is_empty());
        // The log is there, and neither file of the pair.
        assert_eq!(spool.worker_files().len(), 1);
        let next = Capture::take(&spool).unwrap().unwrap();
        assert_eq!(next.files[0].metadata().unwrap().len(), 0);
    }

    #[test]
    fn a_pair_that_another_process_may_write_to_is_not_used_again() {
        let _turn = TURN.lock();
        let (_folder, spool) = fresh();
        let capture = Capture::take(&spool).unwrap().unwrap();
        let [mut stdout, stderr] = capture.open(&spool).unwrap();
        stdout.write_all(b"early ").unwrap();
        drop(stderr);
        let capture = capture.log(&spool, attempt(1)).unwrap_err();
        for stream in OutputStream::BOTH {
            capture.rename(&spool, attempt(1), stream).unwrap();
        }
        stdout.write_all(b"late").unwrap();
        let kept = fs::read(spool.path(attempt(1).run(), OutputStream::Stdout)).unwrap();
        assert_eq!(kept, b"early late");
        let next = Capture::take(&spool).unwrap().unwrap();
        assert_eq!(next.files[0].metadata().unwrap().len(), 0);
    }

    #[test]
    fn output_that_is_not_small_stays_in_its_file() {
        let _turn = TURN.lock();
        let (_folder, spool) = fresh();
        for (length, is_small) in [(SMALL_BYTES, true), (SMALL_BYTES + 1, false)] {
            let capture = Capture::take(&spool).unwrap().unwrap();
            let [mut stdout, stderr] = capture.open(&spool).unwrap();
            let bytes = vec![b'x'; usize::try_from(length).unwrap()];
            stdout.write_all(&bytes).unwrap();
            drop((stdout, stderr));
            if is_small {
                log_in_time(capture, &spool, attempt(length));
            } else {
                assert!(capture.log(&spool, attempt(length)).is_err());
            }
        }
    }
}
