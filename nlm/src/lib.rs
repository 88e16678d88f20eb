//! NLM and NSM: what lock clients say, as lock requests; what the core decides, as wire results.
//!
//! A LOCK goes through here four times: [`wire`] reads its bytes, [`procedures`] makes of it a
//! request to the lock core in the name that [`owner`] gives, [`answers`] makes the core's outcome
//! the result, and, where it had to wait, [`granted`] decides when its GRANTED call is sent and what
//! the client's answer means. [`contact`] keeps what must outlive the process. [`nsm`] and
//! [`notify`] do the same for the status monitor: who restarted, and whom to tell that we did;
//! [`announced`] for restarts that are announced more than once, and [`monitor`] for what a lock
//! manager of this host asks of it.
//!
//! [`procedure`] is the table of all procedures, and [`version`] what differs from one version of NLM
//! to another.
//!
//! No I/O, no clock, no randomness: time and identifiers are parameters.

pub mod announced;
pub mod answers;
pub mod contact;
pub mod granted;
pub mod monitor;
pub mod notify;
pub mod nsm;
pub mod owner;
pub mod procedure;
pub mod procedures;
pub mod version;
pub mod wire;

pub use contact::{Contact, Damaged, Waiting};
pub use granted::Sender;
pub use notify::NotifyPlan;
pub use owner::{ClientName, Note, Origin, Transport};
pub use procedure::{Operation, Procedure};
pub use procedures::{Call, Refusal};
pub use version::{Message, Version};
