//! Every objective reaches its own fixed point on a law that is known: tests that fail when nothing is learned.

use super::assess::{Assessment, assess};
use super::config::{AssessSettings, BenchmarkConfig};
use super::problem::{Problem, ProblemSettings};
use super::*;
use crate::sampling::silent;
use crate::training::objective::Learns;

/// Two overlapping modes, 0.8 and 0.2, so that methods that are blind to separated modes see these as well.
fn problem() -> Problem {
    let family = ProblemSettings::TwoModes { dimensions: vec![2], separations: vec![3.0], weight: 0.8 };
    family.problems("problems[0]").unwrap().remove(0)
}

const SETTINGS: AssessSettings = AssessSettings { n_levels: 8, n_points: 512, n_samples: 64, n_steps: 10 };

/// What `steps` steps of these objectives make of an energy.
fn trained(steps: usize, times: &str, objectives: &str) -> Assessment {
    train_at(5e-3, steps, times, objectives).assessment.unwrap()
}

/// The same with any learning rate.
fn train_at(rate: f64, steps: usize, times: &str, objectives: &str) -> Trained {
    let text = format!(
        "kind = 'benchmark'
         name = 'test'
         n_training = 4000
         network = {{ kind = 'vector', hidden = [32, 32], time_splines = 9 }}
         [[problems]]
         kind = 'two_modes'
         dimensions = [2]
         separations = [3.0]
         [[methods]]
         name = 'method'
         label = 'method'
         ema_decay = 0.98
         [[methods.stages]]
         name = 'only'
         n_steps = {steps}
         batch_size = 256
         learning_rate = {rate:e}
         warmup_steps = 20
         times = {{ {times} }}
         objectives = [{objectives}]"
    );
    let config: BenchmarkConfig = toml::from_str(&text).unwrap();
    let problem = config.problems().unwrap().remove(0);
    let home = tempfile::tempdir().unwrap();
    let control = Control::default();
    let trained = train(
        &BenchmarkConfig { assess: SETTINGS, ..config.clone() },
        &problem,
        &config.methods[0],
        1,
        home.path(),
        home.path(),
        &control,
    );
    trained.unwrap()
}

/// Such losses are finite, and so are the weights of modes: 0.2 off, since all of the mass is in one mode.
#[test]
fn a_training_that_diverged_has_no_numbers_and_is_named() {
    let trained = train_at(1e6, 100, "", "{ kind = 'denoising_score_matching' }");
    assert_eq!(trained.assessment, None);
    let said = divergence(&[trained], &[]);
    assert!(said.contains("no numbers: method on two_modes_2d_3sigma (seed 1). Lower"), "{said}");
    assert_eq!(divergence(&[], &[]), "");
}

/// Walkers that remember where they began are in doubt in a benchmark as in the run itself.
#[test]
fn doubts_about_the_samples_of_a_molecule_are_read() {
    let home = tempfile::tempdir().unwrap();
    let config: BenchmarkConfig = toml::from_str(suite("mixtures_small").unwrap()).unwrap();
    let settings = toml::from_str("name = 'aldp'\nlabel = 'alanine dipeptide'\nconfig = 'run.toml'").unwrap();
    let molecule = Molecule { settings, degrees_of_freedom: 27, states: Vec::new() };
    let read = || Learned::read(&molecule, &config.methods[0], 3, home.path()).unwrap();
    let diverged = read();
    assert!(diverged.doubts.is_empty());
    assert!(divergence(&[], &[diverged]).contains("dsm on aldp (seed 3)"));
    std::fs::create_dir(home.path().join("sample")).unwrap();
    write_json(&home.path().join("sample/doubts.json"), &["Walkers of langevin remember"]).unwrap();
    write_json(&home.path().join("summary.json"), &serde_json::json!({})).unwrap();
    let found = read();
    assert_eq!(found.doubts, ["Walkers of langevin remember"]);
    assert_eq!(divergence(&[], &[found]), "");
}

#[test]
fn score_objectives_find_the_score() {
    for objective in ["denoising_score_matching", "target_score_matching"] {
        let objective = format!("{{ kind = '{objective}' }}");
        let fisher = |steps| -> f64 {
            // Where there is less noise than this, denoising has a variance that takes long to average.
            let levels =
                trained(steps, "", &objective).levels.into_iter().filter(|level| level.log_snr < 3.0);
            levels.map(|level| level.fisher_divergence).sum()
        };
        let (before, after) = (fisher(1), fisher(800));
        assert!(after < 0.2 * before, "{objective}: {before} {after}");
    }
}

/// What they leave is small against the law's own differences, and untrained energies have those in full.
#[test]
fn objectives_of_densities_find_the_law_up_to_one_constant_for_all_times() {
    let pair = "n_times = 2, neighbour_step = 2.0";
    let close = "n_times = 2, neighbour_step = 0.7";
    let classification =
        |generator| format!("{{ kind = 'diffusive_classification', generator = '{generator}' }}");
    let alone = [
        (pair, classification("cross_entropy")),
        (pair, classification("brier")),
        (close, classification("kl")),
        (close, classification("least_squares")),
        (close, classification("itakura_saito")),
        ("n_times = 2, neighbour_step = 0.3", "{ kind = 'time_score_matching' }".into()),
        ("n_times = 2", "{ kind = 'noise_contrastive' }".into()),
    ];
    for (times, objective) in &alone {
        let before = trained(1, times, objective).joint_variance;
        let after = trained(2000, times, objective).joint_variance;
        assert!(after < 0.45 * before, "{objective}: {before} {after}");
    }
}

/// Displaced points know nothing of other times: the law at each, with a constant of its own.
#[test]
fn conditional_contrast_finds_the_law_at_each_time() {
    let of = |steps| {
        let objective = "{ kind = 'conditional_noise_contrastive', step = 1.0 }";
        trained(steps, "n_times = 2", objective).variance_within_levels
    };
    let (before, after) = (of(1), of(1500));
    assert!(after < 0.2 * before, "{before} {after}");
}

/// Negatives of the energy's own chains leave its law at each time; a chain that crosses sees the weights of overlapping modes.
#[test]
fn contrast_with_chains_finds_the_law_at_each_time() {
    let chain = "chain = { n_steps = 10, step = 1.0, width = 0.4 }";
    let objectives = [
        format!("{{ kind = 'contrastive_divergence', {chain} }}"),
        format!("{{ kind = 'persistent_contrastive_divergence', n_chains = 4, {chain} }}"),
        format!("{{ kind = 'recovery_likelihood', {chain} }}"),
        format!("{{ kind = 'recovery_likelihood', initialiser = 'reverse_step', {chain} }}"),
        format!("{{ kind = 'recovery_likelihood', initialiser = 'network', {chain} }}"),
    ];
    for objective in &objectives {
        let of = |steps| trained(steps, "n_times = 2", objective).variance_within_levels;
        let (before, after) = (of(1), of(600));
        assert!(after < 0.35 * before, "{objective}: {before} {after}");
    }
}

/// The potential of energy matching has the law of the data at the data end, with the weights of its modes where they overlap;
/// equilibrium matching generates, and the energy of its field has not these weights.
#[test]
fn fields_without_time_generate_and_only_a_density_has_weights() {
    let chain = "chain = { n_steps = 10, step = 1.0, width = 0.4 }";
    let matching = format!("{{ kind = 'energy_matching', {chain} }}");
    let of = |steps| trained(steps, "n_times = 3", &matching);
    let (before, after) = (of(1), of(1200));
    assert_eq!(after.levels.len(), 1);
    assert!(after.joint_variance < 0.35 * before.joint_variance, "{before:?} {after:?}");
    assert!(after.weight_error < 0.12 && after.sample_weight_error < 0.12, "{after:?}");

    let equilibrium = |steps| trained(steps, "n_times = 1", "{ kind = 'equilibrium_matching' }");
    let (before, after) = (equilibrium(1), equilibrium(1200));
    assert!(after.levels.is_empty() && after.weight_error.is_nan() && after.joint_variance.is_nan());
    // Points collapse towards the middle of their modes, of which they find both.
    assert!(before.n_modes_found == 1 && after.n_modes_found == 2, "{before:?} {after:?}");
    assert!(after.sliced_wasserstein < 0.85 * before.sliced_wasserstein, "{before:?} {after:?}");
    assert!(after.sample_weight_error < 0.1, "{after:?}");
}

/// Where the energy of such a field is taken for one all the same, the weights of separated modes are wrong: its depth says
/// how far noise has to go, and not how likely a mode is.
#[test]
fn the_energy_of_a_generator_fails_the_test_of_weights() {
    let family = ProblemSettings::TwoModes { dimensions: vec![2], separations: vec![8.0], weight: 0.8 };
    let problem = family.problems("problems[0]").unwrap().remove(0);
    let frames: Vec<f32> = problem.sample(4000, &Streams::new(1)).iter().map(|x| *x as f32).collect();
    let weight_error = |times: &str, objectives: &str, learns: Learns| {
        let architecture = Architecture::of_vectors(2, crate::potential::Noise::default());
        let data = TrainingData::of_frames(architecture.space, &frames);
        let table = "kind = 'vector'\nhidden = [32, 32]\ntime_splines = 9".parse().unwrap();
        let network = NETWORKS.build("network", table, &()).unwrap();
        let streams = Streams::new(2);
        let model = EnergyModel::initial(&*network, architecture, 1.0, &data, &streams).unwrap();
        let settings: crate::training::TrainSettings = toml::from_str(&format!(
            "ema_decay = 0.98
             [[stages]]
             name = 'only'
             n_steps = 1200
             batch_size = 256
             learning_rate = 5e-3
             warmup_steps = 20
             times = {{ {times} }}
             objectives = [{objectives}]"
        ))
        .unwrap();
        let mut trainer = Trainer::new(model, &settings, data, streams).unwrap();
        while trainer.step().unwrap().is_some() {}
        let model = trainer.into_model().unwrap();
        assess(&problem, &model, learns, &SETTINGS, &streams, &mut silent).unwrap().weight_error
    };
    let field = weight_error("n_times = 1", "{ kind = 'equilibrium_matching' }", Learns::DataEnd);
    let pair = "{ kind = 'denoising_score_matching' }, { kind = 'diffusive_classification', weight = 0.3 }";
    let energy = weight_error("n_times = 2, neighbour_step = 2.8", pair, Learns::Path);
    assert!(field > 0.15 && energy < 0.08, "{field} {energy}");
}

/// Scores do not see the weights of separated modes; walkers that noise leads from one to the other do.
#[test]
fn maximum_likelihood_finds_the_weights_that_scores_do_not() {
    let family = ProblemSettings::TwoModes { dimensions: vec![2], separations: vec![8.0], weight: 0.8 };
    let problem = family.problems("problems[0]").unwrap().remove(0);
    let frames: Vec<f32> = problem.sample(4000, &Streams::new(1)).iter().map(|x| *x as f32).collect();
    let architecture = Architecture::of_vectors(2, crate::potential::Noise::default());
    let data = TrainingData::of_frames(architecture.space, &frames);
    let table = "kind = 'vector'\nhidden = [32, 32]\ntime_splines = 17".parse().unwrap();
    let network = NETWORKS.build("network", table, &()).unwrap();
    let streams = Streams::new(2);
    let model = EnergyModel::initial(&*network, architecture, 1.0, &data, &streams).unwrap();
    let settings: crate::training::TrainSettings = toml::from_str(
        "ema_decay = 0.99
         [[stages]]
         name = 'score'
         n_steps = 1200
         batch_size = 256
         learning_rate = 5e-3
         warmup_steps = 20
         objectives = [{ kind = 'denoising_score_matching' }]
         [[stages]]
         name = 'likelihood'
         n_steps = 1000
         batch_size = 256
         learning_rate = 3e-3
         warmup_steps = 20
         times = { n_times = 2 }
         [[stages.objectives]]
         kind = 'maximum_likelihood'
         walkers = { n_walkers = 2048, every = 10, n_relaxation = 20, n_cycles = 2, n_steps = 40 }",
    )
    .unwrap();
    let mut trainer = Trainer::new(model, &settings, data, streams).unwrap();
    let assessed = |model: &EnergyModel| {
        assess(&problem, model, Learns::Path, &SETTINGS, &streams, &mut silent).unwrap().weight_error
    };
    while trainer.state().step < 1200 {
        trainer.step().unwrap();
    }
    let before = trainer.with_average(|model| Ok(assessed(model))).unwrap();
    while trainer.step().unwrap().is_some() {}
    let model = trainer.into_model().unwrap();
    let after = assessed(&model);
    assert!(before > 0.15 && after < 0.04, "{before} {after}");
}

/// Both tie the levels to each other, which scores alone do not.
#[test]
fn consistency_along_the_process_finds_one_constant() {
    let dsm = "{ kind = 'denoising_score_matching' }";
    let alone = trained(1000, "", dsm).joint_variance;
    let of = |times: &str, more: &str| trained(1000, times, &format!("{dsm}, {more}")).joint_variance;
    let rne = of("n_times = 2, neighbour_step = 0.2", "{ kind = 'radon_nikodym', weight = 0.3 }");
    let fokker_planck = of("n_times = 5", "{ kind = 'fokker_planck', weight = 0.03 }");
    assert!(rne < 0.3 * alone && fokker_planck < 0.3 * alone, "{alone} {rne} {fokker_planck}");
    for trace in ["hutchinson", "exact"] {
        let penalty = format!("{{ kind = 'fokker_planck', trace = '{trace}', weight = 0.03 }}");
        let found = of("n_times = 2", &penalty);
        assert!(found < 0.3 * alone, "{trace}: {alone} {found}");
    }
}

/// An energy of two modes so far apart with states, trained by these objectives; the problem, and what is trained.
fn with_states(separation: f64, steps: usize, times: &str, objectives: &str) -> (Problem, EnergyModel) {
    let family =
        ProblemSettings::TwoModes { dimensions: vec![2], separations: vec![separation], weight: 0.8 };
    let problem = family.problems("problems[0]").unwrap().remove(0);
    let (x, modes) = problem.sample_with_modes(8000, &Streams::new(1));
    let frames: Vec<f32> = x.iter().map(|x| *x as f32).collect();
    let architecture = Architecture::of_vectors(2, crate::potential::Noise::default());
    let first = End { frames: &frames, states: &modes, ..End::default() };
    let data = TrainingData { first, ..TrainingData::of_frames(architecture.space, &frames) };
    let table = "kind = 'vector'\nhidden = [32, 32]\ntime_splines = 9\nstates = 2".parse().unwrap();
    let network = NETWORKS.build("network", table, &()).unwrap();
    let streams = Streams::new(2);
    let model = EnergyModel::initial(&*network, architecture, 1.0, &data, &streams).unwrap();
    let settings: crate::training::TrainSettings = toml::from_str(&format!(
        "ema_decay = 0.98
         [[stages]]
         name = 'only'
         n_steps = {steps}
         batch_size = 256
         learning_rate = 5e-3
         warmup_steps = 20
         times = {{ {times} }}
         objectives = [{objectives}]"
    ))
    .unwrap();
    let mut trainer = Trainer::new(model, &settings, data, streams).unwrap();
    while trainer.step().unwrap().is_some() {}
    (problem, trainer.into_model().unwrap())
}

const DSM: &str = "{ kind = 'denoising_score_matching' }";
const STATES: &str = "{ kind = 'state_classification' }";

/// Where modes overlap, the probability of each is the posterior of the law at every time, and the energy is still that of the law.
#[test]
fn state_classification_finds_the_posterior_of_overlapping_modes() {
    let errors = |steps: usize, objectives: &str| {
        let (problem, model) = with_states(3.0, steps, "", objectives);
        let noise = *model.noise();
        let mut errors = vec![];
        for (level, t) in noise.log_snr_grid(5).into_iter().enumerate() {
            let (n, exact) = (512, problem.path(noise));
            let mut x = vec![0.0; 2 * n];
            for (idx, x) in x.chunks_exact_mut(2).enumerate() {
                let own = Streams::new(7).derive(level as u64);
                exact.sample(t, &mut own.stream(crate::random::Purpose::Validation, idx as u64), x);
            }
            let log_of = |mode: usize| {
                let path =
                    crate::potential::analytic::DiffusedMixture::new(problem.modes[mode].clone(), noise);
                let mut u = vec![0.0; n];
                crate::potential::PotentialPath::energies(&path, &vec![t; n], &x, &mut u).unwrap();
                u.iter().map(|u| problem.weights[mode].ln() - u).collect::<Vec<f64>>()
            };
            let (a, b) = (log_of(0), log_of(1));
            let found = model.state_probabilities(&vec![t; n], &x).unwrap();
            let differences = (0..n).map(|k| (found[2 * k] - 1.0 / (1.0 + (b[k] - a[k]).exp())).abs());
            errors.push(differences.sum::<f64>() / n as f64);
        }
        let assessed =
            assess(&problem, &model, Learns::Path, &SETTINGS, &Streams::new(2), &mut silent).unwrap();
        (errors, assessed)
    };
    let (before, untrained) = errors(1, &format!("{DSM}, {STATES}"));
    let (after, trained) = errors(3000, &format!("{DSM}, {STATES}"));
    assert!(before.iter().all(|error| *error > 0.25), "{before:?}");
    assert!(after.iter().all(|error| *error < 0.03), "{after:?}");
    let [untrained, trained] = [untrained, trained].map(|found| found.variance_within_levels);
    assert!(trained < 0.06 && trained < 0.5 * untrained, "{untrained} {trained}");
}

/// Separated modes are told from each other without an error, whatever they weigh.
#[test]
fn state_classification_does_not_fix_the_weights_of_separated_modes() {
    let of = |times: &str, objectives: &str| {
        let (problem, model) = with_states(12.0, 1500, times, objectives);
        let found = assess(&problem, &model, Learns::Path, &SETTINGS, &Streams::new(2), &mut silent).unwrap();
        found.weight_error
    };
    let states = of("", &format!("{DSM}, {STATES}"));
    let tied = format!("{DSM}, {STATES}, {{ kind = 'diffusive_classification', weight = 0.3 }}");
    let tied = of("n_times = 2, neighbour_step = 2.8", &tied);
    assert!(states > 0.3 && tied < 0.1, "{states} {tied}");
}

/// The law itself has no error by any of the measures: all that is compared is compared with the same thing.
#[test]
fn an_assessment_of_an_untrained_model_is_that_of_the_gaussian() {
    let problem = problem();
    let config: BenchmarkConfig = toml::from_str(suite("mixtures_small").unwrap()).unwrap();
    config.problems().unwrap();
    let architecture = Architecture::of_vectors(2, config.noise);
    let network = NETWORKS.build("network", config.network.clone(), &()).unwrap();
    let frames: Vec<f32> = problem.sample(200, &Streams::new(1)).iter().map(|x| *x as f32).collect();
    let data = TrainingData::of_frames(architecture.space, &frames);
    let streams = Streams::new(2);
    let model = EnergyModel::initial(&*network, architecture, 1.0, &data, &streams).unwrap();
    let settings = AssessSettings { n_points: 20_000, n_samples: 2000, n_steps: 50, ..SETTINGS };
    let found = assess(&problem, &model, Learns::Path, &settings, &streams, &mut silent).unwrap();
    // Under N(0, 1) in the plane the modes of this mixture have the masses ∫ N(x) r_k(x) dx, by quadrature.
    let mut masses = [0.0; 2];
    for i in -400..400 {
        for j in -400..400 {
            let x = [(f64::from(i) + 0.5) * 0.015, (f64::from(j) + 0.5) * 0.015];
            let density = |mixture: &crate::potential::analytic::GaussianMixture| {
                let mut u = [0.0];
                crate::potential::ReducedPotential::energies(mixture, &x, &mut u).unwrap();
                (-u[0]).exp()
            };
            let gaussian = (-0.5 * (x[0] * x[0] + x[1] * x[1])).exp() / std::f64::consts::TAU;
            for (mode, mass) in masses.iter_mut().enumerate() {
                let share = problem.weights[mode] * density(&problem.modes[mode]) / density(&problem.mixture);
                *mass += gaussian * share * 0.015 * 0.015;
            }
        }
    }
    assert!((found.weights[0] - masses[0]).abs() < 0.03, "{:?} {masses:?}", found.weights);
    assert!(found.log_z.abs() < 0.05, "{}", found.log_z);
    // At the noise end the Gaussian is right.
    let last = found.levels.last().unwrap();
    assert!(last.ess > 0.999 && last.fisher_divergence < 1e-3 && last.mean_difference.abs() < 1e-2);
    assert!(found.levels[0].ess < 0.95 && found.mmd_squared > 0.001 && found.sliced_wasserstein > 0.02);
}

#[test]
fn suites_are_valid_and_mistakes_are_named() {
    for (name, _) in SUITES {
        let config: BenchmarkConfig = toml::from_str(suite(name).unwrap()).unwrap();
        assert!(!config.problems().unwrap().is_empty() || !config.molecules.is_empty());
    }
    assert!(suite("molecule").unwrap_err().to_string().contains("known: molecules, mixtures"));
    let with = |from: &str, to: &str| {
        let text = suite("mixtures_small").unwrap().replacen(from, to, 1);
        let config: BenchmarkConfig = toml::from_str(&text).unwrap();
        config.problems().unwrap_err().to_string()
    };
    assert!(with("n_training = 2000", "n_training = 3").contains("n_training"));
    assert!(with("name = \"diffclf\"", "name = \"dsm\"").contains("methods[1].name"));
    // Directories are PROBLEM.METHOD.SEED.
    assert!(with("name = \"diffclf\"", "name = \"diff.clf\"").contains("methods[1].name"));
    // Without a contrast energy matching is a flow, and no energy.
    let text = suite("mixtures_small").unwrap().replacen(
        "[{ kind = \"energy_matching\" }]",
        "[{ kind = \"energy_matching\", contrast = 0.0 }]",
        1,
    );
    let text = text.replace("times = { n_times = 3 }\n", "");
    let learned = |text: &str| -> Vec<Learns> {
        let config: BenchmarkConfig = toml::from_str(text).unwrap();
        config.problems().unwrap();
        config
            .methods
            .iter()
            .map(|method| method.train(2).learns())
            .filter(|learns| *learns != Learns::Path)
            .collect()
    };
    assert_eq!(learned(suite("mixtures_small").unwrap()), [Learns::DataEnd, Learns::Generator]);
    assert_eq!(learned(&text), [Learns::Generator, Learns::Generator]);
    assert!(with("times = { n_times = 5 }", "times = { n_times = 3 }").contains("must be 5"));
    let exact = "kind = \"fokker_planck\", trace = \"exact\",";
    assert!(with("kind = \"fokker_planck\",", exact).contains("must be 2"));
    assert!(
        with("n_seeds = 1", "n_seeds = 1\nproblems = [\"nothing\"]").contains("known: two_modes_2d_8sigma")
    );
    assert!(with("kind = \"vector\"", "kind = \"vektor\"").contains("vector"));
}
