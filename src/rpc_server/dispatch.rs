//! From a record to the program that it calls.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use cleat_rpc::message::NotACall;
use cleat_rpc::{CallHeader, Fault, Reply};

use super::duplicates::{DuplicateCounts, Duplicates};
use super::program::{Answer, Call, Program, Transport};

/// What becomes of a record.
pub(super) enum Dispatched {
    /// It gets no answer.
    Dropped,
    /// The call of this xid gets this answer.
    Call(u32, Answer),
}

/// The programs by number, and what they answered lately.
pub(super) struct Dispatch {
    programs: HashMap<u32, Arc<dyn Program>>,
    duplicates: Duplicates,
}

/// Where a record came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) transport: Transport,
}

impl Dispatch {
    pub(super) fn new(programs: Vec<Arc<dyn Program>>) -> Self {
        let programs = programs.into_iter().map(|each| (each.number(), each)).collect();
        Self { programs, duplicates: Duplicates::new() }
    }

    pub(super) fn duplicates(&self) -> DuplicateCounts {
        self.duplicates.count()
    }

    /// Finds the program and has it answer. RFC 5531 9 says what a call that fits none gets.
    pub(super) fn dispatch(&self, record: &Bytes, arrival: Arrival) -> Dispatched {
        let (header, arguments) = match CallHeader::decode(record) {
            Ok((header, reader)) => (header, record.slice_ref(reader.rest())),
            Err(NotACall::Noise) => return Dispatched::Dropped,
            Err(NotACall::Refused { xid, fault }) => return refused(xid, fault),
        };
        let xid = header.xid;
        let served = |program: &&Arc<dyn Program>| program.is_served_over(arrival.transport);
        let Some(program) = self.programs.get(&header.program).filter(served) else {
            return refused(xid, Fault::ProgramUnavailable);
        };
        let versions = program.versions();
        if !versions.contains(&header.version) {
            let (low, high) = (*versions.start(), *versions.end());
            return refused(xid, Fault::ProgramMismatch { low, high });
        }
        let Arrival { peer, local, transport } = arrival;
        let call =
            Call { header, peer: canonical(peer), local: canonical(local), transport, arguments };
        let answer = if program.runs_once(call.header.version, call.header.procedure) {
            self.duplicates.answer(call, |call| program.call(call))
        } else {
            program.call(call)
        };
        Dispatched::Call(xid, answer)
    }
}

fn refused(xid: u32, fault: Fault) -> Dispatched {
    Dispatched::Call(xid, Answer::Now(Err(fault)))
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
