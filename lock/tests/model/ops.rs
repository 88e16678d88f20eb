//! What may be asked, and by whom: small enough that everything soon meets everything else.

use std::fmt;

use cleat_lock::{Access, GrantAck, Mode, Range};
use proptest::prelude::*;

use crate::common::{S, X, bytes};

/// Bytes 0 to 11; the last cell stands for everything behind them.
pub const CELLS: usize = 13;
pub const OWNERS: [&str; 4] = ["a/1", "a/2", "b/1", "c/1"];
pub const FILES: [&str; 2] = ["f", "g"];

#[derive(Clone, Copy)]
pub struct Target {
    pub owner: usize,
    pub file: usize,
    pub first: usize,
    pub last: usize,
    pub mode: Mode,
}

/// Whether a request that waits wants deadlocks found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finding {
    Deadlocks,
    Nothing,
}

#[derive(Clone)]
pub enum Op {
    Lock { target: Target, wait: Option<Finding>, incarnation: u32 },
    Upgrade { target: Target, wait: Option<Finding>, incarnation: u32 },
    Unlock(Target),
    Cancel(Target),
    Test(Target),
    Share { owner: usize, file: usize, share: Share },
    Unshare { owner: usize, file: usize },
    Answer { pick: usize, ack: GrantAck },
    FreeAll { owner: usize },
    Restarted { owner: usize, incarnation: u32 },
    ServerRestart,
    Pass { ms: u64 },
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Lock { target, wait, incarnation } => {
                write!(f, "lock {target:?} wait {wait:?} incarnation {incarnation}")
            }
            Op::Upgrade { target, wait, incarnation } => {
                write!(f, "upgrade {target:?} wait {wait:?} incarnation {incarnation}")
            }
            Op::Unlock(target) => write!(f, "unlock {target:?}"),
            Op::Cancel(target) => write!(f, "cancel {target:?}"),
            Op::Test(target) => write!(f, "test {target:?}"),
            Op::Share { owner, file, share } => {
                write!(f, "share {} {} {share:?}", OWNERS[*owner], FILES[*file])
            }
            Op::Unshare { owner, file } => {
                write!(f, "unshare {} {}", OWNERS[*owner], FILES[*file])
            }
            Op::Answer { pick, ack } => write!(f, "answer {pick}: {ack:?}"),
            Op::FreeAll { owner } => write!(f, "free all of {}", OWNERS[*owner]),
            Op::Restarted { owner, incarnation } => {
                write!(f, "restart of {} as {incarnation}", OWNERS[*owner])
            }
            Op::ServerRestart => write!(f, "restart of the server"),
            Op::Pass { ms } => write!(f, "{ms} ms pass"),
        }
    }
}

/// A reservation: what its owner does, what it denies the others, and under which incarnation.
pub type Share = (Access, Access, u32);

// In one line, so that a failing run can be read.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { owner, file, first, last, mode } = *self;
        write!(f, "{} {} {first}-{last} {mode:?}", OWNERS[owner], FILES[file])
    }
}

impl Target {
    pub fn range(self) -> Range {
        bytes(self.first as u64, if self.last == CELLS - 1 { u64::MAX } else { self.last as u64 })
    }

    pub fn overlaps(self, other: Target) -> bool {
        self.file == other.file && self.first <= other.last && other.first <= self.last
    }

    pub fn same(self, other: Target) -> bool {
        (self.owner, self.file, self.first, self.last, self.mode)
            == (other.owner, other.file, other.first, other.last, other.mode)
    }
}

pub fn byte(at: usize) -> Range {
    bytes(at as u64, if at == CELLS - 1 { u64::MAX } else { at as u64 })
}

pub fn target() -> impl Strategy<Value = Target> {
    let file = prop_oneof![4 => Just(0usize), 1 => Just(1usize)];
    let mode = prop_oneof![Just(S), Just(X)];
    (0..OWNERS.len(), file, 0..CELLS, 0..CELLS, mode).prop_map(|(owner, file, one, two, mode)| {
        Target { owner, file, first: one.min(two), last: one.max(two), mode }
    })
}

pub fn share() -> impl Strategy<Value = Share> {
    let access = || prop::sample::select(&Access::ALL[..]);
    (access(), access(), 1u32..3)
}

pub fn op() -> impl Strategy<Value = Op> {
    let finding =
        prop_oneof![Just(None), Just(Some(Finding::Nothing)), Just(Some(Finding::Deadlocks))];
    let ack = prop::sample::select(&[GrantAck::Accepted, GrantAck::Assumed, GrantAck::Refused][..]);
    prop_oneof![
        12 => (target(), finding.clone(), 1u32..3).prop_map(|(target, wait, incarnation)| {
            Op::Lock { target, wait, incarnation }
        }),
        2 => (target(), finding.clone(), 1u32..3).prop_map(|(target, wait, incarnation)| {
            Op::Upgrade { target, wait, incarnation }
        }),
        3 => (0..OWNERS.len(), 0..FILES.len(), share()).prop_map(|(owner, file, share)| {
            Op::Share { owner, file, share }
        }),
        1 => (0..OWNERS.len(), 0..FILES.len()).prop_map(|(owner, file)| {
            Op::Unshare { owner, file }
        }),
        4 => target().prop_map(Op::Unlock),
        2 => target().prop_map(Op::Cancel),
        1 => target().prop_map(Op::Test),
        6 => (0usize..4, ack).prop_map(|(pick, ack)| Op::Answer { pick, ack }),
        1 => (0..OWNERS.len()).prop_map(|owner| Op::FreeAll { owner }),
        1 => (0..OWNERS.len(), 1u32..3).prop_map(|(owner, incarnation)| {
            Op::Restarted { owner, incarnation }
        }),
        1 => Just(Op::ServerRestart),
        2 => (1u64..6_000).prop_map(|ms| Op::Pass { ms }),
    ]
}
