//! The gradient of the whole step against finite differences, and exact reproducibility.

use super::batch::Batch;
use super::gradient::GradientEngine;
use super::*;
use crate::model::EnergyModel;
use crate::model::compute::{Compute, devices};
use crate::model::data::{End, Pairing, TrainingData};
use crate::model::fused::Weights;
use crate::model::network::{Architecture, Context, NETWORKS};
use crate::potential::{Noise, PotentialPath as _, Space};
use crate::random::{Purpose, Streams};
use rand_distr::Distribution as _;

/// A zigzag chain of four beads with noise, reduced length.
pub(super) fn chain(n_frames: usize) -> Vec<f64> {
    let space = Space::Centered { n_particles: 4 };
    let mut rng = Streams::new(2).stream(Purpose::Start, 0);
    let mut data = vec![];
    for _ in 0..n_frames {
        let mut x = [0.0; 12];
        space.fill_normal(&mut rng, &mut x);
        let shape = [0.0, 0.0, 0.0, 1.0, 0.6, 0.0, 2.0, 0.0, 0.3, 3.0, 0.6, 0.9];
        x.iter_mut().zip(shape).for_each(|(x, shape)| *x = 0.8 * shape + 0.1 * *x);
        space.project(&mut x);
        data.extend(x);
    }
    data
}

pub(super) fn single(data: &[f64]) -> Vec<f32> {
    data.iter().map(|&x| x as f32).collect()
}

pub(super) fn training_data(frames: &[f32]) -> TrainingData<'_> {
    TrainingData::of_frames(Space::Centered { n_particles: 4 }, frames)
}

pub(super) fn model(data: &[f64], random_weights: bool) -> EnergyModel {
    model_of(data, random_weights, "")
}

fn model_of(data: &[f64], random_weights: bool, more: &str) -> EnergyModel {
    let bonds = vec![[0, 1], [1, 2], [2, 3]];
    let architecture = Architecture::new(vec![0, 1, 1, 0], bonds, Noise::default());
    let table: toml::Table =
        format!("kind = 'whitened'\nhidden = [16, 16]\ntime_splines = 9\n{more}").parse().unwrap();
    let network = NETWORKS.build("network", table, &()).unwrap();
    let streams = Streams::new(4);
    let frames = single(data);
    let data = training_data(&frames);
    let context = Context { architecture: &architecture, data: &data, streams: &streams };
    let built = network.build(&context).unwrap();
    let mut weights = Weights::initial(&built.program, &streams);
    if random_weights {
        let mut rng = streams.stream(Purpose::Weights, 1 << 20);
        weights.update(&built.program, |weights| {
            for w in weights {
                let z: f32 = rand_distr::StandardNormal.sample(&mut rng);
                *w += 0.2 * z;
            }
        });
    }
    EnergyModel::new(architecture, 0.1, built.program, built.time_table, weights)
}

fn settings(n_levels: usize) -> TrainSettings {
    let text = format!(
        "checkpoint_interval = 5
         [[stages]]
         name = 'score'
         n_steps = 6
         batch_size = 70
         learning_rate = 3e-3
         objectives = [{{ kind = 'denoising_score_matching' }}]
         [[stages]]
         name = 'both'
         n_steps = 6
         batch_size = 50
         learning_rate = 1e-3
         times = {{ n_times = 3, n_levels = {n_levels} }}
         objectives = [
            {{ kind = 'denoising_score_matching', weight = 1 }},
            {{ kind = 'diffusive_classification', weight = 0.7 }},
            {{ kind = 'mirror_classification', weight = 0.4 }},
         ]"
    );
    let settings: TrainSettings = toml::from_str(&text).unwrap();
    settings.validate("train").unwrap();
    settings
}

#[test]
fn the_gradient_of_a_step_is_the_derivative_of_its_loss() {
    let data = chain(50);
    let data32 = single(&data);
    for n_levels in [0, 7] {
        let settings = settings(n_levels);
        let stage = &settings.stages[1];
        let objectives = stage.objectives("").unwrap();
        let mut model = model(&data, true);
        let mut batch = Batch::default();
        let noise = *model.noise();
        batch.draw(
            &training_data(&data32),
            &noise,
            &stage.times,
            Default::default(),
            50,
            &Streams::new(3),
            0,
        );
        let mut engine = GradientEngine::default();
        let offsets: Vec<f64> = (0..n_levels).map(|k| 0.3 * k as f64).collect();
        let n = model.program.n_parameters();
        let mut gradient = vec![0.0; n];
        let mut loss = |model: &EnergyModel, offsets: &[f64], gradient: &mut [f32]| {
            let losses = engine.evaluate(model, &batch, &objectives, offsets, gradient).unwrap();
            let [score, times, mirror] = losses.by_objective[..] else { panic!("three objectives") };
            (score + 0.7 * times + 0.4 * mirror, losses.offset_gradient)
        };
        let (_, offset_gradient) = loss(&model, &offsets, &mut gradient);
        let start = model.weights().values().to_vec();
        let norm = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
        // Along the gradient, the slope is its norm.
        let mut at = |step: f32| {
            let moved: Vec<f32> = start.iter().zip(&gradient).map(|(w, g)| w + step * g / norm).collect();
            model.set_weights(&moved).unwrap();
            loss(&model, &offsets, &mut vec![0.0; n]).0
        };
        let h = 2e-3;
        let slope = (at(h) - at(-h)) / (2.0 * f64::from(h));
        assert!((slope / f64::from(norm) - 1.0).abs() < 5e-3, "{slope} {norm}");
        at(0.0);
        for level in 0..n_levels {
            let mut at = |step: f64| {
                let mut moved = offsets.clone();
                moved[level] += step;
                loss(&model, &moved, &mut vec![0.0; n]).0
            };
            let slope = (at(1e-3) - at(-1e-3)) / 2e-3;
            assert!((slope - offset_gradient[level]).abs() < 1e-6, "{slope} {}", offset_gradient[level]);
        }
    }
}

fn train(n_threads: usize, interrupt: Option<usize>) -> TrainerState {
    train_by(&settings(6), n_threads, interrupt)
}

fn train_by(settings: &TrainSettings, n_threads: usize, interrupt: Option<usize>) -> TrainerState {
    let data = chain(40);
    let data32 = single(&data);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
    pool.install(|| {
        let start =
            || Trainer::new(model(&data, false), settings, training_data(&data32), Streams::new(8)).unwrap();
        let mut trainer = start();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.safetensors");
        while trainer.step().unwrap().is_some() {
            if Some(trainer.state().step) == interrupt {
                resume::save(&path, trainer.state()).unwrap();
                trainer = start();
                trainer.restore(resume::load(&path).unwrap()).unwrap();
            }
        }
        trainer.state().clone()
    })
}

#[test]
fn training_ends_in_the_same_bits_on_any_number_of_threads_and_after_a_resume() {
    let reference = train(1, None);
    assert_eq!(reference.step, 12);
    assert_eq!(reference, train(2, None));
    assert_eq!(reference, train(2, Some(3)));
    assert_eq!(reference, train(1, Some(6)));
    assert_eq!(reference, train(1, Some(9)));
}

/// The network that says where chains start is part of the state, and gone with its stage.
#[test]
fn a_second_network_goes_on_in_the_same_bits() {
    let text = "[[stages]]
         name = 'recovery'
         n_steps = 8
         batch_size = 40
         learning_rate = 3e-3
         times = { n_times = 2 }
         objectives = [{ kind = 'recovery_likelihood', initialiser = 'network', chain = { n_steps = 3 } }]
         [[stages]]
         name = 'score'
         n_steps = 2
         batch_size = 40
         learning_rate = 3e-3
         objectives = [{ kind = 'denoising_score_matching' }]";
    let mut settings: TrainSettings = toml::from_str(text).unwrap();
    let with_both = train_by(&settings, 1, Some(9));
    assert!(with_both.step == 10 && with_both.initialiser.is_none());
    settings.stages.truncate(1);
    let reference = train_by(&settings, 1, None);
    let network = reference.initialiser.as_ref().unwrap();
    assert_eq!(network.adam.n_steps, 8);
    assert!(network.weights != reference.weights && network.weights != reference.average);
    for (n_threads, interrupt) in [(2, None), (1, Some(3)), (2, Some(7)), (1, Some(8))] {
        assert_eq!(reference, train_by(&settings, n_threads, interrupt), "{interrupt:?}");
    }
    // A network of another size is refused.
    let data = chain(40);
    let data32 = single(&data);
    let mut trainer =
        Trainer::new(model(&data, false), &settings, training_data(&data32), Streams::new(8)).unwrap();
    let mut state = reference;
    state.initialiser.as_mut().unwrap().weights.pop();
    assert!(trainer.restore(state).unwrap_err().to_string().contains("initialiser"));
}

#[test]
fn training_lowers_the_held_out_loss() {
    let data = chain(400);
    let data32 = single(&data);
    let text = "[[stages]]
        name = 'score'
        n_steps = 150
        batch_size = 128
        learning_rate = 3e-3
        objectives = [{ kind = 'denoising_score_matching' }]";
    let settings: TrainSettings = toml::from_str(text).unwrap();
    let mut trainer =
        Trainer::new(model(&data, false), &settings, training_data(&data32), Streams::new(8)).unwrap();
    let score = |trainer: &mut Trainer| {
        let levels = trainer
            .with_average(|model| validate(model, &training_data(&data32), &Streams::new(9), 6))
            .unwrap();
        levels.iter().map(|(_, loss)| loss).sum::<f64>() / 6.0
    };
    let before = score(&mut trainer);
    while trainer.step().unwrap().is_some() {}
    let after = score(&mut trainer);
    assert!(after < before - 0.05, "{before} {after}");
}

#[test]
fn every_device_gives_the_gradient_of_the_fused_executor() {
    let data = chain(50);
    let data32 = single(&data);
    let settings = settings(7);
    let offsets: Vec<f64> = (0..7).map(|k| 0.2 * k as f64).collect();
    let mut devices = devices();
    devices.push(("tensors in f64".into(), Compute::cpu().in_f64()));
    for stage in &settings.stages {
        let objectives = stage.objectives("").unwrap();
        let fused = model(&data, true);
        let mut batch = Batch::default();
        let noise = *fused.noise();
        batch.draw(
            &training_data(&data32),
            &noise,
            &stage.times,
            Default::default(),
            30,
            &Streams::new(3),
            0,
        );
        let n = fused.program.n_parameters();
        let evaluate = |model: &EnergyModel| {
            let mut gradient = vec![0.0; n];
            let mut engine = GradientEngine::default();
            let losses = engine.evaluate(model, &batch, &objectives, &offsets, &mut gradient).unwrap();
            (losses, gradient)
        };
        let (expected, expected_gradient) = evaluate(&fused);
        let largest = expected_gradient.iter().fold(0.0_f32, |a, g| a.max(g.abs()));
        for (name, compute) in &devices {
            let (found, gradient) = evaluate(&model(&data, true).on(compute).unwrap());
            for (a, b) in expected.by_objective.iter().zip(&found.by_objective) {
                assert!((a - b).abs() < 1e-4 * a.abs(), "{name}: {a} {b}");
            }
            for (a, b) in expected.offset_gradient.iter().zip(&found.offset_gradient) {
                assert!((a - b).abs() < 1e-5, "{name}: {a} {b}");
            }
            for (a, b) in expected_gradient.iter().zip(&gradient) {
                assert!((a - b).abs() < 1e-3 * largest, "{name}: {a} {b}");
            }
        }
    }
}

/// A data point with all axes of 40 dimensions has 82 points, and a chunk 64: it is evaluated in two pieces.
#[test]
fn data_points_may_have_more_points_than_a_chunk() {
    let architecture = Architecture::of_vectors(40, Noise::default());
    let frames = single(&chain(100));
    let data = TrainingData::of_frames(architecture.space, &frames);
    let table: toml::Table = "kind = 'vector'\nhidden = [16, 16]\ntime_splines = 9".parse().unwrap();
    let network = NETWORKS.build("network", table, &()).unwrap();
    let initial = || {
        let streams = Streams::new(4);
        let mut model = EnergyModel::initial(&*network, architecture.clone(), 1.0, &data, &streams).unwrap();
        let mut z = vec![0.0; model.program.n_parameters()];
        crate::random::fill_normal(&mut streams.stream(Purpose::Weights, 1 << 20), &mut z);
        let moved: Vec<f32> =
            model.weights().values().iter().zip(&z).map(|(w, z)| w + 0.1 * *z as f32).collect();
        model.set_weights(&moved).unwrap();
        model
    };
    let settings: TrainSettings = toml::from_str(
        "[[stages]]
         name = 'penalty'
         n_steps = 2
         batch_size = 5
         learning_rate = 1e-3
         times = { n_times = 2 }
         objectives = [
            { kind = 'denoising_score_matching' },
            { kind = 'fokker_planck', trace = 'exact', weight = 0.5 },
         ]",
    )
    .unwrap();
    settings.validate("train").unwrap();
    let stage = &settings.stages[0];
    let objectives = stage.objectives("").unwrap();
    let mut batch = Batch::default();
    let coupling = super::gradient::coupling(&objectives);
    batch.draw(&data, &Noise::default(), &stage.times, coupling, 5, &Streams::new(3), 0);
    assert_eq!(batch.n_times, 82);
    let evaluate = |model: EnergyModel| {
        assert_eq!(model.lanes(), 64);
        let mut gradient = vec![0.0; model.program.n_parameters()];
        let losses = GradientEngine::default().evaluate(&model, &batch, &objectives, &[], &mut gradient);
        (losses.unwrap().by_objective, gradient)
    };
    let (found, gradient) = evaluate(initial());
    let (expected, expected_gradient) = evaluate(initial().on(&Compute::cpu().in_f64()).unwrap());
    for (a, b) in expected.iter().zip(&found) {
        assert!((a - b).abs() < 1e-4 * a.abs(), "{a} {b}");
    }
    let largest = expected_gradient.iter().fold(0.0_f32, |a, g| a.max(g.abs()));
    for (a, b) in expected_gradient.iter().zip(&gradient) {
        assert!((a - b).abs() < 1e-3 * largest, "{a} {b}");
    }
}

/// A small model of a chain of four.
fn between_gaussians(data: &TrainingData, noise: Noise, more: &str) -> EnergyModel {
    let architecture = Architecture::new(vec![0, 1, 1, 0], vec![[0, 1], [1, 2], [2, 3]], noise);
    let table = format!("kind = 'whitened'\nhidden = [8]\ntime_splines = 9\n{more}").parse().unwrap();
    let network = NETWORKS.build("network", table, &()).unwrap();
    let streams = Streams::new(4);
    EnergyModel::initial(&*network, architecture, 0.1, data, &streams).unwrap()
}

/// Between two Gaussians of deviations 1 and ½ every law on the way is a Gaussian that is known, with its constant:
/// forces and classification together must bring log p_θ − log p to one constant over x and t.
#[test]
fn an_interpolant_learns_the_laws_between_two_ensembles() {
    let space = Space::Centered { n_particles: 4 };
    let deviations = [1.0, 0.5];
    let ends: Vec<[Vec<f32>; 2]> = (0..2)
        .map(|end| {
            let mut rng = Streams::new(20 + end as u64).stream(Purpose::Walker, 0);
            let mut x = vec![0.0; 4000 * 12];
            x.chunks_exact_mut(12).for_each(|x| space.fill_normal(&mut rng, x));
            let s: f64 = deviations[end];
            [x.iter().map(|x| (s * x) as f32).collect(), x.iter().map(|x| (-x / s) as f32).collect()]
        })
        .collect();
    let end = |k: usize| End { frames: &ends[k][0], scores: &ends[k][1], ..End::default() };
    let data = TrainingData { space, first: end(0), second: Some(end(1)), pairing: Pairing::Independent };
    let noise = Noise::Interpolant { strength: 0.7, t_min: 1e-3 };
    let model = between_gaussians(&data, noise, "");
    let settings: TrainSettings = toml::from_str(
        "ema_decay = 0.98
         [[stages]]
         name = 'both'
         n_steps = 400
         batch_size = 256
         learning_rate = 2e-2
         times = { n_times = 2 }
         objectives = [
            { kind = 'target_score_matching', crossover = 0.8 },
            { kind = 'diffusive_classification', weight = 1 },
         ]",
    )
    .unwrap();
    let mut trainer = Trainer::new(model, &settings, data, Streams::new(8)).unwrap();

    let spread = |model: &EnergyModel| {
        let mut rng = Streams::new(30).stream(Purpose::Walker, 0);
        let mut differences = vec![];
        for t in [1e-3, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999] {
            let variance = (1.0_f64 - t).powi(2) + 0.25 * t * t + 0.49 * t * (1.0 - t);
            let mut x = vec![0.0; 12];
            for _ in 0..50 {
                space.fill_normal(&mut rng, &mut x);
                x.iter_mut().for_each(|x| *x *= variance.sqrt());
                let mut u = [0.0];
                model.energies(&[t], &x, &mut u).unwrap();
                let square: f64 = x.iter().map(|x| x * x).sum();
                differences.push(u[0] - 0.5 * square / variance - 4.5 * variance.ln());
            }
        }
        let n = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / n;
        (differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / n).sqrt()
    };
    let before = trainer.with_average(|model| Ok(spread(model))).unwrap();
    while trainer.step().unwrap().is_some() {}
    let after = trainer.with_average(|model| Ok(spread(model))).unwrap();
    assert!(before > 2.0 && after < 0.2 * before, "{before} {after}");

    // Coupled pairs make the forces of one end those of another law.
    let coupled = TrainingData { pairing: Pairing::Aligned, ..data };
    let model = trainer.into_model().unwrap();
    let Err(error) = Trainer::new(model, &settings, coupled, Streams::new(8)) else { panic!("accepted") };
    assert!(error.to_string().contains("independent"), "{error}");
}

/// Between independent Gaussians of variances 1 and ¼ the mean displacement is (b v₁ − a v₀) x/C. Score matching of the
/// same steps does not find it, and one ensemble has none.
#[test]
fn velocity_matching_learns_the_displacement_between_two_ensembles() {
    let space = Space::Centered { n_particles: 4 };
    let ends: Vec<Vec<f32>> = [1.0, 0.5]
        .iter()
        .enumerate()
        .map(|(end, s)| {
            let mut rng = Streams::new(40 + end as u64).stream(Purpose::Walker, 0);
            let mut x = vec![0.0; 4000 * 12];
            x.chunks_exact_mut(12).for_each(|x| space.fill_normal(&mut rng, x));
            x.iter().map(|x| (s * x) as f32).collect()
        })
        .collect();
    let end = |k: usize| End { frames: &ends[k], ..End::default() };
    let data = TrainingData { space, first: end(0), second: Some(end(1)), pairing: Pairing::Independent };
    let noise = Noise::Interpolant { strength: 0.7, t_min: 1e-3 };
    let error = |kind: &str| {
        let model = between_gaussians(&data, noise, "confining = false");
        let settings: TrainSettings = toml::from_str(&format!(
            "ema_decay = 0.98
             [[stages]]
             name = 'velocity'
             n_steps = 300
             batch_size = 256
             learning_rate = 2e-2
             objectives = [{{ kind = '{kind}' }}]"
        ))
        .unwrap();
        let mut trainer = Trainer::new(model, &settings, data, Streams::new(8)).unwrap();
        while trainer.step().unwrap().is_some() {}
        let model = trainer.into_model().unwrap();
        let mut rng = Streams::new(30).stream(Purpose::Walker, 0);
        let (mut sum, mut n) = (0.0, 0.0);
        for t in [0.05, 0.2, 0.5, 0.8, 0.95] {
            let (a, b) = (1.0_f64 - t, t);
            let variance = a * a + 0.25 * b * b + 0.49 * a * b;
            let (mut x, mut u, mut gradient) = (vec![0.0; 12], [0.0], vec![0.0; 12]);
            for _ in 0..50 {
                space.fill_normal(&mut rng, &mut x);
                x.iter_mut().for_each(|x| *x *= variance.sqrt());
                model.energies_and_gradients(&[t], &x, &mut u, &mut gradient).unwrap();
                for (x, gradient) in x.iter().zip(&gradient) {
                    let found = 2.0 * b * x / noise.total_variance(t) - gradient;
                    sum += (found - (0.25 * b - a) * x / variance).powi(2);
                    n += 1.0;
                }
            }
        }
        f64::sqrt(sum / n)
    };
    // Displacements are of size one.
    let (learned, other) = (error("velocity_matching"), error("denoising_score_matching"));
    assert!(learned < 0.06 && other > 0.2, "{learned} {other}");
}

#[test]
fn velocities_need_two_ensembles() {
    let chain = chain(40);
    let frames = single(&chain);
    let data = training_data(&frames);
    let settings: TrainSettings = toml::from_str(
        "[[stages]]
         name = 'velocity'
         n_steps = 3
         learning_rate = 2e-2
         objectives = [{ kind = 'velocity_matching' }]",
    )
    .unwrap();
    let Err(error) = Trainer::new(model(&chain, false), &settings, data, Streams::new(8)) else {
        panic!("accepted")
    };
    assert!(error.to_string().contains("two ensembles"), "{error}");
}

#[test]
fn the_settings_for_atoms_are_valid() {
    TrainSettings::of_atoms().validate("train").unwrap();
    // What is as it was before there was the key is not in plans, so that those of older runs are the same.
    assert!(!toml::to_string(&TrainSettings::of_atoms()).unwrap().contains("calibrate"));
}

/// Of score matching, two times and states together, on the fused executor and on every device.
#[test]
fn the_gradient_of_state_classification_is_the_derivative_of_its_loss_on_every_device() {
    let chain = chain(50);
    let (frames, states): (_, Vec<usize>) = (single(&chain), (0..50).map(|k| k % 3).collect());
    let first = End { frames: &frames, states: &states, ..End::default() };
    let data = TrainingData { first, ..training_data(&frames) };
    let settings: TrainSettings = toml::from_str(
        "[[stages]]
         name = 'states'
         n_steps = 1
         batch_size = 50
         learning_rate = 1e-3
         times = { n_times = 3 }
         objectives = [
            { kind = 'denoising_score_matching' },
            { kind = 'diffusive_classification', weight = 0.7 },
            { kind = 'state_classification', weight = 0.4 },
         ]",
    )
    .unwrap();
    settings.validate("train").unwrap();
    assert!(settings.needs_states() && !TrainSettings::default().needs_states());
    let objectives = settings.stages[0].objectives("").unwrap();
    let of_states = || model_of(&chain, true, "states = 3");
    let mut model = of_states();
    let (mut batch, noise) = (Batch::default(), *model.noise());
    let times = &settings.stages[0].times;
    batch.draw(&data, &noise, times, Default::default(), 50, &Streams::new(3), 0);
    assert_eq!(batch.states.len(), 50);
    assert!((0..3).all(|state| batch.states.contains(&state)));
    let mut engine = GradientEngine::default();
    let n = model.program.n_parameters();
    let mut loss = |model: &EnergyModel, gradient: &mut [f32]| {
        let losses = engine.evaluate(model, &batch, &objectives, &[], gradient).unwrap().by_objective;
        (losses[0] + 0.7 * losses[1] + 0.4 * losses[2], losses[2])
    };
    let mut gradient = vec![0.0; n];
    let (_, cross_entropy) = loss(&model, &mut gradient);
    assert!(cross_entropy > 0.5, "{cross_entropy}");
    let start = model.weights().values().to_vec();
    let norm = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
    let mut at = |step: f32| {
        let moved: Vec<f32> = start.iter().zip(&gradient).map(|(w, g)| w + step * g / norm).collect();
        model.set_weights(&moved).unwrap();
        loss(&model, &mut vec![0.0; n]).0
    };
    let slope = (at(2e-3) - at(-2e-3)) / 4e-3;
    assert!((slope / f64::from(norm) - 1.0).abs() < 5e-3, "{slope} {norm}");
    let largest = gradient.iter().fold(0.0_f32, |a, g| a.max(g.abs()));
    let mut devices = devices();
    devices.push(("tensors in f64".into(), Compute::cpu().in_f64()));
    for (name, compute) in &devices {
        let mut on_device = vec![0.0; n];
        let (_, found) = loss(&of_states().on(compute).unwrap(), &mut on_device);
        assert!((found - cross_entropy).abs() < 1e-4 * cross_entropy, "{name}: {found} {cross_entropy}");
        for (a, b) in gradient.iter().zip(&on_device) {
            assert!((a - b).abs() < 1e-3 * largest, "{name}: {a} {b}");
        }
    }

    // Without labels, or without as many states, it is refused.
    let refused = |model: EnergyModel, data| {
        let Err(error) = Trainer::new(model, &settings, data, Streams::new(8)) else { panic!("accepted") };
        error.to_string()
    };
    assert!(refused(of_states(), training_data(&frames)).contains("state of every training frame"));
    assert!(refused(model_of(&chain, true, "states = 2"), data).contains("states = 3"));
    let short = TrainingData { first: End { states: &states[1..], ..first }, ..data };
    assert!(refused(of_states(), short).contains("states of training frames"));
}

/// A stage of score matching and one of maximum likelihood at the data end.
fn refined(reach: f64) -> TrainSettings {
    toml::from_str(&format!(
        "[[stages]]
         name = 'score'
         n_steps = 3
         batch_size = 40
         learning_rate = 3e-3
         objectives = [{{ kind = 'denoising_score_matching' }}]
         [[stages]]
         name = 'likelihood'
         n_steps = 8
         batch_size = 40
         learning_rate = 3e-3
         times = {{ n_times = 2 }}
         [[stages.objectives]]
         kind = 'maximum_likelihood'
         reach = {reach}
         walkers = {{ n_walkers = 70, every = 3, n_relaxation = 4, n_cycles = 2, n_steps = 12 }}"
    ))
    .unwrap()
}

/// Walkers are part of the state, with the widths of their ways, and gone with their stage.
#[test]
fn walkers_go_on_in_the_same_bits() {
    let settings = refined(4.2);
    settings.validate("train").unwrap();
    let reference = train_by(&settings, 1, None);
    assert!(reference.step == 11 && reference.walkers.is_none());
    for (n_threads, interrupt) in [(2, None), (1, Some(3)), (1, Some(4)), (2, Some(6)), (1, Some(10))] {
        assert_eq!(reference, train_by(&settings, n_threads, interrupt), "{interrupt:?}");
    }
    // Walkers of another molecule are refused.
    let data = chain(40);
    let data32 = single(&data);
    let mut trainer =
        Trainer::new(model(&data, false), &settings, training_data(&data32), Streams::new(8)).unwrap();
    for _ in 0..5 {
        trainer.step().unwrap();
    }
    let mut state = trainer.state().clone();
    let walkers = state.walkers.as_mut().unwrap();
    assert_eq!((walkers.x.len(), walkers.squared_scores.len()), (70 * 12, 12));
    walkers.x.pop();
    assert!(trainer.restore(state).unwrap_err().to_string().contains("walkers of 12 numbers"));
}

/// Energies change within the reach and, to the bit, nowhere else.
#[test]
fn maximum_likelihood_leaves_wider_noise_as_it_is() {
    let data = chain(40);
    let data32 = single(&data);
    let (settings, reach) = (refined(4.2), 4.2);
    let mut trainer =
        Trainer::new(model(&data, false), &settings, training_data(&data32), Streams::new(8)).unwrap();
    let (first, last) = trainer.model.noise().time_range();
    let end = trainer.model.noise().log_snr(first);
    let energies = |model: &EnergyModel, distance: f64| {
        let t = model.noise().time_at_log_snr(end - distance).clamp(first, last);
        let mut u = vec![0.0; 40];
        model.energies(&[t; 40], &data, &mut u).unwrap();
        u
    };
    for _ in 0..3 {
        trainer.step().unwrap();
    }
    let distances = [0.0, 1.0, 2.0, reach, 6.0, 12.0, 20.0];
    let before = trainer.with_average(|model| Ok(distances.map(|d| energies(model, d)))).unwrap();
    while trainer.step().unwrap().is_some() {}
    let model = trainer.into_model().unwrap();
    for (distance, before) in distances.into_iter().zip(&before) {
        assert_eq!(distance < reach - 0.5, energies(&model, distance) != *before, "{distance}");
    }
}

#[test]
fn maximum_likelihood_needs_an_energy_to_refine_and_parameters_of_the_data_end() {
    let mut settings = refined(4.2);
    settings.stages.remove(0);
    let error = settings.validate("train").unwrap_err().to_string();
    assert!(error.contains("refines an energy that earlier stages have trained"), "{error}");

    let mut settings = refined(4.2);
    let score = settings.stages[0].objectives[0].clone();
    settings.stages[1].objectives.push(score);
    let error = settings.validate("train").unwrap_err().to_string();
    assert!(error.contains("a stage of its own"), "{error}");

    // Nine splines reach further than a default reach.
    let data = chain(40);
    let data32 = single(&data);
    let settings = refined(3.5);
    let trainer = Trainer::new(model(&data, false), &settings, training_data(&data32), Streams::new(8));
    let error = trainer.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("train.stages[1]") && error.contains("time_splines"), "{error}");
}
