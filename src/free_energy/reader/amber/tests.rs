use super::*;

const HEADER: &str = "          Amber 16 PMEMD\n
   2.  CONTROL  DATA  FOR  THE  RUN\n
     ntxo    =       2, ntpr    =       5
     nstlim  =        20, nscm = 10
     t       =   0.00000, dt      =   0.00200, vlimit  =  -1.00000
     temp0   = 300.00000, tempi   =   0.00000, gamma_ln=   2.00000
     clambda =  0.5000, scalpha =  0.5000
     ifmbar  =       1,  bar_intervall =        5
     mbar_states =       3\n
    MBAR - lambda values considered:
       3 total:  0.0000 0.5000
 1.0000
    Extra energies will be computed      4 times.
   3.  ATOMIC COORDINATES AND VELOCITIES
 begin time read from input coords =    20.000 ps
   4.  RESULTS
";
const RULE: &str = " -----------------\n";

fn block(energies: [&str; 3]) -> String {
    let lines = ["0.0000", "0.5000", "1.0000"].iter().zip(energies);
    let lines: String = lines.map(|(label, energy)| format!("Energy at {label} = {energy}\n")).collect();
    format!("MBAR Energy analysis:\n{lines}{RULE}\n")
}

fn record(step: u32, derivative: &str) -> String {
    let time = 20.0 + f64::from(step) * 0.002;
    let record = format!(
        "\n NSTEP =     {step}   TIME(PS) =    {time:.3}  TEMP(K) =   284.66\n Etot   =  -1.0  EKtot = 2.0\n \
         DV/DL  =     {derivative}\n{RULE}"
    );
    format!("| TI region  1\n{record} SC_DERIV= 7.0\n{RULE}| TI region  2\n{record}")
}

fn text(content: &str) -> Text {
    Text { path: "ti.out".into(), bytes: content.as_bytes().to_vec() }
}

fn one(content: &str) -> Series {
    let mut series = read(&[text(content)], None).unwrap();
    assert_eq!(series.len(), 1, "{series:?}");
    series.remove(0)
}

const END: &str = "   5.  TIMINGS\n";
const PER_KCAL: f64 = 4.184 / (8.314_462_618_153_24e-3 * 300.0);

#[test]
fn energies_and_derivatives_of_each_step_once_and_no_averages() {
    let averages = format!("      A V E R A G E S   O V E R  2 S T E P S\n{}", record(12, "99.0"));
    let steps = [
        block(["-1.0", "-2.0", "**********"]) + &record(5, "3.5"),
        block(["-1.0", "-2.0", "-4.0"]) + &record(10, "-1.5"),
    ];
    let series = one(&format!("{HEADER}{}{averages}{END}", steps.concat()));
    assert_eq!(series.states, [[0.0], [0.5], [1.0]]);
    assert_eq!((series.time.as_slice(), series.state_of.as_slice()), (&[20.01, 20.02][..], &[1, 1][..]));
    let kcal: Vec<f64> = series.u_kt.iter().map(|u| u / PER_KCAL).collect();
    assert_eq!(kcal, [1.0, 0.0, f64::INFINITY, 1.0, 0.0, -2.0]);
    assert_eq!(series.dudl_kt, [3.5 * PER_KCAL, -1.5 * PER_KCAL]);
    assert_eq!(series.temperature_k, 300.0);
    assert!(series.warnings.is_empty(), "{:?}", series.warnings);
}

#[test]
fn a_derivative_at_step_0_and_energies_between_records_make_two_series() {
    let blocks = || block(["0", "0", "1.0"]) + &block(["0", "0", "2.0"]);
    let content = [&record(0, "1.0"), &blocks(), &record(10, "2.0"), &blocks(), &record(20, "3.0")];
    let content: String = content.into_iter().map(String::as_str).collect();
    let series = read(&[text(&format!("{HEADER}{content}{END}"))], Some(300.0)).unwrap();
    assert_eq!(series[0].time, [20.01, 20.02, 20.03, 20.04]);
    assert_eq!(series[1].time, [20.0, 20.02, 20.04]);
    assert!(series[0].dudl_kt.is_empty() && series[1].u_kt.is_empty() && series[1].dudl_kt.len() == 3);
}

#[test]
fn a_run_that_was_cut_off_is_named() {
    let whole = block(["0", "0", "1.0"]) + &record(5, "1.0");
    for (end, n_energies) in [("MBAR Energy analysis:\nEnergy at 0.0000 = -1.0\nEnergy at 0.5", 1), ("", 1)] {
        let series = one(&format!("{HEADER}{whole}{end}"));
        assert_eq!((series.n_samples(), series.u_kt.len()), (1, 3 * n_energies));
        assert!(series.warnings.last().unwrap().contains("TIMINGS"), "{:?}", series.warnings);
    }
    let content = format!("{HEADER}{whole}{}", block(["0", "0", "2.0"]));
    let series = read(&[text(&content)], None).unwrap();
    assert_eq!((series[0].n_samples(), series[1].n_samples()), (2, 1));
    assert_eq!(series[0].time, [20.01, 20.02]);
}

#[test]
fn a_damaged_block_and_a_missing_section_are_errors_with_a_line() {
    let whole = block(["0", "0", "1.0"]) + &record(5, "1.0");
    let damaged = whole.replace("at 0.5000", "at 0.5500");
    let error = read(&[text(&format!("{HEADER}{damaged}{whole}{END}"))], None).unwrap_err().to_string();
    assert!(error.contains("line 20") && error.contains("lacks"), "{error}");
    let error = read(&[text("nothing\n")], None).unwrap_err().to_string();
    assert!(error.contains("CONTROL  DATA"), "{error}");
    let error = read(&[text(HEADER)], None).unwrap_err().to_string();
    assert!(error.contains("DV/DL"), "{error}");
    let without = HEADER.replace("mbar_states =       3", "mbar_states =       4");
    let error = read(&[text(&format!("{without}{whole}{END}"))], None).unwrap_err().to_string();
    assert!(error.contains("expected 4 λ"), "{error}");
}

#[test]
fn a_lambda_outside_the_list_leaves_the_derivatives() {
    let content = format!("{HEADER}{}{}{END}", block(["0", "0", "1.0"]), record(5, "1.0"));
    let series = one(&content.replace("clambda =  0.5000", "clambda =  0.3000"));
    assert_eq!((series.states, series.u_kt.len(), series.dudl_kt.len()), (vec![vec![0.3]], 0, 1));
    assert!(series.warnings[0].contains("0.3"), "{:?}", series.warnings);
}

#[test]
fn runs_in_one_file_and_in_several_are_in_order_of_time() {
    let run = format!("{HEADER}{}{}{END}", block(["0", "0", "1.0"]), record(5, "1.0"));
    let later =
        run.replace("coords =    20.000", "coords =    20.010").replace("20.010  TEMP", "20.020  TEMP");
    let series = read(&[text(&(later.clone() + &run))], None).unwrap();
    let times =
        |series: &[Series]| series.iter().map(|series| (series.time[0] * 1e3).round()).collect::<Vec<_>>();
    assert_eq!(times(&series), [20010.0, 20020.0]);
    assert!(series[0].warnings[0].contains("another run begins"), "{:?}", series[0].warnings);
    let series = read(&[text(&later), text(&run)], None).unwrap();
    assert_eq!(times(&series), [20010.0, 20020.0]);
}

#[test]
fn the_temperature_must_be_the_one_given() {
    let run = format!("{HEADER}{}{}{END}", block(["0", "0", "1.0"]), record(5, "1.0"));
    assert!(read(&[text(&run)], Some(310.0)).is_err());
    let without = run.replace("temp0", "tempX");
    assert!(read(&[text(&without)], None).is_err());
    assert_eq!(read(&[text(&without)], Some(310.0)).unwrap()[0].temperature_k, 310.0);
}

#[test]
fn the_format_is_known_by_its_beginning() {
    assert!(is_format(HEADER.as_bytes()) && !is_format(b"# dhdl of GROMACS"));
}

#[test]
fn trimmed_outputs_are_what_alchemlyb_reads() {
    let home = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/alchemical");
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(home.join("engines.json")).unwrap()).unwrap();
    for (name, frames) in expected["amber"].as_object().unwrap() {
        let file = Text::read(&home.join(format!("amber/{name}.out.bz2"))).unwrap().0;
        let series = read(&[file], None).unwrap();
        for (key, values) in [
            ("u_nk", series.iter().find(|series| !series.u_kt.is_empty()).map(|series| &series.u_kt)),
            ("dHdl", series.iter().find(|series| !series.dudl_kt.is_empty()).map(|series| &series.dudl_kt)),
        ] {
            let (values, frame) = (values.unwrap(), &frames[key]);
            let numbers = |key: &str| -> Vec<f64> {
                frame[key].as_array().unwrap().iter().flat_map(|x| x.as_f64()).collect()
            };
            let (first, last, mean) = (numbers("first"), numbers("last"), numbers("mean"));
            let (n, width) = (frame["n"].as_u64().unwrap() as usize, first.len());
            assert_eq!(values.len(), n * width, "{name} {key}");
            let near = |found: f64, expected: f64| {
                assert!(
                    (found - expected).abs() < 1e-9 * expected.abs().max(1.0),
                    "{name} {key}: {found} {expected}"
                );
            };
            for column in 0..width {
                near(values[column], first[column]);
                near(values[(n - 1) * width + column], last[column]);
                near(values.iter().skip(column).step_by(width).sum::<f64>() / n as f64, mean[column]);
            }
            if key == "u_nk" {
                assert_eq!(series[0].states.concat(), numbers("states"));
            }
        }
    }
}
