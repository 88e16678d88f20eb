//! What was said by a file or by flags, before it is judged.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cleat_mount::Options;

use super::mistake::{Place, Said};

/// Everything that can be said, unread. What is not said is `None` or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// Addresses to listen on.
    pub listen: Vec<Said<String>>,
    /// The state directory.
    pub state_dir: Option<Said<PathBuf>>,
    /// The grace period.
    pub grace_s: Option<Said<String>>,
    /// What new locks wait for after a restart.
    pub recovery: Option<Said<String>>,
    /// How long the locks of clients out of reach stand beyond the grace period.
    pub unreachable_hold_s: Option<Said<String>>,
    /// How long a client that keeps others waiting may be silent.
    pub client_lease_s: Option<Said<String>>,
    /// How long a grant stands that its client cannot be told.
    pub unreachable_grant_s: Option<Said<String>>,
    /// How long a blocking lock request yields to one that came before it.
    pub fair_wait_s: Option<Said<String>>,
    /// Bounds of the lock table: key and number.
    pub limits: Vec<Said<(String, String)>>,
    /// The durability.
    pub durability: Option<Said<String>>,
    /// How rpcbind is used.
    pub rpcbind: Option<Said<String>>,
    /// Names that clients know the server by.
    pub notify_names: Vec<Said<String>>,
    /// What is logged.
    pub log: Option<Said<String>>,
    /// The exports.
    pub exports: Vec<ExportDraft>,
}

/// An export, unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportDraft {
    /// The directory; absolute unless a file says otherwise by mistake.
    pub path: Said<PathBuf>,
    /// Clients and their options.
    pub clients: Vec<Said<(String, String)>>,
}

impl Draft {
    /// This draft with what another says on top: its words replace these, its exports are more.
    #[must_use]
    pub fn overlaid(self, other: Self) -> Self {
        let listen = if other.listen.is_empty() { self.listen } else { other.listen };
        let names = self.notify_names.into_iter().chain(other.notify_names).collect();
        Self {
            listen,
            state_dir: other.state_dir.or(self.state_dir),
            grace_s: other.grace_s.or(self.grace_s),
            recovery: other.recovery.or(self.recovery),
            unreachable_hold_s: other.unreachable_hold_s.or(self.unreachable_hold_s),
            client_lease_s: other.client_lease_s.or(self.client_lease_s),
            unreachable_grant_s: other.unreachable_grant_s.or(self.unreachable_grant_s),
            fair_wait_s: other.fair_wait_s.or(self.fair_wait_s),
            limits: self.limits.into_iter().chain(other.limits).collect(),
            durability: other.durability.or(self.durability),
            rpcbind: other.rpcbind.or(self.rpcbind),
            notify_names: names,
            log: other.log.or(self.log),
            exports: self.exports.into_iter().chain(other.exports).collect(),
        }
    }

    /// Adds what `--export DIR[:OPTIONS]` says: the directory for every client.
    pub fn add_export_flag(&mut self, text: &OsStr) {
        let place = Place::Flag("--export");
        let (dir, options) = split_export(text, |dir| Path::new(dir).exists());
        self.exports.push(ExportDraft {
            path: Said::new(place.clone(), absolute(Path::new(&dir))),
            clients: vec![Said::new(place, ("*".to_owned(), options))],
        });
    }
}

/// A path of the command line as an absolute one. Where it has "..", which symbolic links make
/// more than a matter of text, the file system is asked.
#[must_use]
pub fn absolute(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if whole.components().any(|part| part == std::path::Component::ParentDir) {
        return std::fs::canonicalize(&whole).unwrap_or(whole);
    }
    whole
}

/// Splits `DIR[:OPTIONS]`. What follows the last colon is options if a word of it is one, or if
/// it can be no directory: then its mistake is worth telling.
fn split_export(text: &OsStr, exists: impl Fn(&OsStr) -> bool) -> (OsString, String) {
    let bytes = text.as_bytes();
    let whole = || (text.to_owned(), String::new());
    let Some(colon) = bytes.iter().rposition(|byte| *byte == b':') else {
        return whole();
    };
    let tail = String::from_utf8_lossy(&bytes[colon + 1..]);
    let options = tail.split(',').map(str::trim).any(Options::is_word);
    if !options && (tail.contains('/') || exists(text)) {
        return whole();
    }
    (OsStr::from_bytes(&bytes[..colon]).to_owned(), tail.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_told_from_a_colon_in_a_name() {
        let table = [
            ("/srv", "/srv", ""),
            ("/srv:rw", "/srv", "rw"),
            ("/srv:rw,no_root_squash", "/srv", "rw,no_root_squash"),
            ("/srv:anonuid=5", "/srv", "anonuid=5"),
            ("/srv:fsid=0", "/srv", "fsid=0"),
            ("/srv:", "/srv", ""),
            ("/srv:typo", "/srv", "typo"),
            ("/srv:typo,ro", "/srv", "typo,ro"),
            ("/srv/a:b/c", "/srv/a:b/c", ""),
            ("/srv/exists:b", "/srv/exists:b", ""),
            ("/srv/exists:b:ro", "/srv/exists:b", "ro"),
        ];
        for (text, dir, options) in table {
            let exists = |dir: &OsStr| dir == OsStr::new("/srv/exists:b");
            let split = split_export(OsStr::new(text), exists);
            assert_eq!(split, (OsString::from(dir), options.to_owned()), "{text}");
        }
    }
}
