//! Models that hardly learned anything: a composition must be right whatever its parts are.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::*;
use crate::model::EnergyModel;
use crate::potential::{PotentialPath as _, Restraint, Restraints};
use crate::random::Purpose;
use crate::run::Variants;
use crate::run::directory::Layout;
use crate::sampling::{Bridge, SequentialMonteCarloSettings, sequential_monte_carlo, silent};
use crate::system::collective_variable::Dihedral;

/// Two runs of five beads with a model each: of the implicit solvent with levels tied, and of vacuum without.
static RUNS: LazyLock<(tempfile::TempDir, [PathBuf; 2])> = LazyLock::new(|| {
    let home = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/alanine_dipeptide/data");
    let runs = [("implicit", true), ("vacuum", false)].map(|(name, ties)| {
        let objectives = match ties {
            true => "{ kind = 'denoising_score_matching' }, { kind = 'diffusive_classification' }",
            false => "{ kind = 'denoising_score_matching' }",
        };
        let text = format!(
            "name = '{name}'\n[data]\ntopology = '{data}/heavy.pdb'\ntrajectory = '{data}/{name}_300K_heavy.dcd'\n\
             temperature = '300 K'\nselection = 'name N CA C and not (resname NME and name C)'\n\
             frames = {{ stride = 25 }}\n[[states]]\nname = 'alpha_r'\nphi = ['-180 deg', '0 deg']\n\
             psi = ['-120 deg', '60 deg']\n[[states]]\nname = 'bent'\nphi = ['-100 deg', '0 deg']\n\
             [model.network]\nkind = 'whitened'\nhidden = [16]\ntime_splines = 9\n[[train.stages]]\nname = 'one'\n\
             n_steps = 150\nbatch_size = 128\nlearning_rate = 3e-3\ntimes = {{ n_times = 2 }}\n\
             objectives = [{objectives}]\n",
            data = data.display()
        );
        let config = home.path().join(format!("{name}.toml"));
        std::fs::write(&config, text).unwrap();
        let out = home.path().join(name);
        let request = Request { out: Some(out.clone()), ..request(&config) };
        crate::run::stage("train", &request, &Control::default()).unwrap();
        out
    });
    (home, runs)
});

fn request(config: &Path) -> Request {
    Request {
        config: config.to_path_buf(),
        out: None,
        device: None,
        seed: None,
        assignments: Vec::new(),
        resume: true,
        variants: Variants::None,
        command: "test".into(),
    }
}

fn models() -> [EnergyModel; 2] {
    RUNS.1.clone().map(|run| {
        let train = Layout::at(&run).finished("train").unwrap();
        crate::model::checkpoint::load(&train).unwrap().0
    })
}

fn law<'a>(how: How, parts: Vec<(&'a EnergyModel, f64)>) -> Law<'a> {
    let restraints = Restraints::new(parts[0].0.space(), Vec::new()).unwrap();
    Law { how, parts, confinement: 0.0, restraints }
}

/// Conformations about as wide as the data, nm.
fn conformations(model: &EnergyModel, n: usize) -> Vec<f64> {
    let space = model.space();
    let mut x = vec![0.0; n * space.dimension()];
    for (idx, x) in x.chunks_exact_mut(space.dimension()).enumerate() {
        space.fill_normal(&mut Streams::new(4).stream(Purpose::Walker, idx as u64), x);
        x.iter_mut().for_each(|x| *x *= model.length_scale_nm);
    }
    x
}

/// −log of the density in nm: the energy of the model at x = r/ℓ and the Jacobian, by hand.
fn by_hand(model: &EnergyModel, positions_nm: &[f64], t: f64) -> Vec<f64> {
    let x: Vec<f64> = positions_nm.iter().map(|nm| nm / model.length_scale_nm).collect();
    let mut u = vec![0.0; x.len() / model.space().dimension()];
    model.energies(&vec![t; u.len()], &x, &mut u).unwrap();
    let jacobian = 12.0 * model.length_scale_nm.ln();
    u.into_iter().map(|u| u + jacobian).collect()
}

fn close(found: &[f64], expected: &[f64]) {
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-3 * (1.0 + expected.abs()), "{found} {expected}");
    }
}

#[test]
fn energies_in_nm_are_sums_and_mixtures_of_those_of_each_model() {
    let [a, b] = &models();
    // The frames have different widths, and so the models different reduced lengths.
    assert!((a.length_scale_nm / b.length_scale_nm - 1.0).abs() > 1e-3);
    let r = conformations(a, 40);
    let data_end = a.range().0;
    let (of_a, of_b) = (by_hand(a, &r, data_end), by_hand(b, &r, data_end));
    close(&Law::of_one(a).unwrap().energies(&r).unwrap(), &of_a);
    let sum: Vec<f64> = of_a.iter().zip(&of_b).map(|(a, b)| 0.7 * a + 0.6 * b).collect();
    close(&law(How::Product, vec![(a, 0.7), (b, 0.6)]).energies(&r).unwrap(), &sum);
    let halves = law(How::Product, vec![(a, 0.5), (a, 0.5)]);
    close(&halves.energies(&r).unwrap(), &of_a);
    let itself = law(How::Mixture, vec![(a, 0.2), (a, 0.8)]);
    close(&itself.energies(&r).unwrap(), &of_a);
    let mixed = of_a.iter().zip(&of_b).map(|(a, b)| a - (0.25 + 0.75 * (a - b).exp()).ln());
    close(&law(How::Mixture, vec![(a, 1.0), (b, 3.0)]).energies(&r).unwrap(), &mixed.collect::<Vec<_>>());
    let confined = Law { confinement: 40.0, ..law(How::Product, vec![(a, 2.0), (b, -1.0)]) };
    let divided = of_a.iter().zip(&of_b).zip(r.chunks(15));
    let divided = divided.map(|((a, b), r)| 2.0 * a - b + 20.0 * r.iter().map(|r| r * r).sum::<f64>());
    close(&confined.energies(&r).unwrap(), &divided.collect::<Vec<_>>());
    // Half way along the path as well: each part at its own noise in nm.
    let product = law(How::Product, vec![(a, 0.7), (b, 0.6)]);
    product
        .along(|bridge| {
            let (of_a, of_b) = (by_hand(a, &r, 0.4), by_hand(b, &r, 0.4));
            let mut u = vec![0.0; 40];
            bridge.path.energies(&[0.4; 40], &r, &mut u)?;
            let sum: Vec<f64> = of_a.iter().zip(&of_b).map(|(a, b)| 0.7 * a + 0.6 * b).collect();
            close(&u, &sum);
            let variance = 1.0 / (0.7 / a.length_scale_nm.powi(2) + 0.6 / b.length_scale_nm.powi(2));
            assert!((bridge.reference_deviation.powi(2) / variance - 1.0).abs() < 1e-3);
            Ok(())
        })
        .unwrap();
    assert!(law(How::Product, vec![(a, -1.0)]).validate().is_err());
    let weak = Law { confinement: 1e-3, ..law(How::Product, vec![(a, -1.0)]) };
    assert!(weak.validate().unwrap_err().to_string().contains("too little"));
}

#[test]
fn restraints_vanish_in_noise_and_are_whole_at_the_data() {
    let [a, _] = &models();
    let phi = Dihedral::new("phi", [0, 1, 2, 3]);
    let restraint = Restraint::new(&phi, (1.0, 1.0), 8.0).unwrap();
    let restraints = Restraints::new(a.space(), vec![restraint]).unwrap();
    let guided = Law { restraints, ..law(How::Product, vec![(a, 1.0)]) };
    let r = conformations(a, 20);
    let mut v = vec![0.0; 20];
    guided.restraints.energies(&r, &mut v).unwrap();
    let (first, last) = a.range();
    let strength = |t: f64| {
        guided
            .along(|bridge| {
                let mut u = vec![0.0; 20];
                bridge.path.energies(&[t; 20], &r, &mut u)?;
                let plain = by_hand(a, &r, t);
                let [share, other] = [0, 7].map(|idx| (u[idx] - plain[idx]) / v[idx]);
                assert!((share - other).abs() < 1e-3, "{share} {other}");
                Ok(share)
            })
            .unwrap()
    };
    assert!((strength(first) - 1.0).abs() < 1e-3 && strength(last).abs() < 1e-3);
    assert!(strength(0.3) > strength(0.5) && strength(0.5) > strength(0.7) && strength(0.7) > 0.0);
    // ∂u/∂t is what it is told to be, in double precision of the restraint alone.
    guided
        .along(|bridge| {
            let rates = |path: &dyn crate::potential::PotentialPath| {
                let mut rate = vec![0.0; 20];
                path.lambda_derivatives(&[0.4; 20], &r, &mut rate).map(|()| rate)
            };
            let own = Law::of_one(a)?.along(|plain| rates(plain.path))?;
            let found = rates(bridge.path)?[3] - own[3];
            let expected = v[3] * (strength(0.405) - strength(0.395)) / 0.01;
            assert!((found / expected - 1.0).abs() < 0.02, "{found} {expected}");
            Ok(())
        })
        .unwrap();
}

const SMC: SequentialMonteCarloSettings = SequentialMonteCarloSettings {
    n_particles: 2048,
    n_islands: 16,
    n_pilot: 128,
    conditional_ess: 0.9,
    resample_below: 0.5,
    n_moves: 3,
    local_move: crate::sampling::LocalMove::Mala { target_acceptance: 0.574 },
};

#[test]
fn one_part_alone_has_the_log_z_of_its_model() {
    let [a, _] = &models();
    let settings = SampleSettings { smc: SMC, ..SampleSettings::default() };
    let one = Law::of_one(a).unwrap();
    let particles = draw(&one, &settings, &Streams::new(1), &mut silent).unwrap();
    let bridge = Bridge::diffusion(a, *a.noise(), 1.0);
    let known = sequential_monte_carlo(bridge, &SMC, &Streams::new(2), &mut silent).unwrap().log_z;
    let agrees = |(value, error): (f64, f64)| {
        let error = error.hypot(known.std_error);
        assert!((value - known.value).abs() < 4.0 * error && error < 0.3, "{value} ± {error}, {known:?}");
    };
    agrees(particles.log_z);
    assert!(particles.reasons.is_empty(), "{:?}", particles.reasons);
    let exchange = crate::run::config::ReplicaSettings {
        n_levels: 16,
        n_ladders: 12,
        n_placements: 3,
        n_relaxation: 60,
        n_sweeps: 500,
        keep_every: 10,
        ..Default::default()
    };
    let settings = SampleSettings { sampler: Sampler::ReplicaExchange, smc: SMC, replica_exchange: exchange };
    let replicas = draw(&one, &settings, &Streams::new(3), &mut silent).unwrap();
    agrees(replicas.log_z);
    assert!(replicas.reasons.is_empty(), "{:?}", replicas.reasons);
    assert_eq!(replicas.positions_nm.len(), 50 * 12 * 15);
    // Without enough levels nothing is exchanged, and the run says so.
    let few = crate::run::config::ReplicaSettings { n_levels: 2, ..settings.replica_exchange };
    let settings = SampleSettings { replica_exchange: few, ..settings };
    let poor = draw(&one, &settings, &Streams::new(3), &mut silent).unwrap();
    assert!(poor.reasons.iter().any(|reason| reason.contains("swap")), "{:?}", poor.reasons);
}

/// A run of this configuration, whose parts are the two of [`RUNS`].
fn compose(name: &str, text: &str) -> Outcome {
    let (home, [implicit, vacuum]) = &*RUNS;
    let text = text
        .replace("IMPLICIT", &implicit.display().to_string())
        .replace("VACUUM", &vacuum.display().to_string());
    let sample = "[sample]\nsmc = { n_particles = 2048, n_islands = 16, n_pilot = 128, n_moves = 3, conditional_ess = 0.9 }\n";
    let config = home.path().join(format!("{name}.toml"));
    let text = format!("kind = 'composition'\nname = '{name}'\n{text}\n{sample}[report]\nn_bootstrap = 5\n");
    std::fs::write(&config, text).unwrap();
    assert!(is_composition(&config));
    let request = Request { out: Some(home.path().join(name)), ..request(&config) };
    run(&request, &Control::default()).unwrap()
}

fn number(outcome: &Outcome, name: &str) -> (f64, f64) {
    let entry = &outcome.summary[name];
    let value = entry["value"].as_f64().unwrap_or_else(|| panic!("no {name}: {}", outcome.summary));
    (value, entry["std_error"].as_f64().unwrap_or(f64::NAN))
}

fn agree(outcome: &Outcome, one: &str, other: &str) {
    let ((a, a_error), (b, b_error)) = (number(outcome, one), number(outcome, other));
    assert!((a - b).abs() < 4.0 * a_error.hypot(b_error), "{one} {a} ± {a_error}, {other} {b} ± {b_error}");
}

#[test]
fn a_guide_changes_populations_as_weights_of_unguided_samples_do() {
    let guide = "[[guides]]\nvariable = 'phi'\ncenter = '-60 deg'\nstiffness = 3.0\n";
    let outcome = compose("guided", &format!("how = 'product'\n[[parts]]\nrun = 'IMPLICIT'\n{guide}"));
    assert!(outcome.trustworthy, "{}", outcome.sentence);
    agree(&outcome, "population_bent_composed", "population_bent_reweighted_1");
    let (free, error) = number(&outcome, "population_bent_part_1");
    let (held, held_error) = number(&outcome, "population_bent_composed");
    assert!(held - free > 5.0 * error.hypot(held_error), "{free} {held}");
    // log Z is log of the mean of exp(−v) in the law alone, which is below 0.
    assert!(number(&outcome, "log_z").0 < -0.5);
    let report = std::fs::read_to_string(outcome.directory.join("report/report.html")).unwrap();
    assert!(report.contains("phi held at −60°") && report.contains("implicit, reweighted"));
    for file in ["figures/surfaces.png", "figures/profiles.svg", "figures/levels.svg", "populations.csv"] {
        assert!(outcome.directory.join("report").join(file).is_file(), "{file}");
    }
    let weights = std::fs::read_to_string(outcome.directory.join("composed/weights.csv")).unwrap();
    let sum: f64 =
        weights.lines().skip(1).map(|row| row.rsplit(',').next().unwrap().parse::<f64>().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9 && weights.lines().count() == 2049);
    // A run that was cut off after the parts ends in the same numbers.
    for part in ["report", "reweighted_1", "composed"] {
        std::fs::remove_dir_all(outcome.directory.join(part)).unwrap();
    }
    std::fs::remove_file(outcome.directory.join("verdict.json")).unwrap();
    let again = run(&request(&outcome.directory), &Control::default()).unwrap();
    assert_eq!(again.summary["log_z"], outcome.summary["log_z"]);
    assert_eq!(
        again.summary["population_bent_reweighted_1"],
        outcome.summary["population_bent_reweighted_1"]
    );
}

#[test]
fn a_mixture_has_its_shares_although_constants_differ() {
    let parts = "[[parts]]\nrun = 'IMPLICIT'\nweight = 1.0\n[[parts]]\nrun = 'VACUUM'\nweight = 2.0\n";
    let outcome = compose("mixture", &format!("how = 'mixture'\n{parts}"));
    assert!(outcome.trustworthy, "{}", outcome.sentence);
    let (log_z, error) = number(&outcome, "log_z");
    assert!(log_z.abs() < 4.0 * error && error < 0.3, "{log_z} ± {error}");
    for state in ["alpha_r", "bent"] {
        let of = |set: &str| format!("population_{state}_{set}");
        agree(&outcome, &of("composed"), &of("pooled"));
        let [a, b] = ["part_1", "part_2"].map(|part| number(&outcome, &of(part)).0);
        let (pooled, _) = number(&outcome, &of("pooled"));
        assert!((pooled - (a + 2.0 * b) / 3.0).abs() < 1e-9, "{pooled} {a} {b}");
    }
    // Nothing is known of the constant of the second part unless it is drawn alone.
    let outcome = compose("untied", &format!("how = 'mixture'\nnormalize = false\n{parts}"));
    assert!(!outcome.trustworthy, "{}", outcome.sentence);
    assert!(outcome.sentence.contains("vacuum was learned without"), "{}", outcome.sentence);
    assert!(!outcome.sentence.contains("implicit was learned without"), "{}", outcome.sentence);
}

#[test]
fn a_product_agrees_with_weights_of_either_part_and_tempering_is_a_power() {
    let parts = "[[parts]]\nrun = 'IMPLICIT'\nweight = 0.5\n[[parts]]\nrun = 'VACUUM'\nweight = 0.5\n";
    let outcome = compose("product", &format!("how = 'product'\n{parts}"));
    assert!(outcome.trustworthy, "{}", outcome.sentence);
    for part in ["1", "2"] {
        agree(&outcome, "population_bent_composed", &format!("population_bent_reweighted_{part}"));
    }
    // Hölder: the integral of √(p q) is at most 1.
    let (log_z, error) = number(&outcome, "log_z");
    assert!(log_z < 3.0 * error, "{log_z} ± {error}");

    let config = RUNS.0.path().join("tempered.toml");
    let text = "kind = 'composition'\nname = 'tempered'\nhow = 'product'\ntemperature = '400 K'\n[[parts]]\n\
                run = 'implicit'\nweight = 2.0\n";
    std::fs::write(&config, text).unwrap();
    let plan = check(&request(&config)).unwrap();
    assert!((plan.parts[0].weight - 1.5).abs() < 1e-12);
    // A plan is its own plan, with absolute paths.
    let own = RUNS.0.path().join("tempered_plan.toml");
    std::fs::write(&own, plan.text()).unwrap();
    assert_eq!(check(&request(&own)).unwrap().text(), plan.text());
}
