//! What must outlive this process to reach a client again: bytes that the lock core keeps unread.
//!
//! Two kinds: of a client, how to tell its status monitor that we restarted ([`Contact`]); of a
//! waiter, the GRANTED call that it expects ([`Waiting`]). Both begin with their version, and
//! bytes that are not what we wrote are an error, never a guess.

use std::net::IpAddr;

use cleat_rpc::xdr::Result as XdrResult;
use cleat_rpc::{Reader, Writer, XdrError};

use crate::owner::{Origin, Transport, client_id};
use crate::version::Version;
use crate::wire::{CALLER_NAME_BYTES_MAX, FILE_HANDLE_BYTES_MAX, Lock, NETOBJ_BYTES_MAX, TestArgs};

/// How many addresses of ours are kept for one client. A client mounts one, now and then two;
/// where one uses more, those that it used last are kept.
pub const SERVER_ADDRESSES_MAX: usize = 16;

const VERSION: u32 = 1;

/// Why kept bytes cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damaged {
    /// A newer version of this server wrote them.
    Version(u32),
    /// They are not what any version writes.
    Xdr(XdrError),
}

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version(version) => write!(f, "written by a newer version ({version})"),
            Self::Xdr(error) => write!(f, "damaged: {error}"),
        }
    }
}

impl std::error::Error for Damaged {}

impl From<XdrError> for Damaged {
    fn from(error: XdrError) -> Self {
        Self::Xdr(error)
    }
}

/// One address of ours that a client uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address.
    pub address: IpAddr,
    /// How the client came to it.
    pub transport: Transport,
    /// The name by which the client monitors us: the address as text unless it is known better.
    pub name: Vec<u8>,
}

/// A client, and which addresses of ours it uses: whom to send SM_NOTIFY to, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// What it calls itself.
    pub caller_name: Vec<u8>,
    /// Its address.
    pub client: IpAddr,
    /// The addresses of ours that it uses, in the order in which it came to them.
    pub servers: Vec<Server>,
}

impl Contact {
    /// The contact of a client that has made one request.
    #[must_use]
    pub fn new(origin: &Origin) -> Self {
        let server = Server {
            address: origin.server(),
            transport: origin.transport(),
            name: origin.server().to_string().into_bytes(),
        };
        Self {
            caller_name: origin.caller_name().to_vec(),
            client: origin.client(),
            servers: vec![server],
        }
    }

    /// The name that the lock core knows it by.
    #[must_use]
    pub fn client_id(&self) -> String {
        client_id(&self.caller_name, self.client)
    }

    /// Adds what `origin` used; whether that was new, and so must be recorded.
    pub fn merge(&mut self, origin: &Origin) -> bool {
        let (address, transport) = (origin.server(), origin.transport());
        let known = |s: &Server| (s.address, s.transport) == (address, transport);
        if self.servers.iter().any(known) {
            return false;
        }
        if self.servers.len() >= SERVER_ADDRESSES_MAX {
            self.servers.remove(0);
        }
        self.servers.extend(Self::new(origin).servers);
        true
    }

    /// Adds what another contact of this client has, as if it had used that before.
    pub fn join(&mut self, other: &Self) {
        let known =
            |one: &Server, s: &Server| (one.address, one.transport) == (s.address, s.transport);
        let mut servers = other.servers.clone();
        servers.retain(|one| !self.servers.iter().any(|s| known(one, s)));
        servers.append(&mut self.servers);
        let surplus = servers.len().saturating_sub(SERVER_ADDRESSES_MAX);
        self.servers = servers.split_off(surplus);
    }

    /// The contact as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u32(VERSION);
        writer.opaque(&self.caller_name);
        put_ip(&mut writer, self.client);
        writer.u32(u32::try_from(self.servers.len()).unwrap_or(u32::MAX));
        for server in &self.servers {
            put_ip(&mut writer, server.address);
            put_transport(&mut writer, server.transport);
            writer.opaque(&server.name);
        }
        writer.into_bytes().to_vec()
    }

    /// Reads what [`Contact::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut reader = versioned(bytes)?;
        let caller_name = reader.opaque(CALLER_NAME_BYTES_MAX)?.to_vec();
        let client = get_ip(&mut reader)?;
        let count = reader.count(SERVER_ADDRESSES_MAX)?;
        let servers = (0..count).map(|_| get_server(&mut reader)).collect::<XdrResult<_>>()?;
        reader.finish()?;
        Ok(Self { caller_name, client, servers })
    }
}

/// The contact to record with a request from `origin`, where `recorded` is what is on record of
/// its client. What is on record but cannot be read is written anew.
#[must_use]
pub fn contact_bytes(origin: &Origin, recorded: Option<&[u8]>) -> Vec<u8> {
    match recorded.map(Contact::from_bytes) {
        Some(Ok(mut contact)) => {
            contact.merge(origin);
            contact.to_bytes()
        }
        Some(Err(_)) | None => Contact::new(origin).to_bytes(),
    }
}

/// What a blocked LOCK said, and where: all that its GRANTED call needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The client's address, where its lock manager is called.
    pub client: IpAddr,
    /// The address of ours that the LOCK came to. The call must come from there: Linux compares.
    pub server: IpAddr,
    /// How the LOCK came, and how the call goes.
    pub transport: Transport,
    /// The NLM version of the LOCK, and of the call.
    pub version: Version,
    /// The cookie of the LOCK.
    pub cookie: Vec<u8>,
    /// The mode asked for.
    pub exclusive: bool,
    /// The caller name of the LOCK.
    pub caller_name: Vec<u8>,
    /// The file handle, byte for byte.
    pub fh: Vec<u8>,
    /// The owner handle, byte for byte.
    pub oh: Vec<u8>,
    /// The owner's number.
    pub svid: u32,
    /// The range asked for, whatever it merged with: Linux compares.
    pub offset: u64,
    /// Its length as asked for; 0 reaches to the end of the file.
    pub length: u64,
}

impl Waiting {
    /// What to keep of a LOCK of `version` that waits.
    #[must_use]
    pub fn new(
        cookie: &[u8],
        exclusive: bool,
        lock: &Lock<'_>,
        origin: &Origin,
        version: Version,
    ) -> Self {
        Self {
            client: origin.client(),
            server: origin.server(),
            transport: origin.transport(),
            version,
            cookie: cookie.to_vec(),
            exclusive,
            caller_name: lock.caller_name.to_vec(),
            fh: lock.fh.to_vec(),
            oh: lock.oh.to_vec(),
            svid: lock.svid,
            offset: lock.offset,
            length: lock.length,
        }
    }

    /// The arguments of the GRANTED call: those of the LOCK, unchanged.
    ///
    /// The cookie too is the LOCK's. No specification asks for it, and Linux does not look, but
    /// the lock daemons that FreeBSD and macOS descend from find their waiting process by it;
    /// our own reply is found by the call's xid.
    #[must_use]
    pub fn granted_args(&self) -> TestArgs<'_> {
        TestArgs {
            cookie: &self.cookie,
            exclusive: self.exclusive,
            lock: Lock {
                caller_name: &self.caller_name,
                fh: &self.fh,
                oh: &self.oh,
                svid: self.svid,
                offset: self.offset,
                length: self.length,
            },
        }
    }

    /// The waiter as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u32(VERSION);
        put_ip(&mut writer, self.client);
        put_ip(&mut writer, self.server);
        put_transport(&mut writer, self.transport);
        writer.u32(self.version.number());
        writer.put(&self.granted_args());
        writer.into_bytes().to_vec()
    }

    /// Reads what [`Waiting::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut reader = versioned(bytes)?;
        let (client, server) = (get_ip(&mut reader)?, get_ip(&mut reader)?);
        let transport = get_transport(&mut reader)?;
        let version = reader.u32()?;
        let version = Version::of(version).ok_or(XdrError::BadValue(version))?;
        let args: TestArgs<'_> = reader.get()?;
        reader.finish()?;
        let origin = Origin::new(args.lock.caller_name, client, server, transport);
        Ok(Self::new(args.cookie, args.exclusive, &args.lock, &origin, version))
    }
}

/// The most bytes that a kept [`Waiting`] comes to.
pub const WAITING_BYTES_MAX: usize =
    128 + 2 * NETOBJ_BYTES_MAX + CALLER_NAME_BYTES_MAX + FILE_HANDLE_BYTES_MAX;

pub(crate) fn versioned(bytes: &[u8]) -> Result<Reader<'_>, Damaged> {
    let mut reader = Reader::new(bytes);
    match reader.u32()? {
        VERSION => Ok(reader),
        0 => Err(XdrError::BadValue(0).into()),
        newer => Err(Damaged::Version(newer)),
    }
}

pub(crate) fn put_ip(writer: &mut Writer, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => writer.opaque(&ip.octets()),
        IpAddr::V6(ip) => writer.opaque(&ip.octets()),
    }
}

pub(crate) fn get_ip(reader: &mut Reader<'_>) -> XdrResult<IpAddr> {
    let bytes = reader.opaque(16)?;
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ok(octets.into());
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(octets) => Ok(IpAddr::from(octets).to_canonical()),
        Err(_) => Err(XdrError::Short),
    }
}

fn put_transport(writer: &mut Writer, transport: Transport) {
    writer.bool(transport == Transport::Udp);
}

fn get_transport(reader: &mut Reader<'_>) -> XdrResult<Transport> {
    Ok(if reader.bool()? { Transport::Udp } else { Transport::Tcp })
}

fn get_server(reader: &mut Reader<'_>) -> XdrResult<Server> {
    Ok(Server {
        address: get_ip(reader)?,
        transport: get_transport(reader)?,
        name: reader.opaque(CALLER_NAME_BYTES_MAX)?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origin(server: [u8; 4], transport: Transport) -> Origin {
        Origin::new(b"guest1", [10, 0, 0, 2].into(), server.into(), transport)
    }

    #[test]
    fn a_client_that_mounts_a_second_address_is_told_from_both() {
        let mut contact = Contact::new(&origin([10, 0, 0, 1], Transport::Tcp));
        assert!(!contact.merge(&origin([10, 0, 0, 1], Transport::Tcp)));
        assert!(contact.merge(&origin([10, 0, 1, 1], Transport::Tcp)));
        assert!(contact.merge(&origin([10, 0, 1, 1], Transport::Udp)));
        let names: Vec<_> = contact.servers.iter().map(|s| s.name.as_slice()).collect();
        assert_eq!(names, [&b"10.0.0.1"[..], b"10.0.1.1", b"10.0.1.1"]);
        let bytes = contact.to_bytes();
        assert_eq!(contact_bytes(&origin([10, 0, 0, 1], Transport::Tcp), Some(&bytes)), bytes);
        assert_eq!(Contact::from_bytes(&bytes), Ok(contact));
    }

    #[test]
    fn a_contact_does_not_grow_for_ever() {
        let mut contact = Contact::new(&origin([10, 0, 0, 0], Transport::Tcp));
        for last in 1..=100 {
            contact.merge(&origin([10, 0, 0, last], Transport::Tcp));
        }
        assert_eq!(contact.servers.len(), SERVER_ADDRESSES_MAX);
        assert_eq!(contact.servers.last().map(|s| s.address), Some([10, 0, 0, 100].into()));
    }

    #[test]
    fn a_newer_version_is_an_error_of_its_own() {
        let mut bytes = Contact::new(&origin([10, 0, 0, 1], Transport::Tcp)).to_bytes();
        bytes[3] = 2;
        assert_eq!(Contact::from_bytes(&bytes), Err(Damaged::Version(2)));
        assert_eq!(Waiting::from_bytes(&bytes), Err(Damaged::Version(2)));
    }

    #[test]
    fn a_damaged_contact_on_record_is_written_anew() {
        let origin = origin([10, 0, 0, 1], Transport::Tcp);
        let fresh = Contact::new(&origin).to_bytes();
        assert_eq!(contact_bytes(&origin, Some(&fresh[..9])), fresh);
        assert_eq!(contact_bytes(&origin, None), fresh);
    }

    prop_compose! {
        fn waiting()(
            cookie in prop::collection::vec(any::<u8>(), 0..=NETOBJ_BYTES_MAX),
            exclusive: bool,
            caller_name in prop::collection::vec(any::<u8>(), 0..64),
            fh in prop::collection::vec(any::<u8>(), 0..=FILE_HANDLE_BYTES_MAX),
            oh in prop::collection::vec(any::<u8>(), 0..64),
            svid: u32, offset: u64, length: u64, client: [u8; 16], server: [u8; 4], udp: bool,
            which in 0..Version::ALL.len(),
        ) -> Waiting {
            let transport = if udp { Transport::Udp } else { Transport::Tcp };
            let origin = Origin::new(&caller_name, client.into(), server.into(), transport);
            let lock = Lock { caller_name: &caller_name, fh: &fh, oh: &oh, svid, offset, length };
            Waiting::new(&cookie, exclusive, &lock, &origin, Version::ALL[which])
        }
    }

    proptest! {
        #[test]
        fn a_waiter_is_read_as_it_was_written(waiting in waiting()) {
            let bytes = waiting.to_bytes();
            prop_assert!(bytes.len() <= WAITING_BYTES_MAX);
            prop_assert_eq!(Waiting::from_bytes(&bytes), Ok(waiting));
        }

        #[test]
        fn a_torn_waiter_is_an_error(waiting in waiting(), at: prop::sample::Index) {
            let bytes = waiting.to_bytes();
            prop_assert!(Waiting::from_bytes(&bytes[..at.index(bytes.len())]).is_err());
        }

        #[test]
        fn any_bytes_at_all_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = Contact::from_bytes(&bytes);
            let _ = Waiting::from_bytes(&bytes);
        }
    }
}
