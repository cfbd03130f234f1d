//! Tests with real worker processes, one file for each scenario. They wait for events, never for a
//! time: a deadline only ends a test that hangs.

#[path = "../shared/cells.rs"]
mod cells;
#[cfg(feature = "otlp")]
#[path = "../shared/collector.rs"]
mod collector;
#[path = "../shared/deadline.rs"]
mod deadline;
#[path = "../shared/http.rs"]
mod http;
#[cfg(feature = "failpoints")]
#[path = "../shared/points.rs"]
mod points;
#[path = "../shared/pty.rs"]
mod pty;
#[path = "../shared/run.rs"]
mod run;
#[path = "../shared/said.rs"]
mod said;
#[path = "../shared/timely.rs"]
mod timely;
#[path = "../shared/trials.rs"]
mod trials;

mod adopted;
mod any_queue;
mod boot;
mod commands;
#[cfg(feature = "failpoints")]
mod contradictions;
mod control;
mod copies;
mod cpython;
mod endurance;
mod fork_server;
mod job_control;
mod journal;
#[cfg(feature = "failpoints")]
mod kill_points;
mod kills;
mod large;
mod limits;
mod logs;
mod loops;
mod memory;
mod million;
mod nine_failures;
mod orphans;
#[cfg(feature = "otlp")]
mod otlp;
mod place;
mod program;
mod progress;
mod reliance;
mod roles;
mod scale;
mod scaling;
mod schedules;
mod serve;
mod service;
mod setup;
mod signals;
mod steering;
#[cfg(feature = "failpoints")]
mod stop_points;
mod strangers;
mod submit;
mod support;
mod terminal;
mod titles;
mod top;
mod web;

#[path = "../../examples/attach.rs"]
mod attach;
#[path = "../../examples/kitchen_line.rs"]
mod kitchen_line;

fn main() {
    match support::play().as_deref() {
        // They serve themselves.
        Some(any_queue::LINE) => return kitchen_line::main().unwrap(),
        Some(any_queue::ATTACH) => return attach::main().unwrap(),
        Some(commands::room::GROWS) => return commands::room::grow(),
        #[cfg(feature = "failpoints")]
        Some(contradictions::panics::OWNER) => return contradictions::panics::play_owner(),
        _ => {}
    }
    roles::before_serving();
    roles::serve();
    if let Some(play) = support::play() {
        #[cfg(feature = "failpoints")]
        if play == kill_points::PLAY {
            return kill_points::play();
        }
        roles::play(&play);
        return;
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let trials = [
        adopted::trials(),
        any_queue::trials(),
        boot::trials(),
        commands::trials(),
        #[cfg(feature = "failpoints")]
        contradictions::all(),
        control::trials(),
        control::crowded(),
        copies::trials(),
        cpython::trials(),
        endurance::trials(),
        fork_server::trials(),
        job_control::trials(),
        journal::trials(),
        #[cfg(feature = "failpoints")]
        kill_points::trials(),
        kills::trials(),
        large::trials(),
        limits::trials(),
        loops::trials(),
        logs::trials(),
        memory::trials(),
        million::trials(),
        nine_failures::trials(),
        orphans::trials(),
        #[cfg(feature = "otlp")]
        otlp::trials(),
        program::trials(),
        progress::trials(),
        reliance::trials(),
        scale::trials(),
        scaling::trials(),
        schedules::trials(),
        serve::trials(),
        service::trials(),
        setup::trials(),
        signals::trials(),
        steering::trials(),
        #[cfg(feature = "failpoints")]
        stop_points::trials(),
        strangers::trials(),
        submit::trials(),
        titles::trials(),
        top::trials(),
        web::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}
