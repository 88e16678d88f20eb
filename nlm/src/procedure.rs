//! The procedures of all versions as one table: five operations in three forms, and the rest.
//!
//! ```text
//!            called and answered   sent       its result, sent back    versions
//! TEST                1              6                11               1, 3, 4
//! LOCK                2              7                12               1, 3, 4
//! CANCEL              3              8                13               1, 3, 4
//! UNLOCK              4              9                14               1, 3, 4
//! GRANTED             5             10                15               1, 3, 4
//! SHARE 20, UNSHARE 21, NM_LOCK 22, FREE_ALL 23                           3, 4
//! ```
//!
//! A message (NLM_TEST_MSG and so on) is answered with nothing; its result is a call in the other
//! direction (NLM_TEST_RES and so on) with the same content that the called form answers with.

use crate::version::Version;

/// What can be asked in three forms; its number is that of the called form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Would this lock be granted?
    Test = 1,
    /// Asks for a lock.
    Lock = 2,
    /// A blocked request is no longer wanted.
    Cancel = 3,
    /// Releases a range.
    Unlock = 4,
    /// The server tells its client: a blocked request has been granted.
    Granted = 5,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Test, Self::Lock, Self::Cancel, Self::Unlock, Self::Granted];
}

/// A procedure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Procedure {
    /// NLM_NULL: does nothing.
    Null,
    /// The operation, answered with its result.
    Call(Operation),
    /// NLM_*_MSG: the operation, answered with nothing; the result follows as a call.
    Message(Operation),
    /// NLM_*_RES: the result of a message.
    Result(Operation),
    /// NLM_SHARE: reserves a file against others.
    Share,
    /// NLM_UNSHARE: ends that.
    Unshare,
    /// NLM_NM_LOCK: LOCK for a client that nobody monitors.
    NmLock,
    /// NLM_FREE_ALL: releases everything that a client has.
    FreeAll,
}

impl Procedure {
    /// The procedure of this number, where the version has one.
    #[must_use]
    pub fn of(version: Version, number: u32) -> Option<Self> {
        const FORMS: [fn(Operation) -> Procedure; 3] =
            [Procedure::Call, Procedure::Message, Procedure::Result];
        let found = match number {
            0 => Self::Null,
            1..=15 => {
                let at = number as usize - 1;
                FORMS[at / 5](Operation::ALL[at % 5])
            }
            20 => Self::Share,
            21 => Self::Unshare,
            22 => Self::NmLock,
            23 => Self::FreeAll,
            _ => return None,
        };
        (number < 20 || version >= Version::V3).then_some(found)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Null => 0,
            Self::Call(operation) => operation as u32,
            Self::Message(operation) => operation as u32 + 5,
            Self::Result(operation) => operation as u32 + 10,
            Self::Share => 20,
            Self::Unshare => 21,
            Self::NmLock => 22,
            Self::FreeAll => 23,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_names_the_procedure_that_has_it() {
        for version in Version::ALL {
            let named: Vec<u32> =
                (0..100).filter(|number| Procedure::of(version, *number).is_some()).collect();
            for number in &named {
                let procedure = Procedure::of(version, *number);
                assert_eq!(procedure.map(Procedure::number), Some(*number));
            }
            let last = if version == Version::V1 { 0..0 } else { 20..24 };
            assert_eq!(named, (0..16).chain(last).collect::<Vec<u32>>());
        }
        let of = |number| Procedure::of(Version::V4, number);
        assert_eq!(of(7), Some(Procedure::Message(Operation::Lock)));
        assert_eq!(of(15), Some(Procedure::Result(Operation::Granted)));
    }
}
