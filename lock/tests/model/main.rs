//! Random requests against a model so naive that it is plainly right: a byte is an array cell, the
//! queue a vector. Held ranges, queue, grants and answers must agree after every step, and so must
//! the durable image (the desk sees to that). `PROPTEST_CASES` sets how many runs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../common/mod.rs"]
mod common;
mod naive;
mod ops;
mod pair;

use common::Desk;
use naive::Model;
use pair::Pair;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_core_agrees_with_the_model(ops in prop::collection::vec(ops::op(), 1..80)) {
        let desk = Desk::new();
        let model = Model { now_ms: desk.now_ms, ..Model::default() };
        let mut pair = Pair { desk, model };
        for op in &ops {
            pair.run(op);
        }
    }
}
