//! A store without a disk, for tests: it can die at any commit, with the process or the machine.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Durability, Epoch, Query, Store, StoreError};
use crate::record::{Record, RecordOp};

/// Two images: the live one survives the process, the durable one the machine.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

/// What dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process: everything committed stays.
    Process,
    /// The machine: of the batches since the last sync the first `kept` stay, the later are lost.
    Machine {
        /// How many.
        kept: usize,
    },
}

type Image = BTreeMap<Vec<u8>, Vec<u8>>;
type Change = (Vec<u8>, Option<Vec<u8>>);

#[derive(Debug, Default)]
struct State {
    live: Image,
    durable: Image,
    /// Batches since the last sync, oldest first.
    unsynced: Vec<Vec<Change>>,
    epoch: u64,
    /// Whether the records were less than all when an epoch began, and none was settled since.
    advice: bool,
    /// How many more commits succeed; `None` = any number.
    commits_left: Option<u64>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        MemoryStore::default()
    }

    /// Lets `commits` more commits pass and then freezes: everything fails until the crash.
    pub fn freeze_after(&self, commits: u64) {
        self.state().commits_left = Some(commits);
    }

    /// How many batches would be at risk if the machine died now.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.state().unsynced.len()
    }

    /// Dies and comes back with what survives.
    pub fn crash(&self, crash: Crash) {
        let mut state = self.state();
        state.commits_left = None;
        let Crash::Machine { kept } = crash else {
            return;
        };
        let state = &mut *state;
        for change in state.unsynced.drain(..).take(kept).flatten() {
            apply(&mut state.durable, change);
        }
        state.live.clone_from(&state.durable);
    }

    /// Keys and values as a process would find them.
    #[must_use]
    pub fn image(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.state().live.clone()
    }

    /// Whether the live image is just this.
    #[must_use]
    pub fn image_is(&self, image: &BTreeMap<Vec<u8>, Vec<u8>>) -> bool {
        self.state().live == *image
    }

    /// Each change is a single step, so a panic elsewhere leaves the state usable.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn alive(&mut self) -> Result<(), StoreError> {
        match &mut self.commits_left {
            Some(0) => Err(StoreError::Failed("frozen".to_owned())),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..).flatten() {
            apply(&mut self.durable, change);
        }
    }
}

fn apply(image: &mut Image, (key, value): Change) {
    match value {
        Some(value) => image.insert(key, value),
        None => image.remove(&key),
    };
}

fn change(op: &RecordOp) -> Change {
    match op {
        RecordOp::Put(record) => (record.key(), Some(record.encode())),
        RecordOp::Delete(key) => (key.to_bytes(), None),
    }
}

impl Store for MemoryStore {
    fn commit(&self, batch: &[RecordOp], durability: Durability) -> Result<(), StoreError> {
        let mut state = self.state();
        state.alive()?;
        let changes: Vec<Change> = batch.iter().map(change).collect();
        for change in changes.iter().cloned() {
            apply(&mut state.live, change);
        }
        state.unsynced.push(changes);
        if durability == Durability::Machine {
            state.sync();
        }
        Ok(())
    }

    fn list(&self, query: &Query<'_>) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        for (key, value) in &self.state().live {
            let record = Record::decode(key, value)
                .map_err(|error| StoreError::Damaged(error.to_string()))?;
            if query.wants(&record) {
                records.push(record);
            }
        }
        Ok(records)
    }

    fn epoch(&self) -> Result<u64, StoreError> {
        Ok(self.state().epoch)
    }

    fn next_epoch(&self, survived: bool) -> Result<Epoch, StoreError> {
        let mut state = self.state();
        state.alive()?;
        state.sync();
        state.epoch += 1;
        state.advice |= !survived;
        Ok(Epoch { number: state.epoch, exact: !state.advice })
    }

    fn settle(&self) -> Result<(), StoreError> {
        let mut state = self.state();
        state.alive()?;
        state.advice = false;
        Ok(())
    }
}
