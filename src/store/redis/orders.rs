//! Orders to supervisors of a stream, and their answers. What they mean is not known here.

use std::time::Duration;

use redis::{RedisResult, Value, cmd};

use super::scripts::Name;
use super::taking::longest;
use super::trouble::RedisTrouble;
use super::{RedisStore, read};
use crate::store::stream::{Moment, OrderAnswer, OrderStage, Ordered, StreamOrder};
use dishrack_core::stream::entry::{Entry, EntryId};

/// The time for which answers are kept that nobody fetches, in seconds.
const KEPT: u64 = 600;

impl RedisStore {
    pub(super) fn give_order(
        &self,
        verb: &str,
        body: &str,
        only: Option<&str>,
    ) -> Result<Ordered, RedisTrouble> {
        // It is not given twice: a call without an answer is an error.
        self.server.try_once(&self.dispatcher, |open| {
            let mut script = self.script(open, Name::Order);
            script.arg(&self.consumer).arg(verb).arg(body);
            script.arg(self.lease_ms()).arg(only.unwrap_or_default());
            let [entry, told, ring] = read::row(script.query(&mut open.connection)?)?;
            let told = read::array(told)?.into_iter().map(read::text);
            Ok(Ordered {
                entry: read::text(entry)?.parse().ok(),
                told: told.collect::<RedisResult<_>>()?,
                moment: Moment(read::text(ring)?),
            })
        })
    }

    pub(super) fn orders_after(
        &self,
        after: EntryId,
        wait: Duration,
    ) -> Result<(Vec<StreamOrder>, EntryId), RedisTrouble> {
        let entries = self.server.call(&self.ordered, wait, |open| {
            let wait = longest(wait, open.number);
            let mut read_on = cmd("XREAD");
            read_on.arg("COUNT").arg(100);
            read_on.arg("BLOCK").arg(milliseconds(wait)).arg("STREAMS");
            read_on.arg(&self.keys.orders).arg(after.to_string());
            *self.obeying.lock() = open.number;
            let answer = read_on.query::<Value>(&mut open.connection);
            *self.obeying.lock() = 0;
            read::read_entries(answer?)
        })?;
        let entries = entries.into_iter().flat_map(|(_, all)| all);
        let (mut orders, mut last) = (Vec::new(), after);
        for entry in entries {
            last = entry.id;
            orders.extend(self.order_of(&entry));
        }
        Ok((orders, last))
    }

    /// Returns the order, if it is one to this supervisor.
    fn order_of(&self, entry: &Entry) -> Option<StreamOrder> {
        let text = |name: &str| entry.fields.text(name).unwrap_or_default().to_owned();
        let is_told = text("to").split(' ').any(|name| name == self.consumer);
        is_told.then(|| StreamOrder {
            entry: entry.id,
            from: text("from"),
            verb: text("verb"),
            steering: read::steering(&text("body"), text("of") == "all"),
            body: text("body"),
        })
    }

    pub(super) fn answer_order(
        &self,
        order: &StreamOrder,
        stage: &OrderStage,
    ) -> Result<(), RedisTrouble> {
        let key = format!("{}{}", self.keys.answers, order.from);
        let (word, body) = match stage {
            OrderStage::Heard => ("heard", ""),
            OrderStage::Done(body) => ("done", &**body),
            OrderStage::Refused(why) => ("refused", &**why),
        };
        // An answer that comes twice says nothing new.
        self.server.call(&self.dispatcher, Duration::ZERO, |open| {
            let mut add = cmd("XADD");
            add.arg(&key).arg("MAXLEN").arg("~").arg(10_000).arg("*");
            add.arg("order").arg(order.entry.to_string());
            add.arg("by").arg(&self.consumer);
            add.arg("stage").arg(word).arg("body").arg(body);
            add.exec(&mut open.connection)?;
            let mut expire = cmd("EXPIRE");
            expire.arg(&key).arg(KEPT).exec(&mut open.connection)
        })
    }

    pub(super) fn answers_after(
        &self,
        after: EntryId,
        since: &Moment,
        wait: Duration,
    ) -> Result<(Vec<OrderAnswer>, EntryId), RedisTrouble> {
        let key = format!("{}{}", self.keys.answers, self.consumer);
        let streams = self.server.call(&self.listener, wait, |open| {
            let mut read_both = cmd("XREAD");
            read_both.arg("COUNT").arg(1000);
            read_both
                .arg("BLOCK")
                .arg(milliseconds(wait))
                .arg("STREAMS");
            read_both.arg(&key).arg(&self.keys.doorbell);
            read_both.arg(after.to_string()).arg(&since.0);
            read::read_entries(read_both.query(&mut open.connection)?)
        })?;
        let (mut answers, mut last) = (Vec::new(), after);
        for (name, entries) in streams {
            if name == key {
                last = entries.last().map_or(last, |entry| entry.id);
                answers.extend(entries.iter().filter_map(answer));
            }
        }
        Ok((answers, last))
    }
}

fn milliseconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn answer(entry: &Entry) -> Option<OrderAnswer> {
    let text = |name: &str| entry.fields.text(name).unwrap_or_default().to_owned();
    let stage = match &*text("stage") {
        "heard" => OrderStage::Heard,
        "done" => OrderStage::Done(text("body")),
        "refused" => OrderStage::Refused(text("body")),
        _ => return None,
    };
    Some(OrderAnswer {
        entry: text("order").parse().ok()?,
        by: text("by"),
        stage,
    })
}
