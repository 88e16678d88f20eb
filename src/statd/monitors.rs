//! The hosts that lock managers of this host had us monitor: in memory what is in the store.
//!
//! Its functions that change something wait for the disk, one after the other. Those that only look
//! wait for nothing: they run where requests are answered.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cleat_nlm::monitor::{MonId, Monitored, MyId, key};
use cleat_nlm::nsm::StateChange;

use crate::store::{Store, StoreError};

/// The most hosts that are monitored at a time, each for each caller; SM_MON of one more fails.
pub const MONITORED_MAX: usize = 1024;

/// A host and for whom it is monitored: `mon_id` as XDR.
pub(super) type Key = Vec<u8>;

/// The hosts on record.
pub struct Monitors {
    store: Arc<Store>,
    /// Held by whoever changes something, until it is on the disk and in the table.
    changing: Mutex<()>,
    /// Never held while the disk is written.
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    monitored: BTreeMap<Key, Monitored>,
    owed: Vec<Monitored>,
    host_state: i32,
}

impl Monitors {
    /// Those that the store has, on a host of this NSM state.
    pub fn open(store: Arc<Store>, host_state: i32) -> Result<Self, StoreError> {
        let table = Mutex::new(Table::read(&store, host_state)?);
        Ok(Self { store, changing: Mutex::default(), table })
    }

    /// The state of this host: what its lock managers and the servers they use count by.
    #[must_use]
    pub fn host_state(&self) -> i32 {
        self.table().host_state
    }

    /// How many hosts are monitored, each for each caller.
    #[must_use]
    pub fn count(&self) -> usize {
        self.table().monitored.len()
    }

    /// SM_MON. False where there are too many.
    pub(super) fn monitor(&self, mut asked: Monitored) -> Result<bool, StoreError> {
        let _turn = self.turn();
        let key = key(&asked.mon_id());
        match self.known(&key) {
            Some(known) => {
                (asked.heard, asked.told) = (known.heard, known.told);
                if known == asked {
                    return Ok(true);
                }
            }
            None if self.count() >= MONITORED_MAX => return Ok(false),
            None => {}
        }
        self.store.write_monitored(&[], &[&asked])?;
        self.table().monitored.insert(key, asked);
        Ok(true)
    }

    /// SM_UNMON. Who was not monitored is no mistake.
    pub(super) fn unmonitor(&self, mon_id: &MonId<'_>) -> Result<(), StoreError> {
        let key = key(mon_id);
        self.remove(|monitored| self::key(&monitored.mon_id()) == key)
    }

    /// SM_UNMON_ALL.
    pub(super) fn unmonitor_all(&self, my_id: &MyId<'_>) -> Result<(), StoreError> {
        self.remove(|monitored| monitored.my_id() == *my_id)
    }

    fn remove(&self, gone: impl Fn(&Monitored) -> bool) -> Result<(), StoreError> {
        let _turn = self.turn();
        let leaving = self.those(&gone);
        if !leaving.is_empty() {
            self.store.write_monitored(&leaving.iter().collect::<Vec<_>>(), &[])?;
            self.table().monitored.retain(|_, each| !gone(each));
        }
        Ok(())
    }

    /// SM_SIMU_CRASH: the host has another state, and whoever was monitored is owed word of it.
    pub(super) fn crash(&self) -> Result<i32, StoreError> {
        let _turn = self.turn();
        let host_state = self.store.crash_host()?;
        let table = Table::read(&self.store, host_state)?;
        *self.table() = table;
        Ok(host_state)
    }

    /// The names that an SM_NOTIFY speaks of, of hosts that were at other addresses.
    pub(super) fn moved(&self, source: IpAddr, change: &StateChange<'_>) -> Vec<Vec<u8>> {
        let table = self.table();
        let moved = |each: &&Monitored| !each.is_at(source) && each.is_named(change);
        let mut names: Vec<_> =
            table.monitored.values().filter(moved).map(|each| each.mon_name.clone()).collect();
        names.dedup();
        names
    }

    /// Notes the state of whoever is monitored at `source`, or is named in `verified`, which is at
    /// home there. Returns whether there are any, and those to whom the state is news.
    pub(super) fn heard(
        &self,
        source: IpAddr,
        state: i32,
        verified: &[Vec<u8>],
    ) -> Result<(bool, Vec<Key>), StoreError> {
        let _turn = self.turn();
        let meant = |each: &Monitored| each.is_at(source) || verified.contains(&each.mon_name);
        let known = self.those(meant);
        let any = !known.is_empty();
        let changed: Vec<Monitored> = known
            .into_iter()
            .filter(|each| each.heard != Some(state))
            .map(|each| Monitored { heard: Some(state), told: false, ..each })
            .collect();
        Ok((any, self.write(changed)?))
    }

    /// Notes that a lock manager knows of the state.
    pub(super) fn told(&self, key: &Key, state: i32) -> Result<(), StoreError> {
        let _turn = self.turn();
        let known = self.known(key).filter(|each| each.heard == Some(state));
        let changed = known.map(|each| Monitored { told: true, ..each });
        self.write(changed.into_iter().collect()).map(drop)
    }

    fn write(&self, changed: Vec<Monitored>) -> Result<Vec<Key>, StoreError> {
        if changed.is_empty() {
            return Ok(Vec::new());
        }
        self.store.write_monitored(&[], &changed.iter().collect::<Vec<_>>())?;
        let keys: Vec<Key> = changed.iter().map(|each| key(&each.mon_id())).collect();
        self.table().monitored.extend(keys.iter().cloned().zip(changed));
        Ok(keys)
    }

    fn known(&self, key: &Key) -> Option<Monitored> {
        self.table().monitored.get(key).cloned()
    }

    fn those(&self, wanted: impl Fn(&Monitored) -> bool) -> Vec<Monitored> {
        self.table().monitored.values().filter(|each| wanted(each)).cloned().collect()
    }

    /// The host, where its lock manager has yet to be told of it.
    pub(super) fn untold(&self, key: &Key) -> Option<Monitored> {
        self.known(key).filter(|each| !each.told)
    }

    /// Every host of which a lock manager has yet to be told.
    pub(super) fn all_untold(&self) -> Vec<Key> {
        let table = self.table();
        let untold = table.monitored.iter().filter(|(_, each)| !each.told);
        untold.map(|(key, _)| key.clone()).collect()
    }

    /// Those that are owed word of this host's restart.
    pub(super) fn owed(&self) -> Vec<Monitored> {
        self.table().owed.clone()
    }

    /// Notes that these have it, or cannot be reached.
    pub(super) fn settled(&self, told: &[Monitored]) -> Result<(), StoreError> {
        let _turn = self.turn();
        self.store.write_monitored(&told.iter().collect::<Vec<_>>(), &[])?;
        self.table().owed.retain(|each| !told.contains(each));
        Ok(())
    }

    /// There is nothing in it that a panic elsewhere could break.
    fn turn(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in memory follows what was written, so a panic elsewhere leaves it usable.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn read(store: &Store, host_state: i32) -> Result<Self, StoreError> {
        let (owed, monitored): (Vec<_>, Vec<_>) =
            store.monitored()?.into_iter().partition(|each| each.owed);
        let monitored = monitored.into_iter().map(|each| (key(&each.mon_id()), each)).collect();
        Ok(Self { monitored, owed, host_state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn who_only_looks_does_not_wait_for_a_change_that_waits_for_the_disk() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let (store, _) = Store::open(directory.path()).expect("a store");
        let monitors = Monitors::open(Arc::new(store), 1).expect("monitors");
        let (send, seen) = channel();
        let turn = monitors.turn();
        let in_time = std::thread::scope(|scope| {
            scope.spawn(|| {
                let change = StateChange { mon_name: b"a", state: 3 };
                let moved = monitors.moved([10, 0, 0, 2].into(), &change);
                let untold = monitors.all_untold();
                let all = (monitors.host_state(), monitors.count(), moved.len(), untold.len());
                send.send((all, monitors.owed().len())).expect("a receiver");
            });
            let in_time = seen.recv_timeout(Duration::from_secs(20));
            drop(turn);
            in_time
        });
        assert_eq!(in_time, Ok(((1, 0, 0, 0), 0)));
    }
}
