//! A port mapper of our own, for hosts that have none: portmap v2 and rpcbind v3 and v4
//! (RFC 1833), which answer questions and take registrations from nobody.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{SystemTime, UNIX_EPOCH};

use cleat_rpc::portmap::{self, Binding, Mapping, Protocol, universal_address, v2, v3};
use cleat_rpc::{Fault, Reply, Writer};

use super::services::{self, Entry, Service};
use crate::rpc_server::{Answer, Call, Program, Transport};

const NULL: u32 = 0;
/// The owner of every entry, as DUMP shows it.
const OWNER: &str = "cleat";

/// The port mapper itself, as it is found in its own lists.
const ITSELF: [Service; 3] = [itself(4), itself(3), itself(2)];

const fn itself(version: u32) -> Service {
    Service { program: portmap::PROGRAM, version, protocols: &[Protocol::Tcp, Protocol::Udp] }
}

/// Program 100000, versions 2 to 4. SET and UNSET are answered with false, and the indirect
/// calls, by which others could call through us, with PROC_UNAVAIL.
#[derive(Debug)]
pub struct PortMapper {
    entries: Vec<Entry>,
}

impl PortMapper {
    /// Answers that each of `services` listens at each of `listen`, and the port mapper itself at
    /// each of `itself`.
    #[must_use]
    pub fn new(services: &[Service], listen: &[SocketAddr], itself: &[SocketAddr]) -> Self {
        let mut entries = services::entries(&ITSELF, itself);
        entries.extend(services::entries(services, listen));
        Self { entries }
    }

    /// Portmap v2 (RFC 1833 3.2).
    fn call_v2(&self, call: &Call) -> Reply {
        let mut writer = Writer::new();
        match call.header.procedure {
            NULL => {}
            v2::SET | v2::UNSET => {
                call.arguments().get::<Mapping>()?;
                writer.bool(false);
            }
            v2::GETPORT => {
                let asked: Mapping = call.arguments().get()?;
                writer.u32(self.port(&asked, call.local).into());
            }
            v2::DUMP => self.dump_v2(&mut writer),
            _ => return Err(Fault::ProcedureUnavailable),
        }
        Ok(writer)
    }

    /// Rpcbind v3 and v4 (RFC 1833 2.2).
    fn call_v3(&self, call: &Call) -> Reply {
        let mut writer = Writer::new();
        match (call.header.version, call.header.procedure) {
            (_, NULL) => {}
            (_, v3::SET | v3::UNSET) => {
                call.arguments().get::<Binding>()?;
                writer.bool(false);
            }
            (_, v3::GETADDR) => {
                let asked: Binding = call.arguments().get()?;
                writer.opaque(self.address(&asked, call, false).as_bytes());
            }
            (4, v3::GETVERSADDR) => {
                let asked: Binding = call.arguments().get()?;
                writer.opaque(self.address(&asked, call, true).as_bytes());
            }
            (_, v3::DUMP) => {
                for entry in &self.entries {
                    writer.bool(true);
                    writer.put(&entry.binding(OWNER));
                }
                writer.bool(false);
            }
            (_, v3::GETTIME) => writer.u32(seconds_since_1970()),
            _ => return Err(Fault::ProcedureUnavailable),
        }
        Ok(writer)
    }

    fn dump_v2(&self, writer: &mut Writer) {
        for entry in self.entries.iter().filter(|entry| entry.address.is_ipv4()) {
            writer.bool(true);
            writer.put(&Mapping {
                program: entry.program,
                version: entry.version,
                protocol: entry.protocol as u32,
                port: entry.address.port().into(),
            });
        }
        writer.bool(false);
    }

    /// GETPORT: 0 where the program is not served on the transport. Version 2 knows no address
    /// families, so one that the call did not come by will do as well.
    fn port(&self, asked: &Mapping, local: SocketAddr) -> u16 {
        let fits = |entry: &&Entry| {
            entry.program == asked.program && entry.protocol as u32 == asked.protocol
        };
        let entries: Vec<&Entry> = self.entries.iter().filter(fits).collect();
        best(&entries, asked.version, local, false).map_or(0, |entry| entry.address.port())
    }

    /// GETADDR and GETVERSADDR: the universal address at which the asker reaches the program, the
    /// empty string where there is none. A program that is served in another version only is
    /// found too unless `exact`: it will say so itself, with the versions it has.
    fn address(&self, asked: &Binding, call: &Call, exact: bool) -> String {
        let arrival = match call.transport {
            Transport::Tcp => Protocol::Tcp.netid(call.local.ip()),
            Transport::Udp => Protocol::Udp.netid(call.local.ip()),
        };
        // RFC 1833 2.2.1 infers the netid from how the call came; libtirpc and Linux send the
        // one they mean, and rpcbind heeds it.
        let netid = if asked.netid.is_empty() { arrival.as_bytes() } else { &asked.netid };
        let fits =
            |entry: &&Entry| entry.program == asked.program && entry.netid().as_bytes() == netid;
        let entries: Vec<&Entry> = self.entries.iter().filter(fits).collect();
        let found = best(&entries, asked.version, call.local, exact);
        found
            .and_then(|entry| reachable(entry.address, call.local))
            .map_or_else(String::new, universal_address)
    }
}

/// Of the entries of one program, that of the version asked for (else, unless `exact`, of any)
/// and at the address the call came to (else at the address of any, else at any address).
fn best<'a>(
    entries: &[&'a Entry],
    version: u32,
    local: SocketAddr,
    exact: bool,
) -> Option<&'a Entry> {
    let rank = |entry: &&&Entry| {
        let ip = entry.address.ip();
        let family = entry.address.is_ipv4() == local.is_ipv4();
        (entry.version == version, ip == local.ip(), family && ip.is_unspecified(), family)
    };
    // The first of the best, so that the answer does not depend on how maxima are broken.
    let found = entries.iter().rev().max_by_key(rank).copied()?;
    (found.version == version || !exact).then_some(found)
}

/// Where an asker who reached us at `local` reaches a socket bound to `bound`.
fn reachable(bound: SocketAddr, local: SocketAddr) -> Option<SocketAddr> {
    if !bound.ip().is_unspecified() {
        return Some(bound);
    }
    (bound.is_ipv4() == local.is_ipv4()).then(|| SocketAddr::new(local.ip(), bound.port()))
}

/// GETTIME's answer: 32 bits, which end in 2106.
fn seconds_since_1970() -> u32 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

impl Program for PortMapper {
    fn number(&self) -> u32 {
        portmap::PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        2..=4
    }

    fn call(&self, call: Call) -> Answer {
        Answer::Now(match call.header.version {
            2 => self.call_v2(&call),
            _ => self.call_v3(&call),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portmap::services::{MOUNT, NFS, NLM, SERVICES};
    use crate::rpc_server::Link;
    use cleat_rpc::{CallHeader, Credential, Encode, Reader};
    use proptest::prelude::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    fn mapper() -> PortMapper {
        let any = addresses(&["0.0.0.0:2049", "[::]:2050"]);
        PortMapper::new(&SERVICES, &any, &addresses(&["0.0.0.0:111", "[::]:111"]))
    }

    fn call(local: &str, version: u32, procedure: u32, arguments: &[u8]) -> Call {
        let credential = Credential::None;
        Call {
            header: CallHeader {
                xid: 1,
                program: portmap::PROGRAM,
                version,
                procedure,
                credential,
            },
            peer: ([192, 0, 2, 9], 700).into(),
            local: local.parse().expect(local),
            transport: Transport::Udp,
            link: Link::default(),
            arguments: arguments.to_vec().into(),
        }
    }

    fn ask(mapper: &PortMapper, call: Call) -> Result<Vec<u8>, Fault> {
        match mapper.call(call) {
            Answer::Now(reply) => reply.map(|writer| writer.into_bytes().to_vec()),
            Answer::Later(_) => unreachable!("it knows all its answers"),
        }
    }

    fn bytes(value: &impl Encode) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.put(value);
        writer.into_bytes().to_vec()
    }

    fn getport(program: u32, version: u32, protocol: u32) -> Option<u32> {
        let arguments = bytes(&Mapping { program, version, protocol, port: 0 });
        let answer = ask(&mapper(), call("192.0.2.1:111", 2, v2::GETPORT, &arguments)).ok()?;
        Reader::new(&answer).u32().ok()
    }

    fn getaddr_of(
        mapper: &PortMapper,
        local: &str,
        procedure: u32,
        (program, version, netid): (u32, u32, &str),
    ) -> String {
        let (address, owner) = (vec![], vec![]);
        let asked = Binding { program, version, netid: netid.into(), address, owner };
        let answer = ask(mapper, call(local, 4, procedure, &bytes(&asked))).expect("an answer");
        let text = Reader::new(&answer).opaque(128).expect("a string").to_vec();
        String::from_utf8(text).expect("ASCII")
    }

    #[test]
    fn getport_finds_each_program() {
        assert_eq!(getport(NFS, 3, 6), Some(2049));
        assert_eq!(getport(NFS, 3, 17), Some(0));
        assert_eq!(getport(NFS, 4, 6), Some(2049));
        assert_eq!(getport(NLM, 4, 17), Some(2049));
        assert_eq!(getport(portmap::PROGRAM, 2, 6), Some(111));
        assert_eq!(getport(5, 1, 6), Some(0));
    }

    #[test]
    fn getaddr_answers_with_the_address_that_was_reached() {
        let getaddr = |local: &str, asked| getaddr_of(&mapper(), local, v3::GETADDR, asked);
        assert_eq!(getaddr("192.0.2.1:111", (NFS, 3, "tcp")), "192.0.2.1.8.1");
        assert_eq!(getaddr("[2001:db8::1]:111", (NFS, 3, "tcp6")), "2001:db8::1.8.2");
        assert_eq!(getaddr("192.0.2.1:111", (MOUNT, 3, "")), "192.0.2.1.8.1");
        assert_eq!(getaddr("192.0.2.1:111", (NFS, 3, "udp")), "");
        assert_eq!(getaddr("192.0.2.1:111", (NFS, 3, "tcp6")), "");
        assert_eq!(getaddr("192.0.2.1:111", (NFS, 4, "tcp")), "192.0.2.1.8.1");
        assert_eq!(getaddr("192.0.2.1:111", (NFS, 3, "local")), "");
        let exact = |asked| getaddr_of(&mapper(), "192.0.2.1:111", v3::GETVERSADDR, asked);
        assert_eq!(exact((NFS, 4, "tcp")), "");
        assert_eq!(exact((NFS, 3, "tcp")), "192.0.2.1.8.1");
    }

    #[test]
    fn the_socket_at_the_address_that_was_reached_is_preferred() {
        let listen = addresses(&["192.0.2.1:1", "192.0.2.2:2", "[::1]:3"]);
        let mapper = PortMapper::new(&SERVICES, &listen, &[]);
        let getaddr = |local: &str, asked| getaddr_of(&mapper, local, v3::GETADDR, asked);
        assert_eq!(getaddr("192.0.2.2:111", (NFS, 3, "tcp")), "192.0.2.2.0.2");
        assert_eq!(getaddr("192.0.2.3:111", (NFS, 3, "tcp")), "192.0.2.1.0.1");
        assert_eq!(getaddr("192.0.2.3:111", (NFS, 3, "tcp6")), "::1.0.3");
    }

    #[test]
    fn lists_hold_every_entry() {
        let list = ask(&mapper(), call("192.0.2.1:111", 2, v2::DUMP, &[])).expect("a list");
        let mut reader = Reader::new(&list);
        let mut mappings = Vec::new();
        while reader.bool().expect("a list") {
            mappings.push(reader.get::<Mapping>().expect("a mapping"));
        }
        assert_eq!(reader.finish(), Ok(()));
        let nfs = Mapping { program: NFS, version: 3, protocol: 6, port: 2049 };
        assert!(mappings.contains(&nfs) && mappings.len() == 17, "{mappings:?}");
        let list = ask(&mapper(), call("192.0.2.1:111", 3, v3::DUMP, &[])).expect("a list");
        let mut reader = Reader::new(&list);
        let mut count = 0;
        while reader.bool().expect("a list") {
            reader.get::<Binding>().expect("a binding");
            count += 1;
        }
        assert_eq!((reader.finish(), count), (Ok(()), 34));
    }

    #[test]
    fn nobody_registers_and_nobody_calls_through() {
        let mapping = bytes(&Mapping { program: NFS, version: 3, protocol: 6, port: 1 });
        let local = "127.0.0.1:111";
        assert_eq!(ask(&mapper(), call(local, 2, v2::SET, &mapping)), Ok(vec![0; 4]));
        assert_eq!(ask(&mapper(), call(local, 2, v2::UNSET, &mapping)), Ok(vec![0; 4]));
        let refused = Err(Fault::ProcedureUnavailable);
        assert_eq!(ask(&mapper(), call(local, 2, 5, &mapping)), refused);
        assert_eq!(ask(&mapper(), call(local, 4, 5, &mapping)), refused);
        assert_eq!(ask(&mapper(), call(local, 4, 10, &mapping)), refused);
        assert_eq!(ask(&mapper(), call(local, 3, v3::GETVERSADDR, &mapping)), refused);
        assert_eq!(getport(NFS, 3, 6), Some(2049));
    }

    proptest! {
        #[test]
        fn no_arguments_make_a_procedure_panic(
            version in 2u32..5, procedure in 0u32..14, arguments: Vec<u8>,
        ) {
            let _ = ask(&mapper(), call("192.0.2.1:111", version, procedure, &arguments));
        }
    }
}
