//! The status monitor protocol, NSM version 1 (XNFS ch. 11): its messages and its rules.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cleat_rpc::xdr::Result as XdrResult;
use cleat_rpc::{Decode, Encode, Reader, Writer, XdrError};

use crate::contact::Contact;

/// The program number of the status monitor.
pub const PROGRAM: u32 = 100_024;

/// Its one version.
pub const VERSION: u32 = 1;

/// The longest name of a host (`SM_MAXSTRLEN`), in bytes.
pub const NAME_BYTES_MAX: usize = 1024;

/// The procedures (XNFS ch. 11).
pub mod procedure {
    /// SM_NULL: does nothing.
    pub const NULL: u32 = 0;
    /// SM_STAT: would you monitor this host, and what is your state?
    pub const STAT: u32 = 1;
    /// SM_MON: call me when this host restarts.
    pub const MON: u32 = 2;
    /// SM_UNMON: call me no more for this host.
    pub const UNMON: u32 = 3;
    /// SM_UNMON_ALL: call me no more for any host.
    pub const UNMON_ALL: u32 = 4;
    /// SM_SIMU_CRASH: act as if this host had restarted.
    pub const SIMU_CRASH: u32 = 5;
    /// SM_NOTIFY: the caller has restarted.
    pub const NOTIFY: u32 = 6;
}

/// `sm_name`: what SM_STAT is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    /// The host to be monitored.
    pub mon_name: &'a [u8],
}

impl Encode for Name<'_> {
    fn encode(&self, writer: &mut Writer) {
        writer.opaque(self.mon_name);
    }
}

impl<'a> Decode<'a> for Name<'a> {
    fn decode(reader: &mut Reader<'a>) -> XdrResult<Self> {
        Ok(Self { mon_name: reader.opaque(NAME_BYTES_MAX)? })
    }
}

/// `sm_stat_res`: the result of SM_STAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatRes {
    /// STAT_SUCC (true): it would be monitored. STAT_FAIL (false): it would not.
    pub success: bool,
    /// The answering host's state.
    pub state: i32,
}

impl Encode for StatRes {
    fn encode(&self, writer: &mut Writer) {
        // sm_res: STAT_SUCC = 0, STAT_FAIL = 1.
        writer.bool(!self.success);
        writer.i32(self.state);
    }
}

impl<'a> Decode<'a> for StatRes {
    fn decode(reader: &mut Reader<'a>) -> XdrResult<Self> {
        let success = match reader.u32()? {
            0 => true,
            1 => false,
            other => return Err(XdrError::BadValue(other)),
        };
        Ok(Self { success, state: reader.i32()? })
    }
}

/// `stat_chge`: what SM_NOTIFY is given. It has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateChange<'a> {
    /// The host that restarted, as it calls itself.
    pub mon_name: &'a [u8],
    /// Its state from now on.
    pub state: i32,
}

impl Encode for StateChange<'_> {
    fn encode(&self, writer: &mut Writer) {
        writer.opaque(self.mon_name);
        writer.i32(self.state);
    }
}

impl<'a> Decode<'a> for StateChange<'a> {
    fn decode(reader: &mut Reader<'a>) -> XdrResult<Self> {
        Ok(Self { mon_name: reader.opaque(NAME_BYTES_MAX)?, state: reader.i32()? })
    }
}

impl StateChange<'_> {
    /// The state as the lock core counts a client's incarnations. LOCK carries the same number.
    #[must_use]
    pub const fn incarnation(&self) -> u32 {
        self.state.cast_unsigned()
    }
}

/// Our state for a new start, after the one on record: the next odd number, for odd is up and
/// even is down, and clients reclaim only where the number differs from the one they know. After
/// the last comes 1 again. It must be durable before anything depends on it.
#[must_use]
pub const fn next_state(recorded: Option<i32>) -> i32 {
    match recorded {
        Some(state @ 0..) => match state.checked_add(1) {
            Some(next) if next % 2 == 1 => next,
            Some(next) => match next.checked_add(1) {
                Some(odd) => odd,
                None => 1,
            },
            None => 1,
        },
        Some(_) | None => 1,
    }
}

/// Why an SM_NOTIFY changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// No client is known at the address that it came from: a forgery, or a host that holds
    /// nothing here.
    UnknownAddress,
    /// Several clients are known at that address, a gateway's perhaps, and the name is none's or
    /// may be of more than one.
    UnknownName,
}

impl std::fmt::Display for Ignored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownAddress => write!(f, "no client is known at its source address"),
            Self::UnknownName => {
                write!(f, "no single one of the clients at its source address is so named")
            }
        }
    }
}

/// Which of `clients` an SM_NOTIFY speaks of that came from `source` under the name `mon_name`.
/// `None` is a restart of which only the address is known: a status monitor of this host heard of
/// it, and tells no more.
///
/// The address decides, because a name can be forged and is often not the caller name: a status
/// monitor may add its domain, or announce an address. The name only picks among several clients
/// at one address. More than one is answered where they are one host under two spellings, and all
/// of them where the name is that address itself: hosts behind a gateway do not know it, so it is
/// the host there that speaks. Any other name is nobody's, as one without a domain is where hosts
/// of several domains have it, and then nothing is released: a lock that stays too long can be
/// cleared by an administrator, one taken from a client that lives corrupts its data.
pub fn restarted<'a>(
    source: IpAddr,
    mon_name: Option<&[u8]>,
    clients: impl IntoIterator<Item = &'a Contact>,
) -> Result<Vec<&'a Contact>, Ignored> {
    let source = source.to_canonical();
    let text = mon_name.and_then(|name| std::str::from_utf8(name).ok());
    let address: Option<IpAddr> = text.and_then(|text| text.parse().ok());
    let there: Vec<_> = clients.into_iter().filter(|c| c.client == source).collect();
    match there.as_slice() {
        [] => Err(Ignored::UnknownAddress),
        [_] => Ok(there),
        _ if address.is_some_and(|address| address.to_canonical() == source) => Ok(there),
        _ => {
            let named = |c: &&Contact| mon_name.is_some_and(|name| same_host(&c.caller_name, name));
            let named: Vec<_> = there.into_iter().filter(named).collect();
            let domains: BTreeSet<_> =
                named.iter().filter_map(|c| domain(&c.caller_name)).collect();
            if named.is_empty() || domains.len() > 1 {
                return Err(Ignored::UnknownName);
            }
            Ok(named)
        }
    }
}

/// The domain of a host's name, if it has one.
fn domain(name: &[u8]) -> Option<Vec<u8>> {
    let dot = name.iter().position(|byte| *byte == b'.')?;
    Some(name[dot..].to_ascii_lowercase())
}

/// Whether two names may be one host's: equal, or equal up to the first dot where one of them has
/// no domain. Case does not matter.
pub(crate) fn same_host(a: &[u8], b: &[u8]) -> bool {
    let label = |name: &[u8]| name.split(|byte| *byte == b'.').next().map(<[u8]>::len);
    let bare = label(a) == Some(a.len()) || label(b) == Some(b.len());
    let first = |name: &'_ [u8]| name[..label(name).unwrap_or(0)].to_ascii_lowercase();
    a.eq_ignore_ascii_case(b) || (bare && first(a) == first(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::{Origin, Transport};

    fn contact(name: &str, client: &str) -> Contact {
        let client = client.parse().expect("an address");
        Contact::new(&Origin::new(name.as_bytes(), client, [10, 0, 0, 1].into(), Transport::Tcp))
    }

    fn names(source: &str, mon_name: &str, clients: &[Contact]) -> Result<Vec<Vec<u8>>, Ignored> {
        let source = source.parse().expect("an address");
        let found = restarted(source, Some(mon_name.as_bytes()), clients)?;
        Ok(found.into_iter().map(|c| c.caller_name.clone()).collect())
    }

    #[test]
    fn the_state_is_odd_while_we_are_up_and_always_new() {
        for (recorded, next) in [
            (None, 1),
            (Some(0), 1),
            (Some(1), 3),
            (Some(2), 3),
            (Some(3), 5),
            (Some(-5), 1),
            (Some(i32::MAX - 2), i32::MAX),
            (Some(i32::MAX - 1), i32::MAX),
            (Some(i32::MAX), 1),
        ] {
            assert_eq!(next_state(recorded), next, "{recorded:?}");
        }
    }

    #[test]
    fn a_notice_from_another_address_is_ignored() {
        let clients = [contact("guest1", "10.0.0.2")];
        assert_eq!(names("10.0.0.3", "guest1", &clients), Err(Ignored::UnknownAddress));
    }

    #[test]
    fn a_mapped_source_is_the_address_it_maps() {
        let clients = [contact("guest1", "10.0.0.2")];
        assert_eq!(names("::ffff:10.0.0.2", "guest1", &clients), Ok(vec![b"guest1".to_vec()]));
    }

    #[test]
    fn the_one_client_at_an_address_is_meant_whatever_its_name() {
        let clients = [contact("guest1", "10.0.0.2"), contact("guest2", "10.0.0.3")];
        assert_eq!(names("10.0.0.2", "10.0.0.2", &clients), Ok(vec![b"guest1".to_vec()]));
    }

    #[test]
    fn among_several_at_one_address_the_name_decides() {
        let clients = [contact("guest1", "10.0.0.2"), contact("guest2", "10.0.0.2")];
        assert_eq!(names("10.0.0.2", "GUEST2.lab", &clients), Ok(vec![b"guest2".to_vec()]));
        assert_eq!(names("10.0.0.2", "guest3", &clients), Err(Ignored::UnknownName));
        assert_eq!(names("10.0.0.2", "10.9.9.9", &clients), Err(Ignored::UnknownName));
        let all: Vec<_> = clients.iter().map(|c| c.caller_name.clone()).collect();
        assert_eq!(names("10.0.0.2", "10.0.0.2", &clients), Ok(all));
        let source = [10, 0, 0, 2].into();
        assert_eq!(restarted(source, None, &clients), Err(Ignored::UnknownName));
        assert_eq!(restarted(source, None, &clients[..1]), Ok(vec![&clients[0]]));
        let two = [contact("a.x", "10.0.0.2"), contact("a.y", "10.0.0.2")];
        assert_eq!(names("10.0.0.2", "a.y", &two), Ok(vec![b"a.y".to_vec()]));
        assert_eq!(names("10.0.0.2", "a", &two), Err(Ignored::UnknownName));
        let one =
            [contact("a", "10.0.0.2"), contact("a.x", "10.0.0.2"), contact("A.X", "10.0.0.2")];
        assert_eq!(names("10.0.0.2", "a", &one).map(|all| all.len()), Ok(3));
    }
}
