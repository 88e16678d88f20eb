//! Asks clients that keep others waiting whether they are there, and has the core release what is
//! in others' way of those that answer nothing for as long as a lease lasts.
//!
//! Any answer to the NULL call of a client's lock manager will do, from any address of ours that it
//! uses and by either transport, and so will any lock request of its own. Each client is asked in a
//! task of its own.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cleat_lock::{Blocking, Core, Input};
use cleat_nlm::contact::Server;
use cleat_nlm::wire::PROGRAM;
use cleat_nlm::{self as nlm, Contact, Version};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::driver::Lockd;
use crate::rpc_client::{self, CallError, Procedure, Resend, Route};
use crate::rpc_server::Transport;
use crate::seldom::limited;

/// How many clients are asked at one time.
const PROBES_MAX: usize = 64;
/// How many locks one search for clients in the way looks at: some milliseconds.
const LOCKS_LOOKED_AT_MAX: u64 = 200_000;
/// How often a client is asked while a lease lasts.
const PROBES_PER_LEASE: u32 = 3;
/// The longest that one answer is awaited.
const PATIENCE_MAX: Duration = Duration::from_secs(5);

/// The end of a probe.
struct Probed {
    client_id: Arc<str>,
    started_ms: u64,
    answered: bool,
}

/// Watches, until `stop`, the clients whose locks others wait for.
pub async fn watch(lockd: Lockd, lease: Duration, stop: CancellationToken) {
    let every = lease / PROBES_PER_LEASE;
    let mut watch = Watch::new(lease);
    let (ends, mut ended) = mpsc::unbounded_channel();
    let permits = Arc::new(Semaphore::new(PROBES_MAX));
    let mut looks = tokio::time::interval(every);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => {
                let look = |core: &Core| core.blocking_clients(LOCKS_LOOKED_AT_MAX);
                let Some(blocking) = lockd.look(look).await else { return };
                for client in watch.look(blocking) {
                    let (lockd, ends) = (lockd.clone(), ends.clone());
                    // It ends before the next look.
                    let (permits, patience) = (Arc::clone(&permits), PATIENCE_MAX.min(every / 2));
                    tokio::spawn(async move {
                        let _permit = permits.acquire().await;
                        let started_ms = lockd.now_ms();
                        let answered = is_there(&client, patience).await;
                        let client_id = client.client_id;
                        let _ = ends.send(Probed { client_id, started_ms, answered });
                    });
                }
            }
            Some(probed) = ended.recv() => {
                let client_id = Arc::clone(&probed.client_id);
                if let Some(since_ms) = watch.probed(lockd.now_ms(), &probed) {
                    lockd.tell(Input::ClientSilent { client_id, since_ms });
                }
            }
        }
    }
}

/// Who is in others' way, and since when it has not answered.
struct Watch {
    lease_ms: u64,
    clients: BTreeMap<Arc<str>, Watched>,
}

#[derive(Default)]
struct Watched {
    probing: bool,
    silent_since_ms: Option<u64>,
}

impl Watch {
    fn new(lease: Duration) -> Self {
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        Self { lease_ms, clients: BTreeMap::new() }
    }

    /// Takes note of who is in others' way now; gives those to be asked. Who is in nobody's way any
    /// more is forgotten.
    fn look(&mut self, blocking: Vec<Blocking>) -> Vec<Blocking> {
        let mut before = std::mem::take(&mut self.clients);
        let mut due = Vec::new();
        for client in blocking {
            let mut watched = before.remove(&client.client_id).unwrap_or_default();
            if watched.silent_since_ms.is_some_and(|since_ms| client.seen_ms >= since_ms) {
                watched.silent_since_ms = None;
            }
            let idle = !std::mem::replace(&mut watched.probing, true);
            self.clients.insert(Arc::clone(&client.client_id), watched);
            if idle {
                due.push(client);
            }
        }
        due
    }

    /// Takes note of a probe's end. Gives since when the client is silent, where its lease is over.
    fn probed(&mut self, now_ms: u64, probed: &Probed) -> Option<u64> {
        let watched = self.clients.get_mut(&probed.client_id)?;
        watched.probing = false;
        if probed.answered {
            watched.silent_since_ms = None;
            return None;
        }
        if watched.silent_since_ms.is_none() {
            limited!(
                info,
                client = %probed.client_id,
                "a client that others wait for does not answer"
            );
        }
        let since_ms = *watched.silent_since_ms.get_or_insert(probed.started_ms);
        (now_ms.saturating_sub(since_ms) >= self.lease_ms).then_some(since_ms)
    }
}

/// Whether the client's lock manager answers, wherever it knows us.
async fn is_there(client: &Blocking, patience: Duration) -> bool {
    let contact = match Contact::from_bytes(&client.contact) {
        Ok(contact) => contact,
        Err(error) => {
            // Nobody can tell.
            limited!(warn, client = %client.client_id, %error, "cannot read how to reach a client");
            return true;
        }
    };
    let mut calls = JoinSet::new();
    for route in ways(&contact) {
        calls.spawn(async move { tokio::time::timeout(patience, null(route, patience)).await });
    }
    while let Some(ended) = calls.join_next().await {
        match ended {
            // A refusal is an answer.
            Ok(Ok(Ok(()) | Err(CallError::Refused(_)))) => return true,
            Ok(Ok(Err(error))) => debug!(client = %client.client_id, %error, "no answer to NULL"),
            Ok(Err(_)) | Err(_) => debug!(client = %client.client_id, "no answer to NULL"),
        }
    }
    false
}

/// From where to ask a client, and how: as GRANTED goes, which a firewall between may let through
/// by one transport alone, be it not the one that the client came by.
fn ways(contact: &Contact) -> HashSet<Route> {
    let ways = |server: &Server| {
        let (to, from) = (contact.client, server.address);
        [Transport::Tcp, Transport::Udp].map(|transport| Route { to, from, transport })
    };
    contact.servers.iter().flat_map(ways).collect()
}

async fn null(route: Route, patience: Duration) -> Result<(), CallError> {
    let (version, number) = (Version::V4.number(), nlm::Procedure::Null.number());
    let port = rpc_client::find_port(route, PROGRAM, version, patience).await?;
    let null = Procedure { program: PROGRAM, version, number };
    rpc_client::call(route, port, null, &[], Resend::UntilAnswered, patience).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocking(name: &str, seen_ms: u64) -> Blocking {
        Blocking { client_id: name.into(), contact: Arc::default(), seen_ms }
    }

    fn probed(name: &str, started_ms: u64, answered: bool) -> Probed {
        Probed { client_id: name.into(), started_ms, answered }
    }

    fn watch() -> Watch {
        Watch::new(Duration::from_secs(30))
    }

    #[test]
    fn a_lease_is_counted_from_the_first_probe_that_was_not_answered() {
        let mut watch = watch();
        assert_eq!(watch.look(vec![blocking("a", 5)]).len(), 1);
        assert_eq!(watch.look(vec![blocking("a", 5)]), [], "a probe is under way");
        assert_eq!(watch.probed(12_000, &probed("a", 10_000, true)), None);
        watch.look(vec![blocking("a", 5)]);
        assert_eq!(watch.probed(25_000, &probed("a", 20_000, false)), None);
        watch.look(vec![blocking("a", 5)]);
        assert_eq!(watch.probed(49_999, &probed("a", 45_000, false)), None);
        watch.look(vec![blocking("a", 5)]);
        assert_eq!(watch.probed(50_000, &probed("a", 49_000, false)), Some(20_000));
    }

    #[test]
    fn an_answer_or_a_request_of_its_own_begins_the_lease_anew() {
        let mut watch = watch();
        for (now_ms, answered, seen_ms) in
            [(10_000, false, 5), (30_000, true, 5), (50_000, false, 5), (70_000, false, 60_000)]
        {
            assert_eq!(watch.look(vec![blocking("a", seen_ms)]).len(), 1);
            assert_eq!(watch.probed(now_ms, &probed("a", now_ms, answered)), None);
        }
        watch.look(vec![blocking("a", 60_000)]);
        assert_eq!(watch.probed(90_000, &probed("a", 89_000, false)), None);
        watch.look(vec![blocking("a", 60_000)]);
        assert_eq!(watch.probed(100_000, &probed("a", 99_000, false)), Some(70_000));
    }

    #[test]
    fn who_is_in_nobodys_way_any_more_is_forgotten() {
        let mut watch = watch();
        watch.look(vec![blocking("a", 5), blocking("b", 5)]);
        watch.probed(10_000, &probed("a", 10_000, false));
        assert_eq!(watch.look(vec![blocking("b", 5)]), []);
        assert_eq!(watch.probed(60_000, &probed("a", 55_000, false)), None);
        watch.look(vec![blocking("a", 5)]);
        assert_eq!(watch.probed(70_000, &probed("a", 65_000, false)), None, "it begins anew");
    }
}
