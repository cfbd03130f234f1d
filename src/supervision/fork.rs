//! Orders to the fork server, and what became of them.
//!
//! The fork server answers in order, so an answer belongs to the oldest order that was sent. Few
//! are sent at a time: a stopped fork server must not make the supervising thread wait.

use std::collections::VecDeque;
use std::io::ErrorKind;

use ipc_channel::ipc::IpcSender;

use super::notes::Life;
use super::spawn::StartMessage;
use crate::protocol::orders::Assignment;
use crate::sys::descriptors::DescriptorSocket;
use dishrack_core::ledger::Exit;

/// Orders sent and not answered. They are small, and a socket holds many more.
const UNANSWERED_MAX: usize = 8;

/// Our ends of what leads to a fork server.
#[derive(Debug)]
pub(super) struct OrderLink {
    pub(super) orders: IpcSender<Assignment>,
    /// The other end of the socket that it has inherited.
    pub(super) socket: DescriptorSocket,
}

#[derive(Debug)]
pub(super) struct ForkServer {
    link: Option<OrderLink>,
    is_alive: bool,
    exit: Option<Exit>,
    is_closed: bool,
    /// Counts fork servers, so that what an earlier one still says is not taken for this one's.
    number: u64,
    /// The reason why it is not started any more.
    failure: Option<String>,
    unsent: VecDeque<(Life, StartMessage)>,
    unanswered: VecDeque<Life>,
}

impl ForkServer {
    pub(super) fn new() -> Self {
        ForkServer {
            link: None,
            is_alive: false,
            exit: None,
            is_closed: false,
            failure: None,
            number: 0,
            unsent: VecDeque::new(),
            unanswered: VecDeque::new(),
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.is_alive
    }

    /// Returns `true` if it was given up on: no order will ever be carried out.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Returns `true` if it was sent an order and has not said what became of it.
    pub(super) fn has_unanswered(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Returns the reason why it was given up on.
    pub(super) fn failure(&self) -> &str {
        self.failure.as_deref().unwrap_or_default()
    }

    /// The number of the fork server that is started now.
    pub(super) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.is_closed = false;
        self.number
    }

    /// Its process was started, with this socket between us, and will read these orders. Those that
    /// could not be sent, and why.
    pub(super) fn began(&mut self, link: OrderLink) -> Vec<(Life, String)> {
        self.is_alive = true;
        self.link = Some(link);
        self.send()
    }

    /// Orders a worker, as soon as the fork server can take the order. Those that could not be
    /// sent.
    pub(super) fn order(&mut self, life: Life, start_message: StartMessage) -> Vec<(Life, String)> {
        self.unsent.push_back((life, start_message));
        self.send()
    }

    fn send(&mut self) -> Vec<(Life, String)> {
        let mut refused = Vec::new();
        let Some(OrderLink { orders, socket }) = &self.link else {
            return refused;
        };
        while self.unanswered.len() < UNANSWERED_MAX
            && let Some((life, start_message)) = self.unsent.pop_front()
        {
            // Before the order, so that it is there when that is read.
            match start_message.endpoints.send(socket) {
                Ok(()) => {}
                // It is dying, and its end tells of all lost orders.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                Err(error) => {
                    refused.push((life, format!("cannot be given its files: {error}")));
                    continue;
                }
            }
            self.unanswered.push_back(life);
            let _ = orders.send(start_message.assignment);
        }
        refused
    }

    /// An answer came: to whose order? And the orders that could not be sent then.
    pub(super) fn replied(&mut self, server: u64) -> (Option<Life>, Vec<(Life, String)>) {
        if server != self.number {
            return (None, Vec::new());
        }
        let life = self.unanswered.pop_front();
        (life, self.send())
    }

    /// Its process has ended.
    pub(super) fn process_ended(&mut self, exit: Exit) {
        self.link = None;
        self.exit = Some(exit);
    }

    /// All replies of the fork server with this number have been read.
    pub(super) fn closed(&mut self, server: u64) {
        self.is_closed |= server == self.number;
    }

    /// Its replies are not read any more.
    pub(super) fn give_up_replies(&mut self) {
        self.is_closed = true;
        // What is still said is an earlier one's.
        self.number += 1;
    }

    /// Returns the orders that it took and did not answer, and how it ended, when it is known to be
    /// over.
    pub(super) fn conclude(&mut self) -> Option<(Vec<Life>, Exit)> {
        if !self.is_closed {
            return None;
        }
        let exit = self.exit.take()?;
        self.is_alive = false;
        Some((self.unanswered.drain(..).collect(), exit))
    }

    /// It cannot be started: no order will be answered.
    pub(super) fn fail(&mut self, why: String) -> Vec<Life> {
        self.failure = Some(why);
        self.is_alive = false;
        let mut lost: Vec<Life> = self.unanswered.drain(..).collect();
        lost.extend(self.unsent.drain(..).map(|(life, _)| life));
        lost
    }

    /// Takes an order back, if it was not sent: its worker never comes to be.
    pub(super) fn cancel(&mut self, life: Life) -> bool {
        let unsent = self.unsent.len();
        self.unsent.retain(|(other, _)| *other != life);
        self.unsent.len() < unsent
    }
}
