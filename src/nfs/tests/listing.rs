//! READDIR and READDIRPLUS: every entry once, and never more bytes than there is room for.

use nfs3_types::nfs3::{self as theirs, Nfs3Result, nfsstat3};
use nfs3_types::xdr_codec::{List, Pack};
use proptest::prelude::*;

use super::super::procedure::{READDIR, READDIRPLUS};
use super::*;

/// A reply without entries, its status included.
const EMPTY: u32 = 4 + 88 + 8 + 4 + 4;

fn listing(lengths: &[usize]) -> Fake {
    let name = |(number, length): (usize, &usize)| {
        let number = number as u64;
        let mut name = format!("{number}.").into_bytes();
        name.resize((*length).max(name.len()), b'x');
        (number + 100, name, number * 3 + 1)
    };
    let entries = lengths.iter().enumerate().map(name).collect();
    Fake { entries, ..Fake::default() }
}

type Entries = Vec<(u64, Vec<u8>, u64)>;

fn readdir(nfs: &Nfs, cookie: u64, count: u32) -> Option<(Entries, bool)> {
    let cookieverf = theirs::cookieverf3(*b"cookies!");
    let sent = theirs::READDIR3args { dir: handle(b"wdir"), cookie, cookieverf, count };
    let reply: theirs::READDIR3res<'_> = ask(nfs, READDIR, &sent);
    let size = reply.packed_size();
    match reply {
        Nfs3Result::Ok(list) => {
            assert!(size - 4 <= count as usize, "{size} bytes of {count}");
            assert_eq!(list.cookieverf.0, *b"cookies!");
            let List(entries) = list.reply.entries;
            let entries = entries.into_iter().map(|e| (e.fileid, e.name.0.to_vec(), e.cookie));
            Some((entries.collect(), list.reply.eof))
        }
        Nfs3Result::Err((nfsstat3::NFS3ERR_TOOSMALL, _)) => None,
        Nfs3Result::Err(other) => panic!("{other:?}"),
    }
}

struct Plus {
    entries: Entries,
    bare: usize,
    eof: bool,
}

fn readdirplus(nfs: &Nfs, cookie: u64, dircount: u32, maxcount: u32) -> Option<Plus> {
    let (dir, cookieverf) = (handle(b"wdir"), theirs::cookieverf3(*b"cookies!"));
    let sent = theirs::READDIRPLUS3args { dir, cookie, cookieverf, dircount, maxcount };
    let reply: theirs::READDIRPLUS3res<'_> = ask(nfs, READDIRPLUS, &sent);
    let size = reply.packed_size();
    let list = match reply {
        Nfs3Result::Ok(list) => list,
        Nfs3Result::Err((nfsstat3::NFS3ERR_TOOSMALL, _)) => return None,
        Nfs3Result::Err(other) => panic!("{other:?}"),
    };
    assert!(size - 4 <= maxcount as usize, "{size} bytes of {maxcount}");
    let List(all) = list.reply.entries;
    let names: usize = all.iter().map(|e| 20 + e.name.packed_size()).sum();
    assert!(all.len() < 2 || names <= dircount as usize, "{names} bytes of {dircount}");
    let bare = all.iter().filter(|e| e.name_handle.is_none()).count();
    assert_eq!(bare, all.iter().filter(|e| e.name_attributes.is_none()).count());
    let entries = all.into_iter().map(|e| (e.fileid, e.name.0.to_vec(), e.cookie)).collect();
    Some(Plus { entries, bare, eof: list.reply.eof })
}

proptest! {
    #[test]
    fn readdir_lists_all_once_in_pieces_that_fit(
        lengths in prop::collection::vec(1usize..256, 0..40), count in EMPTY..4000u32,
    ) {
        let (nfs, fake) = nfs(listing(&lengths));
        let (mut seen, mut cookie) = (Entries::new(), 0);
        loop {
            let Some((piece, eof)) = readdir(&nfs, cookie, count) else {
                let next = fake.entries[seen.len()].1.len();
                prop_assert!(EMPTY as usize - 4 + 24 + next.next_multiple_of(4) > count as usize);
                break;
            };
            seen.extend(piece);
            prop_assert_eq!(&seen[..], &fake.entries[..seen.len()]);
            if eof {
                prop_assert_eq!(seen.len(), fake.entries.len());
                break;
            }
            cookie = seen.last().expect("progress").2;
        }
    }

    #[test]
    fn readdirplus_lists_all_once_in_pieces_that_fit(
        lengths in prop::collection::vec(1usize..256, 0..40),
        dircount in 0..2000u32, maxcount in EMPTY..6000u32, handle_bytes in 0usize..64,
    ) {
        let (nfs, fake) = nfs(Fake { handle_bytes, ..listing(&lengths) });
        let (mut seen, mut cookie) = (Entries::new(), 0);
        loop {
            let Some(piece) = readdirplus(&nfs, cookie, dircount, maxcount) else {
                let next = fake.entries[seen.len()].1.len();
                let bytes = EMPTY as usize - 4 + 24 + next.next_multiple_of(4) + 8;
                prop_assert!(bytes > maxcount as usize);
                break;
            };
            prop_assert!(piece.bare == 0 || piece.entries.len() == 1);
            seen.extend(piece.entries);
            prop_assert_eq!(&seen[..], &fake.entries[..seen.len()]);
            if piece.eof {
                prop_assert_eq!(seen.len(), fake.entries.len());
                break;
            }
            cookie = seen.last().expect("progress").2;
        }
    }
}

#[test]
fn room_is_used_to_the_last_byte() {
    let (nfs, fake) = nfs(listing(&[8, 8, 8]));
    let two = EMPTY - 4 + 2 * 32;
    assert_eq!(readdir(&nfs, 0, two), Some((fake.entries[..2].to_vec(), false)));
    assert_eq!(readdir(&nfs, 0, two - 1), Some((fake.entries[..1].to_vec(), false)));
    assert_eq!(readdir(&nfs, 0, two + 32), Some((fake.entries.clone(), true)));
    assert_eq!(readdir(&nfs, 0, EMPTY - 4 + 31), None);
    assert_eq!(readdir(&nfs, 0, 0), None);
    assert_eq!(readdir(&nfs, 7, EMPTY - 4), Some((vec![], true)));
    assert_eq!(readdir(&nfs, 7, EMPTY - 5), None);
    assert_eq!(readdir(&nfs, 0, u32::MAX), Some((fake.entries.clone(), true)));
}

#[test]
fn a_name_that_cannot_be_looked_up_is_listed_without_attributes() {
    let mut fake = listing(&[4, 4, 4]);
    fake.entries[1].1 = b"hidden".to_vec();
    let (nfs, fake) = nfs(fake);
    let all = readdirplus(&nfs, 0, 4096, 4096).expect("room");
    assert_eq!((all.entries, all.bare, all.eof), (fake.entries.clone(), 1, true));
}

#[test]
fn no_more_is_listed_than_one_reply_may_be() {
    let (nfs, _) = nfs(listing(&vec![200; 20_000]));
    let (entries, eof) = readdir(&nfs, 0, u32::MAX).expect("room");
    assert_eq!((entries.len(), eof), (((1 << 20) - 104) / 224, false));
    let all = readdirplus(&nfs, 0, u32::MAX, u32::MAX).expect("room");
    assert_eq!((all.entries.len(), all.bare, all.eof), (((1 << 20) - 104) / 384, 0, false));
}

#[test]
fn the_attributes_of_dots_are_there_too() {
    let mut fake = listing(&[1, 1]);
    fake.entries[0].1 = b".".to_vec();
    fake.entries[1].1 = b"..".to_vec();
    let (nfs, fake) = nfs(fake);
    let all = readdirplus(&nfs, 0, 4096, 4096).expect("room");
    assert_eq!((all.entries.len(), all.bare), (2, 0));
    assert_eq!(fake.asked(), ["readdir 0", "lookup .", "lookup .."]);
}
