//! MOUNT: the export table, who may use it, and the mount table. No I/O.

pub mod client;
pub mod export;
pub mod identity;
pub mod mount_table;
pub mod options;
pub mod wire;

pub use client::{ClientRule, Who};
pub use export::{Access, Denied, Export, ExportTable};
pub use identity::Identity;
pub use mount_table::MountTable;
pub use options::{Options, Squash};
