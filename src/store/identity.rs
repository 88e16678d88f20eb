//! Who this server is to its clients: its NSM state, the key of its handles, the boot it ran in.

use super::{Store, StoreError};

const NSM_STATE_KEY: &[u8] = b"nsm-state";
const BOOT_ID_KEY: &[u8] = b"boot-id";
const DURABILITY_KEY: &[u8] = b"durability";
const HANDLE_KEY_KEY: &[u8] = b"handle-key";

const POWER: &[u8] = b"power";
const PROCESS: &[u8] = b"process";

/// What a server instance knows of itself when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The NSM state of this instance: odd, and another one at each start (XNFS ch. 14).
    pub nsm_state: i32,
    /// The key by which handles are known as ours. Clients keep handles across our restarts.
    pub handle_key: [u8; 16],
    /// Whether the lock records are all that the last instance ever acknowledged: the machine is
    /// still in the boot in which it ran, or it brought every batch to the disk.
    pub exact: bool,
}

impl Store {
    /// Steps into a new instance, which will bring every batch to the disk or not (`power`).
    /// What is returned is on the disk.
    pub fn new_instance(&self, power: bool) -> Result<Identity, StoreError> {
        let before = self.get(NSM_STATE_KEY)?.map(|bytes| self.number(bytes)).transpose()?;
        let nsm_state = cleat_nlm::nsm::next_state(before);
        let handle_key = match self.get(HANDLE_KEY_KEY)? {
            Some(bytes) => {
                bytes.try_into().map_err(|_| self.damaged("the handle key".to_owned()))?
            }
            None => *uuid::Uuid::new_v4().as_bytes(),
        };
        let boot_id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let same_boot = !boot_id.is_empty() && self.get(BOOT_ID_KEY)?.as_ref() == Some(&boot_id);
        let was_power = self.get(DURABILITY_KEY)?.as_deref() == Some(POWER);
        self.put_synced(&[
            (NSM_STATE_KEY, &nsm_state.to_be_bytes()),
            (HANDLE_KEY_KEY, &handle_key),
            (BOOT_ID_KEY, &boot_id),
            (DURABILITY_KEY, if power { POWER } else { PROCESS }),
        ])?;
        Ok(Identity { nsm_state, handle_key, exact: same_boot || was_power })
    }

    fn number(&self, bytes: Vec<u8>) -> Result<i32, StoreError> {
        bytes
            .try_into()
            .map(i32::from_be_bytes)
            .map_err(|_| self.damaged("the NSM state".to_owned()))
    }
}
