//! The signals that ask something of a run and do not end it: to say how it stands (SIGUSR1), to have
//! a worker more or fewer (SIGTTIN, SIGTTOU), to have new ones (SIGHUP, where a service manager looks
//! after the run), to stand still (SIGTSTP). It does not know how any of that is done.
//!
//! SIGTTIN and SIGTTOU come from the kernel as well, when a job in the background reads from its
//! terminal or may not write to it. The kernel says which of the two it is.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use nix::libc::siginfo_t;
use nix::sys::signal::{SigSet, Signal};
use serde_json::Value;
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::raw::WithRawSiginfo;

use super::service::Service;
use super::{job_control, screen, status};
use crate::sys::signals;
use crate::sys::threads::spawn;
use crate::{Error, Supervisor};

/// The order that a signal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SignalOrder {
    Report,
    StandStill,
    /// A job in the background must not go on.
    LeaveTerminal,
    OneWorkerMore,
    OneWorkerFewer,
    Reload,
}

/// The signals that are heard once the run can do what they ask.
const LATER: [Signal; 3] = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];

/// Returns the signals that would end a program, and are orders to this run.
pub(super) fn without_end(service: &Service) -> Vec<Signal> {
    let hangup = service.is_reloaded_by_hangup().then_some(Signal::SIGHUP);
    [Signal::SIGUSR1].into_iter().chain(hangup).collect()
}

/// Tells what a signal asks for. What a terminal does is `of_kernel`.
fn order_of(signal: Signal, is_of_kernel: bool) -> Option<SignalOrder> {
    match signal {
        Signal::SIGUSR1 => Some(SignalOrder::Report),
        Signal::SIGTSTP => Some(SignalOrder::StandStill),
        Signal::SIGTTIN | Signal::SIGTTOU if is_of_kernel => Some(SignalOrder::LeaveTerminal),
        Signal::SIGTTIN => Some(SignalOrder::OneWorkerMore),
        Signal::SIGTTOU => Some(SignalOrder::OneWorkerFewer),
        Signal::SIGHUP => Some(SignalOrder::Reload),
        _ => None,
    }
}

/// Returns `true` if the kernel has sent it of itself (sigaction(2), si_code).
fn is_of_kernel(info: &siginfo_t) -> bool {
    info.si_code > 0
}

/// Finds how the run stands; `None` if it has no workers any more.
pub(super) type Standing = Arc<dyn Fn() -> Result<Option<Value>, Error> + Send + Sync>;

/// The signals, caught from now on and waiting to be obeyed.
pub(super) struct SignalOrders(SignalsInfo<WithRawSiginfo>);

impl SignalOrders {
    /// Catches those that would end this process.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub(super) fn hear(service: &Service) -> io::Result<Self> {
        let orders = SignalOrders(SignalsInfo::new::<_, i32>([])?);
        let mut ending = without_end(service).into_iter();
        ending.try_for_each(|signal| orders.add(signal))?;
        Ok(orders)
    }

    /// Catches the others. Call it before there are workers: an earlier one stops this process
    /// alone.
    ///
    /// # Errors
    /// As [`hear`](Self::hear).
    pub(super) fn hear_all(&self) -> io::Result<()> {
        LATER.into_iter().try_for_each(|signal| self.add(signal))
    }

    /// Catches it, unless it was ignored when the program began.
    fn add(&self, signal: Signal) -> io::Result<()> {
        match signals::inherited().has(signal as i32) {
            true => Ok(()),
            false => self.0.add_signal(signal as i32),
        }
    }

    /// Obeys them, in a thread of its own.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn obey<T: 'static, R: 'static>(
        mut self,
        pool: &Arc<Supervisor<T, R>>,
        standing: Standing,
        service: &Service,
    ) -> io::Result<()> {
        let run = SteeredRun {
            // The thread must not keep the pool alive.
            pool: Arc::downgrade(pool),
            standing,
            service: service.clone(),
        };
        let listen = move || {
            let ours = LATER.into_iter().chain([Signal::SIGUSR1, Signal::SIGHUP]);
            let _ = SigSet::from_iter(ours).thread_unblock();
            for info in self.0.forever() {
                let signal = Signal::try_from(info.si_signo).ok();
                let order = signal.and_then(|signal| order_of(signal, is_of_kernel(&info)));
                if let Some(order) = order {
                    run.obey(order);
                }
            }
        };
        spawn("orders", listen)
    }
}

/// The run that is told what to do.
struct SteeredRun<T, R> {
    pool: Weak<Supervisor<T, R>>,
    standing: Standing,
    service: Service,
}

impl<T: 'static, R: 'static> SteeredRun<T, R> {
    fn obey(&self, order: SignalOrder) {
        match order {
            SignalOrder::Report => self.report(),
            SignalOrder::StandStill => job_control::stand_still(&self.pool),
            SignalOrder::LeaveTerminal => job_control::leave_terminal(&self.pool),
            SignalOrder::OneWorkerMore => self.scale("SIGTTIN", |workers| workers.checked_add(1)),
            SignalOrder::OneWorkerFewer => self.scale("SIGTTOU", |workers| match workers {
                0 | 1 => None,
                workers => Some(workers - 1),
            }),
            SignalOrder::Reload => self.reload(),
        }
    }

    /// Prints what `supervisor status` would.
    fn report(&self) {
        match (self.standing)() {
            Ok(Some(standing)) => {
                screen::say_in_time(status::page_of_run(&standing).trim_end().to_owned());
            }
            Ok(None) => {}
            Err(error) => screen::complain(&format_args!("SIGUSR1: {error}")),
        }
    }

    /// Changes the number of workers, without waiting for it.
    fn scale(&self, name: &str, change: impl Fn(usize) -> Option<usize>) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        let wanted = pool.status().wanted;
        let Some(workers) = change(wanted) else {
            screen::complain(&format_args!(
                "{name}: fewer workers than {wanted} are a matter of `supervisor scale 0` or `pause`"
            ));
            return;
        };
        match pool.scale_timeout(workers, Duration::ZERO) {
            Err(error) if !error.is_timeout() => {
                screen::complain(&format_args!("{name}: {error}"));
            }
            // The event says when it is so.
            Ok(()) | Err(_) => {}
        }
    }

    /// Replaces the workers, while signals are heard.
    fn reload(&self) {
        let (pool, service) = (self.pool.clone(), self.service.clone());
        let reload = move || {
            service.reloading();
            let end = pool.upgrade().map(|pool| pool.reload());
            if let Some(Err(error)) = end {
                screen::complain(&format_args!("SIGHUP: {error}"));
            }
            service.reloaded();
        };
        if let Err(error) = spawn("reload", reload) {
            screen::complain(&format_args!("SIGHUP: cannot start a thread: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_stops_a_run_and_a_person_scales_it() {
        let cases = [
            (Signal::SIGTTIN, true, SignalOrder::LeaveTerminal),
            (Signal::SIGTTOU, true, SignalOrder::LeaveTerminal),
            (Signal::SIGTTIN, false, SignalOrder::OneWorkerMore),
            (Signal::SIGTTOU, false, SignalOrder::OneWorkerFewer),
            (Signal::SIGTSTP, true, SignalOrder::StandStill),
            (Signal::SIGTSTP, false, SignalOrder::StandStill),
            (Signal::SIGUSR1, false, SignalOrder::Report),
            (Signal::SIGHUP, false, SignalOrder::Reload),
        ];
        for (signal, is_of_kernel, expected) in cases {
            assert_eq!(order_of(signal, is_of_kernel), Some(expected), "{signal}");
        }
        assert_eq!(order_of(Signal::SIGTERM, false), None);
    }
}
