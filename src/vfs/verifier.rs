//! The write verifier: where it changes, a client sends again what it has not committed.

use std::sync::atomic::{AtomicU64, Ordering};

/// The verifier of WRITE and COMMIT (RFC 1813 3.3.7 and 3.3.21).
///
/// The kernel tells of bytes that it could not bring to storage once, to whoever syncs the file
/// next, and forgets them. All the other clients that wrote to the file have to learn it too, so
/// the verifier changes then as if the server had started anew.
#[derive(Debug)]
pub(super) struct WriteVerifier(AtomicU64);

impl WriteVerifier {
    pub(super) fn new(first: [u8; 8]) -> Self {
        Self(AtomicU64::new(u64::from_be_bytes(first)))
    }

    /// WRITE takes it before it writes and COMMIT after it synced: of a failure in between, either
    /// then says so.
    pub(super) fn get(&self) -> [u8; 8] {
        self.0.load(Ordering::SeqCst).to_be_bytes()
    }

    /// Unstable writes may be lost.
    pub(super) fn change(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
