//! `kirkwood reweight` on ensembles that are known, and on frames of a molecule.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use kirkwood::random::{Purpose, Streams, fill_normal};
use serde_json::Value;

use crate::common::{json, root, run, tiny};

const KT: f64 = 2.494_338_785_445_972;

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn average<'a>(found: &'a Value, name: &str) -> &'a Value {
    found["averages"].as_array().unwrap().iter().find(|average| average["name"] == name).expect("an average")
}

fn close(average: &Value, exact: f64) {
    let (value, error) = (average["value"].as_f64().unwrap(), average["std_error"].as_f64().unwrap());
    assert!((value - exact).abs() < 4.0 * error && error > 0.0, "{value} ± {error} instead of {exact}");
}

/// x of variance ½, the law of ½ x² + V with V = ½ x² kT, and energies.
fn table() -> String {
    let mut x = vec![0.0; 20_000];
    fill_normal(&mut Streams::new(5).stream(Purpose::Walker, 0), &mut x);
    let mut table = String::from("x,x2,energy,total,bias\n");
    for z in x {
        let x = z * 0.5_f64.sqrt();
        let u = 0.5 * KT * x * x;
        let _ = writeln!(table, "{x},{},{u},{},{u}", x * x, 2.0 * u);
    }
    table
}

#[test]
fn oscillators_at_another_temperature_in_another_potential_and_without_a_bias() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("frames.csv");
    fs::write(&path, table()).unwrap();
    let of = |arguments: &[&str]| {
        let common = ["reweight", &text(&path), "--temperature", "300", "--observable", "x2", "--json"];
        let output = run(&[&common[..], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
        json(&output)
    };
    // ⟨x²⟩ is proportional to the temperature, and so is the mean energy.
    let warm = of(&["--energy", "total", "--to-temperature", "360"]);
    close(average(&warm, "x2"), 0.6);
    close(average(&warm, "energy"), 0.6 * KT);
    close(&warm["free_energy"], -0.5 * 1.2_f64.ln());
    assert!((average(&warm, "x2")["unweighted"]["value"].as_f64().unwrap() - 0.5).abs() < 0.02);
    let cold = of(&["--energy", "total", "--to-temperature", "250"]);
    close(average(&cold, "x2"), 250.0 / 600.0);
    // Half of the force constant, by energies and by a bias; a wrong sign would give ⅓.
    let out = home.path().join("out");
    let softer = of(&["--energy", "total", "--to-energy", "energy", "--out", &text(&out)]);
    close(average(&softer, "x2"), 1.0);
    let unbiased = of(&["--bias", "bias"]);
    close(average(&unbiased, "x2"), 1.0);
    let ess = |found: &Value| found["n_effective"].as_f64().unwrap();
    assert!((ess(&softer) - ess(&unbiased)).abs() < 1e-6 * ess(&softer));
    let weights = fs::read_to_string(out.join("weights.csv")).unwrap();
    let sum: f64 =
        weights.lines().skip(1).map(|line| line.split(',').nth(3).unwrap().parse::<f64>().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9 && weights.starts_with("simulation,frame,log_weight,weight\n0,0,"));
}

/// Frames of ½ x² at 250, 300 and 400 K, as a replica exchange has them: walkers that change their temperature.
#[test]
fn frames_of_several_temperatures_are_weighted_together() {
    let home = tempfile::tempdir().unwrap();
    let kelvins = [250.0, 300.0, 400.0];
    let mut z = vec![0.0; 12_000];
    fill_normal(&mut Streams::new(8).stream(Purpose::Walker, 0), &mut z);
    let mut walkers = vec![String::from("x2,energy,bath\n"); 3];
    let mut baths = vec![String::from("x2,energy\n"); 3];
    for (n, z) in z.iter().enumerate() {
        let (walker, bath) = (n % 3, (n / 3 + n) % 3);
        // ⟨x²⟩ = T/300 K.
        let x2 = kelvins[bath] / 300.0 * z * z;
        let _ = writeln!(walkers[walker], "{x2},{},{}", 0.5 * KT * x2, kelvins[bath]);
        let _ = writeln!(baths[bath], "{x2},{}", 0.5 * KT * x2);
    }
    let written = |name: &str, tables: &[String]| -> Vec<String> {
        let paths = tables.iter().enumerate().map(|(k, table)| {
            let path = home.path().join(format!("{name}_{k}.csv"));
            fs::write(&path, table).unwrap();
            text(&path)
        });
        paths.collect()
    };
    let (walkers, baths) = (written("walker", &walkers), written("bath", &baths));
    let of = |files: &[String], arguments: &[&str]| {
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let common = ["reweight", "--energy", "energy", "--observable", "x2", "--json"];
        let output = run(&[&common[..], arguments, &files].concat());
        (output.status.code(), json(&output))
    };
    for target in ["250", "330"] {
        let exact = target.parse::<f64>().unwrap() / 300.0;
        let (code, by_column) = of(&walkers, &["--temperature", "bath", "--to-temperature", target]);
        assert_eq!(code, Some(0), "{by_column}");
        close(average(&by_column, "x2"), exact);
        close(average(&by_column, "energy"), 0.5 * KT * exact);
        let free_energy = by_column["free_energy"]["value"].as_f64().unwrap();
        assert!((free_energy + 0.5 * (exact * 1.2).ln()).abs() < 0.02, "{free_energy}");
        // Relative to itself a temperature has exactly 0, and not −0.
        let is_zero = free_energy.to_bits() == 0.0_f64.to_bits();
        assert!(is_zero == (target == "250"), "{free_energy}");
        assert_eq!(by_column["ensembles"][2]["n_samples"], 4000);
        // The same frames by temperature, in another order: the same numbers, and one temperature alone knows less.
        let (_, by_table) = of(&baths, &["--temperature", "250,300 K,400", "--to-temperature", target]);
        let value = |found: &Value| average(found, "x2")["value"].as_f64().unwrap();
        assert!((value(&by_table) - value(&by_column)).abs() < 1e-9);
        let (_, alone) = of(&baths[..1], &["--temperature", "250", "--to-temperature", target]);
        let error = |found: &Value| average(found, "x2")["std_error"].as_f64().unwrap();
        assert!(error(&alone) > 1.2 * error(&by_table), "{} {}", error(&alone), error(&by_table));
    }
    let refused = |files: &[String], arguments: &[&str], expected: &str| {
        let (code, found) = of(files, arguments);
        let message = found["error"]["message"].as_str().unwrap_or_default();
        assert!(code == Some(2) && message.contains(expected), "{arguments:?}: {found}");
    };
    refused(&walkers, &["--temperature", "bath"], "to-temperature");
    refused(&walkers, &["--temperature", "bath", "--to-temperature", "300", "--bias", "x2"], "bias");
    refused(&walkers, &["--temperature", "bath", "--to-temperature", "300", "--energy-unit", "kT"], "kJ/mol");
    refused(&walkers, &["--temperature", "x2", "--to-temperature", "300"], "kinetic");
    refused(&walkers, &["--temperature", "bad", "--to-temperature", "300"], "bath");
    refused(&baths, &["--temperature", "250,300", "--to-temperature", "300"], "2 of them for 3 tables");
    refused(&baths, &["--temperature", "250,warm,300", "--to-temperature", "300"], "warm");
    refused(&baths, &["--temperature=-5", "--to-temperature", "300"], "-5 K");
}

#[test]
fn ensembles_that_hardly_overlap_are_not_trusted() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("frames.csv");
    let mut table = String::from("energy\n");
    let mut z = vec![0.0; 2000];
    fill_normal(&mut Streams::new(6).stream(Purpose::Walker, 0), &mut z);
    z.iter().for_each(|z| {
        let _ = writeln!(table, "{}", -1e4 + 100.0 * z);
    });
    fs::write(&path, table).unwrap();
    let output = run(&[
        "reweight",
        &text(&path),
        "--temperature",
        "300",
        "--energy",
        "energy",
        "--to-temperature",
        "600",
        "--json",
    ]);
    let found = json(&output);
    assert_eq!(output.status.code(), Some(3));
    assert!(found["n_effective"].as_f64().unwrap() < 10.0);
    assert_eq!(found["verdicts"][0]["severity"], "untrustworthy");
}

#[test]
fn frames_of_a_molecule_in_another_solvent_and_drawn_again() {
    let home = tempfile::tempdir().unwrap();
    let (topology, frames) = (root().join("tests/data/aldp.prmtop"), root().join("tests/data/aldp_200.dcd"));
    let energies = |solvent: &str| -> Vec<f64> {
        let output =
            run(&["energy", &text(&topology), &text(&frames), "--implicit-solvent", solvent, "--json"]);
        let found = json(&output);
        found["frames"].as_array().unwrap().iter().map(|frame| frame["total"].as_f64().unwrap()).collect()
    };
    let drawn = home.path().join("drawn.dcd");
    let out = home.path().join("out");
    let output = run(&[
        "reweight",
        "--temperature",
        "300",
        "--from-system",
        &text(&topology),
        "--from-implicit-solvent",
        "obc1",
        "--to-system",
        &text(&topology),
        "--to-implicit-solvent",
        "obc2",
        "--trajectory",
        &text(&frames),
        "--resample",
        "50",
        &text(&drawn),
        "--discard",
        "0.1",
        "--out",
        &text(&out),
        "--json",
    ]);
    let found = json(&output);
    assert_eq!(
        (found["n_samples"].as_u64(), found["simulations"][0]["n_discarded"].as_u64()),
        (Some(180), Some(20))
    );
    let (from, to) = (energies("obc1"), energies("obc2"));
    let log_weights: Vec<f64> = from.iter().zip(&to).skip(20).map(|(from, to)| (from - to) / KT).collect();
    let sum = log_weights.iter().map(|w| w.exp()).sum::<f64>().ln();
    let table = fs::read_to_string(out.join("weights.csv")).unwrap();
    for (index, (line, expected)) in table.lines().skip(1).zip(&log_weights).enumerate() {
        let cells: Vec<f64> = line.split(',').map(|cell| cell.parse().unwrap()).collect();
        assert_eq!(cells[1] as usize, 20 + index);
        assert!((cells[2] - (expected - sum)).abs() < 1e-6, "{line} {}", expected - sum);
    }
    // Frames that were drawn are frames that were there: their energies are those of the samples.
    let output = run(&["energy", &text(&topology), &text(&drawn), "--implicit-solvent", "obc2", "--json"]);
    let again = json(&output);
    let samples = found["resampled"]["samples"].as_array().unwrap();
    assert_eq!((again["frames"].as_array().unwrap().len(), samples.len()), (50, 50));
    for (frame, sample) in again["frames"].as_array().unwrap().iter().zip(samples) {
        let expected = to[20 + sample.as_u64().unwrap() as usize];
        assert!((frame["total"].as_f64().unwrap() - expected).abs() < 0.01 * KT);
    }
}

#[test]
fn requests_without_sense_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("frames.csv");
    fs::write(&path, "energy,v\n1,2\n2,3\n3,nan\n").unwrap();
    let path = text(&path);
    let dcd = text(&root().join("tests/data/aldp_200.dcd"));
    let prmtop = text(&root().join("tests/data/aldp.prmtop"));
    let cases: &[(&[&str], &str)] = &[
        (&[&path], "target"),
        (&[&path, "--to-temperature", "310"], "--energy"),
        (&[&path, "--energy", "energi", "--to-temperature", "310"], "energy, v"),
        (&[&path, "--bias", "v"], "line 4"),
        (&["--bias", "v"], "FILES"),
        (&[&path, "--energy", "energy", "--to-system", &prmtop], "--trajectory"),
        (&[&path, "--energy", "energy", "--to-system", &prmtop, "--trajectory", &dcd], "3 frames"),
        (&[&path, "--energy", "energy", "--to-temperature", "0"], "0 K"),
    ];
    for (arguments, expected) in cases {
        let output = run(&[&["reweight", "--temperature", "300", "--json"], *arguments].concat());
        let message = json(&output)["error"]["message"].as_str().unwrap_or_default().to_string();
        assert!(message.contains(expected), "{arguments:?}: {message}");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_run_learns_from_frames_by_their_weights() {
    let home = tempfile::tempdir().unwrap();
    let (config, weights) = (text(&tiny()), home.path().join("weights.csv"));
    let setting = format!("data.weights='{}'", text(&weights));
    fs::write(&weights, "weight\n1\n2\n").unwrap();
    let output = run(&["check", &config, "--variant", "none", "--json", "--set", &setting]);
    let message = json(&output)["error"]["message"].as_str().unwrap_or_default().to_string();
    assert!(output.status.code() == Some(2) && message.contains("5000 rows"), "{message}");

    // Of every second frame, three weigh 1 and one weighs 3: (6/4)²/(12/4) of half of them.
    let rows: String = (0..5000)
        .map(|k| {
            if k % 2 == 0 {
                "0\n"
            } else if k % 8 == 1 {
                "3\n"
            } else {
                "1\n"
            }
        })
        .collect();
    fs::write(&weights, format!("weight\n{rows}")).unwrap();
    let out = text(&home.path().join("out"));
    let output = run(&["train", &config, "--out", &out, "--variant", "none", "--quiet", "--set", &setting]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let provenance = fs::read_to_string(home.path().join("out/provenance.json")).unwrap();
    assert!(provenance.contains("drawn by weights from as many that are worth 1875"), "{provenance}");
    assert!(provenance.contains("weights.csv"));
}
