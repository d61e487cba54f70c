//! What can be told from the samples alone, before any free energy.

use super::Dataset;

/// Total energies fluctuate by more than this in kT: a single harmonic degree of freedom does by √½. The pV of a
/// simulation at constant pressure, which GROMACS writes next to energy differences, fluctuates by far less.
const FLUCTUATION_KT: f64 = 0.5;

/// Whether energies are known only relative to the own state of each sample, as files hold them that list
/// differences: then the energy of a sample in its own state never changes.
///
/// Decided by most samples, as a state without interactions has a constant energy in its own right.
pub(super) fn has_relative_energies(data: &Dataset) -> bool {
    if data.u_kt.is_empty() {
        return false;
    }
    let (mut n_constant, mut n_all) = (0, 0);
    for window in &data.windows {
        let own = &data.u_of_state(window.state)[window.samples.clone()];
        let known: Vec<f64> = own.iter().copied().filter(|u| u.is_finite()).collect();
        let n = known.len() as f64;
        let mean = known.iter().sum::<f64>() / n;
        let square: f64 = known.iter().map(|u| (u - mean).powi(2)).sum();
        n_all += known.len();
        if square <= FLUCTUATION_KT * FLUCTUATION_KT * n {
            n_constant += known.len();
        }
    }
    2 * n_constant > n_all
}
