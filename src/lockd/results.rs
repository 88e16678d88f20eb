//! Sends the results of messages: NLM_*_RES, each a call to the client's lock manager.
//!
//! Where the message came as a datagram the result leaves from the same socket and address, which
//! macOS looks at; where it came over TCP it goes over a connection of its own. Each way to a
//! client has a task that asks the client's rpcbind for the port once and keeps it for a while; a
//! rpcbind that does not answer holds up nobody else. A result is sent once: a client that missed
//! it sends its message again.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cleat_nlm::wire::PROGRAM;
use cleat_nlm::{Operation, Procedure, Version};
use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{debug, warn};

use super::ways::{Put, Ways};
use crate::rpc_client::{self, CallError, Resend, Route};
use crate::rpc_server::share::network_of;
use crate::rpc_server::{Call, Outbox, Transport};
use crate::seldom::Seldom;

/// The most messages that are at work or whose results wait to be sent, of one client address
/// (IPv6: of one /64).
pub const PENDING_PER_CLIENT_MAX: usize = 64;
/// The same of all clients.
pub const PENDING_MAX: usize = 4096;
/// The most ways to clients whose ports are kept; for one more another is given up.
pub const WAYS_MAX: usize = 4096;
/// How long a port is kept, and a way that nothing is sent on.
const PORT_KEPT: Duration = Duration::from_secs(60);
/// How long a client without a port is not asked again, and its way kept; its results are not sent
/// meanwhile.
const NO_PORT_KEPT: Duration = Duration::from_secs(5);
/// A client that repeats a message missed its result: a port is asked for again that is older.
const PORT_TRUSTED: Duration = Duration::from_secs(1);
/// How long a client's rpcbind may take to tell a port, and its lock manager to take a call.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends results. Cheap to clone.
#[derive(Clone)]
pub struct Results {
    shared: Arc<Shared>,
}

struct Shared {
    outbox: Outbox,
    pending: Mutex<Pending>,
    ways: Mutex<Ways<Way, Outgoing>>,
    /// There was no room for one more way.
    crowded: Seldom,
    /// Every place has a token of it.
    places: TaskTracker,
}

#[derive(Default)]
struct Pending {
    total: usize,
    per_client: HashMap<IpAddr, usize>,
}

/// A message's place among those pending, until its result is sent or given up.
pub struct Place {
    shared: Arc<Shared>,
    client: IpAddr,
    _token: TaskTrackerToken,
}

/// From an address of ours to a client's lock manager of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Way {
    /// With its interface where the address is of one link, and without its port.
    client: SocketAddr,
    local: SocketAddr,
    transport: Transport,
    version: Version,
}

struct Outgoing {
    operation: Operation,
    results: Bytes,
    repeated: bool,
    place: Place,
}

/// The tables are whole between any two uses, so a panic elsewhere leaves them usable.
fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Results {
    /// Sends datagrams by this outbox.
    #[must_use]
    pub fn new(outbox: Outbox) -> Self {
        let shared = Shared {
            outbox,
            pending: Mutex::default(),
            ways: Mutex::new(Ways::new(WAYS_MAX)),
            crowded: Seldom::default(),
            places: TaskTracker::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A place for one more message of a client, or `None` where too many are pending.
    #[must_use]
    pub fn place(&self, client: IpAddr) -> Option<Place> {
        let client = network_of(client);
        let mut pending = lock(&self.shared.pending);
        let own = pending.per_client.get(&client).copied().unwrap_or_default();
        if own >= PENDING_PER_CLIENT_MAX || pending.total >= PENDING_MAX {
            return None;
        }
        pending.per_client.insert(client, own + 1);
        pending.total += 1;
        let (shared, token) = (Arc::clone(&self.shared), self.shared.places.token());
        Some(Place { shared, client, _token: token })
    }

    /// Returns when the results of all messages that were taken are sent or given up, or `patience`
    /// is over. Returns whether none is left. To be called when no more messages come.
    pub async fn finish(&self, patience: Duration) -> bool {
        self.shared.places.close();
        tokio::time::timeout(patience, self.shared.places.wait()).await.is_ok()
    }

    /// Sends the result of a message: `results`, the XDR that the called form would be answered
    /// with. `repeated` says that the message came before.
    pub fn send(
        &self,
        place: Place,
        call: &Call,
        (version, operation): (Version, Operation),
        results: Bytes,
        repeated: bool,
    ) {
        let Call { peer: mut client, local, transport, .. } = *call;
        client.set_port(0);
        let way = Way { client, local, transport, version };
        let put =
            lock(&self.shared.ways).put(way, Outgoing { operation, results, repeated, place });
        match put {
            Put::Known => {}
            Put::New { arrived, given_up } => {
                if given_up {
                    self.shared.crowded(way, "of another client is asked for anew next time");
                }
                tokio::spawn(deliver(Arc::clone(&self.shared), way, arrived));
            }
            Put::Full => self.shared.crowded(way, "was not asked for, and a result not sent"),
        }
    }
}

impl Shared {
    /// Warns that there are too many ways, unless that was done a moment ago.
    fn crowded(&self, way: Way, consequence: &str) {
        if let Some(times) = self.crowded.happens() {
            let client = way.client.ip();
            warn!(%client, times, "too many clients send messages: the port {consequence}");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut pending = lock(&self.shared.pending);
        pending.total -= 1;
        if let Some(own) = pending.per_client.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                pending.per_client.remove(&self.client);
            }
        }
    }
}

/// Sends the results of one way until none has come for a while, or it is given up.
async fn deliver(shared: Arc<Shared>, way: Way, mut arrived: mpsc::UnboundedReceiver<Outgoing>) {
    let mut known: Option<(Option<u16>, Instant)> = None;
    loop {
        let port = known.and_then(|(port, _)| port);
        let Some(outgoing) = next(&shared, way, &mut arrived, port).await else { return };
        let port = match known {
            Some((port, since)) if since.elapsed() < kept(port, outgoing.repeated) => port,
            _ => {
                let port = way.ask_port().await;
                known = Some((port, Instant::now()));
                port
            }
        };
        match (port, way.transport) {
            (None, _) => {}
            (Some(port), Transport::Udp) => way.send_datagram(&shared.outbox, port, outgoing).await,
            (Some(port), Transport::Tcp) => drop(tokio::spawn(way.call(port, outgoing))),
        }
    }
}

/// What is to be sent next; `None` where the way has ended.
async fn next(
    shared: &Shared,
    way: Way,
    arrived: &mut mpsc::UnboundedReceiver<Outgoing>,
    port: Option<u16>,
) -> Option<Outgoing> {
    // With the ways at hand, or one that comes meanwhile would find the way at rest, or gone.
    let take = |arrived: &mut mpsc::UnboundedReceiver<Outgoing>, else_end: bool| {
        let mut ways = lock(&shared.ways);
        let taken = arrived.try_recv();
        if matches!(taken, Err(TryRecvError::Empty)) {
            if else_end { ways.end(way) } else { ways.rest(way, port.is_some()) }
        }
        taken
    };
    match take(arrived, false) {
        Ok(outgoing) => return Some(outgoing),
        Err(TryRecvError::Disconnected) => return None,
        Err(TryRecvError::Empty) => {}
    }
    match tokio::time::timeout(kept(port, false), arrived.recv()).await {
        Ok(next) => next,
        Err(_) => take(arrived, true).ok(),
    }
}

const fn kept(port: Option<u16>, repeated: bool) -> Duration {
    match (port, repeated) {
        (None, _) => NO_PORT_KEPT,
        (Some(_), true) => PORT_TRUSTED,
        (Some(_), false) => PORT_KEPT,
    }
}

impl Way {
    fn route(self) -> Route {
        Route { to: self.client.ip(), from: self.local.ip(), transport: self.transport }
    }

    async fn ask_port(self) -> Option<u16> {
        let version = self.version.number();
        let found = rpc_client::find_port(self.route(), PROGRAM, version, PATIENCE).await;
        found.inspect_err(|error| self.not_sent(error)).ok()
    }

    fn procedure(self, operation: Operation) -> rpc_client::Procedure {
        let number = Procedure::Result(operation).number();
        rpc_client::Procedure { program: PROGRAM, version: self.version.number(), number }
    }

    async fn send_datagram(self, outbox: &Outbox, port: u16, outgoing: Outgoing) {
        let procedure = self.procedure(outgoing.operation);
        // The client's empty reply comes to the listener, which takes no replies.
        let (_, message) = rpc_client::message(procedure, &outgoing.results);
        let mut to = self.client;
        to.set_port(port);
        if let Err(error) = outbox.send(&message, to, self.local).await {
            self.not_sent(&CallError::Io(error));
        }
        drop(outgoing.place);
    }

    async fn call(self, port: u16, outgoing: Outgoing) {
        let procedure = self.procedure(outgoing.operation);
        let (resend, results) = (Resend::Never, &outgoing.results);
        let called =
            rpc_client::call(self.route(), port, procedure, results, resend, PATIENCE).await;
        if let Err(error) = called {
            self.not_sent(&error);
        }
        drop(outgoing.place);
    }

    fn not_sent(self, error: &CallError) {
        debug!(client = %self.client.ip(), %error, "the result of a message may not have arrived");
    }
}
