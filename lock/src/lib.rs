//! The lock core: a pure state machine of ranges, shares, owners, waiters and grace.
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
//! A driver whose protocol has connections says [`Input::Register`] and [`Input::Disconnected`], and
//! tells clients that do not send a blocked request again of [`Effect::WaitOver`]. One whose
//! protocol tells clients of a restart says [`Input::ClientReached`] for each that knows, and one
//! that looks after [`Core::blocking_clients`] says [`Input::ClientSilent`] of those that are gone.
//!
//! A request goes `core/requests.rs` -> `table/` (is anything in the way?) -> `core/requests.rs`
//! (place or enqueue) -> `table/place.rs` (replace, cut, merge) -> `core/grants.rs` (whose turn has
//! come by that?). Every release, of whatever cause, passes through `Table::freed`, which ends in
//! the one place that wakes. Share reservations never wait and know nothing of ranges: they are
//! taken and given up in `core/shares.rs` and `table/shares.rs`, and go with all else of a client
//! where that loses what it has.
//!
//! An owner's locks on neighbouring bytes are one piece where they have all in common: the mode, the
//! incarnation of the client, and the standing. What is on record and not reclaimed yet, what was
//! granted and not acknowledged, and what both know of do not merge with each other, nor does what
//! was taken under another incarnation: each may go without the rest.

pub mod config;
pub mod core;
pub mod effect;
pub mod error;
pub mod input;
pub mod record;
pub mod store;
mod table;
pub mod types;

pub use crate::config::{Config, Limits, Recovery};
pub use crate::core::{
    Blocking, Claim, ClaimState, Claimed, Clear, Cleared, ClientView, Core, Counters, Cursor,
    Filter, GraceView, Obstacle, PageLimits, WaitTimes, Waiting,
};
pub use crate::effect::{
    Conflict, Effect, GraceEnd, GraceEvent, Grant, Outcome, ShareConflict, Taken, TakenWhy, WaitEnd,
};
pub use crate::error::{Limit, LockError, StoreFault};
pub use crate::input::{GrantAck, Input, LockRequest, ShareRequest, UpgradeRequest, Wait};
pub use crate::record::{
    ClientRecord, Granted, LockRecord, Record, RecordError, RecordKey, RecordOp, ShareRecord,
    Table, Undo, WaiterRecord,
};
pub use crate::store::{Durability, Epoch, Query, Store, StoreError};
pub use crate::types::{Access, FileId, LockId, Mode, Owner, Range, Token, WaiterId};
