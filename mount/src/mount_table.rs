//! Who says to have mounted what: advice for people, decided upon by nobody.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::export::PATH_BYTES_MAX;

/// The most mounts that are remembered.
pub const MOUNTS_MAX: usize = 4096;
/// The most mounts that are remembered of one host.
pub const MOUNTS_PER_HOST_MAX: usize = 64;

type Key = (IpAddr, Arc<[u8]>);

/// The mount list of RFC 1813 5.2. Hosts come and go without a word and may say what they like,
/// so it is bounded and forgets the oldest first. A host is known by its address: the name in
/// its credential could be anybody's.
#[derive(Debug, Clone, Default)]
pub struct MountTable {
    ages: BTreeMap<Key, u64>,
    by_age: BTreeMap<u64, Key>,
    next_age: u64,
}

impl MountTable {
    /// Remembers that a host mounted a directory.
    pub fn mounted(&mut self, host: IpAddr, path: &[u8]) {
        if path.len() > PATH_BYTES_MAX {
            return;
        }
        let key: Key = (host.to_canonical(), plain(path));
        self.forget(&key);
        let of_host: Vec<u64> = self.of_host(key.0).map(|(_, age)| *age).collect();
        if of_host.len() >= MOUNTS_PER_HOST_MAX {
            self.forget_age(of_host.into_iter().min());
        }
        if self.ages.len() >= MOUNTS_MAX {
            self.forget_age(self.by_age.keys().next().copied());
        }
        self.ages.insert(key.clone(), self.next_age);
        self.by_age.insert(self.next_age, key);
        self.next_age += 1;
    }

    /// Forgets that a host mounted a directory.
    pub fn unmounted(&mut self, host: IpAddr, path: &[u8]) {
        self.forget(&(host.to_canonical(), plain(path)));
    }

    /// Forgets all that a host mounted.
    pub fn unmounted_all(&mut self, host: IpAddr) {
        let keys: Vec<Key> =
            self.of_host(host.to_canonical()).map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.forget(key));
    }

    /// The mounts, ordered by host and path.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &[u8])> {
        self.ages.keys().map(|(host, path)| (*host, &path[..]))
    }

    /// How many mounts are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ages.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ages.is_empty()
    }

    fn of_host(&self, host: IpAddr) -> impl Iterator<Item = (&Key, &u64)> {
        self.ages.range((host, Arc::from([]))..).take_while(move |((other, _), _)| *other == host)
    }

    fn forget(&mut self, key: &Key) {
        if let Some(age) = self.ages.remove(key) {
            self.by_age.remove(&age);
        }
    }

    fn forget_age(&mut self, age: Option<u64>) {
        if let Some(key) = age.and_then(|age| self.by_age.remove(&age)) {
            self.ages.remove(&key);
        }
    }
}

/// A path without slashes that separate nothing and dots that lead nowhere: one directory is one
/// entry.
fn plain(path: &[u8]) -> Arc<[u8]> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    let plain: Vec<u8> = names.flat_map(|name| [b"/", name].concat()).collect();
    if plain.is_empty() { (*b"/").into() } else { plain.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn shown(table: &MountTable) -> Vec<String> {
        let text = |(host, path): (IpAddr, &[u8])| format!("{host}:{}", path.escape_ascii());
        table.iter().map(text).collect()
    }

    #[test]
    fn one_directory_is_one_entry_however_it_is_written() {
        let mut mounts = MountTable::default();
        let host: IpAddr = "10.0.0.7".parse().expect("an address");
        for path in ["/srv/data", "/srv/data/", "//srv/./data/."] {
            mounts.mounted(host, path.as_bytes());
        }
        assert_eq!(mounts.iter().collect::<Vec<_>>(), [(host, &b"/srv/data"[..])]);
        mounts.unmounted(host, b"/srv//data");
        assert_eq!(mounts.len(), 0);
        mounts.mounted(host, b"//");
        assert_eq!(mounts.iter().collect::<Vec<_>>(), [(host, &b"/"[..])]);
    }

    #[test]
    fn mounts_are_remembered_and_forgotten() {
        let mut table = MountTable::default();
        table.mounted(host(1), b"/a");
        table.mounted(host(1), b"/b");
        table.mounted(host(1), b"/a");
        table.mounted("::ffff:0.0.0.2".parse().expect("an address"), b"/a");
        assert_eq!(shown(&table), ["0.0.0.1:/a", "0.0.0.1:/b", "0.0.0.2:/a"]);
        table.unmounted(host(1), b"/b");
        table.unmounted(host(3), b"/a");
        assert_eq!(shown(&table), ["0.0.0.1:/a", "0.0.0.2:/a"]);
        table.unmounted_all(host(1));
        assert_eq!(shown(&table), ["0.0.0.2:/a"]);
    }

    #[test]
    fn one_host_cannot_crowd_out_the_others() {
        let mut table = MountTable::default();
        table.mounted(host(1), b"/a");
        for number in 0..2 * MOUNTS_PER_HOST_MAX {
            table.mounted(host(2), format!("/{number}").as_bytes());
        }
        assert_eq!(table.len(), 1 + MOUNTS_PER_HOST_MAX);
        assert!(shown(&table).contains(&"0.0.0.1:/a".to_owned()));
        assert!(!shown(&table).contains(&"0.0.0.2:/0".to_owned()));
    }

    #[test]
    fn a_full_table_forgets_the_oldest() {
        let mut table = MountTable::default();
        for number in 0..=u32::try_from(MOUNTS_MAX).expect("small") {
            table.mounted(host(number), b"/a");
        }
        assert_eq!((table.len(), table.iter().next()), (MOUNTS_MAX, Some((host(1), &b"/a"[..]))));
    }

    proptest! {
        #[test]
        fn the_two_maps_agree(steps in prop::collection::vec((0u8..4, 0u32..3, 0u8..100), 0..300)) {
            let mut table = MountTable::default();
            for (step, number, path) in steps {
                match step {
                    0 | 1 => table.mounted(host(number), &[b'/', path]),
                    2 => table.unmounted(host(number), &[b'/', path]),
                    _ => table.unmounted_all(host(number)),
                }
                prop_assert_eq!(table.ages.len(), table.by_age.len());
                prop_assert!(table.by_age.iter().all(|(age, key)| table.ages.get(key) == Some(age)));
            }
        }
    }
}
