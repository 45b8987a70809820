//! Handing a close to the worker that owns the connection.
//!
//! Each VM has a queue under its own token. A close request may name connections of any VM of
//! the load balancer; those of others are put into their queues and judged there.
//!
//! The host keeps the queue of a VM that has ended, by a trap or with a module that was replaced, and what
//! is in it. So that a node which goes on naming that VM cannot fill it for ever, a number in the shared
//! data says how many wait in a queue, and there are [`MOST_WAITING`] at most. Its owner puts that back
//! to 0 when it has emptied the queue.

use proxy_host::{Queue, Result, Status, get_shared_data, set_shared_data};
use redistribution::wire::NamedConnection;
use redistribution::{ConnectionId, VmToken};

/// Closes that wait in a queue at most. A VM that is there empties its queue at once, or with its next
/// tick.
const MOST_WAITING: u64 = 1024;

/// Tries before a close is given all the same: others are giving some too.
const TRIES: usize = 16;

/// A VM's own queue, and the way to the others.
pub(crate) struct Handover {
    vm_id: Vec<u8>,
    own: Queue,
    /// Where it stands how many wait in the own queue.
    waiting: String,
}

// === impl Handover ===

impl Handover {
    /// Makes the queue of the VM `token`, for the calling root context.
    pub fn register(vm_id: Vec<u8>, token: VmToken) -> Result<Self> {
        let own = Queue::register(name(token).as_bytes())?;
        Ok(Self { vm_id, own, waiting: waiting(token) })
    }

    /// Gives a close asked of the load balancer `lb` to the VM that owns the connection.
    pub fn give(&self, lb: &str, named: NamedConnection) -> Result<()> {
        let queue = Queue::resolve(&self.vm_id, name(named.vm).as_bytes())?;
        take_place(&waiting(named.vm))?;
        let mut message = named.id.to_le_bytes().to_vec();
        message.extend_from_slice(lb.as_bytes());
        queue.enqueue(&message)
    }

    /// All that waited was taken.
    pub fn emptied(&self) -> Result<()> {
        set_shared_data(self.waiting.as_bytes(), &0_u64.to_le_bytes(), 0)
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

/// Counts one more close that waits in a queue, where there is room.
fn take_place(key: &str) -> Result<()> {
    for _ in 0..TRIES {
        let (waiting, cas) = match get_shared_data(key.as_bytes()) {
            Ok((bytes, cas)) => (bytes.try_into().map_or(0, u64::from_le_bytes), cas),
            Err(Status::NotFound) => (0, 0),
            Err(status) => return Err(status),
        };
        if waiting >= MOST_WAITING {
            return Err(Status::NotFound);
        }
        match set_shared_data(key.as_bytes(), &(waiting + 1).to_le_bytes(), cas) {
            Err(Status::CasMismatch) => {}
            done => return done,
        }
    }
    Ok(())
}

fn name(token: VmToken) -> String {
    format!("spillway.closes.{token}")
}

fn waiting(token: VmToken) -> String {
    format!("spillway.waiting.{token}")
}

fn read(message: &[u8]) -> Option<(String, ConnectionId)> {
    let (id, lb) = message.split_first_chunk::<8>()?;
    let lb = std::str::from_utf8(lb).ok()?;
    Some((lb.to_owned(), ConnectionId::from_le_bytes(*id)))
}
