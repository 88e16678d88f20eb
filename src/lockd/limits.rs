//! What was refused because a limit was reached: counted by limit, and named in the log.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use cleat_lock::Limit;
use tracing::warn;

use crate::seldom::Seldom;

/// Refusals since the start.
#[derive(Debug, Default)]
pub struct Refusals {
    by_limit: Mutex<BTreeMap<&'static str, Met>>,
}

#[derive(Debug, Default)]
struct Met {
    count: u64,
    /// Whoever meets a limit meets it again and again.
    told: Seldom,
}

impl Refusals {
    /// Counts a refusal, and warns of it unless that was done a moment ago.
    pub fn note(&self, limit: Limit, maximum: u64, client: &str) {
        let name = limit.name();
        let mut all = self.by_limit.lock().unwrap_or_else(PoisonError::into_inner);
        let met = all.entry(name).or_default();
        met.count += 1;
        if met.told.happens().is_some() {
            warn!(
                limit = name,
                maximum,
                client,
                refused = met.count,
                "refused: a limit is reached"
            );
        }
    }

    /// How much was refused by each limit that refused anything.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let all = self.by_limit.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(&name, met)| (name, met.count)).collect()
    }
}
