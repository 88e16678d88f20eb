//! The kernel judges each caller: users, groups, access control lists, ACCESS.

use super::*;
use rustix::fs::XattrFlags;
use std::sync::Arc;

with_both_handles!(
    private_files_stay_private,
    supplementary_groups_count,
    access_control_lists_count,
    access_answers_for_the_caller,
    root_may_everything,
    directories_guard_their_names,
    callers_on_many_threads_are_never_mixed_up,
);

fn private_files_stay_private(lab: Lab) {
    if !tells_users_apart() {
        return;
    }
    let (hers, his) = (lab.create(&alice(), "a", 0o600), lab.create(&bob(), "b", 0o600));
    lab.write(&alice(), &hers, b"hers").unwrap();
    lab.write(&bob(), &his, b"his").unwrap();
    assert_eq!(lab.read(&alice(), &hers).unwrap(), b"hers");
    assert_eq!(lab.read(&alice(), &his), os(Errno::ACCESS));
    assert_eq!(lab.read(&bob(), &hers), os(Errno::ACCESS));
    assert_eq!(lab.write(&bob(), &hers, b"x"), os(Errno::ACCESS));
    assert_eq!(lab.set(&bob(), &hers, &with_mode(0o666)), os(Errno::PERM));
    let nobody = Identity { uid: 65534, gid: 65534, gids: vec![] };
    assert_eq!(lab.read(&nobody, &hers), os(Errno::ACCESS));
}

fn supplementary_groups_count(lab: Lab) {
    if !tells_users_apart() {
        return;
    }
    let file = lab.create(&Identity::ROOT, "file", 0o640);
    let set = SetAttributes { gid: Some(5100), ..SetAttributes::default() };
    lab.set(&Identity::ROOT, &file, &set).unwrap();
    assert_eq!(lab.read(&alice(), &file).unwrap(), b"");
    assert_eq!(lab.read(&bob(), &file), os(Errno::ACCESS));
    assert_eq!(lab.write(&alice(), &file, b"x"), os(Errno::ACCESS));
    // The server's own groups are nobody's.
    let groupless = Identity { uid: 4003, gid: 5003, gids: vec![] };
    lab.set(&Identity::ROOT, &file, &SetAttributes { gid: Some(0), ..set }).unwrap();
    assert_eq!(lab.read(&groupless, &file), os(Errno::ACCESS));
}

fn access_control_lists_count(lab: Lab) {
    if !tells_users_apart() {
        return;
    }
    let file = lab.create(&alice(), "file", 0o600);
    lab.write(&alice(), &file, b"content").unwrap();
    // acl(5), as in linux/posix_acl_xattr.h: version 2, then tag, permissions, id.
    let mut list = 2_u32.to_le_bytes().to_vec();
    let unused = u32::MAX;
    for (tag, permissions, id) in
        [(1_u16, 6_u16, unused), (2, 4, 4002), (4, 0, unused), (16, 4, unused), (32, 0, unused)]
    {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    let name = "system.posix_acl_access";
    if rustix::fs::setxattr(lab.path("file"), name, &list, XattrFlags::empty()).is_err() {
        return;
    }
    assert_eq!(lab.read(&bob(), &file).unwrap(), b"content");
    assert_eq!(lab.write(&bob(), &file, b"x"), os(Errno::ACCESS));
    let rights = lab.fs.access(&bob(), &file, 0x3f, &mut None);
    assert_eq!(rights, Ok(crate::vfs::ACCESS_READ));
    let other = Identity { uid: 4003, gid: 5003, gids: vec![] };
    assert_eq!(lab.read(&other, &file), os(Errno::ACCESS));
}

fn access_answers_for_the_caller(lab: Lab) {
    use crate::vfs::{
        ACCESS_DELETE, ACCESS_EXECUTE, ACCESS_EXTEND, ACCESS_LOOKUP, ACCESS_MODIFY, ACCESS_READ,
    };
    let change = ACCESS_MODIFY | ACCESS_EXTEND;
    let file = lab.create(&alice(), "file", 0o754);
    let dir = lab.make_dir(&alice(), "dir", 0o751);
    let access = |who: &Identity, file: &FileHandle, wanted| {
        let mut after = None;
        let granted = lab.fs.access(who, file, wanted, &mut after).unwrap();
        assert_eq!(after, Some(lab.fs.attributes(file).unwrap()));
        granted
    };
    assert_eq!(access(&alice(), &file, 0x3f), ACCESS_READ | change | ACCESS_EXECUTE);
    assert_eq!(access(&alice(), &file, ACCESS_MODIFY), ACCESS_MODIFY);
    assert_eq!(access(&alice(), &file, 0), 0);
    assert_eq!(access(&alice(), &dir, 0x3f), ACCESS_READ | ACCESS_LOOKUP | change | ACCESS_DELETE);
    if !tells_users_apart() {
        return;
    }
    assert_eq!(access(&bob(), &file, 0x3f), ACCESS_READ);
    assert_eq!(access(&bob(), &dir, 0x3f), ACCESS_LOOKUP);
    let group = Identity { uid: 4009, gid: 5001, gids: vec![] };
    assert_eq!(access(&group, &file, 0x3f), ACCESS_READ | ACCESS_EXECUTE);
    assert_eq!(access(&group, &dir, 0x3f), ACCESS_READ | ACCESS_LOOKUP);
    assert_eq!(access(&Identity::ROOT, &file, 0x3f), ACCESS_READ | change | ACCESS_EXECUTE);
    // Root executes only what somebody may execute.
    lab.set(&alice(), &file, &with_mode(0o600)).unwrap();
    assert_eq!(access(&Identity::ROOT, &file, 0x3f), ACCESS_READ | change);
}

fn root_may_everything(lab: Lab) {
    let (dir, wcc) = (lab.make_dir(&alice(), "dir", 0o700), &mut Wcc::default());
    let how = CreateHow::Guarded(with_mode(0o600));
    let (file, attributes) = lab.fs.create(&Identity::ROOT, &dir, b"file", how, wcc).unwrap();
    lab.write(&Identity::ROOT, &file, b"x").unwrap();
    if tells_users_apart() {
        assert_eq!((attributes.uid, attributes.gid), (0, 0));
        assert_eq!(lab.read(&alice(), &file), os(Errno::ACCESS));
    }
    lab.fs.remove(&alice(), &dir, b"file", wcc).unwrap();
}

fn directories_guard_their_names(lab: Lab) {
    if !tells_users_apart() {
        return;
    }
    let (dir, wcc) = (lab.make_dir(&alice(), "dir", 0o755), &mut Wcc::default());
    let how = CreateHow::Guarded(with_mode(0o666));
    let (file, _) = lab.fs.create(&alice(), &dir, b"file", how, wcc).unwrap();
    assert_eq!(lab.fs.create(&bob(), &dir, b"x", how, wcc), os(Errno::ACCESS));
    assert_eq!(lab.fs.remove(&bob(), &dir, b"file", wcc), os(Errno::ACCESS));
    assert_eq!(lab.rename(&bob(), (&dir, "file"), (&lab.fs.root(), "x")), os(Errno::ACCESS));
    assert_eq!(lab.fs.link(&bob(), &file, (&dir, b"x"), &mut None, wcc), os(Errno::ACCESS));
    assert_eq!(lab.lookup(&bob(), &dir, "file"), Ok(file.clone()));
    // Without x no name leads on, though the listing may be read.
    lab.set(&alice(), &dir, &with_mode(0o744)).unwrap();
    assert_eq!(lab.lookup(&bob(), &dir, "file"), os(Errno::ACCESS));
    assert_eq!(lab.lookup(&bob(), &dir, ".."), os(Errno::ACCESS));
    assert_eq!(lab.names(&bob(), &dir).unwrap(), [".", "..", "file"]);
    lab.set(&alice(), &dir, &with_mode(0o711)).unwrap();
    assert_eq!(lab.names(&bob(), &dir), os(Errno::ACCESS));
    // A handle needs no way to it.
    lab.set(&alice(), &dir, &with_mode(0o700)).unwrap();
    lab.write(&bob(), &file, b"x").unwrap();
    // In a sticky directory each removes only what is his.
    lab.set(&alice(), &dir, &with_mode(0o1777)).unwrap();
    assert_eq!(lab.fs.remove(&bob(), &dir, b"file", wcc), os(Errno::PERM));
}

fn callers_on_many_threads_are_never_mixed_up(lab: Lab) {
    let lab = Arc::new(lab);
    let threads: Vec<_> = (0..8_u32)
        .map(|n| {
            let lab = Arc::clone(&lab);
            std::thread::spawn(move || {
                for round in 0..100 {
                    let who = Identity { uid: 6000 + n, gid: 7000 + n, gids: vec![8000 + round] };
                    let name = format!("file-{n}-{round}");
                    let file = lab.create(&who, &name, 0o600);
                    lab.write(&who, &file, name.as_bytes()).unwrap();
                    assert_eq!(lab.read(&who, &file).unwrap(), name.as_bytes());
                    if tells_users_apart() {
                        let attributes = lab.fs.attributes(&file).unwrap();
                        assert_eq!((attributes.uid, attributes.gid), (who.uid, who.gid));
                        let other = Identity { uid: who.uid + 100, ..who.clone() };
                        assert_eq!(lab.read(&other, &file), os(Errno::ACCESS));
                    }
                    lab.remove(&who, &name).unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
