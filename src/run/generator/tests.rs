use std::path::Path;

use serde_json::Value;

use super::*;
use crate::run::Variants;
use crate::trajectory::{Ensemble, write_trajectory};

/// The whole job in two seconds; what it learns is worth nothing.
const TINY: &str = r#"
kind = "boltzmann_generator"
name = "tiny"
[system]
topology = "alanine_dipeptide"
[data]
simulate = { n_frames = 640, every = "0.05 ps", n_walkers = 32, equilibration = "0.5 ps" }
[[collective_variables]]
name = "phi"
kind = "dihedral"
beads = [4, 6, 8, 14]
[[collective_variables]]
name = "psi"
kind = "dihedral"
beads = [6, 8, 14, 16]
[[states]]
name = "alpha_r"
phi = ["-180 deg", "0 deg"]
psi = ["-120 deg", "60 deg"]
[[train.stages]]
name = "score"
n_steps = 6
batch_size = 32
learning_rate = 1e-3
objectives = [{ kind = "target_score_matching" }]
[generate]
n_samples = 64
reverse_diffusion = { n_steps = 8 }
n_corrected = 64
particle_diffusion = { n_steps = 8, particles = { n_particles = 32, n_islands = 2, n_pilot = 16, n_moves = 1 } }
annealed = { n_walkers = 64, n_pilot = 16, conditional_ess = 0.2, n_moves = 1 }
[correct]
n_levels = 3
switching = { n_moves = 1, n_pilot = 16 }
[replica_exchange]
n_levels = 4
n_ladders = 2
n_local_moves = 1
n_placements = 1
n_placement_sweeps = 2
n_relaxation = 2
n_sweeps = 4
keep_every = 1
[reweight]
temperatures = ["350 K"]
implicit_solvents = ["gbn2"]
[reference]
ensemble = { n_frames = 640, every = "0.05 ps", n_walkers = 32, equilibration = "0.5 ps" }
plain = { n_frames = 64, every = "0.05 ps", n_walkers = 32, equilibration = "0.5 ps", pivots = false }
[reference.tempering.exchange]
n_levels = 2
n_ladders = 2
n_local_moves = 1
n_placements = 1
n_placement_sweeps = 2
n_relaxation = 2
n_sweeps = 4
keep_every = 1
"#;

fn request(directory: &Path, text: &str, assignments: &[String]) -> Request {
    let config = directory.join("tiny.toml");
    std::fs::write(&config, text).unwrap();
    Request {
        config,
        out: Some(directory.join("out")),
        device: None,
        seed: None,
        assignments: assignments.to_vec(),
        resume: true,
        variants: Variants::None,
        command: "test".into(),
    }
}

/// `summary.json` without what depends on the clock.
fn numbers(outcome: &Outcome) -> Vec<(String, Value)> {
    let entries = outcome.summary.as_object().unwrap().clone();
    entries.into_iter().filter(|(name, _)| !name.ends_with("_seconds") && name != "peak_memory_mib").collect()
}

#[test]
fn stages_that_are_done_again_give_the_same_numbers() {
    let home = tempfile::tempdir().unwrap();
    let request = request(home.path(), TINY, &[]);
    assert!(is_generator(&request.config));
    let control = Control::default();
    let first = run(&request, &control).unwrap();
    assert_eq!(first.status, "finished");
    // Nothing was learned, and the run says so.
    assert!(!first.trustworthy && first.sentence.contains("worth"), "{}", first.sentence);
    for name in
        ["ess_fraction", "ess_fraction_ais", "js_generated", "population_alpha_r_direct", "validation_dsm"]
    {
        assert!(first.summary[name]["method"].is_string(), "{name}");
    }
    let report = std::fs::read_to_string(home.path().join("out/report/report.html")).unwrap();
    assert!(report.contains("Boltzmann generator of alanine_dipeptide"));
    assert_eq!(run(&request, &control).unwrap().status, "already_finished");

    // A kill in the middle of `generate`: one set is finished, the next ones are not.
    let out = home.path().join("out");
    for stage in ["report", "compare", "reference", "replica_exchange", "correct"] {
        std::fs::remove_dir_all(out.join(stage)).unwrap();
    }
    std::fs::rename(out.join("generate"), out.join("generate.partial")).unwrap();
    for name in ["particles", "annealed"] {
        std::fs::remove_file(out.join(format!("generate.partial/{name}.json"))).unwrap();
    }
    let again = run(&request, &control).unwrap();
    assert_eq!(numbers(&first), numbers(&again));
}

#[test]
fn frames_of_something_else_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let plan = Plan::resolve(&request(home.path(), TINY, &[])).unwrap();
    let topology = &plan.base.parameters.topology;
    // The atoms in the opposite order.
    let x = plan.positions_nm.clone().unwrap();
    let reversed: Vec<f64> = x.chunks_exact(3).rev().flatten().copied().collect();
    let path = home.path().join("other.dcd");
    write_trajectory(&path, topology, &Ensemble::new(22, reversed.repeat(300)).unwrap()).unwrap();
    let assignment = format!("data.trajectory=[\"{}\"]", path.display());
    let wrong = request(home.path(), TINY, &[assignment]);
    let message = run(&wrong, &Control::default()).unwrap_err().to_string();
    assert!(message.contains("frames of this molecule"), "{message}");
}

#[test]
fn what_cannot_be_meant_is_found_before_any_work() {
    let home = tempfile::tempdir().unwrap();
    for (assignment, expected) in [
        ("reweight.temperatures=[\"300 K\"]", "is the temperature of the frames"),
        ("reweight.implicit_solvents=[\"obc9\"]", "reweight.implicit_solvents[0]"),
        ("system.topology=\"alanine_dipeptid\"", "alanine_dipeptide"),
        ("generate.n_sample=3", "n_samples"),
    ] {
        let request = request(home.path(), TINY, &[assignment.to_string()]);
        let message = check(&request).err().unwrap().to_string();
        assert!(message.contains(expected), "{assignment}: {message}");
        assert!(!home.path().join("out").exists());
    }
}

#[test]
fn the_example_is_a_configuration_and_its_plan_is_one_as_well() {
    let example = include_str!("../../../examples/boltzmann_generator/alanine_dipeptide.toml");
    let home = tempfile::tempdir().unwrap();
    let plan = check(&request(home.path(), example, &[])).unwrap();
    let names: Vec<&str> = plan.states().map(|state| state.name.as_str()).collect();
    assert_eq!(names, ["300K", "350K", "obc2", "gbn2"]);
    let again = check(&request(home.path(), plan.text(), &[])).unwrap();
    assert_eq!(again.config, plan.config);
}
