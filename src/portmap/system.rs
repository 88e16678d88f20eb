//! Registers with the rpcbind of this host, and sees who has our programs already.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use cleat_rpc::portmap::{self, Binding, Protocol, parse_universal_address};

use super::client::{Link, RpcbindError, SOCKET};
use super::services::{Entry, NLM, NSM, name};
use crate::rpc_client::{self, Procedure, Resend, Route};
use crate::rpc_server::Transport;

/// How long a service that holds one of our programs has to show that it is alive.
const PROBE_PATIENCE: Duration = Duration::from_millis(800);

/// A program of ours that another service has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The program.
    pub program: u32,
    /// The version.
    pub version: u32,
    /// The transport.
    pub netid: String,
    /// Where it is registered, as a universal address.
    pub address: String,
    /// Whether something answers there.
    pub alive: bool,
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { program, version, netid, address, alive } = self;
        write!(f, "{} (program {program} version {version}, {netid}) ", name(*program))?;
        if !alive {
            return write!(
                f,
                "is registered at {address} by another user and nothing answers there: remove it \
                 with `rpcinfo -d {program} {version}`"
            );
        }
        match *program {
            NLM => write!(
                f,
                "is served by another service at {address}, probably this kernel's own lockd: \
                 locks of clients will go there and fail; unmount NFS version 3 here, stop \
                 nfs-server, and start again"
            ),
            NSM => write!(
                f,
                "is served by another service at {address}, probably rpc.statd: Cleat has it monitor \
                 clients, and hears from it when one restarts"
            ),
            _ => write!(
                f,
                "is served by another service at {address}: clients will be sent there; stop it, \
                 as with `systemctl stop nfs-server`"
            ),
        }
    }
}

/// What came of registering.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What is registered now, be it from now or from before.
    pub(super) held: Vec<Entry>,
    /// How many of these were added just now.
    pub(super) added: usize,
    /// What others have.
    pub(super) conflicts: Vec<Conflict>,
    /// What rpcbind would not take, though nobody has it.
    pub(super) refused: Vec<Entry>,
}

/// The ways on which the rpcbind that serves this host's network answers, the best first. The
/// local socket is a matter of files, and a container may see that of another network: so it
/// counts only beside an answer on the loopback interface.
pub(super) async fn links() -> Vec<Link> {
    let mut links = Vec::new();
    for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let link = Link::Tcp(SocketAddr::new(ip, portmap::PORT));
        match link.null().await {
            Ok(()) => links.push(link),
            Err(error) => tracing::debug!(%link, %error, "no rpcbind"),
        }
    }
    let local = Link::Unix(Path::new(SOCKET));
    if !links.is_empty() && local.null().await.is_ok() {
        links.insert(0, local);
    }
    links
}

/// Sees to it that every entry is registered that nobody else has.
pub(super) async fn ensure(link: &Link, entries: &[Entry]) -> Result<Outcome, RpcbindError> {
    let registered = link.dump().await?;
    let mut outcome = Outcome::default();
    for entry in entries {
        match registered.iter().find(|binding| same_service(binding, entry)) {
            None => set(link, *entry, &mut outcome).await?,
            // Ours, of now or of an instance that was killed.
            Some(binding) if port(binding) == Some(entry.address.port()) => {
                outcome.held.push(*entry);
            }
            Some(binding) => replace(link, *entry, binding, &mut outcome).await?,
        }
    }
    Ok(outcome)
}

async fn set(link: &Link, entry: Entry, outcome: &mut Outcome) -> Result<(), RpcbindError> {
    if link.set(&entry.binding("")).await? {
        outcome.held.push(entry);
        outcome.added += 1;
    } else {
        outcome.refused.push(entry);
    }
    Ok(())
}

/// Takes the place of a registration that somebody left behind, but of nobody who is alive.
async fn replace(
    link: &Link,
    entry: Entry,
    binding: &Binding,
    outcome: &mut Outcome,
) -> Result<(), RpcbindError> {
    let alive = answers(&entry, binding).await;
    if !alive && link.unset(binding).await? {
        return set(link, entry, outcome).await;
    }
    outcome.conflicts.push(Conflict {
        program: entry.program,
        version: entry.version,
        netid: entry.netid().to_owned(),
        address: String::from_utf8_lossy(&binding.address).into_owned(),
        alive,
    });
    Ok(())
}

/// Removes what was registered. What is no longer there is no mistake.
pub(super) async fn remove(link: &Link, entries: &[Entry]) -> Result<(), RpcbindError> {
    for entry in entries {
        link.unset(&entry.binding("")).await?;
    }
    Ok(())
}

/// Whether all of these registrations can be seen over a link.
pub(super) async fn sees(link: &Link, entries: &[Entry]) -> Result<bool, RpcbindError> {
    let registered = link.dump().await?;
    let seen = |entry: &Entry| registered.iter().any(|binding| same_service(binding, entry));
    Ok(entries.iter().all(seen))
}

fn same_service(binding: &Binding, entry: &Entry) -> bool {
    binding.program == entry.program
        && binding.version == entry.version
        && binding.netid == entry.netid().as_bytes()
}

fn address(binding: &Binding) -> Option<SocketAddr> {
    parse_universal_address(std::str::from_utf8(&binding.address).ok()?)
}

fn port(binding: &Binding) -> Option<u16> {
    address(binding).map(|address| address.port())
}

/// Whether a program is alive where it is registered.
async fn answers(entry: &Entry, binding: &Binding) -> bool {
    let Some(address) = address(binding) else {
        return false;
    };
    let (loopback, any): (IpAddr, IpAddr) = if address.is_ipv4() {
        (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::UNSPECIFIED.into())
    } else {
        (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into())
    };
    let to = if address.ip().is_unspecified() { loopback } else { address.ip() };
    let transport = match entry.protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
    };
    let null = Procedure { program: entry.program, version: entry.version, number: 0 };
    let route = Route { to, from: any, transport };
    match rpc_client::call(route, address.port(), null, &[], Resend::UntilAnswered, PROBE_PATIENCE)
        .await
    {
        // Whatever it answers, something does.
        Ok(_) | Err(rpc_client::CallError::Refused(_)) => true,
        Err(_) => false,
    }
}
