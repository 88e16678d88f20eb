//! One grant that is to be told, and the way it goes: what was tried, and what is due.

use std::collections::BTreeSet;

use cleat_lock::{GrantAck, WaiterId};
use cleat_rpc::Writer;

use super::words::{Action, Because, Failure, Form, Route, Ticket};
use super::{
    CALLS_BEFORE_MESSAGE, IN_FLIGHT_MAX, MISSES_MAX, PORT_KEPT_MS, RETRY_MS_MAX, RETRY_MS_MIN,
    TCP_TIMEOUT_MS,
};
use crate::contact::Waiting;
use crate::owner::Transport;
use crate::version::Message;
use crate::wire::{Stat, TestArgs};

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) waiting: Waiting,
    /// When it was handed over.
    pub(super) since_ms: u64,
    /// Attempts made.
    pub(super) attempt: u32,
    /// When the latest attempt started.
    pub(super) started_ms: u64,
    /// Whether the latest went to a port that was found before this was handed over.
    pub(super) by_kept_port: bool,
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

/// The way to a client's lock manager, and what is to go it.
#[derive(Debug)]
pub(super) struct Line {
    /// As the LOCKs came, or the other where that did not work.
    pub(super) via: Transport,
    pub(super) port: Port,
    /// What is to be sent, by time, then in the order of arrival.
    pub(super) due: BTreeSet<(u64, WaiterId)>,
    pub(super) in_flight: usize,
    /// How often in a row a call failed this way; twice for one that surely did not arrive.
    misses: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// To be asked for, not before the time.
    Unknown { ask_ms: u64, failures: u32 },
    /// Asked for.
    Asking { failures: u32 },
    /// Known, and kept until a time where nothing is to be sent.
    Known { port: u16, found_ms: u64, until_ms: u64 },
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
            since_ms: now_ms,
            attempt: 0,
            started_ms: now_ms,
            by_kept_port: false,
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
        (via, port, found_ms): (Transport, u16, u64),
    ) -> Action {
        self.attempt = self.attempt.saturating_add(1);
        self.by_kept_port = found_ms < self.since_ms;
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
            via,
            port,
            arguments: writer.into_bytes(),
            timeout_ms: timeout_ms(via, self.attempt),
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
    pub(super) const fn new(via: Transport) -> Self {
        let port = Port::Unknown { ask_ms: 0, failures: 0 };
        Self { via, port, due: BTreeSet::new(), in_flight: 0, misses: 0 }
    }

    /// When something is to be sent, or there is no more use in what is kept.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        match (self.due.first(), self.port) {
            (_, Port::Asking { .. }) | (None, Port::Unknown { .. }) => None,
            (Some(&(due_ms, _)), Port::Unknown { ask_ms, .. }) => Some(due_ms.max(ask_ms)),
            (Some(&(due_ms, _)), Port::Known { .. }) => {
                (self.in_flight < IN_FLIGHT_MAX).then_some(due_ms)
            }
            (None, Port::Known { until_ms, .. }) => (self.in_flight == 0).then_some(until_ms),
        }
    }

    /// Whether nothing is to be sent, nor under way.
    pub(super) fn is_idle(&self) -> bool {
        self.due.is_empty() && self.in_flight == 0 && !matches!(self.port, Port::Asking { .. })
    }

    /// Whether it may be forgotten too.
    pub(super) fn is_unused(&self, now_ms: u64) -> bool {
        let kept = matches!(self.port, Port::Known { until_ms, .. } if until_ms > now_ms);
        self.is_idle() && !kept
    }

    /// Takes the answer of the client's rpcbind. Where there is no port, the other transport is
    /// asked for at once, and both again ever more slowly.
    pub(super) fn found(&mut self, now_ms: u64, port: Option<u16>) {
        let Port::Asking { failures } = self.port else { return };
        if let Some(port) = port {
            let until_ms = now_ms.saturating_add(PORT_KEPT_MS);
            self.port = Port::Known { port, found_ms: now_ms, until_ms };
            return;
        }
        let failures = failures.saturating_add(1);
        let wait_ms = if failures % 2 == 1 { 0 } else { retry_ms(failures / 2) };
        self.port = Port::Unknown { ask_ms: now_ms.saturating_add(wait_ms), failures };
        self.go_the_other_way();
    }

    /// The port is the client's.
    pub(super) const fn answered(&mut self, now_ms: u64) {
        self.misses = 0;
        if let Port::Known { until_ms, .. } = &mut self.port {
            *until_ms = now_ms.saturating_add(PORT_KEPT_MS);
        }
    }

    /// A call failed. Those that were under way beside it count as one with it.
    pub(super) fn missed(&mut self, now_ms: u64, failure: Failure) {
        if failure == Failure::Withdrawn || !matches!(self.port, Port::Known { .. }) {
            return;
        }
        // Its lock manager may have started again on another port.
        self.port = Port::Unknown { ask_ms: now_ms, failures: 0 };
        self.misses += match failure {
            Failure::NotDelivered => 2,
            Failure::NoReply => 1,
            // It is there.
            Failure::NotRun | Failure::Withdrawn => 0,
        };
        if self.misses >= MISSES_MAX {
            self.go_the_other_way();
        }
    }

    fn go_the_other_way(&mut self) {
        self.misses = 0;
        self.via = match self.via {
            Transport::Tcp => Transport::Udp,
            Transport::Udp => Transport::Tcp,
        };
    }
}
