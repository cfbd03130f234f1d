//! Tests against real Redis servers of their own. They wait for events, never for a time.

#[path = "../shared/cells.rs"]
mod cells;
#[path = "../shared/certificate.rs"]
mod certificate;
#[cfg(feature = "otlp")]
#[path = "../shared/collector.rs"]
mod collector;
#[path = "../shared/conformance.rs"]
mod conformance;
#[path = "../shared/deadline.rs"]
mod deadline;
#[path = "../shared/dependants.rs"]
mod dependants;
#[cfg(feature = "failpoints")]
#[path = "../shared/points.rs"]
mod points;
#[path = "../shared/port.rs"]
mod port;
#[path = "../shared/proxy.rs"]
mod proxy;
#[path = "../shared/pty.rs"]
mod pty;
#[path = "../shared/redis_server.rs"]
mod redis_server;
#[path = "../shared/resp.rs"]
mod resp;
#[path = "../shared/said.rs"]
mod said;
#[path = "../shared/timely.rs"]
mod timely;
#[path = "../shared/trials.rs"]
mod trials;

mod cli;
#[cfg(feature = "failpoints")]
mod contradictions;
mod endurance;
mod faults;
mod harness;
mod hosts;
#[cfg(feature = "failpoints")]
mod kill_points;
mod model;
mod page;
mod place;

/// The variable with the play that this executable gives instead of its tests.
const PLAY: &str = "DISHRACK_TEST_PLAY";

fn main() {
    match std::env::var(PLAY).as_deref() {
        Ok(harness::PLAY) => return harness::play(),
        Ok(faults::puppet::PLAY) => return faults::puppet::play(),
        Ok(endurance::PLAY) => return endurance::play(),
        #[cfg(feature = "failpoints")]
        Ok(kill_points::PLAY) => return kill_points::play(),
        _ => {}
    }
    conformance::serve();
    let arguments = libtest_mimic::Arguments::from_args();
    let trials = [
        cli::dead::trials(),
        cli::giving_up::trials(),
        cli::items::trials(),
        cli::orders::trials(),
        #[cfg(feature = "otlp")]
        cli::otlp::trials(),
        cli::putting::trials(),
        cli::refusals::trials(),
        cli::shown::trials(),
        cli::standing::trials(),
        cli::stopping::trials(),
        cli::top::trials(),
        cli::web::trials(),
        cli::working::trials(),
        conformance::trials(),
        #[cfg(feature = "failpoints")]
        contradictions::trials(),
        faults::trials(),
        endurance::trials(),
        harness::trials(),
        #[cfg(feature = "failpoints")]
        kill_points::trials(),
        #[cfg(feature = "failpoints")]
        kill_points::orders::trials(),
        model::trials(),
        hosts::where_possible(harness::hosts::trials()),
        harness::proxy::trials(),
        page::trials(),
    ];
    let conclusion = libtest_mimic::run(&arguments, trials.into_iter().flatten().collect());
    place::end();
    conclusion.exit();
}
