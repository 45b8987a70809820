//! How even the load really is, as the clients know it: all send as often, so their numbers are the
//! load.

use std::time::Duration;

use integration::client::ClientPool;
use integration::fleet::{Edge, Fleet};
use tokio::time::{Instant, sleep};

/// It has to stay even for this long.
const EVEN_FOR: Duration = Duration::from_secs(2);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How far the furthest edge is from the mean number of clients per weight, relative to that.
/// Edges beyond `weights` do not count, nor do weights beyond the edges.
pub fn unevenness(fleet: &Fleet, pool: &ClientPool, weights: &[f64]) -> f64 {
    let totals = pool.totals();
    let open = |edge: &Edge| totals.edges.get(&edge.ip()).map_or(0.0, |edge| edge.open as f64);
    let loads: Vec<_> = fleet.edges().iter().map(open).zip(weights).collect();
    let all = loads.iter().map(|(open, _)| open).sum::<f64>();
    let mean = all / loads.iter().map(|(_, weight)| *weight).sum::<f64>();
    loads.iter().map(|(open, weight)| (open / *weight / mean - 1.0).abs()).fold(0.0, f64::max)
}

/// Waits until no edge is further than `tolerance` from its part, as it has to be within `time`.
pub async fn assert_even_within(
    time: Duration,
    tolerance: f64,
    fleet: &Fleet,
    pool: &ClientPool,
    weights: &[f64],
) {
    let (start, closes) = (Instant::now(), pool.totals().closes_seen);
    let mut even_at = None;
    while even_at.is_none_or(|at: Instant| at.elapsed() < EVEN_FOR) {
        let unevenness = unevenness(fleet, pool, weights);
        even_at = if unevenness <= tolerance { even_at.or(Some(Instant::now())) } else { None };
        let late = even_at.is_none() && start.elapsed() > time;
        assert!(!late, "{:.0} % uneven after {time:?}", 100.0 * unevenness);
        sleep(LOOK_INTERVAL).await;
    }
    let took = even_at.map_or(0.0, |at| (at - start).as_secs_f64());
    eprintln!("even after {took:.1} s and {} closes", pool.totals().closes_seen - closes);
}
