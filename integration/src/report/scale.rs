//! The arithmetic of a chart: from values to places, round numbers for an axis, and labels
//! that keep their distance. Shared by the report (pixels) and the live screen (rows).

/// A linear map from values to places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub values: (f64, f64),
    pub places: (f64, f64),
}

impl Scale {
    /// The place of `value`.
    pub fn at(self, value: f64) -> f64 {
        let (from, to) = self.values;
        let span = if to > from { to - from } else { 1.0 };
        self.places.0 + (value - from) / span * (self.places.1 - self.places.0)
    }
}

/// A step of 1, 2 or 5 times a power of ten that divides `span` into `parts` parts at most.
pub(crate) fn nice_step(span: f64, parts: f64) -> f64 {
    let least = (span / parts).max(1e-3);
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// A step in seconds that reads well on a clock and divides `span_s` into `parts` parts at most.
pub(crate) fn time_step(span_s: f64, parts: f64) -> f64 {
    let on_a_clock = [1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0];
    let least = span_s / parts;
    on_a_clock
        .into_iter()
        .find(|&step| step >= least)
        .unwrap_or_else(|| (least / 600.0).ceil() * 600.0)
}

/// The multiples of `step` from 0 to `max`.
pub(crate) fn ticks(max: f64, step: f64) -> Vec<f64> {
    (0_u32..1_000)
        .map(|i| f64::from(i) * step)
        .take_while(|&tick| tick <= max + step * 1e-6)
        .collect()
}

/// Places as near as possible to the ones `wanted` that are at least `gap` apart and lie
/// between `low` and `high`, in the order of `wanted`.
///
/// Where they do not all fit, the gap is kept and the last ones exceed `high`.
pub(crate) fn spread(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));

    // Less the gaps before it, each place only has to be no lower than the one before: an
    // isotonic regression. Neighbours that would cross are pooled at their mean.
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (rank, &i) in order.iter().enumerate() {
        let mut pool = (wanted[i] - rank as f64 * gap, 1_usize);
        while let Some(&(mean, count)) = pools.last() {
            if mean < pool.0 {
                break;
            }
            let total = count + pool.1;
            pool.0 = (mean * count as f64 + pool.0 * pool.1 as f64) / total as f64;
            pool.1 = total;
            pools.pop();
        }
        pools.push(pool);
    }

    let highest = (high - gap * wanted.len().saturating_sub(1) as f64).max(low);
    let bases = pools
        .into_iter()
        .flat_map(|(base, count)| std::iter::repeat_n(base.clamp(low, highest), count));
    let mut places = vec![0.0; wanted.len()];
    for ((rank, &i), base) in order.iter().enumerate().zip(bases) {
        places[i] = base + rank as f64 * gap;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_near(got: &[f64], wanted: &[f64]) {
        let near = got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(near && got.len() == wanted.len(), "{got:?}, not {wanted:?}");
    }

    #[test]
    fn a_scale_maps_linearly_even_upside_down() {
        let scale = Scale { values: (0.0, 10.0), places: (200.0, 0.0) };
        assert_near(&[scale.at(0.0), scale.at(2.5), scale.at(10.0)], &[200.0, 150.0, 0.0]);
    }

    #[test]
    fn steps_are_round() {
        assert_near(&[nice_step(610.0, 5.0)], &[200.0]);
        assert_near(&[nice_step(500.0, 5.0)], &[100.0]);
        assert_near(&[nice_step(7.0, 5.0)], &[2.0]);
        assert_near(&[time_step(118.0, 8.0)], &[15.0]);
        assert_near(&[time_step(7_200.0, 6.0)], &[1_200.0]);
        assert_near(&ticks(1.0, 0.5), &[0.0, 0.5, 1.0]);
    }

    #[test]
    fn labels_that_do_not_touch_stay_where_they_are() {
        assert_near(&spread(&[90.0, 10.0, 50.0], 15.0, 0.0, 100.0), &[90.0, 10.0, 50.0]);
    }

    #[test]
    fn labels_that_touch_share_the_move_and_keep_their_order() {
        assert_near(&spread(&[50.0, 50.0], 10.0, 0.0, 100.0), &[45.0, 55.0]);
        assert_near(&spread(&[52.0, 48.0, 50.0], 10.0, 0.0, 100.0), &[60.0, 40.0, 50.0]);
    }

    #[test]
    fn labels_stay_inside() {
        assert_near(&spread(&[99.0, 98.0], 10.0, 0.0, 100.0), &[100.0, 90.0]);
        assert_near(&spread(&[0.0, 1.0], 10.0, 0.0, 100.0), &[0.0, 10.0]);
    }
}
