//! What each owner holds, by file and place: an owner's pieces never overlap.

use std::iter;

use super::tree::{Entry, OwnEntry, Tree};
use crate::types::Range;

/// How many of an owner's latest pieces stand outside its tree.
const YOUNG_MAX: usize = 16;
/// For how many of them memory is taken at a time, after the first: most owners hold one or few.
const YOUNG_GROWTH: usize = 4;

/// One owner's pieces.
#[derive(Debug, Default)]
struct Own {
    /// The latest, in the order of their coming. Most locks are given up soon, and a large tree is
    /// out of the caches: so most never go there.
    young: Vec<OwnEntry>,
    old: Option<Box<Tree<OwnEntry>>>,
}

static NONE_OLD: Tree<OwnEntry> = Tree::Empty;

impl Own {
    fn old(&self) -> &Tree<OwnEntry> {
        self.old.as_deref().unwrap_or(&NONE_OLD)
    }

    fn old_mut(&mut self) -> &mut Tree<OwnEntry> {
        self.old.get_or_insert_default()
    }

    fn insert(&mut self, entry: OwnEntry) {
        if self.young.len() == YOUNG_MAX {
            let eldest = self.young.remove(0);
            self.old_mut().insert(eldest);
        }
        if self.young.len() == self.young.capacity() {
            self.young.reserve_exact(if self.young.is_empty() { 1 } else { YOUNG_GROWTH });
        }
        self.young.push(entry);
    }

    fn remove(&mut self, entry: OwnEntry) {
        match self.young.iter().rposition(|young| young.ix == entry.ix) {
            Some(at) => _ = self.young.remove(at),
            None => self.old_mut().remove(entry.key()),
        }
    }

    fn change(&mut self, from: OwnEntry, to: OwnEntry) {
        match self.young.iter_mut().find(|young| young.ix == from.ix) {
            Some(young) => *young = to,
            None => self.old_mut().change(from, to),
        }
    }

    /// The numbers of all that fit, ascending. Those in the tree are `old`.
    fn with<'a>(
        &'a self,
        old: impl Iterator<Item = &'a OwnEntry>,
        fits: impl Fn(&OwnEntry) -> bool,
    ) -> impl Iterator<Item = u32> {
        let mut young: Vec<&OwnEntry> = self.young.iter().filter(|own| fits(own)).collect();
        young.sort_unstable_by_key(|own| own.key());
        let (mut young, mut old) = (young.into_iter().peekable(), old.peekable());
        iter::from_fn(move || {
            let next = match (young.peek(), old.peek()) {
                (Some(one), Some(other)) if one.key() > other.key() => old.next(),
                (None, _) => old.next(),
                _ => young.next(),
            };
            next.map(|own| own.ix)
        })
    }
}

/// All owners' pieces.
#[derive(Debug, Default)]
pub(super) struct Owns(Vec<Own>);

/// What an owner has that never held anything.
static NOTHING: Own = Own { young: Vec::new(), old: None };

impl Owns {
    fn of(&self, owner: u32) -> &Own {
        self.0.get(owner as usize).unwrap_or(&NOTHING)
    }

    pub(super) fn insert(&mut self, owner: u32, entry: OwnEntry) {
        let owner = owner as usize;
        if self.0.len() <= owner {
            self.0.resize_with(owner + 1, Own::default);
        }
        self.0[owner].insert(entry);
    }

    pub(super) fn remove(&mut self, owner: u32, entry: OwnEntry) {
        self.0[owner as usize].remove(entry);
    }

    pub(super) fn change(&mut self, owner: u32, from: OwnEntry, to: OwnEntry) {
        self.0[owner as usize].change(from, to);
    }

    /// Those on the file that overlap the range, ascending.
    pub(super) fn on_range(
        &self,
        owner: u32,
        file: u32,
        range: Range,
    ) -> impl Iterator<Item = u32> {
        let before =
            move |own: &OwnEntry| own.file < file || own.file == file && own.last < range.first();
        let until = move |own: &OwnEntry| own.file == file && own.first <= range.last();
        let own = self.of(owner);
        let old = own.old().from(OwnEntry::key_at(file, range.first()));
        let old = old.skip_while(move |own| before(own)).take_while(move |own| until(own));
        own.with(old, move |own| !before(own) && until(own))
    }

    /// All, by file and place.
    pub(super) fn all(&self, owner: u32) -> impl Iterator<Item = u32> {
        let own = self.of(owner);
        own.with(own.old().from(0), |_| true)
    }

    /// The first file from number `from` on where the owner holds anything, with the smallest range
    /// that holds all of it.
    pub(super) fn hull(&self, owner: u32, from: u32) -> Option<(u32, Range)> {
        let own = self.of(owner);
        let leftmost = own.old().from(OwnEntry::key_at(from, 0)).find(|own| own.file >= from);
        let young = own.young.iter().filter(|own| own.file >= from);
        let file = young.chain(leftmost).map(|own| own.file).min()?;
        let rightmost = own.old().from(OwnEntry::key_at(file, u64::MAX)).next();
        let young = own.young.iter().filter(|own| own.file == file);
        let old = leftmost.into_iter().chain(rightmost).filter(|own| own.file == file);
        let ends = young.chain(old).map(|own| (own.first, own.last));
        let (first, last) = ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
        Some((file, Range::between(first, last)?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// Owners, files and places where a lock is taken, or made longer, or given up.
        #[test]
        fn an_owner_has_what_it_was_given(
            steps in prop::collection::vec((0u32..2, 0u32..3, 0u64..60, 0u8..4), 1..300),
            (first, length) in (0u64..600, 1u64..200),
        ) {
            let (mut owns, mut naive) = (Owns::default(), BTreeMap::new());
            for (ix, (owner, file, place, kind)) in (0u32..).zip(steps) {
                let range = |length| Range::new(place * 10, length).unwrap();
                match naive.get(&(owner, file, place)).copied() {
                    None => {
                        owns.insert(owner, OwnEntry::new(ix, range(5), file));
                        naive.insert((owner, file, place), (ix, range(5)));
                    }
                    Some((ix, old)) if kind == 0 => {
                        let entry = |range| OwnEntry::new(ix, range, file);
                        owns.change(owner, entry(old), entry(range(9)));
                        naive.insert((owner, file, place), (ix, range(9)));
                    }
                    Some((ix, old)) => {
                        owns.remove(owner, OwnEntry::new(ix, old, file));
                        naive.remove(&(owner, file, place));
                    }
                }
            }
            let range = Range::new(first, length).unwrap();
            for owner in 0..3 {
                let all = naive.range((owner, 0, 0)..(owner + 1, 0, 0));
                let expected: Vec<u32> = all.map(|(_, &(ix, _))| ix).collect();
                prop_assert_eq!(owns.all(owner).collect::<Vec<_>>(), expected);
                for file in 0..4 {
                    let on_file = || naive.range((owner, file, 0)..(owner, file + 1, 0));
                    let there = on_file().filter(|(_, (_, held))| held.overlaps(range));
                    let expected: Vec<u32> = there.map(|(_, &(ix, _))| ix).collect();
                    let found: Vec<u32> = owns.on_range(owner, file, range).collect();
                    prop_assert_eq!(found, expected);
                    let hull = on_file().map(|(_, &(_, held))| held).reduce(Range::hull);
                    let found = owns.hull(owner, file).filter(|&(found, _)| found == file);
                    prop_assert_eq!(found.map(|(_, hull)| hull), hull);
                }
            }
        }
    }
}
