//! `kirkwood simulate` as it is typed: what it writes, how it is interrupted, and what it says of bad input.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{json, kirkwood, root, run};

/// A simulation of alanine dipeptide that takes about a second.
fn write_config(directory: &Path, more: &str) -> String {
    let data = root().join("tests/data");
    let text = format!(
        "name = \"aldp\"\n[system]\ntopology = \"{0}/aldp.prmtop\"\nstructure = \"{0}/aldp.pdb\"\n\
         implicit_solvent = \"obc1\"\n[verdict]\nmin_effective_samples = 20\n{more}",
        data.display()
    );
    let path = directory.join("aldp.toml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

const TEMPERING: &str = "[dynamics]\ntime_step = \"2 fs\"\nconstraints = \"none\"\nhydrogen_mass = \"3 Da\"\n\
    n_walkers = 2\nequilibration = \"10 ps\"\nduration = \"40 ps\"\nrecord_every = \"0.2 ps\"\n\
    [replica_exchange]\nkind = \"temperature\"\nhighest = \"700 K\"\nn_replicas = 8\nevery = \"0.1 ps\"\n";

#[test]
fn parallel_tempering_of_alanine_dipeptide_from_configuration_to_summary() {
    let home = tempfile::tempdir().unwrap();
    let config = write_config(home.path(), TEMPERING);
    let out = home.path().join("out").display().to_string();
    let output = run(&["simulate", &config, "--out", &out, "--json", "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let result = json(&output);
    assert_eq!(result["status"], "finished");
    let summary = &result["summary"];
    let value = |name: &str| summary[name]["value"].as_f64().unwrap_or_else(|| panic!("{name}: {summary}"));
    let error = |name: &str| summary[name]["std_error"].as_f64().unwrap();
    for name in ["kinetic_temperature", "configurational_temperature"] {
        assert!((value(name) - 300.0).abs() < 4.0 * error(name) + 5.0, "{name}: {summary}");
    }
    // 16 walkers of 50 ps each.
    assert!((value("simulated_time") - 0.8).abs() < 1e-9);
    // Without φ > 0, which 40 ps do not reach, the mean energy of long runs is −98.24 kJ/mol (`systems/`).
    assert!((value("potential_energy") + 98.24).abs() < 4.0 * error("potential_energy") + 1.0, "{summary}");
    assert!(value("exchange_least_acceptance") > 0.2 && value("ns_per_day") > 1.0);
    let directory = Path::new(&out).join("simulation");
    for file in
        ["topology.pdb", "last.pdb", "temperature_7_walker_1.dcd", "frames.csv", "energies.csv", "states.csv"]
    {
        assert!(directory.join(file).is_file(), "{file}");
    }
    let rows = |file: &str| std::fs::read_to_string(directory.join(file)).unwrap().lines().count() - 1;
    assert_eq!((rows("energies.csv"), rows("u_kn_temperature_3_walker_0.csv")), (200 * 16, 200));

    let again = run(&["simulate", &out, "--json", "--quiet"]);
    assert_eq!(json(&again)["status"], "already_finished");
    let doubted = home.path().join("doubted").display().to_string();
    let short =
        ["simulate", &config, "--out", &doubted, "--quiet", "--json", "--set", "dynamics.duration=2 ps"];
    let output = run(&short);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(json(&output)["trustworthy"], false);
}

#[test]
fn an_interrupted_simulation_goes_on_to_the_same_bits() {
    let home = tempfile::tempdir().unwrap();
    let config = write_config(home.path(), TEMPERING);
    let path = |name: &str| home.path().join(name).display().to_string();
    let (whole, cut) = (path("whole"), path("cut"));
    let arguments = |out: &str, more: &[&str]| -> Vec<String> {
        let fixed =
            ["simulate", &config, "--out", out, "--json", "--quiet", "--set", "dynamics.duration=80 ps"];
        fixed.iter().chain(more).map(|text| text.to_string()).collect()
    };
    let as_text = |arguments: &[String]| arguments.iter().map(|text| text.to_string()).collect::<Vec<_>>();
    let run_with = |arguments: Vec<String>| run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let code = run_with(arguments(&whole, &[])).status.code();
    assert!(code == Some(0) || code == Some(3));

    let begun = as_text(&arguments(&cut, &["--threads", "1"]));
    let child = kirkwood(&begun.iter().map(String::as_str).collect::<Vec<_>>())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let energies = Path::new(&cut).join("simulation.partial/energies.csv");
    let begin = Instant::now();
    while std::fs::metadata(&energies).map_or(0, |file| file.len()) < 20_000 {
        assert!(begin.elapsed() < Duration::from_secs(60), "nothing was recorded");
        std::thread::sleep(Duration::from_millis(2));
    }
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(json(&output)["error"]["kind"], "interrupted");

    let refused = run_with(arguments(&cut, &[]));
    assert!(json(&refused)["error"]["message"].as_str().unwrap().contains("--resume"));
    let code = run_with(arguments(&cut, &["--resume"])).status.code();
    assert!(code == Some(0) || code == Some(3));
    for entry in std::fs::read_dir(Path::new(&whole).join("simulation")).unwrap() {
        let name = entry.unwrap().file_name();
        // Speeds are in the summary.
        if name != "summary.json" {
            let read = |out: &str| std::fs::read(Path::new(out).join("simulation").join(&name)).unwrap();
            assert!(read(&whole) == read(&cut), "{} differs", name.display());
        }
    }
}

#[test]
fn what_cannot_be_simulated_is_said_before_any_work() {
    let home = tempfile::tempdir().unwrap();
    let config = write_config(
        home.path(),
        "[dynamics]\ntime_step = \"40 fs\"\nequilibration = \"2 ps\"\nduration = \"2 ps\"\n\
        record_every = \"0.2 ps\"\nconstraints = \"none\"\n",
    );
    let out = home.path().join("out").display().to_string();
    let output = run(&["simulate", &config, "--out", &out, "--json", "--quiet"]);
    assert_eq!(output.status.code(), Some(1));
    let error = json(&output)["error"].clone();
    assert_eq!(error["kind"], "blown_up");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("worst atoms") && message.contains("blown_up_walker"), "{message}");

    let output = run(&["simulate", "nowhere.toml", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let output = run(&["simulate", &config, "--json", "--set", "start.structures=[\"nowhere.pdb\"]"]);
    assert!(json(&output)["error"]["file"].as_str().unwrap().ends_with("nowhere.pdb"));
}
