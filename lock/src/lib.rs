//! The lock core: a pure state machine of ranges, owners, waiters and grace.
