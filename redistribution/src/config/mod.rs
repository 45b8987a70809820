//! What can be configured (design, section 8).
//!
//! Configurations are JSON objects. Every field has a default, and nothing at all is a valid
//! configuration. Whatever is wrong is reported at once, each mistake with its path, the value
//! found and the reason; there is no such thing as a field that is ignored.

mod duration;
mod json;
mod lb;
mod nearest;
mod node;
mod reader;
mod shown;

pub use lb::{LbConfig, Role};
pub use node::NodeConfig;
pub use reader::{MAX_BYTES, Mistake, Mistakes};

use reader::{Object, one_of};

/// Whether a filter acts, or only counts what it would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It acts.
    #[default]
    Enforce,
    /// It does all but act, and counts.
    Observe,
}

impl Mode {
    fn read(object: &mut Object<'_, '_>) -> Self {
        let names = [("enforce", Self::Enforce), ("observe", Self::Observe)];
        object.field("mode").and_then(|field| field.parse(one_of(&names))).unwrap_or_default()
    }
}
