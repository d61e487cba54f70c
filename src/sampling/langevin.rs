//! Langevin dynamics of beads with masses at one λ, in physical units.
//!
//! m dv = F dt − γ m v dt + √(2 γ m kT) dW with F = −kT ∇u(x/ℓ)/ℓ, where ℓ is the length in nm of one unit of
//! the reduced coordinates. BAOAB splitting (Leimkuhler and Matthews 2013): kick, drift, friction and
//! noise, drift, kick. On a centred space the momentum of the centre of mass is zero at all times: noise
//! is drawn from N(0, kT/m) given zero total momentum, and forces have no net component. Positions are
//! kept on the centroid by translations, which change neither energy nor velocities.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{MIN_PER_TASK, Progress, Walkers};
use crate::error::{Error, Result, at_least, positive};
use crate::potential::{PotentialPath, Space};
use crate::random::{Purpose, Rng, Streams, fill_normal};

/// Settings of [`Langevin`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LangevinSettings {
    /// Time step in ps.
    pub time_step_ps: f64,
    /// Friction in 1/ps.
    pub friction_per_ps: f64,
    /// Steps between recorded frames.
    pub record_every: usize,
}

impl Default for LangevinSettings {
    fn default() -> Self {
        Self { time_step_ps: 0.002, friction_per_ps: 1.0, record_every: 100 }
    }
}

impl LangevinSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        positive(format!("{place}.time_step_ps"), self.time_step_ps)?;
        positive(format!("{place}.friction_per_ps"), self.friction_per_ps)?;
        at_least(format!("{place}.record_every"), self.record_every, 1)
    }
}

/// How reduced coordinates and energies become physical.
#[derive(Debug, Clone, PartialEq)]
pub struct LangevinUnits {
    /// kT in kJ/mol.
    pub kt_kj_per_mol: f64,
    /// ℓ: nm per unit of the reduced coordinates.
    pub length_scale_nm: f64,
    /// Mass of each particle in Da; on a Euclidean space one per coordinate.
    pub masses_da: Vec<f64>,
}

/// Everything that a run needs to continue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LangevinState {
    /// Blocks done.
    pub block: u64,
    /// Reduced positions, `[walker][coordinate]`.
    pub x: Vec<f64>,
    /// Velocities in nm/ps.
    pub velocities: Vec<f64>,
}

/// What one block recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct LangevinBlock {
    /// Reduced positions, `[frame][walker][coordinate]`; times ℓ they are nm.
    pub x: Vec<f64>,
    /// Mean kinetic temperature as a multiple of the bath's.
    pub kinetic_temperature_ratio: f64,
    /// How often a walker's energy became infinite or not a number, whereupon it was put back to its
    /// last recorded position with new velocities.
    pub n_diverged: u64,
    /// Conformations evaluated.
    pub n_energy_evaluations: u64,
}

/// Langevin dynamics of exp(−u_λ) at one λ.
pub struct Langevin<'a> {
    path: &'a dyn PotentialPath,
    lambda: f64,
    units: LangevinUnits,
    settings: LangevinSettings,
    streams: Streams,
    /// Mass of each coordinate.
    masses: Vec<f64>,
}

impl<'a> Langevin<'a> {
    /// Checks that masses and units fit the path.
    pub fn new(
        path: &'a dyn PotentialPath,
        lambda: f64,
        units: LangevinUnits,
        settings: LangevinSettings,
        streams: Streams,
    ) -> Result<Self> {
        settings.validate("langevin")?;
        let (n, per_mass) = match path.space() {
            Space::Centered { n_particles } => (n_particles, 3),
            Space::Euclidean { dimension } => (dimension, 1),
        };
        if units.masses_da.len() != n || !units.masses_da.iter().all(|m| *m > 0.0 && m.is_finite()) {
            let found = format!("{:?}", units.masses_da);
            return Err(Error::invalid(
                "masses of Langevin dynamics",
                format!("{n} positive numbers"),
                found,
            ));
        }
        if !(units.kt_kj_per_mol > 0.0 && units.length_scale_nm > 0.0) {
            let found = format!("{} and {}", units.kt_kj_per_mol, units.length_scale_nm);
            return Err(Error::invalid("units of Langevin dynamics", "positive kT and length scale", found));
        }
        let masses = units.masses_da.iter().flat_map(|m| std::iter::repeat_n(*m, per_mass)).collect();
        Ok(Self { path, lambda, units, settings, streams, masses })
    }

    /// Draws velocities for these reduced positions.
    pub fn start(&self, x: Vec<f64>) -> LangevinState {
        let d = self.path.space().dimension();
        let mut velocities = vec![0.0; x.len()];
        let streams = self.streams.derive(0);
        for (idx, v) in velocities.chunks_exact_mut(d).enumerate() {
            self.draw_velocities(&mut streams.stream(Purpose::Langevin, idx as u64), v);
        }
        LangevinState { block: 0, x, velocities }
    }

    /// Does `n_steps` steps and records every `record_every`-th.
    pub fn block(
        &self,
        state: &mut LangevinState,
        n_steps: usize,
        progress: &mut Progress<'_>,
    ) -> Result<LangevinBlock> {
        let (space, d) = (self.path.space(), self.path.space().dimension());
        let n = state.x.len() / d;
        let streams = self.streams.derive(1 + state.block);
        let lambda = vec![self.lambda; n];
        let mut walkers = Walkers::new(self.path, state.x.clone(), lambda, &streams, Purpose::Langevin)?;
        let mut velocities = state.velocities.clone();
        let (dt, kt, length) =
            (self.settings.time_step_ps, self.units.kt_kj_per_mol, self.units.length_scale_nm);
        // Velocity after half a kick changes by this times −∇u/m.
        let half_kick = 0.5 * dt * kt / length;
        let half_drift = 0.5 * dt / length;
        let keep = (-self.settings.friction_per_ps * dt).exp();
        let refresh = (1.0 - keep * keep).sqrt();
        let mut safe = walkers.x.clone();
        let mut noise = vec![0.0; walkers.x.len()];
        let mut frames = Vec::with_capacity(n_steps / self.settings.record_every * walkers.x.len());
        let (mut kinetic, mut n_kinetic, mut n_diverged) = (0.0, 0_u64, 0);
        for step in 1..=n_steps {
            (walkers.x.par_chunks_exact_mut(d))
                .zip(velocities.par_chunks_exact_mut(d))
                .zip(walkers.gradient.par_chunks_exact(d))
                .zip(noise.par_chunks_exact_mut(d))
                .zip(&mut walkers.rngs)
                .with_min_len(MIN_PER_TASK)
                .for_each(|((((x, v), g), noise), rng)| {
                    self.draw_velocities(rng, noise);
                    for i in 0..d {
                        v[i] -= half_kick / self.masses[i] * g[i];
                        x[i] += half_drift * v[i];
                        v[i] = keep * v[i] + refresh * noise[i];
                        x[i] += half_drift * v[i];
                    }
                    space.project(x);
                });
            walkers.evaluate(self.path)?;
            let diverged: Vec<usize> = (0..n).filter(|&idx| !walkers.u[idx].is_finite()).collect();
            (velocities.par_chunks_exact_mut(d))
                .zip(walkers.gradient.par_chunks_exact(d))
                .with_min_len(4 * MIN_PER_TASK)
                .for_each(|(v, g)| {
                    for i in 0..d {
                        v[i] -= half_kick / self.masses[i] * g[i];
                    }
                });
            if !diverged.is_empty() {
                n_diverged += diverged.len() as u64;
                for idx in diverged {
                    let range = idx * d..(idx + 1) * d;
                    walkers.x[range.clone()].copy_from_slice(&safe[range.clone()]);
                    self.draw_velocities(&mut walkers.rngs[idx], &mut velocities[range]);
                }
                walkers.evaluate(self.path)?;
            }
            if step % self.settings.record_every == 0 {
                safe.copy_from_slice(&walkers.x);
                frames.extend_from_slice(&walkers.x);
                kinetic += velocities.chunks_exact(d).map(|v| self.kinetic_ratio(v)).sum::<f64>();
                n_kinetic += n as u64;
                progress(step as f64 / n_steps as f64)?;
            }
        }
        progress(1.0)?;
        state.block += 1;
        let n_energy_evaluations = walkers.n_energy_evaluations;
        state.x = walkers.x;
        state.velocities = velocities;
        Ok(LangevinBlock {
            x: frames,
            kinetic_temperature_ratio: kinetic / n_kinetic as f64,
            n_diverged,
            n_energy_evaluations,
        })
    }

    /// Draws from the Maxwell distribution; on a centred space given zero total momentum.
    fn draw_velocities(&self, rng: &mut Rng, v: &mut [f64]) {
        fill_normal(rng, v);
        for (v, mass) in v.iter_mut().zip(&self.masses) {
            *v *= (self.units.kt_kj_per_mol / mass).sqrt();
        }
        if matches!(self.path.space(), Space::Centered { .. }) {
            // v − v_com is independent of v_com, hence distributed as v given v_com = 0.
            let total: f64 = self.units.masses_da.iter().sum();
            for axis in 0..3 {
                let momentum: f64 =
                    v.iter().zip(&self.masses).skip(axis).step_by(3).map(|(v, m)| v * m).sum();
                v.iter_mut().skip(axis).step_by(3).for_each(|v| *v -= momentum / total);
            }
        }
    }

    /// Σ m v² / (dof kT).
    fn kinetic_ratio(&self, v: &[f64]) -> f64 {
        let twice: f64 = v.iter().zip(&self.masses).map(|(v, m)| m * v * v).sum();
        twice / (self.path.space().degrees_of_freedom() as f64 * self.units.kt_kj_per_mol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potential::analytic::HarmonicPath;
    use crate::sampling::silent;
    use crate::sampling::testing::{mean_and_error, with_threads};

    /// Beads of very different masses in a Gaussian: a noise that ignores the centre of mass, or a
    /// temperature that counts 3n degrees of freedom, would be off by 20 % and more.
    #[test]
    fn beads_of_different_mass_have_the_right_temperature_and_variance() {
        let space = Space::Centered { n_particles: 3 };
        let path = HarmonicPath { space, first_stiffness: 2.0, last_stiffness: 2.0 };
        let units =
            LangevinUnits { kt_kj_per_mol: 2.494, length_scale_nm: 0.15, masses_da: vec![1.0, 12.0, 40.0] };
        let settings = LangevinSettings { time_step_ps: 0.004, friction_per_ps: 5.0, record_every: 50 };
        let langevin = Langevin::new(&path, 0.0, units, settings, Streams::new(3)).unwrap();
        let n = 400;
        let run = || {
            let mut state = langevin.start(vec![0.0; 9 * n]);
            langevin.block(&mut state, 1500, &mut silent).unwrap();
            let block = langevin.block(&mut state, 1500, &mut silent).unwrap();
            (state, block)
        };
        let (state, block) = with_threads(1, run);
        assert!((state.clone(), block.clone()) == with_threads(2, run));
        assert_eq!(block.n_diverged, 0);

        let n_frames = block.x.len() / (9 * n);
        let per_walker = |observable: &dyn Fn(&[f64]) -> f64| {
            mean_and_error((0..n).map(|walker| {
                let frame = |frame: usize| observable(&block.x[(frame * n + walker) * 9..][..9]);
                (0..n_frames).map(frame).sum::<f64>() / n_frames as f64
            }))
        };
        // |x|² has mean dof/k = 6/2; each particle carries a third of it, whatever its mass.
        let (square, std_error) = per_walker(&|x| x.iter().map(|x| x * x).sum());
        assert!((square - 3.0).abs() < 4.0 * std_error, "{square} ± {std_error}");
        let (light, std_error) = per_walker(&|x| x[..3].iter().map(|x| x * x).sum());
        assert!((light - 1.0).abs() < 4.0 * std_error, "{light} ± {std_error}");
        assert!((block.kinetic_temperature_ratio - 1.0).abs() < 0.02, "{}", block.kinetic_temperature_ratio);
        for v in state.velocities.chunks_exact(9) {
            let momentum: f64 = v[0] + 12.0 * v[3] + 40.0 * v[6];
            assert!(momentum.abs() < 1e-9, "{momentum}");
        }
    }
}
