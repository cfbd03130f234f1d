//! Carries tokens between a pipe that many processes share and the core, which says when one is
//! wanted and when one is not needed any more.
//!
//! The thread sleeps on the pipe while one is wanted, and otherwise until it is called. It takes and
//! gives without the lock. When it has given something back it leaves others a moment to take it:
//! it is awake, and would always be there first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use rustix::event::{PollFd, PollFlags, poll};

use super::Broker;
use super::core::Core;
use super::monitor::{Monitor, ThreadGuard};
use crate::error::Kind;
use crate::sys::signals;
use crate::sys::tokens::TokenPipe;

/// The name of the thread.
pub(super) const THREAD: &str = "dishrack-tokens";

/// The time that others have for taking what was given back.
const TURN: Duration = Duration::from_millis(1);

/// The need of workers for tokens, which ends with the last of those that have it.
#[derive(Debug)]
pub(crate) struct TokenNeed {
    monitor: Weak<Monitor>,
    /// The number of needs that there were, with this.
    number: u64,
    /// The pipe of the tokens, if there are any.
    pipe: Option<Arc<TokenPipe>>,
    // After the queue needs none, which is how `drop` begins.
    _thread: Option<TokenThread>,
}

impl TokenNeed {
    pub(crate) fn pipe(&self) -> Option<Arc<TokenPipe>> {
        self.pipe.clone()
    }
}

impl Drop for TokenNeed {
    /// Has no item need a token any more. Returns when all that are held have gone back.
    fn drop(&mut self) {
        let Some(monitor) = self.monitor.upgrade() else {
            return;
        };
        monitor.with(|core| {
            // Others may have begun to need some meanwhile.
            if core.token_needs == self.number {
                core.token_carrier = None;
                core.dispatcher.ledger.handle_tokens(false);
            }
        });
    }
}

/// The thread, which ends with this.
#[derive(Debug)]
struct TokenThread {
    call: Arc<EventFd>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for TokenThread {
    /// Ends the thread. Returns when all that it held has gone back.
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // It fails only if it was called too often already.
        let _ = self.call.write(1);
        if let Some(thread) = self.thread.take() {
            // A panic is told by itself.
            let _ = thread.join();
        }
    }
}

impl Broker {
    /// Has each item but one wait for a token: of this pipe, or of one for which others have them wait already.
    /// Without a pipe there are none, and one item runs at a time.
    pub(crate) fn need_tokens(
        &self,
        pipe: impl FnOnce() -> Result<Option<TokenPipe>, Kind>,
    ) -> Result<Arc<TokenNeed>, Kind> {
        let mut known = self.token_need.lock();
        if let Some(need) = known.upgrade() {
            return Ok(need);
        }
        let pipe = pipe()?.map(Arc::new);
        let thread = pipe
            .as_ref()
            .map(|pipe| self.carry_tokens(Arc::clone(pipe)));
        let thread = thread.transpose()?;
        let call = thread.as_ref().map(|thread| Arc::clone(&thread.call));
        let number = self.with(|core| {
            core.dispatcher.ledger.handle_tokens(true);
            core.token_carrier = call;
            core.token_needs += 1;
            core.token_needs
        });
        let need = Arc::new(TokenNeed {
            monitor: Arc::downgrade(&self.monitor),
            number,
            pipe,
            _thread: thread,
        });
        *known = Arc::downgrade(&need);
        Ok(need)
    }

    fn carry_tokens(&self, pipe: Arc<TokenPipe>) -> Result<TokenThread, Kind> {
        const WHAT: &str = "starting the thread that carries tokens";
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let call = EventFd::from_flags(flags).map_err(|errno| Kind::io(WHAT)(errno.into()))?;
        let call = Arc::new(call);
        let is_over = Arc::new(AtomicBool::new(false));
        let carrying = Carrying {
            monitor: Arc::downgrade(&self.monitor),
            pipe,
            call: Arc::clone(&call),
            is_over: Arc::clone(&is_over),
        };
        let thread = std::thread::Builder::new().name(THREAD.into());
        let thread = thread.spawn(move || {
            signals::block_all();
            ThreadGuard::of(Weak::clone(&carrying.monitor)).run(|| carrying.run());
        });
        Ok(TokenThread {
            call,
            is_over,
            thread: Some(thread.map_err(Kind::io(WHAT))?),
        })
    }
}

impl Core {
    /// Calls the thread that carries tokens, if there is something for it to do.
    pub(super) fn ring_for_tokens(&self, carrier: &EventFd) {
        let ledger = &self.dispatcher.ledger;
        if ledger.wants_token() || ledger.has_token_back() {
            // It fails only if it was called too often already.
            let _ = carrier.write(1);
        }
    }

    fn take_token(&mut self) {
        self.dispatcher.ledger.handle_token();
        self.pump();
    }
}

/// The things that the thread works with.
struct Carrying {
    monitor: Weak<Monitor>,
    pipe: Arc<TokenPipe>,
    call: Arc<EventFd>,
    is_over: Arc<AtomicBool>,
}

impl Carrying {
    /// Carries tokens until the queue is gone, or no more are wanted.
    fn run(&self) {
        while !self.is_over.load(Ordering::Acquire)
            && let Some(monitor) = self.monitor.upgrade()
        {
            let wants_one = self.give_back(&monitor);
            if wants_one && self.pipe.take().unwrap_or(false) {
                monitor.lock().take_token();
                continue;
            }
            drop(monitor);
            self.sleep(wants_one);
        }
        // Whoever has ended it holds none any more.
        while self.pipe.give_back().unwrap_or(false) {}
    }

    /// Gives back what is not needed, and returns `true` if one is wanted.
    fn give_back(&self, monitor: &Monitor) -> bool {
        let mut core = monitor.lock();
        let ledger = &mut core.dispatcher.ledger;
        let mut count = 0;
        while ledger.poll_token_back() {
            count += 1;
        }
        let wants_one = ledger.wants_token();
        drop(core);
        for _ in 0..count {
            // A pipe that nobody can write to is of no use to anybody.
            let _ = self.pipe.give_back();
        }
        if count > 0 && wants_one {
            std::thread::sleep(TURN);
        }
        wants_one
    }

    /// Sleeps until it is called, or there may be a token, if one is wanted.
    fn sleep(&self, wants_one: bool) {
        let shared = self.pipe.shared();
        let call = PollFd::new(&*self.call, PollFlags::IN);
        let tokens = PollFd::new(&shared, PollFlags::IN);
        let mut files = [call, tokens];
        let count = if wants_one && !self.pipe.is_full() {
            2
        } else {
            1
        };
        // Whatever woke it, it looks for itself.
        let _ = poll(&mut files[..count], None);
        let _ = self.call.read();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dishrack_core::ledger::Options;

    #[test]
    fn items_need_tokens_as_long_as_anybody_needs_some() {
        let broker = Broker::new(Options::default());
        let needs_some = || broker.with(|core| core.dispatcher.ledger.needs_tokens());
        let need = || broker.need_tokens(|| Ok(None)).unwrap();
        let (first, second) = (need(), need());
        assert!(Arc::ptr_eq(&first, &second) && needs_some());
        drop(first);
        assert!(needs_some());
        drop(second);
        assert!(!needs_some());
        let third = need();
        assert!(needs_some());
        drop(third);
        assert!(!needs_some());
    }
}
