//! Rules of tables, each on a small text, and Parquet files written and read back.

use std::collections::BTreeMap;
use std::path::Path;

use super::parquet::{column_name, write_frame};
use super::{ReadOptions, Series, Text, read, table};
use crate::units::GAS_CONSTANT;

fn texts(files: &[(&str, &str)]) -> Vec<Text> {
    let text =
        |(name, content): &(&str, &str)| Text { path: name.into(), bytes: content.as_bytes().to_vec() };
    files.iter().map(text).collect()
}

fn one(content: &str) -> Series {
    let mut series = table::read(&texts(&[("a.csv", content)]), None).unwrap();
    assert_eq!(series.len(), 1);
    series.remove(0)
}

fn refusal(content: &str) -> String {
    table::read(&texts(&[("a.csv", content)]), None).unwrap_err().to_string()
}

#[test]
fn separators_and_quotation_marks_make_no_difference() {
    let comma = "time,coul-lambda,vdw-lambda,\"(0.0, 0.0)\",\"(0.0, 0.5)\"\n0.0,0.0,0.5,-1.5,0.25\n2.0,0.0,0.5,1.0,inf\n";
    let series = one(comma);
    assert_eq!(series.components, ["coul-lambda", "vdw-lambda"]);
    assert_eq!(series.states, [[0.0, 0.0], [0.0, 0.5]]);
    assert_eq!((series.state_of.clone(), series.time.clone()), (vec![1, 1], vec![0.0, 2.0]));
    assert_eq!(series.u_kt, [-1.5, 0.25, 1.0, f64::INFINITY]);
    assert!(series.temperature_k.is_nan() && series.dudl_kt.is_empty() && series.computed.is_none());
    let same = |other: &str| {
        let other = one(other);
        assert_eq!(
            (other.states, other.u_kt, other.time),
            (series.states.clone(), series.u_kt.clone(), series.time.clone())
        );
    };
    same(&comma.replace('\n', "\r\n"));
    same(&format!("\u{feff}{comma}"));
    same(&format!(
        "# a comment\n{}",
        comma
            .replace("0.0)\",", "0.0)\";")
            .replace("lambda,", "lambda;")
            .replace("time,", "time;")
            .replace("0.0,0.0,0.5,-1.5,0.25", "0.0;0.0;0.5;-1.5;0.25")
            .replace("2.0,0.0,0.5,1.0,inf", "2.0; 0.0; 0.5; 1.0; inf")
    ));
    same("time coul-lambda vdw-lambda (0.0,0.0) (0.0,0.5)\n0 0 0.5 -1.5 0.25\n 2  0.0 0.5 1.0 inf\n");
    same(
        "time\tcoul-lambda\tvdw-lambda\t(0.0, 0.0)\t(0.0, 0.5)\n0\t0\t0.5\t-1.5\t0.25\n2\t0.0\t0.5\t1.0\tinf\n",
    );
    same(&comma.replace("(0.0, 0.5)", "(np.float64(0.0), np.float64(0.5))"));
    same(&comma.replace("\"(0.0, 0.5)\"", "\"('0.0', '0.5')\""));
}

#[test]
fn units_are_taken_from_comments_and_names() {
    let table = "time,fep-lambda,0.0,1.0,fep\n0,0,0.0,2.0,3.0\n";
    assert_eq!(one(table).u_kt, [0.0, 2.0]);
    let kcal = one(&format!("# temperature: 300 K\n# energy_unit = kcal/mol\n{table}"));
    let beta = 1.0 / (GAS_CONSTANT * 300.0);
    assert!(
        (kcal.u_kt[1] - 2.0 * 4.184 * beta).abs() < 1e-14
            && (kcal.dudl_kt[0] - 3.0 * 4.184 * beta).abs() < 1e-14
    );
    assert_eq!(kcal.temperature_k, 300.0);
    assert!(refusal(&format!("# energy_unit: kJ/mol\n{table}")).contains("--temperature"));
    assert!(refusal(&format!("# energy_unit: eV\n{table}")).contains("eV"));
    let named = "time_ns,lambda,u_0.0_kJ_per_mol,u_1.0_kJ_per_mol,dU_dlambda_kJ_per_mol\n1,1,5,0,-2\n";
    let series = table::read(&texts(&[("a.csv", named)]), Some(300.0)).unwrap().remove(0);
    assert_eq!(
        (series.states, series.time, series.u_kt[0], series.dudl_kt[0]),
        (vec![vec![0.0], vec![1.0]], vec![1000.0], 5.0 * beta, -2.0 * beta)
    );
    let conflict = table::read(&texts(&[("a.csv", &format!("# temperature: 300\n{table}"))]), Some(310.0));
    assert!(conflict.unwrap_err().to_string().contains("300 K"));
}

#[test]
fn joined_tables_are_taken_apart_and_expanded_ensembles_are_not() {
    let joined = "time,fep-lambda,0.0,1.0\n0,0,0,2\n2,0,0,3\n0,1,4,0\n2,1,5,0\n";
    let series = table::read(&texts(&[("a.csv", joined)]), None).unwrap();
    assert_eq!(series.iter().map(|series| series.state_of.clone()).collect::<Vec<_>>(), [[0, 0], [1, 1]]);
    assert_eq!((&series[1].u_kt, series[1].origin[0].line), (&vec![4.0, 0.0, 5.0, 0.0], 4));
    let expanded = one("time,fep-lambda,0.0,1.0\n0,0,0,2\n2,1,0,3\n4,0,4,0\n");
    assert_eq!(expanded.state_of, [0, 1, 0]);
}

#[test]
fn missing_energies_are_holes_or_not_numbers() {
    let holes = "time,fep-lambda,0.0,0.5,1.0\n0,0,0,2,\n2,0,0,3,\n0,1,,1,0\n2,1,,,0\n";
    let series = table::read(&texts(&[("a.csv", holes)]), None).unwrap();
    assert_eq!(series[0].computed, Some(vec![true, true, false, true, true, false]));
    // The middle state was computed in the second window: the gap is not a number.
    assert_eq!(series[1].computed, Some(vec![false, true, true, false, true, true]));
    assert!(series[1].u_kt[4].is_nan());
    let other = one("time,fep-lambda,0.0,1.0\n0,0.5,0,2\n");
    assert_eq!((other.states, other.state_of), (vec![vec![0.0], vec![1.0], vec![0.5]], vec![2]));
    assert_eq!(other.computed, Some(vec![true, true, false]));
    let gap = one("time,fep-lambda,0.0,1.0\n0,0,0,2\n2,0,0,NaN\n");
    assert!(gap.computed.is_none() && gap.u_kt[3].is_nan());
}

#[test]
fn damaged_rows_and_repeated_headers_are_handled() {
    let rows: String = (0..8).map(|i| format!("{i},0,0.5{i}25,2.12345\n")).collect();
    let table = format!("time,fep-lambda,0.0,1.0\n{rows}");
    let cut = one(&format!("{table}8,0,0.5825,2.1"));
    assert_eq!(cut.n_samples(), 8);
    assert!(cut.warnings[0].contains("line 10"), "{:?}", cut.warnings);
    assert_eq!(one(&format!("{table}8,0,0.5825,2.1234")).n_samples(), 9);
    let appended = one(&format!("{table}{table}"));
    assert_eq!((appended.n_samples(), appended.warnings.len()), (16, 1));
    let wrong = refusal(&format!("{table}8,0,0.5\n9,0,0.5\n"));
    assert!(wrong.contains("line 10") && wrong.contains("expected 4 cells"), "{wrong}");
    assert!(refusal("time,fep-lambda,0.0,1.0\n0,0,\"a\",1\n").contains("`a`"));
    assert!(refusal("").contains("empty") && refusal("time,fep-lambda,0,1\n").contains("header"));
    assert!(refusal("time,coul-lambda,vdw-lambda,0.5\n0,0,0,1\n").contains("2 components"));
    assert!(refusal("time,fep-lambda,0.0\n0,nan,1\n").contains("line 2"));
    assert!(refusal("a,b\n0,1\n").contains("fep-lambda"));
    assert!(refusal("time,coul-lambda,vdw-lambda,coul\n0,0,0,1\n").contains("`vdw`"));
}

#[test]
fn numbered_energies_get_lambda_from_names_of_files() {
    let table = "time_ps,dU_dlambda_kT,u_0,u_1,u_2\n2.0,-2.5,1.0,0.0,-1.0\n";
    let files = [("w/lambda_1.0.csv", table), ("w/lambda_0.0.csv", table), ("w/lambda_0.5.csv", table)];
    let series = table::read(&texts(&files), None).unwrap();
    assert_eq!(series.iter().map(|series| series.state_of[0]).collect::<Vec<_>>(), [2, 0, 1]);
    assert!(series.iter().all(|series| series.states == [[0.0], [0.5], [1.0]] && series.dudl_kt == [-2.5]));
    assert_eq!(series[0].components, ["fep-lambda"]);
    let missing = table::read(&texts(&files[..2]), None).unwrap_err().to_string();
    assert!(missing.contains("3 different λ") && missing.contains("states.csv"), "{missing}");
    assert!(refusal(table).contains("states.csv"));
    // Names that count give states, and without λ no derivatives.
    let files = [("lambda_0.csv", table), ("lambda_2.csv", table)];
    let series = table::read(&texts(&files), None).unwrap();
    assert_eq!((series[1].state_of[0], &series[1].components[0][..]), (2, "state"));
    assert!(series[1].dudl_kt.is_empty() && series[1].warnings[0].contains("λ of the states is not known"));
    let gaps = refusal(&table.replace("u_1", "u_7"));
    assert!(gaps.contains("u_0 to u_2"), "{gaps}");
}

#[test]
fn numbered_energies_get_lambda_from_columns() {
    let table = "time,lambda,u_0,u_1\n0,0.5,0,2\n2,0.5,0,3\n0,1,4,0\n";
    let series = table::read(&texts(&[("a.csv", table)]), None).unwrap();
    assert_eq!(
        (&series[0].states, &series[0].state_of, &series[1].state_of),
        (&vec![vec![0.5], vec![1.0]], &vec![0, 0], &vec![1])
    );
    let states = one("time state u_0 u_1\n0 1 0 2\n1 0 3 4\n");
    assert_eq!((&states.state_of, &states.components[0][..]), (&vec![1, 0], "state"));
    assert!(refusal("time state u_0 u_1\n0 2 0 2\n").contains("line 2"));
    let derivatives = one("time,lambda,dHdl\n0,0.5,2\n1,0.5,3\n");
    assert_eq!(
        (derivatives.dudl_kt, derivatives.states, derivatives.u_kt.len()),
        (vec![2.0, 3.0], vec![vec![0.5]], 0)
    );
}

#[test]
fn runs_of_kirkwood_are_read_from_their_directory() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| std::fs::write(home.path().join(name), content).unwrap();
    let states = "state,temperature_K,lambda,potential_kJ_per_mol,acceptance_to_next\n0,300,1,-5,\n1,300,0.25,-5,0.5\n";
    write("states.csv", states);
    write("frames.csv", "trajectory,frame,time_ps,walker,state\na.dcd,0,0,0,0\n");
    write("energies.csv", "time_ps,walker,state,potential_kJ_per_mol,temperature_K\n0,0,0,1,300\n");
    write(
        "free_energy.csv",
        "state,lambda,free_energy_kT,std_error_kT,dU_dlambda_kT,dU_dlambda_std_error_kT,frames\n0,1,0,0,2,1,5\n",
    );
    for state in 0..2 {
        write(&format!("u_kn_lambda_{state}.csv"), "time_ps,dU_dlambda_kT,u_0,u_1\n2.0,-2.5,1.0,0.0\n");
    }
    let options = ReadOptions { files: vec![home.path().to_path_buf()], ..ReadOptions::default() };
    let series = read(&options).unwrap();
    assert_eq!(series.len(), 2);
    assert_eq!((series[1].state_of[0], series[1].temperature_k), (1, 300.0));
    assert_eq!((&series[1].states, &series[1].dudl_kt), (&vec![vec![1.0], vec![0.25]], &vec![-2.5]));
    write("states.csv", &states.replace("1,300,0.25", "1,400,1"));
    let ladder = read(&options).unwrap();
    assert_eq!(ladder[0].components, ["temperature_K"]);
    assert!(ladder[0].temperature_k.is_nan() && ladder[0].states == [[300.0], [400.0]]);
    write("states.csv", &states.replace("1,300,0.25", "1,300,1"));
    assert!(read(&options).unwrap_err().to_string().contains("states.csv"));
}

#[test]
fn a_table_that_is_written_reads_back() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("u_nk.parquet");
    let n = 100_000;
    let time: Vec<f64> = (0..n).map(|i| i as f64 * 0.5).collect();
    let (coul, vdw) = (vec![1.0; n], vec![0.5; n]);
    let energies: Vec<f64> =
        (0..n).map(|i| if i % 1000 == 7 { f64::NAN } else { (i as f64).sin() }).collect();
    let columns = [(column_name(&[1.0, 0.5]), &vdw[..]), (column_name(&[1.0, 1.0]), &energies[..])];
    let index = [("time", &time[..]), ("coul-lambda", &coul[..]), ("vdw-lambda", &vdw[..])];
    let attributes = BTreeMap::from([
        ("temperature".to_string(), serde_json::json!(310.5)),
        ("energy_unit".to_string(), serde_json::json!("kT")),
    ]);
    write_frame(&path, &index, &columns, &attributes).unwrap();
    let read_back =
        |temperature_k| read(&ReadOptions { files: vec![path.clone()], format: None, temperature_k });
    let series = read_back(None).unwrap().remove(0);
    assert_eq!((series.temperature_k, series.time), (310.5, time.clone()));
    assert_eq!((series.states, series.components.len()), (vec![vec![1.0, 0.5], vec![1.0, 1.0]], 2));
    let same = series.u_kt.chunks_exact(2).zip(&energies).all(|(u, expected)| {
        u[0] == 0.5 && u[1].to_bits() == expected.to_bits() || (u[1].is_nan() && expected.is_nan())
    });
    assert!(same && series.computed.is_none());
    assert!(read_back(Some(300.0)).unwrap_err().to_string().contains("310.5 K"));

    let in_kj = BTreeMap::from([
        ("temperature".to_string(), serde_json::json!(300)),
        ("energy_unit".to_string(), serde_json::json!("kJ/mol")),
    ]);
    write_frame(&path, &index, &columns, &in_kj).unwrap();
    assert!((read_back(None).unwrap()[0].u_kt[0] - 0.5 / (GAS_CONSTANT * 300.0)).abs() < 1e-15);
    assert!(write_frame(&path, &[("time", &time[1..])], &columns, &in_kj).is_err());
    assert!(write_frame(Path::new("/nowhere/a.parquet"), &index, &columns, &in_kj).is_err());
    std::fs::write(&path, b"PAR1 and no more").unwrap();
    assert!(read_back(None).unwrap_err().to_string().contains("Parquet"));
    assert_eq!(
        (column_name(&[0.25]), column_name(&[0.0, 1.0])),
        ("0.25".to_string(), "('0.0', '1.0')".to_string())
    );
}
