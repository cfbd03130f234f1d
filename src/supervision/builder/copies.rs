//! The options of a supervisor for several copies of each item, and what they need. The rules are
//! in `dishrack_core::ledger`.

use std::any::type_name;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::Builder;
use super::limits::RUNS_ONCE;
use crate::broker::{Broker, Comparison, NONE_ON_A_STREAM};
use crate::error::Kind;
use crate::handler::attempt::decode;
use dishrack_core::ledger::{Cause, Copies};

/// Makes the comparison of results by this function.
fn comparison_of<R: DeserializeOwned + fmt::Debug>(
    agree: impl Fn(&R, &R) -> bool + Send + Sync + 'static,
) -> Comparison {
    Comparison {
        agree: Box::new(move |one, other| match (decode(one), decode(other)) {
            (Ok(one), Ok(other)) => agree(&one, &other),
            _ => false,
        }),
        describe: Box::new(|result| match decode::<R>(result) {
            Ok(result) => format!("{result:?}"),
            Err(cause) => cause.to_string(),
        }),
        failing: None,
    }
}

impl Builder {
    /// Has each item of the queue run by several workers at once, from now on, unless it
    /// [chooses for itself](crate::JoinableQueue::put_with).
    ///
    /// [`Copies::first`] is against workers that die or hang: the first copy that is done counts,
    /// and the others are ended as [`cancel`](crate::JoinableQueue::cancel) ends an item. A copy
    /// that fails does not fail the item while another one runs; the attempt is over when all
    /// copies are. With [`Copies::hedge_after`] the second copy is made only where the first one takes
    /// long. [`Copies::agree`] is against wrong results: one counts when so many copies have come
    /// to it, byte for byte or as [`compare`](Self::compare) says. No agreement is a failed attempt
    /// whose cause says what each worker said.
    ///
    /// Items with copies are handed out one by one, to workers that are idle, and no worker has two
    /// copies of one item. All that a copy does beside its result happens several times, and at the
    /// same time: handlers that write to one file, or charge one account, must not be run twice at
    /// once. An item's copies are one item in all counts; attempts, a back-off and the journal know
    /// only the attempt.
    ///
    /// A time limit and [`max_tasks_per_worker`](Self::max_tasks_per_worker) are for each copy. A
    /// thread cannot be ended, so a copy that is not needed any more goes on there, and its worker
    /// is busy until it is over.
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{Copies, JoinableQueue, Supervisor};
    ///
    /// let rack = JoinableQueue::unbounded();
    /// let pool = Supervisor::builder()
    ///     .threads(3)
    ///     .copies(Copies::agree(2, 3))
    ///     .handler(&rack, |n: u32| Ok::<u32, String>(n * n))?;
    /// let squares: Result<Vec<u32>, _> = pool.map(1..=4).collect();
    /// assert_eq!(squares.unwrap(), [1, 4, 9, 16]);
    /// assert_eq!(rack.join()?.done, 4);
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    #[must_use]
    pub fn copies(mut self, copies: Copies) -> Self {
        self.copies = Some(copies);
        self
    }

    /// Compares the results of copies by this function, rather than byte for byte: for results that
    /// are right within bounds. It is asked with the queue's lock held, so it must be quick; where
    /// it panics, two results do not agree.
    ///
    /// # Example
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// use dishrack::{Copies, JoinableQueue, Supervisor};
    ///
    /// let noise = AtomicU32::new(0);
    /// let rack = JoinableQueue::unbounded();
    /// let scales = Supervisor::builder()
    ///     .threads(2)
    ///     .copies(Copies::agree(2, 2))
    ///     .compare(|one: &f64, other: &f64| (one - other).abs() < 0.1)
    ///     .handler(&rack, move |grams: f64| {
    ///         let noise = f64::from(noise.fetch_add(1, Ordering::Relaxed));
    ///         Ok::<f64, String>(grams + noise / 1000.0)
    ///     })?;
    /// let weight = scales.map([250.0]).next().unwrap().unwrap();
    /// assert!((weight - 250.0).abs() < 0.1);
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    #[must_use]
    pub fn compare<R: DeserializeOwned + fmt::Debug + 'static>(
        mut self,
        agree: impl Fn(&R, &R) -> bool + Send + Sync + 'static,
    ) -> Self {
        let comparison = comparison_of(agree);
        self.comparison = Some((type_name::<R>(), Arc::new(comparison)));
        self
    }

    /// Compares results byte for byte, of which some say that the attempt has failed.
    pub(crate) fn compare_ends<R>(
        mut self,
        failing: impl Fn(R) -> Option<Cause> + Send + Sync + 'static,
    ) -> Self
    where
        R: DeserializeOwned + fmt::Debug + PartialEq + 'static,
    {
        let comparison = Comparison {
            failing: Some(Box::new(move |result| failing(decode::<R>(result).ok()?))),
            ..comparison_of(|one: &R, other: &R| one == other)
        };
        self.comparison = Some((type_name::<R>(), Arc::new(comparison)));
        self
    }

    /// Checks that these workers can run the copies that are asked for; `result` is the type of
    /// their results, if they have some.
    pub(super) fn check_copies(
        &self,
        broker: &Broker,
        result: Option<&'static str>,
    ) -> Result<(), Kind> {
        let of_queue = broker.read(|core| core.dispatcher.ledger.policy());
        if let Some((compared, _)) = &self.comparison
            && result != Some(compared)
        {
            let result = result.unwrap_or("nothing");
            let why = format!("compares {compared}, and a worker's result is {result}");
            return Err(Kind::invalid("compare", why));
        }
        let Some(copies) = self.copies.or(of_queue) else {
            return Ok(());
        };
        if broker.storage.shared().is_some() {
            return Err(Kind::invalid("copies", NONE_ON_A_STREAM));
        }
        let are_allowed = broker.read(|core| core.dispatcher.ledger.allows_copies());
        if self.copies.is_some() && copies.count() > 1 && !are_allowed {
            return Err(Kind::invalid("copies", RUNS_ONCE));
        }
        let needed = copies.needed();
        if needed > 1 && result.is_none() {
            let why = "must agree on a result, and a loop of get and task_done has none: use a \
                       handler";
            return Err(Kind::invalid("copies", why));
        }
        // Several supervisors may serve a queue.
        let workers = broker.read(|core| core.workers()) + self.workers;
        if self.copies.is_some() && workers < needed as usize {
            let why =
                format!("{needed} of them must agree, and no more than {workers} can be made");
            return Err(Kind::invalid("copies", why));
        }
        Ok(())
    }

    pub(super) fn choose_copies(&self, broker: &Broker) {
        if let Some(copies) = self.copies {
            broker.with(|core| core.set_copies(copies));
        }
        if let Some((_, comparison)) = &self.comparison {
            broker.with(|core| core.set_comparison(Arc::clone(comparison)));
        }
    }
}
