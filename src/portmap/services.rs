//! What is registered: each program, version and transport at each address.

use std::net::{IpAddr, SocketAddr};

use cleat_rpc::portmap::{Binding, Protocol, universal_address};

/// NFS.
pub const NFS: u32 = 100_003;
/// MOUNT.
pub const MOUNT: u32 = cleat_mount::wire::PROGRAM;
/// NLM.
pub const NLM: u32 = 100_021;
/// NSM.
pub const NSM: u32 = 100_024;

/// A program as its clients look for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// Its number.
    pub program: u32,
    /// Its version.
    pub version: u32,
    /// The transports it is served on.
    pub protocols: &'static [Protocol],
}

/// What this server is asked for.
pub const SERVICES: [Service; 6] = [
    Service { program: NFS, version: 3, protocols: &[Protocol::Tcp] },
    Service { program: MOUNT, version: 3, protocols: &[Protocol::Tcp, Protocol::Udp] },
    Service { program: NLM, version: 1, protocols: &[Protocol::Tcp, Protocol::Udp] },
    Service { program: NLM, version: 3, protocols: &[Protocol::Tcp, Protocol::Udp] },
    Service { program: NLM, version: 4, protocols: &[Protocol::Tcp, Protocol::Udp] },
    Service { program: NSM, version: 1, protocols: &[Protocol::Tcp, Protocol::Udp] },
];

/// The name under which people know a program.
#[must_use]
pub const fn name(program: u32) -> &'static str {
    match program {
        NFS => "NFS",
        MOUNT => "MOUNT",
        NLM => "NLM",
        NSM => "NSM",
        _ => "a program",
    }
}

/// A program, version and transport at one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The program.
    pub program: u32,
    /// The version.
    pub version: u32,
    /// The transport.
    pub protocol: Protocol,
    /// Where it listens; the address may be that of any.
    pub address: SocketAddr,
}

impl Entry {
    /// The netid: transport and address family.
    #[must_use]
    pub const fn netid(&self) -> &'static str {
        self.protocol.netid(self.address.ip())
    }

    /// As rpcbind's messages have it.
    #[must_use]
    pub fn binding(&self, owner: &str) -> Binding {
        Binding {
            program: self.program,
            version: self.version,
            netid: self.netid().into(),
            address: universal_address(self.address).into(),
            owner: owner.into(),
        }
    }
}

/// Each of the services at each of the addresses.
#[must_use]
pub fn entries(services: &[Service], addresses: &[SocketAddr]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for service in services {
        for protocol in service.protocols {
            entries.extend(addresses.iter().map(|address| Entry {
                program: service.program,
                version: service.version,
                protocol: *protocol,
                address: *address,
            }));
        }
    }
    entries
}

/// One address of each family, the one of any if there is one: a port mapper holds one address
/// for each program, version and netid.
#[must_use]
pub fn representatives(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first = |family: fn(&IpAddr) -> bool| {
        let mut of_family = addresses.iter().filter(|address| family(&address.ip()));
        let any = of_family.clone().find(|address| address.ip().is_unspecified());
        any.or_else(|| of_family.next()).copied()
    };
    [first(IpAddr::is_ipv4), first(IpAddr::is_ipv6)].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    #[test]
    fn one_address_of_each_family_stands_for_the_others() {
        let listen = addresses(&["192.0.2.1:1", "[::1]:2", "0.0.0.0:3", "[::2]:4"]);
        assert_eq!(representatives(&listen), addresses(&["0.0.0.0:3", "[::1]:2"]));
        assert_eq!(representatives(&listen[..1]), addresses(&["192.0.2.1:1"]));
    }

    #[test]
    fn nfs_is_for_tcp_and_the_others_for_udp_too() {
        let entries = entries(&SERVICES, &addresses(&["0.0.0.0:2049", "[::]:2049"]));
        let shown: Vec<_> =
            entries.iter().map(|entry| (entry.program, entry.version, entry.netid())).collect();
        assert_eq!(shown[..2], [(NFS, 3, "tcp"), (NFS, 3, "tcp6")]);
        assert_eq!(
            shown[2..6].iter().map(|entry| entry.2).collect::<Vec<_>>(),
            ["tcp", "tcp6", "udp", "udp6"]
        );
        assert_eq!(shown.len(), 22);
        let binding = entries[1].binding("me");
        assert_eq!((&binding.netid[..], &binding.address[..]), (&b"tcp6"[..], &b"::.8.1"[..]));
    }
}
