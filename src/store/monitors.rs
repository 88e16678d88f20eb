//! Hosts that a lock manager of this host had us monitor, and hosts that are owed word of its
//! restart.

use cleat_nlm::monitor::{Monitored, key};
use rocksdb::{Direction, IteratorMode, WriteBatch};

use super::{Store, StoreError};

const MONITORED: &[u8] = b"sm-monitored/";
const OWED: &[u8] = b"sm-owed/";

impl Store {
    /// Every host on record: those monitored, then those that are owed word.
    pub fn monitored(&self) -> Result<Vec<Monitored>, StoreError> {
        let mut found = Vec::new();
        for prefix in [MONITORED, OWED] {
            for item in self.db.iterator(IteratorMode::From(prefix, Direction::Forward)) {
                let (key, value) = item.map_err(|error| super::translate(&self.path, &error))?;
                if !key.starts_with(prefix) {
                    break;
                }
                let monitored = Monitored::from_bytes(&value);
                let damaged = |error| self.damaged(format!("a monitored host: {error}"));
                found.push(monitored.map_err(damaged)?);
            }
        }
        Ok(found)
    }

    /// Removes some and writes others, all at once. It is on the disk when this returns.
    pub fn write_monitored(
        &self,
        remove: &[&Monitored],
        write: &[&Monitored],
    ) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        remove.iter().for_each(|each| batch.delete(key_of(each)));
        write.iter().for_each(|each| batch.put(key_of(each), each.to_bytes()));
        self.write(batch, true)
    }

    /// Makes of every monitored host one that is owed word of this host's restart, by which the
    /// lock managers lost what they held there.
    pub(super) fn owe_monitored(&self) -> Result<(), StoreError> {
        let mut before = self.monitored()?;
        before.retain(|each| !each.owed);
        let owed: Vec<_> =
            before.iter().map(|each| Monitored { owed: true, ..each.clone() }).collect();
        self.write_monitored(&before.iter().collect::<Vec<_>>(), &owed.iter().collect::<Vec<_>>())
    }
}

fn key_of(monitored: &Monitored) -> Vec<u8> {
    let prefix = if monitored.owed { OWED } else { MONITORED };
    [prefix, &key(&monitored.mon_id())].concat()
}
