//! The result of a command where the copies of an item are compared: the digest of what it printed,
//! and how it failed.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha2::{Digest as _, Sha256};

use dishrack_core::ledger::Cause;

/// The greatest number of bytes that are shown to people as they are.
const SHOWN_BYTES: usize = 32;

/// The bytes that are read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The end of one copy's command, if it is to be compared.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ComparedOutput(pub(super) Option<ComparedEnd>);

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ComparedEnd {
    pub(super) stdout: Digest,
    /// The cause, if the command has failed by its own doing.
    pub(super) failure: Option<Cause>,
}

impl ComparedOutput {
    /// Returns the cause, if the command has failed.
    pub(crate) fn failure(self) -> Option<Cause> {
        self.0?.failure
    }
}

/// The length and the SHA-256 of a command's stdout: equal only where all bytes are.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Digest {
    bytes: u64,
    sha256: [u8; 32],
    /// All of it where it is short, for people.
    shown: Option<ByteBuf>,
}

impl Digest {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Digest {
            bytes: bytes.len() as u64,
            sha256: Sha256::digest(bytes).into(),
            shown: (bytes.len() <= SHOWN_BYTES).then(|| ByteBuf::from(bytes)),
        }
    }

    /// Makes that of all that is in a file.
    pub(super) fn of_file(file: &File) -> io::Result<Self> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut sha256 = Sha256::new();
        let mut shown = ByteBuf::new();
        let mut bytes = 0;
        loop {
            let count = file.read_at(&mut chunk, bytes)?;
            if count == 0 {
                break;
            }
            let read = &chunk[..count];
            sha256.update(read);
            bytes += count as u64;
            // One byte more than is shown, to see that it is longer.
            let more = SHOWN_BYTES + 1 - shown.len();
            shown.extend_from_slice(&read[..more.min(count)]);
        }
        Ok(Digest {
            bytes,
            sha256: sha256.finalize().into(),
            shown: (shown.len() <= SHOWN_BYTES).then_some(shown),
        })
    }
}

/// A few words for people who compare two.
impl fmt::Debug for ComparedOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(end) = &self.0 else {
            return f.write_str("done");
        };
        write!(f, "{}", end.stdout)?;
        match &end.failure {
            Some(cause) => write!(f, " and {cause}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shown {
            Some(shown) if shown.is_empty() => f.write_str("nothing"),
            Some(shown) => write!(f, "\"{}\"", shown.escape_ascii()),
            None => {
                write!(f, "{} bytes with SHA-256 ", self.bytes)?;
                let mut first = self.sha256.iter().take(6);
                first.try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use dishrack_core::ledger::Exit;

    #[test]
    fn a_file_has_the_digest_of_its_bytes() {
        for length in [
            0,
            1,
            SHOWN_BYTES,
            SHOWN_BYTES + 1,
            CHUNK_BYTES,
            2 * CHUNK_BYTES + 1,
        ] {
            let bytes = vec![b'x'; length];
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let (read, made) = (Digest::of_file(&file).unwrap(), Digest::of(&bytes));
            assert!(read == made, "{length}");
        }
    }

    #[test]
    fn people_read_what_is_short_and_else_how_long_it_is() {
        let said = |bytes: &[u8], failure| {
            let stdout = Digest::of(bytes);
            format!(
                "{:?}",
                ComparedOutput(Some(ComparedEnd { stdout, failure }))
            )
        };
        let words = |bytes: &[u8]| said(bytes, None);
        let failure = Cause::CommandFailed {
            exit: Exit::Exited(3),
            complaint: String::new(),
        };
        assert_eq!(
            said(b"4\n", Some(failure)),
            r#""4\n" and exited with code 3"#
        );
        assert_eq!(words(b"4\n"), r#""4\n""#);
        assert_eq!(words(b""), "nothing");
        // By sha256sum of coreutils 9.1.
        assert_eq!(words(&[b'a'; 100]), "100 bytes with SHA-256 2816597888e4");
    }
}
