//! The server calls back: GRANTED until it is answered, as in the `nlm` crate, and the news of its
//! own restart until every host has heard.

use cleat_lock::{Grant, GrantAck, WaiterId};

use super::World;
use super::types::{Callback, Event, Inbound, Message, Stat, who};

/// A GRANTED that is not answered yet.
#[derive(Debug)]
pub struct Pending {
    call: Callback,
    /// Whether an attempt may have reached the client.
    told: bool,
    /// The latest attempt that surely did not.
    undelivered: u32,
}

/// The number of the wish that a context names.
pub fn episode(context: &[u8]) -> u64 {
    context.try_into().map_or(0, u64::from_be_bytes)
}

impl World {
    pub fn grant(&mut self, stamp: u64, grant: &Grant) {
        let epoch = self.epoch;
        let Some(server) = &mut self.server else { return };
        let (episode, (host, _)) = (episode(&grant.context), who(&grant.owner));
        let waiter = grant.waiter;
        let told = grant.told;
        let call = Callback { host, episode, epoch, stamp, waiter, attempt: 0 };
        let pending = server.calls.entry(waiter).or_insert(Pending { call, told, undelivered: 0 });
        pending.told |= told;
        pending.call.episode = episode;
        self.call_back(waiter);
    }

    fn call_back(&mut self, waiter: WaiterId) {
        let epoch = self.epoch;
        let Some(server) = &mut self.server else { return };
        let Some(pending) = server.calls.get_mut(&waiter) else { return };
        pending.call.attempt += 1;
        let call = pending.call;
        let attempt = call.attempt;
        self.post(Message::Callback(call));
        let timeout_ms = 1_000 << attempt.min(5);
        self.after(timeout_ms, Event::CallbackTimeout { epoch, waiter, attempt });
    }

    pub fn callback_timeout(&mut self, waiter: WaiterId, attempt: u32) {
        let Some(server) = &mut self.server else { return };
        let Some(pending) = server.calls.get_mut(&waiter) else { return };
        if pending.call.attempt != attempt {
            return;
        }
        pending.told |= pending.undelivered != attempt;
        self.call_back(waiter);
    }

    /// No connection: the client has surely not heard this attempt.
    pub fn undelivered(&mut self, call: Callback) {
        if call.epoch != self.epoch {
            return;
        }
        let Some(server) = &mut self.server else { return };
        if let Some(pending) = server.calls.get_mut(&call.waiter) {
            pending.undelivered = call.attempt;
        }
    }

    pub fn callback_answered(&mut self, call: Callback, stat: Stat) {
        if call.epoch != self.epoch {
            return;
        }
        let Some(server) = &mut self.server else { return };
        let waiter = call.waiter;
        let Some(pending) = server.calls.get(&waiter) else { return };
        if pending.call.attempt != call.attempt {
            return;
        }
        let ack = match stat {
            // The timeout repeats it; that attempt told the client nothing.
            Stat::DeniedGrace => return self.undelivered(call),
            Stat::Granted => GrantAck::Accepted,
            // It may have taken the lock from an earlier attempt.
            Stat::Denied if pending.told => GrantAck::Assumed,
            Stat::Denied => GrantAck::Refused,
        };
        server.calls.remove(&waiter);
        self.strays |= ack == GrantAck::Assumed;
        self.tell_server(Inbound::GrantOutcome(waiter, ack));
    }

    pub fn notify_again(&mut self, host: usize) {
        let epoch = self.epoch;
        let Some(server) = &self.server else { return };
        if server.unheard.contains(&host) {
            self.post(Message::ServerRestarted { host, epoch });
            let wait_ms = self.rng.between(1_000, 15_000);
            self.after(wait_ms, Event::NotifyAgain { epoch, host });
        }
    }

    pub fn heard(&mut self, host: usize, epoch: u64) {
        if epoch == self.epoch
            && let Some(server) = &mut self.server
        {
            server.unheard.retain(|&unheard| unheard != host);
            self.tell_server(Inbound::Reached(host));
        }
    }
}
