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

/// The thread, which ends with this.
#[derive(Debug)]
pub(crate) struct TokenThread {
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
    /// Has each item but one wait for a token of this pipe.
    pub(crate) fn take_tokens(&self, pipe: Arc<TokenPipe>) -> Result<TokenThread, Kind> {
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
        let thread = thread.map_err(Kind::io(WHAT))?;
        self.with(|core| {
            core.dispatcher.ledger.handle_tokens(true);
            core.token_carrier = Some(Arc::clone(&call));
        });
        Ok(TokenThread {
            call,
            is_over,
            thread: Some(thread),
        })
    }
}

impl Broker {
    /// Has the items run one at a time, because there are no tokens to be had.
    pub(crate) fn admit_one_at_a_time(&self) {
        self.with(|core| core.dispatcher.ledger.handle_tokens(true));
    }

    /// Has no item need a token any more.
    pub(crate) fn admit_without_tokens(&self) {
        self.with(|core| {
            core.token_carrier = None;
            core.dispatcher.ledger.handle_tokens(false);
        });
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
