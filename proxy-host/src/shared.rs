//! What VMs of one `vm_id` share: data with compare-and-swap, and queues.

use crate::abi::{import, returned};
use crate::stream::get_property;
use crate::{Result, Status};

/// A queue between VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue(u32);

/// The value under `key`, and the number that [`set_shared_data`] wants for replacing it.
///
/// # Errors
/// [`Status::NotFound`] if there is none.
pub fn get_shared_data(key: &[u8]) -> Result<(Vec<u8>, u32)> {
    let mut cas = 0;
    let value = returned(|value, len| {
        // SAFETY: the key and the places for the answer outlive the call.
        unsafe { import::proxy_get_shared_data(key.as_ptr(), key.len(), value, len, &raw mut cas) }
    })?;
    Ok((value, cas))
}

/// Puts `value` under `key`; with a `cas` other than 0, only if nobody did since.
///
/// # Errors
/// [`Status::CasMismatch`] if somebody did.
pub fn set_shared_data(key: &[u8], value: &[u8], cas: u32) -> Result<()> {
    // SAFETY: key and value outlive the call.
    Status::check(unsafe {
        import::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas)
    })
}

/// The `vm_id` of this VM, which queues of its siblings are resolved by.
///
/// # Errors
/// What the host says.
pub fn plugin_vm_id() -> Result<Vec<u8>> {
    get_property(b"plugin_vm_id")
}

/// Puts `value` under `key` where there is nothing yet, so that from then on
/// [`set_shared_data`] has something to compare with: a value that is the first overwrites another that
/// is the first too, whatever its `cas`. As Envoy configures a VM on its main thread before those of
/// the workers, whoever calls this as it is configured is alone then.
///
/// # Errors
/// What the host says.
pub fn init_shared_data(key: &[u8], value: &[u8]) -> Result<()> {
    match get_shared_data(key) {
        Err(Status::NotFound) => set_shared_data(key, value, 0),
        found => found.map(|_| ()),
    }
}

// === impl Queue ===

impl Queue {
    /// Makes the queue `name` of this VM; `on_queue_ready` of the calling root context is told
    /// when something is put in. Registering it again moves that to the new caller.
    ///
    /// # Errors
    /// What the host says.
    pub fn register(name: &[u8]) -> Result<Self> {
        let mut queue = 0;
        // SAFETY: the name and `queue` outlive the call.
        let status = unsafe {
            import::proxy_register_shared_queue(name.as_ptr(), name.len(), &raw mut queue)
        };
        Status::check(status).map(|()| Self(queue))
    }

    /// The queue `name` that a VM with `vm_id` has registered.
    ///
    /// # Errors
    /// [`Status::NotFound`] if there is none.
    pub fn resolve(vm_id: &[u8], name: &[u8]) -> Result<Self> {
        let mut queue = 0;
        // SAFETY: both names and `queue` outlive the call.
        let status = unsafe {
            import::proxy_resolve_shared_queue(
                vm_id.as_ptr(),
                vm_id.len(),
                name.as_ptr(),
                name.len(),
                &raw mut queue,
            )
        };
        Status::check(status).map(|()| Self(queue))
    }

    /// Puts `value` in.
    ///
    /// # Errors
    /// [`Status::NotFound`] if the queue is gone.
    pub fn enqueue(self, value: &[u8]) -> Result<()> {
        // SAFETY: the value outlives the call.
        Status::check(unsafe {
            import::proxy_enqueue_shared_queue(self.0, value.as_ptr(), value.len())
        })
    }

    /// Takes the next value out.
    ///
    /// # Errors
    /// [`Status::Empty`] if there is none.
    pub fn dequeue(self) -> Result<Vec<u8>> {
        // SAFETY: the places for the answer outlive the call.
        returned(|value, len| unsafe { import::proxy_dequeue_shared_queue(self.0, value, len) })
    }
}
