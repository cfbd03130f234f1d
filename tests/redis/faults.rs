//! What becomes of a queue on Redis when something fails: networks, servers, supervisors, items.

mod stage;
pub(crate) mod puppet;

mod cuts;
mod lost;
mod refusals;
mod restarts;
mod supervisors;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [
        cuts::trials(),
        lost::trials(),
        refusals::trials(),
        restarts::trials(),
        supervisors::trials(),
    ];
    trials.into_iter().flatten().collect()
}
