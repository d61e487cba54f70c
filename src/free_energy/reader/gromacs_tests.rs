//! Rules of the GROMACS reader, each on a small text.

use super::gromacs::read;
use super::{Series, Text};
use crate::units::GAS_CONSTANT;

const TWO: &str = r#"# GROMACS
@    title "dH/d\xl\f{} and \xD\f{}H"
@    xaxis  label "Time (ps)"
@TYPE xy
@ subtitle "T = 300 (K) \xl\f{} state 1: (coul-lambda, vdw-lambda) = (0.5000, 0.0000)"
@ s0 legend "Total Energy (kJ/mol)"
@ s1 legend "dH/d\xl\f{} coul-lambda = 0.5000"
@ s2 legend "dH/d\xl\f{} vdw-lambda = 0.0000"
@ s3 legend "\xD\f{}H \xl\f{} to (0.0000, 0.0000)"
@ s4 legend "\xD\f{}H \xl\f{} to (0.5000, 0.0000)"
@ s5 legend "\xD\f{}H \xl\f{} to (1.0000, 0.0000)"
@ s6 legend "pV (kJ/mol)"
"#;

fn text(content: impl AsRef<str>) -> Text {
    Text { path: "dhdl.xvg".into(), bytes: content.as_ref().as_bytes().to_vec() }
}

fn one(content: impl AsRef<str>) -> Series {
    let mut series = read(&[text(content)], None).unwrap();
    assert_eq!(series.len(), 1);
    series.remove(0)
}

fn refusal(content: impl AsRef<str>) -> String {
    read(&[text(content)], None).unwrap_err().to_string()
}

fn rows(n: usize) -> String {
    (0..n).map(|i| format!("{i}.0000 -100.5 8.0 3.0 -4.0 0.0 4.0 0.75\n")).collect()
}

/// A header with one component and a subtitle; legends follow.
fn header(subtitle: &str, legends: &[&str]) -> String {
    let legends: String =
        legends.iter().enumerate().map(|(i, legend)| format!("@ s{i} legend \"{legend}\"\n")).collect();
    format!("@ subtitle \"{subtitle}\"\n{legends}")
}

#[test]
fn energies_are_differences_plus_what_all_states_share() {
    let series = one(format!("{TWO}{}", rows(2)));
    let beta = 1.0 / (GAS_CONSTANT * 300.0);
    assert_eq!(series.components, ["coul-lambda", "vdw-lambda"]);
    assert_eq!(series.states, [[0.0, 0.0], [0.5, 0.0], [1.0, 0.0]]);
    assert_eq!((series.time, series.time_unit, series.temperature_k), (vec![0.0, 1.0], "ps", 300.0));
    assert_eq!(series.state_of, [1, 1]);
    for (u, difference) in series.u_kt.iter().zip([-4.0, 0.0, 4.0].repeat(2)) {
        assert!((u - beta * (difference - 100.5 + 0.75)).abs() < 1e-12);
    }
    assert_eq!(series.dudl_kt[..2], [beta * 8.0, beta * 3.0]);
    assert_eq!(series.origin[1], super::Origin { source: 0, line: 14 });
    assert!(series.warnings.is_empty() && series.computed.is_none());
}

#[test]
fn windows_line_ends_and_escapes_change_nothing() {
    let plain = one(format!("{TWO}{}", rows(3)));
    assert_eq!(plain, one(format!("{TWO}{}", rows(3)).replace('\n', "\r\n")));
    assert_eq!(plain, one(format!("{}{}", TWO.replace('\\', "\\\\"), rows(3))));
    let unicode = TWO.replace("\\xD\\f{}", "Δ").replace("\\xl\\f{}", "λ");
    assert!(unicode.contains("ΔH λ to"));
    assert_eq!(plain, one(format!("{unicode}{}", rows(3))));
    let old = TWO.replace("\\xD\\f{}", "\\8D\\4").replace("\\xl\\f{}", "\\8l\\4");
    assert_eq!(plain, one(format!("{old}{}", rows(3))));
}

#[test]
fn a_single_lambda_without_states_is_read_in_both_spellings() {
    let text = header(
        r"T = 298.15 (K) \xl\f{} = 0.5000",
        &[r"dH/d\xl\f{} \xl\f{} 0.5000", r"\xD\f{}H \xl\f{} 0.0000", r"\xD\f{}H \xl\f{} 1.0000"],
    ) + "0.0 3.0 -1.0 1.0\n";
    let series = one(text);
    assert_eq!((series.temperature_k, series.components), (298.15, vec!["fep-lambda".to_string()]));
    // The own state has no column: its ΔH is zero.
    assert_eq!(series.states, [[0.0], [1.0], [0.5]]);
    assert_eq!((series.state_of[0], series.u_kt[2], series.u_kt[1]), (2, 0.0, -series.u_kt[0]));
}

#[test]
fn an_expanded_ensemble_has_a_state_per_row_counted_with_repeated_states() {
    let legends = [
        "Thermodynamic state",
        "dH/dλ fep-lambda = 0.0000",
        "ΔH λ to 0.0000",
        "ΔH λ to 0.0000",
        "ΔH λ to 1.0000",
    ];
    let series = one(header("T = 300 (K) ", &legends) + "0 1 5 0 0 4\n2 2.000 6 -4 -4 0\n4 0 6 0 0 3\n");
    assert_eq!(series.states, [[0.0], [1.0]]);
    assert_eq!(series.state_of, [0, 1, 0]);
    assert!(series.warnings.is_empty());
    let unknown = refusal(header("T = 300 (K) ", &legends) + "0 3 5 0 0 4\n");
    assert!(unknown.contains("line 7") && unknown.contains("from 0 to 2"), "{unknown}");
    let differ = one(header("T = 300 (K) ", &legends) + "0 0 5 0 7 4\n");
    assert!(differ.warnings[0].contains("same λ"), "{:?}", differ.warnings);
}

#[test]
fn replica_exchange_has_its_state_in_the_legends_of_the_derivatives() {
    let legends = [
        "dH/dλ coul-lambda = 0.5000",
        "dH/dλ vdw-lambda = 0.0000",
        "ΔH λ to (0.0000, 0.0000)",
        "ΔH λ to (0.5000, 0.0000)",
    ];
    let series = one(header("T = 300 (K) ", &legends) + "0 1 5 3 0\n");
    assert_eq!((series.state_of[0], &series.states[1]), (1, &vec![0.5, 0.0]));
    let growing = one(header("T = 300 (K) ", &legends) + "0 1 5 3 0\n1 1 5 3 2\n2 1 5 3 3\n");
    assert!(growing.warnings[0].contains("line 7 and 1 of 3 rows more"), "{:?}", growing.warnings);
}

#[test]
fn derivatives_alone_and_energies_alone_are_enough() {
    let alone =
        one(header("T = 300 (K) λ state 3: fep-lambda = 0.7500", &["dH/dλ fep-lambda = 0.7500"]) + "0 1\n");
    assert!(alone.u_kt.is_empty() && alone.dudl_kt.len() == 1);
    assert_eq!(alone.states, [[0.75]]);
    let energies =
        one(header("T = 300 (K) λ state 0: fep-lambda = 0.0000", &["ΔH λ to 0.0000", "ΔH λ to 1.0000"])
            + "0 0 2\n");
    assert!(energies.dudl_kt.is_empty() && energies.u_kt.len() == 2);
    assert_eq!(energies.components, ["fep-lambda"]);
}

#[test]
fn temperatures_come_from_the_file_or_the_user() {
    let without = TWO.replace("T = 300 (K) ", "") + &rows(1);
    assert!(refusal(&without).contains("--temperature"));
    assert_eq!(read(&[text(&without)], Some(310.0)).unwrap()[0].temperature_k, 310.0);
    let with = read(&[text(format!("{TWO}{}", rows(1)))], Some(310.0));
    assert!(with.unwrap_err().to_string().contains("300 K"));
    let tempering = header("", &["dH/dλ fep-lambda = 0", "ΔH λ to 0.0000T = 300 (K)"]) + "0 0 0\n";
    assert!(refusal(tempering).contains("simulated tempering"));
}

#[test]
fn half_a_last_line_is_left_out_and_named() {
    for cut in ["2.0000 -100.5 8.0 3.0", "2.0000 -100.5 8.0 3.0 -4.0 0.0 4.0 0", "2.0000 -100.5 8.0 3.0 -"] {
        let long = rows(2).replace("0.75", "0.751234");
        let series = one(format!("{TWO}{long}{cut}"));
        assert_eq!(series.n_samples(), 2, "{cut}");
        assert!(series.warnings[0].contains("`dhdl.xvg`, line 15"), "{:?}", series.warnings);
    }
    let whole = one(format!("{TWO}{}", rows(3).trim_end()));
    assert_eq!((whole.n_samples(), whole.warnings.len()), (3, 0));
}

#[test]
fn scars_are_left_out_and_wrong_tables_refused() {
    let scar = format!("{TWO}{}3.0 -10{}", rows(3), rows(3));
    let series = one(&scar);
    assert_eq!((series.n_samples(), series.time[3]), (5, 1.0));
    assert!(series.warnings[0].contains("line 16"), "{:?}", series.warnings);
    let too_many = format!("{TWO}0 1 2 3 4 5 6 7 8\n1 1 2 3 4 5 6 7 8\n");
    let error = refusal(too_many);
    assert!(error.contains("line 13") && error.contains("expected 8 numbers, found 9"), "{error}");
}

#[test]
fn a_header_in_the_middle_begins_a_stretch() {
    let same = one(format!("{TWO}{}{TWO}{}", rows(3), rows(2)));
    assert_eq!(same.time, [0.0, 1.0, 2.0, 0.0, 1.0]);
    assert!(
        same.warnings[0].contains("line 17") && same.warnings[0].contains("appended"),
        "{:?}",
        same.warnings
    );
    let other =
        TWO.replace("state 1", "state 2").replace("(0.5000, 0.0000)\"\n@ s0", "(1.0000, 0.0000)\"\n@ s0");
    let shifted = "0.0 -100.5 8.0 3.0 -8.0 -4.0 0.0 0.75\n";
    let two = read(&[text(format!("{TWO}{}0.0 -10{other}{shifted}", rows(3)))], None).unwrap();
    assert_eq!(two.iter().map(Series::n_samples).collect::<Vec<_>>(), [3, 1]);
    assert_eq!((two[0].state_of[0], two[1].state_of[0]), (1, 2));
    let cut = one(format!("{TWO}{}{}", rows(3), &TWO[..300]));
    assert_eq!(cut.n_samples(), 3);
}

#[test]
fn numbers_that_are_none_stay() {
    let series = one(format!("{TWO}0 -1 8 3 nan 0 inf 0.75\n"));
    assert!(series.u_kt[0].is_nan() && series.u_kt[2] == f64::INFINITY && series.u_kt[1].is_finite());
}

#[test]
fn other_files_of_grace_are_refused() {
    assert!(refusal("@ s0 legend \"Potential\"\n0 1\n").contains("dH/dλ"));
    assert!(refusal("0 1\n").contains("@"));
    let gap: String =
        TWO.lines().filter(|line| !line.contains("s4 ")).map(|line| format!("{line}\n")).collect();
    assert!(refusal(gap + &rows(1)).contains("none for s4"));
    assert!(refusal("").contains("empty"));
    let mismatch = refusal(TWO.replace("to (0.0000, 0.0000)", "to 0.0000") + &rows(1));
    assert!(mismatch.contains("2 components"), "{mismatch}");
    assert!(refusal(TWO.replace("state 1: (coul", "state 1 (coul") + &rows(1)).contains("subtitle"));
    let unclear = refusal(header("T = 300 (K) ", &["ΔH λ to 0.0000"]) + "0 0\n");
    assert!(unclear.contains("state that was sampled"), "{unclear}");
}
