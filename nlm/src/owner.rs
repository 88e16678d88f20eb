//! Names the owners and clients of NLM for the lock core, which compares them and reads nothing.

use std::fmt::Write as _;
use std::net::IpAddr;

/// What every name given here begins with; the names of other protocols begin otherwise.
pub const PREFIX: &str = "nlm:";

/// How a request came, and so how the client is called back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Over TCP.
    Tcp,
    /// Over UDP.
    Udp,
}

impl Transport {
    /// Its name in an owner's text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Where a request came from and to: with the svid, all that tells one owner from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    caller_name: Vec<u8>,
    client: IpAddr,
    server: IpAddr,
    transport: Transport,
}

impl Origin {
    /// An origin; IPv4-mapped addresses become the IPv4 addresses that they map.
    #[must_use]
    pub fn new(caller_name: &[u8], client: IpAddr, server: IpAddr, transport: Transport) -> Self {
        let [client, server] = [client.to_canonical(), server.to_canonical()];
        Self { caller_name: caller_name.to_vec(), client, server, transport }
    }

    /// What the client calls itself.
    #[must_use]
    pub fn caller_name(&self) -> &[u8] {
        &self.caller_name
    }

    /// The client's address.
    #[must_use]
    pub const fn client(&self) -> IpAddr {
        self.client
    }

    /// The address of ours that the request came to.
    #[must_use]
    pub const fn server(&self) -> IpAddr {
        self.server
    }

    /// How the request came.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// The client's name: `nlm:<caller_name>@<client address>`.
    #[must_use]
    pub fn client_id(&self) -> String {
        client_id(&self.caller_name, self.client)
    }

    /// The owner's name: `<client>/<server address>/<tcp|udp>:<svid>`.
    ///
    /// A Linux client counts svids from 0 anew for each server address and transport, so two of
    /// its processes may share one svid and are told apart by the address and transport they
    /// came to. `oh` is left out: FreeBSD's varies between the LOCK and the UNLOCK of one owner,
    /// and Linux's repeats the svid, so it would only ever take one owner for two.
    #[must_use]
    pub fn owner_id(&self, svid: u32) -> String {
        let mut text = self.client_id();
        // Writing to a String cannot fail.
        let _ = write!(text, "/{}/{}:{svid}", self.server, self.transport.as_str());
        text
    }

    /// The name of an owner of share reservations: `<client>/share:<oh>`. Such owners have no
    /// number, and no address of ours is part of the name: a client may reserve over UDP and
    /// release over TCP, and the handle is all that it tells its owners apart by.
    #[must_use]
    pub fn share_owner_id(&self, oh: &[u8]) -> String {
        let mut text = self.client_id();
        text.push_str("/share:");
        push_escaped(&mut text, oh);
        text
    }
}

/// What parts a client's name from its address in [`client_id`].
pub const ADDRESS_MARK: char = '@';

/// The name of the client that calls itself `caller_name` and calls from `client`.
#[must_use]
pub fn client_id(caller_name: &[u8], client: IpAddr) -> String {
    let mut text = String::with_capacity(PREFIX.len() + caller_name.len() + 40);
    text.push_str(PREFIX);
    push_escaped(&mut text, caller_name);
    // Writing to a String cannot fail.
    let _ = write!(text, "{ADDRESS_MARK}{}", client.to_canonical());
    text
}

/// Appends a name in which only letters, digits, `.`, `_` and `-` stand for themselves; the rest
/// is `%` and two hexadecimal digits. So no name can be read as a name and an address.
fn push_escaped(text: &mut String, name: &[u8]) {
    for byte in name {
        if byte.is_ascii_alphanumeric() || b"._-".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02x}");
        }
    }
}

/// What a client is called, read back from its name in the lock table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientName {
    /// What it calls itself.
    pub caller_name: Vec<u8>,
    /// Where it calls from.
    pub address: IpAddr,
}

impl ClientName {
    /// Reads what [`client_id`] wrote; `None` for a client of another protocol.
    #[must_use]
    pub fn parse(client_id: &str) -> Option<Self> {
        let (name, address) = client_id.strip_prefix(PREFIX)?.rsplit_once('@')?;
        Some(Self { caller_name: unescaped(name)?, address: address.parse().ok()? })
    }
}

/// Reads what [`push_escaped`] wrote.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let (mut name, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            name.push(byte);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        name.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    Some(name)
}

/// What a holder is called at its own client: kept by the core as the owner's note, and told to
/// whoever asks with TEST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note<'a> {
    /// The client's number for the owner.
    pub svid: u32,
    /// The client's handle of the owner.
    pub oh: &'a [u8],
}

impl<'a> Note<'a> {
    /// The note of an owner of another protocol, or of one whose note is damaged.
    pub const NONE: Note<'static> = Note { svid: 0, oh: &[] };

    /// The note as bytes: svid in four bytes, then `oh`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.svid.to_be_bytes(), self.oh].concat()
    }

    /// Reads what [`Note::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        let (svid, oh) = bytes.split_first_chunk()?;
        Some(Self { svid: u32::from_be_bytes(*svid), oh })
    }

    /// The note of the owner called `owner_id`, [`Note::NONE`] where it is not one of NLM's.
    #[must_use]
    pub fn of(owner_id: &str, note: &'a [u8]) -> Self {
        let own = owner_id.starts_with(PREFIX).then(|| Self::from_bytes(note)).flatten();
        own.unwrap_or(Note::NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_owner_is_named_by_caller_addresses_transport_and_svid() {
        let origin = Origin::new(b"guest1", ip("10.0.0.2"), ip("10.0.0.1"), Transport::Tcp);
        assert_eq!(origin.client_id(), "nlm:guest1@10.0.0.2");
        assert_eq!(origin.owner_id(7), "nlm:guest1@10.0.0.2/10.0.0.1/tcp:7");
    }

    #[test]
    fn mapped_addresses_are_the_addresses_they_map() {
        let mapped =
            Origin::new(b"a", ip("::ffff:10.0.0.2"), ip("::ffff:10.0.0.1"), Transport::Udp);
        let plain = Origin::new(b"a", ip("10.0.0.2"), ip("10.0.0.1"), Transport::Udp);
        assert_eq!(mapped, plain);
        assert_eq!(client_id(b"a", ip("::ffff:10.0.0.2")), "nlm:a@10.0.0.2");
    }

    #[test]
    fn a_name_cannot_pass_for_a_name_and_an_address() {
        let forged = client_id(b"a@10.0.0.9/x:1%", ip("10.0.0.2"));
        assert_eq!(forged, "nlm:a%4010.0.0.9%2fx%3a1%25@10.0.0.2");
    }

    #[test]
    fn equal_svids_at_two_server_addresses_or_transports_are_two_owners() {
        let at = |server, transport| Origin::new(b"a", ip("10.0.0.2"), ip(server), transport);
        let owners = [
            at("10.0.0.1", Transport::Tcp).owner_id(1),
            at("10.0.1.1", Transport::Tcp).owner_id(1),
            at("10.0.0.1", Transport::Udp).owner_id(1),
        ];
        assert!(owners[0] != owners[1] && owners[0] != owners[2] && owners[1] != owners[2]);
    }

    #[test]
    fn an_owner_of_shares_is_its_client_and_its_handle_however_it_comes() {
        let at = |server, transport| Origin::new(b"a", ip("10.0.0.2"), ip(server), transport);
        let one = at("10.0.0.1", Transport::Udp).share_owner_id(b"p\x001");
        assert_eq!(one, "nlm:a@10.0.0.2/share:p%001");
        assert_eq!(at("10.0.1.1", Transport::Tcp).share_owner_id(b"p\x001"), one);
        assert_ne!(at("10.0.0.1", Transport::Udp).share_owner_id(b"p\x002"), one);
    }

    #[test]
    fn owners_of_other_protocols_have_no_note() {
        let note = Note { svid: 7, oh: b"7@guest1" }.to_bytes();
        assert_eq!(Note::of("nlm:a@10.0.0.2/10.0.0.1/tcp:7", &note).svid, 7);
        assert_eq!(Note::of("smb:session456:pid789", &note), Note::NONE);
        assert_eq!(Note::of("nlm:a@10.0.0.2/10.0.0.1/tcp:7", &note[..3]), Note::NONE);
    }

    proptest! {
        #[test]
        fn different_callers_have_different_names(a: Vec<u8>, b: Vec<u8>, x: [u8; 4], y: [u8; 4]) {
            let same = a == b && x == y;
            prop_assert_eq!(client_id(&a, x.into()) == client_id(&b, y.into()), same);
        }

        #[test]
        fn a_client_name_is_read_as_it_was_written(caller_name: Vec<u8>, address: IpAddr) {
            let address = address.to_canonical();
            let read = ClientName::parse(&client_id(&caller_name, address));
            prop_assert_eq!(read, Some(ClientName { caller_name, address }));
        }

        #[test]
        fn no_text_is_too_odd_to_be_a_client_name(text: String) {
            let _ = ClientName::parse(&text);
            let _ = ClientName::parse(&format!("nlm:{text}@::1"));
        }

        #[test]
        fn a_note_is_read_as_it_was_written(svid: u32, oh: Vec<u8>) {
            let bytes = Note { svid, oh: &oh }.to_bytes();
            prop_assert_eq!(Note::from_bytes(&bytes), Some(Note { svid, oh: &oh }));
        }
    }
}
