//! Watching over the fork server: it is started again like a worker, and its lost orders are told.

use std::io;
use std::time::Duration;

use ipc_channel::ipc;

use super::starts::handover;
use super::{FORK_SERVER, Watch};
use crate::protocol::orders::Order;
use crate::supervision::fork::OrderLink;
use crate::supervision::notes::Life;
use crate::supervision::spawn::{self, Leads};
use crate::supervision::uplink;
use crate::sys::descriptors::DescriptorSocket;
use dishrack_core::ledger::Exit;
use dishrack_core::pool::spec::ChildSpec;

/// The time for which its replies may outlive it.
const LINGER: Duration = Duration::from_secs(1);

impl Watch {
    pub(super) fn start_fork_server(&mut self) {
        match self.launch_fork_server() {
            Ok(link) => {
                let refused = self.fork_server.began(link);
                self.report_refused_orders(refused);
            }
            Err(error) => {
                // If its process is there, nobody would read its answers.
                self.reaper.kill(FORK_SERVER);
                let orders = self.fork_server.fail(error.to_string());
                self.report_lost_orders(&orders, &format!("no fork server: {error}"));
            }
        }
    }

    fn launch_fork_server(&mut self) -> io::Result<OrderLink> {
        let (sender, orders) = ipc::channel()?;
        let (replies, answers) = ipc::channel()?;
        let (socket, theirs) = DescriptorSocket::pair()?;
        Order::ServeForks { orders, replies }.send(&socket)?;
        let title = format!("fork-server of {}", self.plan.name);
        let by = handover(&mut self.handover)?;
        let pid = spawn::start(by, theirs, &title, Leads::Group, None, &self.plan.launch)?;
        self.reaper.watch_alone(FORK_SERVER, pid)?;
        let server = self.fork_server.next_number();
        uplink::receive_fork_server(server, answers, self.sender.clone())?;
        Ok(OrderLink {
            orders: sender,
            socket,
        })
    }

    /// Orders that could not be sent: their workers never come to be.
    pub(super) fn report_refused_orders(&mut self, refused: Vec<(Life, String)>) {
        for (life, why) in refused {
            self.report_lost_orders(&[life], &why);
        }
    }

    pub(super) fn report_lost_orders(&mut self, orders: &[Life], why: &str) {
        for life in orders {
            if self.is_current(*life) {
                self.slots[life.slot].complaint = Some(why.to_owned());
                self.report_failed_start(life.slot, None, Exit::Unknown);
                self.lose_unborn(life.slot);
            }
        }
    }

    /// Its process has ended. What it said before is still to be read.
    pub(super) fn fork_server_ended(&mut self, exit: Exit) {
        self.fork_server.process_ended(exit);
        self.fork_server_lingers_until = self.now().checked_add(LINGER);
        self.conclude_fork_server();
    }

    /// Gives up its replies a second after its end, like a worker's channel: processes that it
    /// forked may keep them open.
    pub(super) fn give_up_lingering_fork_server(&mut self) {
        let until = self.fork_server_lingers_until;
        if until.is_some_and(|until| until <= self.now()) {
            self.fork_server_lingers_until = None;
            self.fork_server.give_up_replies();
            self.conclude_fork_server();
        }
    }

    /// Reports its unanswered orders as lost when both its process and its replies have ended.
    pub(super) fn conclude_fork_server(&mut self) {
        let Some((orders, exit)) = self.fork_server.conclude() else {
            return;
        };
        self.fork_server_lingers_until = None;
        self.report_lost_orders(&orders, &format!("the fork server {exit}"));
        let ChildSpec {
            intensity, period, ..
        } = self.plan.spec;
        let now = self.now();
        if self.is_stopping || self.is_over {
            return;
        }
        if self
            .fork_server_restarts
            .note(now, intensity, period)
            .is_some()
        {
            self.start_fork_server();
        } else {
            let why = format!("it died too often, at last: {exit}");
            let orders = self.fork_server.fail(why);
            self.report_lost_orders(&orders, "the fork server died too often");
        }
    }
}
