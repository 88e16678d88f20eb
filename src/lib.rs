//! Cleat, an NFSv3 server whose locks hold: everything that touches the world.

pub mod config;
pub mod exports;
pub mod mountd;
pub mod rpc_server;
pub mod vfs;
