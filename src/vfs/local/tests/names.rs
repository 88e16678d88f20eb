//! LOOKUP, the makers, REMOVE, RMDIR, RENAME, LINK.

use super::*;

with_both_handles!(
    create_makes_a_file,
    create_of_what_is_there,
    exclusive_create_can_be_repeated,
    a_setgid_directory_gives_its_group,
    root_gives_files_away_others_do_not,
    what_cannot_be_finished_is_taken_back,
    directories_are_made_and_removed,
    symbolic_links_are_not_followed,
    nodes_are_made_by_those_who_may,
    rename_replaces_and_moves,
    rename_onto_another_link_keeps_both,
    link_gives_one_more_name,
    only_directories_hold_names,
    what_took_the_place_of_a_new_node_is_left_alone,
    a_change_says_what_was_before_it_unless_another_runs,
    a_rename_within_a_directory_says_what_was_before_it,
    everything_works_with_sync,
);

fn create_makes_a_file(lab: Lab) {
    let (root, mut wcc) = (lab.fs.root(), Wcc::default());
    let how = CreateHow::Unchecked(with_mode(0o640));
    let (file, attributes) = lab.fs.create(&alice(), &root, b"file", how, &mut wcc).unwrap();
    assert_eq!((attributes.kind, attributes.mode, attributes.size), (Kind::Regular, 0o640, 0));
    if tells_users_apart() {
        assert_eq!((attributes.uid, attributes.gid), (4001, 5001));
    }
    assert_eq!(lab.fs.attributes(&file), Ok(attributes));
    let mut dir_after = None;
    let found = lab.fs.lookup(&bob(), &root, b"file", &mut dir_after);
    assert_eq!(found, Ok((file, attributes)));
    assert_eq!(dir_after, Some(lab.fs.attributes(&root).unwrap()));
    assert_eq!(wcc.after, dir_after);
    assert!(wcc.before.unwrap().modified <= wcc.after.unwrap().modified);
    // A mode nobody named is nobody else's.
    let how = CreateHow::Guarded(SetAttributes::default());
    let made = lab.fs.create(&alice(), &root, b"other", how, &mut wcc).unwrap();
    assert_eq!(made.1.mode, 0o600);
    assert_eq!(lab.lookup(&alice(), &root, "none"), os(Errno::NOENT));
    assert_eq!(lab.lookup(&alice(), &root, &"n".repeat(256)), os(Errno::NAMETOOLONG));
}

fn create_of_what_is_there(lab: Lab) {
    let (root, wcc) = (lab.fs.root(), &mut Wcc::default());
    let file = lab.create(&alice(), "file", 0o666);
    lab.write(&alice(), &file, b"content").unwrap();
    let guarded = CreateHow::Guarded(with_mode(0o600));
    assert_eq!(lab.fs.create(&alice(), &root, b"file", guarded, wcc), os(Errno::EXIST));
    // No attribute applies but a size of 0.
    let kept = CreateHow::Unchecked(with_mode(0o600));
    let (same, attributes) = lab.fs.create(&bob(), &root, b"file", kept, wcc).unwrap();
    assert_eq!((same, attributes.mode, attributes.size), (file.clone(), 0o666, 7));
    let emptied = CreateHow::Unchecked(SetAttributes { size: Some(0), ..with_mode(0) });
    let (same, attributes) = lab.fs.create(&bob(), &root, b"file", emptied, wcc).unwrap();
    assert_eq!((same, attributes.mode, attributes.size), (file, 0o666, 0));
    // A directory of the name comes back as what it is.
    let dir = lab.make_dir(&alice(), "dir", 0o755);
    let (same, attributes) = lab.fs.create(&alice(), &root, b"dir", emptied, wcc).unwrap();
    assert_eq!((same, attributes.kind), (dir, Kind::Directory));
    if tells_users_apart() {
        let private = lab.create(&alice(), "private", 0o600);
        lab.write(&alice(), &private, b"content").unwrap();
        assert_eq!(lab.fs.create(&bob(), &root, b"private", emptied, wcc), os(Errno::ACCESS));
        assert_eq!(lab.read(&alice(), &private).unwrap(), b"content");
    }
}

fn exclusive_create_can_be_repeated(mut lab: Lab) {
    let (root, wcc) = (lab.fs.root(), &mut Wcc::default());
    let how = |verifier| CreateHow::Exclusive(verifier);
    for verifier in [*b"verifier", [0xff; 8], [0; 8]] {
        let name = format!("{verifier:?}");
        let made = lab.fs.create(&alice(), &root, name.as_bytes(), how(verifier), wcc).unwrap();
        let again = lab.fs.create(&alice(), &root, name.as_bytes(), how(verifier), wcc).unwrap();
        assert_eq!(made, again);
        lab.restart();
        let again = lab.fs.create(&alice(), &root, name.as_bytes(), how(verifier), wcc).unwrap();
        assert_eq!(made, again);
        let other = lab.fs.create(&alice(), &root, name.as_bytes(), how(*b"another!"), wcc);
        assert_eq!(other, os(Errno::EXIST));
        for bit in 0..64 {
            let other = (u64::from_be_bytes(verifier) ^ 1 << bit).to_be_bytes();
            let other = lab.fs.create(&alice(), &root, name.as_bytes(), how(other), wcc);
            assert_eq!(other, os(Errno::EXIST), "bit {bit}");
        }
        // Once its maker has set it up it is a file like any other.
        let set = SetAttributes { modified: SetTime::Now, ..with_mode(0o644) };
        lab.set(&alice(), &made.0, &set).unwrap();
        let late = lab.fs.create(&alice(), &root, name.as_bytes(), how(verifier), wcc);
        assert_eq!(late, os(Errno::EXIST));
    }
}

fn a_setgid_directory_gives_its_group(lab: Lab) {
    if !tells_users_apart() {
        return;
    }
    let dir = lab.make_dir(&alice(), "dir", 0o777);
    let set = SetAttributes { gid: Some(5100), ..with_mode(0o2777) };
    lab.set(&alice(), &dir, &set).unwrap();
    let (how, wcc) = (CreateHow::Guarded(with_mode(0o644)), &mut Wcc::default());
    let (_, file) = lab.fs.create(&bob(), &dir, b"file", how, wcc).unwrap();
    assert_eq!(file.gid, 5100);
    let (_, sub) = lab.fs.make_dir(&bob(), &dir, b"sub", &with_mode(0o755), wcc).unwrap();
    assert_eq!((sub.gid, sub.mode), (5100, 0o2755));
}

fn root_gives_files_away_others_do_not(lab: Lab) {
    if !tells_users_apart() {
        return;
    }
    let root = lab.fs.root();
    let set = SetAttributes { uid: Some(4002), gid: Some(5002), ..with_mode(0o4755) };
    let how = CreateHow::Guarded(set);
    let wcc = &mut Wcc::default();
    let (_, file) = lab.fs.create(&Identity::ROOT, &root, b"roots", how, wcc).unwrap();
    assert_eq!((file.uid, file.gid, file.mode), (4002, 5002, 0o4755));
    let (_, file) = lab.fs.create(&alice(), &root, b"hers", how, wcc).unwrap();
    assert_eq!((file.uid, file.gid, file.mode), (4001, 5001, 0o4755));
    let (_, link) = lab.fs.symlink(&Identity::ROOT, &root, b"link", b"x", &set, wcc).unwrap();
    assert_eq!((link.uid, link.gid), (4002, 5002));
}

fn what_cannot_be_finished_is_taken_back(lab: Lab) {
    let (root, wcc) = (lab.fs.root(), &mut Wcc::default());
    let set = SetAttributes { size: Some(u64::MAX), ..with_mode(0o644) };
    let made = lab.fs.create(&alice(), &root, b"file", CreateHow::Unchecked(set), wcc);
    assert_eq!(made, os(Errno::FBIG));
    assert_eq!(lab.lookup(&alice(), &root, "file"), os(Errno::NOENT));
    let time = Timestamp { seconds: 1, nanoseconds: 1_000_000_000 };
    let set = SetAttributes { modified: SetTime::To(time), ..with_mode(0o755) };
    assert_eq!(lab.fs.make_dir(&alice(), &root, b"dir", &set, wcc), os(Errno::INVAL));
    assert_eq!(lab.lookup(&alice(), &root, "dir"), os(Errno::NOENT));
    let set = SetAttributes { size: Some(4096), ..with_mode(0) };
    let made = lab.fs.create(&alice(), &root, b"file", CreateHow::Unchecked(set), wcc);
    assert!(made.is_ok_and(|(_, attributes)| attributes.size == 4096));
}

fn directories_are_made_and_removed(lab: Lab) {
    let (root, mut wcc) = (lab.fs.root(), Wcc::default());
    let (dir, attributes) =
        lab.fs.make_dir(&alice(), &root, b"dir", &with_mode(0o1750), &mut wcc).unwrap();
    assert_eq!((attributes.kind, attributes.mode), (Kind::Directory, 0o1750));
    let again = lab.fs.make_dir(&alice(), &root, b"dir", &with_mode(0o750), &mut wcc);
    assert_eq!(again, os(Errno::EXIST));
    let how = CreateHow::Guarded(with_mode(0o644));
    lab.fs.create(&alice(), &dir, b"file", how, &mut wcc).unwrap();
    assert_eq!(lab.fs.remove_dir(&alice(), &root, b"dir", &mut wcc), os(Errno::NOTEMPTY));
    assert_eq!(lab.fs.remove(&alice(), &root, b"dir", &mut wcc), os(Errno::ISDIR));
    assert_eq!(lab.fs.remove_dir(&alice(), &dir, b"file", &mut wcc), os(Errno::NOTDIR));
    lab.fs.remove(&alice(), &dir, b"file", &mut wcc).unwrap();
    assert_eq!(wcc.after, Some(lab.fs.attributes(&dir).unwrap()));
    assert_eq!(lab.fs.remove(&alice(), &dir, b"file", &mut wcc), os(Errno::NOENT));
    lab.fs.remove_dir(&alice(), &root, b"dir", &mut wcc).unwrap();
    assert_eq!(lab.fs.attributes(&dir), Err(FsError::Stale));
}

fn symbolic_links_are_not_followed(lab: Lab) {
    let (root, wcc) = (lab.fs.root(), &mut Wcc::default());
    let set = with_mode(0o777);
    for target in ["/", "..", "/etc/passwd", "dir"] {
        let (link, attributes) =
            lab.fs.symlink(&alice(), &root, b"link", target.as_bytes(), &set, wcc).unwrap();
        assert_eq!(attributes.kind, Kind::Symlink);
        assert_eq!(
            lab.fs.lookup(&alice(), &root, b"link", &mut None),
            Ok((link.clone(), attributes))
        );
        assert_eq!(lab.fs.read_link(&bob(), &link, &mut None).unwrap(), target.as_bytes());
        assert_eq!(lab.lookup(&alice(), &link, "x"), os(Errno::NOTDIR));
        assert_eq!(lab.lookup(&alice(), &link, ".."), os(Errno::NOTDIR));
        assert_eq!(lab.names(&alice(), &link), os(Errno::NOTDIR));
        assert_eq!(lab.read(&alice(), &link), os(Errno::INVAL));
        assert_eq!(lab.write(&alice(), &link, b"x"), os(Errno::INVAL));
        let how = CreateHow::Guarded(set);
        assert_eq!(lab.fs.create(&alice(), &root, b"link", how, wcc), os(Errno::EXIST));
        // Neither a mode nor what it points at changes.
        lab.set(&alice(), &link, &with_mode(0o600)).unwrap();
        lab.remove(&alice(), "link").unwrap();
    }
    let file = lab.create(&alice(), "file", 0o644);
    assert_eq!(lab.fs.read_link(&alice(), &file, &mut None), os(Errno::INVAL));
    let long = vec![b'x'; 5000];
    let refused = lab.fs.symlink(&alice(), &root, b"long", &long, &set, wcc);
    assert_eq!(refused, os(Errno::NAMETOOLONG));
}

fn nodes_are_made_by_those_who_may(lab: Lab) {
    let (root, wcc) = (lab.fs.root(), &mut Wcc::default());
    let set = with_mode(0o666);
    let mut make = |who: &Identity, name: &str, node| {
        lab.fs.make_node(who, &root, name.as_bytes(), node, &set, wcc).map(|(_, made)| made)
    };
    let fifo = make(&alice(), "fifo", Node::Fifo).unwrap();
    assert_eq!((fifo.kind, fifo.mode), (Kind::Fifo, 0o666));
    assert_eq!(make(&alice(), "socket", Node::Socket).unwrap().kind, Kind::Socket);
    assert_eq!(make(&alice(), "null", Node::Character(1, 3)), os(Errno::PERM));
    assert_eq!(make(&alice(), "disk", Node::Block(1 << 12, 0)), os(Errno::INVAL));
    if tells_users_apart() {
        let null = make(&Identity::ROOT, "null", Node::Character(1, 3)).unwrap();
        assert_eq!((null.kind, null.device), (Kind::Character, (1, 3)));
    }
}

fn rename_replaces_and_moves(lab: Lab) {
    let root = lab.fs.root();
    let (one, two) = (lab.create(&alice(), "one", 0o644), lab.create(&alice(), "two", 0o644));
    lab.rename(&alice(), (&root, "one"), (&root, "two")).unwrap();
    assert_eq!(lab.lookup(&alice(), &root, "two"), Ok(one.clone()));
    assert_eq!(lab.lookup(&alice(), &root, "one"), os(Errno::NOENT));
    assert_eq!(lab.fs.attributes(&two), Err(FsError::Stale));
    let dir = lab.make_dir(&alice(), "dir", 0o755);
    let (mut from, mut to) = (Wcc::default(), Wcc::default());
    lab.fs.rename(&alice(), (&root, b"two"), (&dir, b"in"), (&mut from, &mut to)).unwrap();
    assert_eq!(from.after, Some(lab.fs.attributes(&root).unwrap()));
    assert_eq!(to.after, Some(lab.fs.attributes(&dir).unwrap()));
    assert!(to.before.unwrap().changed <= to.after.unwrap().changed);
    assert_eq!(lab.lookup(&alice(), &dir, "in"), Ok(one.clone()));
    assert!(lab.fs.attributes(&one).is_ok());
    // A directory moves with all that is in it; not into itself, nor onto one that is not empty.
    let other = lab.make_dir(&alice(), "other", 0o755);
    assert_eq!(lab.rename(&alice(), (&root, "dir"), (&dir, "x")), os(Errno::INVAL));
    assert_eq!(lab.rename(&alice(), (&root, "other"), (&root, "dir")), os(Errno::NOTEMPTY));
    lab.rename(&alice(), (&root, "dir"), (&other, "dir")).unwrap();
    assert_eq!(lab.lookup(&alice(), &dir, "in"), Ok(one.clone()));
    assert_eq!(lab.lookup(&alice(), &dir, ".."), Ok(other));
    assert!(lab.fs.attributes(&one).is_ok());
}

fn rename_onto_another_link_keeps_both(lab: Lab) {
    let root = lab.fs.root();
    let file = lab.create(&alice(), "one", 0o644);
    lab.link(&alice(), &file, "two").unwrap();
    lab.rename(&alice(), (&root, "one"), (&root, "two")).unwrap();
    assert_eq!(lab.fs.attributes(&file).unwrap().links, 2);
    assert_eq!(lab.lookup(&alice(), &root, "one"), Ok(file.clone()));
    assert_eq!(lab.lookup(&alice(), &root, "two"), Ok(file));
}

fn link_gives_one_more_name(lab: Lab) {
    let (root, wcc) = (lab.fs.root(), &mut Wcc::default());
    let file = lab.create(&alice(), "one", 0o644);
    let mut after = None;
    lab.fs.link(&alice(), &file, (&root, b"two"), &mut after, wcc).unwrap();
    assert_eq!(after.unwrap().links, 2);
    assert_eq!(lab.lookup(&alice(), &root, "two"), Ok(file.clone()));
    assert_eq!(lab.link(&alice(), &file, "two"), os(Errno::EXIST));
    assert_eq!(lab.link(&alice(), &root, "root"), os(Errno::PERM));
    let set = SetAttributes::default();
    let (link, _) = lab.fs.symlink(&alice(), &root, b"link", b"one", &set, wcc).unwrap();
    lab.link(&alice(), &link, "link2").unwrap();
    assert_eq!(lab.lookup(&alice(), &root, "link2"), Ok(link.clone()));
    assert_eq!(lab.fs.attributes(&link).unwrap().links, 2);
    // The file lives on under the name that is left.
    lab.remove(&alice(), "one").unwrap();
    assert_eq!(lab.fs.attributes(&file).unwrap().links, 1);
    lab.remove(&alice(), "two").unwrap();
    assert_eq!(lab.link(&alice(), &file, "three"), Err(FsError::Stale));
}

fn only_directories_hold_names(lab: Lab) {
    let (file, wcc) = (lab.create(&alice(), "file", 0o777), &mut Wcc::default());
    let how = CreateHow::Guarded(with_mode(0));
    assert_eq!(lab.lookup(&alice(), &file, "x"), os(Errno::NOTDIR));
    assert_eq!(lab.lookup(&alice(), &file, "."), os(Errno::NOTDIR));
    assert_eq!(lab.fs.create(&alice(), &file, b"x", how, wcc), os(Errno::NOTDIR));
    assert_eq!(lab.fs.remove(&alice(), &file, b"x", wcc), os(Errno::NOTDIR));
    assert_eq!(lab.names(&alice(), &file), os(Errno::NOTDIR));
    assert_eq!(lab.rename(&alice(), (&lab.fs.root(), "file"), (&file, "x")), os(Errno::NOTDIR));
}

fn everything_works_with_sync(mut lab: Lab) {
    lab.options.sync = true;
    lab.restart();
    let (root, wcc) = (lab.fs.root(), &mut Wcc::default());
    lab.fs.create(&alice(), &root, b"exclusive", CreateHow::Exclusive([1; 8]), wcc).unwrap();
    let dir = lab.make_dir(&alice(), "dir", 0);
    let (fifo, _) =
        lab.fs.make_node(&alice(), &root, b"fifo", Node::Fifo, &with_mode(0o644), wcc).unwrap();
    let set = SetAttributes { modified: SetTime::Now, ..with_mode(0o600) };
    lab.set(&alice(), &fifo, &set).unwrap();
    lab.set(&alice(), &dir, &with_mode(0o700)).unwrap();
    lab.rename(&alice(), (&root, "fifo"), (&dir, "fifo")).unwrap();
    let file = lab.create(&alice(), "file", 0);
    lab.link(&alice(), &file, "link").unwrap();
    lab.remove(&alice(), "file").unwrap();
}

fn what_took_the_place_of_a_new_node_is_left_alone(lab: Lab) {
    let (root, file) = (lab.fs.root(), lab.create(&alice(), "file", 0o600));
    let set = with_mode(0o6777);
    let made = lab.fs.in_dir(&root, &mut Wcc::default(), |dir| {
        let swapped = || {
            rustix::fs::mkfifoat(CWD, lab.path("fifo"), Mode::RWXU)?;
            rustix::fs::rename(lab.path("file"), lab.path("fifo"))
        };
        lab.fs.make_named(&alice(), (dir, b"fifo"), &set, Kind::Fifo, swapped)
    });
    assert_eq!(made, os(Errno::EXIST));
    assert_eq!(lab.fs.attributes(&file).map(|found| found.mode), Ok(0o600));
}

fn a_change_says_what_was_before_it_unless_another_runs(lab: Lab) {
    let root = lab.fs.root();
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let (root, fs) = (&root, &lab.fs);
            threads.spawn(move || {
                for number in 0..200 {
                    let mut wcc = Wcc::default();
                    let name = format!("{thread}-{number}");
                    let set = with_mode(0o700);
                    fs.make_dir(&alice(), root, name.as_bytes(), &set, &mut wcc).unwrap();
                    let Some(before) = wcc.before else { continue };
                    // Only this directory was made, if nothing was between. Some file systems
                    // say 1 of every directory.
                    let links = wcc.after.unwrap().links;
                    assert!(links == 1 || links == before.links + 1, "{links}, {before:?}");
                }
            });
        }
    });
    let mut wcc = Wcc::default();
    lab.fs.make_dir(&alice(), &root, b"alone", &with_mode(0o700), &mut wcc).unwrap();
    assert!(wcc.before.is_some());
}

fn a_rename_within_a_directory_says_what_was_before_it(lab: Lab) {
    lab.create(&alice(), "file", 0o600);
    let (root, before) = (lab.fs.root(), lab.fs.attributes(&lab.fs.root()).unwrap());
    let (mut from, mut to) = (Wcc::default(), Wcc::default());
    lab.fs.rename(&alice(), (&root, b"file"), (&root, b"moved"), (&mut from, &mut to)).unwrap();
    assert_eq!((from, from.before), (to, Some(before)));
    assert_eq!(from.after, lab.fs.attributes(&root).ok());
}
