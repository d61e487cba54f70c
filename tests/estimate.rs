//! `kirkwood estimate` as its users call it: numbers of independent programs, and inputs that are wrong.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::{json, root, run};

/// Benzene in water, its charges turned off: GROMACS, five windows.
fn benzene() -> PathBuf {
    root().join("examples/free_energies/benzene_coulomb")
}

fn estimate(files: &[&Path], options: &[&str]) -> (Value, i32) {
    let files = files.iter().map(|file| file.to_str().expect("a path in UTF-8"));
    let arguments: Vec<&str> =
        ["estimate"].into_iter().chain(files).chain(options.iter().copied()).chain(["--json"]).collect();
    let output = run(&arguments);
    (json(&output), output.status.code().expect("an exit code"))
}

fn of<'a>(answer: &'a Value, estimator: &str) -> &'a Value {
    let estimates = answer["estimates"].as_array().unwrap_or_else(|| panic!("no estimates: {answer}"));
    estimates
        .iter()
        .find(|one| one["estimator"] == estimator)
        .unwrap_or_else(|| panic!("no {estimator}: {answer}"))
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} of {value}"))
}

/// Values to 1e-6 kT and errors to 1e-4, as alchemlyb 2.5.0 with pymbar 4.0.3 gives them.
fn agrees(answer: &Value, estimator: &str, value: f64, std_error: f64) {
    let one = of(answer, estimator);
    let (found, error) = (number(one, "delta_f"), number(one, "std_error"));
    assert!((found - value).abs() < 1e-6, "{estimator}: {found}, alchemlyb {value}");
    assert!((error / std_error - 1.0).abs() < 1e-4, "{estimator}: ± {error}, alchemlyb ± {std_error}");
}

fn message(answer: &Value) -> String {
    answer["error"]["message"].as_str().unwrap_or_else(|| panic!("no error: {answer}")).to_string()
}

fn verdicts(answer: &Value) -> String {
    answer["verdicts"].to_string()
}

#[test]
fn all_samples_give_the_numbers_of_alchemlyb() {
    let (answer, code) = estimate(&[&benzene()], &["--no-decorrelate"]);
    agrees(&answer, "mbar", 3.041_155_698_336_522_7, 0.020_878_859_023_943_815);
    agrees(&answer, "bar", 3.044_385_169_566_186, 0.016_401_954_452_442_156);
    agrees(&answer, "ti", 3.089_026_829_361_035, 0.021_567_959_881_434_902);
    let mbar = of(&answer, "mbar");
    assert_eq!(mbar["states"], serde_json::json!([0.0, 0.25, 0.5, 0.75, 1.0]));
    assert_eq!(mbar["n_samples"], serde_json::json!([4001, 4001, 4001, 4001, 4001]));
    assert!((mbar["delta_f_row0"][2].as_f64().unwrap() - 2.557_990_228_893_908_6).abs() < 1e-6);
    assert!((mbar["delta_h_row0"][4].as_f64().unwrap() - 1.388_906_194_070_763).abs() < 1e-6);
    assert!((mbar["delta_h_error_row0"][4].as_f64().unwrap() / 0.018_939_568_016_866_817 - 1.0).abs() < 1e-4);
    assert!((answer["overlap"][0][1].as_f64().unwrap() - 0.280_761_172_629_299_95).abs() < 1e-6);
    assert!(number(mbar, "max_gradient") < 1e-9);
    assert_eq!((number(&answer, "temperature_K"), code), (300.0, 0));
}

#[test]
fn its_decorrelation_can_be_asked_for() {
    let (answer, _) = estimate(&[&benzene()], &["--decorrelate", "alchemlyb"]);
    let mbar = of(&answer, "mbar");
    assert_eq!(mbar["n_samples"], serde_json::json!([2848, 2904, 4001, 2754, 3603]));
    agrees(&answer, "mbar", 3.024_639_467_748_360_6, 0.023_360_337_474_801_374);
    agrees(&answer, "bar", 3.025_872_365_766_874, 0.018_467_341_214_844_15);
    agrees(&answer, "ti", 3.068_467_065_379_711_5, 0.024_327_712_305_843_803);
}

#[test]
fn by_default_all_estimators_agree_and_nothing_is_wrong() {
    let (answer, code) = estimate(&[&benzene()], &[]);
    for estimator in ["mbar", "bar", "ti"] {
        let one = of(&answer, estimator);
        assert!((number(one, "delta_f") - 3.05).abs() < 0.08, "{one}");
        assert!(number(one, "std_error") > 0.016 && number(one, "std_error") < 0.05, "{one}");
    }
    assert_eq!((verdicts(&answer).as_str(), code), ("[]", 0));
}

#[test]
fn units_are_what_they_say() {
    let in_unit = |unit: &str| number(of(&estimate(&[&benzene()], &["--unit", unit]).0, "mbar"), "delta_f");
    let kt = in_unit("kT");
    assert!((in_unit("kJ/mol") / kt - 8.314_462_618_153_24e-3 * 300.0).abs() < 1e-9);
    assert!((in_unit("kcal/mol") / kt - 8.314_462_618_153_24e-3 * 300.0 / 4.184).abs() < 1e-9);
    let (answer, code) = estimate(&[&benzene()], &["--unit", "eV"]);
    assert!(message(&answer).contains("kcal/mol") && code == 2, "{answer}");
}

#[test]
fn the_files_of_a_result_stand_in_its_directory() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("result");
    let text = out.to_str().unwrap();
    let (answer, _) = estimate(&[&benzene()], &["--out", text, "--bootstrap", "20"]);
    assert!(number(of(&answer, "mbar"), "bootstrap_error") > 0.01);
    let names = [
        "estimate.json",
        "free_energies.csv",
        "windows.csv",
        "overlap.csv",
        "convergence.csv",
        "mbar_delta_f.csv",
        "mbar_d_delta_f.csv",
        "mbar_delta_f.parquet",
        "u_nk.parquet",
        "report.html",
        "figures/overlap.png",
        "figures/dudl.svg",
        "figures/convergence.png",
    ];
    for name in names {
        assert!(out.join(name).metadata().is_ok_and(|file| file.len() > 100), "{name}");
    }
    // The samples that were written read back to the same number.
    let (again, _) = estimate(&[&out.join("u_nk.parquet")], &["--no-decorrelate"]);
    let (all, _) = estimate(&[&benzene()], &["--no-decorrelate"]);
    assert!((number(of(&again, "mbar"), "delta_f") - number(of(&all, "mbar"), "delta_f")).abs() < 1e-9);
    // A directory with other things in it is left alone.
    let (answer, code) = estimate(&[&benzene()], &["--out", home.path().to_str().unwrap()]);
    assert!(message(&answer).contains("other files") && code != 0);
}

/// dhdl.xvg of one state of harmonic wells ½ (x − d λ)² kT at 300 K, as GROMACS writes it.
fn harmonic(lambda: usize, lambdas: &[f64], distance: f64, n: usize) -> String {
    let kt = 8.314_462_618_153_24e-3 * 300.0;
    let mut text = format!(
        "@ subtitle \"T = 300 (K) \\xl\\f{{}} state {lambda}: fep-lambda = {:.4}\"\n",
        lambdas[lambda]
    );
    let _ = writeln!(text, "@ s0 legend \"dH/d\\xl\\f{{}} fep-lambda = {:.4}\"", lambdas[lambda]);
    for (k, other) in lambdas.iter().enumerate() {
        let _ = writeln!(text, "@ s{} legend \"\\xD\\f{{}}H \\xl\\f{{}} to {other:.4}\"", k + 1);
    }
    let mut state = 12_345_u64 + lambda as u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    };
    for step in 0..n {
        let normal = (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
        let x = distance * lambdas[lambda] + normal;
        let energy = |l: f64| 0.5 * (x - distance * l).powi(2) * kt;
        let _ = write!(text, "{:.4} {:.8}", 10.0 * step as f64, -distance * normal * kt);
        for other in lambdas {
            let _ = write!(text, " {:.8}", energy(*other) - energy(lambdas[lambda]));
        }
        text.push('\n');
    }
    text
}

fn write_windows(home: &Path, lambdas: &[f64], distance: f64) -> Vec<PathBuf> {
    let path = |k: usize| home.join(format!("window_{k}.xvg"));
    (0..lambdas.len())
        .map(|k| {
            std::fs::write(path(k), harmonic(k, lambdas, distance, 1000)).unwrap();
            path(k)
        })
        .collect()
}

fn paths(files: &[PathBuf]) -> Vec<&Path> {
    files.iter().map(PathBuf::as_path).collect()
}

#[test]
fn two_clusters_far_apart_have_no_free_energy_between_them() {
    let home = tempfile::tempdir().unwrap();
    let files = write_windows(home.path(), &[0.0, 0.03, 0.97, 1.0], 30.0);
    let (answer, code) = estimate(&paths(&files), &[]);
    let mbar = of(&answer, "mbar");
    assert!(mbar["std_error"].is_null() && mbar["delta_f"].is_null(), "{mbar}");
    assert_eq!((answer["groups"].clone(), code), (serde_json::json!([[0, 1], [2, 3]]), 3));
    assert!(verdicts(&answer).contains("disconnected"), "{answer}");
    assert!(mbar["std_error_row0"][1].as_f64().unwrap() < 0.1, "inside a group all is well: {mbar}");
    let (_, code) = estimate(&paths(&files), &["--allow-disconnected", "--estimator", "mbar"]);
    assert_eq!(code, 0);
}

#[test]
fn a_window_too_far_away_is_said_to_be() {
    let home = tempfile::tempdir().unwrap();
    let files = write_windows(home.path(), &[0.0, 0.2, 0.8, 1.0], 8.0);
    let (answer, _) = estimate(&paths(&files), &[]);
    let said = verdicts(&answer);
    assert!(said.contains("low_overlap") && said.contains("0.2") && said.contains("0.8"), "{said}");
}

#[test]
fn damaged_files_are_read_as_far_as_they_are_good() {
    let home = tempfile::tempdir().unwrap();
    let lambdas = [0.0, 0.5, 1.0];
    let files = write_windows(home.path(), &lambdas, 1.0);
    let good = number(of(&estimate(&paths(&files), &["--no-decorrelate"]).0, "mbar"), "delta_f");
    let original = std::fs::read_to_string(&files[1]).unwrap();

    // Windows line ends change nothing.
    std::fs::write(&files[1], original.replace('\n', "\r\n")).unwrap();
    let (answer, _) = estimate(&paths(&files), &["--no-decorrelate"]);
    assert_eq!(number(of(&answer, "mbar"), "delta_f"), good);

    // Half a last line is left out and named.
    std::fs::write(&files[1], &original[..original.len() - 20]).unwrap();
    let (answer, _) = estimate(&paths(&files), &["--no-decorrelate"]);
    assert_eq!(of(&answer, "mbar")["n_samples"], serde_json::json!([1000, 999, 1000]));
    assert!(verdicts(&answer).contains("window_1.xvg"), "{answer}");

    // NaN in a sampled state is an error with file and line.
    let lines: Vec<&str> = original.lines().collect();
    let line = lines[20];
    let last = line.rsplit(' ').next().unwrap();
    std::fs::write(&files[1], original.replacen(line, &line.replace(last, "nan"), 1)).unwrap();
    let (answer, code) = estimate(&paths(&files), &[]);
    let said = message(&answer);
    assert!(said.contains("window_1.xvg") && said.contains("line 21") && code == 2, "{said}");

    // Infinite energy in another state is no weight there.
    std::fs::write(&files[1], original.replacen(line, &line.replace(last, "inf"), 1)).unwrap();
    let (answer, _) = estimate(&paths(&files), &["--no-decorrelate"]);
    assert!((number(of(&answer, "mbar"), "delta_f") - good).abs() < 0.01);

    // Another temperature does not fit.
    std::fs::write(&files[1], original.replace("T = 300", "T = 310")).unwrap();
    let (answer, code) = estimate(&paths(&files), &[]);
    assert!(message(&answer).contains("310") && code == 2, "{answer}");
    let (answer, _) = estimate(&[&files[0]], &["--temperature", "298"]);
    assert!(message(&answer).contains("298") && message(&answer).contains("300"), "{answer}");
}

#[test]
fn a_missing_window_is_bridged_and_said_to_be_missing() {
    let home = tempfile::tempdir().unwrap();
    let files = write_windows(home.path(), &[0.0, 0.5, 1.0], 1.0);
    let (answer, code) = estimate(&[&files[0], &files[1]], &["--estimator", "mbar"]);
    let mbar = of(&answer, "mbar");
    // All wells have the same free energy.
    assert!(number(mbar, "delta_f").abs() < 4.0 * number(mbar, "std_error"), "{mbar}");
    assert_eq!((mbar["n_samples"].clone(), code), (serde_json::json!([1000, 1000, 0]), 0));
    assert!(verdicts(&answer).contains("no samples"), "{answer}");
}

#[test]
fn what_is_no_data_is_refused_with_advice() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("notes.txt");
    std::fs::write(&path, "these are my notes\n").unwrap();
    let (answer, code) = estimate(&[&path], &[]);
    assert!(
        message(&answer).contains("notes.txt") && message(&answer).contains("--format") && code == 2,
        "{answer}"
    );
    let (answer, code) = estimate(&[&home.path().join("missing.xvg")], &[]);
    assert!(message(&answer).contains("missing.xvg") && code != 0, "{answer}");
    let (answer, code) = estimate(&[&benzene()], &["--temperature", "-3"]);
    assert!(message(&answer).contains("-3") && code == 2, "{answer}");
    let (answer, code) = estimate(&[&benzene()], &["--decorrelate", "somehow"]);
    assert!(message(&answer).contains("somehow") && code == 2, "{answer}");
}

/// A matrix of doubles or integers in the format of numpy.
fn write_npy(path: &Path, descr: &str, shape: &[usize], bytes: &[u8]) {
    let shape: Vec<String> = shape.iter().map(|n| format!("{n},")).collect();
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", shape.join(" "));
    let padded = (header.len() + 11).next_multiple_of(64) - 10;
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((padded as u16).to_le_bytes());
    file.extend(format!("{header:<width$}\n", width = padded - 1).bytes());
    file.extend(bytes);
    std::fs::write(path, file).unwrap();
}

#[test]
fn a_matrix_gives_free_energies_in_a_file() {
    let home = tempfile::tempdir().unwrap();
    let (u, n, out) = (home.path().join("u.npy"), home.path().join("n.npy"), home.path().join("out.json"));
    // Wells ½ k (x − o)² with exact free energies ½ ln k; quantiles of the normal law stand for samples.
    let wells = [(1.0, 0.0), (1.5, 0.5), (2.0, 1.0)];
    let n_each = 2000;
    let normal = |i: usize| {
        let p = (i as f64 + 0.5) / n_each as f64;
        statrs::distribution::ContinuousCDF::inverse_cdf(&statrs::distribution::Normal::standard(), p)
    };
    let x: Vec<f64> =
        wells.iter().flat_map(|(k, o)| (0..n_each).map(move |i| o + normal(i) / f64::sqrt(*k))).collect();
    let u_kn: Vec<f64> =
        wells.iter().flat_map(|(k, o)| x.iter().map(move |x| 0.5 * k * (x - o).powi(2))).collect();
    let bytes = |values: &[f64]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
    let counts =
        |values: &[i64]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
    write_npy(&u, "<f8", &[3, 3 * n_each], &bytes(&u_kn));
    write_npy(&n, "<i8", &[3], &counts(&[n_each as i64; 3]));
    let text = |path: &Path| path.to_str().unwrap().to_string();
    let solve = |options: &[&str]| {
        let fixed = ["estimate", "--u-kn", &text(&u), "--n-k", &text(&n), "--output", &text(&out)];
        let arguments: Vec<&str> = fixed.into_iter().chain(options.iter().copied()).collect();
        let output = run(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str::<Value>(&std::fs::read_to_string(&out).unwrap()).unwrap()
    };
    let result = solve(&["--bootstrap", "50", "--threads", "1"]);
    assert_eq!(result["f_k"][0], 0.0);
    for (k, (stiffness, _)) in wells.iter().enumerate() {
        assert!((result["f_k"][k].as_f64().unwrap() - 0.5 * f64::ln(*stiffness)).abs() < 0.002, "{result}");
    }
    assert!(number(&result, "max_gradient") < 1e-9 && number(&result, "solve_s") >= 0.0);
    let (asymptotic, bootstrap) =
        (result["df_k"][2].as_f64().unwrap(), result["df_boot"][2].as_f64().unwrap());
    assert!((bootstrap / asymptotic - 1.0).abs() < 0.4, "{asymptotic} {bootstrap}");
    assert_eq!(solve(&["--streaming"])["f_k"], result["f_k"], "from the disk to the same bits");

    // Counts that cannot be counts, and shapes that do not fit.
    let refused = |expected: &str| {
        let output =
            run(&["estimate", "--u-kn", &text(&u), "--n-k", &text(&n), "--output", &text(&out), "--json"]);
        assert_eq!(output.status.code(), Some(2));
        let said = message(&json(&output));
        assert!(said.contains(expected), "{said}");
    };
    write_npy(&n, "<i8", &[3], &counts(&[4000, -1, 2001]));
    refused("-1");
    write_npy(&n, "<i8", &[3], &counts(&[1000, 1000, 1000]));
    refused("3000");
    write_npy(&n, "<f8", &[3], &bytes(&[2000.5, 2000.0, 1999.5]));
    refused("2000.5");
}
