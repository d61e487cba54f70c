//! The weighted histogram analysis method (Ferrenberg and Swendsen 1989; Kumar et al. 1992).
//!
//! p_b = Σ_k H_kb / Σ_k N_k exp(f_k − u_kb) with exp(−f_k) = Σ_b p_b exp(−u_kb): MBAR with all samples of a window in
//! a bin taken for one place that counts H_kb times. So the same Newton iteration solves it in a few steps, where the
//! customary fixed-point iteration takes up to 10⁵, and its overlaps and groups have the same meaning. Restraint
//! energies are means of exp(−u) over the bin (three Gauss points per axis) rather than values at its middle. The
//! result approaches MBAR as the square of the bin width; bins are cut until κ width² ≤ 0.04 for the stiffest window.

use std::collections::BTreeMap;

use super::ReducedEnergies;
use super::umbrella::{Mixture, Window, distance, states};
use crate::error::{Error, Result};

/// Thermal widths κ^(−½) of the stiffest restraint per bin.
const WIDTH: f64 = 0.2;

/// Bins of equal width along one variable, without ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// An edge.
    pub origin: f64,
    /// Distance between edges; a period is a multiple of it.
    pub width: f64,
}

impl Grid {
    /// The grid of given bins, cut into equal parts where restraints are stiff.
    pub fn fine(origin: f64, width: f64, windows: &[Window], variable: usize) -> Self {
        let of = |window: &Window| window.restraint.force_constant_kt.get(variable).copied().unwrap_or(0.0);
        let stiffest = windows.iter().map(of).fold(0.0, f64::max);
        let parts = (width * stiffest.sqrt() / WIDTH).ceil().clamp(1.0, 1e6);
        Self { origin, width: width / parts }
    }
}

/// The windows of [`Mixture::of_windows`] with their samples in bins.
pub fn wham(
    windows: &[Window],
    variables: &[f64],
    periods: &[Option<f64>],
    grids: &[Grid],
) -> Result<Mixture> {
    let state_of = states(windows, variables, periods)?;
    if grids.len() != periods.len() || grids.iter().any(|grid| !(grid.width > 0.0 && grid.origin.is_finite()))
    {
        return Err(Error::invalid(
            "grids of WHAM",
            format!("{} with widths above zero", periods.len()),
            format!("{grids:?}"),
        ));
    }
    let cell = |s: f64, grid: &Grid, period: Option<f64>| {
        let offset = s - grid.origin;
        let offset = period.map_or(offset, |period| offset - period * (offset / period).floor());
        (offset / grid.width).floor() as i64
    };
    // An entry for every window and bin with samples, in this order.
    let mut place = BTreeMap::new();
    let keys: Vec<(usize, Vec<i64>)> = variables
        .chunks_exact(periods.len())
        .zip(&state_of)
        .map(|(sample, state)| {
            let cells =
                sample.iter().zip(grids).zip(periods).map(|((s, grid), period)| cell(*s, grid, *period));
            (*state, cells.collect())
        })
        .collect();
    for key in &keys {
        place.insert(key, 0_u32);
    }
    place.values_mut().enumerate().for_each(|(index, entry)| *entry = index as u32);
    let entry_of: Vec<u32> = keys.iter().map(|key| place[key]).collect();
    let mut u = Vec::with_capacity((windows.len() + 1) * place.len());
    for window in windows {
        for (_, cells) in place.keys() {
            let terms = cells.iter().zip(grids).zip(periods).enumerate();
            u.push(
                terms
                    .map(|(v, ((cell, grid), period))| {
                        let middle = grid.origin + (*cell as f64 + 0.5) * grid.width;
                        let d = distance(window.restraint.center[v], middle, *period);
                        mean_restraint(d, grid.width, window.restraint.force_constant_kt[v])
                    })
                    .sum::<f64>(),
            );
        }
    }
    u.resize(u.len() + place.len(), 0.0);
    let state_of = place.keys().map(|(state, _)| *state).collect();
    let energies = ReducedEnergies::new(windows.len() + 1, u, state_of)?;
    Mixture::of_entries(windows, energies, entry_of)
}

/// −ln of the mean of exp(−½ κ d²) over a bin.
fn mean_restraint(middle: f64, width: f64, k: f64) -> f64 {
    let (offset, weights) = (0.5 * width * 0.6_f64.sqrt(), [5.0 / 18.0, 8.0 / 18.0, 5.0 / 18.0]);
    let energies = [middle - offset, middle, middle + offset].map(|d| 0.5 * k * d * d);
    let lowest = energies.iter().copied().fold(f64::INFINITY, f64::min);
    lowest - energies.iter().zip(weights).map(|(u, weight)| weight * (lowest - u).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_restraint_is_that_of_the_bin() {
        // ∫ exp(−x²/2) over 0.1 … 0.5 is √(π/2) (erf(0.5/√2) − erf(0.1/√2)).
        let exact = (std::f64::consts::PI / 2.0).sqrt()
            * (statrs::function::erf::erf(0.5 / 2.0_f64.sqrt())
                - statrs::function::erf::erf(0.1 / 2.0_f64.sqrt()));
        assert!((mean_restraint(0.3, 0.4, 1.0) + (exact / 0.4).ln()).abs() < 1e-7);
        assert!(mean_restraint(1e3, 0.1, 1e3).is_finite());
    }
}
