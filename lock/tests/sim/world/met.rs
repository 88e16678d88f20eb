//! What befell the core in a run, so that one sees that the seeds exercise what they are meant to.

use std::fmt;
use std::ops::AddAssign;

use cleat_lock::Counters;

/// The names of what is counted.
const NAMES: [&str; 24] = [
    "granted",
    "granted after a wait",
    "reclaimed",
    "shared",
    "conflicts",
    "share conflicts",
    "refused in grace",
    "refused by a limit",
    "reclaims refused",
    "not found",
    "deadlocks",
    "cancelled",
    "timed out",
    "lapsed",
    "rolled back",
    "upgraded",
    "recovered at once",
    "held beyond a window",
    "taken from the unreachable",
    "taken from who did not reclaim",
    "taken from the silent",
    "taken by order",
    "taken for another's reclaim",
    "cleared by order",
];

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met([u64; NAMES.len()]);

impl Met {
    /// Adds what a core counted in its life.
    pub fn add(&mut self, counters: &Counters) {
        let Counters { granted, granted_waited, reclaimed, shared, .. } = *counters;
        let Counters { refused_conflict, refused_share, refused_grace, .. } = *counters;
        let Counters { refused_limit, refused_reclaim, refused_not_found, .. } = *counters;
        let Counters { deadlocks, cancelled, timed_out, lapsed, rolled_back, .. } = *counters;
        *self += Met([
            granted,
            granted_waited,
            reclaimed,
            shared,
            refused_conflict,
            refused_share,
            refused_grace,
            refused_limit,
            refused_reclaim,
            refused_not_found,
            deadlocks,
            cancelled,
            timed_out,
            lapsed,
            rolled_back,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ]);
    }

    /// Counts one more of what the core does not count.
    pub fn note(&mut self, name: &str) {
        let place = NAMES.iter().position(|known| *known == name);
        self.0[place.expect("a name of the list")] += 1;
    }

    /// What never happened.
    #[allow(dead_code, reason = "the test asks, the command shows all")]
    pub fn never(&self) -> Vec<&'static str> {
        let never = NAMES.iter().zip(self.0).filter(|&(_, count)| count == 0);
        never.map(|(name, _)| *name).collect()
    }
}

impl AddAssign for Met {
    fn add_assign(&mut self, other: Met) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, count)) in NAMES.iter().zip(self.0).enumerate() {
            write!(f, "{}{count} {name}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
