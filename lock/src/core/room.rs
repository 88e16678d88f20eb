//! Room for one more client: where there is none, those that hold and await nothing make it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Core;
use super::requests::beyond;
use crate::effect::{Effect, Outcome};
use crate::error::Limit;
use crate::types::Owner;

/// How long after a search in vain no client is looked for that could go, in milliseconds: who
/// comes too many must not cost those who are there a look at all of them each time.
const CROWDED_MS: u64 = 1000;

impl Core {
    /// The refusal, where the client of this owner is new (`known` = `None`) and no further one may
    /// be known.
    pub(super) fn room_for(
        &mut self,
        known: Option<u32>,
        owner: &Owner,
        fx: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        if known.is_some() { None } else { self.room_for_client(&owner.client_id, fx) }
    }

    /// The refusal, where all clients of the source of this owner's may have no `gain` claims more,
    /// or where the owner is new and its names take too many bytes.
    pub(super) fn room_of_source(
        &self,
        known: Option<u32>,
        owner: &Owner,
        gain: i64,
    ) -> Option<Outcome> {
        let (names, limits) = (&self.table.names, &self.config.limits);
        let source = names.source_of_owner(known, owner);
        let (claims, bytes) = source.map_or((0, 0), |source| (source.claims, source.owner_bytes));
        let new_bytes = if known.is_some() { 0 } else { owner.owner_id.len() + owner.note.len() };
        let sourced = names.source_mark.is_some();
        let claims = (Limit::ClaimsPerSource, claims, limits.claims_per_source);
        let of_source = (Limit::OwnerBytesPerSource, bytes, limits.owner_bytes_per_source);
        let of_all = (Limit::OwnerBytesTotal, names.owner_bytes(), limits.owner_bytes_total);
        let new_bytes = i64::try_from(new_bytes).unwrap_or(i64::MAX);
        beyond(sourced.then_some(claims), gain)
            .or_else(|| beyond(sourced.then_some(of_source), new_bytes))
            .or_else(|| beyond([of_all], new_bytes))
    }

    /// The refusal, where this client is new and no further one may be known.
    pub(super) fn room_for_client(
        &mut self,
        client_id: &str,
        fx: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        let (names, limits) = (&self.table.names, &self.config.limits);
        if names.client(client_id).is_some() {
            return None;
        }
        let (all_max, of_source_max) = (limits.clients, limits.clients_per_source);
        let of_source = names.of_source(client_id);
        let there = of_source.map_or(0, |of_source| of_source.len() as u64);
        let (mut current, mut going) = (names.clients.len() as u64, Vec::new());
        if there >= of_source_max {
            // The others of the source go on being told apart: so many stay.
            let most;
            (going, most) = self.idle(of_source.into_iter().flatten().copied());
            going.truncate(most);
            if going.is_empty() {
                let which = Limit::ClientsPerSource;
                return Some(Outcome::Limit { which, current: there, maximum: of_source_max });
            }
            current -= going.len() as u64;
        }
        if current >= all_max {
            let further = self.longest_idle_of_all();
            if further.is_empty() {
                let current = self.table.names.clients.len() as u64;
                return Some(Outcome::Limit { which: Limit::Clients, current, maximum: all_max });
            }
            going.extend(further);
        }
        for ix in going {
            let client_id = Arc::clone(&self.table.names.clients[ix].id);
            self.forget(&client_id, fx);
        }
        None
    }

    /// Whom to forget of all. Behind an address a host is told from the others by name, and only
    /// while several are known there: what one that is forgotten says of its restart would be taken
    /// for the word of the last of them. So the last two go together or not at all.
    fn longest_idle_of_all(&mut self) -> Vec<u32> {
        if self.now_ms < self.crowded_until_ms {
            return Vec::new();
        }
        let names = &self.table.names;
        let (idle, most) = self.idle(names.clients.iter().map(|(ix, _)| ix));
        let (mut going, mut gone) = (Vec::new(), BTreeSet::new());
        for ix in idle {
            if going.len() >= most {
                break;
            }
            let of_source = names.of_source(&names.clients[ix].id).into_iter().flatten();
            let mut beside = of_source.copied().filter(|at| *at != ix && !gone.contains(at));
            let last = beside.next().filter(|_| beside.next().is_none());
            let last_stays = |&at: &u32| !names.clients[at].is_only_on_record();
            if !gone.contains(&ix) && last.as_ref().is_none_or(|at| !last_stays(at)) {
                going.extend([Some(ix), last].into_iter().flatten());
                gone.extend([Some(ix), last].into_iter().flatten());
            }
        }
        if going.is_empty() {
            self.crowded_until_ms = self.now_ms.saturating_add(CROWDED_MS);
        }
        going
    }

    /// Of these clients those that are only on record, who was not seen for longest first, and how
    /// many of them are to go: one and one more for each thousand. None is while a grace window is
    /// open: what it held before the restart may not be on record.
    fn idle(&self, among: impl Iterator<Item = u32>) -> (Vec<u32>, usize) {
        let (clients, mut count) = (&self.table.names.clients, 0);
        let mut idle: Vec<(u64, u32)> = among
            .inspect(|_| count += 1)
            .filter(|&ix| self.grace.is_none() && clients[ix].is_only_on_record())
            .map(|ix| (clients[ix].seen_ms, ix))
            .collect();
        idle.sort_unstable();
        (idle.into_iter().map(|(_, ix)| ix).collect(), 1 + count / 1000)
    }
}
