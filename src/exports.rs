//! From a handle on the wire to a file, and whether this caller may use it.

use std::sync::Arc;

use cleat_mount::Identity;

use crate::rpc_server::Call;
use crate::vfs::{FileHandle, FileSystem};

/// Why a handle is refused, mapped to nfsstat3 and nlm4_stats by whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes never were a handle of this server: NFS3ERR_BADHANDLE.
    BadHandle,
    /// The export or the file is gone: NFS3ERR_STALE.
    Stale,
    /// The caller may not use this export: NFS3ERR_ACCES.
    Access,
}

/// A file, and what this caller may do with it.
#[derive(Clone)]
pub struct Target {
    /// Its file system.
    pub fs: Arc<dyn FileSystem>,
    /// The file.
    pub file: FileHandle,
    /// The caller after squashing.
    pub who: Identity,
    /// Whether the export is read-only for the caller.
    pub read_only: bool,
    /// The number of the export in the table.
    pub export: usize,
}

/// The exports with their file systems, and the key that makes handles.
pub struct Exports {}

impl Exports {
    /// Judges a handle from the wire for this call.
    pub fn resolve(&self, _handle: &[u8], _call: &Call) -> Result<Target, Refusal> {
        Err(Refusal::BadHandle)
    }

    /// The handle on the wire, at most 64 bytes, of a file in the same export as `beside`.
    #[must_use]
    pub fn wire_handle(&self, _beside: &Target, file: &FileHandle) -> Vec<u8> {
        file.0.to_vec()
    }
}
