//! What becomes of a queue on Redis when something fails: networks, servers, supervisors, items.

pub(crate) mod puppet;
mod stage;

mod cuts;
mod losses;
mod lost;
mod memory;
mod refusals;
mod restarts;
mod slow;
mod strangers;
mod supervisors;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [
        cuts::trials(),
        losses::trials(),
        lost::trials(),
        memory::trials(),
        refusals::trials(),
        restarts::trials(),
        slow::trials(),
        strangers::trials(),
        supervisors::trials(),
    ];
    trials.into_iter().flatten().collect()
}
