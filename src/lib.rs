//! Cleat, an NFSv3 server whose locks hold: everything that touches the world.

pub mod admin;
pub mod cli;
pub mod config;
pub mod disk;
pub mod exports;
pub mod lockd;
mod mount_path;
pub mod mountd;
pub mod nfs;
pub(crate) mod pool;
pub mod portmap;
pub mod rpc_client;
pub mod rpc_server;
mod seldom;
pub mod server;
pub mod statd;
pub mod store;
pub mod vfs;
