//! What only the command line's runs ask of a broker: how attempts ended that nobody has seen, and how to go
//! away from a stream in time. What a run is, this does not know.

use super::Broker;
use super::core::Core;
use dishrack_core::ledger::ItemId;

impl Core {
    /// Why what keeps the items has failed, if it has.
    pub(crate) fn store_failure(&self) -> Option<String> {
        self.store_failure.clone()
    }

    /// From now on the journal keeps how attempts ended until they are shown.
    pub(crate) fn keep_attempts(&mut self) {
        self.dispatcher.ledger.handle_keep_attempts();
    }

    /// How these attempts ended has been shown.
    pub(crate) fn shown(&mut self, attempts: &[(ItemId, u32)]) {
        for (id, attempt) in attempts {
            self.dispatcher.ledger.handle_shown(*id, *attempt);
        }
    }
}

impl Broker {
    /// Takes nothing more from the stream, and has what waits here given back as soon as it is known
    /// how it stands. Whoever waits for room here, waits no longer.
    pub(crate) fn quit_stream(&self) {
        self.with(|core| {
            let Some(shared) = core.shared() else {
                return;
            };
            shared.quit();
            core.wake_all();
        });
    }

    /// Waits no longer for a stream that does not answer, or for its replicas. What was not told by now
    /// is not told any more, and whoever waits here gets an error that says what the stream lacks.
    pub(crate) fn give_up_stream(&self, because: &str) {
        let Some(stream) = self.storage.shared() else {
            return;
        };
        self.with(|core| {
            let lack = core.shared().and_then(|shared| shared.lack.clone());
            let lack = lack.unwrap_or_else(|| format!("{} does not answer", stream.kind()));
            core.break_off_stream(format!("{lack}; {because}"));
        });
        // Last, so that nobody who is let go by this says less.
        stream.abandon();
    }
}
