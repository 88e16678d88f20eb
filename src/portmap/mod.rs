//! Has clients find our port: registers with the host's rpcbind, or answers in its place.

mod client;
mod server;
pub mod services;
mod system;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cleat_nlm::monitor::CALLBACK_VERSION;
use cleat_rpc::portmap::{PORT, Protocol};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::config::Rpcbind;
use crate::rpc_server::{Listener, Sockets};

use client::Link;
pub use client::RpcbindError;
pub use server::PortMapper;
use services::{Entry, NLM, NSM, SERVICES, representatives};
pub use system::Conflict;
use system::Outcome;

/// How often it is made sure that our registrations are still there: a restarted rpcbind has
/// forgotten them, and a service that had a program of ours may have gone.
const CHECK: Duration = Duration::from_secs(60);
/// How long the port mapper of our own finishes its answers at the end.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// Why clients cannot be helped to our port in the way that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// No rpcbind answers on the loopback interface.
    #[error(
        "no rpcbind answers on this host; start one (systemctl start rpcbind), or use --rpcbind \
         embedded"
    )]
    NoRpcbind,
    /// A rpcbind is there and did not do it.
    #[error("rpcbind: {0}")]
    Rpcbind(#[from] RpcbindError),
    /// The rpcbind took none of our programs.
    #[error("rpcbind took no registration; see the warnings above")]
    NothingTaken,
    /// Port 111 cannot be had.
    #[error(
        "no rpcbind answers on this host, nor can port {PORT} be listened on: {0}; start rpcbind \
         (systemctl start rpcbind), or run as root"
    )]
    Bind(#[source] io::Error),
}

/// How clients find our port, for as long as the server runs.
pub struct Registration {
    way: Way,
    foreign_statd: watch::Receiver<bool>,
}

/// What is registered beside the services: where a rpc.statd of this host calls back, if it has
/// NSM's program in our place; and who wants to know whether it has.
struct Beside {
    callback: Option<SocketAddr>,
    foreign_statd: watch::Sender<bool>,
}

impl Beside {
    /// Sees to it that the address is registered where a living service of this host has NSM's
    /// program, and only there.
    async fn look(&self, link: &Link, outcome: &mut Outcome) -> Result<(), RpcbindError> {
        let foreign = outcome.conflicts.iter().any(|each| each.program == NSM && each.alive);
        if let Some(address) = self.callback {
            let (program, version) = (NLM, CALLBACK_VERSION);
            let entry = Entry { program, version, protocol: Protocol::Udp, address };
            if foreign {
                let callback = system::ensure(link, &[entry]).await?;
                outcome.held.extend(callback.held);
                outcome.conflicts.extend(callback.conflicts);
            } else {
                // It may be there from before, or from an instance that was killed.
                system::remove(link, &[entry]).await?;
            }
        }
        self.foreign_statd.send_replace(foreign);
        Ok(())
    }
}

enum Way {
    System { stop: oneshot::Sender<()>, keeper: JoinHandle<()> },
    Embedded(Listener),
    Off,
}

impl Registration {
    /// Registers our programs at the addresses the listener has bound, in the way asked for. To
    /// be called once these addresses are served. With `auto` it does what can be done and never
    /// fails: who is told the port needs no port mapper.
    ///
    /// Where a rpc.statd of this host has NSM's program, `callback` is registered for it to call.
    pub async fn start(
        mode: Rpcbind,
        listen: &[SocketAddr],
        callback: Option<SocketAddr>,
    ) -> Result<Self, RegisterError> {
        Self::start_checked_every(CHECK, mode, listen, callback).await
    }

    /// The same, making sure of the registrations every so often.
    pub async fn start_checked_every(
        every: Duration,
        mode: Rpcbind,
        listen: &[SocketAddr],
        callback: Option<SocketAddr>,
    ) -> Result<Self, RegisterError> {
        let (send, foreign_statd) = watch::channel(false);
        let beside = Beside { callback, foreign_statd: send };
        let way = match mode {
            Rpcbind::Off => Way::Off,
            Rpcbind::System => Self::system(listen, every, beside).await?,
            Rpcbind::Embedded => Self::embedded(listen)?,
            Rpcbind::Auto => Self::auto(listen, every, beside).await,
        };
        if matches!(way, Way::Off) {
            let port = listen.first().map_or(0, SocketAddr::port);
            warn!(
                "not registered with a port mapper: clients must mount with \
                 port={port},mountport={port},nolock, and Linux cannot lock through the server"
            );
        }
        Ok(Self { way, foreign_statd })
    }

    /// Whether a living service of this host, its rpc.statd, has NSM's program. It may change.
    #[must_use]
    pub fn foreign_statd(&self) -> watch::Receiver<bool> {
        self.foreign_statd.clone()
    }

    async fn auto(listen: &[SocketAddr], every: Duration, beside: Beside) -> Way {
        let way = match Self::system(listen, every, beside).await {
            Err(RegisterError::NoRpcbind) => Self::embedded(listen),
            other => other,
        };
        way.unwrap_or_else(|failure| {
            warn!("{failure}");
            Way::Off
        })
    }

    async fn system(
        listen: &[SocketAddr],
        every: Duration,
        beside: Beside,
    ) -> Result<Way, RegisterError> {
        let entries = services::entries(&SERVICES, &representatives(listen));
        let (link, mut outcome) = register(&entries).await?;
        beside.look(&link, &mut outcome).await?;
        info!(%link, registrations = outcome.held.len(), "registered with rpcbind");
        let (stop, stopped) = oneshot::channel();
        let keeper = tokio::spawn(keep(link, entries, outcome, beside, every, stopped));
        Ok(Way::System { stop, keeper })
    }

    fn embedded(listen: &[SocketAddr]) -> Result<Way, RegisterError> {
        let mut itself: Vec<SocketAddr> = Vec::new();
        for address in listen {
            let mut address = *address;
            address.set_port(PORT);
            if !itself.contains(&address) {
                itself.push(address);
            }
        }
        let sockets = Sockets::bind(&itself).map_err(RegisterError::Bind)?;
        let mapper = PortMapper::new(&SERVICES, listen, &itself);
        let listener = Listener::new(vec![Arc::new(mapper)]);
        listener.serve(sockets);
        info!("no rpcbind needed: answering on port {PORT}");
        Ok(Way::Embedded(listener))
    }

    /// How clients find our port, in a word for people.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self.way {
            Way::System { .. } => "system",
            Way::Embedded(_) => "embedded",
            Way::Off => "off",
        }
    }

    /// Removes what was registered, or stops answering on port 111.
    pub async fn stop(self) {
        match self.way {
            Way::System { stop, keeper } => {
                let _ = stop.send(());
                if let Err(error) = keeper.await {
                    warn!(%error, "could not unregister from rpcbind");
                }
            }
            Way::Embedded(listener) => {
                listener.stop(STOP_PATIENCE).await;
            }
            Way::Off => {}
        }
    }
}

/// Registers over the first link after which clients see it: on the loopback interface.
async fn register(entries: &[Entry]) -> Result<(Link, Outcome), RegisterError> {
    let links = system::links().await;
    let witness = links.last().cloned().ok_or(RegisterError::NoRpcbind)?;
    let mut failure = RegisterError::NothingTaken;
    for link in links {
        let outcome = match system::ensure(&link, entries).await {
            Ok(outcome) => outcome,
            Err(error) => {
                failure = error.into();
                continue;
            }
        };
        if !system::sees(&witness, &outcome.held).await? {
            tracing::debug!(%link, "a rpcbind, but not that of this host's network");
            system::remove(&link, &outcome.held).await?;
            continue;
        }
        report(&outcome, &[]);
        if !outcome.held.is_empty() {
            return Ok((link, outcome));
        }
        failure = RegisterError::NothingTaken;
    }
    Err(failure)
}

/// Tells people what others have of ours, unless they know.
fn report(outcome: &Outcome, known: &[Conflict]) {
    for conflict in outcome.conflicts.iter().filter(|conflict| !known.contains(conflict)) {
        warn!("{conflict}");
    }
    for entry in &outcome.refused {
        let Entry { program, version, .. } = entry;
        let netid = entry.netid();
        tracing::debug!(program, version, netid, "rpcbind refused a registration");
    }
}

async fn ensure_all(
    link: &Link,
    entries: &[Entry],
    beside: &Beside,
) -> Result<Outcome, RpcbindError> {
    let mut outcome = system::ensure(link, entries).await?;
    beside.look(link, &mut outcome).await?;
    Ok(outcome)
}

/// Looks after the registrations until it is told to remove them.
async fn keep(
    link: Link,
    entries: Vec<Entry>,
    mut outcome: Outcome,
    beside: Beside,
    every: Duration,
    mut stopped: oneshot::Receiver<()>,
) {
    while tokio::time::timeout(every, &mut stopped).await.is_err() {
        match ensure_all(&link, &entries, &beside).await {
            Ok(now) => {
                report(&now, &outcome.conflicts);
                if now.added > 0 {
                    info!(%link, added = now.added, "registered with rpcbind again");
                }
                outcome = now;
            }
            Err(error) => warn!(%link, %error, "rpcbind is gone: new clients find no port"),
        }
    }
    match system::remove(&link, &outcome.held).await {
        Ok(()) => info!(%link, "unregistered from rpcbind"),
        Err(error) => warn!(%link, %error, "could not unregister from rpcbind"),
    }
}
