//! Admission by tokens: as many items run at once as somebody else allows, who has many to allow it
//! to, as GNU make has its jobs. One runs without a token, and each other one needs one of its own.
//!
//! A token is good for one beginning. When an item is over a token goes back, even if others wait: it
//! is everybody's, and they may get it again. One that nothing waits for any more goes back, too. The
//! module does not know what a token is, nor where it comes from: whoever carries it asks whether one
//! is wanted ([`wants_token`](Ledger::wants_token)), says that it has one
//! ([`handle_token`](Ledger::handle_token)), and takes back what is not needed
//! ([`poll_token_back`](Ledger::poll_token_back)).

use super::{Ballot, Ledger, Weight};

/// The tokens of this queue's workers.
#[derive(Debug, Default)]
pub(super) struct TokenCounts {
    held: usize,
    /// Those of them that are for items which have not begun.
    unspent: usize,
}

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Has each item but one need a token from now on, or none any more.
    pub fn handle_tokens(&mut self, are_needed: bool) {
        self.limits_mut().tokens = are_needed.then(TokenCounts::default);
    }

    /// Returns `true` if each item but one needs a token.
    #[must_use]
    pub fn needs_tokens(&self) -> bool {
        self.token_counts().is_some()
    }

    /// Returns `true` if an item would begin with one token more.
    #[must_use]
    pub fn wants_token(&self) -> bool {
        self.lacks_token() && self.is_any_to_begin()
    }

    /// Notes that there is one token more.
    pub fn handle_token(&mut self) {
        if let Some(tokens) = self.tokens_mut() {
            tokens.held += 1;
            tokens.unspent += 1;
        }
    }

    /// Takes a token back that nothing needs, and returns `true` if there is one.
    pub fn poll_token_back(&mut self) -> bool {
        if !self.has_token_back() {
            return false;
        }
        if let Some(tokens) = self.tokens_mut() {
            tokens.held -= 1;
            tokens.unspent = tokens.unspent.min(tokens.held);
        }
        true
    }

    /// Returns `true` if there is a token that nothing needs.
    #[must_use]
    pub fn has_token_back(&self) -> bool {
        let Some(tokens) = self.token_counts().filter(|tokens| tokens.held > 0) else {
            return false;
        };
        let spent = self.consumers.at_work().saturating_sub(1);
        let unspent = match self.is_any_to_begin() {
            true => tokens.unspent,
            false => 0,
        };
        tokens.held > spent + unspent
    }

    /// Returns the number of tokens that are held.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.token_counts().map_or(0, |tokens| tokens.held)
    }

    /// Returns the number of items that workers may begin with the tokens that are there, and one that
    /// is a reason to ask for another token.
    pub(super) fn room_by_tokens(&self) -> usize {
        let free = usize::from(!self.consumers.is_any_at_work());
        let tokens = self.token_counts();
        tokens.map_or(usize::MAX, |tokens| tokens.unspent + free + 1)
    }

    /// Returns `true` if no worker gets anything before there is a token.
    pub(super) fn lacks_token(&self) -> bool {
        let tokens = self.token_counts();
        tokens.is_some_and(|tokens| tokens.unspent == 0) && self.consumers.is_any_at_work()
    }

    /// Counts a delivery to a worker.
    pub(super) fn note_token(&mut self) {
        if self.consumers.at_work() > 1
            && let Some(tokens) = self.tokens_mut()
        {
            tokens.unspent = tokens.unspent.saturating_sub(1);
        }
    }
}
