//! One grant that is to be told, and the way it goes: what was tried, and what is due.

use std::collections::BTreeSet;

use cleat_lock::{GrantAck, WaiterId};
use cleat_rpc::Writer;

use super::words::{Action, Because, Form, Route, Ticket};
use super::{CALLS_BEFORE_MESSAGE, IN_FLIGHT_MAX, RETRY_MS_MAX, RETRY_MS_MIN, TCP_TIMEOUT_MS};
use crate::contact::Waiting;
use crate::owner::Transport;
use crate::version::Message;
use crate::wire::{Stat, TestArgs};

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) waiting: Waiting,
    /// Attempts made.
    pub(super) attempt: u32,
    /// When the latest attempt started.
    pub(super) started_ms: u64,
    /// Whether an attempt before the latest may have reached the client.
    pub(super) told: bool,
    /// Whether the latest may have, while it is not answered.
    pub(super) unsure: bool,
    /// The form of the next attempt.
    pub(super) form: Form,
    /// Attempts that went unanswered.
    pub(super) unanswered: u32,
    /// Whether a form was refused by the client's RPC layer.
    pub(super) refused: bool,
    pub(super) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// In its route's queue, for this time.
    Due(u64),
    /// A call is under way.
    InFlight,
    /// A call is under way whose result no longer matters.
    Over,
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) port: Port,
    /// What is to be sent, by time, then in the order of arrival.
    pub(super) due: BTreeSet<(u64, WaiterId)>,
    pub(super) in_flight: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// To be asked for, not before the time.
    Unknown { ask_ms: u64, failures: u32 },
    /// Asked for.
    Asking { failures: u32 },
    /// Known.
    Known(u16),
}

/// The time between the starts of attempt `attempt` (from 1) and the next.
pub(super) const fn retry_ms(attempt: u32) -> u64 {
    let doublings = attempt.saturating_sub(1);
    let doublings = if doublings > 16 { 16 } else { doublings };
    let retry_ms = RETRY_MS_MIN << doublings;
    if retry_ms < RETRY_MS_MAX { retry_ms } else { RETRY_MS_MAX }
}

pub(super) const fn timeout_ms(transport: Transport, attempt: u32) -> u64 {
    match transport {
        Transport::Udp => retry_ms(attempt),
        Transport::Tcp => TCP_TIMEOUT_MS,
    }
}

pub(super) fn route(waiting: &Waiting) -> Route {
    Route {
        client: waiting.client,
        server: waiting.server,
        transport: waiting.transport,
        version: waiting.version,
    }
}

/// What a client's word means, where `told` says that an attempt before the one it answers may
/// have reached it.
pub(super) const fn conclusion(waiter: WaiterId, stat: Stat, told: bool) -> Action {
    let (outcome, because) = match stat {
        Stat::Granted => (GrantAck::Accepted, Because::Granted),
        other if told => (GrantAck::Assumed, Because::DeniedWhenRepeated(other)),
        other => (GrantAck::Refused, Because::Denied(other)),
    };
    Action::Outcome { waiter, outcome, because }
}

impl Pending {
    pub(super) const fn new(now_ms: u64, waiting: Waiting, told: bool) -> Self {
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

    pub(super) fn call(
        &mut self,
        now_ms: u64,
        waiter: WaiterId,
        route: Route,
        port: u16,
    ) -> Action {
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
    pub(super) const fn again(&self, attempt: u32) -> u64 {
        self.started_ms.saturating_add(retry_ms(attempt))
    }

    /// The same where this one arrived and was not answered, or may have.
    pub(super) const fn unanswered(&mut self, attempt: u32) -> u64 {
        self.unanswered = self.unanswered.saturating_add(1);
        self.unsure = true;
        if self.unanswered >= CALLS_BEFORE_MESSAGE {
            self.form = self.form.other();
        }
        self.again(attempt)
    }

    /// The same where the client does not know the form: the other is tried, the first time at
    /// once.
    pub(super) const fn refused(&mut self, now_ms: u64, attempt: u32) -> u64 {
        self.form = self.form.other();
        let first = !std::mem::replace(&mut self.refused, true);
        if first { now_ms } else { self.again(attempt) }
    }
}

impl Line {
    pub(super) const fn new() -> Self {
        let port = Port::Unknown { ask_ms: 0, failures: 0 };
        Self { port, due: BTreeSet::new(), in_flight: 0 }
    }

    /// When something is to be sent.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let (due_ms, _) = *self.due.first()?;
        match self.port {
            Port::Asking { .. } => None,
            Port::Unknown { ask_ms, .. } => Some(due_ms.max(ask_ms)),
            Port::Known(_) => (self.in_flight < IN_FLIGHT_MAX).then_some(due_ms),
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.due.is_empty() && self.in_flight == 0 && !matches!(self.port, Port::Asking { .. })
    }
}
