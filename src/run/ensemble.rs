//! Frames of a molecule at equilibrium, simulated here: independent walkers of Langevin dynamics, with rotations
//! about bonds that dynamics alone would turn too rarely.
//!
//! Nothing is held fixed (but what the topology itself holds), so the law is exp(−U/kT) of all coordinates with
//! the centre of mass at the origin, as learned energies and exact reweighting need it. BAOAB at 1 fs leaves an
//! error of the order of (ω dt)⁴ in vibrations: 0.1 kJ/mol in the mean energy of all bonds of alanine dipeptide.
//!
//! A torsion about a double or amide bond is part of what the molecule is, and is not turned.

use std::ops::Range;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::force_field::Parameters;
use crate::potential::BlockPotential;
use crate::random::Streams;
use crate::run::simulate::molecule::moves_about;
use crate::sampling::dynamics::{
    Dynamics, DynamicsOutcome, DynamicsSettings, DynamicsState, MinimizeSettings, PivotMove, Segment,
};
use crate::sampling::{Progress, rotatable_bonds};
use crate::system::Topology;
use crate::units::{Rate, Temperature, Time};

/// How frames are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnsembleSettings {
    /// Frames of all walkers together.
    pub n_frames: usize,
    /// Time of a walker between its frames.
    pub every: Time,
    /// Time of each walker before its first frame.
    pub equilibration: Time,
    /// Time step; without constraints 1 fs.
    pub time_step: Time,
    /// Friction of Langevin dynamics.
    pub friction: Rate,
    /// Independent walkers; sixteen of them share the registers of a core.
    pub n_walkers: usize,
    /// Whether bonds are turned by Monte Carlo as well.
    pub pivots: bool,
    /// Time of a walker between such attempts.
    pub pivot_every: Time,
}

impl Default for EnsembleSettings {
    fn default() -> Self {
        let time = |ps| Time::from_ps(ps).expect("a positive constant");
        Self {
            n_frames: 50_000,
            every: time(0.5),
            equilibration: time(50.0),
            time_step: time(0.001),
            friction: Rate::from_per_ps(2.0).expect("a positive constant"),
            n_walkers: 64,
            pivots: true,
            pivot_every: time(0.02),
        }
    }
}

/// Times in steps.
pub(in crate::run) struct Steps {
    pub(in crate::run) every: u64,
    pub(in crate::run) equilibration: u64,
    pub(in crate::run) pivot_every: u64,
}

impl EnsembleSettings {
    /// Checks the settings; `place` is their key path.
    pub fn validate(&self, place: &str) -> Result<()> {
        self.steps(place).map(|_| ())
    }

    pub(in crate::run) fn steps(&self, place: &str) -> Result<Steps> {
        let refuse = |key: &str, message: String| Err(Error::config(format!("{place}.{key}"), message, ""));
        if self.n_walkers == 0 || self.n_frames < self.n_walkers {
            let message = format!("must be at least 1 and at most the {} frames", self.n_frames);
            return refuse(&format!("n_walkers = {}", self.n_walkers), message);
        }
        let step = self.time_step.as_ps();
        if !(step > 0.0 && step <= 0.01) {
            return refuse(
                &format!("time_step = \"{}\"", self.time_step),
                "must be more than 0 and at most 10 fs".into(),
            );
        }
        let friction = self.friction.as_per_ps();
        if friction <= 0.0 {
            let message = "must be more than 0: without friction the energy, not the temperature, is kept";
            return refuse("friction", message.into());
        }
        let whole = |key: &str, time: Time| -> Result<u64> {
            let n = (time.as_ps() / step).round();
            if (1.0..1e15).contains(&n) && (time.as_ps() / step - n).abs() <= 1e-6 * n {
                return Ok(n as u64);
            }
            let message = format!("must be a whole number of time steps of {}", self.time_step);
            Err(Error::config(format!("{place}.{key} = \"{time}\""), message, ""))
        };
        let every = whole("every", self.every)?;
        Ok(Steps {
            every,
            // Frames are recorded at multiples of the interval, so equilibration ends at one.
            equilibration: ((self.equilibration.as_ps() / step).round() as u64).next_multiple_of(every),
            pivot_every: whole("pivot_every", self.pivot_every)?,
        })
    }

    /// Frames of each walker, as ranges of all frames: correlation ends where a range does.
    pub fn walkers(&self) -> Vec<Range<usize>> {
        let at = |walker: usize| walker * self.n_frames / self.n_walkers.max(1);
        (0..self.n_walkers).map(|walker| at(walker)..at(walker + 1)).collect()
    }
}

/// What was simulated.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedFrames {
    /// nm, `[frame][atom][xyz]`, centre of mass at the origin; all frames of the first walker in the order of time,
    /// then those of the second, ….
    pub positions_nm: Vec<f64>,
    /// Frames of each walker.
    pub walkers: Vec<Range<usize>>,
    /// Energies (with forces) that it took, minimisation not counted.
    pub n_energy_evaluations: u64,
    /// Wall clock.
    pub wall_seconds: f64,
}

/// Frames of exp(−U(x; λ)/kT).
///
/// `potential` belongs to `parameters`: in vacuum, in any implicit solvent, along any alchemical path. Two ensembles
/// that shall be independent need streams of their own ([`Streams::derive`]).
#[expect(clippy::too_many_arguments, reason = "each of them is a different thing")]
pub fn simulate_ensemble(
    parameters: &Parameters,
    potential: &dyn BlockPotential,
    start_nm: &[f64],
    lambda: f64,
    temperature: Temperature,
    settings: &EnsembleSettings,
    streams: Streams,
    progress: &mut Progress<'_>,
) -> Result<SimulatedFrames> {
    let begun = Instant::now();
    let steps = settings.steps("ensemble")?;
    let n_atoms = parameters.n_atoms();
    let n = 3 * n_atoms;
    let walkers = settings.walkers();
    let mut positions_nm = vec![0.0; settings.n_frames * n];
    if n_atoms == 1 {
        // An atom whose centre of mass rests does not move.
        return Ok(SimulatedFrames { positions_nm, walkers, n_energy_evaluations: 0, wall_seconds: 0.0 });
    }
    let dynamics = dynamics(parameters, potential, settings, streams)?;
    let mut state = start(&dynamics, start_nm, &vec![lambda; settings.n_walkers], temperature)?;
    let longest = walkers.iter().map(Range::len).max().unwrap_or(0);
    let n_steps = steps.equilibration + longest as u64 * steps.every;
    let mut n_energy_evaluations = 0;
    let mut advance = |state: &mut DynamicsState, n: u64| -> Result<Segment> {
        let segment = dynamics.advance(state, n, &mut crate::sampling::silent)?;
        n_energy_evaluations += segment.n_force_evaluations;
        progress(state.step as f64 / n_steps as f64)?;
        completed(segment, &parameters.topology)
    };
    // Parts short enough for memory and for who wants to stop.
    let part = 20 * steps.every;
    while state.step < steps.equilibration {
        let n = part.min(steps.equilibration - state.step);
        advance(&mut state, n)?;
    }
    let mut done = 0;
    while done < longest {
        let count = 20.min(longest - done);
        let segment = advance(&mut state, count as u64 * steps.every)?;
        for (frame, all) in segment.positions_nm.chunks_exact(settings.n_walkers * n).enumerate() {
            for (walker, x) in walkers.iter().zip(all.chunks_exact(n)) {
                if done + frame < walker.len() {
                    positions_nm[(walker.start + done + frame) * n..][..n].copy_from_slice(x);
                }
            }
        }
        done += count;
    }
    let wall_seconds = begun.elapsed().as_secs_f64();
    Ok(SimulatedFrames { positions_nm, walkers, n_energy_evaluations, wall_seconds })
}

/// Dynamics as the settings want it, with the rotations that this molecule allows.
pub(in crate::run) fn dynamics<'a>(
    parameters: &Parameters,
    potential: &'a dyn BlockPotential,
    settings: &EnsembleSettings,
    streams: Streams,
) -> Result<Dynamics<'a>> {
    let steps = settings.steps("ensemble")?;
    let pivots = if settings.pivots { conformational_pivots(parameters)? } else { Vec::new() };
    let settings = DynamicsSettings {
        time_step_ps: settings.time_step.as_ps(),
        friction_per_ps: settings.friction.as_per_ps(),
        record_every: steps.every,
        pivot_every: if pivots.is_empty() { 0 } else { steps.pivot_every },
    };
    let masses = parameters.topology.masses_da();
    Dynamics::new(potential, &masses, &parameters.constraints, pivots, settings, streams)
}

/// Walkers with these λ at one structure, minimised once for each λ.
pub(in crate::run) fn start(
    dynamics: &Dynamics,
    start_nm: &[f64],
    lambda: &[f64],
    temperature: Temperature,
) -> Result<DynamicsState> {
    let mut distinct: Vec<f64> = lambda.to_vec();
    distinct.sort_by(f64::total_cmp);
    distinct.dedup();
    let mut positions = start_nm.repeat(distinct.len());
    let found = dynamics.minimize(
        &mut positions,
        &distinct,
        &MinimizeSettings::default(),
        &mut crate::sampling::silent,
    )?;
    if let Some(bad) = found.iter().find(|one| !one.energy_after.is_finite()) {
        let found = format!("an energy of {} kJ/mol after minimisation", bad.energy_after);
        return Err(Error::invalid("start structure", "a structure without atoms upon each other", found));
    }
    let place = |lambda: &f64| distinct.iter().position(|one| one == lambda).unwrap_or(0);
    let n = start_nm.len();
    let all = lambda.iter().flat_map(|lambda| positions[place(lambda) * n..][..n].to_vec()).collect();
    dynamics.start(all, vec![temperature.kt_kj_per_mol(); lambda.len()], lambda.to_vec())
}

/// A segment that came to its end, or an error that says which walker did not.
pub(in crate::run) fn completed(segment: Segment, topology: &Topology) -> Result<Segment> {
    let DynamicsOutcome::BlownUp(blow_up) = &segment.outcome else { return Ok(segment) };
    let atoms: Vec<String> =
        blow_up.atoms.iter().take(4).map(|&atom| topology.atoms[atom].describe()).collect();
    Err(Error::BlownUp {
        step: blow_up.step,
        walker: blow_up.walker,
        reason: format!("{:?}", blow_up.reason),
        atoms: atoms.join(", "),
        structure: "(not written)".into(),
    })
}

/// Barrier in kJ/mol from which a twofold torsion about a bond makes isomers, not conformations: amides have 84
/// in AMBER's force fields and double bonds more than 200, esters 45 and biphenyl 34.
const ISOMER_BARRIER: f64 = 60.0;

/// Rotations about all bonds that are in no ring, move more than hydrogens and are neither double nor amide bonds.
pub fn conformational_pivots(parameters: &Parameters) -> Result<Vec<PivotMove>> {
    let topology = &parameters.topology;
    let bonds: Vec<(usize, usize)> = topology.bonds.iter().map(|&[i, j]| (i, j)).collect();
    let is_heavy = |atom: &usize| !matches!(topology.atoms[*atom].element.as_str(), "H" | "D");
    let mut chosen = rotatable_bonds(topology.n_atoms(), &bonds)?;
    chosen.retain(|bond| {
        let axis = [bond.from.min(bond.to), bond.from.max(bond.to)];
        let twofold = parameters.torsions.iter().filter(|torsion| {
            let [_, j, k, _] = torsion.atoms;
            torsion.periodicity == 2 && [j.min(k), j.max(k)] == axis
        });
        let barrier = 2.0 * twofold.map(|torsion| torsion.barrier).sum::<f64>().abs();
        bond.moved.iter().any(is_heavy) && barrier < ISOMER_BARRIER
    });
    Ok(moves_about(topology, &chosen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::force_field::molecular_system::{MolecularSystem, SystemRequest, load};
    use crate::potential::{AlchemicalPath, MolecularMechanics, Precision};
    use crate::sampling::silent;

    fn alanine_dipeptide() -> (MolecularSystem, MolecularMechanics) {
        let request = SystemRequest { topology: "alanine_dipeptide_obc1".into(), ..Default::default() };
        let system = load(&request).unwrap();
        let mechanics = MolecularMechanics::along(&system.parameters, AlchemicalPath::GbCharges).unwrap();
        (system, mechanics)
    }

    fn frames(settings: &EnsembleSettings, lambda: f64, seed: u64) -> SimulatedFrames {
        let (system, mechanics) = alanine_dipeptide();
        let start = system.positions_nm.unwrap();
        let temperature = Temperature::from_kelvin(300.0).unwrap();
        let streams = Streams::new(seed);
        simulate_ensemble(
            &system.parameters,
            &mechanics,
            &start,
            lambda,
            temperature,
            settings,
            streams,
            &mut silent,
        )
        .unwrap()
    }

    #[test]
    fn amides_and_methyl_groups_are_not_turned() {
        let moves = conformational_pivots(&alanine_dipeptide().0.parameters).unwrap();
        let axes: Vec<Vec<[usize; 2]>> = moves
            .iter()
            .map(|one| one.bonds.iter().map(|b| [b.from.min(b.to), b.from.max(b.to)]).collect())
            .collect();
        assert_eq!(axes, [vec![[6, 8]], vec![[8, 14]], vec![[6, 8], [8, 14]]]);
    }

    #[test]
    fn frames_stand_walker_by_walker_and_depend_on_the_seed_alone() {
        let ps = |ps| Time::from_ps(ps).unwrap();
        let settings = EnsembleSettings {
            n_frames: 70,
            every: ps(0.01),
            equilibration: ps(0.025),
            n_walkers: 17,
            ..Default::default()
        };
        let all = frames(&settings, 1.0, 5);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        assert_eq!(pool.install(|| frames(&settings, 1.0, 5)).positions_nm, all.positions_nm);
        assert_ne!(frames(&settings, 1.0, 6).positions_nm, all.positions_nm);
        assert_eq!(all.walkers.iter().map(Range::len).sum::<usize>(), 70);
        // Neighbours in time differ less than walkers do, and nothing is left empty.
        let n = 66;
        let distance = |a: usize, b: usize| -> f64 {
            let [a, b] = [a, b].map(|frame| &all.positions_nm[frame * n..][..n]);
            a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
        };
        let pairs = all.walkers.windows(2);
        let (mut within, mut across) = (0.0, 0.0);
        for pair in pairs {
            within += distance(pair[0].end - 2, pair[0].end - 1);
            across += distance(pair[0].end - 1, pair[1].start);
        }
        assert!(across > 1.3 * within, "{within} {across}");
        for frame in all.positions_nm.chunks_exact(n) {
            assert!(frame.iter().any(|x| *x != 0.0));
        }
        // Walkers of a longer run pass through the same frames.
        let longer = frames(&EnsembleSettings { n_frames: 17 * 8, ..settings.clone() }, 1.0, 5);
        let walker = &all.walkers[3];
        let same = &longer.positions_nm[longer.walkers[3].start * n..][..walker.len() * n];
        assert_eq!(same, &all.positions_nm[walker.start * n..walker.end * n]);
    }

    #[test]
    fn bonds_and_polar_energies_have_the_means_of_a_long_run() {
        let equilibration = Time::from_ps(10.0).unwrap();
        let settings = EnsembleSettings { n_frames: 2000, equilibration, ..Default::default() };
        let (_, mechanics) = alanine_dipeptide();
        for (lambda, reference) in [(1.0, -98.28), (0.0, -27.28)] {
            let all = frames(&settings, lambda, 3);
            let u: Vec<f64> = mechanics
                .evaluate(Precision::Double, &vec![lambda; 2000], &all.positions_nm, None)
                .iter()
                .map(|terms| terms.total())
                .collect();
            let mean = u.iter().sum::<f64>() / 2000.0;
            // √C ≈ 12 kJ/mol of 60 degrees of freedom, inefficiency 3.
            assert!((mean - reference).abs() < 4.0 * 12.0 * (3.0_f64 / 2000.0).sqrt(), "{lambda}: {mean}");
        }
    }

    #[test]
    fn settings_that_cannot_be_followed_are_refused() {
        let check = |settings: EnsembleSettings| settings.validate("ensemble").unwrap_err().to_string();
        let odd = Time::from_ps(0.0015).unwrap();
        assert!(check(EnsembleSettings { every: odd, ..Default::default() }).contains("ensemble.every"));
        assert!(check(EnsembleSettings { n_walkers: 0, ..Default::default() }).contains("n_walkers = 0"));
        assert!(check(EnsembleSettings { n_frames: 3, ..Default::default() }).contains("3 frames"));
    }
}
