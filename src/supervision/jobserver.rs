//! Removes the job server of `make -j` from the environment of a new process, if it is named by
//! files that the process does not have.
//!
//! Since GNU Make 4.4 the server is a named pipe, which any process can open. Before, it was two
//! inherited descriptors. A worker inherits none but the first three, so a make or cargo there
//! would warn, or take another file of that number for the server. Without the words it runs one
//! job at a time. This file does not know the server itself.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::sys::program::Program;

/// The variables that makes and cargo read.
const VARIABLES: [&str; 3] = ["MAKEFLAGS", "MFLAGS", "CARGO_MAKEFLAGS"];

/// The options that name descriptors; the second one is of makes before 4.2.
const OPTIONS: [&[u8]; 2] = [b"--jobserver-auth=", b"--jobserver-fds="];

/// Has a process that is to be started know of no job server that it could not reach.
pub(super) fn conceal_from(program: &mut Program) {
    for name in VARIABLES {
        let value = std::env::var_os(name);
        if let Some(value) = value.and_then(|value| without_descriptors(&value)) {
            program.env(name, value);
        }
    }
}

/// Returns the flags without a job server's descriptors, if there are any, and without its number
/// of jobs, because each make would run that many jobs alone.
fn without_descriptors(flags: &OsStr) -> Option<OsString> {
    let flags = flags.as_bytes();
    // The user's variables follow, which may contain anything.
    let end = flags.windows(4).position(|bytes| bytes == b" -- ");
    let options = &flags[..end.unwrap_or(flags.len())];
    let variables = end.map_or(&[][..], |end| &flags[end + 1..]);
    let words = || options.split(|byte| *byte == b' ');
    if !words().any(names_descriptors) {
        return None;
    }
    let kept = words().filter(|word| !names_descriptors(word) && !is_job_count(word));
    let kept = kept.chain((!variables.is_empty()).then_some(variables));
    Some(OsString::from_vec(kept.collect::<Vec<_>>().join(&b' ')))
}

fn names_descriptors(word: &[u8]) -> bool {
    let value = OPTIONS.iter().find_map(|option| word.strip_prefix(*option));
    value.is_some_and(|value| !value.starts_with(b"fifo:"))
}

fn is_job_count(word: &[u8]) -> bool {
    word.strip_prefix(b"-j")
        .is_some_and(|count| count.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
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
}
