//! Interval trees: which ranges overlap this one, in logarithmic time, whatever overlaps whatever.
//!
//! A B+tree by first byte. Its entries are in leaves of some dozen, so that a search at a random
//! place of a large tree waits for few cache lines; the nodes above know three things of each child:
//! the last byte any range in it reaches, the smallest sequence number, and the owner if there is
//! but one. A search that wants "overlapping, of another owner, ahead of me" passes by every
//! child that cannot hold one. An owner's own locks never overlap each other, so at most
//! one of them covers the start of a search: the owner's own locks do not slow it down.

mod node;

use crate::types::Range;
use node::Node;

/// Set in the sequence numbers of what stands in no queue.
const UNQUEUED: u64 = 1 << 63;
/// Not one owner but several.
const MIXED: u32 = u32::MAX;
/// An owner number nobody has, for a search that leaves out nobody.
pub(crate) const NOBODY: u32 = u32::MAX - 1;

/// A range in a tree, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    first: u64,
    last: u64,
    /// Orders what starts at the same byte. Unique within a tree among those.
    seq: u64,
    owner: u32,
    ix: u32,
}

/// What a search looks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    /// Overlapping this,
    pub(crate) range: Range,
    /// not of this owner,
    pub(crate) except: u32,
    /// and with a smaller sequence number than this.
    pub(crate) before: u64,
}

/// One tree. With one entry or none, it owns no memory elsewhere: most trees are of that kind.
#[derive(Debug, Default)]
pub(crate) enum Tree {
    #[default]
    Empty,
    One(Entry),
    Many(Node),
}

impl Entry {
    /// The thing with number `ix`; `seq` must be unique within the tree among equal first bytes.
    pub(crate) fn new(ix: u32, range: Range, owner: u32, seq: u64) -> Entry {
        Entry { first: range.first(), last: range.last(), seq, owner, ix }
    }

    /// As [`Entry::new`] with `ix` for a sequence number, in trees that nobody asks for what is
    /// before a number: so they need not keep track of the smallest.
    pub(crate) fn unqueued(ix: u32, range: Range, owner: u32) -> Entry {
        Entry::new(ix, range, owner, unqueued_seq(ix))
    }

    fn key(&self) -> (u64, u64) {
        (self.first, self.seq)
    }
}

/// The sequence number of an unqueued entry.
pub(crate) fn unqueued_seq(ix: u32) -> u64 {
    UNQUEUED | u64::from(ix)
}

impl Tree {
    pub(crate) fn insert(&mut self, entry: Entry) {
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

    /// Takes out what was inserted with this range and sequence number.
    pub(crate) fn remove(&mut self, range: Range, seq: u64) {
        match self {
            Tree::Empty => debug_assert!(false, "the entry is in this tree"),
            Tree::One(_) => *self = Tree::Empty,
            Tree::Many(root) => {
                root.remove((range.first(), seq));
                root.collapse();
                if root.is_empty() {
                    *self = Tree::Empty;
                }
            }
        }
    }

    /// Moves the end of a range; where it starts, and so its place, stays.
    pub(crate) fn set_last(&mut self, range: Range, seq: u64, last: u64) {
        match self {
            Tree::Empty => debug_assert!(false, "the entry is in this tree"),
            Tree::One(entry) => entry.last = last,
            Tree::Many(root) => root.set_last((range.first(), seq), last),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Tree::Empty)
    }

    /// The smallest range that holds all.
    pub(crate) fn hull(&self) -> Option<Range> {
        match self {
            Tree::Empty => None,
            Tree::One(entry) => Range::between(entry.first, entry.last),
            Tree::Many(root) => root.hull(),
        }
    }

    /// The first entry by position that the query fits and `accept` takes.
    pub(crate) fn find(&self, query: &Query, accept: &mut impl FnMut(u32) -> bool) -> Option<u32> {
        match self {
            Tree::Empty => None,
            Tree::One(entry) => node::find_among(std::slice::from_ref(entry), query, accept),
            Tree::Many(root) => root.find(query, accept),
        }
    }

    /// Everything that overlaps the range, ascending, in a tree where nothing overlaps anything
    /// else.
    pub(crate) fn disjoint(&self, range: Range) -> impl Iterator<Item = u32> {
        let from = match self {
            Tree::Empty => node::Iter::default(),
            Tree::One(entry) => node::Iter::of(std::slice::from_ref(entry)),
            Tree::Many(root) => root.disjoint_from(range.first()),
        };
        from.skip_while(move |entry| entry.last < range.first())
            .take_while(move |entry| entry.first <= range.last())
            .map(|entry| entry.ix)
    }

    /// Calls `visit` for everything that overlaps the range, by position.
    pub(crate) fn each(&self, range: Range, visit: &mut impl FnMut(u32)) {
        let query = Query { range, except: NOBODY, before: u64::MAX };
        self.find(&query, &mut |ix| {
            visit(ix);
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Tree {
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

    fn scan(live: &[Entry], query: &Query) -> Vec<u32> {
        let mut expected: Vec<&Entry> = live
            .iter()
            .filter(|entry| entry.first <= query.range.last() && entry.last >= query.range.first())
            .filter(|entry| entry.owner != query.except && entry.seq < query.before)
            .collect();
        expected.sort_by_key(|entry| entry.key());
        expected.iter().map(|entry| entry.ix).collect()
    }

    fn search(tree: &Tree, query: &Query) -> Vec<u32> {
        let mut found = Vec::new();
        tree.find(query, &mut |ix| {
            found.push(ix);
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
            let mut live: Vec<Entry> = Vec::new();
            for (number, step) in (0u32..).zip(&steps) {
                let Step { first, length, owner, remove } = *step;
                if remove && !live.is_empty() {
                    let at = usize::try_from(first * 7).unwrap() % live.len();
                    let gone = live.swap_remove(at);
                    tree.remove(Range::between(gone.first, gone.last).unwrap(), gone.seq);
                } else {
                    let range = Range::new(first, length).unwrap();
                    let entry = Entry::new(number, range, owner, u64::from(number));
                    tree.insert(entry);
                    live.push(entry);
                }
                if let Some(entry) = live.first_mut() {
                    let range = Range::between(entry.first, entry.last).unwrap();
                    entry.last = entry.first + length;
                    tree.set_last(range, entry.seq, entry.last);
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

    #[test]
    fn a_tree_filled_in_order_has_full_leaves_and_an_emptied_one_has_none() {
        for ascending in [true, false] {
            let mut tree = Tree::default();
            let range = |n: u64| Range::new(n * 10, 5).unwrap();
            let order = |n: u64| if ascending { n } else { 9_999 - n };
            for n in 0..10_000 {
                tree.insert(Entry::new(0, range(order(n)), 1, 0));
            }
            assert_eq!(tree.check(), 10_000);
            assert!(tree.leaves() <= 10_000 / node::LEAF_MAX + 2, "{}", tree.leaves());
            for n in 0..10_000 {
                tree.remove(range(n * 7 % 10_000), 0);
            }
            assert!(tree.is_empty());
        }
    }

    #[test]
    fn what_thins_out_is_joined() {
        let mut tree = Tree::default();
        let range = |n: u64| Range::new(n * 10, 5).unwrap();
        for n in 0..10_000 {
            tree.insert(Entry::new(0, range(n), 1, 0));
        }
        for n in (0..10_000).filter(|n| n % 20 != 0) {
            tree.remove(range(n), 0);
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
        fn what_is_disjoint_is_found_in_order(
            places in prop::collection::btree_set(0u64..3_000, 0..1_500),
            first in 0u64..31_000,
            length in 0u64..3_000,
        ) {
            let mut tree = Tree::default();
            let of_place = |place: u64| Range::new(place * 10 + 2, 1 + place % 8).unwrap();
            for &place in places.iter().filter(|&place| place % 2 == 0).chain(places.iter().filter(|&place| place % 2 == 1)) {
                // In an order that is neither that of the places nor its reverse.
                let place = 3_000 - place;
                tree.insert(Entry::new(u32::try_from(place).unwrap(), of_place(place), 1, 0));
            }
            let range = Range::new(first, length).unwrap();
            let mut all: Vec<u64> = places.iter().map(|place| 3_000 - place).collect();
            all.sort_unstable();
            let hull = all.first().zip(all.last());
            let hull = hull.map(|(&first, &last)| of_place(first).hull(of_place(last)));
            prop_assert_eq!(tree.hull(), hull);
            let fits = |&&place: &&u64| of_place(place).overlaps(range);
            let expected: Vec<u64> = all.iter().filter(fits).copied().collect();
            let found: Vec<u64> = tree.disjoint(range).map(u64::from).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
