//! Handles and identities: across renames, links, restarts and removals; and no way out.

use super::*;
use crate::vfs::FILE_HANDLE_BYTES_MAX;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

with_both_handles!(
    handles_survive_rename_and_restart,
    handles_are_stale_once_the_file_is_gone,
    handles_are_stale_also_while_the_number_of_what_is_gone_is_given_away,
    a_new_file_of_the_name_has_another_handle,
    made_up_handles_are_refused,
    one_file_has_one_identity,
    renames_by_others_are_found,
    the_root_is_above_itself,
    a_directory_moved_away_has_no_way_out,
    mounts_inside_are_not_entered,
    deep_trees_resolve,
    files_are_found_while_they_are_renamed,
    an_identity_leads_to_the_path_and_a_path_to_the_identity,
);

fn handles_survive_rename_and_restart(mut lab: Lab) {
    let (root, wcc) = (lab.fs.root(), &mut Wcc::default());
    let dir = lab.make_dir(&alice(), "dir", 0o755);
    let how = CreateHow::Guarded(with_mode(0o644));
    let (file, attributes) = lab.fs.create(&alice(), &dir, b"file", how, wcc).unwrap();
    let identity = lab.fs.identity(&file).unwrap();
    // Only the kernel's handles say by themselves what they name.
    let at_once = (!lab.fs.uses_handle_table()).then(|| identity.clone());
    assert_eq!(lab.fs.identity_at_once(&file), at_once);
    assert!(file.0.len() <= FILE_HANDLE_BYTES_MAX);
    let check = |lab: &Lab, place: (&FileHandle, &str)| {
        assert_eq!(lab.fs.attributes(&file).unwrap().fileid, attributes.fileid);
        assert_eq!(lab.fs.identity(&file), Ok(identity.clone()));
        assert_eq!(lab.lookup(&alice(), place.0, place.1), Ok(file.clone()));
    };
    check(&lab, (&dir, "file"));
    lab.restart();
    assert_eq!(lab.fs.root(), root);
    check(&lab, (&dir, "file"));
    lab.rename(&alice(), (&dir, "file"), (&root, "moved")).unwrap();
    check(&lab, (&root, "moved"));
    lab.rename(&alice(), (&root, "moved"), (&dir, "back")).unwrap();
    lab.rename(&alice(), (&root, "dir"), (&root, "other")).unwrap();
    check(&lab, (&dir, "back"));
    lab.restart();
    check(&lab, (&dir, "back"));
    assert_eq!(lab.lookup(&alice(), &root, "other"), Ok(dir));
}

fn handles_are_stale_once_the_file_is_gone(mut lab: Lab) {
    let (ours, theirs) =
        (lab.create(&alice(), "ours", 0o644), lab.create(&alice(), "theirs", 0o644));
    // Open files live on without a name, but not for us.
    let _open =
        [lab.path("ours"), lab.path("theirs")].map(|path| std::fs::File::open(path).unwrap());
    let identities = [&ours, &theirs].map(|file| lab.fs.identity(file).unwrap());
    lab.remove(&alice(), "ours").unwrap();
    std::fs::remove_file(lab.path("theirs")).unwrap();
    assert_eq!(lab.fs.attributes(&theirs), Err(FsError::Stale));
    // Their locks are given up by the same names.
    assert_eq!([&ours, &theirs].map(|file| lab.fs.identity(file).unwrap()), identities);
    for _ in 0..2 {
        for file in [&ours, &theirs] {
            assert_eq!(lab.fs.attributes(file), Err(FsError::Stale));
            assert_eq!(lab.read(&alice(), file), Err(FsError::Stale));
            assert_eq!(lab.write(&alice(), file, b"x"), Err(FsError::Stale));
            assert_eq!(lab.link(&alice(), file, "back"), Err(FsError::Stale));
        }
        lab.restart();
    }
}

fn handles_are_stale_also_while_the_number_of_what_is_gone_is_given_away(lab: Lab) {
    const ROUNDS: usize = 200;
    const LOOKS: usize = 20;
    lab.make_dir(&alice(), "others", 0o777);
    let (other, done) = (lab.path("others/other"), AtomicBool::new(false));
    let gone = || {
        let gone = lab.make_dir(&alice(), "gone", 0o755);
        let wcc = &mut Wcc::default();
        lab.fs.remove_dir(&alice(), &lab.fs.root(), b"gone", wcc).unwrap();
        gone
    };
    let looks = |gone| (0..LOOKS).map(|_| lab.fs.attributes(&gone)).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                std::fs::create_dir(&other).unwrap();
                std::fs::remove_dir(&other).unwrap();
            }
        });
        let mut seen = (0..ROUNDS).flat_map(|_| looks(gone()));
        let wrong = seen.find(|look| *look != Err(FsError::Stale));
        done.store(true, Ordering::Relaxed);
        assert_eq!(wrong, None);
    });
}

fn a_new_file_of_the_name_has_another_handle(lab: Lab) {
    let born = lab.fs.resolve(&lab.fs.root()).unwrap().stat.born;
    if lab.fs.uses_handle_table() && (lab.fs.born_changes || born.is_none()) {
        // Once somebody else removed the first, nothing tells the two apart.
        return;
    }
    let old = lab.create(&alice(), "file", 0o644);
    let old_identity = lab.fs.identity(&old).unwrap();
    std::fs::remove_file(lab.path("file")).unwrap();
    // Most likely in the inode of the old one. The table tells them apart by their births, which
    // the kernel's clock counts in ticks of some milliseconds.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let new = lab.create(&alice(), "file", 0o644);
    assert_ne!(old, new);
    assert_ne!(lab.fs.identity(&new).unwrap(), old_identity);
    assert_eq!(lab.fs.attributes(&old), Err(FsError::Stale));
    assert!(lab.fs.attributes(&new).is_ok());
}

fn made_up_handles_are_refused(lab: Lab) {
    let file = lab.create(&alice(), "file", 0o644);
    let refused = |bytes: &[u8]| match lab.fs.attributes(&FileHandle(bytes.into())) {
        Err(FsError::Stale | FsError::BadHandle) => {}
        other => panic!("{bytes:?}: {other:?}"),
    };
    refused(&[]);
    (0..=u8::MAX).for_each(|byte| refused(&[byte]));
    for length in 1..FILE_HANDLE_BYTES_MAX + 20 {
        refused(&vec![0xa5; length]);
        refused(&[&[1], &vec![1; length][..]].concat());
        refused(&[&[2], &vec![9; length][..]].concat());
    }
    for cut in 0..file.0.len() {
        refused(&file.0[..cut]);
    }
}

fn one_file_has_one_identity(mut lab: Lab) {
    let dir = lab.make_dir(&alice(), "dir", 0o777);
    let file = lab.create(&alice(), "file", 0o644);
    let other = lab.create(&alice(), "other", 0o644);
    let wcc = &mut Wcc::default();
    lab.fs.link(&alice(), &file, (&dir, b"link"), &mut None, wcc).unwrap();
    let linked = lab.lookup(&alice(), &dir, "link").unwrap();
    let identity = lab.fs.identity(&file).unwrap();
    assert_eq!(lab.fs.identity(&linked).unwrap(), identity);
    assert_ne!(lab.fs.identity(&other).unwrap(), identity);
    // The directory below is an export of its own.
    let below = LocalFs::open(&lab.path("dir"), lab.table.clone(), lab.options).unwrap();
    let (seen, _) = below.lookup(&alice(), &below.root(), b"link", &mut None).unwrap();
    assert_eq!(below.identity(&seen).unwrap(), identity);
    lab.restart();
    assert_eq!(lab.fs.identity(&file).unwrap(), identity);
    // The name by which it was found first goes; the file stays.
    lab.remove(&alice(), "file").unwrap();
    assert_eq!(lab.fs.identity(&linked).unwrap(), identity);
}

fn renames_by_others_are_found(mut lab: Lab) {
    let (dir, wcc) = (lab.make_dir(&alice(), "dir", 0o755), &mut Wcc::default());
    let how = CreateHow::Guarded(with_mode(0o644));
    let (file, _) = lab.fs.create(&alice(), &dir, b"file", how, wcc).unwrap();
    std::fs::rename(lab.path("dir/file"), lab.path("dir/renamed")).unwrap();
    assert!(lab.fs.attributes(&file).is_ok());
    std::fs::rename(lab.path("dir"), lab.path("elsewhere")).unwrap();
    lab.restart();
    assert!(lab.fs.attributes(&file).is_ok());
    assert_eq!(lab.lookup(&alice(), &dir, "renamed"), Ok(file.clone()));
    // Another file of the old name is not mistaken for it.
    std::fs::write(lab.path("elsewhere/file"), b"another").unwrap();
    assert_eq!(lab.read(&alice(), &file).unwrap(), b"");
    // Found anew where it went, a file is the same.
    std::fs::rename(lab.path("elsewhere/renamed"), lab.path("away")).unwrap();
    let found = lab.lookup(&alice(), &lab.fs.root(), "away").unwrap();
    assert_eq!(found, file);
    assert!(lab.fs.attributes(&file).is_ok());
}

fn the_root_is_above_itself(lab: Lab) {
    let root = lab.fs.root();
    let dir = lab.make_dir(&alice(), "dir", 0o755);
    assert_eq!(lab.lookup(&alice(), &root, ".."), Ok(root.clone()));
    assert_eq!(lab.lookup(&alice(), &root, "."), Ok(root.clone()));
    assert_eq!(lab.lookup(&alice(), &dir, ".."), Ok(root));
    assert_eq!(lab.lookup(&alice(), &dir, "."), Ok(dir));
}

fn a_directory_moved_away_has_no_way_out(lab: Lab) {
    let (dir, wcc) = (lab.make_dir(&alice(), "dir", 0o755), &mut Wcc::default());
    let (sub, _) = lab.fs.make_dir(&alice(), &dir, b"sub", &with_mode(0o755), wcc).unwrap();
    std::fs::rename(lab.path("dir"), lab.dir.path().join("outside")).unwrap();
    assert_eq!(lab.lookup(&alice(), &dir, ".."), Err(FsError::Stale));
    let above_sub = lab.lookup(&alice(), &sub, "..");
    assert_eq!(above_sub, Err(FsError::Stale));
}

/// In a mount namespace of its own; does nothing where the process may not have one.
fn mounts_inside_are_not_entered(lab: Lab) {
    let dir = lab.make_dir(&alice(), "dir", 0o777);
    let how = CreateHow::Guarded(with_mode(0o644));
    let (file, hidden) = lab.fs.create(&alice(), &dir, b"file", how, &mut Wcc::default()).unwrap();
    let identity = lab.fs.identity(&file).unwrap();
    let (root, path) = (lab.fs.root(), lab.path("dir"));
    let thread = std::thread::spawn(move || {
        let Ok(target) = std::ffi::CString::new(path.into_os_string().into_encoded_bytes()) else {
            return;
        };
        // SAFETY: the strings end with NUL and outlive the calls; the namespace is this thread's.
        let mounted = unsafe {
            libc::unshare(libc::CLONE_NEWNS | libc::CLONE_FS) == 0
                && libc::mount(
                    std::ptr::null(),
                    c"/".as_ptr(),
                    std::ptr::null(),
                    libc::MS_REC | libc::MS_PRIVATE,
                    std::ptr::null(),
                ) == 0
                && libc::mount(
                    c"none".as_ptr(),
                    target.as_ptr(),
                    c"tmpfs".as_ptr(),
                    0,
                    std::ptr::null(),
                ) == 0
        };
        if !mounted {
            return;
        }
        let lab = Lab {
            fs: LocalFs::open(&lab.path(""), lab.table.clone(), lab.options).unwrap(),
            ..lab
        };
        // Its path leads elsewhere now, so it is not told.
        let found = lab.fs.whereabouts(&identity);
        assert!(!matches!(found, Some(Whereabouts::At(_))), "{found:?}");
        if !lab.fs.uses_handle_table() {
            let inode = |at: &Whereabouts| match at {
                Whereabouts::Nameless { inode, .. } => Some(*inode),
                _ => None,
            };
            assert_eq!(found.as_ref().and_then(inode), Some(hidden.fileid));
        }
        // The directory beneath is shown, as before there was a mount.
        assert_eq!(lab.lookup(&Identity::ROOT, &root, "dir").as_ref(), Ok(&dir));
        assert_eq!(lab.names(&alice(), &root).unwrap(), [".", "..", "dir"]);
        assert_eq!(lab.names(&alice(), &dir).unwrap(), [".", "..", "file"]);
        assert_eq!(lab.lookup(&alice(), &dir, "file").as_ref(), Ok(&file));
        assert_eq!(lab.lookup(&alice(), &dir, "..").as_ref(), Ok(&root));
        // What is mounted is a tree of its own.
        let inner = LocalFs::open(&lab.path("dir"), lab.table.clone(), lab.options).unwrap();
        let above = inner.lookup(&alice(), &inner.root(), b"..", &mut None).unwrap().0;
        assert_eq!(above, inner.root());
        let wcc = &mut Wcc::default();
        let set = with_mode(0o755);
        let (sub, _) = inner.make_dir(&alice(), &inner.root(), b"sub", &set, wcc).unwrap();
        let above = inner.lookup(&alice(), &sub, b"..", &mut None).unwrap().0;
        assert_eq!(above, inner.root());
        drop(inner);
        // SAFETY: as above.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    });
    thread.join().unwrap();
}

fn deep_trees_resolve(mut lab: Lab) {
    let (mut dirs, wcc) = (vec![lab.fs.root()], &mut Wcc::default());
    let name = "n".repeat(200);
    // Longer than any path that can be opened at once.
    for _ in 0..60 {
        let dir = dirs.last().unwrap();
        let made = lab.fs.make_dir(&alice(), dir, name.as_bytes(), &with_mode(0o755), wcc);
        dirs.push(made.unwrap().0);
    }
    lab.restart();
    assert_eq!(lab.lookup(&alice(), &dirs[60], ".."), Ok(dirs[59].clone()));
    lab.rename(&alice(), (&dirs[0], &name), (&dirs[0], "other")).unwrap();
    assert_eq!(lab.lookup(&alice(), &dirs[59], &name), Ok(dirs[60].clone()));
    // Removed here, since tempfile's own removal goes by path.
    for pair in dirs.windows(2).rev().take(59) {
        lab.fs.remove_dir(&alice(), &pair[0], name.as_bytes(), wcc).unwrap();
    }
    assert_eq!(lab.fs.attributes(&dirs[60]), Err(FsError::Stale));
    assert!(lab.fs.attributes(&dirs[1]).is_ok());
}

/// A reader never loses a file that is renamed, alone or with its directory.
fn files_are_found_while_they_are_renamed(lab: Lab) {
    let lab = Arc::new(lab);
    let root = lab.fs.root();
    let (dirs, wcc) =
        (["a", "b"].map(|name| lab.make_dir(&alice(), name, 0o777)), &mut Wcc::default());
    let how = CreateHow::Guarded(with_mode(0o666));
    let (file, _) = lab.fs.create(&alice(), &dirs[0], b"file", how, wcc).unwrap();
    let writer = {
        let (lab, file, dirs) = (Arc::clone(&lab), file.clone(), dirs.clone());
        std::thread::spawn(move || {
            for round in 0..500 {
                let (from, to) = (&dirs[round % 2], &dirs[(round + 1) % 2]);
                lab.rename(&alice(), (from, "file"), (to, "file")).unwrap();
                lab.rename(&alice(), (&root, "a"), (&root, "c")).unwrap();
                lab.rename(&alice(), (&root, "c"), (&root, "a")).unwrap();
            }
            lab.fs.attributes(&file).unwrap();
        })
    };
    let mut looked = 0;
    while !writer.is_finished() || looked < 100 {
        assert_eq!(lab.fs.attributes(&file).map(|found| found.kind), Ok(Kind::Regular));
        looked += 1;
    }
    writer.join().unwrap();
}

fn an_identity_leads_to_the_path_and_a_path_to_the_identity(mut lab: Lab) {
    let dir = lab.make_dir(&alice(), "dir", 0o755);
    let how = CreateHow::Guarded(with_mode(0o644));
    let (file, _) = lab.fs.create(&alice(), &dir, b"file", how, &mut Wcc::default()).unwrap();
    let identity = lab.fs.identity(&file).unwrap();
    let real = |lab: &Lab, name: &str| lab.path("").canonicalize().unwrap().join(name);
    let at = |lab: &Lab, name: &str| Some(Whereabouts::At(real(lab, name)));
    assert_eq!(lab.fs.whereabouts(&identity), at(&lab, "dir/file"));
    lab.rename(&alice(), (&lab.fs.root(), "dir"), (&lab.fs.root(), "moved")).unwrap();
    lab.restart();
    assert_eq!(lab.fs.whereabouts(&identity), at(&lab, "moved/file"));
    std::os::unix::fs::symlink("moved/file", lab.path("link")).unwrap();
    for name in ["moved/file", "link", "moved/../moved/file"] {
        assert_eq!(lab.fs.identity_at(&lab.path(name)), Ok(Some(identity.clone())), "{name}");
    }
    assert_eq!(lab.fs.identity_at(&lab.path("none")), Err(Errno::NOENT.into()));
    assert_eq!(lab.fs.identity_at("/proc/version".as_ref()), Ok(None));
    let mut elsewhere = identity.0.to_vec();
    elsewhere[0] ^= 1;
    assert_eq!(lab.fs.whereabouts(&FileIdentity(elsewhere.into())), None);
    for cut in 0..identity.0.len() {
        let cut = FileIdentity(identity.0[..cut].into());
        assert!(!matches!(lab.fs.whereabouts(&cut), Some(Whereabouts::At(_))), "{cut:?}");
    }
    let open = std::fs::File::open(lab.path("moved/file")).unwrap();
    std::fs::remove_file(lab.path("moved/file")).unwrap();
    assert!(matches!(lab.fs.whereabouts(&identity), Some(Whereabouts::Deleted(_))));
    drop(open);
    assert_eq!(lab.fs.whereabouts(&identity), Some(Whereabouts::Deleted(None)));
}
