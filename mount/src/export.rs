//! The export table: which directories are served, and to whom.

use std::net::{IpAddr, SocketAddr};

use cleat_rpc::Credential;

use crate::client::ClientRule;
use crate::identity::Identity;

/// The most exports in a table.
pub const EXPORTS_MAX: usize = 1024;
/// The most client rules of one export.
pub const CLIENTS_MAX: usize = 1024;
/// The longest path in MOUNT, in bytes (RFC 1813 5.1.1, `MNTPATHLEN`).
pub const PATH_BYTES_MAX: usize = 1024;

/// Ports below this one can be bound only by a privileged process of the client.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// Why an export cannot stand in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportError {
    /// The path does not begin with '/', has ".." or a NUL in it, or is too long.
    BadPath,
    /// Two rules of one export name the same clients: this is how they write them.
    ClientTwice(String),
    /// More than [`CLIENTS_MAX`] client rules.
    TooManyClients,
    /// Another export of the table has the same path.
    PathTwice,
    /// More than [`EXPORTS_MAX`] exports.
    TooManyExports,
}

impl std::fmt::Display for ExportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BadPath => write!(
                f,
                "an export's path begins with \"/\", has no \"..\" in it and at most \
                 {PATH_BYTES_MAX} bytes"
            ),
            Self::ClientTwice(who) => {
                write!(f, "two rules for the clients \"{who}\"; keep one of them")
            }
            Self::TooManyClients => write!(f, "more than {CLIENTS_MAX} client rules"),
            Self::PathTwice => write!(f, "the directory is exported twice; keep one of them"),
            Self::TooManyExports => write!(f, "more than {EXPORTS_MAX} exports"),
        }
    }
}

impl std::error::Error for ExportError {}

/// A directory that is served, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    path: Vec<u8>,
    clients: Vec<ClientRule>,
}

impl Export {
    /// An export of the directory at `path`, which is made canonical as text only: whether there
    /// is such a directory, and whether the path goes through symbolic links, is the caller's
    /// business. With no rules it is served to nobody.
    pub fn new(path: &[u8], mut clients: Vec<ClientRule>) -> Result<Self, ExportError> {
        let components = components(path).ok_or(ExportError::BadPath)?;
        let mut canonical: Vec<u8> = components.collect::<Vec<_>>().join(&b'/');
        canonical.insert(0, b'/');
        if canonical.len() > PATH_BYTES_MAX {
            return Err(ExportError::BadPath);
        }
        if clients.len() > CLIENTS_MAX {
            return Err(ExportError::TooManyClients);
        }
        // The most specific first, so that the first that matches is the one that counts.
        clients.sort_by_key(|rule| std::cmp::Reverse(rule.who.specificity()));
        for (index, rule) in clients.iter().enumerate() {
            if clients[..index].iter().any(|other| other.who == rule.who) {
                return Err(ExportError::ClientTwice(rule.who.to_string()));
            }
        }
        Ok(Self { path: canonical, clients })
    }

    /// The path: absolute, without "." or "..", without a slash at its end unless it is "/".
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The rules, the most specific first.
    #[must_use]
    pub fn clients(&self) -> &[ClientRule] {
        &self.clients
    }

    fn rule(&self, peer: IpAddr) -> Option<&ClientRule> {
        self.clients.iter().find(|rule| rule.who.matches(peer))
    }
}

/// Why a caller may not use an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// No rule names the caller's address.
    Client,
    /// The export is `secure` to this caller, who called from a port of 1024 or above.
    Port,
    /// There is no export of this number.
    NoSuchExport,
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Client => "no client rule of the export names this address",
            Self::Port => "the export is \"secure\" and the call came from a port above 1023",
            Self::NoSuchExport => "there is no such export",
        })
    }
}

impl std::error::Error for Denied {}

/// What a caller may do, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The caller after squashing.
    pub identity: Identity,
    /// Whether nothing may be changed.
    pub read_only: bool,
    /// Whether locks need no right to the file.
    pub insecure_locks: bool,
}

/// Every export of a server. An export's number is its place in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportTable {
    exports: Vec<Export>,
}

impl ExportTable {
    /// A table of these exports, in this order.
    pub fn new(exports: Vec<Export>) -> Result<Self, ExportError> {
        if exports.len() > EXPORTS_MAX {
            return Err(ExportError::TooManyExports);
        }
        for (index, export) in exports.iter().enumerate() {
            if exports[..index].iter().any(|other| other.path == export.path) {
                return Err(ExportError::PathTwice);
            }
        }
        Ok(Self { exports })
    }

    /// The exports in the order of their numbers.
    pub fn iter(&self) -> std::slice::Iter<'_, Export> {
        self.exports.iter()
    }

    /// The export of a number.
    #[must_use]
    pub fn get(&self, export: usize) -> Option<&Export> {
        self.exports.get(export)
    }

    /// How many exports there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.exports.len()
    }

    /// Whether nothing is exported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exports.is_empty()
    }

    /// The innermost export that holds a path from the network, and the rest of the path below
    /// it, which begins with no slash and may have empty and "." components. `None` for a path
    /// outside of every export, and for one that is not absolute, has ".." or a NUL in it, or is
    /// longer than MOUNT permits.
    #[must_use]
    pub fn find<'a>(&self, path: &'a [u8]) -> Option<(usize, &'a [u8])> {
        if path.len() > PATH_BYTES_MAX {
            return None;
        }
        let _checked = components(path)?;
        let below = |(index, export): (usize, &Export)| {
            Some((index, export.path.len(), rest_below(&export.path, path)?))
        };
        let (index, _, rest) =
            self.exports.iter().enumerate().filter_map(below).max_by_key(|(_, depth, _)| *depth)?;
        Some((index, rest))
    }

    /// Whether a caller may use an export, and as whom. Asked again at every call, so that
    /// knowing a handle is no way around the table.
    pub fn judge(
        &self,
        export: usize,
        peer: SocketAddr,
        credential: &Credential,
    ) -> Result<Access, Denied> {
        let export = self.exports.get(export).ok_or(Denied::NoSuchExport)?;
        let options = &export.rule(peer.ip().to_canonical()).ok_or(Denied::Client)?.options;
        if options.secure && peer.port() >= FIRST_UNPRIVILEGED_PORT {
            return Err(Denied::Port);
        }
        let identity = Identity::squashed(credential, options);
        let (read_only, insecure_locks) = (options.read_only, options.insecure_locks);
        Ok(Access { identity, read_only, insecure_locks })
    }

    /// Whether a caller may use any of the exports.
    #[must_use]
    pub fn admits(&self, peer: SocketAddr) -> bool {
        (0..self.len()).any(|export| self.judge(export, peer, &Credential::None).is_ok())
    }

    /// Whether a caller speaks for its whole host: not where any export is `secure` to that host
    /// and the call came from a port above 1023, which any user there may have.
    #[must_use]
    pub fn speaks_for_host(&self, peer: SocketAddr) -> bool {
        let ip = peer.ip().to_canonical();
        let secure = |export: &Export| export.rule(ip).is_some_and(|rule| rule.options.secure);
        peer.port() < FIRST_UNPRIVILEGED_PORT || !self.exports.iter().any(secure)
    }
}

impl<'a> IntoIterator for &'a ExportTable {
    type Item = &'a Export;
    type IntoIter = std::slice::Iter<'a, Export>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The components of an absolute path without empty ones and "."; `None` where it is not
/// absolute or has ".." or a NUL in it.
fn components(path: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let inner = path.strip_prefix(b"/")?;
    let bad = inner.contains(&0) || inner.split(|byte| *byte == b'/').any(|part| part == b"..");
    (!bad)
        .then(|| inner.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b"."))
}

/// The next component of a path that is neither empty nor ".", and what follows it.
fn next_component(path: &[u8]) -> (&[u8], &[u8]) {
    let mut rest = path;
    loop {
        let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        let (part, tail) = rest.split_at(end);
        rest = tail.strip_prefix(b"/").unwrap_or(tail);
        if (!part.is_empty() && part != b".") || rest.is_empty() {
            return (if part == b"." { b"" } else { part }, rest);
        }
    }
}

/// What of `path` is below `export`, where both are absolute and `export` is canonical.
fn rest_below<'a>(export: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = path;
    for wanted in export.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        let (part, tail) = next_component(rest);
        if part != wanted {
            return None;
        }
        rest = tail;
    }
    let slashes = rest.iter().take_while(|byte| **byte == b'/').count();
    Some(&rest[slashes..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Who;
    use crate::options::Options;
    use cleat_rpc::AuthSys;
    use proptest::prelude::*;

    fn export(path: &str, rules: &[(&str, &str)]) -> Export {
        let rules = rules.iter().map(|(who, options)| ClientRule {
            who: Who::parse(who).expect(who),
            options: Options::parse(options).expect(options),
        });
        Export::new(path.as_bytes(), rules.collect()).expect(path)
    }

    fn table(paths: &[&str]) -> ExportTable {
        let exports = paths.iter().map(|path| export(path, &[("*", "rw")]));
        ExportTable::new(exports.collect()).expect("a table")
    }

    #[test]
    fn the_innermost_export_is_found_by_components() {
        let table = table(&["/srv", "/srv/data//", "/srv/data/./deep", "/x"]);
        let cases: [(&str, Option<(usize, &str)>); 14] = [
            ("/srv", Some((0, ""))),
            ("/srv/", Some((0, ""))),
            ("//srv//", Some((0, ""))),
            ("/srv/database", Some((0, "database"))),
            ("/srv/data", Some((1, ""))),
            ("/srv//data///a//b/", Some((1, "a//b/"))),
            ("/./srv/./data/./deep", Some((2, ""))),
            ("/srv/data/deep/er", Some((2, "er"))),
            ("/srv/data/../x", None),
            ("/x/..", None),
            ("/", None),
            ("", None),
            ("srv", None),
            ("/srv/a\0b", None),
        ];
        for (path, found) in cases {
            let found = found.map(|(index, rest)| (index, rest.as_bytes()));
            assert_eq!(table.find(path.as_bytes()), found, "{path}");
        }
        assert_eq!(table.find(&[b'/'; PATH_BYTES_MAX + 1]), None);
    }

    #[test]
    fn an_export_of_the_root_holds_every_path() {
        let table = table(&["/"]);
        assert_eq!(table.find(b"/"), Some((0, &b""[..])));
        assert_eq!(table.find(b"//a/b"), Some((0, &b"a/b"[..])));
    }

    #[test]
    fn the_most_specific_rule_counts() {
        let rules = [
            ("*", "ro"),
            ("10.0.0.0/8", "rw"),
            ("10.1.0.0/16", "ro,all_squash"),
            ("10.1.2.3", "rw,no_root_squash,secure"),
            ("2001:db8::/32", "rw"),
        ];
        let table = ExportTable::new(vec![export("/a", &rules)]).expect("a table");
        let root = Credential::Sys(AuthSys::default());
        let judge = |peer: &str| {
            let peer = peer.parse().expect(peer);
            table.judge(0, peer, &root).map(|access| (access.read_only, access.identity.uid))
        };
        assert_eq!(judge("192.0.2.1:40000"), Ok((true, 65534)));
        assert_eq!(judge("10.2.0.1:40000"), Ok((false, 65534)));
        assert_eq!(judge("[::ffff:10.2.0.1]:40000"), Ok((false, 65534)));
        assert_eq!(judge("10.1.0.1:40000"), Ok((true, 65534)));
        assert_eq!(judge("10.1.2.3:1023"), Ok((false, 0)));
        assert_eq!(judge("10.1.2.3:1024"), Err(Denied::Port));
        assert_eq!(judge("[2001:db8::9]:700"), Ok((false, 65534)));
        let peer = "10.0.0.1:700".parse().expect("an address");
        assert_eq!(table.judge(1, peer, &root), Err(Denied::NoSuchExport));
    }

    #[test]
    fn who_may_use_any_export_is_admitted() {
        let secure = export("/b", &[("10.0.0.2", "secure"), ("10.0.0.3", "rw")]);
        let table = ExportTable::new(vec![export("/a", &[("10.0.0.1", "rw")]), secure]);
        let table = table.expect("a table");
        let admits = |peer: &str| table.admits(peer.parse().expect(peer));
        assert!(admits("10.0.0.1:40000") && admits("10.0.0.3:40000") && admits("10.0.0.2:1023"));
        assert!(!admits("10.0.0.2:1024") && !admits("10.0.0.4:700"));
        assert!(!ExportTable::default().admits("10.0.0.1:700".parse().expect("an address")));
    }

    #[test]
    fn who_is_named_by_no_rule_is_denied() {
        let table = ExportTable::new(vec![export("/a", &[("10.0.0.0/8", "rw")])]).expect("one");
        let peer = "[::1]:700".parse().expect("an address");
        assert_eq!(table.judge(0, peer, &Credential::None), Err(Denied::Client));
    }

    #[test]
    fn what_cannot_stand_in_a_table_is_refused() {
        let rule = ClientRule::any_host(Options::default());
        for path in ["", "srv", "/srv/..", "/a\0"] {
            assert_eq!(Export::new(path.as_bytes(), vec![]), Err(ExportError::BadPath), "{path}");
        }
        let twice = Export::new(b"/a", vec![rule, rule]);
        assert_eq!(twice, Err(ExportError::ClientTwice("*".to_owned())));
        let pair = vec![export("/a", &[]), export("//a/", &[])];
        assert_eq!(ExportTable::new(pair), Err(ExportError::PathTwice));
    }

    proptest! {
        #[test]
        fn what_is_found_lies_below_its_export(path in "[/a.]{0,12}") {
            let paths: [&[u8]; 3] = [b"/a", b"/a/a", b"/a/a/.a"];
            let table = table(&["/a", "/a/a", "/a/a/.a"]);
            if let Some((index, rest)) = table.find(path.as_bytes()) {
                prop_assert!(!path.split('/').any(|part| part == ".."));
                let whole = [paths[index], b"/", rest].concat();
                let parts = |path| components(path).map(|parts| parts.map(<[u8]>::to_vec).collect::<Vec<_>>());
                prop_assert_eq!(parts(&whole), parts(path.as_bytes()));
            }
        }

        #[test]
        fn no_path_makes_the_search_panic(path: Vec<u8>) {
            let _ = table(&["/", "/a"]).find(&path);
        }
    }
}
