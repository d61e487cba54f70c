//! Where walkers at the data end begin: equally in every basin, whatever its population.
//!
//! A walker that never leaves its basin then shows up as a wrong population, instead of being right by
//! the luck of its start. Basins are the states of the configuration and what lies outside of them;
//! without states, the occupied cells of a coarse grid over the first two collective variables.

use std::collections::BTreeMap;

use rand::Rng as _;

use crate::error::Result;
use crate::random::{Purpose, Streams};
use crate::run::beads::Beads;
use crate::run::stages::sample::Draw;

/// Cells along each variable of the grid that stands in for states.
const CELLS: f64 = 6.0;

/// Reduced positions of `n_walkers` training frames.
pub fn draw(draw: &Draw, n_walkers: usize) -> Result<Vec<f64>> {
    let frames = draw.context.data.train();
    let values = draw.context.plan.beads.values(frames.positions_nm())?;
    let groups = groups(&draw.context.plan.beads, &values);
    let scale = draw.model.length_scale_nm;
    let chosen = choose(&groups, n_walkers, &draw.streams);
    Ok(chosen.into_iter().flat_map(|frame| frames.frame(frame)).map(|x| x / scale).collect())
}

/// Frames of each basin that has any.
fn groups(beads: &Beads, values: &[Vec<f64>]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    if !beads.states.is_empty() {
        for (frame, state) in beads.states_of(values).into_iter().enumerate() {
            groups.entry(state.unwrap_or(beads.states.len())).or_default().push(frame);
        }
    } else {
        let cell = |series: &[f64]| -> Vec<usize> {
            let (low, high) = series
                .iter()
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)));
            let width = ((high - low) / CELLS).max(f64::MIN_POSITIVE);
            series.iter().map(|x| ((x - low) / width) as usize).collect()
        };
        let cells: Vec<Vec<usize>> = values.iter().take(2).map(|series| cell(series)).collect();
        for frame in 0..values.first().map_or(0, Vec::len) {
            let key = cells.iter().fold(0, |key, cell| 100 * key + cell[frame]);
            groups.entry(key).or_default().push(frame);
        }
    }
    groups.into_values().collect()
}

/// Walker k begins in basin k modulo their number, at a frame drawn from it.
fn choose(groups: &[Vec<usize>], n_walkers: usize, streams: &Streams) -> Vec<usize> {
    (0..n_walkers)
        .map(|walker| {
            let group = &groups[walker % groups.len()];
            group[streams.stream(Purpose::Start, walker as u64).random_range(0..group.len())]
        })
        .collect()
}

/// How often walkers came back to the basin in which they began, from labels `[walker][frame]`.
pub fn round_trips(labels: &[usize], n_walkers: usize) -> u64 {
    let mut trips = 0;
    for series in labels.chunks_exact(labels.len() / n_walkers) {
        trips += series.windows(2).filter(|pair| pair[0] != series[0] && pair[1] == series[0]).count() as u64;
    }
    trips
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_basins_get_as_many_walkers_as_common_ones() {
        let groups = vec![(0..990).collect::<Vec<_>>(), (990..1000).collect()];
        let chosen = choose(&groups, 100, &Streams::new(1));
        assert_eq!(chosen.iter().filter(|frame| **frame >= 990).count(), 50);
    }

    #[test]
    fn a_round_trip_leaves_and_returns() {
        // The first walker leaves twice and comes back twice, the second leaves for good.
        assert_eq!(round_trips(&[0, 1, 0, 0, 2, 0, 1, 1, 1, 0, 0, 0], 2), 2);
    }
}
