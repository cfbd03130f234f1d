//! The page in a real browser: each page at two sizes, light and dark, without a message on the console and
//! without serious findings of axe-core; and each action, with its effect seen over the control API.
//!
//! It needs chromium with chromedriver, and axe-core of npm, which `tests/run` installs. Pictures of all
//! pages are left in `target/web/shots`. A stream needs `redis-server`.

#[path = "../shared/certificate.rs"]
mod certificate;
#[path = "../shared/deadline.rs"]
#[allow(dead_code, reason = "each suite uses what it needs")]
mod deadline;
#[path = "../shared/dependants.rs"]
mod dependants;
#[path = "../shared/http.rs"]
#[allow(dead_code, reason = "each suite uses what it needs")]
mod http;
#[path = "../shared/port.rs"]
mod port;
#[path = "../shared/redis_server.rs"]
mod redis_server;
#[path = "../shared/trials.rs"]
mod trials;

mod acting;
mod browser;
mod hostile;
mod looking;
mod scraped;
mod several;
mod shown;
mod streamed;
mod streams;

use std::process::Command;

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    let mut trials = Vec::new();
    if is_here("chromedriver") {
        trials.extend(acting::trials());
        trials.extend(hostile::trials());
        trials.extend(looking::trials());
        trials.extend(several::trials());
        if is_here("redis-server") {
            trials.extend(looking::trials_of_streams());
            trials.extend(streams::trials());
        }
    }
    if is_here("prometheus") {
        trials.extend(scraped::trials());
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Says something to whoever runs the tests.
#[allow(clippy::print_stderr, reason = "a test has nobody else to tell")]
fn tell(words: &str) {
    eprintln!("{words}");
}

/// Returns `true` if a program is here. What it is needed for is left out otherwise, and that is said.
fn is_here(program: &str) -> bool {
    let is_here = Command::new(program).arg("--version").output().is_ok();
    if !is_here {
        tell(&format!(
            "{program} is not here, so what needs it is not tried"
        ));
    }
    is_here
}
