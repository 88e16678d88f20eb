//! XDR (RFC 4506): a reader that borrows from the record, and a writer that appends to a buffer.
//!
//! A length from the network is compared with its field's maximum and with the bytes that are
//! there before anything is done with it, so a hostile length costs nothing.

use bytes::{BufMut, Bytes, BytesMut};

/// Why bytes are not the XDR that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdrError {
    /// The record ends before the field does.
    Short,
    /// A counted field is longer than its type permits; both numbers in bytes or items.
    TooLong {
        /// The most that the field's type permits.
        max: usize,
        /// The length the sender wrote.
        got: u32,
    },
    /// A boolean, enum or union discriminant that its type does not have.
    BadValue(u32),
    /// Bytes are left over after the last field.
    Trailing(usize),
}

impl std::fmt::Display for XdrError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short => write!(f, "the record ends inside a field"),
            Self::TooLong { max, got } => write!(f, "length {got} where at most {max} may stand"),
            Self::BadValue(value) => write!(f, "value {value} is none of its type's"),
            Self::Trailing(count) => write!(f, "{count} bytes after the last field"),
        }
    }
}

impl std::error::Error for XdrError {}

/// What a decoder answers.
pub type Result<T> = std::result::Result<T, XdrError>;

/// A type that can be read from XDR. Reading borrows from the record and allocates nothing
/// that the record does not hold.
pub trait Decode<'a>: Sized {
    /// Reads one value and leaves the reader behind it.
    fn decode(reader: &mut Reader<'a>) -> Result<Self>;
}

/// A type that can be written as XDR.
pub trait Encode {
    /// Appends the value.
    fn encode(&self, writer: &mut Writer);
}

/// The bytes that pad a field of `length` bytes to the next multiple of four.
#[must_use]
pub const fn padding(length: usize) -> usize {
    length.wrapping_neg() & 3
}

/// Reads XDR from a slice, front to back.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not yet read.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes the next `count` bytes as they are.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(XdrError::Short)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(XdrError::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    /// An unsigned integer (RFC 4506 4.2).
    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// An integer (RFC 4506 4.1).
    pub fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    /// An unsigned hyper integer (RFC 4506 4.5).
    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A boolean (RFC 4506 4.4); values other than 0 and 1 are refused.
    pub fn bool(&mut self) -> Result<bool> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(XdrError::BadValue(other)),
        }
    }

    /// A fixed-length opaque (RFC 4506 4.9) with its padding, whose content is not looked at.
    pub fn fixed(&mut self, count: usize) -> Result<&'a [u8]> {
        let data = self.bytes(count)?;
        self.bytes(padding(count))?;
        Ok(data)
    }

    /// A fixed-length opaque of `N` bytes, as an array.
    pub fn fixed_array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let data = self.array()?;
        self.bytes(padding(N))?;
        Ok(data)
    }

    /// A count of bytes or items, at most `max`.
    pub fn count(&mut self, max: usize) -> Result<usize> {
        let got = self.u32()?;
        usize::try_from(got)
            .ok()
            .filter(|count| *count <= max)
            .ok_or(XdrError::TooLong { max, got })
    }

    /// A variable-length opaque or string (RFC 4506 4.10, 4.11) of at most `max` bytes.
    pub fn opaque(&mut self, max: usize) -> Result<&'a [u8]> {
        let count = self.count(max)?;
        self.fixed(count)
    }

    /// Optional data (RFC 4506 4.19): a boolean, then the value where it is true.
    pub fn option<T: Decode<'a>>(&mut self) -> Result<Option<T>> {
        if self.bool()? { T::decode(self).map(Some) } else { Ok(None) }
    }

    /// Any value that knows how to read itself.
    pub fn get<T: Decode<'a>>(&mut self) -> Result<T> {
        T::decode(self)
    }

    /// Ends the reading: an error where bytes are left over.
    pub const fn finish(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(XdrError::Trailing(self.rest.len())) }
    }
}

/// Appends XDR to a buffer. The last field may be a [`Bytes`] that is not copied into it.
#[derive(Debug, Default)]
pub struct Writer {
    head: BytesMut,
    payload: Bytes,
}

impl From<Bytes> for Writer {
    /// What was written before, as [`Writer::into_bytes`] gave it.
    fn from(bytes: Bytes) -> Self {
        Self { head: BytesMut::from(&bytes[..]), payload: Bytes::new() }
    }
}

impl Writer {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        Self { head: BytesMut::with_capacity(256), payload: Bytes::new() }
    }

    /// The bytes written so far, padding of the payload included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.len() + self.payload.len() + padding(self.payload.len())
    }

    /// Whether nothing has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The parts to send, in order: what was written, the payload, its padding.
    #[must_use]
    pub fn into_parts(self) -> (Bytes, Bytes, &'static [u8]) {
        let pad = &[0u8; 3][..padding(self.payload.len())];
        (self.head.freeze(), self.payload, pad)
    }

    /// Everything in one piece, the payload copied.
    #[must_use]
    pub fn into_bytes(mut self) -> Bytes {
        let payload = std::mem::take(&mut self.payload);
        self.raw(&payload);
        self.pad(payload.len());
        self.head.freeze()
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        debug_assert!(self.payload.is_empty(), "nothing may follow the payload");
        self.head.put_slice(bytes);
    }

    fn pad(&mut self, length: usize) {
        self.raw(&[0u8; 3][..padding(length)]);
    }

    /// An unsigned integer.
    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    /// An integer.
    pub fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    /// An unsigned hyper integer.
    pub fn u64(&mut self, value: u64) {
        self.raw(&value.to_be_bytes());
    }

    /// A boolean.
    pub fn bool(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    /// A fixed-length opaque with its padding.
    pub fn fixed(&mut self, data: &[u8]) {
        self.raw(data);
        self.pad(data.len());
    }

    /// A variable-length opaque or string. What we send is far below 4 GiB; a longer slice is
    /// cut there rather than sent with a length that is not its own.
    pub fn opaque(&mut self, data: &[u8]) {
        let count = u32::try_from(data.len()).unwrap_or(u32::MAX);
        self.u32(count);
        self.fixed(&data[..count as usize]);
    }

    /// A variable-length opaque that ends the message and is sent from where it lies.
    pub fn payload(&mut self, data: Bytes) {
        self.u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
        self.payload = data;
    }

    /// Optional data.
    pub fn option<T: Encode>(&mut self, value: Option<&T>) {
        self.bool(value.is_some());
        if let Some(value) = value {
            value.encode(self);
        }
    }

    /// Any value that knows how to write itself.
    pub fn put<T: Encode + ?Sized>(&mut self, value: &T) {
        value.encode(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_hostile_length_is_refused_before_it_is_used() {
        let record = [0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4];
        assert_eq!(
            Reader::new(&record).opaque(1024),
            Err(XdrError::TooLong { max: 1024, got: u32::MAX })
        );
        assert_eq!(Reader::new(&record).opaque(usize::MAX), Err(XdrError::Short));
    }

    #[test]
    fn an_opaque_without_its_padding_is_short() {
        assert_eq!(Reader::new(&[0, 0, 0, 1, 7]).opaque(8), Err(XdrError::Short));
    }

    #[test]
    fn a_boolean_is_zero_or_one() {
        assert_eq!(Reader::new(&[0, 0, 0, 2]).bool(), Err(XdrError::BadValue(2)));
    }

    #[test]
    fn a_payload_is_sent_from_where_it_lies() {
        let mut writer = Writer::new();
        writer.u32(9);
        writer.payload(Bytes::from_static(b"abcde"));
        assert_eq!(writer.len(), 16);
        let (head, payload, pad) = writer.into_parts();
        assert_eq!(
            (&head[..], &payload[..], pad.len()),
            (&[0, 0, 0, 9, 0, 0, 0, 5][..], &b"abcde"[..], 3)
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(a: u32, b: u64, c: i32, d: bool, e: Vec<u8>, f: [u8; 7]) {
            let mut writer = Writer::new();
            writer.u32(a);
            writer.u64(b);
            writer.i32(c);
            writer.bool(d);
            writer.opaque(&e);
            writer.fixed(&f);
            let bytes = writer.into_bytes();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.u32(), Ok(a));
            prop_assert_eq!(reader.u64(), Ok(b));
            prop_assert_eq!(reader.i32(), Ok(c));
            prop_assert_eq!(reader.bool(), Ok(d));
            prop_assert_eq!(reader.opaque(e.len()), Ok(&e[..]));
            prop_assert_eq!(reader.fixed_array::<7>(), Ok(f));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }
}
