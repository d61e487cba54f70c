//! Where walkers at the data end begin: equally in every basin, whatever its population.
//!
//! A walker that never leaves its basin then shows up as a wrong population, instead of being right by
//! the luck of its start, and what walkers remember of it is measured ([`memory`]). Basins are the states
//! of the configuration and what lies outside of them; without states, the occupied cells of a coarse
//! grid over the first two collective variables.

use std::collections::BTreeMap;

use rand::Rng as _;

use crate::error::Result;
use crate::random::{Purpose, Streams};
use crate::run::beads::Beads;
use crate::run::stages::sample::Draw;

/// Cells along each variable of the grid that stands in for states.
const CELLS: f64 = 6.0;

/// Reduced positions of `n_walkers` training frames, and the basin of each.
pub fn draw(draw: &Draw, n_walkers: usize) -> Result<(Vec<f64>, Vec<usize>)> {
    let frames = draw.context.data.train();
    let values = draw.context.plan.beads.values(frames.positions_nm())?;
    let groups = groups(&draw.context.plan.beads, &values);
    let scale = draw.model.length_scale_nm;
    let frames_of: Vec<&Vec<usize>> = groups.values().collect();
    let chosen = choose(&frames_of, n_walkers, &draw.streams);
    let basins = groups.keys().copied().cycle().take(n_walkers).collect();
    Ok((chosen.into_iter().flat_map(|frame| frames.frame(frame)).map(|x| x / scale).collect(), basins))
}

/// Frames of each basin that has any; with states its index, and their number for what lies outside.
fn groups(beads: &Beads, values: &[Vec<f64>]) -> BTreeMap<usize, Vec<usize>> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    if !beads.states.is_empty() {
        for (frame, basin) in beads.basins_of(values).into_iter().enumerate() {
            groups.entry(basin).or_default().push(frame);
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
    groups
}

/// Walker k begins in basin k modulo their number, at a frame drawn from it.
fn choose(groups: &[&Vec<usize>], n_walkers: usize, streams: &Streams) -> Vec<usize> {
    (0..n_walkers)
        .map(|walker| {
            let group = groups[walker % groups.len()];
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

/// What walkers remember of their start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// The basin in which some walkers began.
    pub start: usize,
    /// The state whose share differs.
    pub state: usize,
    /// The share of frames in it of those walkers, and of all others.
    pub shares: [f64; 2],
    /// Standard error of the difference.
    pub std_error: f64,
}

impl Memory {
    /// The difference of shares.
    pub fn difference(&self) -> f64 {
        self.shares[0] - self.shares[1]
    }

    /// The difference in standard errors.
    fn significance(&self) -> f64 {
        self.difference().abs() / self.std_error
    }

    /// Whether it is more than chance: the largest of several differences, each of independent walkers.
    pub fn is_significant(&self) -> bool {
        self.significance() > 4.0
    }
}

/// By how much the shares of states of walkers that began in one basin differ from those of all others, where that is most
/// significant; labels are `[walker][frame]` below `n_states`. `None` unless two walkers began in some basin and two elsewhere.
pub fn memory(labels: &[usize], basins: &[usize], n_states: usize) -> Option<Memory> {
    let n_frames = labels.len() / basins.len();
    let mut found: Option<Memory> = None;
    for start in 0..n_states {
        for state in 0..n_states {
            let moments = |inside: bool| {
                let of_walkers = (labels.chunks_exact(n_frames).zip(basins))
                    .filter(|(_, basin)| (**basin == start) == inside)
                    .map(|(labels, _)| {
                        labels.iter().filter(|l| **l == state).count() as f64 / n_frames as f64
                    });
                let shares: Vec<f64> = of_walkers.collect();
                let n = shares.len() as f64;
                let mean = shares.iter().sum::<f64>() / n;
                let squares: f64 = shares.iter().map(|share| (share - mean).powi(2)).sum();
                // Walkers that are all alike are known no better than to half a walker.
                (n, mean, squares / (n - 1.0) / n + 0.25 / (n * n))
            };
            let [here, elsewhere] = [moments(true), moments(false)];
            if here.0 < 2.0 || elsewhere.0 < 2.0 {
                continue;
            }
            let std_error = (here.2 + elsewhere.2).sqrt();
            let memory = Memory { start, state, shares: [here.1, elsewhere.1], std_error };
            if found.is_none_or(|found| memory.significance() > found.significance()) {
                found = Some(memory);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_basins_get_as_many_walkers_as_common_ones() {
        let (common, rare) = ((0..990).collect(), (990..1000).collect());
        let chosen = choose(&[&common, &rare], 100, &Streams::new(1));
        assert_eq!(chosen.iter().filter(|frame| **frame >= 990).count(), 50);
    }

    /// Walkers that stay where they began are found out, also when they are few; those that forget are not; those that leave at
    /// every twentieth frame are seen as well.
    #[test]
    fn walkers_that_remember_their_start_are_found() {
        use crate::random::Purpose;
        let (n_walkers, n_frames) = (120, 50);
        let basins: Vec<usize> = (0..n_walkers).map(|walker| walker % 3).collect();
        let labels = |rate: f64| -> Vec<usize> {
            let mut labels = Vec::new();
            for (walker, &basin) in basins.iter().enumerate() {
                let mut rng = Streams::new(4).stream(Purpose::Walker, walker as u64);
                let mut state = basin;
                for _ in 0..n_frames {
                    if rng.random::<f64>() < rate {
                        // 0.6, 0.3, 0.1.
                        let u: f64 = rng.random();
                        state = usize::from(u > 0.6) + usize::from(u > 0.9);
                    }
                    labels.push(state);
                }
            }
            labels
        };
        let stuck = memory(&labels(0.0), &basins, 3).unwrap();
        assert!(stuck.is_significant() && stuck.start == stuck.state && stuck.difference() == 1.0);
        let slow = memory(&labels(0.05), &basins, 3).unwrap();
        assert!(slow.is_significant() && (0.1..0.6).contains(&slow.difference()), "{slow:?}");
        let free = memory(&labels(1.0), &basins, 3).unwrap();
        assert!(!free.is_significant(), "{free:?}");
        let few: Vec<usize> = (0..16).map(|walker| walker % 4).collect();
        assert!(memory(&few, &few, 4).unwrap().is_significant());
        assert_eq!(memory(&[0, 0], &[0, 0], 1), None);
    }

    #[test]
    fn a_round_trip_leaves_and_returns() {
        // The first walker leaves twice and comes back twice, the second leaves for good.
        assert_eq!(round_trips(&[0, 1, 0, 0, 2, 0, 1, 1, 1, 0, 0, 0], 2), 2);
    }
}
