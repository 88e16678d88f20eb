//! Nodes of a B+tree: how they grow, split, join, and are searched.

use super::{Entry, Placed, Query, Sum};

/// Entries of a leaf. More of them make insertion slower (half of them move), fewer make the
/// levels above larger, which then leave the caches.
pub(super) const LEAF_MAX: usize = 32;
/// Children of a node that is no leaf. While it is split it has one more.
const INNER_MAX: usize = 31;
/// For how many entries a leaf gets memory at a time: most leaves of small trees never fill.
const LEAF_GROWTH: usize = 4;

/// Neighbours under one parent have, together, more than half of what one may have: a node that
/// shrinks below that is joined to its neighbour, and then has room before it must split again.
#[derive(Debug)]
pub(crate) enum Node<E: Entry> {
    /// Entries, ascending.
    Leaf(Vec<E>),
    /// Subtrees, ascending, each as deep as the others and none empty.
    Inner(Vec<Child<E>>),
}

/// A subtree, and what its parent knows of it.
#[derive(Debug)]
pub(crate) struct Child<E: Entry> {
    /// The smallest key in it.
    low: u128,
    sum: E::Sum,
    node: Node<E>,
}

impl<E: Entry> Default for Node<E> {
    fn default() -> Self {
        Node::Leaf(Vec::new())
    }
}

impl<E: Entry> Child<E> {
    fn new(node: Node<E>) -> Self {
        Child { low: node.low(), sum: node.sum(), node }
    }

    /// After `gone` left the subtree, which is not empty.
    fn forget(&mut self, gone: &E) {
        // Where it made no difference, little below need be read.
        if self.low == gone.key() {
            self.low = self.node.low();
        }
        if !self.node.sum_stays(self.sum, gone.sum()) {
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

/// Inserts at `at`, where there is room.
fn put_entry<E: Entry>(entries: &mut Vec<E>, at: usize, entry: E) {
    if entries.len() == entries.capacity() {
        entries.reserve_exact(LEAF_GROWTH);
    }
    entries.insert(at, entry);
}

/// Inserts at `at`; gives what had to be cut off behind, where there was no room.
fn insert_entry<E: Entry>(entries: &mut Vec<E>, at: usize, entry: E) -> Option<Vec<E>> {
    if entries.len() < LEAF_MAX {
        put_entry(entries, at, entry);
        return None;
    }
    let cut = cut_for(at, entries.len());
    let mut behind = entries.split_off(cut);
    if at < cut || cut == 0 {
        put_entry(entries, at, entry);
    } else {
        put_entry(&mut behind, at - cut, entry);
    }
    Some(behind)
}

/// Inserts the right half of the child at `at`, which was split; gives what had to be cut off behind,
/// where there was no room.
fn insert_child<E: Entry>(
    children: &mut Vec<Child<E>>,
    at: usize,
    right: Node<E>,
) -> Option<Vec<Child<E>>> {
    children[at].sum = children[at].node.sum();
    children.insert(at + 1, Child::new(right));
    // A half that is but one entry goes to its neighbour, where there is room.
    join(children, at + 1);
    join(children, at);
    let cut = cut_for(at, INNER_MAX - 1) + 1;
    (children.len() > INNER_MAX).then(|| children.split_off(cut))
}

impl<E: Entry> Node<E> {
    pub(super) fn of_two(one: E, other: E) -> Self {
        let mut entries = Vec::with_capacity(LEAF_GROWTH);
        entries.extend([one, other]);
        entries.sort_unstable_by_key(E::key);
        Node::Leaf(entries)
    }

    /// A node over two that one was split into.
    pub(super) fn above(left: Node<E>, right: Node<E>) -> Self {
        Node::Inner(vec![Child::new(left), Child::new(right)])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Inner(children) => children.len(),
        }
    }

    /// The smallest key below. Not to be asked of an empty leaf.
    fn low(&self) -> u128 {
        match self {
            Node::Leaf(entries) => entries[0].key(),
            Node::Inner(children) => children[0].low,
        }
    }

    /// Not to be asked of an empty leaf.
    fn sum(&self) -> E::Sum {
        match self {
            Node::Leaf(entries) => entries[1..].iter().map(E::sum).fold(entries[0].sum(), Sum::and),
            Node::Inner(children) => {
                children[1..].iter().map(|child| child.sum).fold(children[0].sum, Sum::and)
            }
        }
    }

    /// Whether `sum` is still right after something left.
    fn sum_stays(&self, sum: E::Sum, gone: E::Sum) -> bool {
        match self {
            Node::Leaf(entries) => sum.stays(gone, entries.iter().map(E::sum)),
            Node::Inner(children) => sum.stays(gone, children.iter().map(|child| child.sum)),
        }
    }

    /// Gives the right half, where the node had to be split.
    pub(super) fn insert(&mut self, entry: E) -> Option<Node<E>> {
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
            child.sum = child.sum.and(entry.sum());
            return None;
        };
        insert_child(children, at, right).map(Node::Inner)
    }

    /// Takes out the entry with the key, which is there.
    pub(super) fn remove(&mut self, key: u128) -> E {
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

    /// Puts an entry in the place of the one with the same key, which is there.
    pub(super) fn replace(&mut self, entry: E) {
        let key = entry.key();
        match self {
            Node::Leaf(entries) => {
                let at = place_of(entries, key);
                debug_assert_eq!(entries[at].key(), key, "the entry is in this tree");
                entries[at] = entry;
            }
            Node::Inner(children) => {
                let at = child_of(children, key);
                let child = &mut children[at];
                child.node.replace(entry);
                child.sum = child.node.sum();
            }
        }
    }

    /// The entries of the leaf where a key belongs, and the smallest key behind that leaf.
    pub(super) fn leaf_of(&self, key: u128) -> (&[E], Option<u128>) {
        let mut node = self;
        let mut behind = None;
        loop {
            match node {
                Node::Leaf(entries) => return (entries, behind),
                Node::Inner(children) => {
                    let at = child_of(children, key);
                    behind = children.get(at + 1).map(|child| child.low).or(behind);
                    node = &children[at].node;
                }
            }
        }
    }
}

impl<E: Placed> Node<E> {
    pub(super) fn find(&self, query: &Query, accept: &mut impl FnMut(&E) -> bool) -> Option<u32> {
        match self {
            Node::Leaf(entries) => find_among(entries, query, accept),
            Node::Inner(children) => {
                let end = (u128::from(query.range.last()) << 64) | u128::from(u64::MAX);
                children
                    .iter()
                    .take_while(|child| child.low <= end)
                    .filter(|child| E::may_fit(&child.sum, query))
                    .find_map(|child| child.node.find(query, accept))
            }
        }
    }
}

/// The first of the entries that the query fits and `accept` takes.
pub(super) fn find_among<E: Placed>(
    entries: &[E],
    query: &Query,
    accept: &mut impl FnMut(&E) -> bool,
) -> Option<u32> {
    let last = query.range.last();
    let mut before_end = entries.iter().take_while(|entry| entry.first() <= last);
    before_end.find(|entry| entry.fits(query) && accept(entry)).map(E::ix)
}

/// How many entries are before a key. All are read and none decides what is read next, so that a
/// leaf out of the caches is fetched at once.
pub(super) fn place_of<E: Entry>(entries: &[E], key: u128) -> usize {
    entries.iter().map(|entry| usize::from(entry.key() < key)).sum()
}

/// Where a key belongs, or is. As above, all are read.
fn child_of<E: Entry>(children: &[Child<E>], key: u128) -> usize {
    let before = children.iter().map(|child| usize::from(child.low <= key)).sum::<usize>();
    before.saturating_sub(1)
}

/// Joins a child that shrank with a neighbour, where both are small.
fn join<E: Entry>(children: &mut Vec<Child<E>>, at: usize) {
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
impl<E: Entry> Node<E> {
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

    fn high(&self) -> u128 {
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
