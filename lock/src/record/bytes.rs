//! Numbers and byte strings as a record stores them. The reader never trusts a length.

use super::RecordError;

/// Appends fields.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(first: u8) -> Self {
        let mut out = Vec::with_capacity(96);
        out.push(first);
        Writer(out)
    }

    pub(super) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Seven bits a byte, the lowest first, the top bit set on all but the last byte (LEB128).
    pub(super) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    pub(super) fn raw(&mut self, value: &[u8]) {
        self.0.extend_from_slice(value);
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.number(value.len() as u64);
        self.raw(value);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes fields off the front.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, RecordError> {
        Ok(self.raw(1)?[0])
    }

    pub(super) fn number(&mut self) -> Result<u64, RecordError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && byte > 1 {
                return Err(RecordError::Invalid("number"));
            }
            value |= bits << shift;
            if byte < 0x80 {
                // One number has one form, so that equal records are equal bytes.
                let padded = byte == 0 && shift > 0;
                return if padded { Err(RecordError::Invalid("number")) } else { Ok(value) };
            }
        }
        Err(RecordError::Invalid("number"))
    }

    pub(super) fn number32(&mut self, field: &'static str) -> Result<u32, RecordError> {
        u32::try_from(self.number()?).map_err(|_| RecordError::Invalid(field))
    }

    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, RecordError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RecordError::Invalid(field)),
        }
    }

    pub(super) fn raw(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(RecordError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], RecordError> {
        let length = usize::try_from(self.number()?).map_err(|_| RecordError::Truncated)?;
        self.raw(length)
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str, RecordError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| RecordError::Invalid(field))
    }

    pub(super) fn end(&self) -> Result<(), RecordError> {
        if self.0.is_empty() { Ok(()) } else { Err(RecordError::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_and_have_one_form() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), 1 << 63, u64::MAX] {
            let mut out = Writer::default();
            out.number(value);
            let bytes = out.finish();
            let mut reader = Reader(&bytes);
            assert_eq!(reader.number(), Ok(value));
            assert_eq!(reader.end(), Ok(()));
        }
        assert_eq!(Reader(&[0x80, 0x00]).number(), Err(RecordError::Invalid("number")));
        assert_eq!(Reader(&[0xff; 10]).number(), Err(RecordError::Invalid("number")));
        assert_eq!(Reader(&[0xff; 9]).number(), Err(RecordError::Truncated));
    }

    #[test]
    fn a_length_beyond_the_bytes_is_refused() {
        let mut out = Writer::default();
        out.number(u64::MAX);
        assert_eq!(Reader(&out.finish()).bytes(), Err(RecordError::Truncated));
    }
}
