use super::*;

fn text(name: &str, content: &str) -> Text {
    Text { path: name.into(), bytes: content.as_bytes().to_vec() }
}

fn energy(kind: &str, step: i64, value: f64) -> String {
    format!("{kind}:   {step}   -18.0 -15.0   8.5   4.5   {value}   -1.3   300.0   -1.4\n")
}

fn begin(one: f64, two: f64) -> String {
    format!("#      STEP   Elec\n#NEW FEP WINDOW: LAMBDA SET TO {one} LAMBDA2 {two}\n")
}

fn start(one: f64) -> String {
    format!(
        "{}#10 STEPS OF EQUILIBRATION AT LAMBDA {one} COMPLETED\n#STARTING COLLECTION OF ENSEMBLE AVERAGE\n",
        energy("FepEnergy", 5, 99.0)
    )
}

fn end(one: f64, two: f64) -> String {
    format!("#Free energy change for lambda window [ {one} {two} ] is -1.0 ; net change until now is -1.0\n")
}

const PER_KCAL: f64 = 4.184 / (8.314_462_618_153_24e-3 * 300.0);

#[test]
fn a_window_without_its_equilibration() {
    let content = begin(0.0, 0.5) + &start(0.0) + &energy("FepEnergy", 10, -2.0) + &end(0.0, 0.5);
    let second = begin(0.5, 1.0) + &start(0.5) + &energy("FepEnergy", 10, 3.0) + &end(0.5, 1.0);
    let series = read(&[text("a", &(content + &second))], Some(300.0)).unwrap();
    assert_eq!(series.len(), 2);
    assert_eq!(series[0].states, [[0.0], [0.5], [1.0]]);
    assert_eq!(series[0].computed.as_deref(), Some(&[true, true, false][..]));
    assert_eq!(series[0].u_kt[..2], [0.0, -2.0 * PER_KCAL]);
    assert!(series[0].u_kt[2].is_nan() && series[0].warnings.is_empty());
    assert_eq!((series[1].state_of[0], series[1].u_kt[2], series[1].time[0]), (1, 3.0 * PER_KCAL, 10.0));
    assert_eq!(series[0].place(0).1, "line 6");
}

#[test]
fn interleaved_energies_are_pairs_and_their_lambda_is_the_neighbour_where_it_is_not_written() {
    let pair = |step| energy("FepEnergy", step, 1.0) + &energy("FepE_back", step + 5, 2.0);
    let first = begin(0.0, 0.5) + &start(0.0) + &energy("FepEnergy", 10, 1.0) + &end(0.0, 0.5);
    let header = begin(0.5, 1.0);
    for header in [header.replace("LAMBDA2 1", "LAMBDA2 1 LAMBDA_IDWS 0"), String::new()] {
        let second =
            header + &start(0.5) + &pair(10) + &pair(20) + &energy("FepEnergy", 30, 9.0) + &end(0.5, 1.0);
        let series = read(&[text("a", &first), text("b", &second)], Some(300.0)).unwrap();
        assert_eq!(series[1].n_samples(), 2);
        assert_eq!(series[1].u_kt[..3], [2.0 * PER_KCAL, 0.0, PER_KCAL]);
        let all = series.iter().flat_map(|series| series.warnings.clone()).collect::<String>();
        assert!(all.contains("1 energies in one direction"), "{all}");
    }
}

#[test]
fn a_restarted_window_keeps_both_branches_but_no_copies() {
    let line = |step| energy("FepEnergy", step, step as f64);
    let first = begin(1.0, 0.5) + &start(1.0) + &line(10) + &line(20) + &line(30);
    let again = energy("FepEnergy", 20, 7.0) + &energy("FepEnergy", 30, 8.0) + &end(1.0, 0.5);
    // The natural order of names, not that of the arguments.
    let series = read(&[text("a10", &again), text("a9", &first)], Some(300.0)).unwrap();
    assert_eq!(
        series.iter().map(|series| series.time.clone()).collect::<Vec<_>>(),
        [vec![10.0, 20.0, 30.0], vec![20.0, 30.0]]
    );
    assert_eq!(series[0].states, [[1.0], [0.5]]);
    assert!(series[0].warnings[0].contains("simulated twice"), "{:?}", series[0].warnings);
    let copy = line(20) + &line(30) + &line(40) + &end(1.0, 0.5);
    let series = read(&[text("a", &first), text("b", &copy)], Some(300.0)).unwrap();
    assert_eq!((series.len(), series[0].time.as_slice()), (1, &[10.0, 20.0, 30.0, 40.0][..]));
    assert!(series[0].warnings[0].contains("2 energies stand in an earlier file"));
    assert_eq!(series[0].origin[3], Origin { source: 1, line: 3 });
}

#[test]
fn cut_windows_are_used_and_named_where_their_lambda_is_known() {
    let cut =
        begin(0.0, 0.5) + &start(0.0) + &energy("FepEnergy", 10, 1.0) + "FepEnergy:  20  -1.0  -2.0 3.0";
    let orphan = energy("FepEnergy", 500, 1.0) + &energy("FepEnergy", 510, 1.0);
    let series = read(&[text("b", &cut), text("a", &orphan)], Some(300.0)).unwrap();
    assert_eq!((series.len(), series[0].n_samples()), (1, 1));
    let all = series[0].warnings.concat();
    assert!(all.contains("2 energies are left out") && all.contains("cut off after step 10"), "{all}");
    let never = begin(0.0, 0.5) + &energy("FepEnergy", 5, 1.0);
    let error = read(&[text("a", &never)], Some(300.0)).unwrap_err().to_string();
    assert!(error.contains("no energies after its equilibration"), "{error}");
}

#[test]
fn forward_and_backward_sets_have_the_states_in_one_order() {
    let window = |one, two| begin(one, two) + &start(one) + &energy("FepEnergy", 10, 1.0) + &end(one, two);
    let forward = window(0.0, 0.5) + &window(0.5, 1.0);
    let backward = window(1.0, 0.5) + &window(0.5, 0.0);
    let series = read(&[text("f", &forward), text("b", &backward)], Some(300.0)).unwrap();
    assert_eq!((series.len(), series[0].states.concat()), (4, vec![0.0, 0.5, 1.0]));
    let series = read(&[text("b", &backward)], Some(300.0)).unwrap();
    assert_eq!(series[0].states.concat(), [1.0, 0.5, 0.0]);
}

#[test]
fn what_cannot_be_read_is_an_error_with_a_line() {
    let content = begin(0.0, 0.5) + &start(0.0) + "FepEnergy:  10  -1.0  -2.0 3.0\n" + &end(0.0, 0.5);
    let message = |content: &str| read(&[text("a", content)], Some(300.0)).unwrap_err().to_string();
    assert!(message(&content).contains("line 6"), "{}", message(&content));
    assert!(message("# nothing\n").contains("NEW FEP WINDOW"));
    assert!(message("#TITITLE:  TS  BOND1\n").contains("thermodynamic integration"));
    let mixed = begin(0.0, 0.5) + &start(0.0) + &energy("FepEnergy", 10, 1.0) + &end(0.5, 1.0);
    assert!(message(&mixed).contains("wrong order"));
    assert!(read(&[text("a", &content)], None).unwrap_err().to_string().contains("--temperature"));
    assert!(is_format(content.as_bytes()) && !is_format(b"MBAR Energy analysis"));
}

#[test]
fn words_begin_where_blanks_end() {
    let line = b"  12345678 a  bcdefghijklm  n";
    let starts: Vec<usize> =
        (0..line.len()).filter(|at| line[*at] != b' ' && (*at == 0 || line[at - 1] == b' ')).collect();
    for (n, start) in starts.iter().enumerate() {
        assert_eq!(parts::word_start(line, n as u32), Some(*start));
    }
    assert_eq!(
        (parts::word_start(line, 4), parts::word_start(b"", 0), parts::word_start(b"x", 0)),
        (None, None, Some(0))
    );
}

#[test]
fn trimmed_files_are_what_alchemlyb_reads() {
    let home = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/alchemical");
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(home.join("engines.json")).unwrap()).unwrap();
    for (name, set) in expected["namd"].as_object().unwrap() {
        let path =
            |file: &serde_json::Value| home.join(format!("namd/{}.fepout.bz2", file.as_str().unwrap()));
        let files: Vec<Text> =
            set["files"].as_array().unwrap().iter().map(|file| Text::read(&path(file)).unwrap().0).collect();
        let series = read(&files, Some(300.0)).unwrap();
        let frame = &set["u_nk"];
        let rows: Vec<&[f64]> =
            series.iter().flat_map(|series| series.u_kt.chunks_exact(series.states.len())).collect();
        assert_eq!(rows.len() as u64, frame["n"].as_u64().unwrap(), "{name}");
        for (column, state) in frame["states"].as_array().unwrap().iter().enumerate() {
            let own =
                series[0].states.iter().position(|lambda| lambda[0] == state.as_f64().unwrap()).unwrap();
            let near = |found: f64, key: &str| match frame[key][column].as_f64() {
                None => assert!(found.is_nan(), "{name} {key} {column}: {found}"),
                Some(expected) => {
                    assert!(
                        (found - expected).abs() < 1e-9 * expected.abs().max(1.0),
                        "{name} {key}: {found} {expected}"
                    );
                }
            };
            near(rows[0][own], "first");
            near(rows[rows.len() - 1][own], "last");
            let known: Vec<f64> = rows.iter().map(|row| row[own]).filter(|u| !u.is_nan()).collect();
            near(known.iter().sum::<f64>() / known.len() as f64, "mean");
        }
        let steps = series.iter().flat_map(|series| series.time.windows(2));
        assert!(steps.clone().all(|pair| pair[1] > pair[0]), "{name}: each series is in order of time");
    }
}
