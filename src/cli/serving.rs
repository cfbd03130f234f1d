//! The control socket of a run: its place, and the effect of an order to stop. It does not know the
//! requests.

use std::io::Write;
use std::process;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::args::ControlArgs;
use super::config::{Config, Purpose};
use super::event_json::object;
use super::exit_codes::RunError;
use super::stop::{Stop, StopCause};
use super::work::Work;
use super::workload::Workload;
use super::{opening, printer, screen, served, web};
use crate::control::unserved::hear_orders_of;
use crate::control::{Reserved, Unusable};
use crate::sys::threads::spawn;
use crate::{Control, Controlled, JoinableQueue, Supervisor};

/// Returns the name of the run.
pub(super) fn name(args: &ControlArgs) -> String {
    let own = || format!("run-{}", process::id());
    args.name.clone().unwrap_or_else(own)
}

/// Reserves the socket, before anything is started.
///
/// # Errors
/// The one that was asked for cannot be had, nor any for a queue that stays, which would be of no use.
/// Any other is done without, and that is said.
fn reserve(args: &ControlArgs, purpose: Purpose) -> Result<Option<Reserved>, RunError> {
    if args.no_control {
        return Ok(None);
    }
    let reserved = match (&args.control, &args.name) {
        (Some(path), _) => Reserved::at(path),
        (None, Some(name)) => Reserved::named(name),
        (None, None) => Reserved::named(&name(args)),
    };
    let is_of_name = |why: &Unusable| {
        args.name.is_some() && matches!(why, Unusable::InUse { .. } | Unusable::BadName { .. })
    };
    match reserved {
        Ok(reserved) => Ok(Some(reserved)),
        Err(why) if args.control.is_some() => Err(RunError::Usage(format!("--control {why}"))),
        Err(why) if is_of_name(&why) => Err(RunError::Usage(format!("--name {why}"))),
        Err(why) if purpose == Purpose::Serve => Err(RunError::Usage(format!(
            "this queue cannot be asked by anybody: {why}"
        ))),
        Err(why) => {
            screen::complain(&format_args!(
                "this run cannot be asked from outside: {why}; --no-control does without that"
            ));
            Ok(None)
        }
    }
}

/// Reserves the socket, and opens the queue that is to be served there.
pub(super) fn open_queue<W: Work>(
    config: &Config,
    work: &W,
) -> Result<JoinableQueue<W::Item>, RunError> {
    let reserved = reserve(&config.control, config.purpose)?;
    let queue = opening::open(config, work)?;
    if let Some(mut reserved) = reserved {
        reserved.announce(&queue);
        served::reserve(reserved);
    }
    Ok(queue)
}

/// Describes the run to whoever asks for it.
pub(super) fn controlled<W: Work>(
    work: &W,
    queue: &JoinableQueue<W::Item>,
    pool: &Arc<Supervisor<W::Item, W::Outcome>>,
    stop: &Stop,
    workload: &Workload,
) -> Arc<Controlled<W::Item, W::Outcome>> {
    let (stop, of_run, words) = (stop.clone(), Arc::downgrade(pool), work.words());
    let (expected, before) = (workload.expected.clone(), workload.before);
    let total = expected.clone();
    let end_run = move |is_at_once: bool| {
        if is_at_once {
            stop.hurry();
            printer::say_stopping_at_once();
        }
        // In a thread of its own, because the end of the process waits for the answer to this.
        let hear = || {
            let stop = stop.clone();
            spawn("stop", move || stop.hear(StopCause::Request))
        };
        if hear().is_err() {
            stop.break_off();
        }
        let Some(pool) = of_run.upgrade() else {
            return;
        };
        if is_at_once {
            pool.kill();
            // Without a thread, the first one ends the process as well, if later.
            let _ = hear();
        } else {
            pool.stop();
        }
    };
    let controlled = Controlled::new(queue, pool)
        .read_items(work.reader())
        .write_items(work.writer())
        .with_outputs(work.outputs())
        .of_commands(work.takes_commands())
        .refuse_puts(work.refuses_puts())
        .on_stop(end_run)
        .ending_process()
        .on_put(move |count| expected.add(count))
        .expecting(before, move || total.total(before.accepted))
        .events_as(move |event| object(event, words.steps.as_ref()));
    Arc::new(controlled)
}

/// Begins to serve, and tells whoever waits for it.
pub(super) fn start<T, R>(
    controlled: &Arc<Controlled<T, R>>,
    config: &Config,
) -> Result<(), RunError>
where
    T: Serialize + DeserializeOwned + 'static,
    R: 'static,
{
    let page = &config.control.page;
    let is_served = served::begin(|reserved| {
        let control = Control::serve_reserved(reserved, Arc::clone(controlled))?;
        let page = web::serve_own(page, Some(control.path()))?;
        Ok::<_, RunError>((page, control))
    });
    if !is_served? {
        web::serve_own(page, None)?;
        hear_orders_of(&name(&config.control), controlled);
    }
    tell_ready(config);
    Ok(())
}

/// Tells whoever has started this run, and waits for it, that it can be asked.
fn tell_ready(config: &Config) {
    if let Some(mut ready) = config.ready.as_ref() {
        // Whoever waited for it may be gone.
        let _ = ready.write_all(READY);
    }
}

/// The word of a detached run that it can be asked.
pub(super) const READY: &[u8] = b"ready\n";
