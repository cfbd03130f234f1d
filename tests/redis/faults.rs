//! A queue on Redis under faults of networks, servers, supervisors, and items.

pub(crate) mod puppet;
pub(crate) mod stage;

mod cuts;
mod everything;
mod failover;
mod hosts;
mod idle;
mod keepers;
mod losses;
mod lost;
mod memory;
mod others;
mod quiet;
mod refusals;
mod restarts;
mod sharing;
mod slow;
mod strangers;
mod supervisors;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [
        cuts::trials(),
        everything::trials(),
        failover::trials(),
        crate::hosts::where_possible(hosts::trials()),
        idle::trials(),
        keepers::trials(),
        losses::trials(),
        lost::trials(),
        memory::trials(),
        others::trials(),
        quiet::trials(),
        refusals::trials(),
        restarts::trials(),
        sharing::trials(),
        slow::trials(),
        strangers::trials(),
        supervisors::trials(),
    ];
    trials.into_iter().flatten().collect()
}
