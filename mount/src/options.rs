//! What a client may do with an export, in the words of exports(5).

use std::fmt;

/// The user and group that nobody in particular is, where an export does not say otherwise.
pub const ANONYMOUS: u32 = 65534;

/// Whose numbers are replaced by the anonymous ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Squash {
    /// `root_squash`: those of user 0 and group 0.
    Root,
    /// `no_root_squash`: nobody's.
    None,
    /// `all_squash`: everybody's.
    All,
}

/// What a client may do with an export, and as whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// `ro`: nothing may be changed.
    pub read_only: bool,
    /// Who is squashed.
    pub squash: Squash,
    /// The anonymous user.
    pub anon_uid: u32,
    /// The anonymous group.
    pub anon_gid: u32,
    /// `secure`: only calls from a port below 1024 are served.
    pub secure: bool,
    /// `insecure_locks`: locks need no right to the file.
    pub insecure_locks: bool,
}

impl Default for Options {
    /// The defaults of exports(5), but `insecure`: a port below 1024 proves nothing about a
    /// client in user space or in a container, and keeps some from mounting.
    fn default() -> Self {
        Self {
            read_only: true,
            squash: Squash::Root,
            anon_uid: ANONYMOUS,
            anon_gid: ANONYMOUS,
            secure: false,
            insecure_locks: false,
        }
    }
}

/// What is wrong with a word among the options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionError {
    /// No such word, or one of exports(5) that is not served: the word and the mend.
    Refused {
        /// The word.
        word: String,
        /// What to do about it.
        mend: &'static str,
    },
    /// Two words that contradict each other.
    Contradiction {
        /// The one that came first.
        first: String,
        /// The one that came later.
        second: String,
    },
    /// `anonuid` or `anongid` without a number that a user or group can have.
    BadNumber {
        /// The whole word.
        word: String,
    },
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { word, mend } => write!(f, "\"{word}\" is not an option here; {mend}"),
            Self::Contradiction { first, second } => {
                write!(f, "\"{first}\" and \"{second}\" contradict each other; keep one of them")
            }
            Self::BadNumber { word } => {
                write!(f, "\"{word}\" wants a number from 0 to 4294967294 behind the \"=\"")
            }
        }
    }
}

impl std::error::Error for OptionError {}

/// What a word decides; two different words that decide the same thing contradict each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Topic {
    Access,
    Squash,
    AnonUid,
    AnonGid,
    Port,
    Locks,
    /// A word for what is done anyway.
    Nothing,
}

impl Options {
    /// Reads a comma-separated list of options. Every mistake is reported, not only the first.
    pub fn parse(text: &str) -> Result<Self, Vec<OptionError>> {
        let mut options = Self::default();
        let mut errors = Vec::new();
        let mut seen: Vec<(Topic, &str)> = Vec::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match options.apply(word) {
                Ok(Topic::Nothing) => {}
                Ok(topic) => match seen.iter().find(|(other, _)| *other == topic) {
                    Some((_, first)) if *first != word => {
                        errors.push(OptionError::Contradiction {
                            first: (*first).to_owned(),
                            second: word.to_owned(),
                        });
                    }
                    Some(_) => {}
                    None => seen.push((topic, word)),
                },
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(options) } else { Err(errors) }
    }

    /// Whether a word has the form of an option that exports(5) knows, served here or not. It
    /// tells the options behind a directory's colon from a colon in its name.
    #[must_use]
    pub fn is_word(word: &str) -> bool {
        let name = word.split_once('=').map_or(word, |(name, _)| name);
        let mut scratch = Self::default();
        matches!(name, "anonuid" | "anongid")
            || scratch.apply(word).is_ok()
            || REFUSED.iter().any(|(names, _)| names.contains(&name))
    }

    fn apply(&mut self, word: &str) -> Result<Topic, OptionError> {
        let number = |text: &str| {
            text.parse::<u32>()
                .ok()
                .filter(|id| *id != u32::MAX)
                .ok_or_else(|| OptionError::BadNumber { word: word.to_owned() })
        };
        let squash = |options: &mut Self, squash| {
            options.squash = squash;
            Topic::Squash
        };
        Ok(match word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value))) {
            ("ro", None) => {
                self.read_only = true;
                Topic::Access
            }
            ("rw", None) => {
                self.read_only = false;
                Topic::Access
            }
            ("root_squash", None) => squash(self, Squash::Root),
            ("no_root_squash", None) => squash(self, Squash::None),
            ("all_squash", None) => squash(self, Squash::All),
            ("secure", None) => {
                self.secure = true;
                Topic::Port
            }
            ("insecure", None) => {
                self.secure = false;
                Topic::Port
            }
            ("anonuid", value) => {
                self.anon_uid = number(value.unwrap_or(""))?;
                Topic::AnonUid
            }
            ("anongid", value) => {
                self.anon_gid = number(value.unwrap_or(""))?;
                Topic::AnonGid
            }
            ("insecure_locks" | "no_auth_nlm", None) => {
                self.insecure_locks = true;
                Topic::Locks
            }
            ("secure_locks" | "auth_nlm", None) => {
                self.insecure_locks = false;
                Topic::Locks
            }
            // What these ask for is what is always done.
            ("sync" | "no_subtree_check" | "wdelay" | "no_wdelay", None) => Topic::Nothing,
            (name, _) => return Err(refused(word, name)),
        })
    }
}

/// Words of exports(5) that are not served, and what to do about each.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["async"],
        "leave it out: a client that may lose writes mounts with its own async option, and this \
         server never answers before a write is as stable as the client asked",
    ),
    (&["fsid"], "leave it out: handles need no number from you"),
    (&["subtree_check"], "leave it out: a handle is tied to its export anyway"),
    (&["sec"], "leave it out: AUTH_SYS is the only flavor served"),
    (&["no_all_squash"], "leave it out: nobody but root is squashed where nothing is said"),
    (
        &["crossmnt", "nohide", "hide"],
        "leave it out, and export what is mounted below this directory as an export of its own",
    ),
    (&["acl", "no_acl"], "leave it out: the kernel judges by the ACLs of the file system"),
    (&["mountpoint", "mp", "refer", "replicas", "pnfs", "xprtsec"], "leave it out"),
    (&["nordirplus", "security_label"], "leave it out"),
];

fn refused(word: &str, name: &str) -> OptionError {
    let known = REFUSED.iter().find(|(names, _)| names.contains(&name));
    let mend = known.map_or(
        "the options are rw, ro, root_squash, no_root_squash, all_squash, anonuid=N, anongid=N, \
         secure, insecure, secure_locks, insecure_locks",
        |(_, mend)| mend,
    );
    OptionError::Refused { word: word.to_owned(), mend }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_words_are_the_defaults_of_exports_5() {
        let options = Options::parse("").expect("nothing");
        assert!(options.read_only && options.squash == Squash::Root && !options.secure);
        assert_eq!((options.anon_uid, options.anon_gid), (65534, 65534));
    }

    #[test]
    fn words_are_read() {
        let options = Options::parse(
            "rw, sync,no_subtree_check,all_squash,anonuid=7,anongid=8,secure,rw,\
             no_auth_nlm",
        );
        let expected = Options {
            read_only: false,
            squash: Squash::All,
            anon_uid: 7,
            anon_gid: 8,
            secure: true,
            insecure_locks: true,
        };
        assert_eq!(options, Ok(expected));
    }

    #[test]
    fn each_mistake_is_named_with_its_mend() {
        let table = [
            ("rw,ro", "\"rw\" and \"ro\" contradict each other; keep one of them"),
            (
                "all_squash,root_squash",
                "\"all_squash\" and \"root_squash\" contradict each other; keep one of them",
            ),
            ("anonuid=-2", "\"anonuid=-2\" wants a number from 0 to 4294967294 behind the \"=\""),
            ("anongid", "\"anongid\" wants a number from 0 to 4294967294 behind the \"=\""),
            (
                "anonuid=4294967295",
                "\"anonuid=4294967295\" wants a number from 0 to 4294967294 behind the \"=\"",
            ),
            (
                "fsid=0",
                "\"fsid=0\" is not an option here; leave it out: handles need no number from you",
            ),
            (
                "readwrite",
                "\"readwrite\" is not an option here; the options are rw, ro, root_squash, \
                 no_root_squash, all_squash, anonuid=N, anongid=N, secure, insecure, \
                 secure_locks, insecure_locks",
            ),
        ];
        for (words, expected) in table {
            let errors = Options::parse(words).expect_err(words);
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
        }
        assert_eq!(Options::parse("async,nope,anonuid=x").expect_err("three").len(), 3);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _ = Options::parse(&text);
        }
    }
}
