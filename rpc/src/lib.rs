//! ONC RPC and XDR as bytes and types: no sockets, no clock.
//!
//! A record goes through here twice: [`record`] cuts it out of a byte stream, [`message`] reads
//! whom it calls and as whom ([`auth`]), a program reads its arguments with [`xdr::Reader`], and
//! the answer goes back through [`xdr::Writer`] and [`message`]. [`portmap`] has the messages by
//! which a program's port is found.

pub mod auth;
pub mod message;
pub mod portmap;
pub mod record;
pub mod xdr;

pub use auth::{AuthStat, AuthSys, Credential};
pub use message::{CallHeader, Fault, Reply};
pub use xdr::{Decode, Encode, Reader, Writer, XdrError};
