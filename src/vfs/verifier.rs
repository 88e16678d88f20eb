//! The write verifier: where it changes, a client sends again what it has not committed.

use std::sync::atomic::{AtomicU64, Ordering};

/// The verifier of WRITE and COMMIT in one file system (RFC 1813 3.3.7 and 3.3.21): no instance of
/// a server has one that an earlier instance had, and it changes when unstable writes may be lost.
#[derive(Debug)]
pub struct WriteVerifier(AtomicU64);

impl Default for WriteVerifier {
    fn default() -> Self {
        Self(AtomicU64::new(uuid::Uuid::new_v4().as_u64_pair().0))
    }
}

impl WriteVerifier {
    /// A WRITE takes it before it writes, and a COMMIT after it synced: if a sync fails in between,
    /// the two differ.
    #[must_use]
    pub fn get(&self) -> [u8; 8] {
        self.0.load(Ordering::SeqCst).to_be_bytes()
    }

    /// Says to all clients that their unstable writes may be lost.
    pub fn change(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
