//! `kirkwood solvate` as it is typed: its number, its tables, an interruption, and what it refuses.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{json, kirkwood, root, run};

fn arguments<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["solvate", "methanol_obc2", "--out", out, "--json", "--quiet", "--threads", "2"];
    all.extend(more);
    all
}

#[test]
fn methanol_has_the_free_energy_of_a_long_run_and_its_tables_give_it_again() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out").display().to_string();
    let output = run(&arguments(&out, &["--error", "0.05 kcal/mol", "--seed", "5"]));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let result = json(&output);
    let of = |name: &str, what: &str| result["summary"][name][what].as_f64().unwrap();
    let (value, error) = (of("solvation_free_energy", "value"), of("solvation_free_energy", "std_error"));
    // Of a run 400 times as long (`systems/methanol/README.md`).
    let reference = -5.675;
    assert!(error < 0.06 && (value - reference).abs() < 4.0 * error, "{value} ± {error}");
    assert!(result["verdict"].as_str().unwrap().contains("1 M → 1 M"));

    let tables = Path::new(&out).join("windows").display().to_string();
    let again = json(&run(&["estimate", &tables, "--json", "--unit", "kcal/mol"]));
    let mbar = &again["estimates"][0];
    assert_eq!(mbar["estimator"], "mbar");
    assert!((mbar["delta_f"].as_f64().unwrap() - value).abs() < 1e-9, "{mbar}");
    assert!(Path::new(&out).join("report/report.html").is_file());
}

#[test]
fn an_interrupted_run_comes_to_the_same_numbers() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    let (whole, cut) = (path("whole"), path("cut"));
    let more = ["--error", "0.02 kcal/mol"];
    let first = run(&arguments(&whole, &more));
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stdout));
    let child =
        kirkwood(&arguments(&cut, &more)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let partial = Path::new(&cut).join("windows.partial");
    let begin = Instant::now();
    while !partial.is_dir() {
        assert!(begin.elapsed() < Duration::from_secs(60), "windows did not begin");
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(300));
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(json(&output)["error"]["kind"], "interrupted");
    let refused = run(&arguments(&cut, &more));
    assert!(json(&refused)["error"]["message"].as_str().unwrap().contains("--resume"));
    let resumed = run(&arguments(&cut, &["--error", "0.02 kcal/mol", "--resume"]));
    assert_eq!(resumed.status.code(), Some(0), "{}", String::from_utf8_lossy(&resumed.stdout));
    let mut summaries = [json(&first), json(&resumed)].map(|mut result| result["summary"].take());
    for summary in &mut summaries {
        summary
            .as_object_mut()
            .unwrap()
            .retain(|name, _| !["sampling_seconds", "energy_evaluations"].contains(&name.as_str()));
    }
    assert_eq!(summaries[0], summaries[1]);
    for entry in std::fs::read_dir(Path::new(&whole).join("windows")).unwrap() {
        let name = entry.unwrap().file_name();
        if name != "sampled.json" {
            let read = |out: &str| std::fs::read(Path::new(out).join("windows").join(&name)).unwrap();
            assert!(read(&whole) == read(&cut), "{} differs", name.display());
        }
    }
}

#[test]
fn what_cannot_be_solvated_is_said_before_any_work() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out").display().to_string();
    let data = root().join("tests/data").display().to_string();
    let refusals: [(&[&str], &str); 5] = [
        (&["solvate", "benzen"], "did you mean `benzene`?"),
        (&["solvate", "benzene", "--solvent", "water"], "--solvent water"),
        (&["solvate", "benzene", "--error", "0 kcal/mol"], "must be more than 0"),
        (&["solvate", &format!("{data}/aldp.pdb")], "--force-field"),
        (&["solvate", &format!("{data}/nowhere.prmtop")], "nowhere.prmtop"),
    ];
    for (arguments, words) in refusals {
        let output = run(&[arguments, &["--out", &out, "--json", "--quiet"]].concat());
        let message = json(&output)["error"].to_string();
        assert!(message.contains(words), "{arguments:?}: {message}");
        assert!(matches!(output.status.code(), Some(1 | 2)));
    }
    assert!(!Path::new(&out).exists());
    let typed = run(&["solvate", "benzene", "--max-time", "5"]);
    assert_eq!(typed.status.code(), Some(2));
}

/// `energies.csv` of a shipped system is what OpenMM's reference platform computes for its start structure.
#[test]
fn energies_of_the_small_molecules_are_those_of_openmm() {
    use kirkwood::force_field::molecular_system::{SystemRequest, load};
    use kirkwood::potential::MolecularMechanics;

    for name in ["methanol", "benzene", "toluene"] {
        let path = root().join("systems").join(name).join("energies.csv");
        let mut n_rows = 0;
        for row in csv::Reader::from_path(path).unwrap().records() {
            let row = row.unwrap();
            let topology = format!("{name}_{}", &row[0]).into();
            let system = load(&SystemRequest { topology, ..SystemRequest::default() }).unwrap();
            let mechanics = MolecularMechanics::new(&system.parameters).unwrap();
            let found = mechanics.energies(&system.positions_nm.unwrap(), None)[0];
            let number = |column: usize| row[column].parse::<f64>().unwrap();
            for (found, expected) in [(found.total(), number(1)), (found.implicit_solvent, number(6))] {
                assert!((found - expected).abs() < 1e-5, "{name} {}: {found} {expected}", &row[0]);
            }
            n_rows += 1;
        }
        assert_eq!(n_rows, 4);
    }
}
