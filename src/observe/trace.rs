//! Events as those of a Chrome trace, the JSON that Perfetto opens: a thread for each row of
//! [`spans`](super::spans), slices for work, instants for marks.
//!
//! All rows are threads of the supervisor's process, by numbers of their own, because a worker that
//! was started again has another pid and keeps its row. Its pid is among the arguments.

use serde_json::{Value, json};

use super::spans::{Doing, Labels, Mark, MarkKind, Span, SpanEnd, SpanOutput, Spans, words_of};
use super::{Event, EventKind, micros};

/// The fold. Its values may be written as they come, but are not in the order of time.
#[derive(Debug)]
pub(crate) struct Trace {
    labels: Labels,
    spans: Spans,
    seen: Vec<SpanOutput>,
    pid: u32,
    /// The end of each row's last slice, in microseconds.
    through: Vec<u64>,
}

impl Trace {
    pub(crate) fn new(labels: Labels) -> Self {
        Trace {
            spans: Spans::new(&labels),
            labels,
            seen: Vec::new(),
            pid: 0,
            through: Vec::new(),
        }
    }

    /// Takes an event in, and returns what it adds to the trace.
    pub(crate) fn see(&mut self, event: &Event) -> Vec<Value> {
        let mut values = Vec::new();
        if let EventKind::Started { pid, .. } = event.kind {
            self.pid = pid;
            values.push(json!({
                "ph": "M", "name": "process_name", "pid": pid, "tid": 0,
                "args": {"name": self.labels.title},
            }));
        }
        self.spans.see(event, &mut self.seen);
        self.write_seen(&mut values);
        values
    }

    /// Ends the fold, and returns the work that is still open.
    pub(crate) fn end(&mut self) -> Vec<Value> {
        let mut values = Vec::new();
        self.spans.end(&mut self.seen);
        self.write_seen(&mut values);
        values
    }

    fn write_seen(&mut self, values: &mut Vec<Value>) {
        for shown in std::mem::take(&mut self.seen) {
            match shown {
                SpanOutput::Row(name) => values.extend(self.row(&name)),
                SpanOutput::Span(span) => values.push(self.slice(span)),
                SpanOutput::Mark(mark) => values.push(self.instant(mark)),
                SpanOutput::Born { .. } | SpanOutput::Gone { .. } => {}
            }
        }
    }

    fn row(&mut self, name: &str) -> [Value; 2] {
        self.through.push(0);
        let (pid, tid) = (self.pid, self.through.len());
        [
            json!({
                "ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name},
            }),
            json!({
                "ph": "M", "name": "thread_sort_index", "pid": pid, "tid": tid,
                "args": {"sort_index": tid},
            }),
        ]
    }

    /// Makes a slice. Slices of a thread must lie beside or in each other, which the items of a
    /// worker with several at once do not, so an overlapping one begins later.
    fn slice(&mut self, span: Span) -> Value {
        let through = &mut self.through[span.row];
        let start = micros(span.start).max(*through);
        let end = micros(span.end).max(start);
        *through = end;
        let doing = match (span.doing, &self.labels.producer) {
            (Doing::Producing, Some(producer)) => producer.doing.as_str(),
            _ => self.labels.working.as_str(),
        };
        let mut args = json!({"item": span.item, "pid": span.pid});
        if span.doing == Doing::Working {
            args["attempt"] = span.attempt.into();
        }
        if let Some(copy) = span.copy {
            args["copy"] = copy.into();
        }
        match span.outcome {
            SpanEnd::Done => args["outcome"] = "done".into(),
            SpanEnd::Spare(spare) => args["outcome"] = words_of(spare).into(),
            SpanEnd::BrokenOff => args["outcome"] = "broken off".into(),
            SpanEnd::Failed(cause) => {
                args["outcome"] = "failed".into();
                args["cause"] = cause.into();
            }
        }
        json!({
            "ph": "X", "name": span.item, "cat": doing, "pid": self.pid, "tid": span.row + 1,
            "ts": start, "dur": end - start, "args": args,
        })
    }

    fn instant(&self, mark: Mark) -> Value {
        let name = match mark.kind {
            MarkKind::Retry => "retry",
            MarkKind::DeadLetter => "dead letter",
            MarkKind::Death => "death",
        };
        let mut args = json!({"cause": mark.why});
        if let Some(item) = mark.item {
            args["item"] = item.into();
        }
        if mark.kind != MarkKind::Death {
            args["attempt"] = mark.attempt.into();
        }
        let (tid, scope) = match mark.row {
            Some(row) => (row + 1, "t"),
            None => (0, "p"),
        };
        json!({
            "ph": "i", "name": name, "cat": "trouble", "pid": self.pid, "tid": tid,
            "ts": micros(mark.at), "s": scope, "args": args,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::spans::story::*;
    use super::*;

    fn trace(events: &[Event]) -> Vec<Value> {
        let mut trace = Trace::new(labels());
        let mut values: Vec<Value> = events.iter().flat_map(|event| trace.see(event)).collect();
        values.extend(trace.end());
        values
    }

    fn with<'a>(values: &'a [Value], ph: &str) -> Vec<&'a Value> {
        values.iter().filter(|value| value["ph"] == ph).collect()
    }

    #[test]
    fn a_retry_and_a_death_are_instants_of_their_worker() {
        let values = trace(&of_a_kill());
        let instants = with(&values, "i");
        let told: Vec<_> = instants
            .iter()
            .map(|value| (&value["name"], &value["ts"], &value["tid"]))
            .collect();
        let (death, retry) = (json!("death"), json!("retry"));
        let (at, tid) = (json!(250_000), json!(2));
        assert_eq!(told, [(&death, &at, &tid), (&retry, &at, &tid)]);
        assert_eq!(instants[1]["args"]["cause"], "killed by SIGKILL");
        assert_eq!(instants[1]["args"]["attempt"], 1);
    }

    #[test]
    fn a_restarted_worker_stays_the_same_thread() {
        let values = trace(&of_a_kill());
        let of_one: Vec<_> = with(&values, "X")
            .into_iter()
            .filter(|slice| slice["args"]["item"] == "item-1" && slice["cat"] == "Grinding")
            .collect();
        assert_eq!(of_one.len(), 2);
        assert_eq!(of_one[0]["tid"], of_one[1]["tid"]);
        assert_ne!(of_one[0]["args"]["pid"], of_one[1]["args"]["pid"]);
        assert_eq!(of_one[0]["args"]["outcome"], "failed");
        assert_eq!(of_one[1]["args"]["attempt"], 2);
        let names: Vec<_> = with(&values, "M")
            .into_iter()
            .filter(|value| value["name"] == "thread_name")
            .map(|value| value["args"]["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["mixer", "worker-1", "worker-2"]);
    }

    #[test]
    fn slices_of_one_thread_lie_beside_each_other() {
        // Several are open at once and settled in another order.
        let events = [
            began(10, 1, "a", 1, 1),
            began(20, 2, "a", 1, 1),
            began(30, 3, "a", 1, 1),
            done(40, 2, "a", 20),
            done(50, 1, "a", 40),
            exited(60, "a", 1, KILLED),
            retry(61, 3, "a", 1),
        ];
        let values = trace(&events);
        let mut through = 0;
        for slice in with(&values, "X") {
            let (ts, dur) = (
                slice["ts"].as_u64().unwrap(),
                slice["dur"].as_u64().unwrap(),
            );
            assert!(ts >= through, "{slice}");
            through = ts + dur;
        }
        assert_eq!(through, 60_000);
    }
}
