//! Things under small numbers that are found by their names too.

use std::hash::{DefaultHasher, Hasher};
use std::ops::{Index, IndexMut};

#[expect(clippy::disallowed_types, reason = "never iterated, and seeded by the configuration")]
use hashbrown::HashTable;

use super::slab::Slab;

/// What is found by a name. Two things of a register never have the same.
pub(crate) trait Named {
    fn name(&self) -> &[u8];
}

/// A slab and the one kind of hash table of the crate. It cannot be iterated by hash, so the order
/// of that shows nowhere; and it knows numbers only, so each name is stored once.
#[derive(Debug)]
pub(crate) struct Register<T> {
    slots: Slab<T>,
    #[expect(clippy::disallowed_types, reason = "as above")]
    numbers: HashTable<u32>,
    seed: u64,
}

/// SipHash behind a seed: who does not know the seed cannot make names that collide.
fn hash(seed: u64, name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(seed);
    hasher.write(name);
    hasher.finish()
}

impl<T: Named> Register<T> {
    pub(crate) fn new(seed: u64) -> Self {
        #[expect(clippy::disallowed_types, reason = "as above")]
        let numbers = HashTable::new();
        Register { slots: Slab::default(), numbers, seed }
    }

    /// The number of what has this name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<u32> {
        let is_it = |&ix: &u32| self.slots[ix].name() == name;
        self.numbers.find(hash(self.seed, name), is_it).copied()
    }

    /// Takes in something whose name is not here yet.
    pub(crate) fn insert(&mut self, item: T) -> u32 {
        let hash_of = |item: &T| hash(self.seed, item.name());
        let hash = hash_of(&item);
        let ix = self.slots.insert(item);
        self.numbers.insert_unique(hash, ix, |&ix| hash_of(&self.slots[ix]));
        ix
    }

    pub(crate) fn remove(&mut self, ix: u32) -> T {
        let item = self.slots.remove(ix);
        let found = self.numbers.find_entry(hash(self.seed, item.name()), |&other| other == ix);
        let Ok(found) = found else {
            unreachable!("what has a number was taken in with its name");
        };
        found.remove();
        item
    }

    pub(crate) fn get(&self, ix: u32) -> Option<&T> {
        self.slots.get(ix)
    }

    /// All numbers are below this.
    pub(crate) fn slots(&self) -> u32 {
        self.slots.slots()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// All, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.slots.iter()
    }
}

impl<T> Index<u32> for Register<T> {
    type Output = T;

    fn index(&self, ix: u32) -> &T {
        &self.slots[ix]
    }
}

impl<T> IndexMut<u32> for Register<T> {
    fn index_mut(&mut self, ix: u32) -> &mut T {
        &mut self.slots[ix]
    }
}
