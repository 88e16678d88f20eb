//! What people read: aligned columns, ages, and no byte that a terminal would obey.

use std::fmt::Write as _;

use crate::admin::wire::PathText;

const SECOND_MS: u64 = 1000;
const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 60 * MINUTE_S;
const DAY_S: u64 = 24 * HOUR_S;

/// A duration in its two largest units: `12s`, `3m12s`, `2h05m`, `5d03h`.
pub(super) fn age(age_ms: u64) -> String {
    let seconds = age_ms / SECOND_MS;
    match seconds {
        0..MINUTE_S => format!("{seconds}s"),
        MINUTE_S..HOUR_S => format!("{}m{:02}s", seconds / MINUTE_S, seconds % MINUTE_S),
        HOUR_S..DAY_S => format!("{}h{:02}m", seconds / HOUR_S, seconds % HOUR_S / MINUTE_S),
        _ => format!("{}d{:02}h", seconds / DAY_S, seconds % DAY_S / HOUR_S),
    }
}

/// Text with whatever a terminal might obey or hide escaped.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '\'' | '"' | '\\' => shown.push(one),
            _ => shown.extend(one.escape_debug()),
        }
    }
    shown
}

/// A path likewise.
pub(super) fn path(path: &PathText) -> String {
    match path {
        PathText::Text(text) => printable(text),
        PathText::Bytes(bytes) => bytes.escape_ascii().to_string(),
    }
}

/// Rows of equally many cells as lines whose columns are aligned; the last cell is not padded.
pub(super) fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for (cell, &width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// `one` of what there is one of, else the number and `many`.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_their_two_largest_units() {
        let table = [
            (0, "0s"),
            (59_999, "59s"),
            (60_000, "1m00s"),
            (192_500, "3m12s"),
            (3_599_999, "59m59s"),
            (7_500_000, "2h05m"),
            (86_400_000, "1d00h"),
            (u64::MAX, "213503982334d14h"),
        ];
        for (age_ms, text) in table {
            assert_eq!(age(age_ms), text, "{age_ms}");
        }
    }

    #[test]
    fn a_terminal_is_told_nothing() {
        assert_eq!(printable("it's \"a\\b\" \u{e9}"), "it's \"a\\b\" \u{e9}");
        assert_eq!(printable("\x1b[2J\r\n\t\u{9b}\u{202e}"), "\\u{1b}[2J\\r\\n\\t\\u{9b}\\u{202e}");
        assert_eq!(path(&PathText::Bytes(b"/a\xff\x1b".to_vec())), "/a\\xff\\x1b");
    }

    #[test]
    fn columns_are_aligned() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let lines = aligned(&[row(["ID", "A", "LAST"]), row(["1", "long", "x"])]);
        assert_eq!(lines, ["ID  A     LAST", "1   long  x"]);
    }
}
