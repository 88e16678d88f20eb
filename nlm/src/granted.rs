//! When each GRANTED call of one client is sent, and what comes of it (XNFS ch. 10, NLM_GRANTED).
//!
//! One [`Sender`] per client address, each driven by a task of its own, so that a client that
//! does not answer delays nobody else's. The driver does what an [`Action`] says and tells every
//! one's end as one [`Event`]; between events it sleeps until [`Sender::next_deadline`].
//!
//! A call is repeated until it is acknowledged: by its reply, or by what the client does next,
//! which the lock core sees and tells as [`Event::Over`]. There is no last attempt: a lock that
//! was handed over is held, and only its client (or its restart, or the administrator) ends that.
//!
//! Clients exist that know the grant only as a message (HP-UX): where the called form is refused,
//! or is not answered [`CALLS_BEFORE_MESSAGE`] times, it is sent in both forms in turn. A message
//! is answered by NLM_GRANTED_RES, a call to us, which is matched by its cookie.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bytes::Bytes;
use cleat_lock::{GrantAck, WaiterId};
use cleat_rpc::Writer;

use crate::contact::Waiting;
use crate::owner::Transport;
use crate::procedure::{Operation, Procedure};
use crate::version::{Message, Version};
use crate::wire::{Stat, TestArgs};

/// The time from the start of the first attempt to the second, in milliseconds; it doubles with
/// each further one. A lost datagram should cost little more than the wait itself.
pub const RETRY_MS_MIN: u64 = 1_000;

/// The longest time between two attempts, in milliseconds: Linux asks again by itself after 30 s,
/// so a client that is back never waits longer than it would have without us.
pub const RETRY_MS_MAX: u64 = 30_000;

/// How long a call over TCP may take, in milliseconds. TCP repeats lost segments itself, and each
/// further call makes a "no" from the client harder to read (see [`Because::DeniedWhenRepeated`]).
pub const TCP_TIMEOUT_MS: u64 = 10_000;

/// When to ask again a client that answered NLM4_DENIED_GRACE_PERIOD, in milliseconds.
pub const GRACE_RETRY_MS: u64 = 10_000;

/// How many attempts in the called form go unanswered before the message has its turn.
pub const CALLS_BEFORE_MESSAGE: u32 = 2;

/// How many calls may be under way on one route at one time.
pub const IN_FLIGHT_MAX: usize = 8;

/// The way to a client's lock manager, and the address of ours that its calls must come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The client.
    pub client: IpAddr,
    /// The address of ours to call from.
    pub server: IpAddr,
    /// How.
    pub transport: Transport,
    /// The version of NLM.
    pub version: Version,
}

/// One attempt to deliver one grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// The grant.
    pub waiter: WaiterId,
    /// Its attempts so far, this one included.
    pub attempt: u32,
}

impl Ticket {
    /// The cookie of an attempt in the form of a message: the attempt itself, so that each result
    /// names the message that it answers. Linux's lockd has always sent its grants as messages
    /// with cookies of its own, so clients that know messages take them; those that look for their
    /// LOCK's cookie find it in the called form, see [`Waiting::granted_args`].
    #[must_use]
    pub fn cookie(self) -> [u8; 12] {
        let mut cookie = [0; 12];
        cookie[..8].copy_from_slice(&self.waiter.0.to_be_bytes());
        cookie[8..].copy_from_slice(&self.attempt.to_be_bytes());
        cookie
    }

    /// The attempt that a cookie names. Any twelve bytes name one: whether it was made, and to
    /// whom, a [`Sender`] knows.
    #[must_use]
    pub fn of_cookie(cookie: &[u8]) -> Option<Self> {
        let (waiter, attempt) = cookie.split_first_chunk::<8>()?;
        let attempt = u32::from_be_bytes(attempt.try_into().ok()?);
        Some(Self { waiter: WaiterId(u64::from_be_bytes(*waiter)), attempt })
    }
}

/// The form of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// NLM_GRANTED, which is answered with the client's word.
    Call,
    /// NLM_GRANTED_MSG, which is answered with nothing; the word follows as NLM_GRANTED_RES.
    Message,
}

impl Form {
    /// The procedure.
    #[must_use]
    pub const fn procedure(self) -> Procedure {
        match self {
            Self::Call => Procedure::Call(Operation::Granted),
            Self::Message => Procedure::Message(Operation::Granted),
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Call => Self::Message,
            Self::Message => Self::Call,
        }
    }
}

/// Why a call brought no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It was not sent, or surely not received: no connection, port unreachable.
    NotDelivered,
    /// No reply came in time, or the connection was lost: the client may have acted on it.
    NoReply,
    /// The client's RPC layer refused it and nothing was run: PROG_UNAVAIL, AUTH_ERROR, ...
    NotRun,
}

/// What a driver tells a [`Sender`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The core handed a lock to a waiter.
    Grant {
        /// Names the grant.
        waiter: WaiterId,
        /// The call that it expects: from the grant's context.
        waiting: Box<Waiting>,
        /// Whether it may have been told before: true where the grant comes from the store.
        told: bool,
    },
    /// The core says that nothing is to be told any more.
    Over {
        /// Which grant.
        waiter: WaiterId,
    },
    /// The end of [`Action::AskPort`].
    Port {
        /// For which route.
        route: Route,
        /// The port, or `None` where the client's rpcbind does not answer or knows none.
        port: Option<u16>,
    },
    /// The end of [`Action::Call`] in the form of a message: the client has it.
    Delivered {
        /// Which message.
        ticket: Ticket,
    },
    /// NLM_GRANTED_RES came from this client. The end of no action: it may come before the end of
    /// its message, long after it, or twice.
    Result {
        /// What its cookie names.
        ticket: Ticket,
        /// The client's word.
        stat: Stat,
    },
    /// The end of [`Action::Call`]: a result.
    Answered {
        /// Of which call.
        ticket: Ticket,
        /// The client's word.
        stat: Stat,
    },
    /// The end of [`Action::Call`]: no result.
    Failed {
        /// Of which call.
        ticket: Ticket,
        /// Why.
        failure: Failure,
    },
    /// Time passed and nothing else.
    Tick,
}

/// What a [`Sender`] wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask the client's rpcbind for the port of its lock manager. Ends in [`Event::Port`].
    AskPort {
        /// Whose, and for which transport and version.
        route: Route,
    },
    /// Send the grant, once: a datagram that is sent twice within one attempt would make the
    /// client's "no" unreadable (see [`Because::DeniedWhenRepeated`]), and the repetition is this
    /// schedule's. Ends in [`Event::Answered`], or [`Event::Delivered`] where it is a message, or
    /// [`Event::Failed`].
    Call {
        /// Which procedure.
        form: Form,
        /// Names the attempt.
        ticket: Ticket,
        /// Whom to call, and from which address.
        route: Route,
        /// The port to call.
        port: u16,
        /// The arguments' XDR.
        arguments: Bytes,
        /// How long to wait for the reply.
        timeout_ms: u64,
    },
    /// Tell the core: [`cleat_lock::Input::GrantOutcome`].
    Outcome {
        /// Which grant.
        waiter: WaiterId,
        /// What the client said.
        outcome: GrantAck,
        /// How it said it, for the log.
        because: Because,
    },
}

/// What an outcome was concluded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// The client answered NLM4_GRANTED: it has the lock.
    Granted,
    /// The client refused the first call that can have reached it: it does not want the lock.
    Denied(Stat),
    /// The client refused, but an earlier call may have reached it, and its reply been lost. A
    /// client that took the lock from the earlier call is no longer waiting and refuses the
    /// repetition, and to take the lock from it would give it to two. One that gave up says so
    /// by CANCEL or UNLOCK. So the lock stays.
    DeniedWhenRepeated(Stat),
}

/// The GRANTED calls of one client.
#[derive(Debug, Default)]
pub struct Sender {
    pending: BTreeMap<WaiterId, Pending>,
    routes: BTreeMap<Route, Line>,
}

#[derive(Debug)]
struct Pending {
    waiting: Waiting,
    /// Attempts made.
    attempt: u32,
    /// When the latest attempt started.
    started_ms: u64,
    /// Whether an attempt before the latest may have reached the client.
    told: bool,
    /// Whether the latest may have, while it is not answered.
    unsure: bool,
    /// The form of the next attempt.
    form: Form,
    /// Attempts that went unanswered.
    unanswered: u32,
    /// Whether a form was refused by the client's RPC layer.
    refused: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In its route's queue, for this time.
    Due(u64),
    /// A call is under way.
    InFlight,
    /// A call is under way whose result no longer matters.
    Over,
}

#[derive(Debug)]
struct Line {
    port: Port,
    /// What is to be sent, by time, then in the order of arrival.
    due: BTreeSet<(u64, WaiterId)>,
    in_flight: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    /// To be asked for, not before the time.
    Unknown { ask_ms: u64, failures: u32 },
    /// Asked for.
    Asking { failures: u32 },
    /// Known.
    Known(u16),
}

/// The time between the starts of attempt `attempt` (from 1) and the next.
const fn retry_ms(attempt: u32) -> u64 {
    let doublings = attempt.saturating_sub(1);
    let doublings = if doublings > 16 { 16 } else { doublings };
    let retry_ms = RETRY_MS_MIN << doublings;
    if retry_ms < RETRY_MS_MAX { retry_ms } else { RETRY_MS_MAX }
}

const fn timeout_ms(transport: Transport, attempt: u32) -> u64 {
    match transport {
        Transport::Udp => retry_ms(attempt),
        Transport::Tcp => TCP_TIMEOUT_MS,
    }
}

fn route(waiting: &Waiting) -> Route {
    Route {
        client: waiting.client,
        server: waiting.server,
        transport: waiting.transport,
        version: waiting.version,
    }
}

impl Sender {
    /// Takes one event at `now_ms` and appends what is to be done.
    pub fn step(&mut self, now_ms: u64, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Grant { waiter, waiting, told } => self.grant(now_ms, waiter, *waiting, told),
            Event::Over { waiter } => self.over(waiter),
            Event::Port { route, port } => self.port(now_ms, route, port),
            Event::Delivered { ticket } => self.delivered(ticket),
            Event::Result { ticket, stat } => self.result(now_ms, ticket, stat, actions),
            Event::Answered { ticket, stat } => self.answered(now_ms, ticket, stat, actions),
            Event::Failed { ticket, failure } => self.failed(now_ms, ticket, failure),
            Event::Tick => {}
        }
        self.send(now_ms, actions);
    }

    /// When to call [`Sender::step`] at the latest, whatever happens; `None` where only an event
    /// can bring more to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.routes.values().filter_map(Line::deadline_ms).min()
    }

    /// Whether nothing is to be told and no action is under way: then the sender may be dropped.
    /// One dropped earlier would ask again for a port that is being asked for, and so without end
    /// where grants come and go.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.routes.is_empty()
    }

    fn grant(&mut self, now_ms: u64, waiter: WaiterId, waiting: Waiting, told: bool) {
        match self.pending.get_mut(&waiter) {
            // A repetition: what it expects may have changed, what was tried has not.
            Some(known) if route(&known.waiting) == route(&waiting) => {
                known.waiting = waiting;
                known.told |= told;
                if known.state == State::Over {
                    known.state = State::InFlight;
                }
            }
            // The core never moves a grant to another route: its owner's name has the route.
            Some(_) => {}
            None => {
                self.queue(now_ms, route(&waiting), waiter);
                self.pending.insert(waiter, Pending::new(now_ms, waiting, told));
            }
        }
    }

    fn queue(&mut self, due_ms: u64, route: Route, waiter: WaiterId) {
        if let Some(grant) = self.pending.get_mut(&waiter) {
            grant.state = State::Due(due_ms);
        }
        self.routes.entry(route).or_insert_with(Line::new).due.insert((due_ms, waiter));
    }

    fn over(&mut self, waiter: WaiterId) {
        let Some(grant) = self.pending.get_mut(&waiter) else { return };
        match grant.state {
            State::Due(due_ms) => {
                let route = route(&grant.waiting);
                self.pending.remove(&waiter);
                if let Some(line) = self.routes.get_mut(&route) {
                    line.due.remove(&(due_ms, waiter));
                }
                self.tidy(route);
            }
            State::InFlight | State::Over => grant.state = State::Over,
        }
    }

    fn port(&mut self, now_ms: u64, route: Route, port: Option<u16>) {
        let Some(line) = self.routes.get_mut(&route) else { return };
        let Port::Asking { failures } = line.port else { return };
        line.port = match port {
            Some(port) => Port::Known(port),
            None => {
                let failures = failures.saturating_add(1);
                Port::Unknown { ask_ms: now_ms.saturating_add(retry_ms(failures)), failures }
            }
        };
        self.tidy(route);
    }

    /// Takes the end of a call. `None` where its grant is over, or the ticket is not the current
    /// one's: then there is nothing more to do for it.
    fn landed(&mut self, ticket: Ticket) -> Option<(Route, &mut Pending)> {
        let grant = self.pending.get_mut(&ticket.waiter)?;
        if grant.attempt != ticket.attempt || matches!(grant.state, State::Due(_)) {
            return None;
        }
        let route = route(&grant.waiting);
        if let Some(line) = self.routes.get_mut(&route) {
            line.in_flight = line.in_flight.saturating_sub(1);
        }
        if grant.state == State::Over {
            self.pending.remove(&ticket.waiter);
            self.tidy(route);
            return None;
        }
        self.pending.get_mut(&ticket.waiter).map(|grant| (route, grant))
    }

    fn answered(&mut self, now_ms: u64, ticket: Ticket, stat: Stat, actions: &mut Vec<Action>) {
        let Some((route, grant)) = self.landed(ticket) else { return };
        let waiter = ticket.waiter;
        if stat == Stat::DeniedGracePeriod {
            return self.queue(now_ms.saturating_add(GRACE_RETRY_MS), route, waiter);
        }
        actions.push(conclusion(waiter, stat, grant.told));
        self.pending.remove(&waiter);
        self.tidy(route);
    }

    /// A message has arrived, and its result is awaited until its time is over.
    fn delivered(&mut self, ticket: Ticket) {
        let Some((route, grant)) = self.landed(ticket) else { return };
        let due_ms = grant.unanswered(ticket.attempt);
        self.queue(due_ms, route, ticket.waiter);
    }

    fn result(&mut self, now_ms: u64, ticket: Ticket, stat: Stat, actions: &mut Vec<Action>) {
        let Some(grant) = self.pending.get_mut(&ticket.waiter) else { return };
        // Before the first attempt, or from an attempt that was never made, it is no answer.
        if grant.state == State::Over || !(1..=grant.attempt).contains(&ticket.attempt) {
            return;
        }
        if stat == Stat::DeniedGracePeriod {
            return self.postpone(now_ms.saturating_add(GRACE_RETRY_MS), ticket.waiter);
        }
        let told = grant.told || ticket.attempt != grant.attempt;
        actions.push(conclusion(ticket.waiter, stat, told));
        self.over(ticket.waiter);
    }

    fn postpone(&mut self, due_ms: u64, waiter: WaiterId) {
        let Some(grant) = self.pending.get_mut(&waiter) else { return };
        let State::Due(was_ms) = grant.state else { return };
        grant.unsure = false;
        let route = route(&grant.waiting);
        if let Some(line) = self.routes.get_mut(&route) {
            line.due.remove(&(was_ms, waiter));
        }
        self.queue(due_ms, route, waiter);
    }

    fn failed(&mut self, now_ms: u64, ticket: Ticket, failure: Failure) {
        let Some((route, grant)) = self.landed(ticket) else { return };
        let due_ms = match failure {
            Failure::NotRun => grant.refused(now_ms, ticket.attempt),
            Failure::NoReply => grant.unanswered(ticket.attempt),
            Failure::NotDelivered => grant.again(ticket.attempt),
        };
        self.queue(now_ms.max(due_ms), route, ticket.waiter);
        // Its lock manager may have started again on another port.
        if let Some(line) = self.routes.get_mut(&route)
            && matches!(line.port, Port::Known(_))
        {
            line.port = Port::Unknown { ask_ms: now_ms, failures: 0 };
        }
    }

    /// Forgets a route that nothing waits on: its port is asked for anew next time.
    fn tidy(&mut self, route: Route) {
        if self.routes.get(&route).is_some_and(Line::is_unused) {
            self.routes.remove(&route);
        }
    }

    fn send(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        for (route, line) in &mut self.routes {
            while line.deadline_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms) {
                let port = match line.port {
                    Port::Known(port) => port,
                    Port::Unknown { failures, .. } => {
                        line.port = Port::Asking { failures };
                        actions.push(Action::AskPort { route: *route });
                        break;
                    }
                    Port::Asking { .. } => break,
                };
                let Some((_, waiter)) = line.due.pop_first() else { break };
                let Some(grant) = self.pending.get_mut(&waiter) else { continue };
                line.in_flight += 1;
                actions.push(grant.call(now_ms, waiter, *route, port));
            }
        }
    }
}

/// What a client's word means, where `told` says that an attempt before the one it answers may
/// have reached it.
const fn conclusion(waiter: WaiterId, stat: Stat, told: bool) -> Action {
    let (outcome, because) = match stat {
        Stat::Granted => (GrantAck::Accepted, Because::Granted),
        other if told => (GrantAck::Assumed, Because::DeniedWhenRepeated(other)),
        other => (GrantAck::Refused, Because::Denied(other)),
    };
    Action::Outcome { waiter, outcome, because }
}

impl Pending {
    const fn new(now_ms: u64, waiting: Waiting, told: bool) -> Self {
        Self {
            waiting,
            attempt: 0,
            started_ms: now_ms,
            told,
            unsure: false,
            form: Form::Call,
            unanswered: 0,
            refused: false,
            state: State::Due(now_ms),
        }
    }

    fn call(&mut self, now_ms: u64, waiter: WaiterId, route: Route, port: u16) -> Action {
        self.attempt = self.attempt.saturating_add(1);
        self.started_ms = now_ms;
        self.state = State::InFlight;
        self.told |= std::mem::take(&mut self.unsure);
        let ticket = Ticket { waiter, attempt: self.attempt };
        let (form, own) = (self.form, ticket.cookie());
        let mut arguments = self.waiting.granted_args();
        if form == Form::Message {
            arguments = TestArgs { cookie: &own, ..arguments };
        }
        let mut writer = Writer::new();
        arguments.write(&mut writer, route.version);
        Action::Call {
            form,
            ticket,
            route,
            port,
            arguments: writer.into_bytes(),
            timeout_ms: timeout_ms(route.transport, self.attempt),
        }
    }

    /// When the attempt after this one is due.
    const fn again(&self, attempt: u32) -> u64 {
        self.started_ms.saturating_add(retry_ms(attempt))
    }

    /// The same where this one arrived and was not answered, or may have.
    const fn unanswered(&mut self, attempt: u32) -> u64 {
        self.unanswered = self.unanswered.saturating_add(1);
        self.unsure = true;
        if self.unanswered >= CALLS_BEFORE_MESSAGE {
            self.form = self.form.other();
        }
        self.again(attempt)
    }

    /// The same where the client does not know the form: the other is tried, the first time at
    /// once.
    const fn refused(&mut self, now_ms: u64, attempt: u32) -> u64 {
        self.form = self.form.other();
        let first = !std::mem::replace(&mut self.refused, true);
        if first { now_ms } else { self.again(attempt) }
    }
}

impl Line {
    const fn new() -> Self {
        let port = Port::Unknown { ask_ms: 0, failures: 0 };
        Self { port, due: BTreeSet::new(), in_flight: 0 }
    }

    /// When something is to be sent.
    fn deadline_ms(&self) -> Option<u64> {
        let (due_ms, _) = *self.due.first()?;
        match self.port {
            Port::Asking { .. } => None,
            Port::Unknown { ask_ms, .. } => Some(due_ms.max(ask_ms)),
            Port::Known(_) => (self.in_flight < IN_FLIGHT_MAX).then_some(due_ms),
        }
    }

    fn is_unused(&self) -> bool {
        self.due.is_empty() && self.in_flight == 0 && !matches!(self.port, Port::Asking { .. })
    }
}
