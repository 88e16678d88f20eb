//! Records as bytes. Key: table, length of the file id (4 bytes, big-endian), file id, name.
//! Value: a version byte, then the fields in order of their declaration.

use std::sync::Arc;

use uuid::Uuid;

use super::bytes::{Reader, Writer};
use super::{
    ClientRecord, Granted, LockRecord, Record, RecordError, RecordKey, ShareRecord, Table, Undo,
    WaiterRecord,
};
use crate::types::{Access, FileId, LockId, Mode, Owner, Range, WaiterId};

/// The version that every record begins with.
const VERSION: u8 = 1;

impl RecordKey {
    /// The key as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            RecordKey::Lock { file, id } => {
                let mut key = RecordKey::file_prefix(Table::Locks, file);
                key.extend_from_slice(id.uuid().as_bytes());
                key
            }
            RecordKey::Waiter { file, waiter } => {
                let mut key = RecordKey::file_prefix(Table::Waiters, file);
                key.extend_from_slice(&waiter.0.to_be_bytes());
                key
            }
            RecordKey::Client { client_id } => {
                let mut key = vec![Table::Clients as u8];
                key.extend_from_slice(client_id.as_bytes());
                key
            }
            RecordKey::Share { file, owner_id } => {
                let mut key = RecordKey::file_prefix(Table::Shares, file);
                key.extend_from_slice(owner_id.as_bytes());
                key
            }
        }
    }

    /// What the keys of all locks (or waiters, or shares) of a file begin with.
    #[must_use]
    pub fn file_prefix(table: Table, file: &FileId) -> Vec<u8> {
        let bytes = file.as_bytes();
        // A file id of 4 GiB does not exist: handles are at most 64 bytes on the wire.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut key = Vec::with_capacity(5 + bytes.len() + 16);
        key.push(table as u8);
        key.extend_from_slice(&length.to_be_bytes());
        key.extend_from_slice(bytes);
        key
    }

    /// Reads a key back.
    ///
    /// # Errors
    /// Where the bytes are not exactly one key.
    pub fn from_bytes(key: &[u8]) -> Result<RecordKey, RecordError> {
        let mut key = Reader(key);
        match key.byte()? {
            1 => {
                let file = key_file(&mut key)?;
                let id: [u8; 16] = key.raw(16)?.try_into().map_err(|_| RecordError::Truncated)?;
                key.end()?;
                Ok(RecordKey::Lock { file, id: LockId::new(Uuid::from_bytes(id)) })
            }
            2 => {
                let file = key_file(&mut key)?;
                let id: [u8; 8] = key.raw(8)?.try_into().map_err(|_| RecordError::Truncated)?;
                key.end()?;
                Ok(RecordKey::Waiter { file, waiter: WaiterId(u64::from_be_bytes(id)) })
            }
            3 => {
                let text = std::str::from_utf8(key.0);
                let client_id = text.map_err(|_| RecordError::Invalid("client_id"))?;
                Ok(RecordKey::Client { client_id: Arc::from(client_id) })
            }
            4 => {
                let file = key_file(&mut key)?;
                let text = std::str::from_utf8(key.0);
                let owner_id = text.map_err(|_| RecordError::Invalid("owner_id"))?;
                Ok(RecordKey::Share { file, owner_id: Arc::from(owner_id) })
            }
            _ => Err(RecordError::Invalid("table")),
        }
    }
}

fn key_file(key: &mut Reader<'_>) -> Result<FileId, RecordError> {
    let length: [u8; 4] = key.raw(4)?.try_into().map_err(|_| RecordError::Truncated)?;
    let length = usize::try_from(u32::from_be_bytes(length));
    Ok(FileId::new(key.raw(length.map_err(|_| RecordError::Truncated)?)?))
}

impl Record {
    /// The record's value as bytes; what the key says is not repeated.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(VERSION);
        match self {
            Record::Lock(lock) => put_lock(&mut out, lock),
            Record::Waiter(waiter) => put_waiter(&mut out, waiter),
            Record::Client(client) => {
                out.number(client.incarnation.into());
                out.bytes(&client.contact);
                out.number(client.since_ms);
            }
            Record::Share(share) => put_share(&mut out, share),
        }
        out.finish()
    }

    /// Reads a record back from its key and value.
    ///
    /// # Errors
    /// Where the bytes are not exactly one record of a version known here. Never panics, and never
    /// allocates more than a small multiple of the bytes given.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Record, RecordError> {
        let key = RecordKey::from_bytes(key)?;
        let mut value = Reader(value);
        let version = value.byte()?;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let record = match key {
            RecordKey::Lock { file, id } => Record::Lock(get_lock(&mut value, file, id)?),
            RecordKey::Waiter { file, waiter } => {
                Record::Waiter(get_waiter(&mut value, file, waiter)?)
            }
            RecordKey::Client { client_id } => Record::Client(ClientRecord {
                client_id,
                incarnation: value.number32("incarnation")?,
                contact: Arc::from(value.bytes()?),
                since_ms: value.number()?,
            }),
            RecordKey::Share { file, owner_id } => {
                Record::Share(get_share(&mut value, file, owner_id)?)
            }
        };
        value.end()?;
        Ok(record)
    }
}

fn put_owner(out: &mut Writer, owner: &Owner) {
    out.bytes(owner.owner_id.as_bytes());
    out.bytes(owner.client_id.as_bytes());
    out.bytes(owner.share_name.as_bytes());
    out.bytes(&owner.note);
}

fn get_owner(value: &mut Reader<'_>) -> Result<Owner, RecordError> {
    Ok(Owner {
        owner_id: Arc::from(value.text("owner_id")?),
        client_id: Arc::from(value.text("client_id")?),
        share_name: Arc::from(value.text("share_name")?),
        note: Arc::from(value.bytes()?),
    })
}

fn put_range(out: &mut Writer, range: Range) {
    out.number(range.offset());
    out.number(range.length());
}

fn get_range(value: &mut Reader<'_>) -> Result<Range, RecordError> {
    let (offset, length) = (value.number()?, value.number()?);
    let range = Range::new(offset, length);
    // To the end of the file has one form, length 0.
    range.filter(|range| range.length() == length).ok_or(RecordError::Invalid("range"))
}

fn put_mode(out: &mut Writer, mode: Mode) {
    out.byte(u8::from(mode == Mode::Exclusive));
}

fn get_mode(value: &mut Reader<'_>) -> Result<Mode, RecordError> {
    Ok(if value.flag("mode")? { Mode::Exclusive } else { Mode::Shared })
}

fn put_lock(out: &mut Writer, lock: &LockRecord) {
    put_owner(out, &lock.owner);
    put_range(out, lock.range);
    put_mode(out, lock.mode);
    out.number(lock.incarnation.into());
    out.number(lock.acquired_ms);
    out.byte(u8::from(lock.blocking));
    out.byte(u8::from(lock.reclaim));
}

fn get_lock(value: &mut Reader<'_>, file: FileId, id: LockId) -> Result<LockRecord, RecordError> {
    Ok(LockRecord {
        id,
        owner: get_owner(value)?,
        file,
        range: get_range(value)?,
        mode: get_mode(value)?,
        incarnation: value.number32("incarnation")?,
        acquired_ms: value.number()?,
        blocking: value.flag("blocking")?,
        reclaim: value.flag("reclaim")?,
    })
}

fn put_share(out: &mut Writer, share: &ShareRecord) {
    // The owner's id is in the key.
    out.bytes(share.owner.client_id.as_bytes());
    out.bytes(share.owner.share_name.as_bytes());
    out.bytes(&share.owner.note);
    out.byte(share.access as u8);
    out.byte(share.deny as u8);
    out.number(share.incarnation.into());
    out.number(share.acquired_ms);
    out.byte(u8::from(share.reclaim));
}

fn get_share(
    value: &mut Reader<'_>,
    file: FileId,
    owner_id: Arc<str>,
) -> Result<ShareRecord, RecordError> {
    let owner = Owner {
        owner_id,
        client_id: Arc::from(value.text("client_id")?),
        share_name: Arc::from(value.text("share_name")?),
        note: Arc::from(value.bytes()?),
    };
    Ok(ShareRecord {
        owner,
        file,
        access: get_access(value, "access")?,
        deny: get_access(value, "deny")?,
        incarnation: value.number32("incarnation")?,
        acquired_ms: value.number()?,
        reclaim: value.flag("reclaim")?,
    })
}

fn get_access(value: &mut Reader<'_>, field: &'static str) -> Result<Access, RecordError> {
    let byte = value.byte()?;
    let access = Access::ALL.into_iter().find(|&access| access as u8 == byte);
    access.ok_or(RecordError::Invalid(field))
}

fn put_waiter(out: &mut Writer, waiter: &WaiterRecord) {
    out.raw(waiter.id.uuid().as_bytes());
    put_owner(out, &waiter.owner);
    put_range(out, waiter.range);
    put_mode(out, waiter.mode);
    out.number(waiter.incarnation.into());
    out.number(waiter.queued_ms);
    out.number(waiter.silence_ms);
    out.number(waiter.timeout_ms);
    out.byte(u8::from(waiter.find_deadlock));
    out.byte(u8::from(waiter.upgrade));
    out.bytes(&waiter.context);
    out.byte(u8::from(waiter.granted.is_some()));
    if let Some(granted) = &waiter.granted {
        out.number(granted.ids_used.into());
        out.number(granted.undo.len() as u64);
        for undo in &granted.undo {
            put_range(out, undo.range);
            out.byte(u8::from(undo.held.is_some()));
            if let Some((mode, incarnation)) = undo.held {
                put_mode(out, mode);
                out.number(incarnation.into());
            }
        }
    }
}

fn get_waiter(
    value: &mut Reader<'_>,
    file: FileId,
    waiter: WaiterId,
) -> Result<WaiterRecord, RecordError> {
    let id: [u8; 16] = value.raw(16)?.try_into().map_err(|_| RecordError::Truncated)?;
    let mut record = WaiterRecord {
        waiter,
        id: LockId::new(Uuid::from_bytes(id)),
        owner: get_owner(value)?,
        file,
        range: get_range(value)?,
        mode: get_mode(value)?,
        incarnation: value.number32("incarnation")?,
        queued_ms: value.number()?,
        silence_ms: value.number()?,
        timeout_ms: value.number()?,
        find_deadlock: value.flag("find_deadlock")?,
        upgrade: value.flag("upgrade")?,
        context: Arc::from(value.bytes()?),
        granted: None,
    };
    if value.flag("granted")? {
        record.granted = Some(get_granted(value, record.range)?);
    }
    Ok(record)
}

fn get_granted(value: &mut Reader<'_>, within: Range) -> Result<Granted, RecordError> {
    let ids_used = value.number32("ids_used")?;
    let mut undo: Vec<Undo> = Vec::new();
    for _ in 0..value.number()? {
        let range = get_range(value)?;
        let held = if value.flag("held")? {
            Some((get_mode(value)?, value.number32("incarnation")?))
        } else {
            None
        };
        let ascends = undo.last().is_none_or(|before| before.range.last() < range.first());
        if !ascends || !within.contains(range) {
            return Err(RecordError::Invalid("undo"));
        }
        undo.push(Undo { range, held });
    }
    Ok(Granted { ids_used, undo })
}
