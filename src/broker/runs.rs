//! The requests that only the command line's runs make to a broker: to keep ends of attempts that
//! were not shown, to charge those that were lost, and to leave a stream in time. It does not know what a run is.

use nix::libc;

use super::Broker;
use super::core::Core;
use dishrack_core::ledger::{Blame, Cause, ItemId, Scene};

impl Core {
    /// Returns the reason why the store or stream has failed, or what is wrong with the books, if
    /// anything is.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.clone()
    }

    /// Keeps the ends of attempts in the journal from now on, until they are shown.
    pub(crate) fn keep_attempts(&mut self) {
        self.dispatcher.ledger.handle_keep_attempts();
    }

    pub(crate) fn shown(&mut self, attempts: &[(ItemId, u32)]) {
        for (id, attempt) in attempts {
            self.dispatcher.ledger.handle_shown(*id, *attempt);
        }
    }
}

impl Broker {
    /// Charges an item that waits with an attempt that an earlier run had begun, and was killed with.
    pub(crate) fn lose_attempt(&self, id: ItemId) {
        self.with(|core| {
            let scene = Scene::ended_at(core.emitter.now_unix());
            let cause = Cause::Killed {
                signal: libc::SIGKILL,
                what: "lost: it was begun, and the run that had begun it was killed".into(),
            };
            let (blame, now) = (Blame { cause, scene }, core.emitter.now());
            core.dispatcher.ledger.handle_lost_attempt(id, blame, now);
        });
    }

    /// Takes nothing more from the stream, and lets items that wait here be given back once its
    /// state is known. Puts wait for room no longer.
    pub(crate) fn quit_stream(&self) {
        self.with(|core| {
            let Some(shared) = core.shared() else {
                return;
            };
            shared.quit();
            core.wake_all();
        });
    }

    /// Waits no longer for a stream that does not answer, or for its replicas. What was not told by
    /// now is not told any more, and waiting callers get an error that says what the stream lacks.
    pub(crate) fn give_up_stream(&self, because: &str) {
        let Some(stream) = self.storage.shared() else {
            return;
        };
        self.with(|core| {
            let lack = core.shared().and_then(|shared| shared.lack.clone());
            let lack = lack.unwrap_or_else(|| format!("{} does not answer", stream.kind()));
            core.break_off_stream(format!("{lack}; {because}"));
        });
        // This is last, so that no caller released by it gets an error that says less.
        stream.abandon();
    }
}
