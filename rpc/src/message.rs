//! Calls and replies (RFC 5531 9): the header of a call, and every way to answer one.

use crate::auth::{AuthStat, Credential, put_null_verifier};
use crate::xdr::{Reader, Writer, XdrError};

const RPC_VERSION: u32 = 2;
const CALL: u32 = 0;
const REPLY: u32 = 1;
const MSG_ACCEPTED: u32 = 0;
const MSG_DENIED: u32 = 1;
const REJECT_RPC_MISMATCH: u32 = 0;
const REJECT_AUTH_ERROR: u32 = 1;

/// What a call says before its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallHeader {
    /// The caller's number for this call; the reply repeats it.
    pub xid: u32,
    /// The program called.
    pub program: u32,
    /// Its version.
    pub version: u32,
    /// The procedure of that version.
    pub procedure: u32,
    /// Who calls.
    pub credential: Credential,
}

/// Why a record is not a call that can be dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotACall {
    /// It is too short to be answered, or no call at all: it is dropped without an answer.
    Noise,
    /// It is answered with this fault.
    Refused {
        /// The call's number.
        xid: u32,
        /// The answer.
        fault: Fault,
    },
}

/// An answer to a call other than its results (RFC 5531 9: `accept_stat`, `reject_stat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// RPC_MISMATCH: not ONC RPC version 2.
    RpcMismatch,
    /// AUTH_ERROR, with the reason.
    Auth(AuthStat),
    /// PROG_UNAVAIL: no such program here.
    ProgramUnavailable,
    /// PROG_MISMATCH: the program is here in these versions.
    ProgramMismatch {
        /// The lowest version served.
        low: u32,
        /// The highest version served.
        high: u32,
    },
    /// PROC_UNAVAIL: the version has no such procedure.
    ProcedureUnavailable,
    /// GARBAGE_ARGS: the arguments are not what the procedure takes.
    GarbageArgs,
    /// SYSTEM_ERR: the server could not do it.
    SystemError,
}

impl From<XdrError> for Fault {
    fn from(_: XdrError) -> Self {
        Self::GarbageArgs
    }
}

/// A call's answer: the XDR of its results, or a fault.
pub type Reply = Result<Writer, Fault>;

impl CallHeader {
    /// Reads the header of a call and returns it with the reader of its arguments.
    pub fn decode(record: &[u8]) -> Result<(Self, Reader<'_>), NotACall> {
        let mut reader = Reader::new(record);
        let noise = |_: XdrError| NotACall::Noise;
        let xid = reader.u32().map_err(noise)?;
        if reader.u32().map_err(noise)? != CALL {
            return Err(NotACall::Noise);
        }
        let refused = |fault| NotACall::Refused { xid, fault };
        let garbage = |_: XdrError| refused(Fault::GarbageArgs);
        if reader.u32().map_err(garbage)? != RPC_VERSION {
            return Err(refused(Fault::RpcMismatch));
        }
        let program = reader.u32().map_err(garbage)?;
        let version = reader.u32().map_err(garbage)?;
        let procedure = reader.u32().map_err(garbage)?;
        let credential = Credential::decode_with_verifier(&mut reader)
            .map_err(garbage)?
            .map_err(|stat| refused(Fault::Auth(stat)))?;
        Ok((Self { xid, program, version, procedure, credential }, reader))
    }

    /// The header as bytes, to be followed by the arguments.
    pub fn encode(&self, writer: &mut Writer) {
        let words = [self.xid, CALL, RPC_VERSION, self.program, self.version, self.procedure];
        words.into_iter().for_each(|word| writer.u32(word));
        writer.put(&self.credential);
        put_null_verifier(writer);
    }
}

/// The header of a reply that carries results.
#[must_use]
pub fn success_header(xid: u32) -> [u8; 24] {
    let words = [xid, REPLY, MSG_ACCEPTED, 0, 0, 0];
    let mut header = [0; 24];
    for (chunk, word) in header.chunks_exact_mut(4).zip(words) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    header
}

/// A whole reply that carries a fault.
#[must_use]
pub fn fault_reply(xid: u32, fault: Fault) -> Writer {
    let mut writer = Writer::new();
    let mut words = |words: &[u32]| words.iter().for_each(|word| writer.u32(*word));
    words(&[xid, REPLY]);
    match fault {
        Fault::RpcMismatch => {
            words(&[MSG_DENIED, REJECT_RPC_MISMATCH, RPC_VERSION, RPC_VERSION]);
        }
        Fault::Auth(stat) => words(&[MSG_DENIED, REJECT_AUTH_ERROR, stat as u32]),
        Fault::ProgramUnavailable => words(&[MSG_ACCEPTED, 0, 0, 1]),
        Fault::ProgramMismatch { low, high } => words(&[MSG_ACCEPTED, 0, 0, 2, low, high]),
        Fault::ProcedureUnavailable => words(&[MSG_ACCEPTED, 0, 0, 3]),
        Fault::GarbageArgs => words(&[MSG_ACCEPTED, 0, 0, 4]),
        Fault::SystemError => words(&[MSG_ACCEPTED, 0, 0, 5]),
    }
    writer
}

/// Why a reply brings no results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyError {
    /// The bytes are no reply.
    Malformed,
    /// The server refused the call: MSG_DENIED with its `reject_stat`.
    Denied(u32),
    /// The server did not run the call: MSG_ACCEPTED with an `accept_stat` other than SUCCESS.
    NotRun(u32),
}

impl std::fmt::Display for ReplyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed => write!(f, "not an RPC reply"),
            Self::Denied(stat) => write!(f, "call denied (reject_stat {stat})"),
            Self::NotRun(stat) => write!(f, "call not run (accept_stat {stat})"),
        }
    }
}

impl std::error::Error for ReplyError {}

/// Reads a reply: its xid, and its results or why there are none. `None` for what is no reply.
#[must_use]
pub fn decode_reply(record: &[u8]) -> Option<(u32, Result<Reader<'_>, ReplyError>)> {
    let mut reader = Reader::new(record);
    let xid = reader.u32().ok()?;
    if reader.u32().ok()? != REPLY {
        return None;
    }
    Some((xid, reply_results(reader)))
}

fn reply_results(mut reader: Reader<'_>) -> Result<Reader<'_>, ReplyError> {
    let malformed = |_: XdrError| ReplyError::Malformed;
    match reader.u32().map_err(malformed)? {
        MSG_ACCEPTED => {}
        MSG_DENIED => return Err(ReplyError::Denied(reader.u32().map_err(malformed)?)),
        _ => return Err(ReplyError::Malformed),
    }
    reader.u32().map_err(malformed)?;
    reader.opaque(crate::auth::AUTH_BODY_BYTES_MAX).map_err(malformed)?;
    match reader.u32().map_err(malformed)? {
        0 => Ok(reader),
        stat => Err(ReplyError::NotRun(stat)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::AuthSys;

    fn header(credential: Credential) -> CallHeader {
        CallHeader { xid: 7, program: 100_003, version: 3, procedure: 1, credential }
    }

    #[test]
    fn a_call_is_read_as_it_was_written() {
        let credential = Credential::Sys(AuthSys {
            stamp: 1,
            machine_name: b"client".to_vec(),
            uid: 1000,
            gid: 100,
            gids: (0..16).collect(),
        });
        let mut writer = Writer::new();
        header(credential.clone()).encode(&mut writer);
        writer.u32(42);
        let record = writer.into_bytes();
        let (read, mut args) = CallHeader::decode(&record).expect("a call");
        assert_eq!((read, args.u32()), (header(credential), Ok(42)));
    }

    #[test]
    fn seventeen_groups_are_a_bad_credential() {
        let sys = AuthSys { gids: (0..17).collect(), ..AuthSys::default() };
        let mut writer = Writer::new();
        header(Credential::Sys(sys)).encode(&mut writer);
        let refused = NotACall::Refused { xid: 7, fault: Fault::Auth(AuthStat::BadCred) };
        assert_eq!(CallHeader::decode(&writer.into_bytes()).map(|_| ()), Err(refused));
    }

    #[test]
    fn another_rpc_version_is_told_ours() {
        let mut record = Writer::new();
        [7, 0, 3, 100_003, 3, 0].into_iter().for_each(|word| record.u32(word));
        let refused = NotACall::Refused { xid: 7, fault: Fault::RpcMismatch };
        assert_eq!(CallHeader::decode(&record.into_bytes()).map(|_| ()), Err(refused));
        let reply = fault_reply(7, Fault::RpcMismatch).into_bytes();
        let (xid, results) = decode_reply(&reply).expect("a reply");
        assert_eq!((xid, results.map(|_| ())), (7, Err(ReplyError::Denied(0))));
    }

    #[test]
    fn no_prefix_of_a_call_is_taken_for_a_call() {
        let mut writer = Writer::new();
        header(Credential::Sys(AuthSys::default())).encode(&mut writer);
        let record = writer.into_bytes();
        for end in 0..record.len() {
            assert!(CallHeader::decode(&record[..end]).is_err(), "{end} bytes");
        }
    }
}
