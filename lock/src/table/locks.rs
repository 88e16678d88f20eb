//! Held locks: by place in a tree per file and mode, by owner in order, counted per client.

use super::Table;
use super::file::side;
use super::own::Owns;
use super::slab::Slab;
use super::tree::{Entry, LockEntry, NOBODY, OwnEntry, Placed, Query};
use super::young::Young;
use crate::record::{LockRecord, Record, RecordKey, Undo};
use crate::types::{LockId, Mode, Range};

/// How firmly a piece is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its owner knows.
    Settled,
    /// It was on record at a restart and its owner has not reclaimed it.
    Unreclaimed,
    /// It was granted to this waiter, which has not acknowledged.
    Pending(u32),
}

/// What two pieces must have in common to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attrs {
    pub(crate) mode: Mode,
    pub(crate) incarnation: u32,
    pub(crate) standing: Standing,
}

/// A held piece, apart from its range.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) id: LockId,
    pub(crate) owner: u32,
    pub(crate) file: u32,
    pub(crate) attrs: Attrs,
    pub(crate) acquired_ms: u64,
    pub(crate) blocking: bool,
    pub(crate) reclaim: bool,
}

#[derive(Debug)]
struct Piece {
    range: Range,
    held: Held,
}

/// All held pieces.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    pieces: Slab<Piece>,
    own: Owns,
    /// The latest of each mode, which are not in the trees of their files.
    young: [Young; 2],
    /// How many pieces are unreclaimed.
    pub(crate) unreclaimed: u64,
}

impl Locks {
    pub(crate) fn len(&self) -> u64 {
        self.pieces.len() as u64
    }

    pub(crate) fn get(&self, ix: u32) -> &Held {
        &self.pieces[ix].held
    }

    /// What has this number now, with its range: for numbers that may be out of date.
    pub(super) fn look_up(&self, ix: u32) -> Option<(Range, &Held)> {
        self.pieces.get(ix).map(|piece| (piece.range, &piece.held))
    }

    /// The piece of this number, if there is one.
    pub(crate) fn at(&self, slot: u32) -> Option<&Held> {
        self.pieces.get(slot).map(|piece| &piece.held)
    }

    /// All numbers of pieces are below this.
    pub(crate) fn slots(&self) -> u32 {
        self.pieces.slots()
    }

    pub(crate) fn range(&self, ix: u32) -> Range {
        self.pieces[ix].range
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.pieces.iter().map(|(ix, _)| ix)
    }

    /// The owner's pieces on the file that overlap the range, ascending.
    pub(crate) fn own_in(&self, owner: u32, file: u32, range: Range) -> impl Iterator<Item = u32> {
        self.own.on_range(owner, file, range)
    }

    /// Whether the owner holds anything on the file.
    pub(super) fn holds_on(&self, owner: u32, file: u32) -> bool {
        self.own_in(owner, file, Range::ALL).next().is_some()
    }

    /// All pieces of an owner, by file and place.
    pub(crate) fn own_all(&self, owner: u32) -> impl Iterator<Item = u32> {
        self.own.all(owner)
    }

    /// The first file from number `from` on where the owner holds anything, with the smallest range
    /// that holds all of it.
    pub(crate) fn own_hull(&self, owner: u32, from: u32) -> Option<(u32, Range)> {
        self.own.hull(owner, from)
    }

    fn count_standing(&mut self, standing: Standing, more: bool) {
        if standing == Standing::Unreclaimed {
            self.unreclaimed = if more { self.unreclaimed + 1 } else { self.unreclaimed - 1 };
        }
    }
}

/// How many pieces are looked at in search of an owner's among them.
const NEAR_MAX: u32 = 8;

/// The modes that another owner's lock must not have.
pub(super) fn opposing(mode: Mode) -> &'static [Mode] {
    match mode {
        Mode::Shared => &[Mode::Exclusive],
        Mode::Exclusive => &[Mode::Exclusive, Mode::Shared],
    }
}

impl Table {
    /// Holds one more piece. The caller knows that it overlaps no other of its owner.
    pub(crate) fn insert_lock(&mut self, range: Range, held: Held) -> u32 {
        let (owner, file, mode) = (held.owner, held.file, held.attrs.mode);
        self.names.use_owner(owner);
        let client = self.names.owners[owner].client;
        self.names.clients[client].held += 1;
        self.names.count_claim(client, true);
        self.locks.count_standing(held.attrs.standing, true);
        let ix = self.locks.pieces.insert(Piece { range, held });
        self.locks.own.insert(owner, OwnEntry::new(ix, range, file));
        self.names.files[file].gained();
        let entry = LockEntry::new(ix, range, owner);
        if let Some((file, entry)) = self.locks.young[side(mode)].insert(file, entry) {
            self.names.files[file].old_locks_mut(mode).insert(entry);
        }
        self.wake_yielding_of(owner, file);
        ix
    }

    /// Holds one piece less.
    pub(crate) fn remove_lock(&mut self, ix: u32) -> Held {
        let Piece { range, held } = self.locks.pieces.remove(ix);
        let Held { owner, file, .. } = held;
        self.locks.own.remove(owner, OwnEntry::new(ix, range, file));
        let slot = &mut self.names.files[file];
        slot.lost();
        let mode = held.attrs.mode;
        if !self.locks.young[side(mode)].remove(ix) {
            slot.old_locks_mut(mode).remove(LockEntry::new(ix, range, owner).key());
        }
        self.names.file_shrank(held.file);
        self.locks.count_standing(held.attrs.standing, false);
        let client = self.names.owners[held.owner].client;
        self.names.clients[client].held -= 1;
        self.names.count_claim(client, false);
        self.names.disuse_owner(held.owner);
        held
    }

    /// Changes a piece's range. The caller knows that it overlaps no other of its owner.
    pub(crate) fn resize_lock(&mut self, ix: u32, range: Range) {
        let piece = &mut self.locks.pieces[ix];
        let old = std::mem::replace(&mut piece.range, range);
        let Held { owner, file, attrs: Attrs { mode, .. }, .. } = piece.held;
        let entry = |range| LockEntry::new(ix, range, owner);
        if !self.locks.young[side(mode)].change(entry(range)) {
            self.names.files[file].old_locks_mut(mode).change(entry(old), entry(range));
        }
        let entry = |range| OwnEntry::new(ix, range, file);
        self.locks.own.change(owner, entry(old), entry(range));
    }

    /// Changes how firmly a piece is held, and whether it was reclaimed under which incarnation.
    pub(crate) fn restate_lock(&mut self, ix: u32, attrs: Attrs, reclaim: bool) {
        let piece = &mut self.locks.pieces[ix].held;
        debug_assert_eq!(piece.attrs.mode, attrs.mode, "the mode decides the tree");
        let before = piece.attrs.standing;
        piece.attrs = attrs;
        piece.reclaim = reclaim;
        self.locks.count_standing(before, false);
        self.locks.count_standing(attrs.standing, true);
    }

    /// Changes when a piece was acquired.
    pub(super) fn date_lock(&mut self, ix: u32, acquired_ms: u64) {
        self.locks.pieces[ix].held.acquired_ms = acquired_ms;
    }

    /// The piece as a record.
    pub(crate) fn lock_record(&self, ix: u32) -> LockRecord {
        let held = self.locks.get(ix);
        LockRecord {
            id: held.id,
            owner: self.names.owners[held.owner].owner.clone(),
            file: self.names.files[held.file].id.clone(),
            range: self.locks.range(ix),
            mode: held.attrs.mode,
            incarnation: held.attrs.incarnation,
            acquired_ms: held.acquired_ms,
            blocking: held.blocking,
            reclaim: held.reclaim,
        }
    }

    pub(crate) fn put_lock(&self, ix: u32) -> crate::Effect {
        crate::Effect::Persist(crate::RecordOp::Put(Record::Lock(self.lock_record(ix))))
    }

    pub(crate) fn delete_lock(&self, held: &Held) -> crate::Effect {
        let file = self.names.files[held.file].id.clone();
        crate::Effect::Persist(crate::RecordOp::Delete(RecordKey::Lock { file, id: held.id }))
    }

    /// A lock of another owner that conflicts, if there is one.
    pub(crate) fn blocker(
        &self,
        owner: Option<u32>,
        file: u32,
        range: Range,
        mode: Mode,
    ) -> Option<u32> {
        self.find_blocker(owner, file, range, mode, |_| true)
    }

    /// The first lock of another owner that conflicts and that `accept` takes.
    pub(crate) fn find_blocker(
        &self,
        owner: Option<u32>,
        file: u32,
        range: Range,
        mode: Mode,
        mut accept: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let query = Query { range, except: owner.unwrap_or(NOBODY), before: u64::MAX };
        let accept = &mut |entry: &LockEntry| accept(entry.ix());
        opposing(mode).iter().find_map(|&other| self.find_lock(file, other, &query, accept))
    }

    /// The first lock on the file by position that has the mode, that the query fits and that
    /// `accept` takes.
    pub(super) fn find_lock(
        &self,
        file: u32,
        mode: Mode,
        query: &Query,
        accept: &mut impl FnMut(&LockEntry) -> bool,
    ) -> Option<u32> {
        let tree = self.names.files[file].old_locks(mode);
        self.locks.young[side(mode)].find(file, tree, query, accept)
    }

    /// The owner's pieces on the file that overlap the range, ascending: as [`Locks::own_in`], but
    /// where few pieces of anybody's are there they are found among those of the file, which
    /// a request looks at anyway.
    pub(crate) fn own_near(&self, owner: u32, file: u32, range: Range) -> Vec<u32> {
        let query = Query { range, except: NOBODY, before: u64::MAX };
        let (mut looked_at, mut found) = (0, Vec::new());
        for mode in [Mode::Shared, Mode::Exclusive] {
            let too_many = self.find_lock(file, mode, &query, &mut |entry| {
                looked_at += 1;
                if entry.owner == owner {
                    found.push(entry.ix());
                }
                looked_at > NEAR_MAX
            });
            if too_many.is_some() {
                return self.locks.own_in(owner, file, range).collect();
            }
        }
        found.sort_unstable_by_key(|&ix| self.locks.range(ix).first());
        debug_assert!(self.locks.own_in(owner, file, range).eq(found.iter().copied()));
        found
    }

    /// Calls `visit` for every piece on the file that overlaps the range.
    pub(crate) fn each_lock(&self, file: u32, range: Range, visit: &mut impl FnMut(u32)) {
        let query = Query { range, except: NOBODY, before: u64::MAX };
        for mode in [Mode::Shared, Mode::Exclusive] {
            self.find_lock(file, mode, &query, &mut |entry| {
                visit(entry.ix());
                false
            });
        }
    }

    /// Whether the owner holds every byte of the range, nowhere in a weaker mode.
    pub(crate) fn holds(&self, owner: u32, file: u32, range: Range, mode: Mode) -> bool {
        let mut next = Some(range.first());
        for ix in self.locks.own_in(owner, file, range) {
            let piece = self.locks.range(ix);
            if next.is_none_or(|next| piece.first() > next) || self.locks.get(ix).attrs.mode < mode
            {
                return false;
            }
            next = piece.last().checked_add(1);
        }
        next.is_none_or(|next| next > range.last())
    }

    /// What the owner holds in the range, gaps included, ascending.
    pub(crate) fn snapshot(&self, owner: u32, file: u32, range: Range) -> Vec<Undo> {
        let mut parts = Vec::new();
        let mut rest = Some(range);
        for ix in self.locks.own_in(owner, file, range) {
            let Some(piece) = rest.and_then(|rest| rest.intersect(self.locks.range(ix))) else {
                break;
            };
            let (gap, after) = rest.map_or((None, None), |rest| rest.without(piece));
            parts.extend(gap.map(|range| Undo { range, held: None }));
            let attrs = self.locks.get(ix).attrs;
            parts.push(Undo { range: piece, held: Some((attrs.mode, attrs.incarnation)) });
            rest = after;
        }
        parts.extend(rest.map(|range| Undo { range, held: None }));
        parts
    }
}
