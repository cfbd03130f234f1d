//! The names of one queue's keys. It knows names only.
//!
//! The stream has the name that its user gave it. All other keys share its slot in a cluster, by a
//! hash tag.

/// The consumer group that all supervisors are in.
pub(super) const GROUP: &str = "dishrack";

#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(super) stream: String,
    pub(super) meta: String,
    pub(super) past: String,
    pub(super) dead: String,
    pub(super) doorbell: String,
    pub(super) numbers: String,
    pub(super) results: String,
    /// The last calls of this client, so that they can be made again.
    pub(super) memo: String,
    /// The orders to supervisors.
    pub(super) orders: String,
    /// Entries whose end is waited for, and those on which nobody is to work any more.
    pub(super) marked: String,
    /// The numbers of dead letters that were taken or dropped.
    pub(super) dropped: String,
    /// The results for a `map` of this process.
    pub(super) replies: String,
    /// The beginning of the names of answers to a client's orders.
    pub(super) answers: String,
}

impl Keys {
    /// Makes the names for the queue with this name, for one client.
    pub(super) fn of(stream: &str, client: &str) -> Self {
        let tagged = match has_tag(stream) {
            true => stream.to_owned(),
            false => format!("{{{stream}}}"),
        };
        let key = |what: &str| format!("{tagged}:{what}");
        Keys {
            stream: stream.to_owned(),
            meta: key("meta"),
            past: key("past"),
            dead: key("dead"),
            doorbell: key("bell"),
            numbers: key("numbers"),
            results: key("results"),
            memo: key(&format!("memo:{client}")),
            orders: key("orders"),
            marked: key("marked"),
            dropped: key("dropped"),
            replies: key(&format!("replies:{client}")),
            answers: key("answers:"),
        }
    }

    /// Returns them in the order in which scripts get them.
    pub(super) fn all(&self) -> [&str; 11] {
        [
            &self.stream,
            &self.meta,
            &self.past,
            &self.dead,
            &self.doorbell,
            &self.numbers,
            &self.results,
            &self.memo,
            &self.orders,
            &self.marked,
            &self.dropped,
        ]
    }
}

/// Returns `true` if a stream may have this name: if it contains a brace, a part in braces must
/// decide its slot.
pub(super) fn is_usable(stream: &str) -> bool {
    !stream.is_empty() && (has_tag(stream) || !stream.contains(['{', '}']))
}

/// Returns `true` if a part of the name, in braces, decides its slot already.
fn has_tag(name: &str) -> bool {
    name.split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .is_some_and(|(tag, _)| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_queue_share_its_slot() {
        let keys = Keys::of("photos", "c1");
        assert_eq!((&*keys.stream, &*keys.meta), ("photos", "{photos}:meta"));
        assert_eq!(keys.memo, "{photos}:memo:c1");
        assert_eq!(Keys::of("{a}b", "c1").dead, "{a}b:dead");
        let usable = ["", "a", "{a}b", "a{}b", "a}b"].map(is_usable);
        assert_eq!(usable, [false, true, true, false, false]);
    }
}
