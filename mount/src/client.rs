//! Which clients a rule of an export is for.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::options::Options;

/// The bits before the IPv4 address in an IPv4-mapped IPv6 address (RFC 4291 2.5.5.2).
const MAPPED_PREFIX_BITS: u8 = 96;

/// Whom a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    /// `*`: every host.
    AnyHost,
    /// The hosts of a network; a single host is a network of one.
    Net(IpNet),
}

/// A rule of an export: who, and what they may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientRule {
    /// Whom it is for.
    pub who: Who,
    /// What they may do, and as whom.
    pub options: Options,
}

impl ClientRule {
    /// A rule for every host.
    #[must_use]
    pub const fn any_host(options: Options) -> Self {
        Self { who: Who::AnyHost, options }
    }
}

/// A text that names no clients, with the reason and the mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientError {
    /// It is no address, network or `*`.
    NotAnAddress(String),
    /// A network with bits set behind its prefix: what was written, and the network meant.
    HostBits(String, IpNet),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnAddress(text) if text.starts_with('@') => {
                write!(f, "\"{text}\": netgroups are not served; write the clients' addresses")
            }
            Self::NotAnAddress(text) => write!(
                f,
                "\"{text}\" names no clients; write an address (192.0.2.7), a network \
                 (192.0.2.0/24, 2001:db8::/32) or \"*\""
            ),
            Self::HostBits(text, net) => {
                write!(f, "\"{text}\" has bits set behind its prefix; write \"{net}\"")
            }
        }
    }
}

impl std::error::Error for ClientError {}

impl Who {
    /// Reads `*`, an address, or a network as address/prefix or address/netmask.
    pub fn parse(text: &str) -> Result<Self, ClientError> {
        let text = text.trim();
        if text == "*" {
            return Ok(Self::AnyHost);
        }
        let bad = || ClientError::NotAnAddress(text.to_owned());
        let net = match text.split_once('/') {
            None => IpNet::from(text.parse::<IpAddr>().map_err(|_| bad())?),
            Some((address, mask)) if mask.contains('.') => {
                let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
                let mask: Ipv4Addr = mask.parse().map_err(|_| bad())?;
                Ipv4Net::with_netmask(address, mask).map_err(|_| bad())?.into()
            }
            Some(_) => text.parse::<IpNet>().map_err(|_| bad())?,
        };
        if net.addr() != net.network() {
            return Err(ClientError::HostBits(text.to_owned(), net.trunc()));
        }
        Ok(Self::Net(unmapped(net)))
    }

    /// Whether a peer is meant. The address is canonical: never an IPv4-mapped one.
    #[must_use]
    pub fn matches(&self, peer: IpAddr) -> bool {
        match self {
            Self::AnyHost => true,
            Self::Net(net) => net.contains(&peer),
        }
    }

    /// Greater for the rule that counts where two match.
    pub(crate) fn specificity(&self) -> Option<u8> {
        match self {
            Self::AnyHost => None,
            Self::Net(net) => Some(net.prefix_len()),
        }
    }
}

/// A network of IPv4-mapped IPv6 addresses as the IPv4 network it maps.
fn unmapped(net: IpNet) -> IpNet {
    let mapped = |net: Ipv6Net| {
        let prefix = net.prefix_len().checked_sub(MAPPED_PREFIX_BITS)?;
        Ipv4Net::new(net.addr().to_ipv4_mapped()?, prefix).ok()
    };
    match net {
        IpNet::V6(v6) => mapped(v6).map_or(net, IpNet::V4),
        IpNet::V4(_) => net,
    }
}

impl fmt::Display for Who {
    /// As [`Who::parse`] reads it; a network of one host without its prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyHost => f.write_str("*"),
            Self::Net(net) if net.prefix_len() == net.max_prefix_len() => {
                write!(f, "{}", net.addr())
            }
            Self::Net(net) => write!(f, "{net}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_read_and_shown() {
        let table = [
            ("*", "*"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.0/255.255.0.0", "10.0.0.0/16"),
            ("10.0.0.7/32", "10.0.0.7"),
            ("192.0.2.7", "192.0.2.7"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ];
        for (text, shown) in table {
            assert_eq!(Who::parse(text).expect(text).to_string(), shown);
        }
    }

    #[test]
    fn what_names_no_clients_is_refused_with_the_mend() {
        let table = [
            ("@trusted", "\"@trusted\": netgroups are not served; write the clients' addresses"),
            ("10.1.2.3/8", "\"10.1.2.3/8\" has bits set behind its prefix; write \"10.0.0.0/8\""),
            (
                "*.example.org",
                "\"*.example.org\" names no clients; write an address (192.0.2.7), a network \
                 (192.0.2.0/24, 2001:db8::/32) or \"*\"",
            ),
        ];
        for (text, message) in table {
            assert_eq!(Who::parse(text).expect_err(text).to_string(), message);
        }
        for text in ["", "10.0.0.0/33", "10.0.0", "10.0.0.0/255.0.255.0", "::1/129", "host"] {
            assert!(Who::parse(text).is_err(), "{text}");
        }
    }
}
