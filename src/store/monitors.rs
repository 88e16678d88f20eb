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

    /// What makes of every monitored host one that is owed word of this host's restart, by which
    /// the lock managers lost what they held there.
    pub(super) fn owe_monitored(&self) -> Result<WriteBatch, StoreError> {
        let mut batch = WriteBatch::default();
        for before in self.monitored()?.into_iter().filter(|each| !each.owed) {
            batch.delete(key_of(&before));
            let owed = Monitored { owed: true, ..before };
            batch.put(key_of(&owed), owed.to_bytes());
        }
        Ok(batch)
    }
}

fn key_of(monitored: &Monitored) -> Vec<u8> {
    let prefix = if monitored.owed { OWED } else { MONITORED };
    [prefix, &key(&monitored.mon_id())].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cleat_nlm::monitor::{Mon, MonId, MyId};

    #[test]
    fn the_host_has_another_state_only_where_all_who_are_monitored_are_owed_word_of_it() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let (store, _) = Store::open(directory.path()).expect("a store");
        let my_id = MyId { my_name: b"here", program: 100_021, version: 3, procedure: 16 };
        let mon = Mon { mon_id: MonId { mon_name: b"a", my_id }, private: [7; 16] };
        let monitored = Monitored::new(&mon, [[10, 0, 0, 2].into()]);
        store.write_monitored(&[], &[&monitored]).expect("written");
        let damaged = [MONITORED, b"damaged"].concat();
        store.db.put(&damaged, b"").expect("written");
        assert_eq!(store.new_instance(false).map(|identity| identity.host_state).ok(), Some(1));
        assert!(store.crash_host().is_err());
        assert_eq!(store.new_instance(false).map(|identity| identity.host_state).ok(), Some(1));
        store.db.delete(&damaged).expect("deleted");
        assert_eq!(store.crash_host().ok(), Some(3));
        assert_eq!(store.monitored().ok(), Some(vec![Monitored { owed: true, ..monitored }]));
    }
}
