//! What a host's own lock manager and its status monitor say to each other (XNFS ch. 11): SM_MON
//! and its kin, the call back, and what of them must outlive the process.

use std::net::IpAddr;

use cleat_rpc::xdr::Result as XdrResult;
use cleat_rpc::{Decode, Encode, Reader, Writer};

use crate::contact::{Damaged, get_ip, put_ip, versioned};
use crate::nsm::{NAME_BYTES_MAX, StateChange, same_host};

/// How much a lock manager may have the monitor keep for it (`priv`), in bytes.
pub const PRIVATE_BYTES: usize = 16;

/// How many addresses of a monitored host are kept.
pub const ADDRESSES_MAX: usize = 16;

/// The version of NLM's program that is between a lock manager and its status monitor alone, as
/// illumos has it: no client calls it, and it is served on the loopback interface only.
pub const CALLBACK_VERSION: u32 = 2;

/// The procedure of that version. Linux's rpc.statd calls back program 100021 alone, and there
/// only procedures 16 and 24.
pub const CALLBACK_PROCEDURE: u32 = 16;

/// `my_id`: who wants to be called, on the monitor's own host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MyId<'a> {
    /// What the host calls itself: the name that is announced when it restarts.
    pub my_name: &'a [u8],
    /// The program to call.
    pub program: u32,
    /// Its version.
    pub version: u32,
    /// The procedure.
    pub procedure: u32,
}

impl Encode for MyId<'_> {
    fn encode(&self, writer: &mut Writer) {
        writer.opaque(self.my_name);
        writer.u32(self.program);
        writer.u32(self.version);
        writer.u32(self.procedure);
    }
}

impl<'a> Decode<'a> for MyId<'a> {
    fn decode(reader: &mut Reader<'a>) -> XdrResult<Self> {
        Ok(Self {
            my_name: reader.opaque(NAME_BYTES_MAX)?,
            program: reader.u32()?,
            version: reader.u32()?,
            procedure: reader.u32()?,
        })
    }
}

/// `mon_id`: one host monitored for one caller. What SM_UNMON is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonId<'a> {
    /// The host that is monitored: a name or an address.
    pub mon_name: &'a [u8],
    /// For whom.
    pub my_id: MyId<'a>,
}

impl Encode for MonId<'_> {
    fn encode(&self, writer: &mut Writer) {
        writer.opaque(self.mon_name);
        writer.put(&self.my_id);
    }
}

impl<'a> Decode<'a> for MonId<'a> {
    fn decode(reader: &mut Reader<'a>) -> XdrResult<Self> {
        Ok(Self { mon_name: reader.opaque(NAME_BYTES_MAX)?, my_id: reader.get()? })
    }
}

/// `mon`: what SM_MON is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mon<'a> {
    /// Whom to monitor, and for whom.
    pub mon_id: MonId<'a>,
    /// What the caller wants back with the call.
    pub private: [u8; PRIVATE_BYTES],
}

impl Encode for Mon<'_> {
    fn encode(&self, writer: &mut Writer) {
        writer.put(&self.mon_id);
        writer.fixed(&self.private);
    }
}

impl<'a> Decode<'a> for Mon<'a> {
    fn decode(reader: &mut Reader<'a>) -> XdrResult<Self> {
        Ok(Self { mon_id: reader.get()?, private: reader.fixed_array()? })
    }
}

/// `sm_stat`: the result of SM_UNMON and SM_UNMON_ALL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The answering host's state.
    pub state: i32,
}

impl Encode for State {
    fn encode(&self, writer: &mut Writer) {
        writer.i32(self.state);
    }
}

impl<'a> Decode<'a> for State {
    fn decode(reader: &mut Reader<'a>) -> XdrResult<Self> {
        Ok(Self { state: reader.i32()? })
    }
}

/// `nlm_sm_status`: what the monitor tells its lock manager of a host that restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status<'a> {
    /// The host, as SM_MON named it.
    pub mon_name: &'a [u8],
    /// Its state from now on.
    pub state: i32,
    /// What SM_MON gave.
    pub private: [u8; PRIVATE_BYTES],
}

impl Encode for Status<'_> {
    fn encode(&self, writer: &mut Writer) {
        writer.opaque(self.mon_name);
        writer.i32(self.state);
        writer.fixed(&self.private);
    }
}

impl<'a> Decode<'a> for Status<'a> {
    fn decode(reader: &mut Reader<'a>) -> XdrResult<Self> {
        Ok(Self {
            mon_name: reader.opaque(NAME_BYTES_MAX)?,
            state: reader.i32()?,
            private: reader.fixed_array()?,
        })
    }
}

/// One host that is monitored for a lock manager of this host, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitored {
    /// The host, as SM_MON named it.
    pub mon_name: Vec<u8>,
    /// What this host is called there.
    pub my_name: Vec<u8>,
    /// Whom to call here: program, version and procedure.
    pub callback: (u32, u32, u32),
    /// What to call with.
    pub private: [u8; PRIVATE_BYTES],
    /// The addresses that its name stood for.
    pub addresses: Vec<IpAddr>,
    /// The last state that it announced.
    pub heard: Option<i32>,
    /// Whether the lock manager was told of that state.
    pub told: bool,
    /// Whether the host is to be told that ours restarted, and is monitored no more.
    pub owed: bool,
}

impl Monitored {
    /// What SM_MON asks for, of a host that has these addresses.
    #[must_use]
    pub fn new(mon: &Mon<'_>, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let MonId { mon_name, my_id } = mon.mon_id;
        let mut kept: Vec<IpAddr> = Vec::new();
        for address in addresses.into_iter().map(|each| each.to_canonical()) {
            if kept.len() < ADDRESSES_MAX && !kept.contains(&address) {
                kept.push(address);
            }
        }
        Self {
            mon_name: mon_name.to_vec(),
            my_name: my_id.my_name.to_vec(),
            callback: (my_id.program, my_id.version, my_id.procedure),
            private: mon.private,
            addresses: kept,
            heard: None,
            told: true,
            owed: false,
        }
    }

    /// What SM_UNMON names it by.
    #[must_use]
    pub fn mon_id(&self) -> MonId<'_> {
        MonId { mon_name: &self.mon_name, my_id: self.my_id() }
    }

    /// Whom it is monitored for.
    #[must_use]
    pub fn my_id(&self) -> MyId<'_> {
        let (program, version, procedure) = self.callback;
        MyId { my_name: &self.my_name, program, version, procedure }
    }

    /// Whether an SM_NOTIFY from `source` is this host's: the address must be one of its own, for
    /// a name alone can be anybody's.
    #[must_use]
    pub fn is_at(&self, source: IpAddr) -> bool {
        self.addresses.contains(&source.to_canonical())
    }

    /// Whether an SM_NOTIFY names this host, wherever it came from: then the host may have a new
    /// address, and its name is to be looked up again.
    #[must_use]
    pub fn is_named(&self, change: &StateChange<'_>) -> bool {
        same_host(&self.mon_name, change.mon_name)
    }

    /// The call that tells its lock manager of the last state heard.
    #[must_use]
    pub fn status(&self) -> Option<Status<'_>> {
        let state = self.heard?;
        Some(Status { mon_name: &self.mon_name, state, private: self.private })
    }

    /// As bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u32(1);
        writer.put(&Mon { mon_id: self.mon_id(), private: self.private });
        writer.u32(u32::try_from(self.addresses.len()).unwrap_or(u32::MAX));
        self.addresses.iter().for_each(|address| put_ip(&mut writer, *address));
        writer.option(self.heard.map(|state| State { state }).as_ref());
        writer.bool(self.told);
        writer.bool(self.owed);
        writer.into_bytes().to_vec()
    }

    /// Reads what [`Monitored::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut reader = versioned(bytes)?;
        let mon: Mon<'_> = reader.get()?;
        let count = reader.count(ADDRESSES_MAX)?;
        let addresses: Vec<IpAddr> =
            (0..count).map(|_| get_ip(&mut reader)).collect::<XdrResult<_>>()?;
        let heard = reader.option::<State>()?.map(|heard| heard.state);
        let (told, owed) = (reader.bool()?, reader.bool()?);
        reader.finish()?;
        Ok(Self { heard, told, owed, ..Self::new(&mon, addresses) })
    }
}

/// A record's key: `mon_id` as XDR.
#[must_use]
pub fn key(mon_id: &MonId<'_>) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.put(mon_id);
    writer.into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn monitored()(
            mon_name: Vec<u8>, my_name: Vec<u8>, callback: (u32, u32, u32), private: [u8; 16],
            addresses in prop::collection::vec(any::<[u8; 4]>(), 0..20),
            heard: Option<i32>, told: bool, owed: bool,
        ) -> Monitored {
            let (program, version, procedure) = callback;
            let my_id = MyId { my_name: &my_name, program, version, procedure };
            let mon = Mon { mon_id: MonId { mon_name: &mon_name, my_id }, private };
            let new = Monitored::new(&mon, addresses.into_iter().map(IpAddr::from));
            Monitored { heard, told, owed, ..new }
        }
    }

    proptest! {
        #[test]
        fn a_monitored_host_is_read_as_it_was_written(monitored in monitored()) {
            let bytes = monitored.to_bytes();
            for end in 0..bytes.len() {
                prop_assert!(Monitored::from_bytes(&bytes[..end]).is_err());
            }
            prop_assert_eq!(Monitored::from_bytes(&bytes), Ok(monitored));
        }

        #[test]
        fn any_bytes_at_all_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = Monitored::from_bytes(&bytes);
        }
    }

    #[test]
    fn only_an_address_of_its_own_speaks_for_a_host() {
        let my_id = MyId { my_name: b"me", program: 1, version: 1, procedure: 1 };
        let mon = Mon { mon_id: MonId { mon_name: b"nas.lab", my_id }, private: [0; 16] };
        let one: IpAddr = [10, 0, 0, 2].into();
        let monitored = Monitored::new(&mon, [one, one]);
        assert_eq!(monitored.addresses, [one]);
        assert!(monitored.is_at("::ffff:10.0.0.2".parse().expect("an address")));
        assert!(!monitored.is_at([10, 0, 0, 3].into()));
        assert!(monitored.is_named(&StateChange { mon_name: b"NAS", state: 3 }));
    }
}
