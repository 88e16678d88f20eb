//! Who this server is to its clients: its NSM state, the key of its handles, the boot it ran in.

use cleat_lock::Epoch;
use cleat_nlm::nsm::next_state;

use super::{Store, StoreError};

const NSM_STATE_KEY: &[u8] = b"nsm-state";
const HOST_STATE_KEY: &[u8] = b"nsm-host-state";
const MONITOR_KEY_KEY: &[u8] = b"nsm-monitor-key";
const BOOT_ID_KEY: &[u8] = b"boot-id";
const DURABILITY_KEY: &[u8] = b"durability";
/// The number of the latest epoch, and whether its records were advice and still are.
const EPOCH_KEY: &[u8] = b"epoch";
const ADVICE_KEY: &[u8] = b"advice";
const YES: &[u8] = b"yes";
const NO: &[u8] = b"no";
const HANDLE_KEY_KEY: &[u8] = b"handle-key";

const POWER: &[u8] = b"power";
const PROCESS: &[u8] = b"process";

/// What a server instance knows of itself when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The NSM state of this instance: odd, and another one at each start (XNFS ch. 14).
    pub nsm_state: i32,
    /// The NSM state of this host: odd, and another one after each boot of the machine. The lock
    /// managers here that have us monitor hosts live as long as the machine, not as long as we.
    pub host_state: i32,
    /// By this we know a call of this host's own status monitor, where it has one beside us.
    pub monitor_key: [u8; 16],
    /// The key by which handles are known as ours. Clients keep handles across our restarts.
    pub handle_key: [u8; 16],
    /// The number of this instance, and whether the lock records are all that was acknowledged: the
    /// machine is still in the boot in which the last instance ran, or that one brought every batch
    /// to the disk; and what was lost before was made good in a grace window.
    pub epoch: Epoch,
}

impl Store {
    /// Steps into a new instance, which will bring every batch to the disk or not (`power`).
    /// What is returned is on the disk.
    pub fn new_instance(&self, power: bool) -> Result<Identity, StoreError> {
        let before = self.get(NSM_STATE_KEY)?.map(|bytes| self.number(bytes)).transpose()?;
        let nsm_state = next_state(before);
        let handle_key = self.secret(HANDLE_KEY_KEY, "the handle key")?;
        let monitor_key = self.secret(MONITOR_KEY_KEY, "the monitor key")?;
        let boot_id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let last_boot_id = self.get(BOOT_ID_KEY)?;
        let same_boot = !boot_id.is_empty() && last_boot_id.as_ref() == Some(&boot_id);
        // Not to know is no reason to tell servers that this host lost its locks there.
        let rebooted = !boot_id.is_empty() && last_boot_id.is_some_and(|last| last != boot_id);
        if rebooted {
            // Before the boot is noted: a death in between does it again.
            self.write(self.owe_monitored()?, true)?;
        }
        let host_state = match self.get(HOST_STATE_KEY)? {
            Some(bytes) if !rebooted => self.number(bytes)?,
            before => next_state(before.map(|bytes| self.number(bytes)).transpose()?),
        };
        let was_power = self.get(DURABILITY_KEY)?.as_deref() == Some(POWER);
        let epoch = self.step_epoch(
            same_boot || was_power,
            &[
                (NSM_STATE_KEY, &nsm_state.to_be_bytes()),
                (HOST_STATE_KEY, &host_state.to_be_bytes()),
                (HANDLE_KEY_KEY, &handle_key),
                (MONITOR_KEY_KEY, &monitor_key),
                (BOOT_ID_KEY, &boot_id),
                (DURABILITY_KEY, if power { POWER } else { PROCESS }),
            ],
        )?;
        Ok(Identity { nsm_state, host_state, monitor_key, handle_key, epoch })
    }

    /// Steps to the next state of this host, as if it had booted, and has every monitored host
    /// owed word of that. It is on the disk when this returns.
    pub fn crash_host(&self) -> Result<i32, StoreError> {
        let before = self.get(HOST_STATE_KEY)?.map(|bytes| self.number(bytes)).transpose()?;
        let host_state = next_state(before);
        // All at once: nobody would be told of a state that was there before they were owed it, and
        // those told of the old one would take it for no news.
        let mut batch = self.owe_monitored()?;
        batch.put(HOST_STATE_KEY, host_state.to_be_bytes());
        self.write(batch, true)?;
        Ok(host_state)
    }

    /// A secret on record, or a new one.
    fn secret(&self, key: &[u8], what: &str) -> Result<[u8; 16], StoreError> {
        match self.get(key)? {
            Some(bytes) => bytes.try_into().map_err(|_| self.damaged(what.to_owned())),
            None => Ok(*uuid::Uuid::new_v4().as_bytes()),
        }
    }

    /// Brings the next epoch to the disk, in one batch with `more`.
    pub(super) fn step_epoch(
        &self,
        survived: bool,
        more: &[(&[u8], &[u8])],
    ) -> Result<Epoch, StoreError> {
        let number = self.latest_epoch()?.saturating_add(1);
        // A store that does not say was last used by a version that did not know.
        let exact = survived && self.get(ADVICE_KEY)?.as_deref() == Some(NO);
        let number_bytes = number.to_be_bytes();
        let mut pairs = more.to_vec();
        pairs.push((EPOCH_KEY, &number_bytes));
        pairs.push((ADVICE_KEY, if exact { NO } else { YES }));
        self.put_synced(&pairs)?;
        Ok(Epoch { number, exact })
    }

    pub(super) fn latest_epoch(&self) -> Result<u64, StoreError> {
        let Some(bytes) = self.get(EPOCH_KEY)? else { return Ok(0) };
        let number = bytes.try_into().map(u64::from_be_bytes);
        number.map_err(|_| self.damaged("the epoch".to_owned()))
    }

    /// The machine may lose this: then it has lost more, and the records are advice anyhow.
    pub(super) fn note_settled(&self) -> Result<(), StoreError> {
        self.put(&[(ADVICE_KEY, NO)], false)
    }

    fn number(&self, bytes: Vec<u8>) -> Result<i32, StoreError> {
        bytes
            .try_into()
            .map(i32::from_be_bytes)
            .map_err(|_| self.damaged("the NSM state".to_owned()))
    }
}
