//! Handing a close to the worker that owns the connection.
//!
//! Each VM has a queue under its own token. A close request may name connections of any VM of
//! the load balancer; those of others are put into their queues and judged there.

use proxy_host::{Queue, Result};
use redistribution::wire::NamedConnection;
use redistribution::{ConnectionId, VmToken};

/// A VM's own queue, and the way to the others.
pub(crate) struct Handover {
    vm_id: Vec<u8>,
    own: Queue,
}

// === impl Handover ===

impl Handover {
    /// Makes the queue of the VM `token`, for the calling root context.
    pub fn register(vm_id: Vec<u8>, token: VmToken) -> Result<Self> {
        Ok(Self { vm_id, own: Queue::register(name(token).as_bytes())? })
    }

    /// Gives a close asked of the load balancer `lb` to the VM that owns the connection.
    pub fn give(&self, lb: &str, named: NamedConnection) -> Result<()> {
        let queue = Queue::resolve(&self.vm_id, name(named.vm).as_bytes())?;
        let mut message = named.id.to_le_bytes().to_vec();
        message.extend_from_slice(lb.as_bytes());
        queue.enqueue(&message)
    }

    /// Takes a close that another VM has given: the load balancer, and the connection.
    pub fn take(&self) -> Option<(String, ConnectionId)> {
        loop {
            match self.own.dequeue() {
                Ok(message) => {
                    if let Some(close) = read(&message) {
                        return Some(close);
                    }
                }
                Err(_) => return None,
            }
        }
    }
}

fn name(token: VmToken) -> String {
    format!("spillway.closes.{token}")
}

fn read(message: &[u8]) -> Option<(String, ConnectionId)> {
    let (id, lb) = message.split_first_chunk::<8>()?;
    let lb = std::str::from_utf8(lb).ok()?;
    Some((lb.to_owned(), ConnectionId::from_le_bytes(*id)))
}
