//! The three kinds of entry: a held lock by its place, a waiting request by its place, and a held
//! lock in the order of its owner's.

use super::{Entry, Placed, Query, Sum};
use crate::types::Range;

/// Not one owner but several.
const MIXED: u32 = u32::MAX;

/// A held lock among all of its file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LockEntry {
    first: u64,
    last: u64,
    pub(crate) owner: u32,
    pub(crate) ix: u32,
}

impl LockEntry {
    pub(crate) fn new(ix: u32, range: Range, owner: u32) -> LockEntry {
        LockEntry { first: range.first(), last: range.last(), owner, ix }
    }
}

impl Entry for LockEntry {
    type Sum = Reach;

    /// The number of the lock orders what starts at the same byte.
    fn key(&self) -> u128 {
        u128::from(self.first) << 64 | u128::from(self.ix)
    }

    fn sum(&self) -> Reach {
        Reach { max_last: self.last, sole: self.owner }
    }
}

impl Placed for LockEntry {
    fn ix(&self) -> u32 {
        self.ix
    }

    fn first(&self) -> u64 {
        self.first
    }

    fn fits(&self, query: &Query) -> bool {
        self.last >= query.range.first() && self.owner != query.except
    }

    fn may_fit(sum: &Reach, query: &Query) -> bool {
        sum.max_last >= query.range.first() && sum.sole != query.except
    }
}

/// The last byte that anything reaches, and the owner if there is but one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    max_last: u64,
    sole: u32,
}

impl Sum for Reach {
    fn and(self, other: Reach) -> Reach {
        Reach {
            max_last: self.max_last.max(other.max_last),
            sole: if self.sole == other.sole { self.sole } else { MIXED },
        }
    }

    fn stays(self, gone: Reach, mut rest: impl Iterator<Item = Reach>) -> bool {
        if self.max_last == gone.max_last {
            return false;
        }
        let Some(first) = rest.next().filter(|_| self.sole == MIXED) else {
            return true;
        };
        first.sole == MIXED || rest.any(|other| other.sole != first.sole)
    }
}

/// A waiting request among all for its file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaiterEntry {
    held: LockEntry,
    /// Its number in the queue: it orders what starts at the same byte.
    seq: u64,
}

impl WaiterEntry {
    pub(crate) fn new(ix: u32, range: Range, owner: u32, seq: u64) -> WaiterEntry {
        WaiterEntry { held: LockEntry::new(ix, range, owner), seq }
    }
}

impl Entry for WaiterEntry {
    type Sum = (Reach, u64);

    fn key(&self) -> u128 {
        u128::from(self.held.first) << 64 | u128::from(self.seq)
    }

    fn sum(&self) -> (Reach, u64) {
        (self.held.sum(), self.seq)
    }
}

impl Placed for WaiterEntry {
    fn ix(&self) -> u32 {
        self.held.ix
    }

    fn first(&self) -> u64 {
        self.held.first
    }

    fn fits(&self, query: &Query) -> bool {
        self.held.fits(query) && self.seq < query.before
    }

    fn may_fit((reach, min_seq): &(Reach, u64), query: &Query) -> bool {
        LockEntry::may_fit(reach, query) && *min_seq < query.before
    }
}

/// With the smallest number in the queue.
impl Sum for (Reach, u64) {
    fn and(self, other: Self) -> Self {
        (self.0.and(other.0), self.1.min(other.1))
    }

    fn stays(self, gone: Self, rest: impl Iterator<Item = Self>) -> bool {
        self.1 < gone.1 && self.0.stays(gone.0, rest.map(|sum| sum.0))
    }
}

/// A held lock among all of its owner, by file and place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnEntry {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) file: u32,
    pub(crate) ix: u32,
}

impl OwnEntry {
    pub(crate) fn new(ix: u32, range: Range, file: u32) -> OwnEntry {
        OwnEntry { first: range.first(), last: range.last(), file, ix }
    }

    /// The key of what an owner holds from a byte of a file on.
    pub(crate) fn key_at(file: u32, first: u64) -> u128 {
        u128::from(file) << 64 | u128::from(first)
    }
}

impl Entry for OwnEntry {
    type Sum = ();

    fn key(&self) -> u128 {
        OwnEntry::key_at(self.file, self.first)
    }

    fn sum(&self) {}
}

/// Nobody asks what is below but in order.
impl Sum for () {
    fn and(self, (): ()) {}

    fn stays(self, (): (), _: impl Iterator<Item = ()>) -> bool {
        true
    }
}
