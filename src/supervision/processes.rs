//! Worker processes, as their program sees them: a thread that supervises, and ways to end it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use parking_lot::Mutex;

use super::notes::{Note, NoteSender};
use super::pool::Pool;
use super::reap::Reaper;
use super::status::{Roster, RunState};
use super::watch::{ProcessPlan, Watch};
use super::{PoolStatus, WorkerInfo};
use super::{changes, limits};
use crate::broker::{Broker, Deadline};
use crate::error::Kind;
use crate::sys::signals;

#[derive(Debug)]
pub(super) struct ProcessPool {
    notes: NoteSender,
    thread: Mutex<Option<JoinHandle<()>>>,
    over: crossbeam_channel::Receiver<()>,
    broker: Arc<Broker>,
    roster: Roster,
}

impl ProcessPool {
    pub(super) fn start(mut plan: ProcessPlan, broker: &Arc<Broker>) -> Result<Self, Kind> {
        plan.launch.journal = broker.process_mark();
        let reaper = Reaper::new().map_err(Kind::io("making an epoll"))?;
        let (sender, notes) = NoteSender::channel(reaper.waker());
        let roster = Roster::default();
        // Nothing is sent: the channel's end says that the thread is over.
        let (alive, over) = crossbeam_channel::bounded(0);
        let workers = plan.workers;
        broker.with(|core| core.pool_began(workers));
        let inbox = (sender.clone(), notes);
        let mut watch = Watch::new(plan, Arc::clone(broker), reaper, inbox, roster.clone());
        let (guard, kept) = (broker.guard(), roster.clone());
        let thread = std::thread::Builder::new()
            .name("dishrack-watch".into())
            .spawn(move || {
                signals::block_all();
                let mut is_over = false;
                guard.run(|| {
                    watch.run();
                    is_over = true;
                });
                // After a panic it is dropped only here, so that who waits for a change of workers hears
                // of that first.
                if is_over {
                    guard.run(|| watch.end());
                }
                kept.with(|roster| roster.state = RunState::Over);
                drop(alive);
            });
        match thread {
            Ok(thread) => Ok(ProcessPool {
                notes: sender,
                thread: Mutex::new(Some(thread)),
                over,
                broker: Arc::clone(broker),
                roster,
            }),
            Err(error) => {
                broker.with(|core| {
                    core.pool_ended("they could not be started", true);
                    core.workers_change(0, workers);
                });
                Err(Kind::io("starting the supervising thread")(error))
            }
        }
    }

    fn wait(&self) {
        // Disconnected, as nothing is ever sent.
        let _ = self.over.recv();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // A panic there has ended the queue.
            let _ = thread.join();
        }
    }
}

impl Pool for ProcessPool {
    fn stop(&self) {
        self.notes.post(Note::Stop);
        self.wait();
    }

    fn drain(&self) {
        self.notes.post(Note::Drain);
        self.wait();
    }

    fn kill(&self) {
        self.notes.post(Note::Kill);
        self.wait();
    }

    fn suspend(&self) {
        let (told, is_told) = crossbeam_channel::bounded(0);
        self.notes.post(Note::Suspend(told));
        // Disconnected, as nothing is ever sent; also where the thread is over.
        let _ = is_told.recv();
    }

    fn resume(&self) {
        self.notes.post(Note::Resume);
    }

    fn is_responsive(&self, time: Duration) -> bool {
        let (told, is_told) = crossbeam_channel::bounded(0);
        self.notes.post(Note::Answer(told));
        // Disconnected, as nothing is ever sent; also where the thread is over.
        is_told.recv_timeout(time) != Err(RecvTimeoutError::Timeout)
    }

    fn close_context_files(&self) {
        self.notes.post(Note::CloseContextFiles);
    }

    fn reap_orphans(&self) {
        self.notes.wake();
    }

    fn scale(&self, workers: usize, deadline: Deadline) -> Result<(), Kind> {
        let now = self.roster.with(|roster| roster.entries.len());
        limits::check_scale(workers)?;
        limits::provide_files(workers.saturating_sub(now))?;
        let (told, end) = crossbeam_channel::bounded(1);
        // Whoever asks for one more next counts from this number.
        self.roster.with(|roster| match roster.state {
            RunState::Running => roster.wanted = workers,
            RunState::Draining | RunState::Stopping | RunState::Over => {}
        });
        self.notes.post(Note::Scale { workers, told });
        changes::wait("the number of workers", &end, deadline, &self.broker)
    }

    fn reload(&self, deadline: Deadline) -> Result<(), Kind> {
        // There is one more worker for a while.
        limits::provide_files(1)?;
        let (told, end) = crossbeam_channel::bounded(1);
        self.notes.post(Note::Reload { told });
        changes::wait("the workers", &end, deadline, &self.broker)
    }

    fn end_worker(&self, name: &str) -> Result<(), Kind> {
        let (told, end) = crossbeam_channel::bounded(1);
        let name = name.to_owned();
        self.notes.post(Note::End { name, told });
        changes::wait("the worker", &end, Deadline::Forever, &self.broker)
    }

    fn replace_worker(&self, name: &str) -> Result<(), Kind> {
        // There is one more worker for a while.
        limits::provide_files(1)?;
        let (told, end) = crossbeam_channel::bounded(1);
        let name = name.to_owned();
        self.notes.post(Note::Replace { name, told });
        changes::wait("the worker", &end, Deadline::Forever, &self.broker)
    }

    fn workers(&self) -> Vec<WorkerInfo> {
        self.roster.ready(&self.broker)
    }

    fn wait_until_over(&self, deadline: Deadline) -> bool {
        self.roster.wait_until_over(deadline)
    }

    fn wait_until_started(&self, deadline: Deadline) -> bool {
        self.roster.wait_until_started(deadline)
    }

    fn status(&self) -> PoolStatus {
        self.roster.status(&self.broker)
    }
}
