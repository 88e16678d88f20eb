//! The lock core: a pure state machine of ranges, owners, waiters and grace.
//!
//! [`Core::step`] takes one [`Input`] and appends [`Effect`]s: records to make durable, replies to
//! give, callbacks to send. It has no clock, no random numbers, no I/O and no opinion about
//! protocols: owners and files are opaque, time and ids come in. What a driver owes it:
//!
//! 1. Carry out the steps one after another, in any order of the inputs.
//! 2. Make every [`Effect::Persist`] of a step durable before acting on its other effects; many
//!    steps may share one batch. Where that fails nothing of them may be said, and as the core is
//!    then ahead of the store, it must be made anew by [`Core::restore`].
//! 3. Call with [`Input::Tick`] when [`Core::next_deadline`] is reached.
//! 4. Send each [`Effect::Grant`] until it is answered ([`Input::GrantOutcome`]) or over.
//!
//! A request goes `core/requests.rs` -> `table/` (is anything in the way?) -> `core/requests.rs`
//! (place or enqueue) -> `table/place.rs` (replace, cut, merge) -> `core/grants.rs` (whose turn has
//! come by that?). Every release, of whatever cause, passes through `Table::freed`, which ends in
//! the one place that wakes.

pub mod config;
pub mod core;
pub mod effect;
pub mod error;
pub mod input;
pub mod record;
pub mod store;
mod table;
pub mod types;

pub use crate::config::{Config, Limits};
pub use crate::core::{ClientView, Core, Counters, GraceView};
pub use crate::effect::{Conflict, Effect, GraceEnd, GraceEvent, Grant, Outcome};
pub use crate::error::{Limit, LockError};
pub use crate::input::{GrantAck, Input, LockRequest, Wait};
pub use crate::record::{
    ClientRecord, Granted, LockRecord, Record, RecordError, RecordKey, RecordOp, Table, Undo,
    WaiterRecord,
};
pub use crate::store::{Durability, Epoch, Query, Store, StoreError};
pub use crate::types::{FileId, LockId, Mode, Owner, Range, Token, WaiterId};
