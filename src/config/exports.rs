//! Judges the exports of a draft against the directories of this machine.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cleat_mount::{ClientRule, Export, ExportTable, Options, Who};

use super::draft::ExportDraft;
use super::mistake::{Mistakes, Said};

/// Makes the table. Exports with mistakes are left out of it.
pub fn judge(
    drafts: Vec<ExportDraft>,
    state_dir: Option<&Said<PathBuf>>,
    mistakes: &mut Mistakes,
) -> ExportTable {
    let mut exports = Vec::new();
    let mut reals: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut last = None;
    for draft in drafts {
        let rules = judge_clients(&draft.clients, mistakes);
        let Said { place, value: path } = draft.path;
        let Some(real) = mistakes.take(&place, directory(&path)) else { continue };
        if let Some((_, other)) = reals.iter().find(|(other, _)| *other == real) {
            let (path, other) = (path.display(), other.display());
            let text = if path.to_string() == other.to_string() {
                format!("{path} is exported twice; keep one of them")
            } else {
                format!("{path} is the directory {other}, exported already; keep one of them")
            };
            mistakes.add(&place, text);
            continue;
        }
        exports.extend(mistakes.take(&place, Export::new(path.as_os_str().as_bytes(), rules)));
        reals.push((real, path));
        last = Some(place);
    }
    if let Some(state_dir) = state_dir {
        let reals: Vec<&Path> = reals.iter().map(|(real, _)| real.as_path()).collect();
        judge_state_dir(state_dir, &reals, mistakes);
    }
    let table = ExportTable::new(exports);
    last.and_then(|place| mistakes.take(&place, table)).unwrap_or_default()
}

fn judge_clients(clients: &[Said<(String, String)>], mistakes: &mut Mistakes) -> Vec<ClientRule> {
    let mut rules = Vec::new();
    for Said { place, value: (who, options) } in clients {
        let who = mistakes.take(place, Who::parse(who));
        let options = Options::parse(options)
            .map_err(|errors| errors.iter().for_each(|error| mistakes.add(place, error)));
        if let (Some(who), Ok(options)) = (who, options) {
            rules.push(ClientRule { who, options });
        }
    }
    rules
}

/// Where a directory really is, or why it cannot be exported.
fn directory(path: &Path) -> Result<PathBuf, String> {
    let shown = path.display();
    let real = std::fs::canonicalize(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("{shown} does not exist; make it, or mend the path"),
        _ => format!("{shown} cannot be opened: {error}"),
    })?;
    if real.is_dir() { Ok(real) } else { Err(format!("{shown} is no directory; export one")) }
}

/// Clients must not reach the state directory: they could forge handles and locks with it.
fn judge_state_dir(state_dir: &Said<PathBuf>, exports: &[&Path], mistakes: &mut Mistakes) {
    let Said { place, value: path } = state_dir;
    if path.exists() && !path.is_dir() {
        mistakes.add(place, format_args!("{} is no directory; name another", path.display()));
    }
    let real = real_path(path);
    if let Some(export) = exports.iter().find(|export| real.starts_with(export)) {
        let (path, export) = (path.display(), export.display());
        let text = format_args!(
            "{path} is inside the export {export}, where clients could change it; put it elsewhere \
             with state_dir or --state-dir"
        );
        mistakes.add(place, text);
    }
}

/// Where a path really is, or will be once the missing end of it is made.
fn real_path(path: &Path) -> PathBuf {
    let real = |above: &Path| {
        let missing = path.strip_prefix(above).ok()?;
        Some(std::fs::canonicalize(above).ok()?.join(missing))
    };
    path.ancestors().find_map(real).unwrap_or_else(|| path.to_owned())
}
