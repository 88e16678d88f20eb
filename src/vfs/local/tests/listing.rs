//! READDIR.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const ENTRIES: usize = 4_000;
const PAGE: usize = 100;

with_both_handles!(
    everything_is_listed_once,
    cookies_stay_good_while_entries_go,
    false_cookies_are_refused,
    nothing_is_above_the_root,
);

/// One page from a cookie: the entries and whether it was the last.
fn page(lab: &Lab, dir: &FileHandle, from: (u64, [u8; 8])) -> (Vec<(String, u64)>, Listing) {
    let mut entries = Vec::new();
    let take = &mut |entry: Entry<'_>| {
        if entries.len() == PAGE {
            return false;
        }
        entries.push((String::from_utf8_lossy(entry.name).into_owned(), entry.cookie));
        true
    };
    let listing = lab.fs.read_dir(&alice(), dir, from.0, from.1, take, &mut None).unwrap();
    (entries, listing)
}

/// Everything, page by page; `between` is called after each page with what it held.
fn list(
    lab: &Lab,
    dir: &FileHandle,
    mut between: impl FnMut(&[(String, u64)]),
) -> BTreeMap<String, usize> {
    let (mut seen, mut from) = (BTreeMap::new(), (0, [0; 8]));
    loop {
        let (entries, listing) = page(lab, dir, from);
        for (name, _) in &entries {
            *seen.entry(name.clone()).or_default() += 1;
        }
        between(&entries);
        if listing.eof {
            return seen;
        }
        from = (entries.last().unwrap().1, listing.verifier);
    }
}

fn everything_is_listed_once(lab: Lab) {
    let dir = lab.make_dir(&alice(), "dir", 0o755);
    let empty = list(&lab, &dir, |_| {});
    assert_eq!(empty.into_iter().collect::<Vec<_>>(), [(".".into(), 1), ("..".into(), 1)]);
    for count in [1, PAGE - 3, PAGE - 2, PAGE - 1, 3 * PAGE - 2] {
        let name = format!("with {count}");
        let dir = lab.make_dir(&alice(), &name, 0o755);
        for n in 0..count {
            std::fs::write(lab.path(&name).join(n.to_string()), b"").unwrap();
        }
        let seen = list(&lab, &dir, |_| {});
        assert_eq!(seen.len(), count + 2);
        assert!(seen.values().all(|times| *times == 1));
    }
    // Each entry is the file that it names.
    let take = &mut |entry: Entry<'_>| {
        let (_, attributes) = lab.fs.lookup(&alice(), &dir, entry.name, &mut None).unwrap();
        assert_eq!(attributes.fileid, entry.fileid);
        true
    };
    lab.fs.read_dir(&alice(), &dir, 0, [0; 8], take, &mut None).unwrap();
}

fn cookies_stay_good_while_entries_go(lab: Lab) {
    let dir = lab.make_dir(&alice(), "dir", 0o777);
    for n in 0..ENTRIES {
        std::fs::write(lab.path("dir").join(format!("file {n}")), b"").unwrap();
    }
    // What was listed is removed, as `rm -r` does, and other files come.
    let mut extra = 0;
    let seen = list(&lab, &dir, |entries| {
        for (name, _) in entries.iter().filter(|(name, _)| name.starts_with("file")) {
            std::fs::remove_file(lab.path("dir").join(name)).unwrap();
        }
        extra += 1;
        std::fs::write(lab.path("dir").join(format!("extra {extra}")), b"").unwrap();
    });
    let files: BTreeSet<_> = seen.keys().filter(|name| name.starts_with("file")).collect();
    assert_eq!(files.len(), ENTRIES);
    assert!(seen.values().all(|times| *times == 1));
}

fn false_cookies_are_refused(mut lab: Lab) {
    let dir = lab.make_dir(&alice(), "dir", 0o755);
    for n in 0..3 * PAGE {
        std::fs::write(lab.path("dir").join(n.to_string()), b"").unwrap();
    }
    let (entries, listing) = page(&lab, &dir, (0, [0; 8]));
    let cookie = entries.last().unwrap().1;
    let read = |lab: &Lab, dir: &FileHandle, cookie, verifier| {
        lab.fs.read_dir(&alice(), dir, cookie, verifier, &mut |_| true, &mut None)
    };
    assert_eq!(read(&lab, &dir, cookie, [1; 8]), Err(FsError::BadCookie));
    // Some clients send none.
    assert!(read(&lab, &dir, cookie, [0; 8]).is_ok());
    assert_eq!(read(&lab, &dir, u64::MAX, listing.verifier), Err(FsError::BadCookie));
    let other = lab.make_dir(&alice(), "other", 0o755);
    assert_eq!(read(&lab, &other, cookie, listing.verifier), Err(FsError::BadCookie));
    lab.restart();
    assert!(read(&lab, &dir, cookie, listing.verifier).is_ok_and(|listing| listing.eof));
    let gone = lab.fs.root();
    lab.fs.remove_dir(&alice(), &gone, b"other", &mut Wcc::default()).unwrap();
    assert_eq!(read(&lab, &other, 0, [0; 8]), Err(FsError::Stale));
}

fn nothing_is_above_the_root(lab: Lab) {
    let root = lab.fs.root();
    let root_id = lab.fs.attributes(&root).unwrap().fileid;
    let mut found = Vec::new();
    let take = &mut |entry: Entry<'_>| {
        found.push((entry.name.to_vec(), entry.fileid));
        true
    };
    lab.fs.read_dir(&alice(), &root, 0, [0; 8], take, &mut None).unwrap();
    found.sort();
    assert_eq!(found, [(b".".to_vec(), root_id), (b"..".to_vec(), root_id)]);
}
