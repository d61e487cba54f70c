//! Real output of programs, cut short, against what alchemlyb reads of it (`tests/data/alchemical/make.py`).

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Format, ReadOptions, Series, read};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/alchemical").join(name)
}

fn series(files: &[&str]) -> Vec<Series> {
    let files = files.iter().map(|file| data(file)).collect();
    read(&ReadOptions { files, ..ReadOptions::default() }).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Rows of width `n` against first row, last row and means.
fn compare(rows: &[f64], n: usize, expected: &Value, what: &str) {
    let n_rows = rows.len() / n;
    let mean =
        (0..n).map(|k| rows.iter().skip(k).step_by(n).sum::<f64>() / n_rows as f64).collect::<Vec<_>>();
    for (key, found) in
        [("first_row", &rows[..n]), ("last_row", &rows[rows.len() - n..]), ("column_mean", &mean)]
    {
        let expected = numbers(&expected[key]);
        assert_eq!(expected.len(), n, "{what}");
        for (a, b) in expected.iter().zip(found) {
            assert!((a - b).abs() <= 1e-12 * a.abs().max(1.0), "{what} {key}: {a} {b}");
        }
    }
}

#[test]
fn real_files_are_read_as_alchemlyb_reads_them() {
    let expected: Vec<Value> =
        serde_json::from_slice(&std::fs::read(data("expected.json")).unwrap()).unwrap();
    assert_eq!(expected.len(), 12);
    for expected in expected {
        let file = expected["file"].as_str().unwrap();
        let series = series(&[file]);
        assert_eq!(series.len(), 1, "{file}");
        let series = &series[0];
        assert_eq!(series.n_samples(), expected["rows"].as_u64().unwrap() as usize, "{file}");
        assert_eq!(series.temperature_k, expected["temperature"].as_f64().unwrap());
        assert_eq!(serde_json::json!(series.components), expected["components"], "{file}");
        let states: Vec<Vec<f64>> = expected["states"].as_array().unwrap().iter().map(numbers).collect();
        assert_eq!(series.states, states, "{file}");
        for (key, sample) in [("first_index", 0), ("last_index", series.n_samples() - 1)] {
            let mut index = vec![series.time[sample]];
            index.extend(&series.states[series.state_of[sample]]);
            assert_eq!(index, numbers(&expected[key]), "{file}");
        }
        assert!(series.warnings.is_empty(), "{:?}", series.warnings);
        compare(&series.u_kt, states.len(), &expected["u_nk"], file);
        compare(&series.dudl_kt, series.components.len(), &expected["dHdl"], file);
    }
}

#[test]
fn tables_of_pandas_hold_the_same_numbers_as_the_files_they_were_made_of() {
    let source = series(&["gmx/twin_columns.xvg"]).remove(0);
    let csv = series(&["table/one_dHdl.csv", "table/one_u_nk.csv"]);
    let parquet = series(&["table/one_u_nk.parquet", "table/one_dHdl.parquet"]);
    let mixed = series(&["table/one_u_nk.parquet", "table/one_dHdl.csv"]);
    for (tables, format) in [(csv, Format::Table), (parquet, Format::Parquet), (mixed, Format::Parquet)] {
        assert_eq!(tables.len(), 1, "{format:?}: energies and derivatives are one series");
        let table = &tables[0];
        assert_eq!((table.format, table.sources.len()), (format, 2));
        assert_eq!(table.temperature_k.is_nan(), format == Format::Table);
        assert_eq!((&table.components, &table.states), (&source.components, &source.states));
        assert_eq!((&table.time, &table.state_of), (&source.time, &source.state_of));
        assert_eq!((&table.u_kt, &table.dudl_kt), (&source.u_kt, &source.dudl_kt));
        assert!(table.computed.is_none() && table.warnings.is_empty());
    }
    let source = series(&["gmx/total_energy.xvg.gz"]).remove(0);
    for ending in ["csv", "parquet"] {
        let table =
            series(&[&format!("table/two_u_nk.{ending}"), &format!("table/two_dHdl.{ending}")]).remove(0);
        assert_eq!(table.components, ["coul-lambda", "vdw-lambda"]);
        assert_eq!(table.states, source.states[..6]);
        assert_eq!((table.state_of[0], &table.dudl_kt), (3, &source.dudl_kt));
        assert_eq!(table.u_kt[6..12], source.u_kt[38..44]);
    }
}

#[test]
fn a_folder_is_read_in_the_order_of_its_names_and_temperatures_must_agree() {
    let all = series(&["gmx_benzene_coulomb"]);
    let states: Vec<f64> = all.iter().map(|series| series.states[series.state_of[0]][0]).collect();
    assert_eq!(states, [0.0, 0.25, 0.5, 0.75, 1.0]);
    assert!(all.iter().all(|series| series.n_samples() == 4001));

    let files = vec![data("gmx/twin_columns.xvg"), data("gomc/03.dat.bz2")];
    let mixed = read(&ReadOptions { files, ..ReadOptions::default() }).unwrap_err().to_string();
    assert!(
        mixed.contains("03.dat.bz2") && mixed.contains("twin_columns.xvg") && mixed.contains("298 K"),
        "{mixed}"
    );
}

#[test]
fn files_are_refused_with_a_reason() {
    let refusal = |path: PathBuf, format| {
        read(&ReadOptions { files: vec![path], format, temperature_k: None }).unwrap_err().to_string()
    };
    assert!(refusal(data("none.xvg"), None).starts_with("cannot read"));
    let unknown = refusal(data("make.py"), None);
    assert!(unknown.contains("--format") && unknown.contains("gromacs"), "{unknown}");
    let wrong = refusal(data("table/one_u_nk.csv"), Some(Format::Gromacs));
    assert!(wrong.contains("line 1"), "{wrong}");
    let home = tempfile::tempdir().unwrap();
    let cut = home.path().join("cut.xvg.bz2");
    let whole = std::fs::read(data("gmx_benzene_coulomb/0250/dhdl.xvg.bz2")).unwrap();
    std::fs::write(&cut, &whole[..100_000]).unwrap();
    let half = home.path().join("half.xvg.gz");
    let gzip = std::fs::read(data("gmx/total_energy.xvg.gz")).unwrap();
    std::fs::write(&half, &gzip[..3000]).unwrap();
    // bzip2 compresses 900 kB at once: of a short file that was cut nothing is left.
    assert!(refusal(cut, None).contains("decompress"));
    let series = read(&ReadOptions { files: vec![half], ..ReadOptions::default() }).unwrap();
    assert!((3..12).contains(&series[0].n_samples()));
    assert!(series[0].warnings.iter().any(|warning| warning.contains("compressed file was cut")));
}
