//! Waiting requests and unacknowledged grants: by name, by owner, by place, by when they expire.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Table;
use super::fairness::Yielding;
use super::slab::Slab;
use super::tree::WaiterEntry;
use crate::effect::{Effect, Grant};
use crate::record::{Granted, Record, RecordKey, RecordOp, WaiterRecord};
use crate::types::{LockId, Mode, Range, WaiterId};

/// A request that waits or was granted after waiting, apart from its range and its number in the
/// queue.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) id: LockId,
    pub(crate) owner: u32,
    pub(crate) file: u32,
    pub(crate) mode: Mode,
    pub(crate) incarnation: u32,
    pub(crate) queued_ms: u64,
    /// How long it is kept after it was last sent, and how long it waits at most; 0 = for ever.
    pub(crate) silence_ms: u64,
    pub(crate) timeout_ms: u64,
    /// When that is over; 0 = never, or not before the grace window is closed.
    pub(crate) expires_ms: u64,
    pub(crate) deadline_ms: u64,
    pub(crate) find_deadlock: bool,
    /// Whether it is to be granted only over what its owner holds.
    pub(crate) upgrade: bool,
    pub(crate) context: Arc<[u8]>,
    pub(crate) granted: Option<Granted>,
    /// Whether it was granted before the table was restored.
    pub(crate) told: bool,
}

impl Waiter {
    /// When it is forgotten at the latest; 0 = never.
    fn due_ms(&self) -> u64 {
        match (self.expires_ms, self.deadline_ms) {
            (0, due_ms) | (due_ms, 0) => due_ms,
            (expires_ms, deadline_ms) => expires_ms.min(deadline_ms),
        }
    }
}

/// What may be new in a request that is sent again.
#[derive(Debug)]
pub(crate) struct Again {
    pub(crate) context: Arc<[u8]>,
    pub(crate) silence_ms: u64,
    pub(crate) find_deadlock: bool,
    pub(crate) incarnation: u32,
    pub(crate) upgrade: bool,
}

/// When a time is over that begins now; 0 = never.
pub(crate) fn later(now_ms: u64, time_ms: u64) -> u64 {
    if time_ms == 0 { 0 } else { now_ms.saturating_add(time_ms) }
}

#[derive(Debug)]
struct Queued {
    range: Range,
    seq: u64,
    /// Until when it yields to one ahead of it; 0 = it does not.
    yields_until_ms: u64,
    /// The doubts there were at the last search for a cycle through it.
    searched: u64,
    waiter: Waiter,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiters: Slab<Queued>,
    by_seq: BTreeMap<u64, u32>,
    /// By owner, in order of file and range.
    by_owner: Vec<BTreeMap<(u32, u64, u64, Mode), u32>>,
    expiry: BTreeSet<(u64, u64)>,
    pub(super) yielding: Yielding,
    /// The number of the next waiter.
    pub(crate) next_seq: u64,
    /// How many are unacknowledged grants.
    pub(crate) pending: u64,
}

impl Queue {
    pub(crate) fn get(&self, ix: u32) -> &Waiter {
        &self.waiters[ix].waiter
    }

    pub(crate) fn range(&self, ix: u32) -> Range {
        self.waiters[ix].range
    }

    pub(crate) fn seq(&self, ix: u32) -> u64 {
        self.waiters[ix].seq
    }

    /// Until when a request yields to one ahead of it; 0 = it does not.
    pub(super) fn yields_until(&self, ix: u32) -> u64 {
        self.waiters[ix].yields_until_ms
    }

    /// Notes a search with so many doubts; gives those of the one before.
    pub(super) fn note_search(&mut self, ix: u32, doubts: u64) -> u64 {
        std::mem::replace(&mut self.waiters[ix].searched, doubts)
    }

    pub(super) fn yields_until_mut(&mut self, ix: u32) -> &mut u64 {
        &mut self.waiters[ix].yields_until_ms
    }

    pub(crate) fn by_seq(&self, seq: u64) -> Option<u32> {
        self.by_seq.get(&seq).copied()
    }

    /// All, the foremost first.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = u32> {
        self.by_seq.values().copied()
    }

    /// Those from a number in the queue on, the foremost first.
    pub(crate) fn from(&self, seq: u64) -> impl Iterator<Item = (u64, u32)> {
        self.by_seq.range(seq..).map(|(&seq, &ix)| (seq, ix))
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.waiters.len() as u64 - self.pending
    }

    /// The one request of this owner for exactly this.
    pub(crate) fn exact(&self, owner: u32, file: u32, range: Range, mode: Mode) -> Option<u32> {
        let own = self.by_owner.get(owner as usize)?;
        own.get(&(file, range.first(), range.last(), mode)).copied()
    }

    /// Every request of the owner on the file.
    pub(crate) fn own_on(&self, owner: u32, file: u32) -> impl Iterator<Item = u32> {
        let ends = (file, 0, 0, Mode::Shared)..=(file, u64::MAX, u64::MAX, Mode::Exclusive);
        let own = self.by_owner.get(owner as usize);
        own.into_iter().flat_map(move |own| own.range(ends.clone())).map(|(_, &ix)| ix)
    }

    /// Every request of the owner.
    pub(crate) fn own_all(&self, owner: u32) -> impl Iterator<Item = u32> {
        self.by_owner.get(owner as usize).into_iter().flat_map(BTreeMap::values).copied()
    }

    /// The requests of the owner, to be changed.
    fn own_mut(&mut self, owner: u32) -> &mut BTreeMap<(u32, u64, u64, Mode), u32> {
        let owner = owner as usize;
        if self.by_owner.len() <= owner {
            self.by_owner.resize_with(owner + 1, BTreeMap::new);
        }
        &mut self.by_owner[owner]
    }

    /// When the next waiter expires.
    pub(crate) fn next_expiry_ms(&self) -> Option<u64> {
        self.expiry.first().map(|&(expires_ms, _)| expires_ms)
    }

    /// A waiter whose time is over.
    pub(crate) fn expired(&self, now_ms: u64) -> Option<u32> {
        let &(expires_ms, seq) = self.expiry.first()?;
        if expires_ms <= now_ms { self.by_seq(seq) } else { None }
    }

    /// The undo list of a grant, to be changed.
    pub(crate) fn granted_mut(&mut self, ix: u32) -> Option<&mut Granted> {
        self.waiters[ix].waiter.granted.as_mut()
    }

    /// A re-sent request: what is new in it. Says whether its record is to be written.
    pub(crate) fn refresh(&mut self, ix: u32, again: Again) -> bool {
        let Again { context, silence_ms, find_deadlock, incarnation, upgrade } = again;
        let waiter = &mut self.waiters[ix].waiter;
        let upgrade = upgrade && waiter.upgrade;
        let same = waiter.context == context
            && (waiter.silence_ms, waiter.find_deadlock) == (silence_ms, find_deadlock)
            && (waiter.incarnation, waiter.upgrade) == (incarnation, upgrade);
        waiter.context = context;
        waiter.silence_ms = silence_ms;
        waiter.find_deadlock = find_deadlock;
        waiter.incarnation = incarnation;
        waiter.upgrade = upgrade;
        !same
    }

    /// Begins the time anew for which a request is kept in silence.
    pub(crate) fn count_silence(&mut self, ix: u32, now_ms: u64) {
        let silence_ms = self.get(ix).silence_ms;
        let deadline_ms = self.get(ix).deadline_ms;
        self.set_times(ix, later(now_ms, silence_ms), deadline_ms);
    }

    /// Begins all times of everybody who waits anew.
    pub(crate) fn count_all(&mut self, now_ms: u64) {
        for ix in self.in_order().collect::<Vec<_>>() {
            let &Waiter { silence_ms, timeout_ms, ref granted, .. } = self.get(ix);
            if granted.is_none() {
                self.set_times(ix, later(now_ms, silence_ms), later(now_ms, timeout_ms));
            }
        }
    }

    fn set_times(&mut self, ix: u32, expires_ms: u64, deadline_ms: u64) {
        let Queued { seq, waiter, .. } = &mut self.waiters[ix];
        self.expiry.remove(&(waiter.due_ms(), *seq));
        waiter.expires_ms = expires_ms;
        waiter.deadline_ms = deadline_ms;
        let due_ms = waiter.due_ms();
        if due_ms > 0 {
            self.expiry.insert((due_ms, *seq));
        }
    }
}

impl Table {
    /// Puts a request at its place in the queue, or a grant among the unacknowledged.
    pub(crate) fn insert_waiter(&mut self, range: Range, seq: u64, waiter: Waiter) -> u32 {
        let Waiter { owner, file, mode, .. } = waiter;
        let due_ms = waiter.due_ms();
        let waits = waiter.granted.is_none();
        let queue = &mut self.queue;
        let ix =
            queue.waiters.insert(Queued { range, seq, yields_until_ms: 0, searched: 0, waiter });
        queue.by_seq.insert(seq, ix);
        queue.own_mut(owner).insert((file, range.first(), range.last(), mode), ix);
        queue.next_seq = queue.next_seq.max(seq.saturating_add(1));
        self.names.use_owner(owner);
        let slot = &mut self.names.files[file];
        if waits {
            slot.joined(mode, WaiterEntry::new(ix, range, owner, seq));
            let client = self.names.owners[owner].client;
            self.names.clients[client].waiting += 1;
            self.names.count_claim(client, true);
            if due_ms > 0 {
                queue.expiry.insert((due_ms, seq));
            }
        } else {
            slot.rest_mut().pending += 1;
            queue.pending += 1;
        }
        ix
    }

    /// Takes a request out of the queue: it holds its lock now, and awaits its acknowledgement.
    pub(crate) fn mark_granted(&mut self, ix: u32, granted: Granted) {
        self.leave_queue(ix);
        let file = self.queue.get(ix).file;
        self.names.files[file].rest_mut().pending += 1;
        self.queue.pending += 1;
        self.queue.waiters[ix].waiter.granted = Some(granted);
    }

    /// Forgets a request, waiting or granted, with its record. What yields to it is noted.
    pub(crate) fn remove_waiter(&mut self, ix: u32, fx: &mut Vec<Effect>) -> Waiter {
        if self.queue.get(ix).granted.is_none() {
            self.leave_queue(ix);
        } else {
            let file = self.queue.get(ix).file;
            self.names.files[file].rest_mut().pending -= 1;
            self.queue.pending -= 1;
        }
        let Queued { range, seq, waiter, .. } = self.queue.waiters.remove(ix);
        let Waiter { owner, file, mode, .. } = waiter;
        self.queue.by_seq.remove(&seq);
        self.queue.own_mut(owner).remove(&(file, range.first(), range.last(), mode));
        self.names.disuse_owner(owner);
        self.names.file_shrank(file);
        if waiter.granted.is_none() {
            self.wake_yielding_to(file, seq, range, mode);
        } else {
            self.note_grown(owner, file);
        }
        let file = self.names.files[file].id.clone();
        let key = RecordKey::Waiter { file, waiter: WaiterId(seq) };
        fx.push(Effect::Persist(RecordOp::Delete(key)));
        waiter
    }

    fn leave_queue(&mut self, ix: u32) {
        let (range, seq) = (self.queue.range(ix), self.queue.seq(ix));
        let waiter = self.queue.get(ix);
        let (&Waiter { owner, file, mode, .. }, due_ms) = (waiter, waiter.due_ms());
        self.names.files[file].left(mode, WaiterEntry::new(ix, range, owner, seq));
        let client = self.names.owners[owner].client;
        self.queue.set_yielding(ix, client, 0);
        self.names.clients[client].waiting -= 1;
        self.names.count_claim(client, false);
        self.queue.expiry.remove(&(due_ms, seq));
    }

    /// The request as a record.
    pub(crate) fn waiter_record(&self, ix: u32) -> WaiterRecord {
        let waiter = self.queue.get(ix);
        WaiterRecord {
            waiter: WaiterId(self.queue.seq(ix)),
            id: waiter.id,
            owner: self.names.owners[waiter.owner].owner.clone(),
            file: self.names.files[waiter.file].id.clone(),
            range: self.queue.range(ix),
            mode: waiter.mode,
            incarnation: waiter.incarnation,
            queued_ms: waiter.queued_ms,
            silence_ms: waiter.silence_ms,
            timeout_ms: waiter.timeout_ms,
            find_deadlock: waiter.find_deadlock,
            upgrade: waiter.upgrade,
            context: Arc::clone(&waiter.context),
            granted: waiter.granted.clone(),
        }
    }

    pub(crate) fn put_waiter(&self, ix: u32) -> Effect {
        Effect::Persist(RecordOp::Put(Record::Waiter(self.waiter_record(ix))))
    }

    /// The callback for a granted request.
    pub(crate) fn grant_message(&self, ix: u32) -> Effect {
        let waiter = self.queue.get(ix);
        Effect::Grant(Grant {
            waiter: WaiterId(self.queue.seq(ix)),
            owner: self.names.owners[waiter.owner].owner.clone(),
            file: self.names.files[waiter.file].id.clone(),
            range: self.queue.range(ix),
            mode: waiter.mode,
            context: Arc::clone(&waiter.context),
            told: waiter.told,
        })
    }

    /// Unacknowledged grants of the owner on the file that overlap the range. No two of them
    /// overlap each other.
    pub(crate) fn grants_in(&self, owner: u32, file: u32, range: Range) -> Vec<u32> {
        if self.names.files[file].pending() == 0 {
            return Vec::new();
        }
        let granted = |ix: u32| self.queue.get(ix).granted.is_some();
        let in_range = |ix: u32| self.queue.range(ix).overlaps(range);
        self.queue.own_on(owner, file).filter(|&ix| granted(ix) && in_range(ix)).collect()
    }
}
