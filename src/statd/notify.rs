//! Tells hosts by SM_NOTIFY that this one restarted: clients that this server did, and hosts that
//! were monitored for this host's lock managers that the machine did.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cleat_lock::Input;
use cleat_nlm::contact::{Contact, Server};
use cleat_nlm::monitor::Monitored;
use cleat_nlm::notify::{Action, Event, NotifyPlan, PATIENCE_MS_MIN};
use cleat_nlm::nsm::{PROGRAM, VERSION, procedure};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::counters::count;
use super::{Statd, blocking};
use crate::lockd::transport;
use crate::rpc_client::{self, CallError, Procedure, Resend, Route};
use crate::seldom::limited;

/// Tells every client on record that this server restarted with its present NSM state, until each
/// has answered or was tried for as long as its locks may stand, or the server stops.
pub(super) async fn notify_clients(statd: Statd) {
    let (lockd, state) = (&statd.inner.lockd, statd.inner.state);
    let contacts = lockd.contacts().all();
    if contacts.is_empty() {
        return;
    }
    info!(clients = contacts.len(), state, "telling clients that this server restarted");
    let mut names = host_names();
    names.extend(statd.inner.telling.names.iter().map(|name| name.clone().into_bytes()));
    let hold_ms = u64::try_from(statd.inner.telling.hold.as_millis()).unwrap_or(u64::MAX);
    let (now_ms, in_flight_max) = (lockd.now_ms(), rpc_client::in_flight_max());
    let plan = NotifyPlan::new(now_ms, state, &contacts, &names, hold_ms, in_flight_max);
    carry_out(plan, &statd, &statd.inner.stop, |client_id, answered| {
        if answered {
            limited!(info, client = client_id, "the client knows that this server restarted");
            count(&statd.inner.tally.clients_told);
            lockd.tell(Input::ClientReached { client_id: client_id.into() });
        } else {
            limited!(
                warn,
                client = client_id,
                "the client could not be told that this server restarted"
            );
            count(&statd.inner.tally.clients_not_told);
            for client_id in lockd.contacts().apart([client_id.into()].into()) {
                let (token, _) = lockd.ticket();
                // It stays on record where it still holds something.
                lockd.tell(Input::ForgetClient { token, client_id });
            }
        }
    })
    .await;
}

/// Tells the hosts that are owed word of this host's restart, in the same way.
///
/// They are those that a lock manager here had us monitor, and only the restart of the machine, or
/// SM_SIMU_CRASH, makes that word due. Not the restart of this server: the kernel's lock manager
/// and its locks live on, and servers that were told would release them under its feet.
pub(super) async fn notify_owed(statd: Statd) {
    // A state that is over must not come after the present one.
    let stop = statd.inner.stop.child_token();
    let owing = &statd.inner.owing;
    let before = owing.lock().unwrap_or_else(PoisonError::into_inner).replace(stop.clone());
    if let Some(before) = before {
        before.cancel();
    }
    let monitors = &statd.inner.monitors;
    let state = monitors.host_state();
    let mut by_client: BTreeMap<String, Vec<Monitored>> = BTreeMap::new();
    let mut contacts = Vec::new();
    for owed in monitors.owed() {
        for contact in contacts_of(&owed) {
            by_client.entry(contact.client_id()).or_default().push(owed.clone());
            contacts.push(contact);
        }
    }
    if contacts.is_empty() {
        return;
    }
    limited!(
        info,
        hosts = contacts.len(),
        state,
        "telling monitored hosts that this one restarted"
    );
    let (now_ms, in_flight_max) = (statd.inner.lockd.now_ms(), rpc_client::in_flight_max());
    let plan = NotifyPlan::new(now_ms, state, &contacts, &[], PATIENCE_MS_MIN, in_flight_max);
    carry_out(plan, &statd, &stop, |client_id, answered| {
        let told = by_client.remove(client_id).unwrap_or_default();
        let (monitors, host) = (Arc::clone(&statd.inner.monitors), client_id.to_owned());
        // One address that was reached is the host; of one that was not, this was all we could do.
        tokio::spawn(blocking(move || match monitors.settled(&told) {
            Ok(()) => {
                limited!(info, host, answered, "a monitored host was told that this one restarted")
            }
            Err(error) => {
                limited!(warn, %error, "cannot note which hosts were told of the restart")
            }
        }));
    })
    .await;
}

/// How to reach a monitored host: at each of its addresses, from any of ours, under the name that
/// the lock manager here goes by.
fn contacts_of(owed: &Monitored) -> impl Iterator<Item = Contact> {
    owed.addresses.iter().map(|address| {
        let any: IpAddr = match address {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let transport = cleat_nlm::Transport::Udp;
        let server = Server { address: any, transport, name: owed.my_name.clone() };
        Contact { caller_name: owed.mon_name.clone(), client: *address, servers: vec![server] }
    })
}

/// The host's name.
pub(super) fn host_name() -> Vec<u8> {
    rustix::system::uname().nodename().to_bytes().to_vec()
}

/// How clients may know us that mounted us by name.
fn host_names() -> Vec<Vec<u8>> {
    names_of(&host_name(), rustix::system::uname().domainname().to_bytes())
}

/// A host's name, and the same without its domain or, where it has none, with the system's. Nobody
/// is asked for another: that could take longer than clients have.
fn names_of(node: &[u8], domain: &[u8]) -> Vec<Vec<u8>> {
    let other = match node.iter().position(|byte| *byte == b'.') {
        Some(dot) => node[..dot].to_vec(),
        // As the kernel says that it has none.
        None if domain.is_empty() || domain == b"(none)" => return vec![node.to_vec()],
        None => [node, b".", domain].concat(),
    };
    vec![node.to_vec(), other]
}

async fn carry_out(
    mut plan: NotifyPlan,
    statd: &Statd,
    stop: &CancellationToken,
    mut settled: impl FnMut(&str, bool),
) {
    let now_ms = || statd.inner.lockd.now_ms();
    let (ends, mut ended) = mpsc::unbounded_channel();
    let mut event = Event::Tick;
    loop {
        let mut actions = Vec::new();
        plan.step(now_ms(), event, &mut actions);
        for action in actions {
            match action {
                Action::Settled { client_id, answered } => settled(&client_id, answered),
                call @ Action::Call { .. } => start(call, &ends),
            }
        }
        if plan.is_finished() {
            return;
        }
        let wait_ms = plan.next_deadline().map(|due_ms| due_ms.saturating_sub(now_ms()));
        let wait = wait_ms.map_or(Duration::from_secs(3600), Duration::from_millis);
        event = tokio::select! {
            () = stop.cancelled() => return,
            Some(end) = ended.recv() => end,
            () = tokio::time::sleep(wait) => Event::Tick,
        };
    }
}

fn start(action: Action, ends: &mpsc::UnboundedSender<Event>) {
    let Action::Call { id, client, local, transport: via, arguments, timeout_ms } = action else {
        return;
    };
    let route = Route { to: client, from: local, transport: transport(via) };
    let ends = ends.clone();
    tokio::spawn(async move {
        let event = match tell(route, &arguments, Duration::from_millis(timeout_ms)).await {
            Ok(()) => Event::Answered(id),
            Err(error) => {
                debug!(%client, %error, "SM_NOTIFY not delivered");
                Event::Failed(id)
            }
        };
        let _ = ends.send(event);
    });
}

/// Calls the status monitor under one name after the other. Who answered once is there, and has
/// the same time again for each further one: to be cut off in the middle is to begin anew.
async fn tell(route: Route, arguments: &[Bytes], patience: Duration) -> Result<(), CallError> {
    let start = Instant::now();
    let port = rpc_client::find_port(route, PROGRAM, VERSION, patience).await?;
    let procedure = Procedure { program: PROGRAM, version: VERSION, number: procedure::NOTIFY };
    let mut told = Err(CallError::NotRegistered(PROGRAM));
    let mut left = patience.saturating_sub(start.elapsed());
    for one in arguments {
        match rpc_client::call(route, port, procedure, one, Resend::UntilAnswered, left).await {
            Ok(_) => told = Ok(()),
            // It may refuse a name that it does not know, and have taken the other.
            Err(error @ CallError::Refused(_)) => told = told.or(Err(error)),
            Err(error) => return Err(error),
        }
        left = patience;
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_with_its_domain_and_without() {
        let names = |node: &str, domain: &str| {
            let names = names_of(node.as_bytes(), domain.as_bytes());
            String::from_utf8(names.join(&b' ')).expect("text")
        };
        assert_eq!(names("nas", "(none)"), "nas");
        assert_eq!(names("nas", ""), "nas");
        assert_eq!(names("nas", "example.org"), "nas nas.example.org");
        assert_eq!(names("nas.example.org", "other"), "nas.example.org nas");
    }
}
