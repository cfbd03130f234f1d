//! The room that the kernel has for the words of a command, and what words take of it.
//!
//! `execve` takes a quarter of the limit on the stack, at least 128 KiB and at most 6 MiB, for the
//! texts of words and variables, each with a zero behind it, and a pointer to each; and no single
//! text longer than 128 KiB with its zero.

use std::ffi::OsString;
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt;

use nix::sys::resource::{Resource, getrlimit};

/// The room that there is on any machine.
const ROOM_MIN: usize = 128 << 10;

/// The most that the kernel allows, however large a stack may be: three quarters of the usual 8 MiB.
const ROOM_MAX: usize = 6 << 20;

/// The bytes of a single text with its zero, from which on the kernel refuses it.
pub(crate) const WORD_MAX: usize = 128 << 10;

/// The room that is left for what is added to the environment and to the words: the number of the
/// item, the interpreter of a script. It is what POSIX has xargs leave.
const HEADROOM: usize = 2 << 10;

/// The room that words take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WordSizes {
    /// The bytes of their texts, each with a zero behind it.
    pub(crate) texts: usize,
    /// The number of them.
    pub(crate) words: usize,
}

impl WordSizes {
    /// Returns what a word of this length takes.
    pub(crate) fn of_word(length: usize) -> Self {
        WordSizes {
            texts: length + 1,
            words: 1,
        }
    }

    #[must_use]
    pub(crate) fn and(self, more: Self) -> Self {
        WordSizes {
            texts: self.texts + more.texts,
            words: self.words + more.words,
        }
    }

    /// Returns the bytes that the kernel counts.
    pub(crate) fn bytes(self) -> usize {
        self.texts + self.words * size_of::<*const u8>()
    }
}

/// Returns the room for the words of commands that are started with this environment and these
/// variables besides.
pub(crate) fn room_for_words(added: &[(OsString, OsString)]) -> usize {
    let (stack, _) = getrlimit(Resource::RLIMIT_STACK).unwrap_or((0, 0));
    let stack = usize::try_from(stack).unwrap_or(usize::MAX);
    let room = (stack / 4).clamp(ROOM_MIN, ROOM_MAX);
    let size = |name: &OsString, value: &OsString| {
        // With the sign between the two.
        WordSizes::of_word(name.as_bytes().len() + 1 + value.as_bytes().len())
    };
    let own = std::env::vars_os().map(|(name, value)| size(&name, &value));
    let added = added.iter().map(|(name, value)| size(name, value));
    let taken = own.chain(added).fold(WordSizes::default(), WordSizes::and);
    room.saturating_sub(taken.bytes() + HEADROOM)
}
