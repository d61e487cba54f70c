//! `kirkwood pmf` on simulations whose free energies are known, and what it says to broken input.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use kirkwood::random::{Purpose, Streams, fill_normal};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{json, run};

/// kT in kJ/mol at 300 K.
const KT: f64 = 2.494_338_785_445_972;

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn normal(n: usize, stream: u64) -> Vec<f64> {
    let mut x = vec![0.0; n];
    fill_normal(&mut Streams::new(11).stream(Purpose::Walker, stream), &mut x);
    x
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()
}

fn kinds(found: &Value) -> Vec<&str> {
    found["verdicts"].as_array().unwrap().iter().map(|verdict| verdict["kind"].as_str().unwrap()).collect()
}

fn error_of(arguments: &[&str]) -> (String, i32) {
    let output = run(&[&["pmf", "--json"], arguments].concat());
    let message = json(&output)["error"]["message"].as_str().unwrap_or_default().to_string();
    (message, output.status.code().unwrap_or_default())
}

/// Windows on F = ½ x² kT, each a normal law of mean κc/(1 + κ) and variance 1/(1 + κ), κ = 4.
fn harmonic_windows(home: &TempDir, centers: &[f64]) -> (PathBuf, PathBuf) {
    let (kappa, n) = (4.0, 500);
    let (mut table, mut plain) = (String::from("file,center,force_constant\n"), String::new());
    for (index, center) in centers.iter().enumerate() {
        let mut colvar = String::from("#! FIELDS time x\n");
        for (time, z) in normal(n, index as u64).iter().enumerate() {
            let x = kappa * center / (1.0 + kappa) + z / (1.0_f64 + kappa).sqrt();
            let _ = writeln!(colvar, "{time} {x:.9}");
        }
        let name = format!("w{index}.colvar");
        fs::write(home.path().join(&name), colvar).unwrap();
        let _ = writeln!(table, "{name},{center},{}", kappa * KT);
        let _ = writeln!(plain, "{name} {center} {}", kappa * KT / 4.184);
    }
    let (csv, list) = (home.path().join("windows.csv"), home.path().join("windows.dat"));
    fs::write(&csv, table).unwrap();
    fs::write(&list, plain).unwrap();
    (csv, list)
}

#[test]
fn umbrella_windows_of_a_parabola_by_both_estimators_and_lists() {
    let home = tempfile::tempdir().unwrap();
    let centers: Vec<f64> = (-6..=6).map(|i| 0.5 * f64::from(i)).collect();
    let (csv, list) = harmonic_windows(&home, &centers);
    let common = [
        "--cv",
        "x",
        "--bins",
        "20",
        "--range",
        "-2:2",
        "--reference",
        "0.05",
        "--temperature",
        "300",
        "--json",
    ];
    let of = |more: &[&str]| {
        let output = run(&[&["pmf"], &common[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
        json(&output)
    };
    let mbar = of(&["--umbrella", &text(&csv)]);
    let wham = of(&["--umbrella", &text(&csv), "--estimator", "wham"]);
    let kcal = of(&["--umbrella", &text(&list), "--energy-unit", "kcal/mol", "--unit", "kJ/mol"]);
    let (value, error) = (numbers(&mbar["pmf"]["value"]), numbers(&mbar["pmf"]["std_error"]));
    let centers = numbers(&mbar["pmf"]["axes"][0]["centers"]);
    // The mean of a density over a bin of width h differs from its middle by h²/24 (x² − 1) of it.
    let exact = |x: f64| 0.5 * x * x - (0.04_f64 / 24.0 * (x * x - 1.0)).ln_1p();
    let mut chi_squared = 0.0;
    for (bin, x) in centers.iter().enumerate() {
        let difference = value[bin] - (exact(*x) - exact(0.1));
        if error[bin] > 0.0 {
            assert!(
                difference.abs() < 4.0 * error[bin] && error[bin] < 0.2,
                "{x}: {difference} ± {}",
                error[bin]
            );
            chi_squared += (difference / error[bin]).powi(2);
            let by_bins = numbers(&wham["pmf"]["value"])[bin];
            assert!((by_bins - value[bin]).abs() < 0.5 * error[bin], "{x}: {by_bins} {}", value[bin]);
        }
        let in_kj = numbers(&kcal["pmf"]["value"])[bin];
        assert!((in_kj - KT * value[bin]).abs() < 1e-6, "{in_kj} {}", value[bin]);
    }
    assert!(chi_squared < 2.0 * 19.0, "{chi_squared}");
    assert_eq!(mbar["windows"][3]["next"], "w4.colvar");
    assert!(mbar["windows"][3]["overlap_with_next"].as_f64().unwrap() > 0.1);
    assert_eq!((mbar["n_samples"].as_u64(), mbar["pmf"]["unit"].as_str()), (Some(6500), Some("kT")));
    assert!(
        kinds(&mbar).iter().all(|kind| ["outside", "sparse_bins"].contains(kind)),
        "{:?}",
        mbar["verdicts"]
    );
    // Force constants in the wrong unit are noticed.
    let output = run(&[&["pmf", "--umbrella", &text(&list)], &common[..]].concat());
    assert!(kinds(&json(&output)).contains(&"inconsistent_windows"));
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn windows_that_share_nothing_are_named_and_their_errors_are_null() {
    let home = tempfile::tempdir().unwrap();
    let (csv, _) = harmonic_windows(&home, &[-8.0, -7.5, 7.5, 8.0]);
    let output = run(&[
        "pmf",
        "--umbrella",
        &text(&csv),
        "--cv",
        "x",
        "--temperature",
        "300",
        "--bins",
        "8",
        "--json",
    ]);
    let found = json(&output);
    assert_eq!(output.status.code(), Some(3));
    assert!(kinds(&found).contains(&"disconnected"), "{found}");
    let message = found["verdicts"][0]["message"].as_str().unwrap();
    assert!(message.contains("{w0.colvar, w1.colvar}"), "{message}");
    let bins = numbers(&found["pmf"]["value"]);
    let errors = numbers(&found["pmf"]["std_error"]);
    let unknown =
        bins.iter().zip(&errors).filter(|(value, error)| value.is_finite() && error.is_nan()).count();
    assert!(unknown >= 2 && bins.iter().any(|value| value.is_nan()));
}

#[test]
fn a_biased_surface_of_angles_and_its_files() {
    // Uniform angles whose bias was −F, F = −2 cos(φ − 3) − cos ψ; `rbias` is used where `bias` grows with time.
    let home = tempfile::tempdir().unwrap();
    let pi = std::f64::consts::PI;
    let mut colvar = String::from("#! FIELDS time phi psi metad.bias metad.rbias\n");
    for name in ["phi", "psi"] {
        let _ = writeln!(colvar, "#! SET min_{name} -pi\n#! SET max_{name} pi");
    }
    for i in 0..20_000 {
        let place = |step: f64| 2.0 * pi * ((f64::from(i) * step).fract() - 0.5);
        let (phi, psi) = (place(0.754_877_666_246_692_8), place(0.569_840_290_998_053_3));
        let v = KT * (2.0 * (phi - 3.0).cos() + psi.cos());
        let _ = writeln!(colvar, "{i} {phi:.6} {psi:.6} {:.6} {v:.6}", v + 0.01 * f64::from(i));
    }
    let path = home.path().join("COLVAR");
    fs::write(&path, colvar).unwrap();
    let out = home.path().join("out");
    let output = run(&[
        "pmf",
        &text(&path),
        "--cv",
        "phi,psi",
        "--bias",
        "metad.bias",
        "--temperature",
        "300",
        "--bins",
        "12",
        "--reference",
        "3,0.1",
        "--bootstrap",
        "20",
        "--out",
        &text(&out),
        "--json",
    ]);
    let found = json(&output);
    assert!(kinds(&found).contains(&"rbias"), "{found}");
    let rows = found["pmf"]["value"].as_array().unwrap();
    let centers = numbers(&found["pmf"]["axes"][0]["centers"]);
    let mean = |x: f64, k: f64| -> f64 {
        let n = 50;
        let at = |j: usize| x + pi / 6.0 * ((j as f64 + 0.5) / n as f64 - 0.5);
        -((0..n).map(|j| (k * at(j).cos()).exp()).sum::<f64>() / n as f64).ln()
    };
    let exact = |x: f64, y: f64| mean(x - 3.0, 2.0) + mean(y, 1.0);
    let zero = exact(centers[11], centers[6]);
    for (x, row) in centers.iter().zip(rows) {
        for (y, value) in centers.iter().zip(numbers(row)) {
            // 139 quasi-random points in a bin.
            assert!(
                (value - (exact(*x, *y) - zero)).abs() < 0.15,
                "{x} {y}: {value} {}",
                exact(*x, *y) - zero
            );
        }
    }
    assert_eq!(found["pmf"]["axes"][1]["periodic"], true);
    assert!((found["coverage"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    let table = fs::read_to_string(out.join("pmf.csv")).unwrap();
    assert!(
        table.starts_with(
            "phi,phi_low,phi_high,psi,psi_low,psi_high,free_energy_kT,std_error_kT,probability\n"
        )
    );
    assert_eq!(table.lines().count(), 145);
    assert!(fs::read_to_string(out.join("report.html")).unwrap().contains("Independent samples"));
    assert!(fs::read(out.join("pmf.parquet")).unwrap().starts_with(b"PAR1"));
    assert!(fs::read(out.join("pmf.png")).unwrap().starts_with(b"\x89PNG"));
    assert!(fs::read_to_string(out.join("pmf.svg")).unwrap().contains("<svg"));
    let written = fs::read_to_string(out.join("pmf.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), found);
}

#[test]
fn hills_are_minus_the_free_energy() {
    // One hill of 10 kJ/mol and width 0.2 at 0.5, of a run with bias factor 5, deposited twice.
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("HILLS");
    let hill = "0.5 0.2 5.0 5";
    fs::write(&path, format!("#! FIELDS time d sigma_d height biasf\n1 {hill}\n2 {hill}\n")).unwrap();
    let output = run(&[
        "pmf",
        "--hills",
        &text(&path),
        "--cv",
        "d",
        "--range",
        "0.1:0.9",
        "--bins",
        "4",
        "--temperature",
        "300",
        "--unit",
        "kJ/mol",
        "--json",
    ]);
    let value = numbers(&json(&output)["pmf"]["value"]);
    let exact = |s: f64| -10.0 * (-0.5 * ((s - 0.5) / 0.2_f64).powi(2)).exp();
    for (value, s) in value.iter().zip([0.2, 0.4, 0.6, 0.8]) {
        assert!((value - (exact(s) - exact(0.4))).abs() < 1e-6, "{s}: {value}");
    }
}

#[test]
fn empty_bins_are_empty_and_unequal_bins_are_densities() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("x.csv");
    // Uniform between 0 and 1, and a single stretch at 2.5.
    let mut table = String::from("x\n");
    (0..1000).for_each(|i| {
        let _ = writeln!(table, "{}", (f64::from(i) * 0.618_034).fract());
    });
    (0..10).for_each(|_| table += "2.5\n");
    table += "9\n";
    fs::write(&path, table).unwrap();
    let output = run(&[
        "pmf",
        &text(&path),
        "--cv",
        "x",
        "--edges",
        "0,0.1,0.5,1,2,3",
        "--reference",
        "0:0.6",
        "--json",
    ]);
    let found = json(&output);
    let (value, error) = (numbers(&found["pmf"]["value"]), numbers(&found["pmf"]["std_error"]));
    assert!(value[..3].iter().all(|value| value.abs() < 0.05), "{value:?}");
    assert!(value[3].is_nan() && error[3].is_nan() && value[4].is_finite() && error[4].is_nan());
    assert_eq!(found["n_outside"], 1);
    assert!((found["coverage"].as_f64().unwrap() - 1010.0 / 1011.0).abs() < 1e-9);
    assert!(kinds(&found).contains(&"sparse_bins") && kinds(&found).contains(&"outside"));
}

#[test]
fn mistakes_are_named() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = home.path().join(name);
        fs::write(&path, content).unwrap();
        text(&path)
    };
    let good = write("good.csv", "time,d,v\n0,1.0,2\n1,1.5,3\n2,1.2,1\n3,1.4,2\n");
    let nan = write("nan.csv", "time,d\n0,1.0\n1,nan\n2,1.2\n");
    let short = write("w.csv", "file,center,force_constant\nmissing.dat,0,1\n");
    let angle =
        write("COLVAR", "#! FIELDS time phi\n#! SET min_phi -pi\n#! SET max_phi pi\n0 1.0\n1 2.0\n2 -1.0\n");
    let cases: &[(&[&str], &str)] = &[
        (&[&angle, "--cv", "phi", "--periodic=-1:1"], "has the period"),
        (&[&nan, "--cv", "d"], "line 3"),
        (&[&good, "--cv", "dist"], "time, d, v"),
        (&[&good, "--cv", "d", "--bins", "0"], "bin"),
        (&[&good, "--cv", "d", "--edges", "0,2,1"], "2 before 1"),
        (&[&good, "--cv", "d", "--range", "2:1"], "ascending"),
        (&[&good, "--cv", "d", "--bias", "v"], "--temperature"),
        (&[&good, "--cv", "d", "--unit", "kJ/mol"], "temperature"),
        (&[&good, "--cv", "d", "--discard", "1"], "discard"),
        (&[&good, "--cv", "d", "--temperature", "-3"], "-3 K"),
        (&[&good, "--cv", "d", "--bins", "100000000"], "more than 10000000"),
        (&[&text(home.path()), "--cv", "d"], "a directory"),
        (&[&good, "--cv", "d", "--reference", "7"], "7"),
        (&[&good, "--cv", "d", "--bandwidth", "0.1"], "--method kernel"),
        (&[&good, "--cv", "time,d,v"], "3 variables"),
        (&["--cv", "d"], "FILES"),
        (&["--cv", "d", "--umbrella", &short, "--temperature", "300"], "missing.dat"),
    ];
    for (arguments, expected) in cases {
        let (message, code) = error_of(arguments);
        assert!(message.contains(expected) && code == 2, "{arguments:?}: {message} ({code})");
    }
}
