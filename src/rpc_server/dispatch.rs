//! From a record to the program that it calls.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use cleat_rpc::message::NotACall;
use cleat_rpc::{CallHeader, Fault, Reply};

use super::duplicates::{DuplicateCounts, Duplicates, Given};
use super::link::Link;
use super::program::{Answer, Call, Program, Transport};

/// What a record is.
pub(super) enum Found<'a> {
    /// Nothing that gets an answer.
    Nothing,
    /// A call that gets none but this.
    Refused { xid: u32, fault: Fault },
    /// A call to a program.
    Call { call: Call, program: &'a Arc<dyn Program> },
}

/// The programs by number, and what they answered lately.
pub(super) struct Dispatch {
    programs: HashMap<u32, Arc<dyn Program>>,
    duplicates: Duplicates,
}

/// Where a record came from.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) transport: Transport,
    pub(super) link: Link,
}

impl Dispatch {
    pub(super) fn new(programs: Vec<Arc<dyn Program>>) -> Self {
        let programs = programs.into_iter().map(|each| (each.number(), each)).collect();
        Self { programs, duplicates: Duplicates::new() }
    }

    pub(super) fn duplicates(&self) -> DuplicateCounts {
        self.duplicates.count()
    }

    /// Finds the program. RFC 5531 9 says what a call that fits none gets.
    pub(super) fn find(&self, record: &Bytes, arrival: &Arrival) -> Found<'_> {
        let (header, arguments) = match CallHeader::decode(record) {
            Ok((header, reader)) => (header, record.slice_ref(reader.rest())),
            Err(NotACall::Noise) => return Found::Nothing,
            Err(NotACall::Refused { xid, fault }) => return Found::Refused { xid, fault },
        };
        let xid = header.xid;
        let served = |program: &&Arc<dyn Program>| program.is_served_over(arrival.transport);
        let Some(program) = self.programs.get(&header.program).filter(served) else {
            return Found::Refused { xid, fault: Fault::ProgramUnavailable };
        };
        let versions = program.versions();
        if !versions.contains(&header.version) {
            let (low, high) = (*versions.start(), *versions.end());
            return Found::Refused { xid, fault: Fault::ProgramMismatch { low, high } };
        }
        let Arrival { peer, local, transport, ref link } = *arrival;
        let (peer, local, link) = (canonical(peer), canonical(local), link.clone());
        link.called();
        let call = Call { header, peer, local, transport, link, arguments };
        Found::Call { call, program }
    }

    /// Has the program answer, unless it did before. `None` where nobody waits for an answer.
    pub(super) fn run(&self, call: Call, program: &Arc<dyn Program>) -> Option<Answer> {
        let Some(once) = program.once(&call) else { return Some(program.call(call)) };
        match self.duplicates.answer(call, &once, program) {
            Given::First(answer) | Given::Again(answer) => Some(answer),
            Given::Nothing => None,
        }
    }
}

/// The address without the disguise of an IPv4 peer on an IPv6 socket.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        // The scope of a link-local address is kept.
        IpAddr::V6(_) => address,
    }
}

/// The parts of a reply to send, in order; empty ones among them.
pub(super) fn reply_parts(xid: u32, reply: Reply) -> [Bytes; 4] {
    match reply {
        Ok(results) => {
            let (head, payload, pad) = results.into_parts();
            let header = Bytes::copy_from_slice(&cleat_rpc::message::success_header(xid));
            [header, head, payload, Bytes::from_static(pad)]
        }
        Err(fault) => {
            let whole = cleat_rpc::message::fault_reply(xid, fault).into_bytes();
            [whole, Bytes::new(), Bytes::new(), Bytes::new()]
        }
    }
}
