//! B+trees: an owner's locks in order, and interval trees, which find the ranges that overlap this
//! one in logarithmic time, whatever overlaps whatever.
//!
//! Entries are in leaves of some dozen, so that a search at a random place of a large tree waits
//! for few cache lines; the nodes above know the smallest key and a sum of each child. That of an
//! interval tree, which is ordered by first byte, is the last byte any range in it reaches, the
//! smallest sequence number, and the owner if there is but one. A search that wants "overlapping,
//! of another owner, ahead of me" passes by every child that cannot hold one. An owner's own locks
//! never overlap each other, so at most one of them covers the start of a search: the owner's own
//! locks do not slow it down.

mod entry;
mod node;

use std::fmt::Debug;
use std::slice;

pub(crate) use entry::{LockEntry, OwnEntry, WaiterEntry};

use crate::types::Range;
use node::Node;

/// An owner number nobody has, for a search that leaves out nobody.
pub(crate) const NOBODY: u32 = u32::MAX - 1;

/// What a tree is made of.
pub(crate) trait Entry: Copy + Debug {
    /// What a node knows of each subtree.
    type Sum: Sum;

    /// Its place in the tree; no other entry has the same.
    fn key(&self) -> u128;

    /// The sum of a subtree with nothing in it but this.
    fn sum(&self) -> Self::Sum;
}

/// What a node knows of a subtree.
pub(crate) trait Sum: Copy + Debug + PartialEq {
    /// The sum of two subtrees together.
    fn and(self, other: Self) -> Self;

    /// Whether this is still the sum after `gone` left and the rest stayed. May say no where it is.
    fn stays(self, gone: Self, rest: impl Iterator<Item = Self>) -> bool;
}

/// An entry of an interval tree. The upper half of its key is its first byte.
pub(crate) trait Placed: Entry {
    /// What is found by it.
    fn ix(&self) -> u32;

    fn first(&self) -> u64;

    /// Whether the query finds it, if it does not start behind the range.
    fn fits(&self, query: &Query) -> bool;

    /// Whether the query may fit something in a subtree.
    fn may_fit(sum: &Self::Sum, query: &Query) -> bool;
}

/// What a search looks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    /// Overlapping this,
    pub(crate) range: Range,
    /// not of this owner,
    pub(crate) except: u32,
    /// and, of what stands in a queue, with a smaller sequence number than this.
    pub(crate) before: u64,
}

/// One tree. With one entry or none, it owns no memory elsewhere: most trees are of that kind.
#[derive(Debug, Default)]
pub(crate) enum Tree<E: Entry> {
    #[default]
    Empty,
    One(E),
    Many(Node<E>),
}

impl<E: Entry> Tree<E> {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Tree::Empty)
    }

    pub(crate) fn insert(&mut self, entry: E) {
        match self {
            Tree::Empty => *self = Tree::One(entry),
            Tree::One(other) => *self = Tree::Many(Node::of_two(*other, entry)),
            Tree::Many(root) => {
                if let Some(right) = root.insert(entry) {
                    let left = std::mem::take(root);
                    *root = Node::above(left, right);
                }
            }
        }
    }

    /// Takes out what has this key.
    pub(crate) fn remove(&mut self, key: u128) {
        match self {
            Tree::Empty => debug_assert!(false, "the entry is in this tree"),
            Tree::One(_) => *self = Tree::Empty,
            Tree::Many(root) => {
                root.remove(key);
                root.collapse();
                if root.is_empty() {
                    *self = Tree::Empty;
                }
            }
        }
    }

    /// Puts one entry in the place of another.
    pub(crate) fn change(&mut self, from: E, to: E) {
        if from.key() != to.key() {
            self.remove(from.key());
            return self.insert(to);
        }
        match self {
            Tree::Empty => debug_assert!(false, "the entry is in this tree"),
            Tree::One(entry) => *entry = to,
            Tree::Many(root) => root.replace(to),
        }
    }

    /// All in order, from the last one at or before a key on, or from the first one.
    pub(crate) fn from(&self, key: u128) -> Iter<'_, E> {
        let (leaf, behind) = self.leaf_of(key);
        let after = node::place_of(leaf, key.saturating_add(1));
        Iter { tree: self, leaf: leaf[after.saturating_sub(1)..].iter(), behind }
    }

    /// The entries of the leaf where a key belongs, and the smallest key behind that leaf.
    fn leaf_of(&self, key: u128) -> (&[E], Option<u128>) {
        match self {
            Tree::Empty => (&[], None),
            Tree::One(entry) => (slice::from_ref(entry), None),
            Tree::Many(root) => root.leaf_of(key),
        }
    }
}

impl<E: Placed> Tree<E> {
    /// The first entry by position that the query fits and `accept` takes.
    pub(crate) fn find(&self, query: &Query, accept: &mut impl FnMut(&E) -> bool) -> Option<u32> {
        match self {
            Tree::Empty => None,
            Tree::One(entry) => node::find_among(slice::from_ref(entry), query, accept),
            Tree::Many(root) => root.find(query, accept),
        }
    }
}

/// A walk in order.
#[derive(Debug)]
pub(crate) struct Iter<'a, E: Entry> {
    tree: &'a Tree<E>,
    leaf: slice::Iter<'a, E>,
    /// The smallest key behind the leaf.
    behind: Option<u128>,
}

impl<'a, E: Entry> Iterator for Iter<'a, E> {
    type Item = &'a E;

    fn next(&mut self) -> Option<&'a E> {
        loop {
            if let Some(entry) = self.leaf.next() {
                return Some(entry);
            }
            let (leaf, behind) = self.tree.leaf_of(self.behind?);
            (self.leaf, self.behind) = (leaf.iter(), behind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl<E: Entry> Tree<E> {
        fn check(&self) -> usize {
            match self {
                Tree::Empty => 0,
                Tree::One(_) => 1,
                Tree::Many(root) => {
                    assert!(!root.is_empty());
                    root.check()
                }
            }
        }

        fn leaves(&self) -> usize {
            match self {
                Tree::Empty | Tree::One(_) => 0,
                Tree::Many(root) => root.leaves(),
            }
        }
    }

    /// What a test knows of a waiting request.
    #[derive(Clone, Copy)]
    struct Asked {
        range: Range,
        owner: u32,
        seq: u32,
    }

    impl Asked {
        fn entry(self) -> WaiterEntry {
            WaiterEntry::new(self.seq, self.range, self.owner, self.seq.into())
        }
    }

    fn scan(live: &[Asked], query: &Query) -> Vec<u32> {
        let mut expected: Vec<&Asked> = live
            .iter()
            .filter(|asked| asked.range.overlaps(query.range) && asked.owner != query.except)
            .filter(|asked| u64::from(asked.seq) < query.before)
            .collect();
        expected.sort_by_key(|asked| (asked.range.first(), asked.seq));
        expected.iter().map(|asked| asked.seq).collect()
    }

    fn search<E: Placed>(tree: &Tree<E>, query: &Query) -> Vec<u32> {
        let mut found = Vec::new();
        tree.find(query, &mut |entry| {
            found.push(entry.ix());
            false
        });
        found
    }

    /// What a tree is told to do.
    #[derive(Clone, Debug)]
    struct Step {
        first: u64,
        length: u64,
        owner: u32,
        remove: bool,
    }

    fn step(places: u64, removals: u32) -> impl Strategy<Value = Step> {
        let remove = (0..10u32).prop_map(move |chance| chance < removals);
        (0..places, 1u64..20, 0u32..3, remove).prop_map(|(first, length, owner, remove)| Step {
            first,
            length,
            owner,
            remove,
        })
    }

    /// Few places and many, a tree that grows and one that shrinks after.
    fn steps() -> impl Strategy<Value = Vec<Step>> {
        (prop_oneof![Just(8u64), Just(64), Just(4_096)], 1usize..900).prop_flat_map(
            |(places, most)| {
                let grow = prop::collection::vec(step(places, 2), 1..=most);
                let shrink = prop::collection::vec(step(places, 8), 0..=most);
                (grow, shrink).prop_map(|(grow, shrink)| [grow, shrink].concat())
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 512,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn finds_what_a_scan_finds(steps in steps()) {
            let mut tree = Tree::default();
            let mut live: Vec<Asked> = Vec::new();
            for (number, step) in (0u32..).zip(&steps) {
                let Step { first, length, owner, remove } = *step;
                if remove && !live.is_empty() {
                    let at = usize::try_from(first * 7).unwrap() % live.len();
                    tree.remove(live.swap_remove(at).entry().key());
                } else {
                    let range = Range::new(first, length).unwrap();
                    let asked = Asked { range, owner, seq: number };
                    tree.insert(asked.entry());
                    live.push(asked);
                }
                if let Some(asked) = live.first_mut() {
                    let from = asked.entry();
                    asked.range = Range::new(asked.range.first() + length % 2, length).unwrap();
                    tree.change(from, asked.entry());
                }
                prop_assert_eq!(tree.check(), live.len());
                let range = Range::new(length * 3, 4).unwrap();
                let query = Query { range, except: owner, before: u64::from(number) / 2 + first };
                let expected = scan(&live, &query);
                prop_assert_eq!(
                    tree.find(&query, &mut |_| true),
                    expected.first().copied()
                );
                prop_assert_eq!(search(&tree, &query), expected);
            }
        }
    }

    /// An owner's `n`-th lock.
    fn own(n: u64) -> OwnEntry {
        OwnEntry::new(u32::try_from(n).unwrap(), Range::new(n * 10, 5).unwrap(), 3)
    }

    #[test]
    fn a_tree_filled_in_order_has_full_leaves_and_an_emptied_one_has_none() {
        for ascending in [true, false] {
            let mut tree = Tree::default();
            let order = |n: u64| if ascending { n } else { 9_999 - n };
            for n in 0..10_000 {
                tree.insert(own(order(n)));
            }
            assert_eq!(tree.check(), 10_000);
            assert!(tree.leaves() <= 10_000 / node::LEAF_MAX + 2, "{}", tree.leaves());
            for n in 0..10_000 {
                tree.remove(own(n * 7 % 10_000).key());
            }
            assert!(matches!(tree, Tree::Empty));
        }
    }

    #[test]
    fn what_thins_out_is_joined() {
        let mut tree = Tree::default();
        for n in 0..10_000 {
            tree.insert(own(n));
        }
        for n in (0..10_000).filter(|n| n % 20 != 0) {
            tree.remove(own(n).key());
        }
        assert_eq!(tree.check(), 500);
        assert!(tree.leaves() <= 4 * 500 / node::LEAF_MAX + 1, "{}", tree.leaves());
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 256,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn a_walk_in_order_starts_at_or_before_its_key(
            places in prop::collection::btree_set(0u64..3_000, 0..1_500),
            first in 0u64..31_000,
        ) {
            let mut tree = Tree::default();
            // In an order that is neither that of the places nor its reverse.
            for rest in 0..2 {
                for &place in places.iter().filter(|&place| place % 2 == rest) {
                    tree.insert(own(place));
                }
            }
            let before = places.iter().rfind(|&&place| place * 10 <= first);
            let expected = places.range(before.copied().unwrap_or(0)..);
            let found = |key| tree.from(key).map(|own| u64::from(own.ix));
            prop_assert!(found(OwnEntry::key_at(3, first)).eq(expected.copied()));
            prop_assert!(found(OwnEntry::key_at(4, 0)).eq(places.last().copied()));
        }
    }
}
