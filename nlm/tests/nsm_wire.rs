//! Our codec of what lock managers and status monitors say to each other, against an independent
//! one that was generated from the specification's own text.

#![allow(missing_docs)]

#[path = "oracle/nsm_generated.rs"]
#[allow(clippy::all, clippy::cast_possible_truncation, non_camel_case_types, unused)]
mod oracle;

use cleat_nlm::monitor::{Mon, MonId, MyId, State, Status};
use cleat_rpc::{Decode, Encode, Reader, Writer, XdrError};
use proptest::collection::vec;
use proptest::prelude::*;

fn written(value: &impl Encode) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.put(value);
    writer.into_bytes().to_vec()
}

fn read<'a, T: Decode<'a>>(bytes: &'a [u8]) -> Result<T, XdrError> {
    let mut reader = Reader::new(bytes);
    let value = reader.get()?;
    reader.finish()?;
    Ok(value)
}

/// Both codecs write the same bytes, each reads what the other wrote, and no part of the bytes
/// passes for the whole.
macro_rules! agree {
    ($ours:expr, $ours_type:ty, $theirs:expr, $theirs_type:ty) => {{
        let (ours, theirs) = ($ours, $theirs);
        let bytes = written(&ours);
        let mut packed = Vec::new();
        xdr_codec::pack(&theirs, &mut packed).expect("the oracle writes");
        prop_assert_eq!(&bytes, &packed);
        prop_assert_eq!(read::<$ours_type>(&bytes), Ok(ours));
        let unpacked: $theirs_type = xdr_codec::unpack(&mut &bytes[..]).expect("the oracle reads");
        prop_assert_eq!(unpacked, theirs);
        for end in 0..bytes.len() {
            prop_assert_eq!(read::<$ours_type>(&bytes[..end]), Err(XdrError::Short));
        }
        let longer = [&bytes[..], &[0]].concat();
        prop_assert_eq!(read::<$ours_type>(&longer), Err(XdrError::Trailing(1)));
    }};
}

proptest! {
    #[test]
    fn monitoring_and_its_end_and_the_call_back(
        mon_name in vec(any::<u8>(), 0..40), my_name in vec(any::<u8>(), 0..40),
        program: u32, version: u32, procedure: u32, private: [u8; 16], state: i32,
    ) {
        let my_id = MyId { my_name: &my_name, program, version, procedure };
        let their_my_id = oracle::my_id {
            my_name: my_name.clone(),
            my_prog: program.cast_signed(),
            my_vers: version.cast_signed(),
            my_proc: procedure.cast_signed(),
        };
        agree!(my_id, MyId<'_>, their_my_id.clone(), oracle::my_id);
        let mon_id = MonId { mon_name: &mon_name, my_id };
        let their_mon_id = oracle::mon_id { mon_name: mon_name.clone(), id: their_my_id };
        agree!(mon_id, MonId<'_>, their_mon_id.clone(), oracle::mon_id);
        let words = private.as_chunks().0;
        let word = |n: usize| u32::from_be_bytes(words[n]);
        let [a, b, c, d] = [word(0), word(1), word(2), word(3)];
        let their_private = oracle::priv_words { a, b, c, d };
        let theirs = oracle::mon { id: their_mon_id, private: their_private };
        agree!(Mon { mon_id, private }, Mon<'_>, theirs, oracle::mon);
        agree!(State { state }, State, oracle::sm_stat { state }, oracle::sm_stat);
        let theirs = oracle::nlm_sm_status {
            mon_name: mon_name.clone(),
            state,
            private: their_private,
        };
        let ours = Status { mon_name: &mon_name, state, private };
        agree!(ours, Status<'_>, theirs, oracle::nlm_sm_status);
    }

    #[test]
    fn any_bytes_at_all_are_read_without_a_panic(bytes: Vec<u8>) {
        let _ = read::<Mon<'_>>(&bytes);
        let _ = read::<MonId<'_>>(&bytes);
        let _ = read::<MyId<'_>>(&bytes);
        let _ = read::<Status<'_>>(&bytes);
    }
}

/// The longest names are read, and one byte more is not.
#[test]
fn every_name_has_its_maximum() {
    let long = [7; 1025];
    let bytes = |mon_name: usize, my_name: usize| {
        let my_name = &long[..my_name];
        let my_id = MyId { my_name, program: 1, version: 2, procedure: 3 };
        let mon_id = MonId { mon_name: &long[..mon_name], my_id };
        written(&Mon { mon_id, private: [9; 16] })
    };
    assert!(read::<Mon<'_>>(&bytes(1024, 1024)).is_ok());
    assert!(read::<Mon<'_>>(&bytes(1025, 1024)).is_err());
    assert!(read::<Mon<'_>>(&bytes(1024, 1025)).is_err());
}
