//! A line of three kinds of worker processes: washers, dryers and stackers, with a queue between two of
//! them. Each pool is given the queue that comes after its own, and one join waits for all.

use std::sync::OnceLock;

use dishrack::{JoinableQueue, Supervisor, join_all};

type Rack = JoinableQueue<String>;

/// Returns the rack that comes after this worker's own: the pool's context is its handle.
fn next_rack() -> Result<&'static Rack, String> {
    static NEXT: OnceLock<Option<Rack>> = OnceLock::new();
    let next = NEXT.get_or_init(dishrack::context);
    next.as_ref().ok_or_else(|| "no rack was given".into())
}

/// Washes a dish and puts it on the next rack. Only then it is done here, so no join can miss it.
fn wash(dish: String) -> Result<(), String> {
    let washed = format!("{dish}, washed by {}", std::process::id());
    let put = next_rack()?.put(&washed);
    put.map(drop).map_err(|error| error.to_string())
}

fn dry(dish: String) -> Result<(), String> {
    let dried = format!("{dish}, dried by {}", std::process::id());
    let put = next_rack()?.put(&dried);
    put.map(drop).map_err(|error| error.to_string())
}

fn stack(dish: String) -> Result<(), String> {
    writeln_out(&format!("{dish}, stacked by {}", std::process::id()));
    Ok(())
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    // It comes first: in a worker process it serves, and never returns.
    dishrack::serve(|roles| {
        roles.handler(wash);
        roles.handler(dry);
        roles.handler(stack);
    });

    let dirty = Rack::unbounded();
    // A washer waits while so many dishes are wet.
    let (wet, dry_ones) = (Rack::bounded(4), Rack::bounded(4));
    let crew = |name: &str, count| Supervisor::builder().processes(count).name(name);
    let _washers = crew("washer", 2).context(&wet)?.handler(&dirty, wash)?;
    let _dryers = crew("dryer", 2).context(&dry_ones)?.handler(&wet, dry)?;
    let _stackers = crew("stacker", 1).handler(&dry_ones, stack)?;

    for n in 1..=12 {
        dirty.put(&format!("dish-{n}"))?;
    }
    let joined = join_all(&[&dirty, &wet, &dry_ones])?;
    let [washed, dried, stacked] = [0, 1, 2].map(|place: usize| joined[place].done);
    writeln_out(&format!(
        "{washed} washed, {dried} dried, {stacked} stacked"
    ));
    Ok(())
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn writeln_out(line: &str) {
    println!("{line}");
}
