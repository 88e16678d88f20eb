//! The nouns of the lock core: owner, file, range, mode and the names of things.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// Who asks for a lock. Opaque to the core, whatever protocol it comes from.
///
/// Two owners are one where `owner_id` is equal: see [`Owner::is`]. The other fields of an owner
/// that already holds or waits for something are those it came with first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Identity, e.g. `nlm:client1:pid123`; never parsed. An `owner_id` belongs to one `client_id`.
    pub owner_id: Arc<str>,
    /// Whose locks these are for limits, accounting and clean-up.
    pub client_id: Arc<str>,
    /// The export or share the owner came through; for people, not part of the identity.
    pub share_name: Arc<str>,
    /// What the protocol wants back when somebody meets this owner's lock (NLM: svid and oh).
    pub note: Arc<[u8]>,
}

impl Owner {
    /// Whether both are the same owner: `owner_id` alone decides.
    #[must_use]
    pub fn is(&self, other: &Owner) -> bool {
        self.owner_id == other.owner_id
    }
}

/// The identity of a file, opaque: equal bytes are the same file, whatever the path or handle.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(Arc<[u8]>);

impl FileId {
    /// Takes the bytes that identify a file.
    #[must_use]
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        FileId(bytes.into())
    }

    /// The bytes it was made of.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileId(")?;
        for byte in self.0.iter() {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// A byte range, both ends included; `last == u64::MAX` means to the end of the file, however far
/// the file grows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    first: u64,
    last: u64,
}

impl Range {
    /// The whole file.
    pub const ALL: Range = Range { first: 0, last: u64::MAX };

    /// `length` bytes from `offset`; length 0 = to the end of the file. `None` where the last byte
    /// would lie beyond 2^64 - 1.
    #[must_use]
    pub fn new(offset: u64, length: u64) -> Option<Range> {
        if length == 0 {
            return Some(Range { first: offset, last: u64::MAX });
        }
        Some(Range { first: offset, last: offset.checked_add(length - 1)? })
    }

    /// From `first` to `last`, both included. `None` where `last` is before `first`.
    #[must_use]
    pub fn between(first: u64, last: u64) -> Option<Range> {
        (first <= last).then_some(Range { first, last })
    }

    /// First byte.
    #[must_use]
    pub fn first(self) -> u64 {
        self.first
    }

    /// Last byte, included; `u64::MAX` = to the end of the file.
    #[must_use]
    pub fn last(self) -> u64 {
        self.last
    }

    /// First byte, as the protocols say it.
    #[must_use]
    pub fn offset(self) -> u64 {
        self.first
    }

    /// Length in bytes, 0 = to the end of the file.
    #[must_use]
    pub fn length(self) -> u64 {
        if self.last == u64::MAX { 0 } else { self.last - self.first + 1 }
    }

    /// Whether the two share a byte.
    #[must_use]
    pub fn overlaps(self, other: Range) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Whether every byte of `other` is in this range.
    #[must_use]
    pub fn contains(self, other: Range) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// The bytes both have.
    #[must_use]
    pub fn intersect(self, other: Range) -> Option<Range> {
        Range::between(self.first.max(other.first), self.last.min(other.last))
    }

    /// The smallest range that holds both.
    pub(crate) fn hull(self, other: Range) -> Range {
        Range { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    /// This range with one more byte at each end, where there is one: what it touches.
    pub(crate) fn widened(self) -> Range {
        Range { first: self.first.saturating_sub(1), last: self.last.saturating_add(1) }
    }

    /// What of this range lies before and after `cut`.
    pub(crate) fn without(self, cut: Range) -> (Option<Range>, Option<Range>) {
        let before = cut.first.checked_sub(1).map(|end| end.min(self.last));
        let after = cut.last.checked_add(1).map(|start| start.max(self.first));
        (
            before.and_then(|end| Range::between(self.first, end)),
            after.and_then(|start| Range::between(start, self.last)),
        )
    }
}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.last == u64::MAX {
            write!(f, "[{}..EOF]", self.first)
        } else {
            write!(f, "[{}..={}]", self.first, self.last)
        }
    }
}

/// How a range is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Together with other shared locks.
    Shared,
    /// Alone.
    Exclusive,
}

impl Mode {
    /// Whether locks of two owners in these modes exclude each other on a common byte.
    #[must_use]
    pub fn conflicts(self, other: Mode) -> bool {
        self == Mode::Exclusive || other == Mode::Exclusive
    }
}

/// What a share reservation lets its owner do, and likewise what it denies all others
/// (XNFS ch. 10: `fsh_access` and `fsh_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Neither reading nor writing.
    None = 0,
    /// Reading.
    Read = 1,
    /// Writing.
    Write = 2,
    /// Reading and writing.
    Both = 3,
}

impl Access {
    /// All four, the weakest first.
    pub const ALL: [Access; 4] = [Access::None, Access::Read, Access::Write, Access::Both];

    /// Whether it includes reading.
    #[must_use]
    pub fn reads(self) -> bool {
        self as u8 & Access::Read as u8 != 0
    }

    /// Whether it includes writing.
    #[must_use]
    pub fn writes(self) -> bool {
        self as u8 & Access::Write as u8 != 0
    }

    /// Whether the two have reading or writing in common.
    #[must_use]
    pub fn meets(self, other: Access) -> bool {
        self as u8 & other as u8 != 0
    }

    /// Whether it includes all that `other` does.
    #[must_use]
    pub fn covers(self, other: Access) -> bool {
        self as u8 & other as u8 == other as u8
    }
}

/// A share reservation apart from its owner and file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) access: Access,
    pub(crate) deny: Access,
}

impl Reservation {
    /// Whether reservations of two owners on one file exclude each other.
    pub(crate) fn conflicts(self, other: Reservation) -> bool {
        self.access.meets(other.deny) || self.deny.meets(other.access)
    }

    /// Whether who holds this holds the other too.
    pub(crate) fn covers(self, other: Reservation) -> bool {
        self.access.covers(other.access) && self.deny.covers(other.deny)
    }
}

/// The name of one held lock. The core makes no random numbers: a request brings an id, and the
/// further pieces that one request cuts get ids derived from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockId(Uuid);

impl LockId {
    /// Takes a fresh id; the caller answers for its being fresh.
    #[must_use]
    pub fn new(id: Uuid) -> Self {
        LockId(id)
    }

    /// The id as a uuid.
    #[must_use]
    pub fn uuid(self) -> Uuid {
        self.0
    }

    /// The `n`-th id derived from this one; the 0th is itself. The number goes into 29 bits that a
    /// uuid of version 4 fills with chance and that a simulation's small numbers leave alone, so
    /// neither the version and variant bits nor a neighbour's id are touched.
    pub(crate) fn derived(self, n: u32) -> LockId {
        LockId(Uuid::from_u128(self.0.as_u128() ^ (u128::from(n & 0x1fff_ffff) << 32)))
    }
}

impl fmt::Debug for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockId({})", self.0)
    }
}

/// The driver's name for a request that waits for its reply; the core hands it back untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// The name of a waiting (or granted, not yet acknowledged) request. Stable across restarts, and
/// in the order of arrival: a smaller one is further ahead in every queue it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_made_of_offset_and_length() {
        assert_eq!(Range::new(0, 0), Some(Range::ALL));
        assert_eq!(Range::new(5, 1).map(|r| (r.first(), r.last())), Some((5, 5)));
        assert_eq!(Range::new(u64::MAX, 1).map(Range::length), Some(0));
        assert_eq!(Range::new(u64::MAX, 2), None);
        assert_eq!(Range::new(1, u64::MAX).map(Range::last), Some(u64::MAX));
        assert_eq!(Range::new(7, 3).map(|r| (r.offset(), r.length())), Some((7, 3)));
    }

    #[test]
    fn cutting_leaves_what_lies_outside() {
        let range = Range::new(10, 10).unwrap();
        let cut = |o, l| range.without(Range::new(o, l).unwrap());
        assert_eq!(cut(12, 2), (Range::new(10, 2), Range::new(14, 6)));
        assert_eq!(cut(0, 12), (None, Range::new(12, 8)));
        assert_eq!(cut(15, 0), (Range::new(10, 5), None));
        assert_eq!(cut(0, 0), (None, None));
        assert_eq!(cut(0, 5), (None, Some(range)));
        assert_eq!(cut(30, 5), (Some(range), None));
    }

    #[test]
    fn derived_ids_differ_and_keep_the_version() {
        let id = LockId::new(Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef));
        assert_eq!(id.derived(0), id);
        assert_ne!(id.derived(1), id.derived(2));
        assert_eq!(id.derived(u32::MAX).uuid().get_version_num(), 4);
        assert_eq!(id.derived(u32::MAX).uuid().get_variant(), id.uuid().get_variant());
    }
}
