//! The paths of locked files, asked of the exports and kept for the length of one answer.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use cleat_lock::FileId;

use crate::exports::Exports;
use crate::vfs::Whereabouts;

/// The most files that are kept; then it begins anew.
const FILES_MAX: usize = 65_536;

/// Finds paths. It may block.
pub(super) struct Paths {
    exports: Arc<Exports>,
    known: HashMap<FileId, Option<Whereabouts>>,
}

impl Paths {
    pub(super) fn new(exports: Arc<Exports>) -> Self {
        Self { exports, known: HashMap::new() }
    }

    pub(super) fn find(&mut self, file: &FileId) -> Option<Whereabouts> {
        if let Some(known) = self.known.get(file) {
            return known.clone();
        }
        if self.known.len() >= FILES_MAX {
            self.known.clear();
        }
        let found = self.exports.whereabouts(file.as_bytes());
        self.known.insert(file.clone(), found.clone());
        found
    }
}

/// What the lock table knows a file by, as text.
pub(super) fn hexadecimal(file: &FileId) -> String {
    let mut text = String::with_capacity(2 * file.as_bytes().len());
    for byte in file.as_bytes() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
