//! The latest locks of all files, which are not in the trees of their files.

use super::tree::{Entry, LockEntry, Placed, Query, Tree};

/// How many of a mode they are at most: each search looks at all. With assertions they are fewer, so
/// that tests of few locks reach the trees.
const YOUNG_MAX: usize = if cfg!(debug_assertions) { 3 } else { 8 };

/// Locks of one mode with the numbers of their files, in the order of their coming. Most are given
/// up soon: so most never go to a tree, which costs more to change than to search.
#[derive(Debug, Default)]
pub(super) struct Young(Vec<(u32, LockEntry)>);

impl Young {
    /// Takes in a lock on a file; gives the one that has to go to its tree, where there is no room.
    pub(super) fn insert(&mut self, file: u32, entry: LockEntry) -> Option<(u32, LockEntry)> {
        let eldest = (self.0.len() == YOUNG_MAX).then(|| self.0.remove(0));
        self.0.push((file, entry));
        eldest
    }

    /// Takes a lock out, if it is here.
    pub(super) fn remove(&mut self, ix: u32) -> bool {
        let at = self.0.iter().rposition(|(_, entry)| entry.ix == ix);
        at.map(|at| self.0.remove(at)).is_some()
    }

    /// Puts a lock in the place of the one with its number, if that is here.
    pub(super) fn change(&mut self, to: LockEntry) -> bool {
        let young = self.0.iter_mut().find(|(_, entry)| entry.ix == to.ix);
        young.map(|(_, entry)| *entry = to).is_some()
    }

    /// The first behind a key that is on the file and that the query fits.
    fn next(&self, file: u32, query: &Query, behind: Option<u128>) -> Option<&LockEntry> {
        let there = self.0.iter().filter(|young| young.0 == file).map(|(_, entry)| entry);
        let fits = |entry: &&LockEntry| entry.first() <= query.range.last() && entry.fits(query);
        let left = there.filter(fits).filter(|entry| behind.is_none_or(|key| entry.key() > key));
        left.min_by_key(|entry| entry.key())
    }

    /// The first by position that the query fits and `accept` takes, of those on a file: here, and
    /// in its tree.
    pub(super) fn find(
        &self,
        file: u32,
        tree: &Tree<LockEntry>,
        query: &Query,
        accept: &mut impl FnMut(&LockEntry) -> bool,
    ) -> Option<u32> {
        let mut next = self.next(file, query, None);
        let mut young_until = |key, accept: &mut dyn FnMut(&LockEntry) -> bool| loop {
            let entry = next.filter(|entry| entry.key() < key)?;
            next = self.next(file, query, Some(entry.key()));
            if accept(entry) {
                return Some(entry.ix);
            }
        };
        let mut found = None;
        let old = tree.find(query, &mut |old| {
            found = young_until(old.key(), accept);
            found.is_some() || accept(old)
        });
        found.or(old).or_else(|| young_until(u128::MAX, accept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Range;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// Files and places where a lock is taken, made longer or given up, with a search after
        /// each that takes only some.
        #[test]
        fn the_latest_and_the_tree_are_searched_as_one(
            steps in prop::collection::vec((0u32..2, 0u64..60, 0u8..5, 0u64..300), 1..300),
        ) {
            let (mut young, mut trees) = (Young::default(), [Tree::default(), Tree::default()]);
            let mut live: Vec<(u32, LockEntry, Range)> = Vec::new();
            for (ix, (file, place, kind, first)) in (0u32..).zip(steps) {
                let entry = |ix, length| {
                    let range = Range::new(place * 4, length).unwrap();
                    (file, LockEntry::new(ix, range, ix % 3), range)
                };
                let there = live.iter().position(|(on, entry, _)| {
                    (*on, entry.first()) == (file, place * 4)
                });
                match there {
                    Some(at) if kind == 0 => {
                        let from = live[at].1;
                        live[at] = entry(from.ix, first + 1);
                        if !young.change(live[at].1) {
                            trees[file as usize].change(from, live[at].1);
                        }
                    }
                    Some(at) if kind < 3 => {
                        let gone = live.remove(at).1;
                        if !young.remove(gone.ix) {
                            trees[file as usize].remove(gone.key());
                        }
                    }
                    _ => {
                        live.push(entry(ix, u64::from(kind) + 1));
                        if let Some((file, old)) = young.insert(file, live[live.len() - 1].1) {
                            trees[file as usize].insert(old);
                        }
                    }
                }
                let range = Range::new(first, 40).unwrap();
                let query = Query { range, except: u32::from(kind) % 4, before: u64::MAX };
                let mut expected: Vec<&LockEntry> = live
                    .iter()
                    .filter(|(on, _, held)| *on == file && held.overlaps(range))
                    .map(|(_, entry, _)| entry)
                    .filter(|entry| entry.owner != query.except)
                    .collect();
                expected.sort_by_key(|entry| entry.key());
                let tree = &trees[file as usize];
                let mut seen = Vec::new();
                let all = young.find(file, tree, &query, &mut |entry| {
                    seen.push(entry.ix);
                    false
                });
                prop_assert_eq!(all, None);
                prop_assert!(seen.iter().copied().eq(expected.iter().map(|entry| entry.ix)));
                let odd = |entry: &LockEntry| entry.ix % 2 == 1;
                let found = young.find(file, tree, &query, &mut |entry| odd(entry));
                let first = expected.iter().find(|entry| odd(entry)).map(|entry| entry.ix);
                prop_assert_eq!(found, first);
            }
        }
    }
}
