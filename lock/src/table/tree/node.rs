//! Nodes of an interval tree: how they grow, split, join, and are searched.

use std::slice;

use super::{Entry, MIXED, Query, UNQUEUED};
use crate::types::Range;

/// Entries of a leaf. More of them make insertion slower (half of them move), fewer make the
/// levels above larger, which then leave the caches.
pub(super) const LEAF_MAX: usize = 32;
/// Children of a node that is no leaf. While it is split it has one more.
const INNER_MAX: usize = 31;

type Key = (u64, u64);

/// Neighbours under one parent have, together, more than half of what one may have: a node that
/// shrinks below that is joined to its neighbour, and then has room before it must split again.
#[derive(Debug)]
pub(crate) enum Node {
    /// Entries, ascending.
    Leaf(Vec<Entry>),
    /// Subtrees, ascending, each as deep as the others and none empty.
    Inner(Vec<Child>),
}

/// A subtree, and what its parent knows of it.
#[derive(Debug)]
pub(crate) struct Child {
    /// The smallest key in it.
    low: Key,
    sum: Sum,
    node: Node,
}

/// What a search needs to know of a subtree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sum {
    max_last: u64,
    min_seq: u64,
    sole: u32,
}

impl Default for Node {
    fn default() -> Self {
        Node::Leaf(Vec::new())
    }
}

impl Sum {
    /// The sum of a subtree with nothing in it but the entry.
    fn of(entry: &Entry) -> Sum {
        let min_seq = if entry.seq < UNQUEUED { entry.seq } else { 0 };
        Sum { max_last: entry.last, min_seq, sole: entry.owner }
    }

    fn and(self, other: Sum) -> Sum {
        Sum {
            max_last: self.max_last.max(other.max_last),
            min_seq: self.min_seq.min(other.min_seq),
            sole: if self.sole == other.sole { self.sole } else { MIXED },
        }
    }

    /// Whether the query may fit something below.
    fn may_fit(&self, query: &Query) -> bool {
        self.max_last >= query.range.first()
            && self.sole != query.except
            && self.min_seq < query.before
    }
}

impl Child {
    fn new(node: Node) -> Child {
        Child { low: node.low(), sum: node.sum(), node }
    }

    /// After `gone` left the subtree, which is not empty.
    fn forget(&mut self, gone: &Entry) {
        // Where it made no difference, nothing below need be read, but for another owner.
        if self.low == gone.key() {
            self.low = self.node.low();
        }
        let one_owner = self.sum.sole != MIXED || self.node.is_mixed();
        if self.sum.max_last == gone.last || self.sum.min_seq == gone.seq || !one_owner {
            self.sum = self.node.sum();
        }
    }
}

/// Where a full node is cut to let something in at `at`: in its middle, but at an end where it grows
/// there, so that what is filled in order has full nodes.
fn cut_for(at: usize, len: usize) -> usize {
    match at {
        0 => 0,
        _ if at == len => len,
        _ => len / 2,
    }
}

/// Inserts at `at`; gives what had to be cut off behind, where there was no room.
fn insert_entry(entries: &mut Vec<Entry>, at: usize, entry: Entry) -> Option<Vec<Entry>> {
    if entries.len() < LEAF_MAX {
        entries.insert(at, entry);
        return None;
    }
    let cut = cut_for(at, entries.len());
    let mut behind = entries.split_off(cut);
    if at < cut || cut == 0 {
        entries.insert(at, entry);
    } else {
        behind.insert(at - cut, entry);
    }
    Some(behind)
}

/// Inserts the right half of the child at `at`, which was split; gives what had to be cut off behind,
/// where there was no room.
fn insert_child(children: &mut Vec<Child>, at: usize, right: Node) -> Option<Vec<Child>> {
    children[at].sum = children[at].node.sum();
    children.insert(at + 1, Child::new(right));
    // A half that is but one entry goes to its neighbour, where there is room.
    join(children, at + 1);
    join(children, at);
    let cut = cut_for(at, INNER_MAX - 1) + 1;
    (children.len() > INNER_MAX).then(|| children.split_off(cut))
}

impl Node {
    pub(super) fn of_two(one: Entry, other: Entry) -> Node {
        let mut entries = vec![one, other];
        entries.sort_unstable_by_key(Entry::key);
        Node::Leaf(entries)
    }

    /// A node over two that one was split into.
    pub(super) fn above(left: Node, right: Node) -> Node {
        Node::Inner(vec![Child::new(left), Child::new(right)])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The smallest range that holds all that is below.
    pub(super) fn hull(&self) -> Option<Range> {
        let mut leftmost = self;
        while let Node::Inner(children) = leftmost {
            leftmost = &children[0].node;
        }
        Range::between(leftmost.low().0, self.sum().max_last)
    }

    fn len(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Inner(children) => children.len(),
        }
    }

    /// The smallest key below. Not to be asked of an empty leaf.
    fn low(&self) -> Key {
        match self {
            Node::Leaf(entries) => entries[0].key(),
            Node::Inner(children) => children[0].low,
        }
    }

    /// Not to be asked of an empty leaf.
    fn sum(&self) -> Sum {
        match self {
            Node::Leaf(entries) => {
                entries[1..].iter().map(Sum::of).fold(Sum::of(&entries[0]), Sum::and)
            }
            Node::Inner(children) => {
                children[1..].iter().map(|child| child.sum).fold(children[0].sum, Sum::and)
            }
        }
    }

    /// Whether several owners have something below; read no further than needed.
    fn is_mixed(&self) -> bool {
        match self {
            Node::Leaf(entries) => entries.iter().any(|entry| entry.owner != entries[0].owner),
            Node::Inner(children) => {
                let first = children[0].sum.sole;
                first == MIXED || children.iter().any(|child| child.sum.sole != first)
            }
        }
    }

    /// Gives the right half, where the node had to be split.
    pub(super) fn insert(&mut self, entry: Entry) -> Option<Node> {
        let key = entry.key();
        let children = match self {
            Node::Leaf(entries) => {
                let at = place_of(entries, key);
                return insert_entry(entries, at, entry).map(Node::Leaf);
            }
            Node::Inner(children) => children,
        };
        let at = child_of(children, key);
        let child = &mut children[at];
        child.low = child.low.min(key);
        let Some(right) = child.node.insert(entry) else {
            child.sum = child.sum.and(Sum::of(&entry));
            return None;
        };
        insert_child(children, at, right).map(Node::Inner)
    }

    /// Takes out the entry with the key, which is there.
    pub(super) fn remove(&mut self, key: Key) -> Entry {
        let children = match self {
            Node::Leaf(entries) => {
                let at = place_of(entries, key);
                debug_assert_eq!(entries[at].key(), key, "the entry is in this tree");
                return entries.remove(at);
            }
            Node::Inner(children) => children,
        };
        let at = child_of(children, key);
        let gone = children[at].node.remove(key);
        if children[at].node.is_empty() {
            children.remove(at);
        } else {
            children[at].forget(&gone);
            join(children, at);
        }
        gone
    }

    /// As a root: gives up levels that are not needed any more.
    pub(super) fn collapse(&mut self) {
        while let Node::Inner(children) = self
            && children.len() < 2
        {
            *self = children.pop().map_or_else(Node::default, |child| child.node);
        }
    }

    pub(super) fn set_last(&mut self, key: Key, last: u64) {
        match self {
            Node::Leaf(entries) => {
                if let Some(entry) = entries.iter_mut().find(|entry| entry.key() == key) {
                    entry.last = last;
                }
            }
            Node::Inner(children) => {
                let at = child_of(children, key);
                let child = &mut children[at];
                child.node.set_last(key, last);
                child.sum = child.node.sum();
            }
        }
    }

    /// All from the last one on that starts at or before a byte, or from some before that.
    pub(super) fn disjoint_from(&self, first: u64) -> Iter<'_> {
        let mut above = Vec::new();
        let mut node = self;
        loop {
            match node {
                Node::Leaf(entries) => return Iter { leaf: entries.iter(), above },
                Node::Inner(children) => {
                    let at = child_of(children, (first, u64::MAX));
                    above.push(children[at + 1..].iter());
                    node = &children[at].node;
                }
            }
        }
    }

    pub(super) fn find(&self, query: &Query, accept: &mut impl FnMut(u32) -> bool) -> Option<u32> {
        match self {
            Node::Leaf(entries) => find_among(entries, query, accept),
            Node::Inner(children) => children
                .iter()
                .take_while(|child| child.low.0 <= query.range.last())
                .filter(|child| child.sum.may_fit(query))
                .find_map(|child| child.node.find(query, accept)),
        }
    }
}

/// What a walk in order has before it.
#[derive(Default)]
pub(super) struct Iter<'a> {
    leaf: slice::Iter<'a, Entry>,
    above: Vec<slice::Iter<'a, Child>>,
}

impl<'a> Iter<'a> {
    pub(super) fn of(entries: &'a [Entry]) -> Self {
        Iter { leaf: entries.iter(), above: Vec::new() }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Entry;

    fn next(&mut self) -> Option<&'a Entry> {
        loop {
            if let Some(entry) = self.leaf.next() {
                return Some(entry);
            }
            match self.above.last_mut()?.next() {
                None => _ = self.above.pop(),
                Some(Child { node: Node::Leaf(entries), .. }) => self.leaf = entries.iter(),
                Some(Child { node: Node::Inner(children), .. }) => self.above.push(children.iter()),
            }
        }
    }
}

/// The first of the entries that the query fits and `accept` takes.
pub(super) fn find_among(
    entries: &[Entry],
    query: &Query,
    accept: &mut impl FnMut(u32) -> bool,
) -> Option<u32> {
    let (first, last) = (query.range.first(), query.range.last());
    let fits = |entry: &&Entry| {
        entry.last >= first && entry.owner != query.except && entry.seq < query.before
    };
    let mut before_end = entries.iter().take_while(|entry| entry.first <= last);
    before_end.find(|entry| fits(entry) && accept(entry.ix)).map(|entry| entry.ix)
}

/// How many entries are before a key. All are read and none decides what is read next, so that a
/// leaf out of the caches is fetched at once.
fn place_of(entries: &[Entry], key: Key) -> usize {
    let is_before =
        |entry: &Entry| (entry.first < key.0) | ((entry.first == key.0) & (entry.seq < key.1));
    entries.iter().map(|entry| usize::from(is_before(entry))).sum()
}

/// Where a key belongs, or is.
fn child_of(children: &[Child], key: Key) -> usize {
    children.partition_point(|child| child.low <= key).saturating_sub(1)
}

/// Joins a child that shrank with a neighbour, where both are small.
fn join(children: &mut Vec<Child>, at: usize) {
    for left in [at.checked_sub(1), Some(at)].into_iter().flatten() {
        let Some(right) = children.get(left + 1) else {
            continue;
        };
        let together = children[left].node.len() + right.node.len();
        let max = if matches!(right.node, Node::Leaf(_)) { LEAF_MAX } else { INNER_MAX };
        if together > max / 2 {
            continue;
        }
        let Child { sum, node, .. } = children.remove(left + 1);
        let into = &mut children[left];
        into.sum = into.sum.and(sum);
        match (&mut into.node, node) {
            (Node::Leaf(entries), Node::Leaf(more)) => entries.extend(more),
            (Node::Inner(nodes), Node::Inner(more)) => {
                let seam = nodes.len() - 1;
                nodes.extend(more);
                // Two that were no neighbours before.
                join(nodes, seam);
            }
            _ => unreachable!("children of one node are equally deep"),
        }
        return;
    }
}

#[cfg(test)]
impl Node {
    /// Checks whatever holds of every node; gives the number of entries.
    pub(super) fn check(&self) -> usize {
        match self {
            Node::Leaf(entries) => {
                assert!(entries.len() <= LEAF_MAX);
                assert!(entries.is_sorted_by(|a, b| a.key() < b.key()));
                entries.len()
            }
            Node::Inner(children) => {
                assert!((1..=INNER_MAX).contains(&children.len()));
                for child in children {
                    assert!(!child.node.is_empty(), "an empty child");
                    assert_eq!(child.sum, child.node.sum());
                    assert_eq!(child.low, child.node.low());
                }
                for pair in children.windows(2) {
                    assert!(pair[0].node.high() < pair[1].low);
                    let leaves = matches!(pair[0].node, Node::Leaf(_));
                    let max = if leaves { LEAF_MAX } else { INNER_MAX };
                    assert!(pair[0].node.len() + pair[1].node.len() > max / 2);
                    assert_eq!(pair[0].node.depth(), pair[1].node.depth());
                }
                children.iter().map(|child| child.node.check()).sum()
            }
        }
    }

    pub(super) fn leaves(&self) -> usize {
        match self {
            Node::Leaf(_) => 1,
            Node::Inner(children) => children.iter().map(|child| child.node.leaves()).sum(),
        }
    }

    fn high(&self) -> Key {
        match self {
            Node::Leaf(entries) => entries[entries.len() - 1].key(),
            Node::Inner(children) => children[children.len() - 1].node.high(),
        }
    }

    fn depth(&self) -> usize {
        match self {
            Node::Leaf(_) => 1,
            Node::Inner(children) => 1 + children[0].node.depth(),
        }
    }
}
