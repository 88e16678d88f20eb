//! Hosts that are frozen for a while, and what the server may take from a host without its word.
//!
//! A frozen host takes and says nothing, and does not know that time passed: whatever it was told
//! it believes still. So what the server took from it meanwhile is set apart as lost, and the
//! server may take only that: never from a host that is there, and never before its time.

use std::collections::BTreeMap;

use std::sync::Arc;

use cleat_lock::{Input, Mode, Recovery, Taken, TakenWhy};

use super::World;
use super::rng::Rng;
use super::table::Table;
use super::types::{Event, Inbound, Message};

/// How the server of a run recovers.
#[derive(Debug)]
pub struct Plan {
    pub recovery: Recovery,
    pub unreachable_hold_ms: u64,
    /// 0 = no leases.
    pub lease_ms: u64,
}

impl Plan {
    pub fn new(rng: &mut Rng) -> Plan {
        let recovery = if rng.chance(500) { Recovery::Instant } else { Recovery::Strict };
        let mut pick = |choices: &[u64]| choices[rng.index(choices.len())];
        let unreachable_hold_ms = pick(&[0, 20_000, 600_000]);
        Plan { recovery, unreachable_hold_ms, lease_ms: pick(&[0, 0, 15_000]) }
    }
}

/// What one life of the server knows of its clients' being there.
#[derive(Debug, Default)]
pub struct Presence {
    started_ms: u64,
    /// When it learned that the host knows of the restart.
    reached_ms: BTreeMap<usize, u64>,
    /// Since when the host, which is in others' way, answers nothing.
    silent_ms: BTreeMap<usize, u64>,
    /// When the host's latest request came.
    asked_ms: BTreeMap<usize, u64>,
}

impl Presence {
    pub fn new(started_ms: u64) -> Presence {
        Presence { started_ms, ..Presence::default() }
    }

    pub fn asked(&mut self, host: usize, now_ms: u64) {
        self.asked_ms.insert(host, now_ms);
    }
}

impl World {
    /// Whether the host takes what comes.
    fn is_there(&self, host: usize) -> bool {
        self.hosts[host].is_reachable() && self.hosts[host].frozen_until_ms <= self.now_ms
    }

    /// What of an event happens now: to a frozen host nothing that it would do by itself until it
    /// goes on, and what is sent to it is lost.
    pub fn unless_frozen(&mut self, event: Event) -> Option<Event> {
        let (host, comes) = match &event {
            Event::Think { host, .. }
            | Event::Again { host, .. }
            | Event::Poll { host, .. }
            | Event::Interrupt { host, .. }
            | Event::HostDown { host } => (*host, false),
            Event::Deliver(message) => match &**message {
                Message::Reply(reply) => (reply.to.host, true),
                Message::Callback(call) => (call.host, true),
                Message::ServerRestarted { host, .. } => (*host, true),
                _ => return Some(event),
            },
            _ => return Some(event),
        };
        let left_ms = self.hosts[host].frozen_until_ms.saturating_sub(self.now_ms);
        if left_ms == 0 {
            return Some(event);
        }
        if !comes {
            self.after(left_ms, event);
        }
        None
    }

    pub fn plan_freezes(&mut self, loud_ms: u64) {
        for host in 0..self.hosts.len() {
            for _ in 0..2 {
                if self.rng.chance(300) {
                    let after_ms = self.rng.between(1, loud_ms);
                    self.after(after_ms, Event::Freeze { host });
                }
            }
        }
    }

    /// (A connection does not outlive that: such hosts go away instead.)
    pub fn freeze(&mut self, host: usize) {
        let it = &self.hosts[host];
        if !self.quiet && it.up && !it.protocol.is_connected() {
            self.hosts[host].frozen_until_ms = self.now_ms + self.rng.between(1_000, 200_000);
        }
    }

    pub fn thaw_all(&mut self) {
        for host in &mut self.hosts {
            host.frozen_until_ms = host.frozen_until_ms.min(self.now_ms + 1);
        }
    }

    pub fn reached(&mut self, host: usize) -> Input {
        let now_ms = self.now_ms;
        if let Some(server) = &mut self.server {
            server.presence.reached_ms.entry(host).or_insert(now_ms);
        }
        Input::ClientReached { client_id: Arc::clone(&self.names[host].client_id) }
    }

    /// The server asks who is in others' way whether it is there.
    pub fn probe(&mut self, epoch: u64) {
        let lease_ms = self.plan.lease_ms;
        let Some(server) = &self.server else { return };
        let blocking = server.core.blocking_clients(1_000);
        let mut silent = BTreeMap::new();
        let mut over = Vec::new();
        for client in blocking {
            let host = self.host_of(&client.client_id);
            if self.is_there(host) {
                continue;
            }
            let before = server.presence.silent_ms.get(&host).copied();
            let since_ms = before.filter(|&ms| client.seen_ms < ms).unwrap_or(self.now_ms);
            silent.insert(host, since_ms);
            if self.now_ms - since_ms >= lease_ms {
                over.push((host, since_ms));
            }
        }
        if let Some(server) = &mut self.server {
            server.presence.silent_ms = silent;
        }
        for (host, since_ms) in over {
            self.tell_server(Inbound::Silent(host, since_ms));
        }
        self.after(lease_ms / 3, Event::Probe { epoch });
    }

    /// Judges what was taken from a host, and sets it apart in what the host believes.
    pub fn taken(&mut self, taken: &Taken) {
        let host = self.host_of(&taken.client_id);
        self.met.note(match &taken.why {
            TakenWhy::Unreachable => "taken from the unreachable",
            TakenWhy::NotReclaimed => "taken from who did not reclaim",
            TakenWhy::Silent { .. } => "taken from the silent",
            TakenWhy::Ordered => "taken by order",
            TakenWhy::Contradicted { .. } => {
                // Who is right is judged by the reclaim.
                if self.server.as_ref().is_some_and(|server| server.exact) {
                    self.fail(|| format!("contradicted over exact records: {taken:?}"));
                }
                return self.met.note("taken for another's reclaim");
            }
        });
        let Some(server) = &mut self.server else { return };
        server.forget_grants(host);
        let (now_ms, presence) = (self.now_ms, &server.presence);
        let reached_ms = presence.reached_ms.get(&host).copied();
        let hold_ms = self.plan.unreachable_hold_ms;
        let ends_ms = presence.started_ms + self.grace_ms;
        let right = match taken.why {
            TakenWhy::Contradicted { .. } => true,
            TakenWhy::Unreachable => reached_ms.is_none() && now_ms >= ends_ms + hold_ms,
            TakenWhy::NotReclaimed if hold_ms == 0 => reached_ms.is_some() && now_ms >= ends_ms,
            TakenWhy::NotReclaimed => reached_ms.is_some_and(|ms| now_ms >= ms + self.grace_ms),
            TakenWhy::Ordered => hold_ms == 0,
            TakenWhy::Silent { since_ms } => {
                self.plan.lease_ms > 0
                    && now_ms >= since_ms + self.plan.lease_ms
                    && presence.asked_ms.get(&host).is_none_or(|&ms| ms < since_ms)
            }
        };
        let any = matches!(taken.why, TakenWhy::Silent { .. });
        if any {
            self.hosts[host].cleared = self.steps;
        }
        let (table, epoch) = (&server.table, self.epoch);
        for (process, it) in self.hosts[host].processes.iter_mut().enumerate() {
            let who = (host, process);
            // Its own waiter may have got the bytes in the same step. Of that it knows nothing.
            let gone = Table::of_records(&taken.named);
            for (&place, held) in &mut it.held {
                // What was told or reclaimed in this life of the server goes by silence alone.
                let old = any || held.epoch < epoch;
                let left = table.covers(who, place, held.sure);
                held.lost |= old && (!left || gone.covers(who, place, Mode::Shared));
            }
            for (&file, share) in &mut it.shares {
                share.lost |= share.epoch < epoch && !table.reserves(who, file, share.sure);
            }
        }
        if !right {
            self.fail(|| format!("taken before its time, or from who is there: {taken:?}"));
        }
    }

    /// Nothing stands unreclaimed for longer than was said.
    pub fn check_holds(&mut self) {
        let Some(server) = &self.server else { return };
        let presence = &server.presence;
        let hold_ms = self.grace_ms + self.plan.unreachable_hold_ms;
        let last_ms = presence.reached_ms.values().max().map_or(0, |ms| ms + self.grace_ms);
        let until_ms = last_ms.max(presence.started_ms + hold_ms);
        let unreclaimed = server.core.counters().unreclaimed;
        if unreclaimed > 0 && self.now_ms > until_ms {
            self.fail(|| format!("{unreclaimed} unreclaimed after {until_ms}"));
        }
    }
}
