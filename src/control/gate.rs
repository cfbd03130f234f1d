//! The gate of changes: when a run comes to its end, nothing more is put or tried again, and what is
//! under way is waited for. So nothing is accepted that nobody would work on. It knows no requests.

use parking_lot::{RwLock, RwLockReadGuard};

/// Open until it is shut, for good.
#[derive(Debug, Default)]
pub(super) struct Gate(RwLock<bool>);

impl Gate {
    /// Passes through, until the guard is dropped. `None` if it is shut.
    pub(super) fn pass(&self) -> Option<RwLockReadGuard<'_, bool>> {
        // One that waits to shut it does not wait for a caller that comes after it.
        let is_shut = self.0.read();
        (!*is_shut).then_some(is_shut)
    }

    /// Shuts it, when all that have passed are through.
    pub(super) fn shut(&self) {
        *self.0.write() = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_passes_a_shut_gate_and_those_before_are_waited_for() {
        let gate = Gate::default();
        let passing = gate.pass().unwrap();
        std::thread::scope(|scope| {
            let shutting = scope.spawn(|| gate.shut());
            assert!(!shutting.is_finished());
            drop(passing);
            shutting.join().unwrap();
        });
        assert!(gate.pass().is_none());
    }
}
