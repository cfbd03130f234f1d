//! The measurement that the command line asks for, and the line of JSON with its result. It does
//! not know contenders; `compare.py` reads the same form from Python.

use serde_json::{Map, Value, json};

/// A measurement to be made.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// The row of the comparison, such as `throughput`.
    pub(crate) row: String,
    /// The contender, such as `dishrack`.
    pub(crate) contender: String,
    pub(crate) workers: usize,
    pub(crate) items: usize,
    /// Bytes of one item's payload.
    pub(crate) bytes: usize,
    /// Items in one message, for contenders that do not batch by themselves.
    pub(crate) batch: usize,
    /// Threads that put.
    pub(crate) producers: usize,
    /// Items that may wait; 0 for no bound.
    pub(crate) bound: usize,
    /// A pause before each round trip, or between two items.
    pub(crate) gap_us: u64,
    /// The time for which an item hangs, in a row where some do.
    pub(crate) hang_ms: u64,
    /// The process is killed after this many seconds.
    pub(crate) limit_s: u32,
}

impl Order {
    pub(crate) fn new(row: &str, contender: &str) -> Self {
        Order {
            row: row.into(),
            contender: contender.into(),
            workers: 1,
            items: 1000,
            bytes: 100,
            batch: 1,
            producers: 1,
            bound: 0,
            gap_us: 0,
            hang_ms: 0,
            limit_s: 120,
        }
    }

    /// `ROW CONTENDER [--OPTION NUMBER]...`
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let [row, contender, options @ ..] = arguments else {
            return Err("a row and a contender are needed".into());
        };
        let mut order = Order::new(row, contender);
        for option in options.chunks(2) {
            let [name, text] = option else {
                return Err(format!("{} needs a number", option[0]));
            };
            let number: u32 = text.parse().map_err(|_| format!("{text} is no number"))?;
            order.set(name, number)?;
        }
        Ok(order)
    }

    fn set(&mut self, name: &str, number: u32) -> Result<(), String> {
        match name {
            "--workers" => self.workers = number as usize,
            "--items" => self.items = number as usize,
            "--bytes" => self.bytes = number as usize,
            "--batch" => self.batch = number as usize,
            "--producers" => self.producers = number as usize,
            "--bound" => self.bound = number as usize,
            "--gap-us" => self.gap_us = number.into(),
            "--hang-ms" => self.hang_ms = number.into(),
            "--limit-s" => self.limit_s = number,
            _ => return Err(format!("{name} is no option")),
        }
        Ok(())
    }

    /// Ends a run of an unknown contender.
    pub(crate) fn unknown(&self) -> ! {
        panic!("row {} has no contender {}", self.row, self.contender)
    }
}

/// The result: one figure that counts, and others that explain it.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    more: Map<String, Value>,
}

impl Measured {
    pub(crate) fn new(unit: &'static str, value: f64) -> Self {
        Measured {
            unit,
            value,
            more: Map::new(),
        }
    }

    /// Adds another figure.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.into(), value.into());
        self
    }

    pub(crate) fn line(self, order: &Order) -> String {
        let mut line = json!({
            "row": order.row,
            "contender": order.contender,
            "workers": order.workers,
            "items": order.items,
            "unit": self.unit,
            "value": self.value,
        });
        let fields = line.as_object_mut().expect("it was made as an object");
        fields.extend(self.more);
        line.to_string()
    }
}
