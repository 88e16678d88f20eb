//! The administrator's clear: what is released by order, whoever held it.

use std::sync::Arc;

use super::Core;
use super::claims::Claim;
use crate::effect::{Effect, Outcome};
use crate::table::Ids;
use crate::types::{FileId, LockId, Mode, Owner, Range, WaiterId};

/// What is to be released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clear {
    /// Everything of a client.
    Client(Arc<str>),
    /// Everything on a file.
    File(FileId),
    /// Everything of a client on a file.
    ClientOnFile(Arc<str>, FileId),
    /// One held piece.
    Lock {
        /// Its name.
        lock: LockId,
        /// Its owner.
        owner: Owner,
        /// Its file.
        file: FileId,
        /// Where it lies; it may have grown or shrunk since.
        range: Range,
    },
    /// One request that waits.
    Waiter(WaiterId),
}

impl Clear {
    /// The most claims that one step releases: the others who ask are answered between two steps.
    pub const STEP_MAX: usize = 2048;
}

/// What was released.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// How many locks, those included that were granted and not yet acknowledged.
    pub locks: u64,
    /// How many share reservations.
    pub shares: u64,
    /// How many requests that waited.
    pub waiters: u64,
    /// The first of them as they were: [`Cleared::NAMED_MAX`] at most.
    pub named: Vec<Claim>,
    /// Whether there may be more, which the same input releases when it is given again.
    pub more: bool,
}

impl Cleared {
    /// The most that are named one by one.
    pub const NAMED_MAX: usize = 100;

    /// Adds what a further step released.
    pub fn add(&mut self, further: Cleared) {
        self.locks += further.locks;
        self.shares += further.shares;
        self.waiters += further.waiters;
        let room = Self::NAMED_MAX.saturating_sub(self.named.len());
        self.named.extend(further.named.into_iter().take(room));
        self.more = further.more;
    }

    /// How many that is.
    #[must_use]
    pub const fn claims(&self) -> u64 {
        self.locks + self.shares + self.waiters
    }

    fn name(&mut self, claim: impl FnOnce() -> Option<Claim>) {
        if self.named.len() < Self::NAMED_MAX {
            self.named.extend(claim());
        }
    }
}

impl Core {
    /// Releases by order. Whoever waits for it is served, as after any release. The client is not
    /// asked; whose wait ends is told so, but NLM has no word to tell of a lock that is gone: a
    /// process there goes on as if it held it.
    pub(super) fn clear(&mut self, id: LockId, what: &Clear, fx: &mut Vec<Effect>) -> Outcome {
        let names = &self.table.names;
        let cleared = match what {
            Clear::Client(client) => {
                names.client(client).map(|client| self.clear_claims(Some(client), None, fx))
            }
            Clear::File(file) => {
                names.file(file).map(|file| self.clear_claims(None, Some(file), fx))
            }
            Clear::ClientOnFile(client, file) => names
                .client(client)
                .zip(names.file(file))
                .map(|(client, file)| self.clear_claims(Some(client), Some(file), fx)),
            Clear::Lock { lock, owner, file, range } => {
                self.clear_lock(id, *lock, (owner, file, *range), fx)
            }
            Clear::Waiter(waiter) => self.clear_waiter(*waiter, fx),
        };
        match cleared {
            Some(cleared) if cleared != Cleared::default() => {
                self.counters.cleared += cleared.claims();
                Outcome::Cleared(cleared)
            }
            _ => Outcome::NotFound,
        }
    }

    fn clear_claims(
        &mut self,
        client: Option<u32>,
        file: Option<u32>,
        fx: &mut Vec<Effect>,
    ) -> Cleared {
        let (mut cleared, mut room) = (Cleared::default(), Clear::STEP_MAX);
        // All requests before any lock, or a lock might pass to a request that is about to go.
        for ix in self.requests_of(client, file, room) {
            room -= 1;
            if self.table.queue.get(ix).granted.is_none() {
                cleared.waiters += 1;
                cleared.name(|| Some(self.claim_of_waiter(ix)));
            }
            self.take_waiter(ix, fx);
        }
        for ix in self.locks_of(client, file, room) {
            room -= 1;
            cleared.locks += 1;
            cleared.name(|| Some(self.claim_of_lock(ix)));
            self.table.release(ix, fx);
        }
        for (owner, file) in self.shares_of(client, file, room) {
            room -= 1;
            cleared.shares += 1;
            cleared.name(|| self.claim_of_share(owner, file));
            self.table.release_share(owner, file, fx);
        }
        cleared.more = room == 0;
        cleared
    }

    fn owners_of(&self, client: u32) -> impl Iterator<Item = u32> {
        self.table.names.clients[client].owners.iter().copied()
    }

    fn requests_of(&self, client: Option<u32>, file: Option<u32>, max: usize) -> Vec<u32> {
        let (queue, files) = (&self.table.queue, &self.table.names.files);
        match (client, file) {
            (Some(client), Some(file)) => {
                self.owners_of(client).flat_map(|o| queue.own_on(o, file)).take(max).collect()
            }
            (Some(client), None) => {
                self.owners_of(client).flat_map(|o| queue.own_all(o)).take(max).collect()
            }
            (None, Some(file)) if files[file].waiting() + files[file].pending() > 0 => {
                queue.in_order().filter(|&ix| queue.get(ix).file == file).take(max).collect()
            }
            (None, _) => Vec::new(),
        }
    }

    fn locks_of(&self, client: Option<u32>, file: Option<u32>, max: usize) -> Vec<u32> {
        let locks = &self.table.locks;
        match (client, file) {
            (Some(client), Some(file)) => self
                .owners_of(client)
                .flat_map(|owner| locks.own_in(owner, file, Range::ALL))
                .take(max)
                .collect(),
            (Some(client), None) => {
                self.owners_of(client).flat_map(|o| locks.own_all(o)).take(max).collect()
            }
            (None, Some(file)) if max > 0 => {
                let mut found = Vec::new();
                self.table.find_blocker(None, file, Range::ALL, Mode::Exclusive, |ix| {
                    found.push(ix);
                    found.len() >= max
                });
                found
            }
            (None, _) => Vec::new(),
        }
    }

    fn shares_of(&self, client: Option<u32>, file: Option<u32>, max: usize) -> Vec<(u32, u32)> {
        let shares = &self.table.shares;
        match (client, file) {
            (Some(client), _) => self
                .owners_of(client)
                .flat_map(|owner| shares.own_all(owner).map(move |on| (owner, on)))
                .filter(|&(_, on)| file.is_none_or(|file| on == file))
                .take(max)
                .collect(),
            (None, Some(file)) => {
                shares.on_file(file).map(|owner| (owner, file)).take(max).collect()
            }
            (None, None) => Vec::new(),
        }
    }

    fn clear_lock(
        &mut self,
        id: LockId,
        lock: LockId,
        (owner, file, range): (&Owner, &FileId, Range),
        fx: &mut Vec<Effect>,
    ) -> Option<Cleared> {
        let (owner, file) = (self.table.names.owner(owner)?, self.table.names.file(file)?);
        let named = |&ix: &u32| self.table.locks.get(ix).id == lock;
        let ix = self.table.locks.own_in(owner, file, range).find(named)?;
        let range = self.table.locks.range(ix);
        let cleared =
            Cleared { locks: 1, named: vec![self.claim_of_lock(ix)], ..Cleared::default() };
        // No answer to a grant may bring back what is taken here.
        for grant in self.table.grants_in(owner, file, range) {
            self.take_waiter(grant, fx);
        }
        // By its range: pieces of an ended grant may have merged.
        if let Some(plan) = self.table.plan(owner, file, range, None) {
            self.table.apply(plan, &mut Ids::new(id, 0), fx);
        }
        Some(cleared)
    }

    fn clear_waiter(&mut self, waiter: WaiterId, fx: &mut Vec<Effect>) -> Option<Cleared> {
        let ix = self.table.queue.by_seq(waiter.0)?;
        if self.table.queue.get(ix).granted.is_some() {
            return None;
        }
        let named = vec![self.claim_of_waiter(ix)];
        self.take_waiter(ix, fx);
        Some(Cleared { waiters: 1, named, ..Cleared::default() })
    }
}
