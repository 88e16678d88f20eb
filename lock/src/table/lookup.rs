//! The one hash map of the crate: names to numbers. It cannot be iterated, so its order shows nowhere.

use std::borrow::Borrow;
#[expect(clippy::disallowed_types, reason = "never iterated, and seeded by the configuration")]
use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};

/// SipHash behind a seed: who does not know the seed cannot make names that collide.
#[derive(Debug, Default)]
struct Seeded(u64);

impl BuildHasher for Seeded {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

/// Finds the number of a name.
#[derive(Debug)]
pub(crate) struct Lookup<K> {
    #[expect(clippy::disallowed_types, reason = "never iterated, and seeded by the configuration")]
    map: HashMap<K, u32, Seeded>,
}

impl<K: Hash + Eq> Lookup<K> {
    pub(crate) fn new(seed: u64) -> Self {
        #[expect(clippy::disallowed_types, reason = "as above")]
        let map = HashMap::with_hasher(Seeded(seed));
        Lookup { map }
    }

    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, name: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
    {
        self.map.get(name).copied()
    }

    pub(crate) fn insert(&mut self, name: K, number: u32) {
        self.map.insert(name, number);
    }

    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, name: &Q)
    where
        K: Borrow<Q>,
    {
        self.map.remove(name);
    }
}
