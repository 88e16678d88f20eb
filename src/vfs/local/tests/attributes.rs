//! GETATTR, SETATTR, FSSTAT, FSINFO, PATHCONF.

use super::*;
use std::os::unix::fs::MetadataExt;

with_both_handles!(
    attributes_are_those_of_the_system,
    a_guard_refuses_what_changed,
    everything_is_set_at_once,
    owners_and_groups_change_as_the_kernel_permits,
    times_change_as_the_kernel_permits,
    a_writer_truncates,
    what_is_bound_to_fail_changes_nothing,
    space_and_limits_are_told,
);

fn attributes_are_those_of_the_system(mut lab: Lab) {
    let file = lab.create(&alice(), "file", 0o644);
    lab.write(&alice(), &file, &[1; 5000]).unwrap();
    let (ours, theirs) =
        (lab.fs.attributes(&file).unwrap(), std::fs::metadata(lab.path("file")).unwrap());
    assert_eq!((ours.fileid, ours.size, ours.links), (theirs.ino(), 5000, 1));
    assert_eq!(
        (ours.uid, ours.gid, ours.used),
        (theirs.uid(), theirs.gid(), theirs.blocks() * 512)
    );
    let time = |time: Timestamp| (time.seconds, i64::from(time.nanoseconds));
    assert_eq!(time(ours.modified), (theirs.mtime(), theirs.mtime_nsec()));
    assert_eq!(time(ours.changed), (theirs.ctime(), theirs.ctime_nsec()));
    assert_eq!(time(ours.accessed), (theirs.atime(), theirs.atime_nsec()));
    lab.restart();
    assert_eq!(lab.fs.attributes(&file), Ok(ours));
    assert_eq!(lab.fs.attributes(&lab.fs.root()).unwrap().fsid, ours.fsid);
}

fn a_guard_refuses_what_changed(lab: Lab) {
    let file = lab.create(&alice(), "file", 0o644);
    let seen = lab.fs.attributes(&file).unwrap();
    let mut wcc = Wcc::default();
    let mut set = |mode, guard| {
        lab.fs.set_attributes(&alice(), &file, &with_mode(mode), Some(guard), &mut wcc)?;
        Ok(wcc)
    };
    let wcc = set(0o600, seen.changed).unwrap();
    assert_eq!((wcc.before.unwrap(), wcc.after.unwrap().mode), (seen, 0o600));
    let older = Timestamp { seconds: seen.changed.seconds - 1, ..seen.changed };
    assert_eq!(set(0o644, older), Err(FsError::NotSync));
    assert_eq!(lab.fs.attributes(&file).unwrap().mode, 0o600);
}

fn everything_is_set_at_once(lab: Lab) {
    let file = lab.create(&alice(), "file", 0o600);
    let fine = lab.fs.fs_limits(&file).unwrap().time_step_ns == 1;
    let nanoseconds = if fine { 123_456_789 } else { 0 };
    let time = |seconds| SetTime::To(Timestamp { seconds, nanoseconds });
    let set = SetAttributes {
        mode: Some(0o4755),
        size: Some(777),
        accessed: time(1_000_000_000),
        modified: time(-1),
        ..SetAttributes::default()
    };
    lab.set(&alice(), &file, &set).unwrap();
    let now = lab.fs.attributes(&file).unwrap();
    assert_eq!((now.mode, now.size), (0o4755, 777));
    assert_eq!(
        (time(1_000_000_000), time(-1)),
        (SetTime::To(now.accessed), SetTime::To(now.modified))
    );
    lab.set(&alice(), &file, &SetAttributes::default()).unwrap();
    assert_eq!(lab.fs.attributes(&file).unwrap(), now);
}

fn owners_and_groups_change_as_the_kernel_permits(lab: Lab) {
    let file = lab.create(&alice(), "file", 0o6755);
    let owner = |uid, gid| SetAttributes { uid, gid, ..SetAttributes::default() };
    assert_eq!(lab.set(&alice(), &file, &owner(Some(u32::MAX), None)), os(Errno::INVAL));
    if !tells_users_apart() {
        return;
    }
    assert_eq!(lab.set(&bob(), &file, &owner(None, Some(5002))), os(Errno::PERM));
    assert_eq!(lab.set(&alice(), &file, &owner(Some(4002), None)), os(Errno::PERM));
    assert_eq!(lab.set(&alice(), &file, &owner(None, Some(5002))), os(Errno::PERM));
    lab.set(&alice(), &file, &owner(Some(4001), Some(5100))).unwrap();
    let now = lab.fs.attributes(&file).unwrap();
    assert_eq!((now.gid, now.mode), (5100, 0o755));
    lab.set(&Identity::ROOT, &file, &owner(Some(4002), Some(5002))).unwrap();
    let now = lab.fs.attributes(&file).unwrap();
    assert_eq!((now.uid, now.gid), (4002, 5002));
    // Set-group-ID is for the members of the group.
    lab.set(&Identity::ROOT, &file, &owner(Some(4001), None)).unwrap();
    lab.set(&alice(), &file, &with_mode(0o2755)).unwrap();
    assert_eq!(lab.fs.attributes(&file).unwrap().mode, 0o755);
}

fn times_change_as_the_kernel_permits(lab: Lab) {
    let file = lab.create(&alice(), "file", 0o646);
    let times =
        |accessed, modified| SetAttributes { accessed, modified, ..SetAttributes::default() };
    let past = SetTime::To(Timestamp { seconds: 1, nanoseconds: 0 });
    let beyond = SetTime::To(Timestamp { seconds: 1, nanoseconds: 1_073_741_823 });
    assert_eq!(lab.set(&alice(), &file, &times(beyond, past)), os(Errno::INVAL));
    lab.set(&alice(), &file, &times(past, past)).unwrap();
    lab.set(&alice(), &file, &times(SetTime::Keep, SetTime::Now)).unwrap();
    let now = lab.fs.attributes(&file).unwrap();
    assert_eq!(SetTime::To(now.accessed), past);
    assert!(now.modified.seconds > 1_000_000_000);
    if !tells_users_apart() {
        return;
    }
    // Bob may write, and so touch, but not backdate.
    lab.set(&alice(), &file, &times(past, past)).unwrap();
    assert_eq!(lab.set(&bob(), &file, &times(past, SetTime::Now)), os(Errno::PERM));
    for set in [times(SetTime::Now, SetTime::Now), times(SetTime::Keep, SetTime::Now)] {
        lab.set(&alice(), &file, &times(past, past)).unwrap();
        lab.set(&bob(), &file, &set).unwrap();
        assert!(lab.fs.attributes(&file).unwrap().modified.seconds > 1_000_000_000);
    }
    lab.set(&alice(), &file, &with_mode(0o644)).unwrap();
    let touch = times(SetTime::Now, SetTime::Now);
    assert_eq!(lab.set(&bob(), &file, &touch), os(Errno::ACCESS));
}

/// What a client sends for O_TRUNC: the size and the time of change, as whoever may write.
fn a_writer_truncates(lab: Lab) {
    let file = lab.create(&alice(), "file", 0o666);
    lab.write(&alice(), &file, b"content").unwrap();
    let past = SetTime::To(Timestamp { seconds: 1, nanoseconds: 0 });
    let set = SetAttributes { accessed: past, modified: past, ..SetAttributes::default() };
    lab.set(&alice(), &file, &set).unwrap();
    let set = SetAttributes { size: Some(0), modified: SetTime::Now, ..SetAttributes::default() };
    lab.set(&bob(), &file, &set).unwrap();
    let now = lab.fs.attributes(&file).unwrap();
    assert_eq!((now.size, SetTime::To(now.accessed)), (0, past));
    assert!(now.modified.seconds > 1_000_000_000);
}

fn what_is_bound_to_fail_changes_nothing(lab: Lab) {
    let file = lab.create(&alice(), "file", 0o666);
    lab.write(&alice(), &file, b"content").unwrap();
    let before = lab.fs.attributes(&file).unwrap();
    let sizes = |size| SetAttributes { size: Some(size), ..with_mode(0o600) };
    assert_eq!(lab.set(&alice(), &file, &sizes(u64::MAX)), os(Errno::FBIG));
    assert_eq!(lab.fs.attributes(&file).unwrap(), before);
    if tells_users_apart() {
        assert_eq!(lab.set(&bob(), &file, &sizes(0)), os(Errno::PERM));
        assert_eq!(lab.fs.attributes(&file).unwrap(), before);
    }
}

fn space_and_limits_are_told(lab: Lab) {
    let root = lab.fs.root();
    let stat = lab.fs.fs_stat(&alice(), &root).unwrap();
    assert!(stat.total_bytes >= stat.free_bytes && stat.free_bytes >= stat.available_bytes);
    assert!(stat.available_bytes > 0 && stat.total_files >= stat.free_files);
    let limits = lab.fs.fs_limits(&root).unwrap();
    assert_eq!(limits.name_bytes_max, 255);
    assert!(limits.hard_links && limits.symlinks && limits.chown_restricted);
    assert!(limits.file_bytes_max >= u64::from(u32::MAX) && limits.links_max > 1);
    // No file is larger than what is said.
    let file = lab.create(&alice(), "file", 0o600);
    let size = |size| SetAttributes { size: Some(size), ..SetAttributes::default() };
    if limits.file_bytes_max < i64::MAX as u64 {
        let larger = size(limits.file_bytes_max + 1);
        assert_eq!(lab.set(&alice(), &file, &larger), os(Errno::FBIG));
    }
}

#[test]
fn of_changes_guarded_by_one_ctime_one_passes() {
    let lab = Lab::new(false);
    let file = lab.create(&alice(), "file", 0o600);
    for round in 0..200 {
        let guard = lab.fs.attributes(&file).unwrap().changed;
        // The kernel's clock has ticked, or a change would leave the ctime as it is.
        while lab.fs.attributes(&lab.create(&alice(), &format!("{round}"), 0)).unwrap().changed
            <= guard
        {
            lab.remove(&alice(), &format!("{round}")).unwrap();
        }
        let set = |mode| {
            let set = with_mode(mode);
            let wcc = &mut Wcc::default();
            lab.fs.set_attributes(&alice(), &file, &set, Some(guard), wcc).is_ok()
        };
        let passed = std::thread::scope(|scope| {
            let calls = [0o600, 0o640, 0o644].map(|mode| scope.spawn(move || set(mode)));
            calls.into_iter().map(|call| call.join().unwrap()).filter(|ok| *ok).count()
        });
        assert_eq!(passed, 1, "round {round}");
    }
}
