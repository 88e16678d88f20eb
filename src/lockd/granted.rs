//! Calls clients back: does what [`cleat_nlm::granted`] decides, each call in a task of its own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cleat_lock::{Grant, Input, WaiterId};
use cleat_nlm::granted::{Action, Because, Failure, Form, Route, Ticket};
use cleat_nlm::wire::{PROGRAM, Res};
use cleat_nlm::{Message, Sender, Transport, Version, Waiting, granted};
use cleat_rpc::Reader;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::deadlines::Deadlines;
use super::driver::{Event, Lockd};
use super::program::GrantedResult;
use super::taken::Teller;
use super::transport;
use crate::exports::Exports;
use crate::rpc_client::{self, CallError, Procedure, Resend};
use crate::seldom::limited;

/// How long a client's rpcbind may take to tell a port.
const FIND_PORT: Duration = Duration::from_secs(5);

/// How many senders are kept for the ports that they know while they have nothing to tell.
const SENDERS_KEPT_MAX: usize = 4096;

/// The end of an action, for the sender of this client.
type End = (IpAddr, granted::Event);

/// Sends GRANTED for what `lockd` grants, until `stop`, and tells people by path in `exports` what
/// it takes. A grant whose client cannot be reached at all for `take_back` goes to the next. `results` are the clients' words on those that were sent as messages.
pub async fn call_back(
    lockd: Lockd,
    exports: Arc<Exports>,
    take_back: Option<Duration>,
    mut events: mpsc::UnboundedReceiver<Event>,
    mut results: mpsc::Receiver<GrantedResult>,
    stop: CancellationToken,
) {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let (senders, clients, deadlines) = (HashMap::new(), HashMap::new(), Deadlines::default());
    let places = Arc::new(Semaphore::new(rpc_client::in_flight_max()));
    let calls = HashMap::new();
    let take_back_ms = take_back.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let mut callbacks =
        Callbacks { lockd, ends, take_back_ms, senders, clients, calls, deadlines, places };
    let teller = Teller::new(exports);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            event = events.recv() => match event {
                Some(Event::Taken(taken)) => teller.tell(taken, callbacks.lockd.now_ms()),
                Some(Event::Grant(grant)) => callbacks.grant(&grant),
                Some(Event::GrantOver(waiter)) => callbacks.grant_over(waiter),
                None => return,
            },
            Some((client, end)) = ended.recv() => callbacks.ended(client, end),
            Some(result) = results.recv() => callbacks.result(result),
            () = callbacks.deadline() => callbacks.tick(),
        }
    }
}

struct Callbacks {
    lockd: Lockd,
    ends: mpsc::UnboundedSender<End>,
    /// When a grant is taken back that its client cannot be told.
    take_back_ms: Option<u64>,
    senders: HashMap<IpAddr, Sender>,
    /// Whose grant a waiter's is.
    clients: HashMap<WaiterId, IpAddr>,
    /// What withdraws the call of a waiter's grant that is under way.
    calls: HashMap<WaiterId, CancellationToken>,
    /// When each sender wants its turn: a lock that was waited for by thousands is told to all.
    deadlines: Deadlines<IpAddr>,
    /// For calls under way: a release that thousands wait for must leave descriptors to the store.
    places: Arc<Semaphore>,
}

impl Callbacks {
    fn grant(&mut self, grant: &Grant) {
        match Waiting::from_bytes(&grant.context) {
            Ok(waiting) => {
                let (client, waiter, told) = (waiting.client, grant.waiter, grant.told);
                self.clients.insert(waiter, client);
                let waiting = Box::new(waiting);
                self.step(client, granted::Event::Grant { waiter, waiting, told });
            }
            Err(error) => {
                limited!(warn, owner = %grant.owner.owner_id, %error, "cannot call back a waiter");
            }
        }
    }

    fn grant_over(&mut self, waiter: WaiterId) {
        if let Some(client) = self.clients.remove(&waiter) {
            self.step(client, granted::Event::Over { waiter });
        }
        if let Some(call) = self.calls.remove(&waiter) {
            call.cancel();
        }
    }

    fn ended(&mut self, client: IpAddr, end: granted::Event) {
        use granted::Event::{Answered, Delivered, Failed};
        if let Answered { ticket, .. } | Delivered { ticket } | Failed { ticket, .. } = &end {
            self.calls.remove(&ticket.waiter);
        }
        self.step(client, end);
    }

    /// Only the client that was told can answer: from another address, a result names nothing.
    fn result(&mut self, result: GrantedResult) {
        let GrantedResult { client, ticket, stat } = result;
        if self.senders.contains_key(&client) {
            self.step(client, granted::Event::Result { ticket, stat });
        }
    }

    fn tick(&mut self) {
        let due = self.deadlines.due(self.lockd.now_ms());
        due.into_iter().for_each(|client| self.step(client, granted::Event::Tick));
    }

    fn step(&mut self, client: IpAddr, event: granted::Event) {
        let mut actions = Vec::new();
        let new = || Sender::new(self.take_back_ms);
        let sender = self.senders.entry(client).or_insert_with(new);
        sender.step(self.lockd.now_ms(), event, &mut actions);
        let (idle, mut next_ms) = (sender.is_idle(), sender.next_deadline());
        if idle && (next_ms.is_none() || self.senders.len() > SENDERS_KEPT_MAX) {
            self.senders.remove(&client);
            next_ms = None;
        }
        self.deadlines.set(client, next_ms);
        actions.into_iter().for_each(|action| self.act(client, action));
    }

    fn act(&mut self, client: IpAddr, action: Action) {
        match action {
            Action::AskPort { route, via } => {
                let (ends, places) = (self.ends.clone(), Arc::clone(&self.places));
                tokio::spawn(async move {
                    let _place = places.acquire().await;
                    let port = ask_port(route, via).await;
                    let _ = ends.send((client, granted::Event::Port { route, port }));
                });
            }
            Action::Call { form, ticket, route, via, port, arguments, timeout_ms } => {
                let (ends, places) = (self.ends.clone(), Arc::clone(&self.places));
                let (to, patience) = (client_route(route, via), Duration::from_millis(timeout_ms));
                let (version, over) = (route.version, CancellationToken::new());
                self.calls.insert(ticket.waiter, over.clone());
                tokio::spawn(async move {
                    let call = async {
                        let _place = places.acquire().await;
                        call(form, ticket, (to, port, version), arguments, patience).await
                    };
                    let end = over.run_until_cancelled(call).await;
                    let withdrawn = granted::Event::Failed { ticket, failure: Failure::Withdrawn };
                    let end = end.unwrap_or(withdrawn);
                    let _ = ends.send((client, end));
                });
            }
            Action::Outcome { waiter, outcome, because } => {
                self.clients.remove(&waiter);
                log_answer(client, waiter, because);
                self.lockd.tell(Input::GrantOutcome { waiter, outcome });
            }
        }
    }

    async fn deadline(&self) {
        match self.deadlines.next_ms() {
            Some(next_ms) => {
                let wait_ms = next_ms.saturating_sub(self.lockd.now_ms());
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            }
            None => std::future::pending().await,
        }
    }
}

fn log_answer(client: IpAddr, waiter: WaiterId, because: Because) {
    match because {
        Because::Granted => debug!(%client, ?waiter, "the client took its lock"),
        Because::Denied(stat) => {
            limited!(
                info,
                %client, ?waiter, ?stat,
                "the client no longer wants the lock: rolled back"
            );
        }
        Because::DeniedWhenRepeated(stat) => {
            limited!(
                info,
                %client, ?waiter, ?stat,
                "the client denies a repeated GRANTED: it has the lock"
            );
        }
        Because::Unreachable => {
            limited!(warn, %client, ?waiter, "the client's lock manager cannot be reached: the lock goes to the next");
        }
    }
}

fn client_route(route: Route, via: Transport) -> rpc_client::Route {
    rpc_client::Route { to: route.client, from: route.server, transport: transport(via) }
}

async fn ask_port(route: Route, via: Transport) -> Option<u16> {
    let (route_of_call, version) = (client_route(route, via), route.version.number());
    let found = rpc_client::find_port(route_of_call, PROGRAM, version, FIND_PORT).await;
    found
        .inspect_err(|error| {
            limited!(
                warn,
                client = %route.client, ?via, %error,
                "cannot find the client's lock manager"
            );
        })
        .ok()
}

async fn call(
    form: Form,
    ticket: Ticket,
    (route, port, version): (rpc_client::Route, u16, Version),
    arguments: Bytes,
    patience: Duration,
) -> granted::Event {
    let (program, number) = (PROGRAM, form.procedure().number());
    let procedure = Procedure { program, version: version.number(), number };
    // The sender must know of each datagram: a client that took its lock from the first refuses
    // the second.
    let resend = Resend::Never;
    let answer = rpc_client::call(route, port, procedure, &arguments, resend, patience).await;
    let failure = match (answer, form) {
        (Ok(_), Form::Message) => return granted::Event::Delivered { ticket },
        (Ok(results), Form::Call) => match Res::read(&mut Reader::new(&results), version) {
            Ok(result) => return granted::Event::Answered { ticket, stat: result.stat },
            Err(_) => Failure::NoReply,
        },
        (Err(error), _) => {
            debug!(client = %route.to, ?form, %error, "GRANTED brought no answer");
            failure(&error)
        }
    };
    granted::Event::Failed { ticket, failure }
}

/// What a failed call says of whether the client may have acted on it.
fn failure(error: &CallError) -> Failure {
    match error {
        CallError::NotConnected(_) => Failure::NotDelivered,
        CallError::Refused(_) | CallError::NotRegistered(_) => Failure::NotRun,
        CallError::Timeout(_) | CallError::Io(_) | CallError::Record(_) => Failure::NoReply,
    }
}
