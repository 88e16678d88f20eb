//! What a core holds, in small numbers, and what must be true of it between any two steps.

use std::collections::BTreeSet;

use cleat_lock::{Core, FileId, Limits, LockRecord, Mode, Range, WaiterId};

use super::types::{CELLS, Deal, Span, who};

/// As the core has it by default.
const FAIR_WAIT_MS: u64 = 5_000;

/// Host and process.
pub type Who = (usize, usize);

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lock {
    pub who: Who,
    pub span: Span,
    pub incarnation: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waiter {
    pub waiter: WaiterId,
    pub who: Who,
    pub span: Span,
    pub incarnation: u32,
    pub granted: bool,
    pub queued_ms: u64,
    pub timeout_ms: u64,
    pub silence_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    pub who: Who,
    pub file: usize,
    pub deal: Deal,
    pub incarnation: u32,
}

/// All that is held, awaited and reserved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    pub locks: Vec<Lock>,
    pub waiters: Vec<Waiter>,
    pub shares: Vec<Share>,
}

fn file_of(file: &FileId) -> usize {
    usize::from(file.as_bytes()[1] - b'0')
}

/// The cells that a range covers; it was made of cells, so it must still be.
fn span(file: &FileId, range: Range, mode: Mode) -> Span {
    let cell = |byte: u64| usize::try_from(byte).map_or(CELLS - 1, |cell| cell.min(CELLS - 1));
    let (first, last) = (cell(range.first()), cell(range.last()));
    let span = Span { file: file_of(file), first, last, mode };
    assert_eq!(span.range(), range, "a range that nobody asked for");
    span
}

fn lock(record: &LockRecord) -> Lock {
    Lock {
        who: who(&record.owner),
        span: span(&record.file, record.range, record.mode),
        incarnation: record.incarnation,
    }
}

impl Table {
    /// These locks, and nothing else.
    pub fn of_records(locks: &[LockRecord]) -> Table {
        Table { locks: locks.iter().map(lock).collect(), ..Table::default() }
    }

    pub fn of(core: &Core) -> Table {
        let locks = core.locks().map(|record| lock(&record));
        let waiters = core.waiters().map(|it| Waiter {
            waiter: it.waiter,
            who: who(&it.owner),
            span: span(&it.file, it.range, it.mode),
            incarnation: it.incarnation,
            granted: it.granted.is_some(),
            queued_ms: it.queued_ms,
            timeout_ms: it.timeout_ms,
            silence_ms: it.silence_ms,
        });
        let shares = core.shares().map(|share| Share {
            who: who(&share.owner),
            file: file_of(&share.file),
            deal: Deal { access: share.access, deny: share.deny },
            incarnation: share.incarnation,
        });
        Table { locks: locks.collect(), waiters: waiters.collect(), shares: shares.collect() }
    }

    /// Whether the locks give the owner the cell in this mode or a stronger.
    pub fn covers(&self, who: Who, place: (usize, usize), mode: Mode) -> bool {
        let covers =
            |lock: &Lock| lock.who == who && lock.span.mode >= mode && lock.span.has(place);
        self.locks.iter().any(covers)
    }

    /// What a host has of this life of its.
    pub fn of_life(&self, host: usize, life: u32) -> Table {
        let Table { mut locks, mut shares, .. } = self.clone();
        locks.retain(|lock| (lock.who.0, lock.incarnation) == (host, life));
        shares.retain(|share| (share.who.0, share.incarnation) == (host, life));
        Table { locks, shares, ..Table::default() }
    }

    /// Whether the owner has at least this reservation.
    pub fn reserves(&self, who: Who, file: usize, deal: Deal) -> bool {
        let reserves =
            |share: &Share| (share.who, share.file) == (who, file) && share.deal.covers(deal);
        self.shares.iter().any(reserves)
    }

    /// Whether there is anything of the owner.
    pub fn has(&self, who: Who) -> bool {
        self.locks.iter().any(|lock| lock.who == who)
            || self.waiters.iter().any(|waiter| waiter.who == who)
            || self.shares.iter().any(|share| share.who == who)
    }

    pub fn granted(&self) -> impl Iterator<Item = &Waiter> {
        self.waiters.iter().filter(|waiter| waiter.granted)
    }

    pub fn waiting(&self) -> impl Iterator<Item = &Waiter> {
        self.waiters.iter().filter(|waiter| !waiter.granted)
    }

    /// Two owners with what excludes each other, or one with a byte twice.
    pub fn shared_by_two(&self) -> Option<String> {
        for (number, one) in self.locks.iter().enumerate() {
            for other in &self.locks[..number] {
                let conflict = one.who == other.who || one.span.mode.conflicts(other.span.mode);
                if conflict && overlap(one.span, other.span) {
                    return Some(format!("both held: {one:?} and {other:?}"));
                }
            }
        }
        for (number, one) in self.shares.iter().enumerate() {
            for other in &self.shares[..number] {
                let conflict = one.who == other.who || one.deal.conflicts(other.deal);
                if conflict && one.file == other.file {
                    return Some(format!("both reserved: {one:?} and {other:?}"));
                }
            }
        }
        None
    }

    /// A waiter with nothing in its way.
    pub fn stuck(&self, now_ms: u64) -> Option<String> {
        let free = |waiter: &&Waiter| !self.is_held_up(waiter) && !self.yields(waiter, now_ms);
        let free = self.waiting().find(free);
        free.map(|waiter| format!("waits for nothing: {waiter:?}"))
    }

    fn is_held_up(&self, waiter: &Waiter) -> bool {
        let by_lock = |lock: &Lock| lock.who != waiter.who && conflict(lock.span, waiter.span);
        let by_own_grant =
            |other: &Waiter| other.who == waiter.who && overlap(other.span, waiter.span);
        self.locks.iter().any(by_lock) || self.granted().any(by_own_grant)
    }

    /// Whether a request that nothing held forbids may still wait for one that came before.
    fn yields(&self, waiter: &Waiter, now_ms: u64) -> bool {
        let ahead = |other: &Waiter| {
            other.waiter < waiter.waiter
                && other.who != waiter.who
                && conflict(other.span, waiter.span)
        };
        let busy = |lock: &Lock| {
            lock.who == waiter.who
                || (lock.who.0 == waiter.who.0 && lock.span.file == waiter.span.file)
        };
        now_ms < waiter.queued_ms + FAIR_WAIT_MS
            && self.waiting().any(ahead)
            && !self.locks.iter().any(busy)
    }

    /// Whether the owner waits for itself, through others.
    pub fn is_deadlocked(&self, target: Who) -> bool {
        let (mut open, mut met) = (vec![target], BTreeSet::new());
        while let Some(who) = open.pop() {
            for waiter in self.waiting().filter(|waiter| waiter.who == who) {
                let holders = self.locks.iter().filter(|lock| conflict(lock.span, waiter.span));
                for other in holders.map(|lock| lock.who).filter(|&other| other != who) {
                    if other == target {
                        return true;
                    }
                    if met.insert(other) {
                        open.push(other);
                    }
                }
            }
        }
        false
    }

    /// Counters that do not count what is there.
    pub fn miscounted(&self, core: &Core) -> Option<String> {
        let counters = core.counters();
        let mut files = BTreeSet::new();
        let mut owners = BTreeSet::new();
        let locks = self.locks.iter().map(|lock| (lock.span.file, lock.who));
        let waiters = self.waiters.iter().map(|waiter| (waiter.span.file, waiter.who));
        let shares = self.shares.iter().map(|share| (share.file, share.who));
        for (file, who) in locks.chain(waiters).chain(shares) {
            files.insert(file);
            owners.insert(who);
        }
        let (locks, shares) = (counters.locks, counters.shares);
        let (waiting, granted) = (counters.waiting, counters.unacknowledged);
        let counted = [locks, shares, counters.files, counters.owners, waiting, granted];
        let there = [
            self.locks.len(),
            self.shares.len(),
            files.len(),
            owners.len(),
            self.waiting().count(),
            self.granted().count(),
        ];
        let there = there.map(|count| count as u64);
        if counted != there {
            return Some(format!("counted {counted:?}, there are {there:?}"));
        }
        let wrong = core.clients().into_iter().find(|client| {
            let id = client.client_id.as_bytes();
            let host = usize::from(id[id.len() - 1] - b'0');
            (client.locks, client.waiters, client.shares) != self.counts_of(host)
        });
        wrong.map(|client| format!("counted wrongly: {client:?}"))
    }

    fn counts_of(&self, host: usize) -> (u64, u64, u64) {
        (
            self.locks.iter().filter(|lock| lock.who.0 == host).count() as u64,
            self.waiting().filter(|waiter| waiter.who.0 == host).count() as u64,
            self.shares.iter().filter(|share| share.who.0 == host).count() as u64,
        )
    }

    /// A bound that is passed, and by more than it was before.
    pub fn beyond(
        &self,
        limits: &Limits,
        before: &Table,
        (host, file): (usize, usize),
    ) -> Option<String> {
        let counts = |table: &Table| {
            let of_file = |span: Span| span.file == file;
            let (locks, waiting, shares) = table.counts_of(host);
            let on_file = table.locks.iter().filter(|lock| of_file(lock.span)).count() as u64;
            let for_file = table.waiting().filter(|waiter| of_file(waiter.span)).count() as u64;
            let of_shares = table.shares.iter().filter(|share| share.file == file).count() as u64;
            [
                (on_file, limits.locks_per_file),
                (locks, limits.locks_per_client),
                (table.locks.len() as u64, limits.locks_total),
                (for_file, limits.waiters_per_file),
                (waiting, limits.waiters_per_client),
                (of_shares, limits.shares_per_file),
                (shares, limits.shares_per_client),
                (table.shares.len() as u64, limits.shares_total),
            ]
        };
        let pairs = counts(self).into_iter().zip(counts(before));
        let mut passed = pairs.filter(|((now, maximum), (then, _))| now > maximum && now > then);
        passed.next().map(|now| format!("beyond a limit: {now:?}"))
    }
}

fn overlap(one: Span, other: Span) -> bool {
    one.file == other.file && one.first <= other.last && other.first <= one.last
}

fn conflict(one: Span, other: Span) -> bool {
    overlap(one, other) && one.mode.conflicts(other.mode)
}
