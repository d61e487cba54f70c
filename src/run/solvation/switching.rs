//! Work of short processes that switch λ from 0 to 1 and back.
//!
//! Each process begins with a frame of the ensemble of its end and velocities of Maxwell's law. λ changes in equal
//! steps at fixed conformation, which is the work, w = Σ u(x; λ′) − u(x; λ); between them are a few steps of Langevin
//! dynamics at fixed λ, which are heat. If these steps left exp(−u_λ) as it is, Crooks' theorem P₀(w)/P₁(−w) =
//! exp(w − Δf) would hold without error, however fast the process. BAOAB with a finite time step leaves a slightly
//! different law as it is (the error in the free energy is that of equilibrium dynamics with the same step, here below
//! 0.01 kT at 1 fs, as it is nearly the same for all λ); the part of the energy change that is due to the integrator
//! itself ("shadow work") is heat here, not work.

use std::ops::Range;
use std::time::Instant;

use rand::Rng as _;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::force_field::Parameters;
use crate::free_energy::alchemical::{Severity, Verdict};
use crate::free_energy::bennett::bennett;
use crate::free_energy::nonequilibrium::{Crooks, Jarzynski, crooks, jarzynski_forward, jarzynski_reverse};
use crate::potential::{MolecularMechanics, Precision, TermEnergies};
use crate::random::{Purpose, Streams};
use crate::run::ensemble::{EnsembleSettings, completed, dynamics, simulate_ensemble};
use crate::run::solvation::Road;
use crate::sampling::Progress;
use crate::units::{Temperature, Time};

/// How λ is switched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SwitchingSettings {
    /// Processes in each direction.
    pub n_processes: usize,
    /// Length of a process.
    pub duration: Time,
    /// Steps of λ.
    pub n_steps: usize,
    /// Time between the frames in which processes of one walker begin.
    pub start_every: Time,
}

impl Default for SwitchingSettings {
    fn default() -> Self {
        let time = |ps| Time::from_ps(ps).expect("a positive constant");
        Self { n_processes: 4096, duration: time(2.0), n_steps: 100, start_every: time(2.0) }
    }
}

/// Works of both directions and what they say.
#[derive(Debug, Clone)]
pub struct Switched {
    /// Works 0 → 1 in kT, walker by walker of the ensemble in which they begin.
    pub forward_kt: Vec<f64>,
    /// Works 1 → 0 in kT.
    pub reverse_kt: Vec<f64>,
    /// Processes of each walker: those of one walker may be correlated.
    pub walkers: Vec<Range<usize>>,
    /// Both directions.
    pub crooks: Crooks,
    /// Standard error of Crooks' free energy from resampled walkers.
    pub std_error_kt: f64,
    /// One direction each.
    pub jarzynski: [Jarzynski; 2],
    /// Conformations of which an energy was computed, those of the ensembles included.
    pub n_energy_evaluations: u64,
    /// Wall clock.
    pub wall_seconds: f64,
}

/// Share of samples that the two directions must have in common; ½ is reversible.
const LITTLE_OVERLAP: f64 = 0.03;

/// Simulates both ensembles and switches from either to the other.
#[expect(clippy::too_many_arguments, reason = "each of them is a different thing")]
pub fn switch(
    parameters: &Parameters,
    mechanics: &MolecularMechanics,
    start_nm: &[f64],
    temperature: Temperature,
    motion: &EnsembleSettings,
    settings: &SwitchingSettings,
    streams: Streams,
    progress: &mut Progress<'_>,
) -> Result<Switched> {
    let begun = Instant::now();
    let steps = settings.steps(motion)?;
    let ensemble =
        EnsembleSettings { n_frames: settings.n_processes, every: settings.start_every, ..motion.clone() };
    // Both ensembles and both directions of switching take about equal times.
    let (mut works, mut n_energy_evaluations, mut walkers) = ([Vec::new(), Vec::new()], 0, Vec::new());
    for (direction, work) in works.iter_mut().enumerate() {
        let from = direction as f64;
        let offset = 0.5 * from;
        let own = streams.derive(2 * direction as u64);
        let frames = simulate_ensemble(
            parameters,
            mechanics,
            start_nm,
            from,
            temperature,
            &ensemble,
            own,
            &mut |done| progress(offset + 0.25 * done),
        )?;
        let own = streams.derive(2 * direction as u64 + 1);
        let process =
            Process { parameters, mechanics, temperature, motion, steps: settings.n_steps, every: steps };
        *work = process.works(&frames.positions_nm, direction == 0, own, &mut |done| {
            progress(offset + 0.25 + 0.25 * done)
        })?;
        let per_process = (settings.n_steps as u64) * (steps + 2);
        n_energy_evaluations += frames.n_energy_evaluations + settings.n_processes as u64 * per_process;
        walkers = frames.walkers;
    }
    let [forward_kt, reverse_kt] = works;
    Ok(Switched {
        crooks: crooks(&forward_kt, &reverse_kt)?,
        std_error_kt: resampled_error(&forward_kt, &reverse_kt, &walkers, streams.derive(4))?,
        jarzynski: [jarzynski_forward(&forward_kt)?, jarzynski_reverse(&reverse_kt)?],
        forward_kt,
        reverse_kt,
        walkers,
        n_energy_evaluations,
        wall_seconds: begun.elapsed().as_secs_f64(),
    })
}

impl SwitchingSettings {
    /// Steps of dynamics between two steps of λ.
    fn steps(&self, motion: &EnsembleSettings) -> Result<u64> {
        if self.n_steps == 0 || self.n_processes < motion.n_walkers.max(2) {
            let message = format!(
                "{} steps of λ, {} processes: wanted at least one, and as many as the {} walkers",
                self.n_steps, self.n_processes, motion.n_walkers
            );
            return Err(Error::config("switching", message, ""));
        }
        let ratio = self.duration.as_ps() / motion.time_step.as_ps() / self.n_steps as f64;
        if ratio.round() < 1.0 || (ratio - ratio.round()).abs() > 1e-6 * ratio {
            let message = format!(
                "must be a whole number of steps of {} for each of the {} steps of λ",
                motion.time_step, self.n_steps
            );
            return Err(Error::config(format!("switching.duration = \"{}\"", self.duration), message, ""));
        }
        Ok(ratio.round() as u64)
    }
}

/// One direction of switching.
struct Process<'a> {
    parameters: &'a Parameters,
    mechanics: &'a MolecularMechanics,
    temperature: Temperature,
    motion: &'a EnsembleSettings,
    steps: usize,
    every: u64,
}

impl Process<'_> {
    /// Works in kT of processes that begin in these frames.
    fn works(
        &self,
        frames_nm: &[f64],
        forward: bool,
        streams: Streams,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<f64>> {
        let n = frames_nm.len() / (3 * self.parameters.n_atoms());
        let kt = self.temperature.kt_kj_per_mol();
        let every =
            Time::from_ps(self.motion.time_step.as_ps() * self.every as f64).unwrap_or(self.motion.time_step);
        let motion = EnsembleSettings { every, ..self.motion.clone() };
        let dynamics = dynamics(self.parameters, self.mechanics, &motion, streams)?;
        let at = |k: usize| if forward { k } else { self.steps - k } as f64 / self.steps as f64;
        let mut state = dynamics.start(frames_nm.to_vec(), vec![kt; n], vec![at(0); n])?;
        let mut works = vec![0.0; n];
        for k in 0..self.steps {
            let (before, after) = (at(k), at(k + 1));
            for (work, [linear, quadratic]) in works.iter_mut().zip(self.parts(&state.positions_nm)) {
                *work += (linear * (after - before) + quadratic * (after * after - before * before)) / kt;
            }
            state.lambda.fill(after);
            // The last steps at the end are not needed: no work follows.
            if k + 1 < self.steps {
                let segment = dynamics.advance(&mut state, self.every, &mut crate::sampling::silent)?;
                completed(segment, &self.parameters.topology)?;
            }
            progress((k + 1) as f64 / self.steps as f64)?;
        }
        Ok(works)
    }

    /// U₁ and U₂ of U = U₀ + U₁ λ + U₂ λ² in kJ/mol, from energies in single precision: 1e-4 kJ/mol.
    fn parts(&self, positions_nm: &[f64]) -> Vec<[f64; 2]> {
        use crate::potential::AlchemicalPath;
        let with_surface = *self.mechanics.path() == AlchemicalPath::ImplicitSolvent;
        let split = |terms: &TermEnergies| {
            let surface = if with_surface { terms.surface_area } else { 0.0 };
            [surface, terms.implicit_solvent - terms.surface_area]
        };
        let terms = self.mechanics.evaluate(Precision::Single, &[], positions_nm, None);
        terms.iter().map(split).collect()
    }
}

/// Standard deviation of Bennett's ratio over resamples of whole walkers, in both directions independently.
fn resampled_error(
    forward: &[f64],
    reverse: &[f64],
    walkers: &[Range<usize>],
    streams: Streams,
) -> Result<f64> {
    const RESAMPLES: u64 = 200;
    let values = (0..RESAMPLES)
        .into_par_iter()
        .map(|resample| {
            let mut rng = streams.stream(Purpose::Bootstrap, resample);
            let mut draw = |works: &[f64]| -> Vec<f64> {
                let chosen = (0..walkers.len()).map(|_| &walkers[rng.random_range(0..walkers.len())]);
                chosen.flat_map(|range| works[range.clone()].iter().copied()).collect()
            };
            let (forward, reverse) = (draw(forward), draw(reverse));
            bennett(&forward, &reverse).map(|estimate| estimate.value)
        })
        .collect::<Result<Vec<f64>>>()?;
    let mean = values.iter().sum::<f64>() / RESAMPLES as f64;
    Ok((values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (RESAMPLES - 1) as f64).sqrt())
}

impl Switched {
    /// Crooks, and Jarzynski in either direction.
    pub fn roads(&self, settings: &SwitchingSettings) -> Vec<Road> {
        let n = self.forward_kt.len();
        let road =
            |name: &str, method: String, value_kt: f64, std_error_kt: f64, verdicts: Vec<Verdict>| Road {
                name: name.into(),
                method,
                value_kt,
                std_error_kt,
                n_energy_evaluations: self.n_energy_evaluations,
                wall_seconds: self.wall_seconds,
                verdicts,
            };
        let crooks = &self.crooks;
        let mut verdicts = Vec::new();
        if crooks.overlap.is_nan() || crooks.overlap < LITTLE_OVERLAP {
            verdicts.push(Verdict::new(
                Severity::Untrustworthy,
                "low_overlap",
                format!(
                    "forward and reverse works share {:.4} of their samples (½ at most, {LITTLE_OVERLAP} at least): \
                     switch more slowly",
                    crooks.overlap
                ),
            ));
        }
        let method = format!(
            "Crooks and Bennett, {n} switches of {} each way, dissipation {:.1} and {:.1} kT, overlap {:.2}; error from \
             resampled walkers",
            settings.duration, crooks.dissipated_forward_kt, crooks.dissipated_reverse_kt, crooks.overlap
        );
        let std_error = self.std_error_kt.max(crooks.free_energy.std_error);
        let mut roads = vec![road("crooks", method, crooks.free_energy.value, std_error, verdicts)];
        let names = [("jarzynski_forward", "0 → 1"), ("jarzynski_reverse", "1 → 0")];
        for ((name, arrow), one) in names.into_iter().zip(&self.jarzynski) {
            let mut verdicts = Vec::new();
            if one.is_biased {
                verdicts.push(Verdict::new(
                    Severity::Untrustworthy,
                    "dissipation",
                    format!(
                        "{n} switches {arrow} dissipate {:.1} kT with a deviation of {:.1} kT: an exponential average wants \
                         about {:.0} of them",
                        one.dissipated_kt, one.deviation_kt, one.n_needed
                    ),
                ));
            }
            let method = format!("Jarzynski, {n} switches {arrow} of {}", settings.duration);
            roads.push(road(name, method, one.exponential.value, one.exponential.std_error, verdicts));
        }
        roads
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::force_field::molecular_system::{SystemRequest, load};
    use crate::potential::AlchemicalPath;
    use crate::sampling::silent;

    /// Works of either direction lead to the same number, which a single instantaneous step bounds.
    #[test]
    fn both_directions_lead_to_one_free_energy() {
        let request = SystemRequest { topology: "n_methylacetamide_obc2".into(), ..Default::default() };
        let system = load(&request).unwrap();
        let mechanics =
            MolecularMechanics::along(&system.parameters, AlchemicalPath::ImplicitSolvent).unwrap();
        let ps = |ps| Time::from_ps(ps).unwrap();
        let motion =
            EnsembleSettings { n_walkers: 16, equilibration: ps(4.0), ..EnsembleSettings::default() };
        let settings =
            SwitchingSettings { n_processes: 256, duration: ps(0.4), n_steps: 40, start_every: ps(0.5) };
        let temperature = Temperature::from_kelvin(300.0).unwrap();
        let x = system.positions_nm.unwrap();
        let switched = switch(
            &system.parameters,
            &mechanics,
            &x,
            temperature,
            &motion,
            &settings,
            Streams::new(2),
            &mut silent,
        )
        .unwrap();
        let [crooks, forward, reverse] = &switched.roads(&settings)[..] else { panic!("three roads") };
        assert!(crooks.is_trustworthy() && crooks.std_error_kt < 0.2, "{crooks:?}");
        for other in [forward, reverse] {
            let error = crooks.std_error_kt.hypot(other.std_error_kt);
            assert!((crooks.value_kt - other.value_kt).abs() < 4.0 * error, "{crooks:?} {other:?}");
        }
        // More is put in than comes out.
        assert!(switched.crooks.dissipated_forward_kt > 0.0 && switched.crooks.dissipated_reverse_kt > 0.0);
        let odd = SwitchingSettings { n_steps: 37, ..settings };
        assert!(odd.steps(&motion).is_err());
    }
}
