//! The names that clients know this server by, besides its addresses and its own.

use super::mistake::{Mistakes, Said};

/// The most names that can be given: each is a call more for each client at each start.
pub const NOTIFY_NAMES_MAX: usize = 8;

/// The longest name, in bytes: as long as one of the DNS.
pub const NOTIFY_NAME_BYTES_MAX: usize = 255;

/// Judges `notify_names`.
pub(super) fn judge(said: &[Said<String>], mistakes: &mut Mistakes) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for Said { place, value } in said {
        let fits = (1..=NOTIFY_NAME_BYTES_MAX).contains(&value.len())
            && value.chars().all(|char| char.is_ascii_alphanumeric() || "._-:".contains(char));
        if !fits {
            let text = format_args!(
                "\"{value}\" is no host's name; write one as clients mount it, as nas.example.org"
            );
            mistakes.add(place, text);
        } else if names.len() >= NOTIFY_NAMES_MAX {
            let text = format_args!("more than {NOTIFY_NAMES_MAX} names; leave some out");
            mistakes.add(place, text);
            break;
        } else {
            names.push(value.clone());
        }
    }
    names
}
