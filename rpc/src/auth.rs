//! Who calls: AUTH_NONE and AUTH_SYS (RFC 5531 8.2, 9 and appendix A).

use crate::xdr::{Encode, Reader, Writer, XdrError};

/// The most bytes the body of a credential or verifier may have (RFC 5531 8.2).
pub const AUTH_BODY_BYTES_MAX: usize = 400;
/// The most bytes of a machine name in AUTH_SYS (RFC 5531 appendix A).
pub const MACHINE_NAME_BYTES_MAX: usize = 255;
/// The most supplementary groups in AUTH_SYS (RFC 5531 appendix A).
pub const GIDS_MAX: usize = 16;

const AUTH_NONE: u32 = 0;
const AUTH_SYS: u32 = 1;

/// Why a credential is refused (RFC 5531 9, `auth_stat`); the numbers go on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum AuthStat {
    /// The credential cannot be read.
    BadCred = 1,
    /// The verifier cannot be read.
    BadVerf = 3,
    /// The credential is of too weak a kind for what is asked.
    TooWeak = 5,
}

/// An AUTH_SYS credential: what the caller's kernel says of the caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthSys {
    /// A number of the caller's choice.
    pub stamp: u32,
    /// The caller's host name, at most 255 bytes of any content.
    pub machine_name: Vec<u8>,
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// The supplementary groups, at most 16.
    pub gids: Vec<u32>,
}

impl AuthSys {
    fn decode(body: &[u8]) -> Result<Self, XdrError> {
        let mut reader = Reader::new(body);
        let stamp = reader.u32()?;
        let machine_name = reader.opaque(MACHINE_NAME_BYTES_MAX)?.to_vec();
        let (uid, gid) = (reader.u32()?, reader.u32()?);
        let count = reader.count(GIDS_MAX)?;
        let gids = (0..count).map(|_| reader.u32()).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self { stamp, machine_name, uid, gid, gids })
    }
}

impl Encode for AuthSys {
    fn encode(&self, writer: &mut Writer) {
        writer.u32(self.stamp);
        writer.opaque(&self.machine_name);
        writer.u32(self.uid);
        writer.u32(self.gid);
        writer.u32(u32::try_from(self.gids.len()).unwrap_or(u32::MAX));
        self.gids.iter().for_each(|gid| writer.u32(*gid));
    }
}

/// A call's credential.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credential {
    /// AUTH_NONE: nobody in particular.
    #[default]
    None,
    /// AUTH_SYS.
    Sys(AuthSys),
}

impl Credential {
    /// Reads the credential and the verifier of a call. The outer error says that the record
    /// itself is cut short or overlong, the inner one what to answer with AUTH_ERROR.
    pub fn decode_with_verifier(
        reader: &mut Reader<'_>,
    ) -> Result<Result<Self, AuthStat>, XdrError> {
        let flavor = reader.u32()?;
        let body = match reader.opaque(AUTH_BODY_BYTES_MAX) {
            Err(XdrError::TooLong { .. }) => return Ok(Err(AuthStat::BadCred)),
            other => other?,
        };
        let _verifier_flavor = reader.u32()?;
        if let Err(error) = reader.opaque(AUTH_BODY_BYTES_MAX) {
            return match error {
                XdrError::TooLong { .. } => Ok(Err(AuthStat::BadVerf)),
                other => Err(other),
            };
        }
        Ok(match flavor {
            AUTH_NONE => Ok(Self::None),
            AUTH_SYS => AuthSys::decode(body).map(Self::Sys).map_err(|_| AuthStat::BadCred),
            _ => Err(AuthStat::TooWeak),
        })
    }
}

impl Encode for Credential {
    /// Writes the credential of a call, without the verifier that follows it.
    fn encode(&self, writer: &mut Writer) {
        match self {
            Self::None => {
                writer.u32(AUTH_NONE);
                writer.opaque(&[]);
            }
            Self::Sys(sys) => {
                let mut body = Writer::new();
                sys.encode(&mut body);
                writer.u32(AUTH_SYS);
                writer.opaque(&body.into_bytes());
            }
        }
    }
}

/// Appends an AUTH_NONE verifier.
pub fn put_null_verifier(writer: &mut Writer) {
    writer.put(&Credential::None);
}
