//! Fast tests: the queue's semantics on every link, the command line, the house rules. Test
//! programs have a `main` of their own, because worker processes execute this file again.

#[path = "../shared/conformance.rs"]
mod conformance;
#[path = "../shared/deadline.rs"]
mod deadline;
#[path = "../shared/http.rs"]
mod http;
#[path = "../shared/run.rs"]
mod run;
#[path = "../shared/said.rs"]
mod said;
#[path = "../shared/timely.rs"]
mod timely;
#[path = "../shared/trials.rs"]
mod trials;

mod advice;
mod attached;
mod cli;
mod commands;
mod control;
mod controlled;
mod cookbook;
mod copies;
mod cpython;
mod journal;
mod limits;
mod manual;
mod observers;
mod pages;
mod pictures;
mod place;
mod threads;
mod tidy;
mod unique;
mod web;

fn main() {
    conformance::serve();
    let arguments = libtest_mimic::Arguments::from_args();
    let trials = [
        advice::trials(),
        attached::trials(),
        cli::trials(),
        commands::trials(),
        conformance::trials(),
        control::trials(),
        copies::trials(),
        cookbook::trials(),
        cookbook::recipes(),
        journal::trials(),
        cpython::trials(),
        limits::trials(),
        manual::trials(),
        pages::trials(),
        pictures::trials(),
        observers::trials(),
        threads::trials(),
        tidy::trials(),
        tidy::circles::trials(),
        tidy::examples::trials(),
        tidy::faces::trials(),
        tidy::layers::trials(),
        tidy::names::trials(),
        unique::trials(),
        web::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}
