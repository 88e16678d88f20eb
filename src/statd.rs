//! NSM: hears which clients restarted, and tells clients that this server did (XNFS ch. 11).

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cleat_lock::Input;
use cleat_nlm::notify::{Action, Event, NotifyPlan};
use cleat_nlm::nsm::{Name, PROGRAM, StatRes, StateChange, VERSION, procedure};
use cleat_rpc::{Fault, Reply, Writer};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::lockd::{Lockd, transport};
use crate::rpc_client::{self, CallError, Procedure, Resend, Route};
use crate::rpc_server::{Answer, Call, Program};

/// The NSM program.
#[derive(Clone)]
pub struct Statd {
    lockd: Lockd,
    state: i32,
}

impl Statd {
    /// Speaks for this instance, whose NSM state is `state`.
    #[must_use]
    pub fn new(lockd: Lockd, state: i32) -> Self {
        Self { lockd, state }
    }

    /// SM_STAT: this host's state, and that it would monitor whoever is named (XNFS ch. 11).
    fn stat(&self, call: &Call) -> Reply {
        let _name: Name<'_> = call.arguments().get()?;
        let mut results = Writer::new();
        results.put(&StatRes { success: true, state: self.state });
        Ok(results)
    }

    /// SM_NOTIFY: a client restarted, so what it held is released and who waits for that is
    /// served. The answer says nothing, and comes once all of it is on record.
    async fn notify(self, call: Call) -> Reply {
        let change: StateChange<'_> = call.arguments().get()?;
        let (peer, state) = (call.peer.ip(), change.state);
        let mon_name = change.mon_name.escape_ascii();
        match self.lockd.contacts().restarted(peer, &change) {
            Ok(clients) => {
                for client_id in clients {
                    info!(%peer, %mon_name, state, client = client_id, "a client restarted");
                    let (token, _) = self.lockd.ticket();
                    let (client_id, incarnation) = (client_id.into(), change.incarnation());
                    let restarted = Input::ClientRestarted { token, client_id, incarnation };
                    self.lockd.ask(restarted).await.ok_or(Fault::SystemError)?;
                }
            }
            Err(why) => info!(%peer, %mon_name, state, "SM_NOTIFY ignored: {why}"),
        }
        Ok(Writer::new())
    }
}

impl Program for Statd {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        VERSION..=VERSION
    }

    fn call(&self, call: Call) -> Answer {
        match call.header.procedure {
            procedure::NULL => Answer::Now(Ok(Writer::new())),
            procedure::STAT => Answer::Now(self.stat(&call)),
            procedure::NOTIFY => Answer::later(self.clone().notify(call)),
            _ => Answer::Now(Err(Fault::ProcedureUnavailable)),
        }
    }
}

/// Tells every client on record that this server restarted with the NSM state `state`, until
/// each has answered or was tried for 15 minutes, or until `stop`.
pub async fn notify_clients(lockd: Lockd, state: i32, stop: CancellationToken) {
    let contacts = lockd.contacts().all();
    if contacts.is_empty() {
        return;
    }
    info!(clients = contacts.len(), state, "telling clients that this server restarted");
    let mut plan = NotifyPlan::new(lockd.now_ms(), state, &contacts, &host_names());
    let (ends, mut ended) = mpsc::unbounded_channel();
    let mut event = Event::Tick;
    loop {
        let mut actions = Vec::new();
        plan.step(lockd.now_ms(), event, &mut actions);
        for action in actions {
            act(action, &lockd, &ends).await;
        }
        if plan.is_finished() {
            return;
        }
        let wait_ms = plan.next_deadline().map(|due_ms| due_ms.saturating_sub(lockd.now_ms()));
        let wait = wait_ms.map_or(Duration::from_secs(3600), Duration::from_millis);
        event = tokio::select! {
            () = stop.cancelled() => return,
            Some(end) = ended.recv() => end,
            () = tokio::time::sleep(wait) => Event::Tick,
        };
    }
}

/// How clients may know us that mounted us by name.
fn host_names() -> Vec<Vec<u8>> {
    vec![rustix::system::uname().nodename().to_bytes().to_vec()]
}

async fn act(action: Action, lockd: &Lockd, ends: &mpsc::UnboundedSender<Event>) {
    match action {
        Action::Call { id, client, local, transport: via, arguments, timeout_ms } => {
            let route = Route { to: client, from: local, transport: transport(via) };
            let ends = ends.clone();
            tokio::spawn(async move {
                let patience = Duration::from_millis(timeout_ms);
                let event = match tell(route, arguments, patience).await {
                    Ok(()) => Event::Answered(id),
                    Err(error) => {
                        debug!(%client, %error, "SM_NOTIFY not delivered");
                        Event::Failed(id)
                    }
                };
                let _ = ends.send(event);
            });
        }
        Action::Settled { client_id, answered: true } => {
            info!(client = client_id, "the client knows that this server restarted");
            lockd.tell(Input::ClientReached { client_id: client_id.into() });
        }
        Action::Settled { client_id, answered: false } => {
            warn!(client = client_id, "the client could not be told that this server restarted");
            let (token, _) = lockd.ticket();
            // It stays on record where it still holds something.
            lockd.ask(Input::ForgetClient { token, client_id: client_id.into() }).await;
        }
    }
}

async fn tell(route: Route, arguments: Bytes, patience: Duration) -> Result<(), CallError> {
    let start = Instant::now();
    let port = rpc_client::find_port(route, PROGRAM, VERSION, patience).await?;
    let patience = patience.saturating_sub(start.elapsed());
    let procedure = Procedure { program: PROGRAM, version: VERSION, number: procedure::NOTIFY };
    let resend = Resend::UntilAnswered;
    rpc_client::call(route, port, procedure, &arguments, resend, patience).await.map(drop)
}
