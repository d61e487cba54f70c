//! The state of a training run on disk, from which it goes on to the same bits.

use std::collections::HashMap;
use std::path::Path;

use super::equilibrium_walkers::WalkerState;
use super::initialiser::InitialiserState;
use super::optimizer::Adam;
use super::trainer::TrainerState;
use crate::error::{Error, Result};
use crate::model::checkpoint::{read_tensors_and_metadata, write_tensors};

/// Entries of the network that says where chains start, in stages that have one.
const INITIALISER: [&str; 3] = ["initialiser_weights", "initialiser_first", "initialiser_second"];
const INITIALISER_STEPS: &str = "initialiser_steps";

/// Entries of walkers at equilibrium, in stages that have them.
const WALKERS: [&str; 2] = ["walkers", "walker_squared_scores"];
const WALKER_STEP_SIZE: &str = "walker_step_size_bits";

/// Writes a state, atomically.
pub fn save(path: &Path, state: &TrainerState) -> Result<()> {
    // Offsets are f64: each is stored as the bits of two f32, so that nothing is rounded.
    let split = |numbers: &[f64]| -> Vec<f32> {
        let halves = |x: &f64| [x.to_bits() as u32, (x.to_bits() >> 32) as u32];
        numbers.iter().flat_map(halves).map(f32::from_bits).collect()
    };
    let (offsets, first, second) =
        (split(&state.offsets), split(&state.offset_moments[0]), split(&state.offset_moments[1]));
    let mut tensors: Vec<(&str, &[f32])> = vec![
        ("weights", &state.weights),
        ("average", &state.average),
        ("adam_first", &state.adam.first),
        ("adam_second", &state.adam.second),
        ("offsets", &offsets),
        ("offset_first", &first),
        ("offset_second", &second),
        ("chains", &state.chains),
    ];
    let mut metadata = HashMap::from([
        ("step".to_string(), state.step.to_string()),
        ("adam_steps".to_string(), state.adam.n_steps.to_string()),
    ]);
    if let Some(InitialiserState { weights, adam }) = &state.initialiser {
        let more: [&[f32]; 3] = [weights, &adam.first, &adam.second];
        tensors.extend(INITIALISER.into_iter().zip(more));
        metadata.insert(INITIALISER_STEPS.into(), adam.n_steps.to_string());
    }
    let squared_scores;
    if let Some(WalkerState { x, step_size, squared_scores: scores }) = &state.walkers {
        squared_scores = split(scores);
        tensors.extend(WALKERS.into_iter().zip([x.as_slice(), &squared_scores]));
        metadata.insert(WALKER_STEP_SIZE.into(), step_size.to_bits().to_string());
    }
    write_tensors(path, &tensors, metadata)
}

/// Reads a state.
pub fn load(path: &Path) -> Result<TrainerState> {
    let (mut tensors, metadata) = read_tensors_and_metadata(path)?;
    let missing = |name: &str| Error::file(path, "", format!("`{name}`"), "no such entry");
    let mut take = |name: &str| tensors.remove(name).ok_or_else(|| missing(name));
    let join = |halves: Vec<f32>| -> Vec<f64> {
        let bits = |pair: &[f32]| u64::from(pair[0].to_bits()) | u64::from(pair[1].to_bits()) << 32;
        halves.chunks_exact(2).map(|pair| f64::from_bits(bits(pair))).collect()
    };
    let number = |name: &str| -> Result<usize> {
        metadata.get(name).and_then(|text| text.parse().ok()).ok_or_else(|| missing(name))
    };
    let initialiser = match metadata.contains_key(INITIALISER_STEPS) {
        false => None,
        true => {
            let [weights, first, second] = INITIALISER;
            let adam =
                Adam { first: take(first)?, second: take(second)?, n_steps: number(INITIALISER_STEPS)? };
            Some(InitialiserState { weights: take(weights)?, adam })
        }
    };
    let walkers = match metadata.get(WALKER_STEP_SIZE) {
        None => None,
        Some(bits) => {
            let step_size = f64::from_bits(bits.parse().map_err(|_| missing(WALKER_STEP_SIZE))?);
            let [x, squared_scores] = WALKERS;
            Some(WalkerState { x: take(x)?, step_size, squared_scores: join(take(squared_scores)?) })
        }
    };
    Ok(TrainerState {
        initialiser,
        walkers,
        step: number("step")?,
        weights: take("weights")?,
        average: take("average")?,
        adam: Adam {
            first: take("adam_first")?,
            second: take("adam_second")?,
            n_steps: number("adam_steps")?,
        },
        offsets: join(take("offsets")?),
        offset_moments: [join(take("offset_first")?), join(take("offset_second")?)],
        chains: take("chains")?,
    })
}
