//! The least closes that balance needs, whoever chooses the connections.
//!
//! A client that reconnects lands on any of the `L` edges of its pool alike. So of `X` closes an
//! edge gets `X / L`, whatever is closed where, and it can have no more than that and what it had.
//! To be within `e` of its part `t_i` of all `C` connections, each needs `n_i + X / L >= (1 - e) t_i`;
//! and since none may have more than `(1 + e) t_i`, there has to be room for all:
//!
//! ```text
//! sum_i min(n_i + X / L, (1 + e) t_i) >= C
//! ```
//!
//! The least `X` that does both is the floor. Where up to half of all edges are new and empty, with
//! weights all alike, it is `(1 - e) C`, however many they are (design, section 9).

/// Halvings of the range in which the least is looked for.
const STEPS: u32 = 100;

/// The least closes that bring edges with `connections` of equal load each to within `tolerance` of
/// their parts, by `weights`.
#[must_use]
pub fn closes_floor(connections: &[f64], weights: &[f64], tolerance: f64) -> f64 {
    let all: f64 = connections.iter().sum();
    let weight: f64 = weights.iter().sum();
    let edges: Vec<_> =
        connections.iter().zip(weights).map(|(had, own)| (*had, all * own / weight)).collect();
    let enough = |each: f64| {
        let least = edges.iter().all(|(had, part)| had + each >= (1.0 - tolerance) * part);
        let room: f64 =
            edges.iter().map(|(had, part)| (had + each).min((1.0 + tolerance) * part)).sum();
        least && room >= all * (1.0 - 1e-12)
    };
    let (mut low, mut high) = (0.0, all);
    if enough(low) {
        return 0.0;
    }
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        if enough(middle) { high = middle } else { low = middle }
    }
    high * edges.len() as f64
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
    fn with_weights_there_has_to_be_room_on_the_light_ones_for_what_the_heavy_one_misses() {
        // Of 700 on edges of weights 1, 2 and 4 the last should have 400 and has a third. It may miss
        // 40, but the others may have 30 too many at most.
        let least = closes_floor(&[700.0 / 3.0; 3], &[1.0, 2.0, 4.0], 0.1);
        assert!((least - 3.0 * (370.0 - 700.0 / 3.0)).abs() < 1e-6, "{least}");
        assert!(closes_floor(&[100.0, 200.0, 400.0], &[1.0, 2.0, 4.0], 0.1) <= 0.0);
    }
}
