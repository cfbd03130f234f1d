//! The job server of `make -j`: a pipe with a token for each job that may run beside the first.
//!
//! Since GNU Make 4.4 the server is a named pipe, which any process can open. Before, it was two
//! inherited descriptors, which are told by their numbers and are open only where make takes the
//! recipe for another make, because of a `+` in front of it. A worker inherits none but the first
//! three, so without more a make or cargo there would warn, or take another file of that number for
//! the server: the words are taken out of its environment, and it runs one job at a time. This file
//! reads the words and opens the pipe. It does not take tokens.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

use rustix::fs::{FileType, Stat, fstat};

use crate::broker::{Broker, TokenNeed};
use crate::error::Kind;
use crate::sys::program::Program;
use crate::sys::tokens::{SharedTokens, TokenPipe};

/// The variables that makes and cargo read.
const VARIABLES: [&str; 3] = ["MAKEFLAGS", "MFLAGS", "CARGO_MAKEFLAGS"];

/// The options that name the server; the second one is of makes before 4.2.
const OPTIONS: [&[u8]; 2] = [b"--jobserver-auth=", b"--jobserver-fds="];

/// GNU make's job server, of which this process is a client: under `make -jN`, no more jobs run in all
/// than N ([`Builder::jobserver`](crate::Builder::jobserver)).
///
/// # Example
///
/// ```no_run
/// use dishrack::{Jobserver, Supervisor};
///
/// // First of all: later another file may have the number of one that was not inherited.
/// let jobserver = Jobserver::from_environment();
/// let mut builder = Supervisor::builder().processes(8);
/// if let Some(jobserver) = jobserver {
///     builder = builder.jobserver(jobserver);
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Jobserver {
    /// `None` if it is not open to this process.
    server: Option<Arc<OpenServer>>,
}

#[derive(Debug)]
struct OpenServer {
    read: OwnedFd,
    write: OwnedFd,
    /// The number of tokens, if it is told.
    count: Option<usize>,
    /// The variables that name it by descriptors.
    variables: Vec<(OsString, OsString)>,
}

impl Jobserver {
    /// Returns the job server that the environment names (`MAKEFLAGS`, or what cargo has for it), open
    /// or not. Call it first of all in `main`: later another file may have the number of a descriptor
    /// that was not inherited.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let flags = VARIABLES
            .into_iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        let flags: Vec<(&'static str, OsString)> = flags.collect();
        let found = flags.iter().find_map(|(_, flags)| Auth::of(flags))?;
        let server = found.auth.open().map(|(read, write)| OpenServer {
            read,
            write,
            count: found.jobs.map(|jobs| jobs.saturating_sub(1)),
            variables: flags
                .into_iter()
                .filter(|(_, flags)| without_descriptors(flags).is_some())
                .map(|(name, flags)| (name.into(), flags))
                .collect(),
        });
        Some(Jobserver {
            server: server.map(Arc::new),
        })
    }

    /// Returns `false` if it is named and not open to this process. Then there are no tokens, and one
    /// item runs at a time: make opens it only to recipes that begin with `+` or call `$(MAKE)`.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.server.is_some()
    }

    /// Returns the variables that name it by descriptors, which mean nothing to a process that has not
    /// inherited these. There are none for a named pipe.
    #[must_use]
    pub fn variables(&self) -> Vec<(OsString, OsString)> {
        let server = self.server.as_ref();
        server.map_or_else(Vec::new, |server| server.variables.clone())
    }

    /// Returns both ends of its pipe, to read from and to write to, for processes that are to be clients,
    /// too, and the variables for them are [renumbered](Self::renumbered). Returns `None` if it is not
    /// open, or no more files can be.
    #[must_use]
    pub fn ends(&self) -> Option<[OwnedFd; 2]> {
        let server = self.server.as_ref()?;
        Some([
            server.read.try_clone().ok()?,
            server.write.try_clone().ok()?,
        ])
    }

    /// Returns the value of a variable with these descriptors in place of the server's.
    #[must_use]
    pub fn renumbered(flags: &OsStr, [read, write]: [RawFd; 2]) -> OsString {
        let (options, variables) = parts(flags);
        let words = options.split(|byte| *byte == b' ').map(|word| {
            let mut named = OPTIONS.iter().filter(|option| word.starts_with(option));
            match named.next().filter(|_| names_descriptors(word)) {
                Some(option) => [option, format!("{read},{write}").as_bytes()].concat(),
                None => word.to_vec(),
            }
        });
        let words = words.chain((!variables.is_empty()).then(|| variables.to_vec()));
        OsString::from_vec(words.collect::<Vec<_>>().join(&b' '))
    }

    /// Has each item of a queue but one wait for a token, as long as somebody has what this returns.
    pub(super) fn serve(&self, broker: &Broker) -> Result<Arc<TokenNeed>, Kind> {
        broker.need_tokens(|| {
            let opened = self.server.as_ref().map(|server| {
                let (read, write) = (server.read.try_clone()?, server.write.try_clone()?);
                TokenPipe::new(SharedTokens::new(read, write, server.count))
            });
            let pipe = opened.transpose();
            pipe.map_err(Kind::io("opening make's job server"))
        })
    }
}

/// The words for a server and the number of its jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FoundAuth {
    auth: Auth,
    jobs: Option<usize>,
}

/// The way to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Auth {
    Descriptors(RawFd, RawFd),
    Fifo(OsString),
    /// Descriptors that are none.
    Nowhere,
}

impl Auth {
    /// Finds it in flags; the last one counts.
    fn of(flags: &OsStr) -> Option<FoundAuth> {
        let (options, _) = parts(flags);
        let words = || options.split(|byte| *byte == b' ');
        let value = words().filter_map(value_of).next_back()?;
        let count = words().filter_map(|word| word.strip_prefix(b"-j"));
        let mut count = count.filter_map(|count| str::from_utf8(count).ok()?.parse().ok());
        let auth = match value.strip_prefix(b"fifo:") {
            Some(path) => Auth::Fifo(OsString::from_vec(path.to_vec())),
            None => Auth::of_descriptors(value).unwrap_or(Auth::Nowhere),
        };
        Some(FoundAuth {
            auth,
            jobs: count.next_back(),
        })
    }

    fn of_descriptors(value: &[u8]) -> Option<Self> {
        let (read, write) = str::from_utf8(value).ok()?.split_once(',')?;
        let number = |digits: &str| digits.parse().ok().filter(|number: &RawFd| *number >= 0);
        Some(Auth::Descriptors(number(read)?, number(write)?))
    }

    /// Opens both ends anew, so that nobody else's use of them is changed.
    fn open(&self) -> Option<(OwnedFd, OwnedFd)> {
        let (read, write) = match self {
            Auth::Nowhere => return None,
            Auth::Fifo(path) => {
                // Opened for both, it does not wait for anybody.
                let file = File::options().read(true).write(true).open(path).ok()?;
                (file.try_clone().ok()?, file)
            }
            Auth::Descriptors(read, write) => {
                let file = |number| format!("/proc/self/fd/{number}");
                if !is_pipe_of_both(&file(*read), &file(*write)) {
                    return None;
                }
                let read = File::open(file(*read)).ok()?;
                (read, File::options().write(true).open(file(*write)).ok()?)
            }
        };
        let are_alike = is_same_pipe(&fstat(&read).ok()?, &fstat(&write).ok()?);
        are_alike.then(|| (read.into(), write.into()))
    }
}

/// Returns `true` if both are ends of one pipe. What is no pipe is not opened: that could wait.
fn is_pipe_of_both(read: &str, write: &str) -> bool {
    let stat = |path: &str| rustix::fs::stat(path).ok();
    match (stat(read), stat(write)) {
        (Some(read), Some(write)) => is_same_pipe(&read, &write),
        _ => false,
    }
}

fn is_same_pipe(one: &Stat, other: &Stat) -> bool {
    let is_pipe = FileType::from_raw_mode(one.st_mode).is_fifo();
    is_pipe && (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// Has a process that is to be started know of no job server that it could not reach.
pub(super) fn conceal_from(program: &mut Program) {
    for name in VARIABLES {
        let value = std::env::var_os(name);
        if let Some(value) = value.and_then(|value| without_descriptors(&value)) {
            program.env(name, value);
        }
    }
}

/// Returns the options in flags, and the user's variables behind them, which may contain anything.
fn parts(flags: &OsStr) -> (&[u8], &[u8]) {
    let flags = flags.as_bytes();
    let end = flags.windows(4).position(|bytes| bytes == b" -- ");
    let options = &flags[..end.unwrap_or(flags.len())];
    (options, end.map_or(&[], |end| &flags[end + 1..]))
}

/// Returns the flags without a job server's descriptors, if there are any, and without its number
/// of jobs, because each make would run that many jobs alone.
fn without_descriptors(flags: &OsStr) -> Option<OsString> {
    let (options, variables) = parts(flags);
    let words = || options.split(|byte| *byte == b' ');
    if !words().any(names_descriptors) {
        return None;
    }
    let kept = words().filter(|word| !names_descriptors(word) && !is_job_count(word));
    let kept = kept.chain((!variables.is_empty()).then_some(variables));
    Some(OsString::from_vec(kept.collect::<Vec<_>>().join(&b' ')))
}

/// Returns what a word says of a server.
fn value_of(word: &[u8]) -> Option<&[u8]> {
    OPTIONS.iter().find_map(|option| word.strip_prefix(*option))
}

fn names_descriptors(word: &[u8]) -> bool {
    value_of(word).is_some_and(|value| !value.starts_with(b"fifo:"))
}

fn is_job_count(word: &[u8]) -> bool {
    word.strip_prefix(b"-j")
        .is_some_and(|count| count.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::os::fd::{AsFd, AsRawFd};

    use super::*;

    fn cleaned(flags: &str) -> Option<String> {
        let cleaned = without_descriptors(OsStr::new(flags))?;
        Some(cleaned.into_string().unwrap())
    }

    #[test]
    fn descriptors_and_the_count_of_jobs_are_taken_out() {
        assert_eq!(cleaned(" -j4 --jobserver-auth=3,4").as_deref(), Some(""));
        assert_eq!(
            cleaned("ks -j --jobserver-fds=3,4 --no-print-directory").as_deref(),
            Some("ks --no-print-directory")
        );
        assert_eq!(
            cleaned("k -j8 --jobserver-auth=13,14 -- A=-j8\\ --jobserver-auth=3,4 B=2").as_deref(),
            Some("k -- A=-j8\\ --jobserver-auth=3,4 B=2")
        );
    }

    #[test]
    fn what_names_no_descriptors_stays_as_it_is() {
        for flags in [
            "",
            "ks",
            " -j4",
            " -j4 --jobserver-auth=fifo:/tmp/GMfifo7",
            " -- A=--jobserver-auth=3,4",
        ] {
            assert_eq!(cleaned(flags), None, "{flags}");
        }
    }

    fn found(flags: &str) -> Option<(Auth, Option<usize>)> {
        Auth::of(OsStr::new(flags)).map(|found| (found.auth, found.jobs))
    }

    #[test]
    fn the_last_words_for_a_server_count() {
        let fifo = |path: &str| Auth::Fifo(path.into());
        for (flags, expected) in [
            ("", None),
            ("k -j4", None),
            (" -- A=--jobserver-auth=3,4", None),
            (
                " -j4 --jobserver-auth=3,4",
                Some((Auth::Descriptors(3, 4), Some(4))),
            ),
            (
                "ks -j --jobserver-fds=3,4 --jobserver-auth=5,6 -- A=1",
                Some((Auth::Descriptors(5, 6), None)),
            ),
            (
                " -j8 --jobserver-auth=3,4 --jobserver-auth=fifo:/tmp/a",
                Some((fifo("/tmp/a"), Some(8))),
            ),
            (
                " -j4 --jobserver-auth=-2,-2",
                Some((Auth::Nowhere, Some(4))),
            ),
            (" --jobserver-auth=3", Some((Auth::Nowhere, None))),
            (" --jobserver-auth=x,4", Some((Auth::Nowhere, None))),
        ] {
            assert_eq!(found(flags), expected, "{flags}");
        }
    }

    #[test]
    fn only_the_two_ends_of_one_pipe_are_a_server() {
        let (read, mut write) = io::pipe().unwrap();
        let (other, _end) = io::pipe().unwrap();
        let (reads, writes) = (read.as_raw_fd(), write.as_raw_fd());
        write.write_all(b"+").unwrap();
        let (mine, _) = Auth::Descriptors(reads, writes).open().unwrap();
        let mut token = [0];
        assert_eq!(rustix::io::read(mine.as_fd(), &mut token), Ok(1));
        let null = File::open("/dev/null").unwrap();
        for (read, write) in [
            (other.as_raw_fd(), writes),
            (null.as_raw_fd(), null.as_raw_fd()),
            (reads, 1_000_000),
        ] {
            assert!(Auth::Descriptors(read, write).open().is_none());
        }
        assert!(Auth::Fifo("/dev/null".into()).open().is_none());
        assert!(Auth::Nowhere.open().is_none());
    }

    #[test]
    fn other_numbers_take_the_place_of_descriptors() {
        let renumbered = |flags: &str| Jobserver::renumbered(OsStr::new(flags), [13, 14]);
        assert_eq!(
            renumbered("k -j8 --jobserver-fds=3,4 --jobserver-auth=3,4 -- A=--jobserver-auth=3,4"),
            "k -j8 --jobserver-fds=13,14 --jobserver-auth=13,14 -- A=--jobserver-auth=3,4"
        );
        assert_eq!(
            renumbered(" --jobserver-auth=fifo:/a"),
            " --jobserver-auth=fifo:/a"
        );
    }
}
