//! Items and results that fail, end their process or crash it: when they are serialized, when they
//! are deserialized, or in between. The matrix of `test_deadlock.py`.

#![allow(clippy::exit, reason = "ending badly is what these are for")]

use dishrack::JoinableQueue;
use nix::sys::signal::{Signal, raise};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

/// The place where a trap goes off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    Nowhere,
    ItemSerialize,
    ItemDeserialize,
    Run,
    /// The handler puts an item on its queue, and that goes off at `ItemSerialize`.
    PutByWorker,
    ResultSerialize,
    ResultDeserialize,
}

/// The trap's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ChildEffect {
    Error,
    Exit,
    Crash,
}

/// The exit code of `SystemExit` and an uncaught exception.
pub(crate) const EXIT_CODE: i32 = 1;
pub(crate) const CRASH: Signal = Signal::SIGSEGV;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trap {
    place: Place,
    effect: ChildEffect,
}

impl Trap {
    fn reach(self, place: Place) -> Result<(), &'static str> {
        if self.place != place {
            return Ok(());
        }
        match self.effect {
            ChildEffect::Error => Err("it is a trap"),
            ChildEffect::Exit => std::process::exit(EXIT_CODE),
            // Rust's own handler may take the first for a stack overflow, and lets the next one
            // through.
            ChildEffect::Crash => loop {
                raise(CRASH).unwrap();
            },
        }
    }
}

/// An item, with bytes that give it any size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    trap: Trap,
    ballast: Vec<u8>,
}

impl Item {
    pub(crate) fn trap(place: Place, effect: ChildEffect) -> Self {
        Item {
            trap: Trap { place, effect },
            ballast: Vec::new(),
        }
    }

    pub(crate) fn harmless() -> Self {
        Item::trap(Place::Nowhere, ChildEffect::Error)
    }

    pub(crate) fn weighing(self, bytes: usize) -> Self {
        Item {
            ballast: vec![7; bytes],
            ..self
        }
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let reached = self.trap.reach(Place::ItemSerialize);
        reached.map_err(ser::Error::custom)?;
        (self.trap, serde_bytes::Bytes::new(&self.ballast)).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (trap, ballast) = <(Trap, serde_bytes::ByteBuf)>::deserialize(from)?;
        let reached = trap.reach(Place::ItemDeserialize);
        reached.map_err(de::Error::custom)?;
        let ballast = ballast.into_vec();
        Ok(Item { trap, ballast })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome(Trap);

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let reached = self.0.reach(Place::ResultSerialize);
        reached.map_err(ser::Error::custom)?;
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let trap = Trap::deserialize(from)?;
        let reached = trap.reach(Place::ResultDeserialize);
        reached.map_err(de::Error::custom)?;
        Ok(Outcome(trap))
    }
}

/// Walks into the trap.
pub(crate) fn walk(item: Item) -> Result<Outcome, String> {
    item.trap.reach(Place::Run)?;
    if item.trap.place == Place::PutByWorker {
        let queue = JoinableQueue::<Item>::current().ok_or("no queue")?;
        let another = Item::trap(Place::ItemSerialize, item.trap.effect);
        queue.put(&another).map_err(|error| error.to_string())?;
    }
    Ok(Outcome(item.trap))
}

/// Walks into them one after the other, as the chapter's loop does.
pub(crate) fn walk_in_a_loop(queue: JoinableQueue<Item>) {
    while let Ok(delivery) = queue.get() {
        match walk(delivery.clone()) {
            Ok(_) => delivery.task_done().unwrap(),
            Err(why) => delivery.nack(why).unwrap(),
        }
    }
}
