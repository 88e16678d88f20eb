//! The claims, checked after every step.
//!
//! What a client believes is judged against the core, byte by byte: *a client that was told it has
//! a lock, and neither gave it up nor lost it, is held to have it by the server*. As the core's own
//! locks exclude each other, so do then the clients' beliefs (which are compared too). A client's
//! byte is given up when it sends the UNLOCK or the downgrade, not when that is answered. It is
//! lost, which the protocol permits, in these cases only, and then set apart by [`World::mark_lost`]
//! or [`World::taken`]: the server took it in a way that `recovery.rs` finds right; a grace window was closed by its deadline or by order before the client had reclaimed it; an
//! administrator cleared the client; another one, which had lost the lock that way and did not know
//! either, reclaimed it first where the records were advice; or a reclaim was refused, which is
//! itself a failure where the window was open and the client honest. While the server is down the claim rests on its store: it
//! is judged when the next one has started, at once where the records are exact, and from the end
//! of the window where they are advice.

use std::collections::{BTreeMap, BTreeSet};

use cleat_lock::{
    Config, Core, GraceEnd, LockRecord, Mode, Outcome, Query, Range, Record, Store, WaiterRecord,
};

use super::World;
use super::server::{client_id, file_id, owner};
use super::types::{Body, CELLS, Request, Span};

type Image = BTreeMap<Vec<u8>, Vec<u8>>;
/// Host, process, mode.
type Holders = Vec<(usize, usize, Mode)>;

fn image_of(core: &Core) -> Image {
    core.records().map(|record| (record.key(), record.encode())).collect()
}

fn cell_range(cell: usize) -> Range {
    Span { file: 0, first: cell, last: cell, mode: Mode::Shared }.range()
}

/// Whether the locks give the owner the cell in this mode or a stronger.
pub fn covers(locks: &[LockRecord], who: &str, (file, cell): (usize, usize), mode: Mode) -> bool {
    let (file, range) = (file_id(file), cell_range(cell));
    locks.iter().any(|lock| {
        *lock.owner.owner_id == *who
            && lock.mode >= mode
            && lock.range.contains(range)
            && lock.file == file
    })
}

impl World {
    pub fn grace_open(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.core.grace().is_some())
    }

    /// Sets apart what the server has just taken from clients in a way the protocol permits.
    pub fn mark_lost(&mut self, only: Option<usize>) {
        let Some(server) = &self.server else { return };
        let mut locks: Vec<LockRecord> = server.core.locks().collect();
        // A grant stands only until its client is asked. An administrator's clear ends it.
        if only.is_none() {
            for waiter in server.core.waiters().filter(|waiter| waiter.granted.is_some()) {
                locks.retain(|lock| {
                    !lock.owner.is(&waiter.owner)
                        || lock.file != waiter.file
                        || !lock.range.overlaps(waiter.range)
                });
            }
        }
        for (number, host) in self.hosts.iter_mut().enumerate() {
            if only.is_some_and(|only| only != number) {
                continue;
            }
            for (process, it) in host.processes.iter_mut().enumerate() {
                let who = owner(number, process).owner_id;
                for (&place, held) in &mut it.held {
                    let old = only.is_some() || held.epoch < self.epoch;
                    held.lost |= old && !covers(&locks, &who, place, held.sure);
                }
            }
        }
    }

    /// A client that slept through a whole window, and so lost a lock without knowing, reclaims it
    /// in the next one. Over records that are advice the first to reclaim is believed: NLM has
    /// nothing by which to tell who is right.
    fn mark_taken(&mut self, span: Span, by: (usize, usize)) {
        for (number, host) in self.hosts.iter_mut().enumerate() {
            for (process, it) in host.processes.iter_mut().enumerate() {
                for (&(file, cell), held) in &mut it.held {
                    held.lost |= (number, process) != by
                        && file == span.file
                        && (span.first..=span.last).contains(&cell)
                        && held.epoch < self.epoch
                        && held.sure.conflicts(span.mode);
                }
            }
        }
    }

    /// Whether the client was told so, and has neither given it up nor lost it.
    fn is_honest(&self, request: &Request, span: Span) -> bool {
        let it = &self.hosts[request.host];
        let held = &it.processes[request.process].held;
        it.life == request.life
            && (span.first..=span.last).all(|cell| {
                let held = held.get(&(span.file, cell));
                held.is_some_and(|held| !held.lost && held.sure >= span.mode)
            })
    }

    /// Judges the answer to a request by what the core holds now.
    pub fn check_answer(&mut self, request: &Request, outcome: Option<&Outcome>, open: bool) {
        let Some(outcome) = outcome else {
            return self.fail(|| format!("no answer to {request:?}"));
        };
        let Some(server) = &self.server else { return };
        let &Request { host, process, life, body, .. } = request;
        let locks: Vec<LockRecord> = server.core.locks_of_client(&client_id(host)).collect();
        match body {
            Body::Lock { span, reclaim, .. } if *outcome == Outcome::Granted => {
                let doubted = reclaim && open && !server.exact && !self.is_honest(request, span);
                if !reclaim
                    && open
                    && !server.exact
                    && server.core.grace().is_some()
                    && server.changed(self.steps)
                {
                    return self.fail(|| format!("admitted in grace: {request:?}"));
                }
                if doubted {
                    self.mark_taken(span, (host, process));
                }
                let who = owner(host, process).owner_id;
                let has = |cell| covers(&locks, &who, (span.file, cell), span.mode);
                if !(span.first..=span.last).all(has) {
                    self.fail(|| format!("granted but not held: {request:?}"));
                }
            }
            Body::Lock { span, reclaim: true, .. } if self.is_honest(request, span) => {
                self.fail(|| format!("an honest reclaim is refused: {request:?} {outcome:?}"));
            }
            Body::Restarted => self.check_restarted(host, life, &locks),
            _ => {}
        }
    }

    fn check_restarted(&mut self, host: usize, life: u32, locks: &[LockRecord]) {
        let Some(server) = &self.server else { return };
        let who = client_id(host);
        let mut left: Vec<String> = Vec::new();
        left.extend(locks.iter().filter(|l| l.incarnation != life).map(|l| format!("{l:?}")));
        for waiter in server.core.waiters().filter(|waiter| waiter.owner.client_id == who) {
            let undo = waiter.granted.iter().flat_map(|granted| &granted.undo);
            let old = undo.filter_map(|part| part.held).any(|(_, from)| from != life);
            if waiter.incarnation != life || old {
                left.push(format!("{waiter:?}"));
            }
        }
        if !left.is_empty() {
            self.fail(|| format!("left of h{host}'s former life: {left:?}"));
        }
    }

    pub fn check_close(&mut self, why: GraceEnd) {
        let Some(server) = &self.server else { return };
        if why == GraceEnd::AllSettled && !server.exact {
            self.fail(|| "a window over advice closed early".to_owned());
        }
    }

    /// What must hold between any two steps of the core.
    pub fn check_step(&mut self) {
        let Some(server) = &self.server else { return };
        let locks: Vec<LockRecord> = server.core.locks().collect();
        let waiters: Vec<WaiterRecord> = server.core.waiters().collect();
        let mut wrong = exclusive(&locks);
        if server.core.grace().is_none() {
            wrong = wrong.or_else(|| stuck(&locks, &waiters));
        } else {
            let granted = |waiter: &WaiterRecord| waiter.granted.is_some();
            let new =
                waiters.iter().find(|w| granted(w) && !self.granted_before.contains(&w.waiter));
            wrong = wrong.or_else(|| new.map(|waiter| format!("granted in grace: {waiter:?}")));
        }
        wrong = wrong.or_else(|| miscounted(&server.core, &locks, &waiters));
        let granted = waiters.iter().filter(|waiter| waiter.granted.is_some());
        self.granted_before = granted.map(|waiter| waiter.waiter).collect();
        if let Some(wrong) = wrong {
            self.fail(|| wrong);
        }
    }

    /// The store has just what the core has, and what it has makes the same core.
    pub fn check_image(&mut self) {
        let Some(server) = &self.server else { return };
        let image = image_of(&server.core);
        for (key, value) in &image {
            let bytes = key.iter().chain(value);
            self.hash = bytes.fold(self.hash, |hash, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        }
        if !self.store.image_is(&image) {
            let records = self.store.list(&Query::All);
            return self.fail(|| format!("the store has something else: {records:?}"));
        }
        if self.steps.is_multiple_of(8) {
            let records = self.store.list(&Query::All).unwrap_or_default();
            let restored = Core::restore(Config::default(), self.now_ms, records, 1, true);
            if image_of(&restored) != image || !restored.rejected().is_empty() {
                self.fail(|| "the records make another core".to_owned());
            }
        }
    }

    /// The clients' view, against each other and against the core.
    pub fn check_clients(&mut self) {
        let mut cells: BTreeMap<(usize, usize), Holders> = BTreeMap::new();
        let server = self.server.as_ref();
        let judged = server.filter(|server| server.exact || server.core.grace().is_none());
        let locks: Vec<LockRecord> = judged.iter().flat_map(|server| server.core.locks()).collect();
        let mut wrong = None;
        for (host, it) in self.hosts.iter().enumerate() {
            for (process, it) in it.processes.iter().enumerate() {
                let who = owner(host, process).owner_id;
                for (&place, held) in it.held.iter().filter(|(_, held)| !held.lost) {
                    cells.entry(place).or_default().push((host, process, held.sure));
                    if judged.is_some() && !covers(&locks, &who, place, held.sure) {
                        wrong = Some(format!("{who} believes to hold {place:?}: {held:?}"));
                    }
                }
            }
        }
        for (place, holders) in cells {
            if holders.len() > 1 && holders.iter().any(|&(.., mode)| mode == Mode::Exclusive) {
                wrong = Some(format!("two clients hold {place:?}: {holders:?}"));
            }
        }
        if let Some(wrong) = wrong {
            self.fail(|| wrong);
        }
    }

    /// After a long quiet: everybody got what they waited for and gave it up.
    pub fn check_end(&mut self) {
        let Some(server) = &self.server else {
            return self.fail(|| "the server is not back".to_owned());
        };
        let left: Vec<Record> =
            server.core.records().filter(|record| !matches!(record, Record::Client(_))).collect();
        let busy: Vec<String> = self
            .hosts
            .iter()
            .enumerate()
            .flat_map(|(number, host)| {
                let busy = host.processes.iter().enumerate();
                let busy = busy.filter(|(_, it)| it.job != super::client::Job::Over);
                busy.map(move |(process, it)| format!("h{number}/{process}: {:?}", it.job))
            })
            .collect();
        if !left.is_empty() || !busy.is_empty() {
            self.fail(|| format!("never ends: {busy:?}; left: {left:?}"));
        }
    }
}

/// No two owners hold what excludes each other, and no owner holds a byte twice.
fn exclusive(locks: &[LockRecord]) -> Option<String> {
    for (number, one) in locks.iter().enumerate() {
        for other in &locks[..number] {
            let same = one.owner.is(&other.owner);
            if one.file == other.file
                && one.range.overlaps(other.range)
                && (same || one.mode.conflicts(other.mode))
            {
                return Some(format!("both held: {one:?} and {other:?}"));
            }
        }
    }
    None
}

/// A waiter with nothing in its way.
fn stuck(locks: &[LockRecord], waiters: &[WaiterRecord]) -> Option<String> {
    let blocks = |holder: &WaiterRecord, other: &WaiterRecord| {
        locks.iter().any(|lock| {
            lock.owner.is(&holder.owner)
                && lock.file == other.file
                && lock.range.overlaps(other.range)
                && lock.mode.conflicts(other.mode)
        })
    };
    let new_ground = |waiter: &WaiterRecord, range: Range| {
        (0..CELLS).map(cell_range).filter(|cell| range.contains(*cell)).any(|cell| {
            !locks.iter().any(|lock| {
                lock.owner.is(&waiter.owner)
                    && lock.file == waiter.file
                    && lock.range.contains(cell)
            })
        })
    };
    let stuck = waiters.iter().filter(|waiter| waiter.granted.is_none()).find(|waiter| {
        let by_lock = locks.iter().any(|lock| {
            !lock.owner.is(&waiter.owner)
                && lock.file == waiter.file
                && lock.range.overlaps(waiter.range)
                && lock.mode.conflicts(waiter.mode)
        });
        let by_waiter = waiters.iter().any(|other| {
            let common = other.range.intersect(waiter.range);
            other.waiter < waiter.waiter
                && other.file == waiter.file
                && other.granted.is_none()
                && !other.owner.is(&waiter.owner)
                && other.mode.conflicts(waiter.mode)
                && !blocks(waiter, other)
                && common.is_some_and(|common| new_ground(waiter, common))
        });
        let by_own_grant = waiters.iter().any(|other| {
            other.granted.is_some()
                && other.owner.is(&waiter.owner)
                && other.file == waiter.file
                && other.range.overlaps(waiter.range)
        });
        !by_lock && !by_waiter && !by_own_grant
    });
    stuck.map(|waiter| format!("waits for nothing: {waiter:?}"))
}

/// Counters that do not count what is there.
fn miscounted(core: &Core, locks: &[LockRecord], waiters: &[WaiterRecord]) -> Option<String> {
    let counters = core.counters();
    let files: BTreeSet<_> =
        locks.iter().map(|l| &l.file).chain(waiters.iter().map(|w| &w.file)).collect();
    let owners: BTreeSet<_> = locks
        .iter()
        .map(|l| &l.owner.owner_id)
        .chain(waiters.iter().map(|w| &w.owner.owner_id))
        .collect();
    let granted = waiters.iter().filter(|waiter| waiter.granted.is_some()).count();
    let counted = [
        counters.locks,
        counters.files,
        counters.owners,
        counters.waiting,
        counters.unacknowledged,
    ];
    let there = [locks.len(), files.len(), owners.len(), waiters.len() - granted, granted]
        .map(|n| n as u64);
    if counted != there {
        return Some(format!("counted {counted:?}, there are {there:?}"));
    }
    let wrong = core.clients().into_iter().find(|client| {
        let locks = locks.iter().filter(|lock| lock.owner.client_id == client.client_id).count();
        let waiting = waiters
            .iter()
            .filter(|w| w.granted.is_none() && w.owner.client_id == client.client_id)
            .count();
        (client.locks, client.waiters) != (locks as u64, waiting as u64)
    });
    wrong.map(|client| format!("counted wrongly: {client:?}"))
}
