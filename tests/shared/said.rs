//! Calls of the command line: how their words are written, and what they have said when they end.
#![allow(dead_code, reason = "each suite uses what it needs")]

use std::process::Output;

/// Splits what is typed at its spaces. It knows no quotes: a word with a space is given by itself.
pub(crate) fn words(typed: &str) -> Vec<&str> {
    typed.split_whitespace().collect()
}

/// Returns the words of `OPTIONS -- sh -c SCRIPT REST`.
pub(crate) fn sh<'a>(options: &'a str, script: &'a str, rest: &'a str) -> Vec<&'a str> {
    let shell = ["--", "sh", "-c", script];
    [&words(options)[..], &shell, &words(rest)].concat()
}

/// What a call has said, and how it has ended.
#[derive(Debug)]
pub(crate) struct Said {
    /// The exit code, if no signal has ended it.
    pub(crate) code: Option<i32>,
    /// What it has printed, as text.
    pub(crate) out: String,
    /// The same as it is.
    pub(crate) stdout: Vec<u8>,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        Said {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            stdout: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn ends(&self, code: i32) -> &Said {
        assert_eq!(self.code, Some(code), "{}", self.err);
        self
    }

    /// Checks all that was printed.
    #[track_caller]
    pub(crate) fn prints(&self, out: impl AsRef<str>) -> &Said {
        assert_eq!(self.out, out.as_ref(), "{}", self.err);
        self
    }

    /// Checks that stderr has these words.
    #[track_caller]
    pub(crate) fn tells(&self, words: &str) -> &Said {
        let err = &self.err;
        assert!(err.contains(words), "it does not say {words:?}: {err}");
        self
    }

    /// Checks that stderr does not have these words.
    #[track_caller]
    pub(crate) fn hides(&self, words: &str) -> &Said {
        let err = &self.err;
        assert!(!err.contains(words), "it says {words:?}: {err}");
        self
    }

    /// Checks for exit code 2, nothing on stdout, and these words.
    #[track_caller]
    pub(crate) fn is_refused(&self, words: &str) -> &Said {
        self.ends(2).prints("").tells(words).hides("panicked")
    }
}
