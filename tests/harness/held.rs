//! A server and a file of which somebody holds the first ten bytes: where stories of waiting begin.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use cleat_nlm::Version;
use cleat_nlm::wire::Stat;

use super::host::{Granted, Host, Say};
use super::{Client, EXCLUSIVE, Server, Site};

/// What comes at once may take its time where much else runs.
pub const SOON: Duration = Duration::from_secs(20);
/// Longer than the time to the first repetition.
pub const QUIET: Duration = Duration::from_millis(1500);
pub const HOLDER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
pub const A: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
pub const B: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));
/// The addresses of the server that clients mounted.
pub const SERVER: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 10)), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11))];
/// The bytes that are held.
pub const TEN: (u64, u64) = (0, 10);
pub const DENIED: Say = Say::Stat(Stat::Denied);

/// The server at one of its addresses.
pub fn at(server: &Server, ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, server.address.port())
}

/// A server, a client that holds the first ten bytes of a file, and that file.
pub fn held(site: &Site) -> (Server, Client, Vec<u8>) {
    let server = site.serve_with(&["--grace-s", "20", "--log", "cleat=debug"]);
    let mut holder = Client::connect_from(&server, "holder", HOLDER);
    let file = holder.file(site);
    assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Granted);
    (server, holder, file)
}

/// The same, with a client host that may wait for it.
pub struct Story {
    pub server: Server,
    pub holder: Client,
    pub file: Vec<u8>,
    pub host: Host,
    pub a: Client,
}

impl Story {
    pub fn new(site: &Site) -> Self {
        Self::over(site, Client::connect_to)
    }

    /// The client speaks as `connect` has it.
    pub fn over(site: &Site, connect: fn(SocketAddr, &str, IpAddr) -> Client) -> Self {
        let (server, holder, file) = held(site);
        let host = Host::new(A);
        let a = connect(at(&server, SERVER[0]), "a", A);
        Self { server, holder, file, host, a }
    }
}

/// The call that is expected where `a` waits for [`TEN`] as its process `svid`.
pub fn expected(from: IpAddr, udp: bool, cookie: &[u8], fh: &[u8], svid: u32) -> Granted {
    let (caller_name, oh) = (b"a".to_vec(), b"owner".to_vec());
    let (cookie, fh) = (cookie.to_vec(), fh.to_vec());
    let (version, message) = (Version::V4, false);
    let (exclusive, range) = (true, TEN);
    Granted { from, udp, version, message, cookie, exclusive, caller_name, fh, oh, svid, range }
}
