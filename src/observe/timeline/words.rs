//! The lines that bars and marks show when they are pointed at.

use super::axis::in_words;
use super::row::Notch;
use crate::observe::spans::{Doing, Labels, MarkKind, Span, SpanEnd, words_of};

/// Returns the lines on a span: the worker, the work and the time.
pub(super) fn of_span(span: &Span, row: &str, labels: &Labels) -> Vec<String> {
    let doing = match (span.doing, &labels.producer) {
        (Doing::Producing, Some(producer)) => &producer.doing,
        _ => &labels.working,
    };
    let Span {
        item,
        attempt,
        copy,
        pid,
        start,
        end,
        ..
    } = span;
    let attempt = match attempt {
        0 | 1 => String::new(),
        attempt => format!(", attempt {attempt}"),
    };
    let copied = copy.map_or_else(String::new, |copy| format!(", copy {copy}"));
    let took = in_words(end.saturating_sub(*start));
    let (start, end) = (in_words(*start), in_words(*end));
    let mut lines = vec![
        format!("{doing} {item}{attempt}{copied}"),
        format!("{row}, pid {pid}"),
        format!("{start} to {end}, {took}"),
    ];
    match &span.outcome {
        SpanEnd::Done if copy.is_some() => lines.push("this copy counts".into()),
        SpanEnd::Done => {}
        SpanEnd::Spare(spare) => lines.push(words_of(*spare).into()),
        SpanEnd::Failed(cause) => lines.push(format!("failed: {cause}")),
        SpanEnd::BrokenOff => lines.push("broken off".into()),
    }
    lines
}

/// Returns the lines on a mark: the fault with its time, or the number of faults.
pub(super) fn of_mark(kind: MarkKind, notch: &Notch<'_>, count: u32) -> Vec<String> {
    let at = in_words(notch.at);
    let Some(mark) = notch.mark.filter(|_| count == 1) else {
        let what = match kind {
            MarkKind::Retry => format!("{count} attempts failed and were tried again"),
            MarkKind::DeadLetter => format!("{count} given up on"),
            MarkKind::Death => format!("died {count} times"),
        };
        return vec![what, format!("from {at}")];
    };
    let item = mark.item.as_deref();
    let (what, attempt) = (item.unwrap_or_default(), mark.attempt);
    let what = match kind {
        MarkKind::Death if item.is_none() => "died".into(),
        MarkKind::Death => format!("died with {what}"),
        MarkKind::Retry => format!("{what}: attempt {attempt} failed"),
        MarkKind::DeadLetter => format!("{what}: attempt {attempt} failed, given up on"),
    };
    vec![format!("{what}: {}", mark.why), at]
}
