//! A port of the loopback interface that is reserved for a test, even if no program listens there.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, setsockopt, socket, sockopt,
};

/// A port held by a bound socket that never listens. Linux then gives the port to no other program,
/// neither for `bind` to port 0 nor for an outgoing connection. A program that names it may listen,
/// because both sockets have SO_REUSEADDR: Redis and the standard library set it.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _held: OwnedFd,
}

impl Port {
    pub(crate) fn reserve() -> Port {
        let kind = (SockType::Stream, SockFlag::SOCK_CLOEXEC);
        let held = socket(AddressFamily::Inet, kind.0, kind.1, None).unwrap();
        let any = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
        bind(held.as_raw_fd(), &any).unwrap();
        // Set only now: the kernel might have chosen a port that another such socket holds.
        setsockopt(&held, sockopt::ReuseAddr, &true).unwrap();
        let name: SockaddrIn = getsockname(held.as_raw_fd()).unwrap();
        Port {
            number: name.port(),
            _held: held,
        }
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}
