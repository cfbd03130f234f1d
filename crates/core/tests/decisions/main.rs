//! The core's decisions, on a clock that is a number: scenarios, random runs against models, and
//! random lives in small worlds.

#[path = "../../../../tests/shared/trials.rs"]
mod trials;

mod child;
mod dispatcher;
mod forks;
mod ledger;
mod memory;
mod scaler;
mod steps;
mod watchdog;

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    let trials = [
        child::trials(),
        forks::trials(),
        scaler::trials(),
        dispatcher::trials(),
        dispatcher::loops::trials(),
        dispatcher::stream::trials(),
        ledger::trials(),
        ledger::admission::trials(),
        ledger::alone::trials(),
        ledger::batches::trials(),
        ledger::charges::trials(),
        ledger::copies::trials(),
        ledger::dependencies::trials(),
        ledger::ended::trials(),
        ledger::journal::trials(),
        ledger::order::trials(),
        ledger::pausing::trials(),
        ledger::rate::trials(),
        ledger::tokens::trials(),
        ledger::unique::trials(),
        memory::trials(),
        watchdog::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}
