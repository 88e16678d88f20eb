//! Record marking (RFC 5531 11): cuts the records out of a byte stream.

use bytes::{Buf, Bytes, BytesMut};

/// The most fragments of one record that may be empty. All others bring bytes, so the record's cap
/// bounds their number: a sender that flushes small buffers is served, one that sends marks without
/// end is not.
pub const EMPTY_FRAGMENTS_MAX: u32 = 1024;

const LAST_FRAGMENT: u32 = 1 << 31;

/// Why a stream cannot be read on: its connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordError {
    /// A record grew over the cap, which is in bytes.
    TooLarge {
        /// The cap.
        max: usize,
    },
    /// More than [`EMPTY_FRAGMENTS_MAX`] fragments of a record were empty.
    TooManyEmpty,
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge { max } => write!(f, "a record of more than {max} bytes"),
            Self::TooManyEmpty => {
                write!(f, "a record with more than {EMPTY_FRAGMENTS_MAX} empty fragments")
            }
        }
    }
}

impl std::error::Error for RecordError {}

/// The mark before a record that is sent in one fragment of `length` bytes.
#[must_use]
pub fn mark(length: usize) -> [u8; 4] {
    let length = u32::try_from(length).unwrap_or(LAST_FRAGMENT - 1);
    (LAST_FRAGMENT | length).to_be_bytes()
}

/// Puts records together from a stream of bytes that arrive in pieces of any size.
#[derive(Debug)]
pub struct Assembler {
    max: usize,
    whole: BytesMut,
    /// Whether a fragment of the record was taken, and how many of them were empty.
    begun: bool,
    empty: u32,
}

impl Assembler {
    /// An assembler for records of at most `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, whole: BytesMut::new(), begun: false, empty: 0 }
    }

    /// Takes the next whole record from the front of `stream`, or `None` where more bytes are
    /// needed. Fragments are moved out of `stream` as they become whole, so it never holds more
    /// than one fragment and what was read beyond it.
    pub fn next(&mut self, stream: &mut BytesMut) -> Result<Option<Bytes>, RecordError> {
        while let Some(mark) = stream.first_chunk::<4>().copied().map(u32::from_be_bytes) {
            let length = (mark & !LAST_FRAGMENT) as usize;
            let last = mark & LAST_FRAGMENT != 0;
            if length > self.max - self.whole.len() {
                return Err(RecordError::TooLarge { max: self.max });
            }
            if stream.len() < 4 + length {
                return Ok(None);
            }
            stream.advance(4);
            if last && !self.begun {
                return Ok(Some(stream.split_to(length).freeze()));
            }
            self.whole.extend_from_slice(&stream[..length]);
            stream.advance(length);
            self.begun = true;
            self.empty += u32::from(length == 0);
            if self.empty > EMPTY_FRAGMENTS_MAX {
                return Err(RecordError::TooManyEmpty);
            }
            if last {
                (self.begun, self.empty) = (false, 0);
                return Ok(Some(self.whole.split().freeze()));
            }
        }
        Ok(None)
    }

    /// The bytes of a record that is not whole yet, with those of its fragment at the front of
    /// `stream` that are still to come: so many are to be kept at least.
    #[must_use]
    pub fn promised(&self, stream: &[u8]) -> usize {
        let mark = stream.first_chunk::<4>().copied().map_or(0, u32::from_be_bytes);
        self.whole.len() + (mark & !LAST_FRAGMENT) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fragment(data: &[u8], last: bool) -> Vec<u8> {
        let mut mark = u32::try_from(data.len()).expect("short");
        if last {
            mark |= LAST_FRAGMENT;
        }
        [&mark.to_be_bytes()[..], data].concat()
    }

    #[test]
    fn fragments_become_one_record() {
        let mut stream = BytesMut::new();
        for (data, last) in [(&b"ab"[..], false), (b"", false), (b"cde", true), (b"f", true)] {
            stream.extend_from_slice(&fragment(data, last));
        }
        let mut assembler = Assembler::new(16);
        assert_eq!(assembler.next(&mut stream), Ok(Some(Bytes::from_static(b"abcde"))));
        assert_eq!(assembler.next(&mut stream), Ok(Some(Bytes::from_static(b"f"))));
        assert_eq!(assembler.next(&mut stream), Ok(None));
    }

    #[test]
    fn a_record_promises_what_its_marks_say() {
        let mut stream = BytesMut::from(&fragment(b"ab", false)[..]);
        let mut assembler = Assembler::new(16);
        assert_eq!(assembler.next(&mut stream), Ok(None));
        assert_eq!(assembler.promised(&stream), 2);
        stream.extend_from_slice(&fragment(b"cde", true)[..5]);
        assert_eq!((assembler.next(&mut stream), assembler.promised(&stream)), (Ok(None), 5));
        stream.extend_from_slice(b"de");
        assert_eq!(assembler.next(&mut stream), Ok(Some(Bytes::from_static(b"abcde"))));
        assert_eq!(assembler.promised(&stream), 0);
    }

    #[test]
    fn a_record_over_the_cap_is_refused_at_its_mark() {
        let mut stream = BytesMut::from(&0x7fff_ffff_u32.to_be_bytes()[..]);
        assert_eq!(Assembler::new(16).next(&mut stream), Err(RecordError::TooLarge { max: 16 }));
    }

    #[test]
    fn fragments_do_not_sum_past_the_cap() {
        let mut stream = BytesMut::new();
        stream.extend_from_slice(&fragment(&[0; 10], false));
        stream.extend_from_slice(&fragment(&[0; 10], true));
        assert_eq!(Assembler::new(16).next(&mut stream), Err(RecordError::TooLarge { max: 16 }));
    }

    #[test]
    fn empty_fragments_without_end_are_refused() {
        let mut stream = BytesMut::from(&[0; 4 * 2048][..]);
        assert_eq!(Assembler::new(16).next(&mut stream), Err(RecordError::TooManyEmpty));
        // Nor do bytes in between make room for more.
        let mut assembler = Assembler::new(1 << 20);
        let mut stream = BytesMut::new();
        for _ in 0..=EMPTY_FRAGMENTS_MAX {
            stream.extend_from_slice(&[fragment(b"x", false), fragment(b"", false)].concat());
        }
        assert_eq!(assembler.next(&mut stream), Err(RecordError::TooManyEmpty));
    }

    #[test]
    fn a_record_may_come_a_byte_at_a_time_and_so_may_the_next() {
        let data: Vec<u8> = (0..100_000_u32).map(|byte| byte.to_le_bytes()[0]).collect();
        let mut assembler = Assembler::new(data.len());
        for _ in 0..2 {
            let mut stream = BytesMut::new();
            for (index, byte) in data.iter().enumerate() {
                stream.extend_from_slice(&fragment(&[*byte], index + 1 == data.len()));
                if index < EMPTY_FRAGMENTS_MAX as usize / 2 {
                    stream.extend_from_slice(&fragment(&[], false));
                }
            }
            let record = assembler.next(&mut stream).expect("served");
            assert_eq!(record.as_deref(), Some(&data[..]));
        }
    }

    proptest! {
        #[test]
        fn the_cuts_of_the_stream_do_not_matter(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6),
            cut in 1usize..50,
        ) {
            let sent: Vec<u8> = records
                .iter()
                .flat_map(|record| {
                    let (head, tail) = record.split_at(record.len() / 2);
                    [fragment(head, false), fragment(tail, true)].concat()
                })
                .collect();
            let (mut assembler, mut stream) = (Assembler::new(64), BytesMut::new());
            let mut received = Vec::new();
            for piece in sent.chunks(cut) {
                stream.extend_from_slice(piece);
                while let Some(record) = assembler.next(&mut stream).expect("within the cap") {
                    received.push(record.to_vec());
                }
            }
            prop_assert_eq!(received, records);
        }
    }
}
