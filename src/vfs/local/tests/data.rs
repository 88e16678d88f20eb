//! READ, WRITE and COMMIT.

use super::*;

with_both_handles!(
    what_is_written_is_read,
    reading_tells_the_end,
    offsets_past_the_largest,
    the_owner_reads_and_writes_whatever_the_mode,
    who_executes_reads,
    only_regular_files_have_content,
    writing_takes_set_user_id_away,
);

fn what_is_written_is_read(lab: Lab) {
    let file = lab.create(&alice(), "file", 0o600);
    let data: Vec<u8> = (0..300_000_u32).map(|n| n.to_be_bytes()[3]).collect();
    for (at, stability) in
        [(0, Stability::Unstable), (300_000, Stability::DataSync), (600_000, Stability::FileSync)]
    {
        let mut wcc = Wcc::default();
        let written = lab.fs.write(&alice(), &file, at, &data, stability, &mut wcc);
        let written = written.map(|written| (written.count, written.stability));
        assert_eq!(written, Ok((300_000, stability)));
        assert_eq!(wcc.before.unwrap().size, at);
        assert_eq!(wcc.after, Some(lab.fs.attributes(&file).unwrap()));
        assert_eq!(wcc.after.unwrap().size, at + 300_000);
    }
    let mut wcc = Wcc::default();
    lab.fs.commit(&alice(), &file, 0, 0, &mut wcc).unwrap();
    assert_eq!(wcc.before, wcc.after);
    let content = lab.read(&alice(), &file).unwrap();
    assert_eq!(content, data.repeat(3));
    assert_eq!(std::fs::read(lab.path("file")).unwrap(), content);
    assert_eq!(lab.write(&alice(), &file, b""), Ok(0));
}

fn reading_tells_the_end(lab: Lab) {
    let file = lab.create(&alice(), "file", 0o600);
    let read = |offset, count| {
        let mut after = None;
        let data = lab.fs.read(&alice(), &file, offset, count, &mut after).unwrap();
        assert_eq!(after, Some(lab.fs.attributes(&file).unwrap()));
        (data.bytes.to_vec(), data.eof)
    };
    assert_eq!(read(0, 10), (vec![], true));
    lab.write(&alice(), &file, b"0123456789").unwrap();
    assert_eq!(read(0, 4), (b"0123".to_vec(), false));
    assert_eq!(read(4, 6), (b"456789".to_vec(), true));
    assert_eq!(read(4, 7), (b"456789".to_vec(), true));
    assert_eq!(read(10, 1), (vec![], true));
    assert_eq!(read(11, u32::MAX), (vec![], true));
    assert_eq!(read(0, 0), (vec![], false));
    // A hole reads as zeros.
    let wcc = &mut Wcc::default();
    lab.fs.write(&alice(), &file, 20, b"x", Stability::Unstable, wcc).unwrap();
    assert_eq!(read(10, 11), (b"\0\0\0\0\0\0\0\0\0\0x".to_vec(), true));
}

fn offsets_past_the_largest(lab: Lab) {
    let file = lab.create(&alice(), "file", 0o600);
    let wcc = &mut Wcc::default();
    for offset in [i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        let written = lab.fs.write(&alice(), &file, offset, b"xx", Stability::Unstable, wcc);
        assert_eq!(written, os(Errno::FBIG));
        let data = lab.fs.read(&alice(), &file, offset, 10, &mut None).unwrap();
        assert!(data.eof && data.bytes.is_empty());
    }
}

fn the_owner_reads_and_writes_whatever_the_mode(lab: Lab) {
    let file = lab.create(&alice(), "file", 0);
    assert_eq!(lab.write(&alice(), &file, b"content"), Ok(7));
    if !tells_users_apart() {
        return;
    }
    assert_eq!(lab.read(&alice(), &file).unwrap(), b"content");
    assert_eq!(lab.write(&bob(), &file, b"x"), os(Errno::ACCESS));
    assert_eq!(lab.read(&bob(), &file), os(Errno::ACCESS));
    let set = SetAttributes { size: Some(3), ..SetAttributes::default() };
    assert_eq!(lab.set(&bob(), &file, &set), os(Errno::ACCESS));
    lab.set(&alice(), &file, &set).unwrap();
    assert_eq!(lab.read(&Identity::ROOT, &file).unwrap(), b"con");
    // Whoever wrote it learns whether it is on the disk.
    lab.fs.commit(&bob(), &file, 0, 0, &mut Wcc::default()).unwrap();
}

fn who_executes_reads(lab: Lab) {
    if !tells_users_apart() {
        return;
    }
    let file = lab.create(&alice(), "file", 0o711);
    lab.write(&alice(), &file, b"program").unwrap();
    assert_eq!(lab.read(&bob(), &file).unwrap(), b"program");
    assert_eq!(lab.write(&bob(), &file, b"x"), os(Errno::ACCESS));
    lab.set(&alice(), &file, &with_mode(0o710)).unwrap();
    assert_eq!(lab.read(&bob(), &file), os(Errno::ACCESS));
}

/// With a reader or writer waiting in open(2), this would never end.
fn only_regular_files_have_content(lab: Lab) {
    let (root, wcc) = (lab.fs.root(), &mut Wcc::default());
    let set = with_mode(0o666);
    let (fifo, _) = lab.fs.make_node(&alice(), &root, b"fifo", Node::Fifo, &set, wcc).unwrap();
    let (socket, _) =
        lab.fs.make_node(&alice(), &root, b"socket", Node::Socket, &set, wcc).unwrap();
    for (file, errno) in [(&fifo, Errno::INVAL), (&socket, Errno::INVAL), (&root, Errno::ISDIR)] {
        assert_eq!(lab.read(&alice(), file), os(errno));
        assert_eq!(lab.write(&alice(), file, b"x"), os(errno));
        assert_eq!(lab.fs.commit(&alice(), file, 0, 0, wcc), os(errno));
        let set = SetAttributes { size: Some(0), ..SetAttributes::default() };
        assert_eq!(lab.set(&alice(), file, &set), os(errno));
    }
    if tells_users_apart() {
        let node = Node::Character(1, 5);
        let root_user = Identity::ROOT;
        let (zero, _) = lab.fs.make_node(&root_user, &root, b"zero", node, &set, wcc).unwrap();
        assert_eq!(lab.read(&root_user, &zero), os(Errno::INVAL));
    }
}

fn writing_takes_set_user_id_away(lab: Lab) {
    if !tells_users_apart() {
        return;
    }
    let file = lab.create(&alice(), "file", 0o6777);
    assert_eq!(lab.fs.attributes(&file).unwrap().mode, 0o6777);
    lab.write(&bob(), &file, b"x").unwrap();
    assert_eq!(lab.fs.attributes(&file).unwrap().mode, 0o777);
    // Also where the owner's right had to be given.
    lab.set(&alice(), &file, &with_mode(0o4000)).unwrap();
    lab.write(&alice(), &file, b"x").unwrap();
    assert_eq!(lab.fs.attributes(&file).unwrap().mode, 0);
}
