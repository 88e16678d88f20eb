//! When each GRANTED call of one client is sent, and what comes of it (XNFS ch. 10, NLM_GRANTED).
//!
//! One [`Sender`] per client address. The driver does what an [`Action`] says, each in a task of
//! its own, so that a client that does not answer delays nobody else's, and tells every one's end
//! as one [`Event`]; between events it sleeps until [`Sender::next_deadline`].
//!
//! Once a grant is over, a call of it that is under way is better not sent any more: the client may
//! wait for the same bytes again, and take it for the answer.
//!
//! A call is repeated until it is acknowledged: by its reply, or by what the client does next,
//! which the lock core sees and tells as [`Event::Over`]. There is no last attempt where one may
//! have reached the client: a lock that was handed over is held, and only its client (or its
//! restart, or the administrator) ends that. Where none can have reached it, because no port of its
//! lock manager was found or no connection made, nobody knows of the grant, and it is taken back
//! after a time ([`Sender::new`]): the client's next LOCK begins to wait anew.
//!
//! A call goes over the transport by which the LOCK came. Where the client's rpcbind knows no port
//! for that, or calls fail that way again and again, the other is tried in turn: a firewall between
//! may let only one through.
//!
//! Clients exist that know the grant only as a message (HP-UX): where the called form is refused,
//! or is not answered [`CALLS_BEFORE_MESSAGE`] times, it is sent in both forms in turn. A message
//! is answered by NLM_GRANTED_RES, a call to us, which is matched by its cookie.

mod pending;
mod words;

use std::collections::BTreeMap;

use cleat_lock::{GrantAck, WaiterId};

use self::pending::{Line, Pending, Port, State, conclusion, route};
pub use self::words::{Action, Because, Event, Failure, Form, Route, Ticket};
use crate::contact::Waiting;
use crate::wire::Stat;

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

/// When a grant is told that was on record at a restart, in milliseconds. Most such clients know of
/// it, and the server died before their answer was on record. They are to send again first what
/// they ask for by now, which ends the grant: Linux matches GRANTED by owner and range alone, and
/// would take one of a shared lock for the exclusive one that it waits for.
pub const TOLD_AGAIN_MS: u64 = 10_000;

/// How many attempts in the called form go unanswered before the message has its turn.
pub const CALLS_BEFORE_MESSAGE: u32 = 2;

/// How long a port is kept that nothing is to be sent to, in milliseconds, from when it was found
/// or last answered. To ask for it costs a connection, and a server that hands locks over all day
/// has not so many.
pub const PORT_KEPT_MS: u64 = 60_000;

/// How many calls may fail in a row before the other transport has its turn. One that surely did
/// not arrive counts as two.
pub const MISSES_MAX: u32 = 4;

/// How many calls may be under way on one route at one time.
pub const IN_FLIGHT_MAX: usize = 8;

/// The GRANTED calls of one client.
#[derive(Debug, Default)]
pub struct Sender {
    take_back_ms: Option<u64>,
    pending: BTreeMap<WaiterId, Pending>,
    routes: BTreeMap<Route, Line>,
}

impl Sender {
    /// A sender that takes a grant back that cannot be told for so long, in milliseconds; `None` =
    /// never.
    #[must_use]
    pub fn new(take_back_ms: Option<u64>) -> Self {
        Self { take_back_ms, ..Self::default() }
    }

    /// Takes one event at `now_ms` and appends what is to be done.
    pub fn step(&mut self, now_ms: u64, event: Event, actions: &mut Vec<Action>) {
        self.routes.retain(|_, line| !line.is_unused(now_ms));
        match event {
            Event::Grant { waiter, waiting, told } => self.grant(now_ms, waiter, *waiting, told),
            Event::Over { waiter } => self.over(waiter),
            Event::Port { route, port } => {
                if let Some(line) = self.routes.get_mut(&route) {
                    line.found(now_ms, port);
                }
            }
            Event::Delivered { ticket } => self.delivered(now_ms, ticket),
            Event::Result { ticket, stat } => self.result(now_ms, ticket, stat, actions),
            Event::Answered { ticket, stat } => self.answered(now_ms, ticket, stat, actions),
            Event::Failed { ticket, failure } => self.failed(now_ms, ticket, failure),
            Event::Tick => {}
        }
        self.take_back(now_ms, actions);
        self.send(now_ms, actions);
    }

    /// When a grant is taken back if no attempt can have reached its client by then.
    fn taken_back_ms(&self, grant: &Pending) -> Option<u64> {
        let untold = !grant.told && !grant.unsure && matches!(grant.state, State::Due(_));
        self.take_back_ms.filter(|_| untold).map(|ms| grant.since_ms.saturating_add(ms))
    }

    fn take_back(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let over = |grant: &Pending| self.taken_back_ms(grant).is_some_and(|ms| ms <= now_ms);
        let waiters: Vec<WaiterId> = self
            .pending
            .iter()
            .filter(|(_, grant)| over(grant))
            .map(|(waiter, _)| *waiter)
            .collect();
        for waiter in waiters {
            self.over(waiter);
            let (outcome, because) = (GrantAck::Refused, Because::Unreachable);
            actions.push(Action::Outcome { waiter, outcome, because });
        }
    }

    /// When to call [`Sender::step`] at the latest, whatever happens; `None` where only an event
    /// can bring more to do. An idle sender has one while it keeps a port.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let sends = self.routes.values().filter_map(Line::deadline_ms);
        let ends = self.pending.values().filter_map(|grant| self.taken_back_ms(grant));
        sends.chain(ends).min()
    }

    /// Whether nothing is to be told and no action is under way: then the sender may be dropped, at
    /// the price of asking again for the ports that it keeps. One dropped earlier would ask again
    /// for a port that is being asked for, and so without end where grants come and go.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.routes.values().all(Line::is_idle)
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
                let due_ms = if told { now_ms.saturating_add(TOLD_AGAIN_MS) } else { now_ms };
                self.queue(due_ms, route(&waiting), waiter);
                self.pending.insert(waiter, Pending::new(now_ms, waiting, told));
            }
        }
    }

    fn queue(&mut self, due_ms: u64, route: Route, waiter: WaiterId) {
        if let Some(grant) = self.pending.get_mut(&waiter) {
            grant.state = State::Due(due_ms);
        }
        let line = self.routes.entry(route).or_insert_with(|| Line::new(route.transport));
        line.due.insert((due_ms, waiter));
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
            }
            State::InFlight | State::Over => grant.state = State::Over,
        }
    }

    /// Takes the end of a call, and what it says of the way that it went. `None` where its grant is
    /// over, or the ticket is not the current one's: then there is nothing more to do for it.
    fn landed(
        &mut self,
        ticket: Ticket,
        now_ms: u64,
        failure: Option<Failure>,
    ) -> Option<(Route, &mut Pending)> {
        let grant = self.pending.get_mut(&ticket.waiter)?;
        if grant.attempt != ticket.attempt || matches!(grant.state, State::Due(_)) {
            return None;
        }
        let route = route(&grant.waiting);
        if let Some(line) = self.routes.get_mut(&route) {
            line.in_flight = line.in_flight.saturating_sub(1);
            match failure {
                Some(failure) => line.missed(now_ms, failure),
                None => line.answered(now_ms),
            }
        }
        if grant.state == State::Over {
            self.pending.remove(&ticket.waiter);
            return None;
        }
        self.pending.get_mut(&ticket.waiter).map(|grant| (route, grant))
    }

    fn answered(&mut self, now_ms: u64, ticket: Ticket, stat: Stat, actions: &mut Vec<Action>) {
        let Some((route, grant)) = self.landed(ticket, now_ms, None) else { return };
        let waiter = ticket.waiter;
        if stat == Stat::DeniedGracePeriod {
            return self.queue(now_ms.saturating_add(GRACE_RETRY_MS), route, waiter);
        }
        actions.push(conclusion(waiter, stat, grant.told));
        self.pending.remove(&waiter);
    }

    /// A message has arrived, and its result is awaited until its time is over.
    fn delivered(&mut self, now_ms: u64, ticket: Ticket) {
        let Some((route, grant)) = self.landed(ticket, now_ms, None) else { return };
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
        let landed = self.landed(ticket, now_ms, Some(failure));
        let Some((route, grant)) = landed else { return };
        let due_ms = match failure {
            Failure::NotRun => grant.refused(now_ms, ticket.attempt),
            Failure::NoReply => grant.unanswered(ticket.attempt),
            // That says only that it has another port by now.
            Failure::NotDelivered if grant.by_kept_port => now_ms,
            Failure::NotDelivered | Failure::Withdrawn => grant.again(ticket.attempt),
        };
        self.queue(now_ms.max(due_ms), route, ticket.waiter);
    }

    fn send(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        for (route, line) in &mut self.routes {
            while line.deadline_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms) {
                let (port, found_ms) = match line.port {
                    Port::Known { port, found_ms, .. } => (port, found_ms),
                    Port::Unknown { failures, .. } => {
                        line.port = Port::Asking { failures };
                        actions.push(Action::AskPort { route: *route, via: line.via });
                        break;
                    }
                    Port::Asking { .. } => break,
                };
                let Some((_, waiter)) = line.due.pop_first() else { break };
                let Some(grant) = self.pending.get_mut(&waiter) else { continue };
                line.in_flight += 1;
                let way = (line.via, port, found_ms);
                actions.push(grant.call(now_ms, waiter, *route, way));
            }
        }
    }
}
