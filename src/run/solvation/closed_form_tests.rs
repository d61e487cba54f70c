//! Learned roads between harmonic molecules, whose free energies are known.

use std::ops::Range;

use super::absolute::{AbsoluteSettings, absolute, absolute_end};
use super::annealed::{AnnealedSettings, annealed};
use super::both_ways::{BothWays, BothWaysSettings, both_ways, through_noise};
use super::ends::{EndState, Ends, Molecule, N_GROUPS};
use super::escorted::{EscortedSettings, escorted};
use super::learned::{IntegrationSettings, learned_integration};
use super::learning::{LearnedPath, LearningSettings, learn, untrained};
use super::multistate::MultistateSettings;
use crate::error::{Error, Result};
use crate::model::data::Pairing;
use crate::potential::analytic::{ExactPotential as _, Harmonic};
use crate::potential::{Noise, PotentialPath, Space};
use crate::random::{Purpose, Streams};
use crate::run::control::Control;
use crate::sampling::{LocalMove, SequentialMonteCarloSettings, silent};
use crate::system::Handedness;

const N_ATOMS: usize = 4;
const SPACE: Space = Space::Centered { n_particles: N_ATOMS };
/// kT/nm².
const STIFFNESS: [f64; 2] = [150.0, 900.0];
const D: f64 = 9.0;

/// (d/2) ln(k₁/k₀).
fn exact_difference() -> f64 {
    0.5 * D * (STIFFNESS[1] / STIFFNESS[0]).ln()
}

fn molecule() -> Molecule {
    Molecule {
        atom_names: ["C", "H", "H", "O"].map(String::from).to_vec(),
        bonds: vec![[0, 1], [0, 2], [0, 3]],
        temperature_kelvin: 300.0,
    }
}

fn well(end: usize) -> Harmonic {
    Harmonic::new(SPACE, STIFFNESS[end], vec![0.0; 12]).unwrap()
}

fn volume(x: &[f64]) -> f64 {
    let b = |i: usize| nalgebra::Vector3::new(x[3 * i] - x[0], x[3 * i + 1] - x[1], x[3 * i + 2] - x[2]);
    b(1).cross(&b(2)).dot(&b(3))
}

/// Independent frames of an end in nm; of one handedness where that is wanted.
fn frames(end: usize, n: usize, is_chiral: bool) -> Vec<f64> {
    let mut rng = Streams::new(70 + end as u64).stream(Purpose::Start, 0);
    let mut x = vec![0.0; 12 * n];
    for x in x.chunks_exact_mut(12) {
        loop {
            SPACE.fill_normal(&mut rng, x);
            x.iter_mut().for_each(|x| *x /= STIFFNESS[end].sqrt());
            if !is_chiral || volume(x) > 0.0 {
                break;
            }
        }
    }
    x
}

fn walkers(n: usize) -> Vec<Range<usize>> {
    (0..8).map(|k| k * n / 8..(k + 1) * n / 8).collect()
}

/// Calls `test` with both ends (or one).
fn with_ends<T>(which: &[usize], n: usize, is_chiral: bool, test: impl FnOnce(&Ends) -> T) -> T {
    let wells = [well(0), well(1)];
    let frames = [frames(0, n, is_chiral), frames(1, n, is_chiral)];
    let walkers = walkers(n);
    let states: Vec<EndState> = which
        .iter()
        .map(|&end| EndState {
            name: ["soft", "stiff"][end],
            potential: &wells[end],
            frames_nm: &frames[end],
            walkers: &walkers,
        })
        .collect();
    let mut ends = Ends::prepare(&molecule(), &states, 0.5).unwrap();
    if is_chiral {
        // Four beads have no centre of their own; the sign of their volume is taken for one.
        let atoms = [0, 1, 2, 3];
        ends.region.centers = vec![Handedness { atoms, is_positive: true }];
    } else {
        ends.region = Default::default();
    }
    test(&ends)
}

/// u = factor |x|²/(2 c²) + offset, c² the variance of x_t between ends of the given variances: with factor 1 the exact
/// law, for ends that are paired at random.
struct Gaussian {
    noise: Noise,
    variances: [f64; 2],
    factor: f64,
    /// Whether −u is a normalised log-density; otherwise it has an offset of 4 sin(3t) and no normaliser.
    is_normalised: bool,
}

impl Gaussian {
    fn of(ends: &Ends, noise: Noise) -> Self {
        let variance = |k: usize| 1.0 / (STIFFNESS[k] * ends.length_scale_nm.powi(2));
        Self { noise, variances: [variance(0), variance(1)], factor: 1.0, is_normalised: false }
    }

    fn learned(&self) -> LearnedPath<'_> {
        LearnedPath { path: self, noise: self.noise }
    }

    fn variance(&self, t: f64) -> f64 {
        let (a, b, g) = (self.noise.scale(t), self.noise.partner_scale(t), self.noise.deviation(t));
        (a * a * self.variances[0] + b * b * self.variances[1] + g * g) / self.factor
    }

    fn energy(&self, t: f64, x: &[f64]) -> f64 {
        let variance = self.variance(t);
        let offset = if self.is_normalised {
            0.5 * D * (std::f64::consts::TAU * variance).ln()
        } else {
            4.0 * (3.0 * t).sin()
        };
        0.5 * x.iter().map(|x| x * x).sum::<f64>() / variance + offset
    }

    /// −log ∫ exp(−u).
    fn free_energy(&self, t: f64) -> f64 {
        if self.is_normalised {
            return 0.0;
        }
        4.0 * (3.0 * t).sin() - 0.5 * D * (std::f64::consts::TAU * self.variance(t)).ln()
    }
}

impl PotentialPath for Gaussian {
    fn space(&self) -> Space {
        SPACE
    }

    fn range(&self) -> (f64, f64) {
        self.noise.time_range()
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        for ((u, x), &t) in u.iter_mut().zip(x.chunks_exact(12)).zip(lambda) {
            *u = self.energy(t, x);
        }
        Ok(())
    }

    fn energies_and_gradients(
        &self,
        lambda: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        self.energies(lambda, x, u)?;
        for ((gradient, x), &t) in gradient.chunks_exact_mut(12).zip(x.chunks_exact(12)).zip(lambda) {
            gradient.iter_mut().zip(x).for_each(|(gradient, x)| *gradient = x / self.variance(t));
        }
        Ok(())
    }

    fn lambda_derivatives(&self, lambda: &[f64], x: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        for ((rate, x), &t) in du_dlambda.iter_mut().zip(x.chunks_exact(12)).zip(lambda) {
            let h = 1e-3 * t.min(1.0 - t);
            *rate = (self.energy(t + h, x) - self.energy(t - h, x)) / (2.0 * h);
        }
        Ok(())
    }
}

const INTERPOLANT: Noise = Noise::Interpolant { strength: 0.8, t_min: 1e-3 };

fn near(value: f64, std_error: f64, exact: f64, most: f64) {
    assert!((value - exact).abs() < 4.0 * std_error, "{value} ± {std_error}, exact {exact}");
    assert!(std_error < most, "± {std_error}");
}

fn integration() -> IntegrationSettings {
    IntegrationSettings {
        n_nodes: 16,
        n_samples: 2048,
        n_frames: 2000,
        n_walkers: 400,
        n_burn_in: 30,
        n_records: 4,
        record_every: 3,
        local_move: LocalMove::Hmc { n_leapfrog: 4, target_acceptance: 0.75 },
    }
}

#[test]
fn learned_integration_and_its_brackets_are_exact_on_the_exact_law() {
    with_ends(&[0, 1], 4000, false, |ends| {
        let mut path = Gaussian::of(ends, INTERPOLANT);
        let settings = integration();
        let run = |path: &Gaussian| {
            let streams = Streams::new(3);
            let pairing = Pairing::Independent;
            learned_integration(ends, pairing, path.learned(), &settings, &streams, &mut silent).unwrap()
        };
        let found = run(&path);
        let road = &found.integration.road;
        near(road.value_kt, road.std_error_kt, exact_difference(), 0.2);
        assert!(road.is_trustworthy() && found.integration.n_model_evaluations > 16 * 2048);
        // The parts one by one: F of the wells in nm is that of reduced length.
        let ends_of_time = INTERPOLANT.time_range();
        let of_path = path.free_energy(ends_of_time.1) - path.free_energy(ends_of_time.0);
        assert!(of_path.abs() > 1.0);
        near(found.integral_kt.0, found.integral_kt.1, of_path, 0.2);
        for (end, t) in [(0, ends_of_time.0), (1, ends_of_time.1)] {
            let exact = path.free_energy(t) + well(end).log_normalizer();
            near(found.brackets[end].value_kt, found.brackets[end].std_error_kt, exact, 0.1);
            assert!(found.brackets[end].overlap > 0.4);
        }
        assert!(found.nodes.windows(2).all(|pair| pair[1].log_snr > pair[0].log_snr));

        // One constant for all times: the integral vanishes, and the direct estimate is right.
        path.is_normalised = true;
        let found = run(&path);
        near(found.integral_kt.0, found.integral_kt.1, 0.0, 0.2);
        let direct = &found.direct.road;
        // At t_min the law is wider than the data by g² and narrower by a²: up to that.
        assert!(
            (direct.value_kt - exact_difference()).abs() < 4.0 * direct.std_error_kt + 0.02,
            "{direct:?}"
        );
        assert!(direct.std_error_kt < 0.02);
    });
}

#[test]
fn annealed_roads_are_exact_on_a_path_that_is_wrong() {
    for is_chiral in [false, true] {
        with_ends(&[0, 1], 3000, is_chiral, |ends| {
            let path = Gaussian { factor: 0.6, ..Gaussian::of(ends, INTERPOLANT) };
            let settings = AnnealedSettings {
                n_walkers: 600,
                n_moves: 1,
                n_pilot: 64,
                conditional_ess: 0.8,
                n_particles: 960,
                n_parts: 2,
                multistate: MultistateSettings { every_level: 2, n_ladders: 24, ..Default::default() },
                ..Default::default()
            };
            let streams = Streams::new(5);
            let found =
                annealed(ends, Pairing::Independent, path.learned(), &settings, &streams, &mut silent)
                    .unwrap();
            let (mbar, levels) = found.mbar.unwrap();
            for road in [&found.bar, &found.smc.unwrap(), &mbar] {
                near(road.road.value_kt, road.road.std_error_kt, exact_difference(), 0.25);
                assert!(road.road.is_trustworthy(), "{road:?}");
                assert!(road.n_model_evaluations > 0 && road.road.n_energy_evaluations > 0);
            }
            for (value, std_error) in found.smc_directions.unwrap() {
                near(value, std_error, exact_difference(), 1.0);
            }
            assert!(found.crooks.dissipated_forward_kt > 0.0 && found.crooks.dissipated_reverse_kt > 0.0);
            assert_eq!((levels.lambda[0], levels.lambda[levels.lambda.len() - 1]), (0.0, 3.0));
        });
    }
}

/// Along paths with wrong scores, to both ends; where half of all conformations are excluded, log Z is lower by ln 2.
#[test]
fn paths_both_ways_give_free_energies_in_nm_and_of_one_isomer() {
    let settings = BothWaysSettings { n_steps: 150, n_paths: 2000 };
    for is_chiral in [false, true] {
        let found = [0, 1].map(|end| {
            with_ends(&[end], 4000, is_chiral, |ends| {
                let path = Gaussian { factor: 0.8, ..Gaussian::of(ends, Noise::default()) };
                let path = Gaussian { variances: [path.variances[end]; 2], ..path };
                let streams = Streams::new(9 + end as u64);
                let found = both_ways(ends, path.learned(), &settings, &streams, &mut silent).unwrap();
                let isomers = if is_chiral { std::f64::consts::LN_2 } else { 0.0 };
                near(found.log_z, found.log_z_std_error, well(end).log_normalizer() - isomers, 0.12);
                assert!(found.dissipated_to_data_kt > 0.0 && found.dissipated_to_noise_kt > 0.0);
                // What is stored reads back, paths without weight included.
                let stored = serde_json::to_string(&found).unwrap();
                let read: BothWays = serde_json::from_str(&stored).unwrap();
                assert!(
                    read.to_data.kt.len() == 2000
                        && (read.to_data.mean(None) - found.to_data.mean(None)).abs() < 1e-3
                );
                let lost = BothWays { log_z: f64::NAN, log_z_std_error: f64::INFINITY, ..found.clone() };
                let read: BothWays = serde_json::from_str(&serde_json::to_string(&lost).unwrap()).unwrap();
                assert!(read.log_z.is_nan() && read.log_z_std_error == f64::INFINITY);
                found
            })
        });
        let row = through_noise(&found[0], &found[1], &settings);
        near(row.road.value_kt, row.road.std_error_kt, exact_difference(), 0.15);
        assert!(row.road.is_trustworthy() && row.n_model_evaluations > 2 * 2 * 150 * 2000);
    }
    let bad = BothWaysSettings { n_paths: 3, ..settings };
    assert!(bad.validate("corrected").unwrap_err().to_string().contains("corrected.n_paths"));
}

/// φ of the displacement between the Gaussians of another path, times a factor.
struct Flow<'a>(&'a Gaussian, f64);

impl Flow<'_> {
    /// ∇φ is this times x.
    fn stiffness(&self, t: f64) -> f64 {
        let (a, b, noise) = (1.0 - t, t, &self.0.noise);
        let [v0, v1] = self.0.variances;
        let of_x = (b * v1 - a * v0) / (a * a * v0 + b * b * v1 + noise.deviation(t).powi(2));
        2.0 * b / noise.total_variance(t) - self.1 * of_x
    }
}

impl PotentialPath for Flow<'_> {
    fn space(&self) -> Space {
        SPACE
    }

    fn range(&self) -> (f64, f64) {
        self.0.range()
    }

    fn energies(&self, lambda: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
        for ((u, x), &t) in u.iter_mut().zip(x.chunks_exact(12)).zip(lambda) {
            *u = 0.5 * self.stiffness(t) * x.iter().map(|x| x * x).sum::<f64>();
        }
        Ok(())
    }

    fn energies_and_gradients(
        &self,
        t: &[f64],
        x: &[f64],
        u: &mut [f64],
        gradient: &mut [f64],
    ) -> Result<()> {
        self.energies(t, x, u)?;
        for ((gradient, x), &t) in gradient.chunks_exact_mut(12).zip(x.chunks_exact(12)).zip(t) {
            gradient.iter_mut().zip(x).for_each(|(gradient, x)| *gradient = self.stiffness(t) * x);
        }
        Ok(())
    }

    fn lambda_derivatives(&self, _: &[f64], _: &[f64], du_dlambda: &mut [f64]) -> Result<()> {
        du_dlambda.fill(0.0);
        Ok(())
    }
}

/// With the exact velocity and score, and with others; also where half of all conformations are excluded at both ends.
#[test]
fn escorted_roads_are_exact_along_any_velocity() {
    let settings = EscortedSettings { n_steps: 150, n_paths: 2000, ..Default::default() };
    for (is_chiral, factor, of_velocity) in [(false, 1.0, 1.0), (false, 0.8, 0.9), (true, 0.8, 0.9)] {
        with_ends(&[0, 1], 4000, is_chiral, |ends| {
            let exact = Gaussian::of(ends, INTERPOLANT);
            let path = Gaussian { factor, ..Gaussian::of(ends, INTERPOLANT) };
            let (velocity, streams) = (Flow(&exact, of_velocity), Streams::new(12));
            let pairing = Pairing::Independent;
            let found =
                escorted(ends, pairing, path.learned(), &velocity, &settings, &streams, &mut silent).unwrap();
            let row = &found.bar;
            near(row.road.value_kt, row.road.std_error_kt, exact_difference(), 0.15);
            assert!(row.road.is_trustworthy() && row.n_model_evaluations > 2 * 2 * 150 * 2000);
            assert_eq!(row.road.n_energy_evaluations, 2 * 2 * 2000);
            if factor == 1.0 {
                assert!(found.crooks.dissipated_forward_kt < 0.3, "{:?}", found.crooks);
            }
        });
    }
    let learning = LearningSettings::default();
    assert!(settings.validate("escorted", &learning).is_ok());
    let energies = EscortedSettings { train: learning.train.clone(), ..settings.clone() };
    let error = energies.validate("escorted", &learning).unwrap_err().to_string();
    assert!(error.contains("escorted.train.stages") && error.contains("velocity_matching"), "{error}");
    let bad = EscortedSettings { n_paths: 3, ..settings };
    assert!(bad.validate("escorted", &learning).unwrap_err().to_string().contains("escorted.n_paths"));
}

/// Where half of all conformations are excluded, log Z is lower by ln 2, which only a region that counts shows.
#[test]
fn absolute_free_energies_are_those_in_nm_and_of_one_isomer() {
    let settings = AbsoluteSettings {
        n_steps: 200,
        n_levels: 8,
        particles: SequentialMonteCarloSettings {
            n_particles: 1600,
            n_pilot: 128,
            n_moves: 1,
            conditional_ess: 0.9,
            ..AbsoluteSettings::default().particles
        },
    };
    for is_chiral in [false, true] {
        let found = [0, 1].map(|end| {
            with_ends(&[end], 1000, is_chiral, |ends| {
                let path = Gaussian { factor: 0.8, ..Gaussian::of(ends, Noise::default()) };
                let path = Gaussian { variances: [path.variances[end]; 2], ..path };
                let streams = Streams::new(9 + end as u64);
                let found = absolute_end(ends, path.learned(), &settings, &streams, &mut silent).unwrap();
                let isomers = if is_chiral { std::f64::consts::LN_2 } else { 0.0 };
                let exact = well(end).log_normalizer() - isomers;
                near(found.log_z.value, found.log_z.std_error, exact, 0.2);
                found
            })
        });
        let road = absolute(&found[0], &found[1], &[]);
        assert!(road.road.is_trustworthy());
        let doubtful = absolute(&found[0], &found[1], &[(found[0].log_z.value + 2.0, 0.01)]);
        assert!(!doubtful.road.is_trustworthy());
        near(road.road.value_kt, road.road.std_error_kt, exact_difference(), 0.25);
    }
}

/// A network before any training leads to the exact difference as well, and an interrupted training to the same bits.
#[test]
fn an_untrained_path_is_exact_and_training_resumes_to_the_same_bits() {
    with_ends(&[0, 1], 1600, false, |ends| {
        let settings: LearningSettings = toml::from_str(
            "noise = { kind = 'interpolant', strength = 0.8, t_min = 1e-3 }
             network = { kind = 'whitened', hidden = [8], time_splines = 9 }
             [train]
             checkpoint_interval = 20
             validation_interval = 30
             [[train.stages]]
             name = 'score'
             n_steps = 50
             batch_size = 64
             learning_rate = 1e-2
             objectives = [{ kind = 'target_score_matching' }]
             [[train.stages]]
             name = 'both'
             n_steps = 30
             batch_size = 64
             learning_rate = 1e-2
             times = { n_times = 2 }
             objectives = [{ kind = 'denoising_score_matching' }, { kind = 'diffusive_classification' }]",
        )
        .unwrap();
        settings.validate("learning").unwrap();
        assert_eq!(settings.n_training_evaluations(), 64 * (50 + 2 * 30));
        let alone = settings.scores_alone();
        assert!(alone.train.stages.iter().all(|stage| stage.objectives.len() == 1));

        let initial = untrained(ends, &molecule(), &settings, &Streams::new(2)).unwrap();
        let switching = AnnealedSettings {
            n_walkers: 400,
            n_moves: 1,
            n_pilot: 64,
            conditional_ess: 0.8,
            n_particles: 0,
            n_parts: 2,
            multistate: MultistateSettings { n_ladders: 0, ..Default::default() },
            ..Default::default()
        };
        let streams = Streams::new(6);
        let found =
            annealed(ends, settings.pairing, (&initial).into(), &switching, &streams, &mut silent).unwrap();
        near(found.bar.road.value_kt, found.bar.road.std_error_kt, exact_difference(), 0.3);

        let home = tempfile::tempdir().unwrap();
        let train = |name: &str, control: &Control| {
            let directory = home.path().join(name);
            let streams = Streams::new(2);
            learn(ends, &molecule(), &settings, &directory, home.path(), "training", streams, control)
        };
        let whole = train("whole", &Control::default()).unwrap();
        let stopping = Control::default();
        stopping.stop_flag().store(true, std::sync::atomic::Ordering::Relaxed);
        // Stops at the end of every row of the table, and each time goes on from there.
        let mut n_interruptions = 0;
        let parts = loop {
            match train("parts", &stopping) {
                Ok(learned) => break learned,
                Err(Error::Interrupted { .. }) => n_interruptions += 1,
                Err(other) => panic!("{other}"),
            }
        };
        assert!(n_interruptions >= 3, "{n_interruptions}");
        assert_eq!(whole.model.weights().values(), parts.model.weights().values());
        assert_ne!(whole.model.weights().values(), initial.weights().values());
        let table = |name: &str| {
            let text = std::fs::read_to_string(home.path().join(name).join("loss.csv")).unwrap();
            text.lines().map(|line| line.rsplit_once(',').unwrap().0.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(table("whole"), table("parts"));
        // A finished training is read.
        let again = train("whole", &stopping).unwrap();
        assert_eq!(again.model.weights().values(), whole.model.weights().values());
    });
}

#[test]
fn ends_have_one_length_scale_and_frames_that_models_do_not_see() {
    with_ends(&[0, 1], 800, false, |ends| {
        // Mean of both variances per degree of freedom.
        let variance = 0.5 * (1.0 / STIFFNESS[0] + 1.0 / STIFFNESS[1]);
        assert!((ends.length_scale_nm.powi(2) / variance - 1.0).abs() < 0.05);
        for (end, stiffness) in ends.ends.iter().zip(STIFFNESS) {
            assert_eq!((end.training.len(), end.held_out.len()), (400 * 12, 400 * 12));
            assert_eq!((end.groups[0], end.groups[399]), (0, N_GROUPS - 1));
            let factor = stiffness * ends.length_scale_nm.powi(2);
            let pairs = end.training.iter().zip(&end.training_scores);
            assert!(
                pairs.into_iter().all(|(x, score)| (f64::from(*score) + factor * f64::from(*x)).abs() < 1e-4)
            );
            let (chosen, groups) = end.chosen(100);
            assert_eq!((chosen.len(), groups.len()), (1200, 100));
            assert_eq!(chosen[12..24], end.held_out[4 * 12..5 * 12]);
        }
        assert_eq!(ends.n_physical_evaluations, 800);
    });
    let (wells, frames) = (well(0), frames(0, 800, false));
    let prepare = |frames_nm: &[f64], walkers: &[Range<usize>]| {
        let state = EndState { name: "soft", potential: &wells, frames_nm, walkers };
        Ends::prepare(&molecule(), &[state], 0.5).map(|_| ()).unwrap_err().to_string()
    };
    assert!(prepare(&frames, &walkers(799)).contains("soft"));
    assert!(prepare(&frames[..12 * 20], &walkers(20)).contains("at least 64 frames"));
    assert!(prepare(&frames[..12 * 800 - 1], &walkers(800)).contains("frames"));
}
