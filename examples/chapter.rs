//! The chapter's own loop, `get … task_done`, as a worker process, with a dish that kills it.

use dishrack::{JoinableQueue, Supervisor};

fn dryer(rack: JoinableQueue<String>) {
    while let Ok(dish) = rack.get() {
        if *dish == "bomb" {
            std::process::abort();
        }
        rack.task_done()
            .expect("this loop got one item and acknowledges one");
    }
}

fn main() -> Result<(), dishrack::Error> {
    dishrack::serve(|roles| roles.worker(dryer));

    let rack = JoinableQueue::unbounded();
    let pool = Supervisor::builder()
        .processes(1)
        .name("dryer")
        .worker(&rack, dryer)?;
    for dish in ["cup", "bomb", "plate"] {
        rack.put(&dish.to_string())?;
    }
    // Python's join would hang here for ever.
    let joined = rack.join()?;
    assert_eq!((joined.done, joined.dead), (2, 1));
    let letters = rack.take_dead_letters()?;
    assert_eq!(letters[0].payload, "bomb");
    assert_eq!(letters[0].history[0].cause.to_string(), "killed by SIGABRT");
    rack.close();
    pool.stop();
    Ok(())
}
