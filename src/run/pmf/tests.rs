//! Profiles of tables that are known, and what is said about tables that are strange.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::*;
use crate::random::{Purpose, fill_normal};

fn request(files: &[PathBuf], column: &str) -> PmfRequest {
    PmfRequest {
        files: files.to_vec(),
        axes: vec![AxisRequest {
            column: column.into(),
            n_bins: 10,
            edges: None,
            range: None,
            periodicity: Periodicity::FromFile,
        }],
        method: Method::Histogram,
        temperature: Temperature::from_kelvin(300.0),
        source: Source::Unbiased,
        joining: Joining::Mbar,
        reference: Reference::Minimum,
        discard: 0.0,
        n_bootstrap: 20,
        seed: 0,
        unit: EnergyUnit::Kt,
        energy_unit: EnergyUnit::Kt,
        without_jacobian: false,
        out: None,
    }
}

fn normal(n: usize, stream: u64) -> Vec<f64> {
    let mut x = vec![0.0; n];
    fill_normal(&mut Streams::new(5).stream(Purpose::Walker, stream), &mut x);
    x
}

fn colvar(home: &Path, name: &str, columns: &str, x: &[f64]) -> PathBuf {
    let mut text = format!("#! FIELDS time {columns}\n");
    for (time, x) in x.iter().enumerate() {
        let _ = writeln!(text, "{time} {x:.8} {:.8}", 0.5 * x * x);
    }
    let path = home.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn find<'a>(outcome: &'a PmfOutcome, kind: &str) -> Option<&'a Verdict> {
    outcome.verdicts.iter().find(|verdict| verdict.kind == kind)
}

#[test]
fn a_bias_that_is_not_used_is_named() {
    let home = tempfile::tempdir().unwrap();
    let file = colvar(home.path(), "COLVAR", "s metad.bias", &normal(200, 0));
    let mut request = request(&[file], "s");
    let outcome = pmf(&request).unwrap();
    let verdict = find(&outcome, "bias_ignored").unwrap();
    assert!(verdict.severity == Severity::Warning && verdict.message.contains("--bias metad.bias"));
    request.source = Source::Bias(vec!["metad.bias".into()]);
    assert!(find(&pmf(&request).unwrap(), "bias_ignored").is_none());
}

#[test]
fn copies_count_once_and_numbers_of_columns_mean_one_variable() {
    let home = tempfile::tempdir().unwrap();
    let x = normal(200, 1);
    let a = colvar(home.path(), "a", "s b", &x);
    let copy = colvar(home.path(), "copy", "s b", &x);
    let alone = pmf(&request(std::slice::from_ref(&a), "s")).unwrap();
    let twice = pmf(&request(&[a.clone(), copy, a.clone()], "s")).unwrap();
    assert_eq!((twice.n_samples, twice.warnings.len()), (200, 2));
    // Some errors are NaN, which equals nothing.
    assert_eq!(format!("{:?}", twice.pmf), format!("{:?}", alone.pmf));
    let other = colvar(home.path(), "other", "phi b", &normal(200, 2));
    let outcome = pmf(&request(&[a, other], "2")).unwrap();
    let message = &find(&outcome, "column_names").unwrap().message;
    assert!(message.contains("`s` in") && message.contains("`phi` in") && message.contains("other`"));
}

#[test]
fn too_many_bins_and_directories_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let file = colvar(home.path(), "a", "s b", &normal(50, 3));
    let mut many = request(std::slice::from_ref(&file), "s");
    many.axes[0].n_bins = 100_000_000;
    let error = pmf(&many).unwrap_err();
    assert!(error.to_string().contains("`bins`: 100000000") && error.exit_code() == 2, "{error}");
    many.axes[0].n_bins = 10_000;
    many.axes.push(many.axes[0].clone());
    assert!(pmf(&many).unwrap_err().to_string().contains("`bins`"));
    for source in [Source::Unbiased, Source::Umbrella(home.path().into()), Source::Hills(home.path().into())]
    {
        let mut of_directory = request(&[], "s");
        if source == Source::Unbiased {
            of_directory.files.push(home.path().into());
        }
        of_directory.source = source;
        let error = pmf(&of_directory).unwrap_err();
        assert!(error.to_string().contains("a directory") && error.exit_code() == 2, "{error}");
    }
}

/// Windows on F = ½ x², each a normal law of mean κc/(1 + κ) and variance 1/(1 + κ).
fn windows(home: &Path, kappa: f64, factor: f64, more: &str) -> PathBuf {
    let mut list = String::from("file,center,force_constant\n");
    for index in 0..13 {
        let center = 0.5 * f64::from(index) - 3.0;
        let x: Vec<f64> = normal(400, 10 + index as u64)
            .iter()
            .map(|z| kappa * center / (1.0 + kappa) + z / (1.0 + kappa).sqrt())
            .collect();
        colvar(home, &format!("w{index}"), "s b", &x);
        let _ = writeln!(list, "w{index},{center},{}", factor * kappa);
    }
    let path = home.join("windows.csv");
    std::fs::write(&path, list + more).unwrap();
    path
}

#[test]
fn force_constants_in_another_unit_are_not_to_be_trusted() {
    let home = tempfile::tempdir().unwrap();
    for (factor, trusted) in [(1.0, true), (4.184, false), (1.0 / 4.184, false)] {
        let mut request = request(&[], "s");
        request.source = Source::Umbrella(windows(home.path(), 4.0, factor, ""));
        let outcome = pmf(&request).unwrap();
        assert_eq!(outcome.is_trustworthy(), trusted, "{factor}: {:?}", outcome.verdicts);
    }
}

#[test]
fn a_window_that_is_listed_twice_counts_once_or_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut request = request(&[], "s");
    request.source = Source::Umbrella(windows(home.path(), 4.0, 1.0, "w3,-1.5,4\n"));
    let outcome = pmf(&request).unwrap();
    assert_eq!((outcome.n_samples, outcome.windows.len(), outcome.warnings.len()), (13 * 400, 13, 1));
    request.source = Source::Umbrella(windows(home.path(), 4.0, 1.0, "w3,-1.0,4\n"));
    let error = pmf(&request).unwrap_err().to_string();
    assert!(error.contains("line 15") && error.contains("one restraint"), "{error}");
}
