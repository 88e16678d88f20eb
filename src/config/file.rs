//! A configuration file in TOML, read into a draft with the line of everything it says.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::draft::{Draft, ExportDraft};
use super::mistake::{Mistakes, Place, Said};
use super::{connections, limits};

/// The largest configuration file, in bytes.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

const KEYS: &str = "listen, state_dir, grace_s, recovery, unreachable_hold_s, client_lease_s, \
                    unreachable_grant_s, fair_wait_s, durability, rpcbind, notify_names, log, \
                    [limits], [[export]]";
const EXPORT_KEYS: &str = "path, clients";
const NOT_TOML_MEND: &str = "write each key once, as KEY = VALUE, and strings in \"quotes\"";

/// Reads a file. What cannot be read is among the mistakes.
pub fn read(path: &Path, mistakes: &mut Mistakes) -> Draft {
    match text_of(path) {
        Ok(text) => parse(&path.display().to_string(), &text, mistakes),
        Err(error) => {
            let place = Place::File(path.display().to_string());
            mistakes.add(
                &place,
                format_args!("cannot be read: {error}; name a text file that you may read"),
            );
            Draft::default()
        }
    }
}

fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if length as u64 > FILE_BYTES_MAX {
        let message = format!("it is larger than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

/// Reads a file's text; `name` is what its mistakes call it.
pub fn parse(name: &str, text: &str, mistakes: &mut Mistakes) -> Draft {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut file = File { name, text, mistakes };
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        let place = file.place(at, "");
        match bare_word(text, at) {
            Some(word) => {
                file.mistakes.add(&place, format_args!("{word} stands bare; write \"{word}\""));
            }
            None => {
                let text = format_args!("not TOML: {}; {NOT_TOML_MEND}", error.message());
                file.mistakes.add(&place, text);
            }
        }
    }
    // What a parser makes of a broken file would only lead to mistakes that nobody made.
    if errors.is_empty() { file.draft(document.get_ref()) } else { Draft::default() }
}

/// The value of the line at `at` if it is a string that somebody forgot to quote; the parser
/// makes a float of `info` and has no good word for a path.
fn bare_word(text: &str, at: usize) -> Option<&str> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    let (_, value) = text[start..].lines().next()?.split_once('=')?;
    let word = value.split_whitespace().next()?;
    let wordy = |char: char| char.is_alphanumeric() || "/_-.:*~".contains(char);
    let string = word.starts_with(|char: char| char.is_alphabetic() || "/*~".contains(char));
    (string && word.chars().all(wordy) && !["true", "false"].contains(&word)).then_some(word)
}

struct File<'a> {
    name: &'a str,
    text: &'a str,
    mistakes: &'a mut Mistakes,
}

type Value<'i> = Spanned<DeValue<'i>>;

impl File<'_> {
    fn place(&self, at: usize, key: &str) -> Place {
        let before = self.text.as_bytes().iter().take(at);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        Place::Line { file: self.name.to_owned(), line, key: key.to_owned() }
    }

    fn draft(&mut self, table: &DeTable<'_>) -> Draft {
        let mut draft = Draft::default();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            match name {
                "listen" => draft.listen = self.listen(name, value),
                "state_dir" => draft.state_dir = self.absolute(name, value),
                "grace_s" => draft.grace_s = self.integer(name, value),
                "recovery" => draft.recovery = self.string(name, value),
                "unreachable_hold_s" => draft.unreachable_hold_s = self.integer(name, value),
                "client_lease_s" => draft.client_lease_s = self.integer(name, value),
                "unreachable_grant_s" => {
                    draft.unreachable_grant_s = self.integer(name, value);
                }
                "fair_wait_s" => draft.fair_wait_s = self.integer(name, value),
                "limits" => draft.limits = self.limits(value),
                "durability" => draft.durability = self.string(name, value),
                "rpcbind" => draft.rpcbind = self.string(name, value),
                "notify_names" => draft.notify_names = self.names(name, value),
                "log" => draft.log = self.string(name, value),
                "export" => draft.exports = self.exports(value),
                _ => self.unknown(key.span().start, name, KEYS),
            }
        }
        draft
    }

    fn limits(&mut self, value: &Value<'_>) -> Vec<Said<(String, String)>> {
        let Some(table) = value.get_ref().as_table() else {
            let text = "it is a table; begin it with a line [limits]";
            self.mistakes.add(&self.place(value.span().start, "limits"), text);
            return Vec::new();
        };
        let mut limits = Vec::new();
        for (key, value) in table {
            let (at, key) = (key.span().start, key.get_ref());
            let full = format!("limits.{key}");
            let keys = [&limits::KEYS[..], &connections::KEYS].concat();
            if !keys.contains(&key.as_ref()) {
                self.unknown(at, &full, &keys.join(", "));
            } else if let Some(number) = self.integer(&full, value) {
                limits.push(Said::new(number.place, (key.to_string(), number.value)));
            }
        }
        limits
    }

    fn exports(&mut self, value: &Value<'_>) -> Vec<ExportDraft> {
        let tables: Option<Vec<_>> = value.get_ref().as_array().and_then(|array| {
            array.iter().map(|item| Some((item.span().start, item.get_ref().as_table()?))).collect()
        });
        let Some(tables) = tables else {
            self.mistakes.add(
                &self.place(value.span().start, "export"),
                "it is a list of tables; begin each with a line [[export]]",
            );
            return Vec::new();
        };
        tables.into_iter().filter_map(|(at, table)| self.export(at, table)).collect()
    }

    fn export(&mut self, at: usize, table: &DeTable<'_>) -> Option<ExportDraft> {
        let (mut path, mut clients) = (None, None);
        let (mut path_said, mut clients_said) = (false, false);
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "path" => {
                    path_said = true;
                    path = self.absolute("export.path", value);
                }
                "clients" => {
                    clients_said = true;
                    clients = self.clients(value);
                }
                name => {
                    let key_name = format!("export.{name}");
                    self.unknown(key.span().start, &key_name, EXPORT_KEYS);
                }
            }
        }
        let place = self.place(at, "export");
        if !path_said {
            self.mistakes.add(&place, "no path; add path = \"/the/directory\"");
        }
        if !clients_said {
            self.mistakes.add(&place, "no clients; add clients = { \"*\" = \"ro\" } or narrower");
        }
        Some(ExportDraft { path: path?, clients: clients? })
    }

    fn clients(&mut self, value: &Value<'_>) -> Option<Vec<Said<(String, String)>>> {
        let key = "export.clients";
        let Some(table) = value.get_ref().as_table().filter(|table| !table.is_empty()) else {
            self.mistakes.add(
                &self.place(value.span().start, key),
                "it says who and how; write clients = { \"192.0.2.0/24\" = \"rw\" }",
            );
            return None;
        };
        let mut clients = Vec::new();
        for (who, options) in table {
            if let Some(options) = self.string(key, options) {
                let place = self.place(who.span().start, key);
                clients.push(Said::new(place, (who.get_ref().to_string(), options.value)));
            }
        }
        Some(clients)
    }

    fn unknown(&mut self, at: usize, key: &str, keys: &str) {
        let place = self.place(at, key);
        self.mistakes.add(&place, format_args!("no such key; the keys are {keys}"));
    }

    fn wrong(&mut self, key: &str, value: &Value<'_>, wanted: &str) {
        let place = self.place(value.span().start, key);
        let kind = value.get_ref().type_str();
        self.mistakes.add(&place, format_args!("of type {kind}; write {wanted}"));
    }

    fn string(&mut self, key: &str, value: &Value<'_>) -> Option<Said<String>> {
        let text = value.get_ref().as_str().map(ToOwned::to_owned);
        if text.is_none() {
            self.wrong(key, value, "a string in quotes");
        }
        Some(Said::new(self.place(value.span().start, key), text?))
    }

    fn listen(&mut self, key: &str, value: &Value<'_>) -> Vec<Said<String>> {
        match self.strings(key, value) {
            Some(listen) if !listen.is_empty() => listen,
            _ => {
                self.wrong(key, value, "a list of strings: [\"*:2049\"]");
                Vec::new()
            }
        }
    }

    fn names(&mut self, key: &str, value: &Value<'_>) -> Vec<Said<String>> {
        let names = self.strings(key, value);
        if names.is_none() {
            self.wrong(key, value, "a list of strings: [\"nas.example.org\"]");
        }
        names.unwrap_or_default()
    }

    /// The strings of a list; `None` where it is none.
    fn strings(&mut self, key: &str, value: &Value<'_>) -> Option<Vec<Said<String>>> {
        let array = value.get_ref().as_array()?;
        Some(array.iter().filter_map(|item| self.string(key, item)).collect())
    }

    /// An integer as its digits, to be judged with those of the flags.
    fn integer(&mut self, key: &str, value: &Value<'_>) -> Option<Said<String>> {
        let number = value.get_ref().as_integer().map(ToString::to_string);
        if number.is_none() {
            self.wrong(key, value, "a whole number");
        }
        Some(Said::new(self.place(value.span().start, key), number?))
    }

    /// A path, absolute because nobody knows where a server is started from.
    fn absolute(&mut self, key: &str, value: &Value<'_>) -> Option<Said<PathBuf>> {
        let said = self.string(key, value)?;
        let path = PathBuf::from(said.value);
        if path.is_absolute() {
            return Some(Said::new(said.place, path));
        }
        let text = format!("\"{}\" is not absolute; begin it with \"/\"", path.display());
        self.mistakes.add(&said.place, text);
        None
    }
}
