//! Tells those who ask for it when this worker process is asked to end. It does not know what they
//! do then.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::sys::threads;

/// Something that ends with the worker's work.
pub(crate) trait Stoppable: Send + Sync {
    /// Is called once, when the worker is asked to end, or is made after that. It may block.
    fn stop(&self);
}

#[derive(Default)]
struct Stopping {
    has_begun: bool,
    hearers: Vec<Weak<dyn Stoppable>>,
}

static STOPPING: Mutex<Stopping> = Mutex::new(Stopping {
    has_begun: false,
    hearers: Vec::new(),
});

/// Tells this one when the worker is asked to end, as long as it is there.
pub(crate) fn tell(hearer: &Arc<impl Stoppable + 'static>) {
    let mut stopping = STOPPING.lock();
    if stopping.has_begun {
        drop(stopping);
        return hearer.stop();
    }
    stopping.hearers.retain(|one| one.strong_count() > 0);
    let hearer = Arc::clone(hearer) as Arc<dyn Stoppable>;
    stopping.hearers.push(Arc::downgrade(&hearer));
}

/// Notes that the worker is asked to end, and tells all once, in a thread of its own.
pub(super) fn begin() {
    let mut stopping = STOPPING.lock();
    if std::mem::replace(&mut stopping.has_begun, true) {
        return;
    }
    let hearers = std::mem::take(&mut stopping.hearers);
    drop(stopping);
    if hearers.is_empty() {
        return;
    }
    // Without a thread they are not told, and the worker is ended when its time is over.
    let _ = threads::spawn("stopping", move || {
        let hearers = hearers.iter().filter_map(Weak::upgrade);
        hearers.for_each(|one| one.stop());
    });
}
