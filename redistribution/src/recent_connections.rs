//! The connections of a load balancer that a node has seen lately.
//!
//! Where more closes are due than responses come to carry them, a close request names
//! further connections: the oldest of these. And no connection is named again while its close
//! is under way. Both tables are small and of fixed size: the node needs a few connections
//! to choose from, not all of them.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Timestamp;
use crate::wire::NamedConnection;

/// Connections remembered as seen; the one seen longest ago makes room.
pub const SEEN: usize = 32;

/// Connections remembered as named.
pub const NAMED: usize = 256;

/// How long a named connection is not named again: a close that was lost on the way is
/// asked for anew after this.
pub const NAMED_FOR: Duration = Duration::from_secs(30);

/// One in so many of the connections seen is old enough to be closed.
///
/// The more there are to be older than, the less a client is closed again before the others: with
/// one in six, about five in six of a load balancer's clients have to be closed in between. The fewer,
/// the more the busiest move first.
pub const OLDEST: usize = 6;

/// Where closes have waited for long, one in so many is old enough.
pub const OLDER: usize = 2;

/// A connection with a larger part of its load balancer's requests cannot be moved to where it
/// would fit, as long as there are enough others.
pub const MOST_OF_ALL: f64 = 0.1;

/// There are enough where it has so many times its part by number.
const MANY_TIMES: f64 = 4.0;

/// Requests that tell what part a connection has.
const ENOUGH: u64 = 32;

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct RecentConnections {
    requests: u64,
    /// In the order in which they were last seen.
    seen: VecDeque<Seen>,
    /// In the order in which they were named.
    named: VecDeque<(NamedConnection, Timestamp)>,
    /// The same, sorted: each request is looked up here.
    known_as_named: Vec<NamedConnection>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    connection: NamedConnection,
    opened: Opened,
    at: Timestamp,
    /// Its requests since it was taken in, and those of all until then.
    own: u64,
    after: u64,
}

/// When a connection opened, as far as an age in whole seconds tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Opened {
    age: Duration,
    at: Timestamp,
}

// === impl RecentConnections ===

impl RecentConnections {
    /// Takes in that so many requests came on `connection`, open for `age` at `now`.
    pub fn observe(
        &mut self,
        connection: NamedConnection,
        age: Duration,
        requests: u64,
        now: Timestamp,
    ) {
        self.requests = self.requests.saturating_add(requests);
        self.forget_named(now);
        let known = self.seen.iter().position(|seen| seen.connection == connection);
        if let Some(mut seen) = known.and_then(|index| self.seen.remove(index)) {
            seen.at = now;
            seen.own = seen.own.saturating_add(requests);
            self.seen.push_back(seen);
            return;
        }
        // Connections whose close is under way go on for a response or two. To choose from
        // they are no longer.
        if self.is_known_as_named(connection) {
            return;
        }
        if self.seen.len() >= SEEN {
            self.seen.pop_front();
        }
        let (after, opened) = (self.requests, Opened { age, at: now });
        self.seen.push_back(Seen { connection, opened, at: now, own: 0, after });
    }

    /// The age from which on a connection is among the oldest of those seen within `seen_within`:
    /// one in `one_in`; zero if there are none.
    ///
    /// Those whose close is under way do not count: they would go on ageing here after they are
    /// gone, and in the end nothing that is left would be old enough.
    #[must_use]
    pub fn age_of_oldest(&self, one_in: usize, seen_within: Duration, now: Timestamp) -> Duration {
        let mut ages = [Duration::ZERO; SEEN];
        let candidates = self.candidates(seen_within, now).zip(&mut ages);
        let count = candidates.map(|(seen, age)| *age = seen.opened.age_at(now)).count();
        let younger = count - count.div_ceil(one_in.max(1));
        match ages.get_mut(..count) {
            Some(ages) if younger < count => *ages.select_nth_unstable(younger).1,
            _ => Duration::ZERO,
        }
    }

    /// Whether so much of what its load balancer gets, on so many connections, comes on this one
    /// that moving it would not even out anything.
    #[must_use]
    pub fn is_too_heavy(&self, connection: NamedConnection, connections: f64) -> bool {
        let most = MOST_OF_ALL.max(MANY_TIMES / connections);
        self.seen.iter().any(|seen| {
            let all = self.requests.saturating_sub(seen.after);
            seen.connection == connection && all >= ENOUGH && seen.own as f64 > most * all as f64
        })
    }

    /// Whether a close of `connection` was asked for a short time ago.
    #[must_use]
    pub fn is_named(&self, connection: NamedConnection, now: Timestamp) -> bool {
        // Those whose time is over may still be there, until the next request.
        self.is_known_as_named(connection)
            && self
                .named
                .iter()
                .any(|(named, at)| *named == connection && now.since(*at) < NAMED_FOR)
    }

    /// Remembers that a close of `connection` was asked for.
    pub fn mark_named(&mut self, connection: NamedConnection, now: Timestamp) {
        self.forget_named(now);
        if self.named.len() >= NAMED {
            self.forget_first_named();
        }
        if let Err(place) = self.known_as_named.binary_search(&connection) {
            self.known_as_named.insert(place, connection);
            self.named.push_back((connection, now));
        }
        self.seen.retain(|seen| seen.connection != connection);
    }

    /// Takes up to `count` of the oldest connections seen within `seen_within` that are at least
    /// `min_age` old, and not too heavy among so many `connections` if that is told, and marks them as
    /// named.
    pub fn take_oldest(
        &mut self,
        count: usize,
        min_age: Duration,
        connections: Option<f64>,
        seen_within: Duration,
        now: Timestamp,
    ) -> Vec<NamedConnection> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let oldest = self
                .candidates(seen_within, now)
                .map(|seen| (seen.opened.age_at(now), seen.connection))
                .filter(|(age, _)| *age >= min_age)
                .filter(|(_, connection)| {
                    connections.is_none_or(|count| !self.is_too_heavy(*connection, count))
                })
                .max_by_key(|(age, connection)| (*age, std::cmp::Reverse(*connection)));
            let Some((_, connection)) = oldest else { break };
            self.mark_named(connection, now);
            taken.push(connection);
        }
        taken
    }

    /// Forgets those that may be named again.
    fn forget_named(&mut self, now: Timestamp) {
        while self.named.front().is_some_and(|(_, at)| now.since(*at) >= NAMED_FOR) {
            self.forget_first_named();
        }
    }

    fn forget_first_named(&mut self) {
        if let Some((connection, _)) = self.named.pop_front()
            && let Ok(place) = self.known_as_named.binary_search(&connection)
        {
            self.known_as_named.remove(place);
        }
    }

    fn is_known_as_named(&self, connection: NamedConnection) -> bool {
        self.known_as_named.binary_search(&connection).is_ok()
    }

    /// Connections seen within `seen_within`.
    fn candidates(&self, seen_within: Duration, now: Timestamp) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(move |seen| now.since(seen.at) <= seen_within)
    }
}

// === impl Opened ===

impl Opened {
    fn age_at(self, now: Timestamp) -> Duration {
        self.age.saturating_add(now.since(self.at))
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::VmToken;

    const MINUTE: Duration = Duration::from_mins(1);

    fn connection(id: u64) -> NamedConnection {
        NamedConnection { vm: VmToken::from_random(1), id }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn the_oldest_are_taken_first_and_only_once() {
        let mut recent = RecentConnections::default();
        for (id, age) in [(1, 20), (2, 40), (3, 30), (4, 5)] {
            recent.observe(connection(id), Duration::from_secs(age), 1, at(0));
        }
        let min_age = Duration::from_secs(10);
        assert_eq!(
            recent.take_oldest(2, min_age, None, MINUTE, at(1)),
            [connection(2), connection(3)]
        );
        assert_eq!(recent.take_oldest(9, min_age, None, MINUTE, at(2)), [connection(1)]);
        assert_eq!(recent.take_oldest(9, min_age, None, MINUTE, at(6)), [connection(4)]);
    }

    #[test]
    fn one_in_six_is_among_the_oldest() {
        let recent = RecentConnections::default();
        assert_eq!(recent.age_of_oldest(OLDEST, MINUTE, at(0)), Duration::ZERO);
        for (seen, oldest) in [(1, 1), (2, 2), (6, 6), (7, 6), (12, 11), (13, 11)] {
            let mut recent = RecentConnections::default();
            (1..=seen)
                .for_each(|id| recent.observe(connection(id), Duration::from_secs(id), 1, at(0)));
            let age = recent.age_of_oldest(OLDEST, MINUTE, at(5));
            assert_eq!(age, Duration::from_secs(oldest + 5), "of {seen}");
        }
    }

    #[test]
    fn connections_that_are_gone_do_not_make_those_that_are_left_too_young() {
        let mut recent = RecentConnections::default();
        for id in 1..=9 {
            recent.observe(connection(id), MINUTE, 1, at(0));
        }
        recent.observe(connection(10), Duration::from_secs(20), 1, at(0));
        // The last responses of connections whose close is under way.
        for id in 1..=4 {
            recent.mark_named(connection(id), at(0));
            recent.observe(connection(id), MINUTE, 1, at(0));
        }
        recent.observe(connection(10), Duration::from_secs(25), 1, at(5));
        assert_eq!(
            recent.age_of_oldest(OLDER, Duration::from_secs(4), at(5)),
            Duration::from_secs(25)
        );
        assert_eq!(recent.take_oldest(9, Duration::ZERO, None, MINUTE, at(5)).len(), 6);
    }

    #[test]
    fn connections_not_seen_lately_are_not_taken() {
        let mut recent = RecentConnections::default();
        recent.observe(connection(1), MINUTE, 1, at(0));
        assert!(recent.take_oldest(1, Duration::ZERO, None, MINUTE, at(61)).is_empty());
    }

    #[test]
    fn a_named_connection_is_named_again_only_later() {
        let mut recent = RecentConnections::default();
        recent.mark_named(connection(1), at(0));
        assert!(recent.is_named(connection(1), at(29)));
        assert!(!recent.is_named(connection(1), at(30)));
        assert!(!recent.is_named(connection(2), at(0)));
    }

    #[test]
    fn both_tables_stay_within_their_bounds() {
        let mut recent = RecentConnections::default();
        for id in 0..10_000 {
            recent.observe(connection(id), MINUTE, 1, at(id));
            recent.mark_named(connection(id + 1_000_000), at(0));
        }
        assert_eq!(recent.seen.len(), SEEN);
        assert!(recent.named.len() <= NAMED);
        let kept = recent.take_oldest(SEEN, Duration::ZERO, None, Duration::MAX, at(10_000));
        assert!(kept.iter().all(|named| named.id >= 10_000 - SEEN as u64));
    }

    #[test]
    fn one_of_many_that_sends_a_third_of_all_is_too_heavy_and_one_of_three_is_not() {
        let mut recent = RecentConnections::default();
        for request in 0..300 {
            let id = if request % 3 == 0 { 0 } else { request };
            recent.observe(connection(id), MINUTE, 1, at(request));
        }
        assert!(recent.is_too_heavy(connection(0), 100.0));
        assert!(!recent.is_too_heavy(connection(0), 3.0));
        assert!(!recent.is_too_heavy(connection(299), 100.0));
        let taken = recent.take_oldest(SEEN, Duration::ZERO, Some(100.0), MINUTE, at(300));
        assert!(!taken.is_empty() && !taken.contains(&connection(0)));
    }
}
