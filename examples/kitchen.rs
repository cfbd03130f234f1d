//! The chapter's kitchen as a program that uses the library: a washer here, two dryer processes.

use dishrack::{JoinableQueue, Supervisor};

/// Runs in a worker process, once for each dish. Its return is the acknowledgement.
fn dry(dish: String) -> Result<String, String> {
    dishrack::describe(format_args!("drying {dish}"));
    Ok(format!(
        "{dish} is dry, says process {}",
        std::process::id()
    ))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // It comes first: in a worker process it serves, and never returns.
    dishrack::serve(|roles| roles.handler(dry));

    let rack = JoinableQueue::bounded(10);
    let dryers = Supervisor::builder()
        .processes(2)
        .name("dryer")
        .handler(&rack, dry)?;
    for result in dryers.map((1..=4).map(|n| format!("dish-{n}"))) {
        writeln_out(&result?);
    }
    let joined = rack.join()?;
    writeln_out(&format!("{} done, {} dead", joined.done, joined.dead));
    Ok(())
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn writeln_out(line: &str) {
    println!("{line}");
}
