//! A request body that its response has to bring back.
//!
//! No two parcels have the same content, so a response that has the right one belongs to its
//! request, and no byte of either was lost. An empty one is told by its id.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hyper::HeaderMap;
use ring::digest::{self, Digest};

/// The header that names a parcel, in the request as in the response.
pub const ID: &str = "x-id";

/// The largest body.
const LARGEST: usize = 1 << 20;
/// Bodies are at least so large with the chance `SMALL / size`, down to this size.
const SMALL: f64 = 64.0;
/// Every so manyth body is one of the largest, and every so manyth is empty.
const LARGEST_EVERY: u64 = 5_000;
const EMPTY_EVERY: u64 = 50;

/// What is sent, and has to come back.
#[derive(Debug)]
pub(super) struct Parcel {
    id: u64,
    body: Bytes,
    digest: Digest,
}

// === impl Parcel ===

impl Parcel {
    /// The next one. Sizes go from nothing to 1 MiB, and most are small.
    pub(super) fn next() -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        Self::new(id, size(id, fastrand::f64()))
    }

    fn new(id: u64, size: usize) -> Self {
        let mut body = vec![0; size];
        fastrand::Rng::with_seed(id).fill(&mut body);
        let digest = digest::digest(&digest::SHA256, &body);
        Self { id, body: body.into(), digest }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// What is wrong with a response that has these headers, and a body with this hash.
    pub(super) fn differs(&self, headers: &HeaderMap, digest: &[u8]) -> Option<String> {
        let id = headers.get(ID);
        if id.is_none_or(|id| id != self.id.to_string().as_str()) {
            return Some(format!("the response of another request: {id:?}, not {}", self.id));
        }
        let differs = self.digest.as_ref() != digest;
        differs.then(|| format!("another body than the {} bytes sent", self.body.len()))
    }
}

/// Heavy-tailed (Pareto with exponent 1), cut off at the largest.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Not negative, and bounded.
fn size(id: u64, random: f64) -> usize {
    match id {
        id if id % LARGEST_EVERY == 0 => LARGEST,
        id if id % EMPTY_EVERY == 1 => 0,
        _ => ((SMALL / (1.0 - random)) as usize).min(LARGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_go_from_nothing_to_the_largest_and_most_are_small() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut sizes: Vec<_> = (0..10_000).map(|id| size(id, random.f64())).collect();
        sizes.sort_unstable();
        assert_eq!((sizes[0], sizes[9_999]), (0, LARGEST));
        assert!((100..200).contains(&sizes[5_000]), "{}", sizes[5_000]);
        assert!(sizes.iter().filter(|size| **size > 10_000).count() > 20);
    }

    #[test]
    fn what_is_not_the_parcel_is_told() {
        let parcel = Parcel::new(7, 1_000);
        let mut headers = HeaderMap::new();
        let digest = parcel.digest.as_ref();
        assert!(parcel.differs(&headers, digest).is_some_and(|what| what.contains("another req")));
        headers.insert(ID, 8.into());
        assert!(parcel.differs(&headers, digest).is_some_and(|what| what.contains("another req")));
        headers.insert(ID, 7.into());
        assert_eq!(parcel.differs(&headers, digest), None);
        let other = Parcel::new(8, 1_000);
        assert!(parcel.differs(&headers, other.digest.as_ref()).is_some());
    }
}
