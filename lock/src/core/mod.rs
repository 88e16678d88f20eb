//! The state machine: one input in, its effects out.

mod view;

pub use view::{ClientView, Counters, GraceView};

use crate::config::Config;
use crate::effect::Effect;
use crate::input::Input;
use crate::record::Record;

/// The lock table with its queues and its grace window.
#[derive(Debug)]
pub struct Core {
    config: Config,
}

impl Core {
    /// An empty table: nothing on record, no grace window.
    #[must_use]
    pub fn new(config: Config) -> Core {
        Core { config }
    }

    /// The table as the records have it.
    pub fn restore(
        config: Config,
        now_ms: u64,
        records: impl IntoIterator<Item = Record>,
        grace_ms: u64,
        exact: bool,
    ) -> Core {
        let _ = (now_ms, records.into_iter().count(), grace_ms, exact);
        Core { config }
    }

    /// Takes one input and appends what it causes to `effects`.
    pub fn step(&mut self, now_ms: u64, input: Input, effects: &mut Vec<Effect>) {
        let _ = (now_ms, input, effects, &self.config);
    }

    /// When [`Input::Tick`] is due at the latest, on the core's clock.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        None
    }
}
