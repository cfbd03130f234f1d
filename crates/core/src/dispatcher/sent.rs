//! PURE: the deliveries that went out by a client's connection, and those of them that the client can
//! have seen when the connection ends. It knows neither sockets nor what frames hold.
//!
//! A client has no scoreboard. So whatever it was sent counts as begun, except where it cannot have been:
//! the kernel tells when something was left unread, and the last of it is then a part of that.

/// The deliveries that have gone out by one connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct SentDeliveries {
    /// The last delivery of which all was sent.
    whole: u64,
    /// The delivery in the frame that was sent last, if it was one, and if all of it was sent.
    last: Option<u64>,
}

impl SentDeliveries {
    /// Notes that all of a frame was sent, with the ordinal of the delivery in it, if it is one.
    pub fn sent(&mut self, delivery: Option<u64>) {
        self.last = delivery;
        self.whole = delivery.unwrap_or(self.whole);
    }

    /// Notes that a part of a frame was sent, and that there was no room for the rest. What is left
    /// unread may be this part alone.
    pub fn sent_a_part(&mut self) {
        self.last = None;
    }

    /// Returns the last delivery that counts as begun, now that the connection has ended.
    /// `leaving_unread`: before its client had read all that was sent.
    #[must_use]
    pub fn begun_up_to(&self, leaving_unread: bool) -> u64 {
        match self.last.filter(|_| leaving_unread) {
            Some(unread) => unread - 1,
            None => self.whole,
        }
    }
}
