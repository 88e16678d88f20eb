//! What a program says of calls that must not simply run as often as they come.

use std::hash::{Hash, Hasher};

use siphasher::sip::SipHasher13;

/// How a call that changes something is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// What a repetition gets.
    pub repeat: Repeat,
    /// What of its client it is about: when a later call ends one of these, it is over.
    pub ended_by: Vec<Part>,
    /// What it ends itself where it succeeds.
    pub ends: Vec<Part>,
}

/// What a repetition gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It runs again, because that changes nothing while what was asked for is so, and answers
    /// truly where it is no longer. (A lock that is held or awaited.)
    Runs,
    /// The first answer. To run again would take away what others made since.
    Answered,
    /// The first answer while what it says is still so ([`super::Program::still_so`]); else it
    /// runs.
    Checked,
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was not done, and its client is to ask again: that must run.
    AskAgain,
    /// It was refused.
    Refused,
    /// It was done.
    Done,
}

/// Something of a client that calls are about: a name in a directory, a file, bytes that an owner
/// locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub(super) of: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Part {
    /// The whole of it.
    #[must_use]
    pub fn whole(of: impl Hash) -> Self {
        Self::range(of, 0, u64::MAX)
    }

    /// Its bytes from the first to the last.
    #[must_use]
    pub fn range(of: impl Hash, first: u64, last: u64) -> Self {
        // No secret: two that were made alike are of one client, and harm that.
        let mut hasher = SipHasher13::new();
        of.hash(&mut hasher);
        Self { of: hasher.finish(), first, last }
    }

    pub(super) const fn meets(&self, other: &Self) -> bool {
        self.of == other.of && self.first <= other.last && other.first <= self.last
    }
}

impl Once {
    /// A call that gets its first answer until its client calls about one of these again.
    #[must_use]
    pub fn new(repeat: Repeat, parts: Vec<Part>) -> Self {
        Self { repeat, ends: parts.clone(), ended_by: parts }
    }
}
