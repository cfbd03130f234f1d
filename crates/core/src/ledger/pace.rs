//! When the next write begins: at once, or when more has gathered.
//!
//! A write costs about as much for one item as for a hundred. So one that would make nothing happen
//! sooner waits, and in a stream of puts so does one that would be half as large as the last. The
//! caller bounds that wait. It knows no time.

/// The number of items in a write from which puts count as a stream.
const STREAM: usize = 64;

/// The number of items that is always worth a write.
const WORTH_MAX: usize = 4096;

/// The facts that decide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gathered {
    /// The items that would become durable.
    pub(super) staged: usize,
    /// The durable items that are waiting or held.
    pub(super) ahead: usize,
    /// The items that the last write made durable.
    pub(super) last: usize,
    /// True if no more can gather.
    pub(super) is_full: bool,
}

impl Gathered {
    /// Returns `true` if nothing is won by a wait.
    pub(super) fn is_enough(self) -> bool {
        let is_needed = self.staged >= self.ahead;
        is_needed && (self.is_full || self.staged == 0 || self.staged >= worth(self.last))
    }
}

/// Returns `true` if so many items in a write are a stream of puts, of which more will come.
pub(super) fn is_stream(items: usize) -> bool {
    items >= STREAM
}

/// Returns the number of items that is worth a write after one of this many.
fn worth(last: usize) -> usize {
    match is_stream(last) {
        true => last.saturating_mul(2).min(WORTH_MAX),
        false => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(staged: usize, ahead: usize, last: usize) -> Gathered {
        let is_full = false;
        Gathered {
            staged,
            ahead,
            last,
            is_full,
        }
    }

    #[test]
    fn what_is_put_now_and_then_is_written_at_once() {
        assert!(gathered(1, 0, 0).is_enough());
        assert!(gathered(1, 1, STREAM - 1).is_enough());
    }

    #[test]
    fn nothing_is_written_for_workers_that_have_more_to_do() {
        assert!(!gathered(9, 10, 0).is_enough());
        assert!(gathered(10, 10, 0).is_enough());
        let full = Gathered {
            is_full: true,
            ..gathered(9, 10, 0)
        };
        assert!(!full.is_enough(), "there is room when they take some");
    }

    #[test]
    fn writes_of_a_stream_grow_up_to_a_bound() {
        assert!(!gathered(1999, 0, 1000).is_enough());
        assert!(gathered(2000, 0, 1000).is_enough());
        assert!(gathered(WORTH_MAX, 0, usize::MAX).is_enough());
        let full = Gathered {
            is_full: true,
            ..gathered(100, 0, 1000)
        };
        assert!(full.is_enough());
    }

    #[test]
    fn the_last_ends_of_a_stream_are_written_at_once() {
        assert!(gathered(0, 0, 1000).is_enough());
        assert!(!gathered(0, 1, 1000).is_enough());
    }
}
