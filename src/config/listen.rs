//! Addresses to listen on, as people write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// The port of NFS, where everything is served unless said otherwise.
pub const PORT: u16 = 2049;

/// The addresses that `ADDR[:PORT]` means. `*` is every address of the host, IPv4 and IPv6;
/// `0.0.0.0` is every IPv4 address alone and `[::]` every IPv6 address alone. Port 0 is any free
/// one. Without `ipv6`, the host has none and `*` is IPv4 alone.
pub fn parse(text: &str, ipv6: bool) -> Result<Vec<SocketAddr>, String> {
    let text = text.trim();
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, PORT)]);
    }
    if let Some(ip) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let ip: Ipv6Addr = ip.parse().map_err(|_| complaint(text))?;
        return Ok(vec![SocketAddr::new(ip.into(), PORT)]);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    let port = match text.strip_prefix('*').unwrap_or(text) {
        "" if text == "*" => PORT,
        rest => rest
            .strip_prefix(':')
            .and_then(|port| port.parse().ok())
            .ok_or_else(|| complaint(text))?,
    };
    let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
    let families = if ipv6 { &any[..] } else { &any[..1] };
    Ok(families.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
}

/// Whether the kernel of this host knows IPv6.
#[must_use]
pub fn host_has_ipv6() -> bool {
    Socket::new(Domain::IPV6, Type::STREAM, None).is_ok()
}

fn complaint(text: &str) -> String {
    format!(
        "\"{text}\" is no address to listen on; write *:2049, 192.0.2.1:2049 or [2001:db8::1]:2049"
    )
}

/// Whether listening on `one` takes the port of `other` as well.
#[must_use]
pub fn overlaps(one: SocketAddr, other: SocketAddr) -> bool {
    let (any_one, any_other) = (one.ip().is_unspecified(), other.ip().is_unspecified());
    one.is_ipv4() == other.is_ipv4()
        && one.port() == other.port()
        && (one.port() != 0 || one == other)
        && (one == other || any_one || any_other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_port_and_brackets() {
        let table: [(&str, &[&str]); 12] = [
            ("*", &["0.0.0.0:2049", "[::]:2049"]),
            ("*:111", &["0.0.0.0:111", "[::]:111"]),
            (":111", &["0.0.0.0:111", "[::]:111"]),
            ("0.0.0.0", &["0.0.0.0:2049"]),
            ("192.0.2.1:0", &["192.0.2.1:0"]),
            ("::", &["[::]:2049"]),
            ("[::]", &["[::]:2049"]),
            ("[::]:20490", &["[::]:20490"]),
            ("::1", &["[::1]:2049"]),
            ("2001:db8::1:2049", &["[2001:db8::1:2049]:2049"]),
            ("[2001:db8::1]:1", &["[2001:db8::1]:1"]),
            (" 192.0.2.1 ", &["192.0.2.1:2049"]),
        ];
        for (text, expected) in table {
            let expected = expected.iter().map(|one| one.parse().expect(one)).collect();
            assert_eq!(parse(text, true), Ok(expected), "{text}");
        }
        assert_eq!(parse("*", false), Ok(vec![(Ipv4Addr::UNSPECIFIED, PORT).into()]));
        for text in ["", "host", "2049", "*2049", "192.0.2.1:65536", "[::1", "[::1]2049", "*:"] {
            assert!(parse(text, true).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_of_all_overlaps_each_of_its_family() {
        let overlap =
            |a: &str, b: &str| overlaps(a.parse().expect("one"), b.parse().expect("other"));
        assert!(overlap("0.0.0.0:1", "192.0.2.1:1") && overlap("[::1]:1", "[::]:1"));
        assert!(overlap("[::1]:1", "[::1]:1") && overlap("[::1]:0", "[::1]:0"));
        assert!(!overlap("0.0.0.0:1", "[::]:1") && !overlap("0.0.0.0:1", "192.0.2.1:2"));
        assert!(!overlap("192.0.2.2:1", "192.0.2.1:1") && !overlap("0.0.0.0:0", "192.0.2.1:0"));
    }
}
