//! Interval trees: which ranges overlap this one, in logarithmic time, whatever overlaps whatever.
//!
//! A balanced binary (AVL) search tree by first byte, where each node also knows three things of
//! the subtree below it: the last byte any range reaches, the smallest sequence number, and
//! the owner if there is but one. A search that wants "overlapping, of another owner, ahead of me"
//! passes by every subtree that cannot hold one. An owner's own locks never overlap each other, so
//! at most one of them covers the start of a search: the owner's own locks do not slow it down.
//!
//! All trees of one kind live in one vector, nodes under the numbers their owner's slab gave them,
//! one cache line each.

use crate::types::Range;

/// No node: an empty tree.
pub(crate) const NIL: u32 = u32::MAX;
/// Not one owner but several.
const MIXED: u32 = u32::MAX;
/// An owner number nobody has, for a search that leaves out nobody.
pub(crate) const NOBODY: u32 = u32::MAX - 1;

#[derive(Clone, Copy, Debug)]
struct Node {
    first: u64,
    last: u64,
    seq: u64,
    max_last: u64,
    min_seq: u64,
    left: u32,
    right: u32,
    owner: u32,
    sole: u32,
    height: u8,
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

/// Many trees in one vector. A tree is named by its root.
#[derive(Debug, Default)]
pub(crate) struct Forest {
    nodes: Vec<Node>,
}

impl Forest {
    /// Prepares the node `ix`, to be put into a tree. `seq` must be unique within the tree.
    pub(crate) fn set(&mut self, ix: u32, range: Range, owner: u32, seq: u64) {
        let (first, last) = (range.first(), range.last());
        let node = Node {
            first,
            last,
            seq,
            max_last: last,
            min_seq: seq,
            left: NIL,
            right: NIL,
            owner,
            sole: owner,
            height: 1,
        };
        let at = ix as usize;
        if at < self.nodes.len() {
            self.nodes[at] = node;
        } else {
            debug_assert_eq!(at, self.nodes.len(), "slabs hand out numbers without gaps");
            self.nodes.push(node);
        }
    }

    pub(crate) fn range(&self, ix: u32) -> Range {
        let node = self.at(ix);
        Range::between(node.first, node.last).expect("was a range when it was set")
    }

    pub(crate) fn seq(&self, ix: u32) -> u64 {
        self.at(ix).seq
    }

    fn at(&self, ix: u32) -> &Node {
        &self.nodes[ix as usize]
    }

    fn at_mut(&mut self, ix: u32) -> &mut Node {
        &mut self.nodes[ix as usize]
    }

    fn height(&self, ix: u32) -> u8 {
        if ix == NIL { 0 } else { self.at(ix).height }
    }

    fn goes_left(&self, ix: u32, of: u32) -> bool {
        let (node, root) = (self.at(ix), self.at(of));
        (node.first, node.seq) < (root.first, root.seq)
    }

    /// Puts the prepared node `ix` into the tree; gives the new root.
    #[must_use]
    pub(crate) fn insert(&mut self, root: u32, ix: u32) -> u32 {
        if root == NIL {
            return ix;
        }
        if self.goes_left(ix, root) {
            let left = self.insert(self.at(root).left, ix);
            self.at_mut(root).left = left;
        } else {
            let right = self.insert(self.at(root).right, ix);
            self.at_mut(root).right = right;
        }
        self.balance(root)
    }

    /// Takes the node `ix` out of the tree it is in; gives the new root.
    #[must_use]
    pub(crate) fn remove(&mut self, root: u32, ix: u32) -> u32 {
        if root == ix {
            let Node { left, right, .. } = *self.at(ix);
            if right == NIL {
                return left;
            }
            let (heir, rest) = self.take_leftmost(right);
            self.at_mut(heir).left = left;
            self.at_mut(heir).right = rest;
            return self.balance(heir);
        }
        debug_assert_ne!(root, NIL, "the node is in this tree");
        if self.goes_left(ix, root) {
            let left = self.remove(self.at(root).left, ix);
            self.at_mut(root).left = left;
        } else {
            let right = self.remove(self.at(root).right, ix);
            self.at_mut(root).right = right;
        }
        self.balance(root)
    }

    /// Moves the end of the node's range; where it starts, and so its place, stays.
    pub(crate) fn set_last(&mut self, root: u32, ix: u32, last: u64) {
        if root == ix {
            self.at_mut(ix).last = last;
        } else {
            let Node { left, right, .. } = *self.at(root);
            self.set_last(if self.goes_left(ix, root) { left } else { right }, ix, last);
        }
        self.refresh(root);
    }

    fn take_leftmost(&mut self, root: u32) -> (u32, u32) {
        let Node { left, right, .. } = *self.at(root);
        if left == NIL {
            return (root, right);
        }
        let (leftmost, rest) = self.take_leftmost(left);
        self.at_mut(root).left = rest;
        (leftmost, self.balance(root))
    }

    /// Computes anew what a node knows of its subtree.
    fn refresh(&mut self, ix: u32) {
        let mut node = *self.at(ix);
        node.max_last = node.last;
        node.min_seq = node.seq;
        node.sole = node.owner;
        node.height = 0;
        for child in [node.left, node.right] {
            if child != NIL {
                let below = self.at(child);
                node.max_last = node.max_last.max(below.max_last);
                node.min_seq = node.min_seq.min(below.min_seq);
                node.height = node.height.max(below.height);
                if below.sole != node.sole {
                    node.sole = MIXED;
                }
            }
        }
        node.height += 1;
        *self.at_mut(ix) = node;
    }

    fn balance(&mut self, root: u32) -> u32 {
        let Node { left, right, .. } = *self.at(root);
        let (left_height, right_height) = (self.height(left), self.height(right));
        if left_height > right_height + 1 {
            if self.height(self.at(left).left) < self.height(self.at(left).right) {
                let raised = self.rotate_left(left);
                self.at_mut(root).left = raised;
            }
            return self.rotate_right(root);
        }
        if right_height > left_height + 1 {
            if self.height(self.at(right).right) < self.height(self.at(right).left) {
                let raised = self.rotate_right(right);
                self.at_mut(root).right = raised;
            }
            return self.rotate_left(root);
        }
        self.refresh(root);
        root
    }

    fn rotate_left(&mut self, root: u32) -> u32 {
        let raised = self.at(root).right;
        self.at_mut(root).right = self.at(raised).left;
        self.at_mut(raised).left = root;
        self.refresh(root);
        self.refresh(raised);
        raised
    }

    fn rotate_right(&mut self, root: u32) -> u32 {
        let raised = self.at(root).left;
        self.at_mut(root).left = self.at(raised).right;
        self.at_mut(raised).right = root;
        self.refresh(root);
        self.refresh(raised);
        raised
    }

    /// The first node by position that the query fits and `accept` takes.
    pub(crate) fn find(
        &self,
        root: u32,
        query: &Query,
        accept: &mut impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        if root == NIL {
            return None;
        }
        let node = self.at(root);
        if node.max_last < query.range.first()
            || node.sole == query.except
            || node.min_seq >= query.before
        {
            return None;
        }
        if let Some(found) = self.find(node.left, query, accept) {
            return Some(found);
        }
        if node.first > query.range.last() {
            return None;
        }
        let fits = node.last >= query.range.first()
            && node.owner != query.except
            && node.seq < query.before;
        if fits && accept(root) {
            return Some(root);
        }
        self.find(node.right, query, accept)
    }

    /// Calls `visit` for every node that overlaps the range, by position.
    pub(crate) fn each(&self, root: u32, range: Range, visit: &mut impl FnMut(u32)) {
        let query = Query { range, except: NOBODY, before: u64::MAX };
        self.find(root, &query, &mut |ix| {
            visit(ix);
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(forest: &Forest, root: u32) -> usize {
        if root == NIL {
            return 0;
        }
        let mut copy = Forest { nodes: forest.nodes.clone() };
        copy.refresh(root);
        let (kept, fresh) = (forest.at(root), copy.at(root));
        assert_eq!(kept.max_last, fresh.max_last);
        assert_eq!(kept.min_seq, fresh.min_seq);
        assert_eq!(kept.sole, fresh.sole);
        assert_eq!(kept.height, fresh.height);
        let (left, right) = (forest.height(kept.left), forest.height(kept.right));
        assert!(left.abs_diff(right) <= 1, "unbalanced");
        check(forest, kept.left) + 1 + check(forest, kept.right)
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 128,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn finds_what_a_scan_finds(
            steps in prop::collection::vec((0u64..64, 1u64..20, 0u32..3, any::<bool>()), 1..80),
        ) {
            let mut forest = Forest::default();
            let mut root = NIL;
            let mut live: Vec<u32> = Vec::new();
            for (number, &(first, length, owner, remove)) in (0u32..).zip(&steps) {
                forest.set(number, Range::new(first, length).unwrap(), owner, u64::from(number));
                if remove && !live.is_empty() {
                    let at = usize::try_from(first).unwrap() % live.len();
                    let ix = live.swap_remove(at);
                    root = forest.remove(root, ix);
                } else {
                    root = forest.insert(root, number);
                    live.push(number);
                }
                if let Some(&ix) = live.first() {
                    forest.set_last(root, ix, forest.range(ix).first() + length);
                }
                prop_assert_eq!(check(&forest, root), live.len());
                let range = Range::new(length * 3, 4).unwrap();
                let before = first;
                let query = Query { range, except: owner, before };
                let mut expected: Vec<u32> = live
                    .iter()
                    .copied()
                    .filter(|&ix| forest.range(ix).overlaps(range))
                    .filter(|&ix| forest.at(ix).owner != owner && u64::from(ix) < before)
                    .collect();
                expected.sort_by_key(|&ix| (forest.range(ix).first(), ix));
                let mut found = Vec::new();
                let first_found = forest.find(root, &query, &mut |_| true);
                prop_assert_eq!(first_found, expected.first().copied());
                forest.find(root, &query, &mut |ix| { found.push(ix); false });
                prop_assert_eq!(found, expected);
            }
        }
    }
}
