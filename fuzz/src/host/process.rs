//! What the VMs of a process share, as proxy-wasm-cpp-host has it: data with compare-and-swap,
//! queues, and the clock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module's documentation.
#[derive(Default)]
pub struct Process(Mutex<State>);

/// A host call on what is shared, for who wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    Clock,
    GetData,
    SetData,
    Register,
    Resolve,
    Enqueue,
    Dequeue,
}

/// What is shared.
#[derive(Default)]
pub struct State {
    pub now_ns: u64,
    data: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    pub queues: Vec<Queue>,
    last_cas: u32,
}

/// A queue, with the name that its VM gave it. It outlives that VM.
pub struct Queue {
    pub name: Vec<u8>,
    pub messages: VecDeque<Vec<u8>>,
}

// === impl Process ===

impl Process {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<(&[u8], u32)> {
        self.data.get(key).map(|(value, cas)| (value.as_slice(), *cas))
    }

    /// False where somebody else wrote first. A `cas` of 0 writes in any case, and so does any where
    /// there is nothing yet.
    pub fn set(&mut self, key: &[u8], value: &[u8], cas: u32) -> bool {
        let old = self.data.get(key);
        if old.is_some_and(|(_, old)| cas != 0 && *old != cas) {
            return false;
        }
        self.last_cas += 1;
        self.data.insert(key.to_vec(), (value.to_vec(), self.last_cas));
        true
    }

    /// The queue of that name, made where there is none.
    pub fn register(&mut self, name: &[u8]) -> u32 {
        self.resolve(name).unwrap_or_else(|| {
            self.queues.push(Queue { name: name.to_vec(), messages: VecDeque::new() });
            u32::try_from(self.queues.len()).expect("there are few")
        })
    }

    /// Queues are numbered from 1.
    #[must_use]
    pub fn resolve(&self, name: &[u8]) -> Option<u32> {
        let index = self.queues.iter().position(|queue| queue.name == name)?;
        u32::try_from(index + 1).ok()
    }

    pub fn queue(&mut self, number: u32) -> Option<&mut Queue> {
        self.queues.get_mut((number as usize).checked_sub(1)?)
    }

    /// Messages in all queues.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.queues.iter().map(|queue| queue.messages.len()).sum()
    }
}
