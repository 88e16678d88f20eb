//! Things in a vector under small numbers that stay theirs until they are removed.

use std::ops::{Index, IndexMut};

/// A vector with holes; the last hole is filled first, so the numbers depend on nothing but the
/// order of calls.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    items: Vec<Option<T>>,
    holes: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { items: Vec::new(), holes: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, item: T) -> u32 {
        if let Some(ix) = self.holes.pop() {
            self.items[ix as usize] = Some(item);
            return ix;
        }
        // The configured limits are far below: 10,000,000 locks by default.
        let ix = u32::try_from(self.items.len()).expect("fewer than 2^32 things are held");
        self.items.push(Some(item));
        ix
    }

    pub(crate) fn remove(&mut self, ix: u32) -> T {
        let item = self.items[ix as usize].take().expect("removed once, by the number it has");
        self.holes.push(ix);
        item
    }

    pub(crate) fn get(&self, ix: u32) -> Option<&T> {
        self.items.get(ix as usize)?.as_ref()
    }

    /// How many numbers were given out at a time, those of holes included.
    pub(crate) fn slots(&self) -> u32 {
        u32::try_from(self.items.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len() - self.holes.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0u32..).zip(&self.items).filter_map(|(ix, item)| Some((ix, item.as_ref()?)))
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, ix: u32) -> &T {
        self.items[ix as usize].as_ref().expect("numbers of removed things are not kept")
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, ix: u32) -> &mut T {
        self.items[ix as usize].as_mut().expect("numbers of removed things are not kept")
    }
}
