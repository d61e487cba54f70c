//! Frames of a law in which rare conformations are less rare.
//!
//! A model learns what it sees: of a basin with three frames in a thousand it learns little, and a few of the
//! conformations drawn from it end up there. So the frames may be simulated with terms on torsions that lower
//! barriers and lift rare basins (Torrie and Valleau 1977): the fraction f of the free energy along each torsion,
//! as a Fourier series, is taken away,
//!
//! ```text
//! U' = U − f Σ_φ F(φ),   F(φ) = −kT ln p(φ) up to `most` above its minimum
//! ```
//!
//! with p of a simulation without them. The model learns exp(−U'/kT); weights always lead to exp(−U/kT), so the terms
//! change what conformations are worth and not what averages mean. The factor that they cost is known beforehand:
//! at f = ½ a basin of 0.3 % has about 5 % of the frames.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::force_field::{Parameters, PeriodicTorsion};
use crate::system::collective_variable::{CollectiveVariable as _, Dihedral};
use crate::units::{Energy, Temperature};

/// Terms on torsions while frames are simulated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BiasSettings {
    /// The four atoms of each torsion; none: frames of the physical law.
    pub torsions: Vec<[usize; 4]>,
    /// f: 0 changes nothing, 1 makes the law along each torsion flat.
    pub fraction: f64,
    /// Multiples of the angle in the series.
    pub n_terms: u32,
    /// Free energies count up to this above the minimum: what lies higher remains a barrier.
    pub most: Energy,
}

impl Default for BiasSettings {
    fn default() -> Self {
        let most = Energy::from_kj_per_mol(20.0).expect("a positive constant");
        Self { torsions: Vec::new(), fraction: 0.5, n_terms: 4, most }
    }
}

/// Bins of an angle.
const N_BINS: usize = 72;

impl BiasSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        let bad = |key: &str, message: String| Err(Error::config(format!("{place}.{key}"), message, ""));
        if !(0.0..=1.0).contains(&self.fraction) {
            return bad("fraction", format!("must lie between 0 and 1, found {}", self.fraction));
        }
        if !(1..=12).contains(&self.n_terms) {
            return bad("n_terms", format!("must be 1 to 12, found {}", self.n_terms));
        }
        if self.most.as_kj_per_mol() <= 0.0 {
            return bad("most", format!("must be positive, found {}", self.most));
        }
        Ok(())
    }

    /// Checks the atoms.
    pub fn validate_atoms(&self, place: &str, n_atoms: usize) -> Result<()> {
        for (idx, atoms) in self.torsions.iter().enumerate() {
            let is_twice = (0..4).any(|k| atoms[..k].contains(&atoms[k]));
            if is_twice || atoms.iter().any(|&atom| atom >= n_atoms) {
                let message = format!("is {atoms:?}: needs four different atoms from 0 to {}", n_atoms - 1);
                return Err(Error::config(format!("{place}.torsions[{idx}]"), message, ""));
            }
        }
        Ok(())
    }

    /// The terms, from frames of the physical law, nm.
    pub fn terms(&self, n_atoms: usize, positions_nm: &[f64], temperature: Temperature) -> Bias {
        let kt = temperature.kt_kj_per_mol();
        let mut terms = Vec::new();
        for &atoms in &self.torsions {
            let angle = Dihedral::new("", atoms);
            let mut counts = [0.0; N_BINS];
            let frames = positions_nm.chunks_exact(3 * n_atoms);
            let n_frames = frames.len() as f64;
            for x in frames {
                let turn = angle.value(x) / std::f64::consts::TAU + 0.5;
                counts[((turn * N_BINS as f64) as usize).min(N_BINS - 1)] += 1.0 / n_frames;
            }
            let largest = counts.iter().copied().fold(0.0, f64::max);
            let free_energies =
                counts.map(|share| (-kt * (share / largest).ln()).min(self.most.as_kj_per_mol()));
            for n in 1..=self.n_terms {
                let (mut along, mut across) = (0.0, 0.0);
                for (bin, f) in free_energies.iter().enumerate() {
                    let at = ((bin as f64 + 0.5) / N_BINS as f64 - 0.5) * std::f64::consts::TAU;
                    along += 2.0 / N_BINS as f64 * f * (f64::from(n) * at).cos();
                    across += 2.0 / N_BINS as f64 * f * (f64::from(n) * at).sin();
                }
                // −f (along cos nφ + across sin nφ) = k cos(nφ − φ₀)
                let barrier_kj_mol = self.fraction * along.hypot(across);
                terms.push(Term {
                    atoms,
                    periodicity: n,
                    phase_rad: (-across).atan2(-along),
                    barrier_kj_mol,
                });
            }
        }
        Bias { terms }
    }
}

/// What is added to the energy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Bias {
    /// U = k (1 + cos(n φ − φ₀)) each.
    pub terms: Vec<Term>,
}

/// One term.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// The four atoms.
    pub atoms: [usize; 4],
    /// n
    pub periodicity: u32,
    /// φ₀
    pub phase_rad: f64,
    /// k
    pub barrier_kj_mol: f64,
}

impl Bias {
    /// The molecule with these terms.
    pub fn added_to(&self, parameters: &Parameters) -> Parameters {
        let mut parameters = parameters.clone();
        parameters.torsions.extend(self.terms.iter().map(|term| PeriodicTorsion {
            atoms: term.atoms,
            periodicity: term.periodicity,
            phase_rad: term.phase_rad,
            barrier: term.barrier_kj_mol,
        }));
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four atoms with this angle between the outer ones.
    fn frame(angle: f64) -> [f64; 12] {
        [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, angle.cos(), angle.sin(), 1.0]
    }

    /// Of the law exp(−3 cos φ − cos(2φ − 1)) kT the terms take away the fraction, with sign and phase.
    #[test]
    fn terms_are_the_negative_fraction_of_the_free_energy() {
        let temperature = Temperature::from_kelvin(300.0).unwrap();
        let kt = temperature.kt_kj_per_mol();
        let energy = |angle: f64| kt * (3.0 * angle.cos() + (2.0 * angle - 1.0).cos());
        let mut positions = Vec::new();
        for k in 0..720 {
            let angle = (f64::from(k) + 0.5) / 720.0 * std::f64::consts::TAU - std::f64::consts::PI;
            assert!((Dihedral::new("", [0, 1, 2, 3]).value(&frame(angle)) - angle).abs() < 1e-12);
            let n = (40.0 * (-energy(angle) / kt).exp()).round() as usize;
            positions.extend(std::iter::repeat_n(frame(angle), n).flatten());
        }
        let settings = BiasSettings { torsions: vec![[0, 1, 2, 3]], fraction: 0.5, ..Default::default() };
        let bias = settings.terms(4, &positions, temperature);
        let added = |angle: f64| -> f64 {
            let of = |term: &Term| {
                let phase = f64::from(term.periodicity) * angle - term.phase_rad;
                term.barrier_kj_mol * (1.0 + phase.cos())
            };
            bias.terms.iter().map(of).sum()
        };
        for k in 0..12 {
            let (here, there) = (0.5 * f64::from(k), 0.5 * f64::from(k) + 2.0);
            let change = added(there) - added(here) + 0.5 * (energy(there) - energy(here));
            assert!(change.abs() < 0.1 * kt, "{here}: {} kT", change / kt);
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let refuse = |text: &str| {
            let settings: BiasSettings = toml::from_str(text).unwrap();
            let checked =
                settings.validate("data.bias").and_then(|()| settings.validate_atoms("data.bias", 22));
            checked.unwrap_err().to_string()
        };
        assert!(refuse("fraction = 1.5").contains("data.bias.fraction"));
        assert!(refuse("torsions = [[0, 1, 1, 2]]").contains("data.bias.torsions[0]"));
        assert!(refuse("torsions = [[0, 1, 2, 22]]").contains("0 to 21"));
        assert!(refuse("n_terms = 0").contains("n_terms"));
    }
}
