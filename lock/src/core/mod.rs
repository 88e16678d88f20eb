//! The state machine: one input in, its effects out.

mod claims;
mod clear;
mod clients;
mod counters;
mod grace;
mod grants;
mod hold;
mod lease;
mod presence;
mod reclaim;
mod requests;
mod restore;
mod room;
mod shares;
mod upgrade;
mod view;

pub use claims::{Claim, ClaimState, Claimed, Cursor, Filter, Obstacle, PageLimits, Waiting};
pub use clear::{Clear, Cleared};
pub use counters::{Counters, WaitTimes};
pub use lease::Blocking;
pub use view::{ClientView, GraceView};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::Config;
use crate::effect::{Effect, Outcome};
use crate::input::{GrantAck, Input};
use crate::record::Record;
use crate::table::Table;
use crate::types::Token;
use clients::Release;
use grace::Window;
use hold::Holds;

/// The lock table with its queues and its grace window.
///
/// All times are milliseconds on one clock of the driver's, which must go on over a restart where
/// waiters expire (Unix time does). A time before the latest one given counts as the latest.
#[derive(Debug)]
pub struct Core {
    config: Config,
    table: Table,
    grace: Option<Window>,
    now_ms: u64,
    /// Effects of the restart itself, given out with the first step.
    unsaid: Vec<Effect>,
    /// Records that a restore refused.
    rejected: Vec<Record>,
    counters: Counters,
    /// When which disconnected client loses what it has.
    leaving: BTreeSet<(u64, u32)>,
    /// Clients whose release takes more steps than one.
    releases: BTreeMap<Arc<str>, Release>,
    /// Until when what was not reclaimed stands.
    holds: Holds,
    /// Until when no client is looked for that makes room for another: none did a moment ago.
    crowded_until_ms: u64,
}

impl Core {
    /// An empty table: nothing on record, no grace window.
    #[must_use]
    pub fn new(config: Config) -> Core {
        let mut table = Table::new(config.hash_seed);
        table.names.source_mark = config.source_mark;
        table.fair_wait_ms = config.fair_wait_ms;
        Core {
            config,
            table,
            grace: None,
            now_ms: 0,
            unsaid: Vec::new(),
            rejected: Vec::new(),
            counters: Counters::default(),
            leaving: BTreeSet::new(),
            releases: BTreeMap::new(),
            holds: Holds::default(),
            crowded_until_ms: 0,
        }
    }

    /// Takes one input and appends what it causes to `effects`.
    ///
    /// What is due by `now_ms` happens first: waiters expire, clients lapse, a grace window ends,
    /// locks that nobody reclaimed are dropped.
    pub fn step(&mut self, now_ms: u64, input: Input, effects: &mut Vec<Effect>) {
        self.now_ms = self.now_ms.max(now_ms);
        effects.append(&mut self.unsaid);
        if self.next_deadline().is_some_and(|due_ms| due_ms <= self.now_ms) {
            self.expire_waiters(effects);
            self.release_lapsed(effects);
            self.end_grace_when_due(effects);
            self.release_unreclaimed(effects);
            self.table.wake_yielding(self.now_ms);
            self.settle(effects);
        }
        if !self.leaving.is_empty()
            && let Some(client_id) = input.sign_of_life()
        {
            self.came_back(client_id);
        }
        self.take(input, effects);
        self.settle(effects);
    }

    /// When [`Input::Tick`] is due at the latest, on the core's clock; `None` = nothing is.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        if !self.unsaid.is_empty() || self.table.has_turns() || !self.releases.is_empty() {
            return Some(self.now_ms);
        }
        let window = self.grace.as_ref().map(|window| window.until_ms);
        let lapse = self.leaving.first().map(|&(lapses_ms, _)| lapses_ms);
        let queue = &self.table.queue;
        let waiters = [queue.next_expiry_ms(), queue.next_yielding_ms()];
        let others = [window, lapse, self.holds.next_ms()];
        others.into_iter().chain(waiters).flatten().min()
    }

    fn take(&mut self, input: Input, fx: &mut Vec<Effect>) {
        let (token, outcome) = match input {
            Input::Test { token, owner, file, range, mode } => {
                (token, self.test(&owner, &file, range, mode))
            }
            Input::Lock(request) => (request.token, self.lock(request, fx)),
            Input::ReclaimRecorded(request) => (request.token, self.reclaim_of_record(request, fx)),
            Input::ReclaimRecordedShare(request) => {
                (request.token, self.reclaim_share_of_record(&request, fx))
            }
            Input::Upgrade(request) => (request.token, self.upgrade(request, fx)),
            Input::Unlock { token, id, owner, file, range } => {
                (token, self.unlock(id, &owner, &file, range, fx))
            }
            Input::Cancel { token, owner, file, range, mode } => {
                (token, self.cancel(&owner, &file, range, mode, fx))
            }
            Input::Share(request) => (request.token, self.share(&request, fx)),
            Input::Unshare { token, owner, file } => (token, self.unshare(&owner, &file, fx)),
            Input::Register { token, client_id, incarnation, contact } => {
                (token, self.register_client(&client_id, incarnation, &contact, fx))
            }
            Input::FreeAll { token, client_id } => match self.free_all(token, &client_id, fx) {
                Some(outcome) => (token, outcome),
                None => return,
            },
            Input::ClientRestarted { token, client_id, incarnation } => {
                match self.client_restarted(token, &client_id, incarnation, fx) {
                    Some(outcome) => (token, outcome),
                    None => return,
                }
            }
            Input::ForgetClient { token, client_id } => (token, self.forget(&client_id, fx)),
            Input::EndGrace { token } => (token, self.end_grace_by_order(fx)),
            Input::Clear { token, id, what } => (token, self.clear(id, &what, fx)),
            Input::Disconnected { client_id } => return self.disconnected(&client_id, fx),
            Input::ClientReached { client_id } => return self.client_reached(&client_id),
            Input::ClientSilent { client_id, since_ms } => {
                return self.client_silent(&client_id, since_ms, fx);
            }
            Input::GrantOutcome { waiter, outcome } => {
                return match outcome {
                    GrantAck::Accepted => self.grant_accepted(waiter, fx),
                    GrantAck::Assumed => self.grant_assumed(waiter, fx),
                    GrantAck::Refused => self.grant_refused(waiter, fx),
                };
            }
            Input::Tick => return self.go_on_releasing(fx),
        };
        self.reply(token, outcome, fx);
    }

    fn reply(&mut self, token: Token, outcome: Outcome, fx: &mut Vec<Effect>) {
        let counters = &mut self.counters;
        match &outcome {
            Outcome::Conflict(_) => counters.refused_conflict += 1,
            Outcome::ShareConflict(_) => counters.refused_share += 1,
            Outcome::Grace { .. } => counters.refused_grace += 1,
            Outcome::Limit { .. } => counters.refused_limit += 1,
            Outcome::ReclaimRefused => counters.refused_reclaim += 1,
            Outcome::Deadlock { .. } => counters.deadlocks += 1,
            Outcome::NotFound => counters.refused_not_found += 1,
            _ => {}
        }
        fx.push(Effect::Reply { token, outcome });
    }
}
