//! The table page by page: what a listing of millions reads without holding up those who lock.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Core;
use crate::table::{Held, Standing, Waiter};
use crate::types::{Access, FileId, LockId, Mode, Owner, Range, WaiterId};

/// The most obstacles of one waiter that are named.
const OBSTACLES_NAMED_MAX: usize = 16;
/// The most obstacles of one waiter that are counted: a queue of thousands is not walked once for
/// each that stands in it.
const OBSTACLES_COUNTED_MAX: u32 = 1000;

/// One line of the table: a held piece, a share reservation, or a request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The lock's name; of a request that waits, the name that its lock will have. `None` for a
    /// share reservation, which is named by its owner and file.
    pub id: Option<LockId>,
    /// Whose.
    pub owner: Owner,
    /// On which file.
    pub file: FileId,
    /// What is claimed.
    pub what: Claimed,
    /// How firmly.
    pub state: ClaimState,
    /// Since when it is held or waits, on the core's clock.
    pub since_ms: u64,
}

/// What a claim is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// Bytes.
    Range {
        /// Which.
        range: Range,
        /// In which mode.
        mode: Mode,
    },
    /// The file, by a share reservation.
    Share {
        /// What its owner may do.
        access: Access,
        /// What nobody else may do.
        deny: Access,
    },
}

/// How firmly a claim stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimState {
    /// Its owner has it and knows.
    Held,
    /// Granted after a wait; its client has not yet said that it knows.
    Unacknowledged,
    /// On record since before a restart, and not reclaimed.
    Unreclaimed,
    /// It waits.
    Waiting(Waiting),
}

/// Where a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its name.
    pub waiter: WaiterId,
    /// How many conflicting requests came before it; 1000 = that or more.
    pub ahead: u32,
    /// Holders that it waits for, or, where it yields, the requests that came before it: 16 at most.
    pub waits_for: Vec<Obstacle>,
    /// How many more there are; 1000 = that or more.
    pub more: u32,
}

/// What somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The lock, or the request that came before.
    pub id: LockId,
    /// Whose.
    pub owner: Owner,
    /// Whether it waits itself.
    pub waiting: bool,
}

/// Which claims are listed: those that all that is said here is true of.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// On this file.
    pub file: Option<FileId>,
    /// Of one of these clients.
    pub clients: Option<BTreeSet<Arc<str>>>,
}

/// Where a listing goes on. It begins with what waits, then come locks, then share reservations:
/// a request that is granted meanwhile is met twice rather than never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// Requests, from this number on.
    Waiters(u64),
    /// Locks, from this slot on.
    Locks(u32),
    /// Share reservations, from this owner and file on.
    Shares(u32, u32),
}

impl Default for Cursor {
    fn default() -> Self {
        Cursor::Waiters(0)
    }
}

/// How much one page may take.
#[derive(Clone, Copy, Debug)]
pub struct PageLimits {
    /// The most claims on it.
    pub claims: usize,
    /// The most claims, empty slots and obstacles that are looked at for it; the obstacles of the
    /// last claim may exceed it.
    pub looks: usize,
}

/// A filter in the table's own numbers.
struct Wanted<'a> {
    file: Option<u32>,
    clients: Option<&'a BTreeSet<Arc<str>>>,
}

impl Core {
    /// One page of claims, and where the next begins; `None` = there is none.
    ///
    /// Between two pages the table may change. What is there from the first page to the last, and
    /// keeps its name, is listed exactly once; what comes or goes meanwhile may be or not.
    #[must_use]
    pub fn claims(
        &self,
        filter: &Filter,
        from: Cursor,
        limits: PageLimits,
    ) -> (Vec<Claim>, Option<Cursor>) {
        let file = match &filter.file {
            Some(id) => match self.table.names.file(id) {
                // Nothing is claimed on it.
                None => return (Vec::new(), None),
                known => known,
            },
            None => None,
        };
        let wanted = Wanted { file, clients: filter.clients.as_ref() };
        match from {
            Cursor::Waiters(seq) => self.page_of_waiters(&wanted, seq, limits),
            Cursor::Locks(slot) => self.page_of_locks(&wanted, slot, limits),
            Cursor::Shares(owner, file) => self.page_of_shares(&wanted, (owner, file), limits),
        }
    }

    fn page_of_waiters(
        &self,
        wanted: &Wanted<'_>,
        from: u64,
        limits: PageLimits,
    ) -> (Vec<Claim>, Option<Cursor>) {
        let (mut found, mut looked) = (Vec::new(), 0);
        for (seq, ix) in self.table.queue.from(from) {
            if found.len() >= limits.claims || looked >= limits.looks {
                return (found, Some(Cursor::Waiters(seq)));
            }
            looked += 1;
            let waiter = self.table.queue.get(ix);
            // What was granted is met as a lock.
            if waiter.granted.is_none() && self.wants(wanted, waiter.owner, waiter.file) {
                let (claim, obstacles) = self.look_at_waiter(ix);
                looked += obstacles as usize;
                found.push(claim);
            }
        }
        (found, Some(Cursor::Locks(0)))
    }

    fn page_of_locks(
        &self,
        wanted: &Wanted<'_>,
        from: u32,
        limits: PageLimits,
    ) -> (Vec<Claim>, Option<Cursor>) {
        let mut found = Vec::new();
        for (looked, slot) in (from..self.table.locks.slots()).enumerate() {
            if found.len() >= limits.claims || looked >= limits.looks {
                return (found, Some(Cursor::Locks(slot)));
            }
            if let Some(held) = self.table.locks.at(slot)
                && self.wants(wanted, held.owner, held.file)
            {
                found.push(self.claim_of_lock(slot));
            }
        }
        (found, Some(Cursor::Shares(0, 0)))
    }

    fn page_of_shares(
        &self,
        wanted: &Wanted<'_>,
        from: (u32, u32),
        limits: PageLimits,
    ) -> (Vec<Claim>, Option<Cursor>) {
        let mut found = Vec::new();
        for (looked, (owner, file)) in self.table.shares.from(from).enumerate() {
            if found.len() >= limits.claims || looked >= limits.looks {
                return (found, Some(Cursor::Shares(owner, file)));
            }
            if self.wants(wanted, owner, file) {
                found.extend(self.claim_of_share(owner, file));
            }
        }
        (found, None)
    }

    fn wants(&self, wanted: &Wanted<'_>, owner: u32, file: u32) -> bool {
        let named = |clients: &BTreeSet<Arc<str>>| {
            clients.contains(&self.table.names.owners[owner].owner.client_id)
        };
        wanted.file.is_none_or(|only| only == file) && wanted.clients.is_none_or(named)
    }

    pub(super) fn claim_of_lock(&self, ix: u32) -> Claim {
        let &Held { id, owner, file, attrs, acquired_ms, .. } = self.table.locks.get(ix);
        let range = self.table.locks.range(ix);
        Claim {
            id: Some(id),
            owner: self.table.names.owners[owner].owner.clone(),
            file: self.table.names.files[file].id.clone(),
            what: Claimed::Range { range, mode: attrs.mode },
            state: match attrs.standing {
                Standing::Settled => ClaimState::Held,
                Standing::Unreclaimed => ClaimState::Unreclaimed,
                Standing::Pending(_) => ClaimState::Unacknowledged,
            },
            since_ms: acquired_ms,
        }
    }

    pub(super) fn claim_of_share(&self, owner: u32, file: u32) -> Option<Claim> {
        let share = self.table.shares.get(owner, file)?;
        let state = if share.unreclaimed { ClaimState::Unreclaimed } else { ClaimState::Held };
        Some(Claim {
            id: None,
            owner: self.table.names.owners[owner].owner.clone(),
            file: self.table.names.files[file].id.clone(),
            what: Claimed::Share { access: share.reservation.access, deny: share.reservation.deny },
            state,
            since_ms: share.acquired_ms,
        })
    }

    pub(super) fn claim_of_waiter(&self, ix: u32) -> Claim {
        self.look_at_waiter(ix).0
    }

    /// A request, and how many obstacles were looked at to tell what it waits for.
    fn look_at_waiter(&self, ix: u32) -> (Claim, u32) {
        let &Waiter { id, owner, file, mode, queued_ms, .. } = self.table.queue.get(ix);
        let (waiting, obstacles) = self.obstacles_of(ix);
        let claim = Claim {
            id: Some(id),
            owner: self.table.names.owners[owner].owner.clone(),
            file: self.table.names.files[file].id.clone(),
            what: Claimed::Range { range: self.table.queue.range(ix), mode },
            state: ClaimState::Waiting(waiting),
            since_ms: queued_ms,
        };
        (claim, obstacles)
    }

    /// What a waiter waits for: the holders that a search for deadlocks follows, and where there is
    /// none those to whom it yields.
    fn obstacles_of(&self, ix: u32) -> (Waiting, u32) {
        let (range, seq) = (self.table.queue.range(ix), self.table.queue.seq(ix));
        let &Waiter { owner, file, mode, .. } = self.table.queue.get(ix);
        let (mut waits_for, mut counted) = (Vec::new(), 0u32);
        let mut meet = |id: LockId, owner: u32, waiting: bool| {
            counted += 1;
            if waits_for.len() < OBSTACLES_NAMED_MAX {
                let owner = self.table.names.owners[owner].owner.clone();
                waits_for.push(Obstacle { id, owner, waiting });
            }
            counted >= OBSTACLES_COUNTED_MAX
        };
        self.table.find_blocker(Some(owner), file, range, mode, |lock| {
            let held = self.table.locks.get(lock);
            meet(held.id, held.owner, false)
        });
        let held_up = self.table.blocker(Some(owner), file, range, mode).is_some();
        let mut ahead = 0u32;
        self.table.each_ahead(ix, |other| {
            ahead += 1;
            let other = self.table.queue.get(other);
            (!held_up && meet(other.id, other.owner, true)) || ahead >= OBSTACLES_COUNTED_MAX
        });
        let named = u32::try_from(waits_for.len()).unwrap_or(u32::MAX);
        let waiting = Waiting {
            waiter: WaiterId(seq),
            ahead,
            more: if counted >= OBSTACLES_COUNTED_MAX { counted } else { counted - named },
            waits_for,
        };
        (waiting, counted)
    }
}
