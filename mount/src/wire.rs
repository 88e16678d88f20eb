//! MOUNT v3 on the wire (RFC 1813 5 and appendix I): arguments and results.

use cleat_rpc::{Encode, Reader, Writer, XdrError};

use crate::export::{Export, ExportTable, PATH_BYTES_MAX};
use crate::mount_table::MountTable;

/// MOUNT's program number.
pub const PROGRAM: u32 = 100_005;
/// The version served.
pub const VERSION: u32 = 3;
/// The longest host or group name in bytes (RFC 1813 5.1.1, `MNTNAMLEN`).
pub const NAME_BYTES_MAX: usize = 255;
/// The longest file handle in bytes (RFC 1813 5.1.1, `FHSIZE3`).
pub const HANDLE_BYTES_MAX: usize = 64;

/// The flavors of credentials that a mounted handle may be used with: AUTH_SYS.
const AUTH_FLAVORS: [u32; 1] = [1];

/// The procedures (RFC 1813 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Procedure {
    /// MOUNTPROC3_NULL: nothing.
    Null,
    /// MOUNTPROC3_MNT: the handle of a directory.
    Mnt,
    /// MOUNTPROC3_DUMP: who mounted what.
    Dump,
    /// MOUNTPROC3_UMNT: a directory is no longer mounted.
    Umnt,
    /// MOUNTPROC3_UMNTALL: nothing is mounted any longer.
    UmntAll,
    /// MOUNTPROC3_EXPORT: what is exported, and to whom.
    Export,
}

impl Procedure {
    /// The procedure of a number, if there is one.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Null,
            1 => Self::Mnt,
            2 => Self::Dump,
            3 => Self::Umnt,
            4 => Self::UmntAll,
            5 => Self::Export,
            _ => return None,
        })
    }
}

/// How MNT fails (RFC 1813 5.1.5, `mountstat3`); the numbers go on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum MountError {
    /// MNT3ERR_PERM.
    Perm = 1,
    /// MNT3ERR_NOENT: there is no such directory.
    NoEnt = 2,
    /// MNT3ERR_IO.
    Io = 5,
    /// MNT3ERR_ACCES: not exported, or not to this caller.
    Acces = 13,
    /// MNT3ERR_NOTDIR: it is no directory.
    NotDir = 20,
    /// MNT3ERR_INVAL: the path makes no sense.
    Inval = 22,
    /// MNT3ERR_NAMETOOLONG.
    NameTooLong = 63,
    /// MNT3ERR_NOTSUPP.
    NotSupp = 10004,
    /// MNT3ERR_SERVERFAULT: the server could not.
    ServerFault = 10006,
}

/// Reads the one argument of MNT and UMNT: `dirpath`, at most 1024 bytes.
pub fn dirpath<'a>(arguments: &mut Reader<'a>) -> Result<&'a [u8], XdrError> {
    arguments.opaque(PATH_BYTES_MAX)
}

/// The result of MNT (RFC 1813 5.2.1, `mountres3`).
///
/// The specification permits MNT3_OK, MNT3ERR_NOENT, MNT3ERR_IO, MNT3ERR_ACCES, MNT3ERR_NOTDIR
/// and MNT3ERR_NAMETOOLONG; the server adds MNT3ERR_INVAL and MNT3ERR_SERVERFAULT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MntResult(pub Result<Vec<u8>, MountError>);

impl Encode for MntResult {
    fn encode(&self, writer: &mut Writer) {
        match &self.0 {
            Ok(handle) => {
                debug_assert!(handle.len() <= HANDLE_BYTES_MAX, "a handle fits its type");
                writer.u32(0);
                writer.opaque(handle);
                writer.u32(1);
                AUTH_FLAVORS.iter().for_each(|flavor| writer.u32(*flavor));
            }
            Err(error) => writer.u32(*error as u32),
        }
    }
}

/// The result of DUMP (RFC 1813 5.2.2, `mountlist`), cut after the last entry with which it
/// stays within `bytes_max`.
#[must_use]
pub fn dump_result(mounts: &MountTable, bytes_max: usize) -> Writer {
    list(bytes_max, mounts.iter(), |writer, (host, path)| {
        writer.opaque(host.to_string().as_bytes());
        writer.opaque(path);
    })
}

/// The result of EXPORT (RFC 1813 5.2.5, `exports`), cut after the last entry with which it
/// stays within `bytes_max`. The groups of an export are its client rules, shown as "*",
/// "192.0.2.7" or "10.0.0.0/8".
#[must_use]
pub fn export_result(exports: &ExportTable, bytes_max: usize) -> Writer {
    list(bytes_max, exports, |writer, export: &Export| {
        writer.opaque(export.path());
        for rule in export.clients() {
            writer.bool(true);
            writer.opaque(rule.who.to_string().as_bytes());
        }
        writer.bool(false);
    })
}

/// A linked list of XDR: each item behind a true, a false at the end.
fn list<T>(
    bytes_max: usize,
    items: impl IntoIterator<Item = T>,
    put: impl Fn(&mut Writer, T),
) -> Writer {
    let mut whole = Writer::new();
    for item in items {
        let mut one = Writer::new();
        one.bool(true);
        put(&mut one, item);
        if whole.len() + one.len() + 4 > bytes_max {
            break;
        }
        whole.raw(&one.into_bytes());
    }
    whole.bool(false);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{ClientRule, Who};
    use crate::options::Options;
    use proptest::prelude::*;

    fn table() -> ExportTable {
        let rule = |who: &str| ClientRule {
            who: Who::parse(who).expect(who),
            options: Options::default(),
        };
        let exports = vec![
            Export::new(b"/a", vec![rule("*"), rule("10.0.0.0/8")]).expect("/a"),
            Export::new(b"/bc", vec![]).expect("/bc"),
        ];
        ExportTable::new(exports).expect("a table")
    }

    type Entry = (Vec<u8>, Vec<Vec<u8>>);

    /// Reads `exports` as the RFC writes it, independently of the writer above.
    fn read_exports(bytes: &[u8]) -> Result<Vec<Entry>, XdrError> {
        let mut reader = Reader::new(bytes);
        let mut exports = Vec::new();
        while reader.bool()? {
            let path = reader.opaque(PATH_BYTES_MAX)?.to_vec();
            let mut groups = Vec::new();
            while reader.bool()? {
                groups.push(reader.opaque(NAME_BYTES_MAX)?.to_vec());
            }
            exports.push((path, groups));
        }
        reader.finish()?;
        Ok(exports)
    }

    #[test]
    fn exports_are_listed_with_their_clients() {
        let bytes = export_result(&table(), usize::MAX).into_bytes();
        let expected = vec![
            (b"/a".to_vec(), vec![b"10.0.0.0/8".to_vec(), b"*".to_vec()]),
            (b"/bc".to_vec(), vec![]),
        ];
        assert_eq!(read_exports(&bytes), Ok(expected));
    }

    #[test]
    fn a_list_over_the_cap_ends_at_a_whole_entry() {
        let whole = export_result(&table(), usize::MAX).len();
        for bytes_max in 4..whole + 4 {
            let bytes = export_result(&table(), bytes_max).into_bytes();
            assert!(bytes.len() <= bytes_max);
            let entries = read_exports(&bytes).expect("well formed").len();
            assert_eq!(entries == 2, bytes_max >= whole);
        }
    }

    #[test]
    fn mnt_answers_a_handle_and_auth_sys() {
        let mut writer = Writer::new();
        writer.put(&MntResult(Ok(vec![1, 2, 3])));
        let expected = [0, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 1, 0, 0, 0, 1];
        assert_eq!(&writer.into_bytes()[..], expected);
        let mut writer = Writer::new();
        writer.put(&MntResult(Err(MountError::ServerFault)));
        assert_eq!(&writer.into_bytes()[..], 10006_u32.to_be_bytes());
    }

    #[test]
    fn a_path_over_1024_bytes_is_no_argument() {
        let mut writer = Writer::new();
        writer.opaque(&[b'/'; 1025]);
        let expected = XdrError::TooLong { max: 1024, got: 1025 };
        assert_eq!(dirpath(&mut Reader::new(&writer.into_bytes())), Err(expected));
    }

    proptest! {
        #[test]
        fn no_arguments_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = dirpath(&mut Reader::new(&bytes));
        }
    }
}
