//! The lock core: a pure state machine of ranges, owners, waiters and grace.

pub mod config;
pub mod core;
pub mod effect;
pub mod error;
pub mod input;
pub mod record;
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
pub use crate::types::{FileId, LockId, Mode, Owner, Range, Token, WaiterId};
