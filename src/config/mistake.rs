//! A mistake in a configuration: where it stands, and what is wrong with the mend.

use std::fmt;

/// Where something was said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the command line: the flag.
    Flag(&'static str),
    /// In a file as a whole.
    File(String),
    /// In a line of a file.
    Line {
        /// The file as it was named.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The key, such as `export.path`; empty where the line has none.
        key: String,
    },
    /// Nowhere: a default.
    Default(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::File(file) => f.write_str(file),
            Self::Line { file, line, key } if key.is_empty() => write!(f, "{file}:{line}"),
            Self::Line { file, line, key } => write!(f, "{file}:{line}: {key}"),
            Self::Default(key) => write!(f, "{key} (default)"),
        }
    }
}

/// Something that was said, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said<T> {
    /// Where.
    pub place: Place,
    /// What.
    pub value: T,
}

impl<T> Said<T> {
    /// What was said at a place.
    pub const fn new(place: Place, value: T) -> Self {
        Self { place, value }
    }
}

/// A mistake: one line for people when displayed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where it stands.
    pub place: Place,
    /// What is wrong, and the mend.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        // One line whatever a file, a path or a parser's message contains.
        self.text.chars().try_for_each(|char| match char {
            char if char.is_control() => write!(f, "{}", char.escape_default()),
            char => write!(f, "{char}"),
        })
    }
}

impl std::error::Error for Mistake {}

/// Gathers mistakes, so that all are told at once.
#[derive(Debug, Default)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Adds one.
    pub fn add(&mut self, place: &Place, text: impl fmt::Display) {
        self.0.push(Mistake { place: place.clone(), text: text.to_string() });
    }

    /// Takes the value out of a result, or adds the error.
    pub fn take<T>(&mut self, place: &Place, result: Result<T, impl fmt::Display>) -> Option<T> {
        result.map_err(|error| self.add(place, error)).ok()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order of their places.
    #[must_use]
    pub fn into_sorted(mut self) -> Vec<Mistake> {
        self.0.sort();
        self.0.dedup();
        self.0
    }
}
