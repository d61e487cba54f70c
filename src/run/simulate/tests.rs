//! Whole simulations of four atoms in a chain, from their files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::config::SimulationConfig;
use super::molecule::{Molecule, read_frames};
use super::plan::Mechanics;
use super::schedule::Schedule;
use super::stage::Simulation;
use crate::error::{Error, Result};
use crate::force_field::{
    Exception, HarmonicAngle, HarmonicBond, Nonbonded, NonbondedMethod, Parameters, PeriodicTorsion,
};
use crate::potential::{AlchemicalPath, MolecularMechanics};
use crate::run::control::{Control, Progress};
use crate::run::directory::{RunDirectory, read_json};
use crate::system::{Atom, Topology};

/// Four carbons with charges at the ends, which the 1-4 exception lets attract each other.
fn chain() -> Parameters {
    let atom = |k: usize| Atom {
        name: format!("C{}", k + 1),
        element: "C".into(),
        residue_name: "CHN".into(),
        residue_id: 1,
        chain: String::new(),
        mass_da: 14.0,
    };
    let topology = Topology::new((0..4).map(atom).collect(), vec![[0, 1], [1, 2], [2, 3]]);
    let bond = |i: usize| HarmonicBond { atoms: [i, i + 1], length_nm: 0.153, stiffness: 2e5 };
    let angle = |i: usize| HarmonicAngle { atoms: [i, i + 1, i + 2], angle_rad: 1.95, stiffness: 500.0 };
    let exception = |i: usize, j: usize, charge_product: f64| Exception {
        atoms: [i, j],
        charge_product,
        sigma_nm: 0.3,
        epsilon: 0.0,
    };
    Parameters {
        topology,
        bonds: (0..3).map(bond).collect(),
        angles: (0..2).map(angle).collect(),
        torsions: vec![PeriodicTorsion { atoms: [0, 1, 2, 3], periodicity: 3, phase_rad: 0.0, barrier: 6.0 }],
        nonbonded: Nonbonded {
            charges: vec![0.2, 0.0, 0.0, -0.2],
            sigma_nm: vec![0.3; 4],
            epsilon: vec![0.4; 4],
            pair_table: None,
            exceptions: vec![
                exception(0, 1, 0.0),
                exception(1, 2, 0.0),
                exception(2, 3, 0.0),
                exception(0, 2, 0.0),
                exception(1, 3, 0.0),
                exception(0, 3, -0.03),
            ],
            method: NonbondedMethod::NoCutoff,
        },
        ..Parameters::default()
    }
}

const ZIGZAG: [f64; 12] = [0.0, 0.0, 0.0, 0.15, 0.0, 0.0, 0.2, 0.14, 0.0, 0.35, 0.15, 0.02];

const SHORT: &str = "[dynamics]\ntime_step = \"2 fs\"\nconstraints = \"none\"\nequilibration = \"2 ps\"\nduration = \"6 ps\"\n\
                     record_every = \"0.1 ps\"\n";

/// Stops a run once it has come so far.
struct StopAt {
    step: u64,
    flag: std::sync::Mutex<Option<Arc<AtomicBool>>>,
}

impl Progress for StopAt {
    fn begin(&self, _: &str, _: u64) {}
    fn advance(&self, done: u64, _: &str) {
        if done >= self.step
            && let Some(flag) = &*self.flag.lock().unwrap()
        {
            flag.store(true, Ordering::Relaxed);
        }
    }
    fn end(&self, _: &str) {}
    fn note(&self, _: &str) {}
}

fn simulate(text: &str, directory: &Path, stop_at: Option<u64>) -> Result<()> {
    let text = format!("name = \"chain\"\nseed = 7\n[system]\ntopology = \"chain\"\n{text}");
    let config: SimulationConfig = toml::from_str(&text).unwrap();
    config.validate()?;
    let path = if config.lambda_path().is_some() {
        AlchemicalPath::Charges { atoms: vec![0, 3] }
    } else {
        AlchemicalPath::None
    };
    let parameters = chain();
    let mechanics = Mechanics(MolecularMechanics::along(&parameters, path)?);
    let molecule =
        Molecule::new(&config, "chain".into(), &parameters, Box::new(mechanics), Some(ZIGZAG.to_vec()))?;
    let (run, _) = RunDirectory::open(directory, &text, &text)?;
    let control = match stop_at {
        None => Control::default(),
        Some(step) => {
            let progress = Arc::new(StopAt { step, flag: std::sync::Mutex::new(None) });
            let control = Control::new(progress.clone());
            *progress.flag.lock().unwrap() = Some(control.stop_flag());
            control
        }
    };
    let simulation = Simulation {
        schedule: Schedule::new(&config)?,
        config: &config,
        molecule: &molecule,
        directory: run.main().begin("simulation")?,
        run: &run,
        control: &control,
    };
    simulation.run()?;
    run.main().finish("simulation").map(|_| ())
}

/// All files of a finished simulation without what tells the time.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory.join("simulation")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut bytes = std::fs::read(&path).unwrap();
        if name == "summary.json" {
            let mut value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            let timed = |name: &str| name.contains("second") || name.contains("per_day");
            value.as_object_mut().unwrap().retain(|name, _| !timed(name));
            bytes = value.to_string().into_bytes();
        }
        if name != "checkpoint.toml" {
            found.insert(name, bytes);
        }
    }
    found
}

fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (files(a), files(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    let differ: Vec<&String> = a.keys().filter(|name| a[*name] != b[*name]).collect();
    assert!(differ.is_empty(), "these differ: {differ:?}");
}

fn column(directory: &Path, file: &str, name: &str) -> Vec<f64> {
    let mut reader = csv::Reader::from_path(directory.join("simulation").join(file)).unwrap();
    let idx = reader.headers().unwrap().iter().position(|header| header == name).unwrap();
    reader.records().map(|row| row.unwrap()[idx].parse().unwrap()).collect()
}

const TEMPERING: &str = "n_walkers = 2\n[replica_exchange]\nkind = \"temperature\"\nhighest = \"900 K\"\nn_replicas = 3\n\
                         every = \"40 fs\"\n[pivots]\nevery = \"20 fs\"\nbonds = [[1, 2]]\n";

#[test]
fn an_interrupted_run_and_another_number_of_threads_give_the_same_bits() {
    let home = tempfile::tempdir().unwrap();
    let hmc = SHORT.replace("constraints", "integrator = \"hmc\"\nn_leapfrog = 5\nconstraints");
    let mala = SHORT.replace("constraints", "integrator = \"mala\"\nconstraints");
    let exchanges = TEMPERING.replace("every = \"20 fs\"", "every = \"40 fs\"");
    let cases = [
        ("langevin", format!("{SHORT}{TEMPERING}")),
        ("hmc", format!("{hmc}{exchanges}")),
        ("mala", format!("{mala}n_walkers = 3\n")),
    ];
    for (name, text) in cases {
        let path = |part: &str| home.path().join(format!("{name}_{part}"));
        let (whole, cut, threads) = (path("whole"), path("cut"), path("threads"));
        simulate(&text, &whole, None).unwrap();
        // In equilibration, before and after it, with another process each time.
        for step in [300, 1500, 2500] {
            let error = simulate(&text, &cut, Some(step)).unwrap_err();
            assert!(matches!(error, Error::Interrupted { .. }), "{error}");
        }
        // What a killed process left behind the checkpoint does not count.
        let energies = cut.join("simulation.partial/energies.csv");
        let mut bytes = std::fs::read(&energies).unwrap();
        bytes.extend_from_slice(b"9999,0,0,1");
        std::fs::write(&energies, bytes).unwrap();
        simulate(&text, &cut, None).unwrap();
        assert_same(&whole, &cut);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        pool.install(|| simulate(&text, &threads, None)).unwrap();
        assert_same(&whole, &threads);
    }
}

#[test]
fn parallel_tempering_records_every_state_at_its_temperature() {
    let home = tempfile::tempdir().unwrap();
    let text = format!("{}{TEMPERING}", SHORT.replace("duration = \"6 ps\"", "duration = \"150 ps\""));
    simulate(&text, home.path(), None).unwrap();
    let n_frames = 1500;
    for state in 0..3 {
        for ladder in 0..2 {
            let name = format!("temperature_{state}_walker_{ladder}");
            let path = home.path().join(format!("simulation/{name}.dcd"));
            assert_eq!(read_frames(&path, 4).unwrap().n_frames(), n_frames);
            // u_k of the same frame differ by the temperature alone.
            let file = format!("u_kn_{name}.csv");
            let (first, last) = (column(home.path(), &file, "u_0"), column(home.path(), &file, "u_2"));
            assert_eq!(first.len(), n_frames);
            assert!(first.iter().zip(&last).all(|(a, b)| (a - 3.0 * b).abs() < 1e-5));
        }
    }
    let temperatures = column(home.path(), "states.csv", "temperature_K");
    assert!((temperatures[0] - 300.0).abs() < 1e-9 && (temperatures[2] - 900.0).abs() < 1e-9);
    for what in ["kinetic", "configurational"] {
        let measured = column(home.path(), "states.csv", &format!("{what}_temperature_K"));
        let errors = column(home.path(), "states.csv", &format!("{what}_temperature_std_error_K"));
        for ((bath, measured), error) in temperatures.iter().zip(measured).zip(errors) {
            assert!(
                (measured - bath).abs() < 4.0 * error + 0.01 * bath,
                "{what} {measured} ± {error}, {bath}"
            );
            // The virial fluctuates with the forces of bonds.
            assert!(error < if what == "kinetic" { 0.03 } else { 0.2 } * bath, "{what} ± {error}");
        }
    }
    let energies = column(home.path(), "states.csv", "potential_kJ_per_mol");
    assert!(energies[0] < energies[1] && energies[1] < energies[2]);
    let summary: serde_json::Value = read_json(&home.path().join("simulation/summary.json")).unwrap();
    assert!(summary["round_trips"]["value"].as_f64().unwrap() > 20.0, "{summary}");
    assert!(summary["exchange_least_acceptance"]["value"].as_f64().unwrap() > 0.1);
    let verdict: serde_json::Value = read_json(&home.path().join("simulation/verdict.json")).unwrap();
    assert_eq!(verdict["trustworthy"], true, "{verdict}");
    // Frames say which walker they are from, and every walker meets every temperature.
    let (walkers, states) =
        (column(home.path(), "frames.csv", "walker"), column(home.path(), "frames.csv", "state"));
    for walker in 0..6 {
        for state in 0..3 {
            let met = walkers.iter().zip(&states).any(|(w, s)| *w as usize == walker && *s as usize == state);
            assert!(met, "walker {walker} was never in state {state}");
        }
    }
}

#[test]
fn windows_record_reduced_energies_and_their_exact_derivative() {
    let home = tempfile::tempdir().unwrap();
    let text =
        format!("{SHORT}[lambda_windows]\npath = \"charges\"\natoms = \"all\"\nlambdas = [0.0, 0.5, 1.0]\n");
    simulate(&text, home.path(), None).unwrap();
    let summary: serde_json::Value = read_json(&home.path().join("simulation/summary.json")).unwrap();
    let roads = ["free_energy_mbar", "free_energy_ti"].map(|name| summary[name]["value"].as_f64().unwrap());
    assert!((roads[0] - roads[1]).abs() < 0.5, "{summary}");
    for (state, lambda) in [0.0, 0.5, 1.0].into_iter().enumerate() {
        let file = format!("u_kn_lambda_{state}.csv");
        let u: Vec<Vec<f64>> = (0..3).map(|k| column(home.path(), &file, &format!("u_{k}"))).collect();
        let derivative = column(home.path(), &file, "dU_dlambda_kT");
        assert_eq!(derivative.len(), 60);
        for (frame, derivative) in derivative.iter().enumerate() {
            // u is a parabola in λ: its derivative follows from three points.
            let (a, b, c) = (u[0][frame], u[1][frame], u[2][frame]);
            let exact = (4.0 * b - 3.0 * a - c) + 2.0 * lambda * (2.0 * a - 4.0 * b + 2.0 * c);
            assert!((derivative - exact).abs() < 2e-5, "{derivative} {exact}");
        }
        let energies = column(home.path(), "energies.csv", "potential_kJ_per_mol");
        let states = column(home.path(), "energies.csv", "state");
        let own = energies.iter().zip(&states).filter(|(_, s)| **s as usize == state);
        let kt = 300.0 * crate::units::GAS_CONSTANT;
        assert!(own.zip(&u[state]).all(|((energy, _), u)| (energy / kt - u).abs() < 2e-6));
    }
}

#[test]
fn exchange_along_lambda_runs_and_few_samples_are_not_trusted() {
    let home = tempfile::tempdir().unwrap();
    let ladder = "[replica_exchange]\nkind = \"lambda\"\npath = \"charges\"\nlambdas = [1.0, 0.5, 0.0]\nevery = \"40 fs\"\n";
    let output =
        "[output]\nselection = \"name C1 C4\"\nformat = \"xtc\"\n[verdict]\nmin_effective_samples = 1e6\n";
    simulate(&format!("{SHORT}{ladder}{output}"), home.path(), None).unwrap();
    let acceptance = column(home.path(), "exchange.csv", "acceptance");
    assert!(acceptance.iter().all(|a| *a > 0.3), "{acceptance:?}");
    let verdict: serde_json::Value = read_json(&home.path().join("simulation/verdict.json")).unwrap();
    assert_eq!(verdict["trustworthy"], false);
    let topology =
        crate::trajectory::read_structure(&home.path().join("simulation/topology.pdb")).unwrap().topology;
    assert_eq!(topology.n_atoms(), 2);
    let path = home.path().join("simulation/lambda_0.xtc");
    assert_eq!(read_frames(&path, 2).unwrap().n_frames(), 60);
}

#[test]
fn a_step_that_is_too_long_stops_with_the_last_good_structure() {
    let home = tempfile::tempdir().unwrap();
    let text = SHORT.replace("2 fs", "25 fs").replace("minimize = true", "");
    let error = simulate(&text, home.path(), None).unwrap_err();
    let Error::BlownUp { atoms, structure, .. } = &error else { panic!("{error}") };
    assert!(atoms.contains("C") && error.to_string().contains("shorter time step"), "{error}");
    let read = crate::trajectory::read_structure(Path::new(structure)).unwrap();
    assert!(read.positions_nm.unwrap().iter().all(|x| x.is_finite()));
}
