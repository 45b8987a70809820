//! The least closes that balance needs, whoever chooses the connections.
//!
//! A client that reconnects lands on any of the `L` edges of its pool alike. So of `X` closes an
//! edge gets `X / L`, whatever is closed where, and it has at most what it had, if nothing is
//! closed on it. For every edge to have `1 - tolerance` of its part, `t_i` connections, of all,
//!
//! ```text
//! n_i + X / L >= (1 - tolerance) t_i    for all i, so
//! X >= L max_i((1 - tolerance) t_i - n_i)
//! ```
//!
//! Where edges join that are empty, with all weights alike, that is `(1 - tolerance) C` for `C`
//! connections, however many join (design, section 9).

/// The least closes that bring edges with `connections` of equal load each to at least
/// `1 - tolerance` of their parts, by `weights`.
#[must_use]
pub fn closes_floor(connections: &[f64], weights: &[f64], tolerance: f64) -> f64 {
    let all: f64 = connections.iter().sum();
    let weight: f64 = weights.iter().sum();
    let missing = connections.iter().zip(weights).map(|(connections, own)| {
        let part = all * own / weight;
        (1.0 - tolerance) * part - connections
    });
    missing.fold(0.0, f64::max) * connections.len() as f64
}

/// The least closes where empty edges join others that are even, with weights all alike.
#[must_use]
pub fn least_to_join(connections: usize, tolerance: f64) -> f64 {
    connections as f64 * (1.0 - tolerance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining_costs_nearly_a_close_for_each_connection_however_many_join() {
        for (old, new) in [(2, 1), (3, 2), (10, 1), (100, 50)] {
            let each = 600.0 / f64::from(old);
            let connections: Vec<_> =
                (0..old + new).map(|edge| if edge < old { each } else { 0.0 }).collect();
            let weights = vec![1.0; connections.len()];
            let least = closes_floor(&connections, &weights, 0.1);
            assert!((least - least_to_join(600, 0.1)).abs() < 1e-6, "{old} + {new}: {least}");
        }
    }

    #[test]
    fn weights_count_by_the_one_that_misses_most() {
        // Of 700 on edges of weights 1, 2 and 4 the last should have 400, and has a third.
        let least = closes_floor(&[700.0 / 3.0; 3], &[1.0, 2.0, 4.0], 0.1);
        assert!((least - 3.0 * (360.0 - 700.0 / 3.0)).abs() < 1e-6, "{least}");
        assert!(closes_floor(&[100.0, 200.0, 400.0], &[1.0, 2.0, 4.0], 0.1) <= 0.0);
    }
}
