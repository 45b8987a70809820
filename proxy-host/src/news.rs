//! Saying something once, though every VM of the process comes to say it.

use crate::{get_shared_data, set_shared_data};

/// Whether `what` differs from what was noted last under `key`, by any VM of this `vm_id`. It is
/// noted then. Where that cannot be done, everything is news: it is better said twice than never.
#[must_use]
pub fn is_news(key: &str, what: &str) -> bool {
    let noted = get_shared_data(key.as_bytes());
    if noted.is_ok_and(|(noted, _)| noted == what.as_bytes()) {
        return false;
    }
    let _ = set_shared_data(key.as_bytes(), what.as_bytes(), 0);
    true
}
