//! One join over several queues, between which items move. It does not know how one queue is joined.

use std::time::{Duration, Instant};

use super::{JoinableQueue, Joined};
use crate::broker::Deadline;
use crate::error::Error;

/// A queue of whatever items, to be joined with others by [`join_all`]. Only this crate's queues are.
///
/// # Example
///
/// ```
/// use dishrack::{AnyQueue, JoinableQueue, join_all};
///
/// let (names, numbers) = (JoinableQueue::<String>::unbounded(), JoinableQueue::<u64>::unbounded());
/// let queues: [&dyn AnyQueue; 2] = [&names, &numbers];
/// numbers.put(&7)?;
/// numbers.get()?.task_done()?;
/// let joined = join_all(&queues)?;
/// assert_eq!((joined[0].done, joined[1].done), (0, 1));
/// # Ok::<(), dishrack::Error>(())
/// ```
pub trait AnyQueue: sealed::Join {}

impl<T> AnyQueue for JoinableQueue<T> {}

mod sealed {
    use super::{Error, Instant, Joined};

    pub trait Join {
        fn join_until(&self, until: Option<Instant>) -> Result<Joined, Error>;
    }
}

impl<T> sealed::Join for JoinableQueue<T> {
    fn join_until(&self, until: Option<Instant>) -> Result<Joined, Error> {
        self.join_with(until.map_or(Deadline::Forever, Deadline::Until))
    }
}

/// Waits until every item of all these queues is done or a dead letter, at one moment, and returns the
/// counts of each. So no item is missed that moves from queue to queue, in whatever direction, as long
/// as whoever works on it puts it on the next queue before it acknowledges it on this one.
///
/// The queues are joined one after the other, again and again, until none of them has ended an item
/// since it was joined before: then there was a moment between the two at which all of them were
/// finished, and nothing that could put more was under way.
///
/// # Errors
/// As [`join`](JoinableQueue::join) of any of them.
///
/// # Example
///
/// ```
/// use dishrack::{JoinableQueue, Supervisor, join_all};
///
/// let (wet, dry) = (JoinableQueue::unbounded(), JoinableQueue::unbounded());
/// let next = dry.clone();
/// let dryers = Supervisor::builder().threads(2).handler(&wet, move |dish: String| {
///     next.put(&dish).map(drop)
/// })?;
/// let stackers = Supervisor::builder().threads(1).handler(&dry, |_: String| Ok::<(), String>(()))?;
/// wet.put_many(["cup", "plate", "bowl"].map(String::from)).into_result()?;
/// let joined = join_all(&[&wet, &dry])?;
/// assert_eq!((joined[0].done, joined[1].done), (3, 3));
/// # Ok::<(), dishrack::Error>(())
/// ```
pub fn join_all(queues: &[&dyn AnyQueue]) -> Result<Vec<Joined>, Error> {
    join_all_until(queues, None)
}

/// Waits as [`join_all`] does, at most this long.
///
/// # Errors
/// As [`join_timeout`](JoinableQueue::join_timeout) of any of them.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use dishrack::{JoinableQueue, Supervisor, join_all_timeout};
///
/// let (wet, dry) = (JoinableQueue::unbounded(), JoinableQueue::<String>::unbounded());
/// let next = dry.clone();
/// let pool = Supervisor::builder().threads(1).handler(&wet, move |dish: String| next.put(&dish).map(drop))?;
/// wet.put("cup")?;
/// // Nobody takes it from the second queue.
/// let late = join_all_timeout(&[&wet, &dry], Duration::from_millis(5));
/// assert!(late.is_err_and(|error| error.is_timeout()));
/// # Ok::<(), dishrack::Error>(())
/// ```
pub fn join_all_timeout(queues: &[&dyn AnyQueue], time: Duration) -> Result<Vec<Joined>, Error> {
    // A time that is too long for the clock never ends.
    join_all_until(queues, Instant::now().checked_add(time))
}

fn join_all_until(queues: &[&dyn AnyQueue], until: Option<Instant>) -> Result<Vec<Joined>, Error> {
    let mut before = None;
    loop {
        let joined = queues.iter().map(|queue| queue.join_until(until));
        let joined = joined.collect::<Result<Vec<_>, _>>()?;
        if before.as_ref() == Some(&joined) {
            return Ok(joined);
        }
        before = Some(joined);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::supervision::Supervisor;

    type Queue = JoinableQueue<u64>;

    /// Each item goes back and forth until nothing is left of it.
    #[test]
    fn no_item_is_missed_that_goes_back_and_forth() {
        for round in 0..20 {
            let (one, other) = (Queue::unbounded(), Queue::unbounded());
            let steps = Arc::new(AtomicU64::new(0));
            let pool = |from: &Queue, to: &Queue| {
                let (to, steps) = (to.clone(), Arc::clone(&steps));
                let builder = Supervisor::builder().threads(2);
                builder.handler(from, move |left: u64| {
                    steps.fetch_add(1, Ordering::Relaxed);
                    match left {
                        0 => Ok(()),
                        _ => to.put(&(left - 1)).map(drop),
                    }
                })
            };
            let _pools = [pool(&one, &other).unwrap(), pool(&other, &one).unwrap()];
            one.put_many([30; 7]).into_result().unwrap();
            // In either order.
            let joined = match round % 2 {
                0 => join_all(&[&one, &other]).unwrap(),
                _ => join_all(&[&other, &one]).unwrap(),
            };
            assert_eq!(steps.load(Ordering::Relaxed), 7 * 31);
            assert_eq!(joined.iter().map(|one| one.done).sum::<u64>(), 7 * 31);
        }
    }

    #[test]
    fn the_time_given_is_for_all_of_them() {
        let (one, other) = (Queue::unbounded(), Queue::unbounded());
        assert_eq!(join_all(&[&one, &other]).unwrap().len(), 2);
        other.put(&1).unwrap();
        let time = Duration::from_millis(1);
        assert!(
            join_all_timeout(&[&one, &other], time)
                .unwrap_err()
                .is_timeout()
        );
        assert_eq!(join_all(&[]).unwrap(), []);
    }
}
