//! Portmap v2 and rpcbind v3/v4 (RFC 1833): where a program listens.

use std::net::{IpAddr, SocketAddr};

use crate::xdr::{Decode, Encode, Reader, Result, Writer};

/// The port mapper's program number, also its port's.
pub const PROGRAM: u32 = 100_000;
/// The port where every host's port mapper listens.
pub const PORT: u16 = 111;

/// Procedures of portmap v2 (RFC 1833 3).
pub mod v2 {
    /// PMAPPROC_SET.
    pub const SET: u32 = 1;
    /// PMAPPROC_UNSET.
    pub const UNSET: u32 = 2;
    /// PMAPPROC_GETPORT.
    pub const GETPORT: u32 = 3;
    /// PMAPPROC_DUMP.
    pub const DUMP: u32 = 4;
}

/// Procedures that rpcbind v3 and v4 share (RFC 1833 2).
pub mod v3 {
    /// RPCBPROC_SET.
    pub const SET: u32 = 1;
    /// RPCBPROC_UNSET.
    pub const UNSET: u32 = 2;
    /// RPCBPROC_GETADDR.
    pub const GETADDR: u32 = 3;
    /// RPCBPROC_DUMP.
    pub const DUMP: u32 = 4;
    /// RPCBPROC_GETTIME.
    pub const GETTIME: u32 = 6;
    /// RPCBPROC_GETVERSADDR, of v4 only: GETADDR for exactly the version asked.
    pub const GETVERSADDR: u32 = 9;
}

/// The longest string in a rpcbind message that is accepted, in bytes.
pub const STRING_BYTES_MAX: usize = 128;

/// IP protocol numbers, as portmap v2 names a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Protocol {
    /// IPPROTO_TCP.
    Tcp = 6,
    /// IPPROTO_UDP.
    Udp = 17,
}

impl Protocol {
    /// The netid by which rpcbind names this transport over the family of `ip` (RFC 5665).
    #[must_use]
    pub const fn netid(self, ip: IpAddr) -> &'static str {
        match (self, ip) {
            (Self::Tcp, IpAddr::V4(_)) => "tcp",
            (Self::Tcp, IpAddr::V6(_)) => "tcp6",
            (Self::Udp, IpAddr::V4(_)) => "udp",
            (Self::Udp, IpAddr::V6(_)) => "udp6",
        }
    }
}

/// A mapping of portmap v2: `struct mapping` (RFC 1833 3.1). Numbers as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// The program.
    pub program: u32,
    /// Its version.
    pub version: u32,
    /// The transport's IP protocol number.
    pub protocol: u32,
    /// The port; 0 in a question.
    pub port: u32,
}

impl Decode<'_> for Mapping {
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            program: reader.u32()?,
            version: reader.u32()?,
            protocol: reader.u32()?,
            port: reader.u32()?,
        })
    }
}

impl Encode for Mapping {
    fn encode(&self, writer: &mut Writer) {
        [self.program, self.version, self.protocol, self.port]
            .into_iter()
            .for_each(|word| writer.u32(word));
    }
}

/// A mapping of rpcbind: `struct rpcb` (RFC 1833 2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The program.
    pub program: u32,
    /// Its version.
    pub version: u32,
    /// The transport: "tcp", "udp", "tcp6" or "udp6" here.
    pub netid: Vec<u8>,
    /// The universal address.
    pub address: Vec<u8>,
    /// Who owns the mapping.
    pub owner: Vec<u8>,
}

impl Decode<'_> for Binding {
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            program: reader.u32()?,
            version: reader.u32()?,
            netid: reader.opaque(STRING_BYTES_MAX)?.to_vec(),
            address: reader.opaque(STRING_BYTES_MAX)?.to_vec(),
            owner: reader.opaque(STRING_BYTES_MAX)?.to_vec(),
        })
    }
}

impl Encode for Binding {
    fn encode(&self, writer: &mut Writer) {
        writer.u32(self.program);
        writer.u32(self.version);
        writer.opaque(&self.netid);
        writer.opaque(&self.address);
        writer.opaque(&self.owner);
    }
}

/// A socket address as a universal address: "10.0.0.1.8.1" for port 2049 (RFC 5665 5.2.3.3).
#[must_use]
pub fn universal_address(address: SocketAddr) -> String {
    let [high, low] = address.port().to_be_bytes();
    format!("{}.{high}.{low}", address.ip())
}

/// The socket address that a universal address names, or `None` where it names none.
#[must_use]
pub fn parse_universal_address(text: &str) -> Option<SocketAddr> {
    let (rest, low) = text.rsplit_once('.')?;
    let (host, high) = rest.rsplit_once('.')?;
    let port = u16::from_be_bytes([high.parse().ok()?, low.parse().ok()?]);
    Some(SocketAddr::new(host.parse().ok()?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn universal_addresses_go_both_ways() {
        for text in ["10.0.0.1.8.1", "::1.0.111", "fe80::1.255.255", "0.0.0.0.0.0"] {
            let address = parse_universal_address(text).expect(text);
            assert_eq!(universal_address(address), text);
        }
        for text in ["", "1.2", "10.0.0.1.256.1", "10.0.0.1.8", "host.8.1", "10.0.0.1.8.-1"] {
            assert_eq!(parse_universal_address(text), None, "{text}");
        }
    }
}
