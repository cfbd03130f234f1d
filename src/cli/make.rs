//! The make that has started this program, and its order to change nothing. Lines of recipes that begin with `+`,
//! as those that share its job server must, are run by `make -n`, `-t` and `-q` too.

use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::Jobserver;

/// The exit code that answers make: there is something to be done.
pub(super) const TO_BE_DONE: u8 = 1;

/// Returns the variables by which a make tells those that it starts of its flags and its job server, if one
/// has started this program: what outlives the make is to know nothing of it.
pub(super) fn variables() -> impl Iterator<Item = &'static str> {
    let is_of_make = env::var_os("MAKELEVEL").is_some() || Jobserver::from_environment().is_some();
    let names = ["MAKEFLAGS", "MFLAGS", "CARGO_MAKEFLAGS", "MAKELEVEL"];
    names.into_iter().filter(move |_| is_of_make)
}

/// The thing that a run does in place of its commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangesNothing {
    /// `-n`: it prints them.
    Prints,
    /// `-t`: the files count as made.
    Touches,
    /// `-q`: by its exit code make says that there is something to be done.
    Asks,
}

impl ChangesNothing {
    /// Returns what the make asks for that has started this process.
    pub(super) fn as_asked() -> Option<Self> {
        Self::of(&env::var_os("MAKEFLAGS")?)
    }

    /// Reads the flags. Those of one letter are the first word, which is empty without any (GNU make's
    /// manual, "Communicating Options to a Sub-make" and "Instead of Execution").
    fn of(flags: &OsStr) -> Option<Self> {
        let letters = flags.as_bytes().split(|byte| *byte == b' ').next()?;
        if !letters.iter().all(u8::is_ascii_alphabetic) {
            return None;
        }
        let kinds = [
            (b'n', ChangesNothing::Prints),
            (b'q', ChangesNothing::Asks),
            (b't', ChangesNothing::Touches),
        ];
        let mut kinds = kinds.into_iter();
        kinds.find_map(|(letter, kind)| letters.contains(&letter).then_some(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_come_first_in_the_flags() {
        let of = |flags: &str| ChangesNothing::of(flags.as_ref());
        assert_eq!(of("n"), Some(ChangesNothing::Prints));
        assert_eq!(
            of("kn -j4 --jobserver-auth=3,4"),
            Some(ChangesNothing::Prints)
        );
        assert_eq!(of("st -- A=b"), Some(ChangesNothing::Touches));
        assert_eq!(of("q"), Some(ChangesNothing::Asks));
        for others in [
            "",
            "k",
            " -j4 --no-print-directory",
            "--no-print-directory",
            " -- A=nqt",
            "A=n",
            "-j4",
        ] {
            assert_eq!(of(others), None, "{others}");
        }
    }
}
