use std::f64::consts::PI;

use super::hills::hills;
use super::*;

fn colvar_of(text: &str) -> Result<PlumedTable> {
    colvar(Columns::from_bytes(Path::new("COLVAR"), text.as_bytes())?)
}

fn hills_of(text: &str) -> Result<Hills> {
    hills(Columns::from_bytes(Path::new("HILLS"), text.as_bytes())?)
}

#[test]
fn expressions_of_domains() {
    let cases =
        [("pi", PI), ("-pi", -PI), ("2*pi", 2.0 * PI), ("+pi/2", PI / 2.0), ("1.5*pi-0.1", 1.5 * PI - 0.1)];
    let more = [("-3.125", -3.125), ("1e-2", 0.01), ("-2*-pi", 2.0 * PI), ("PI+pi*2/4", 1.5 * PI)];
    for (text, value) in cases.into_iter().chain(more) {
        assert!((expression(text).unwrap() - value).abs() < 1e-15, "{text}");
    }
    for text in ["", "-", "2pi", "pi*", "pie", "(pi)", "é"] {
        assert_eq!(expression(text), None, "{text}");
    }
}

#[test]
fn a_colvar_with_periodic_variables() {
    let text =
        "#! FIELDS time phi psi\n#! SET min_phi -pi\n#! SET max_phi pi\n 0.0 1.0 2.0\n 1.0 1.5 2.5\n 2.0 1.";
    let table = colvar_of(text).unwrap();
    assert_eq!(table.domains, HashMap::from([("phi".to_string(), (-PI, PI))]));
    assert_eq!((table.column("psi").unwrap(), table.n_rows()), (&[2.0, 2.5][..], 2));
    assert!(table.warnings[0].contains("line 6"), "{:?}", table.warnings);
    assert!(table.column("time2").unwrap_err().to_string().contains("time, phi, psi"));
    let error = colvar_of(&text.replace("-pi", "low")).unwrap_err().to_string();
    assert!(error.contains("min_phi") && error.contains("`low`"), "{error}");
    assert!(colvar_of("1 2\n").unwrap_err().to_string().contains("FIELDS"));
}

#[test]
fn after_a_restart_the_later_run_wins() {
    let header = "#! FIELDS time s\n";
    let first = "0 1\n1 2\n2 3\n3 4\n";
    let table = colvar_of(&format!("{header}{first}{header}2 30\n3 40\n4 50\n")).unwrap();
    assert_eq!(table.columns, [[0.0, 1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 30.0, 40.0, 50.0]]);
    assert_eq!(table.lines, [2, 3, 7, 8, 9]);
    assert!(
        table.warnings[0].contains("line 7: a run was restarted at time 2; 2 rows"),
        "{:?}",
        table.warnings
    );
    let table = colvar_of(&format!("{header}{first}{header}{first}")).unwrap();
    assert_eq!(table.n_rows(), 8);
    assert!(table.warnings[0].contains("another simulation"), "{:?}", table.warnings);
    let error = colvar_of(&format!("{header}{first}#! FIELDS time t\n4 5\n")).unwrap_err().to_string();
    assert!(error.contains("line 6") && error.contains("time, s"), "{error}");
}

const HILLS: &str = "#! FIELDS time phi d sigma_phi sigma_d height biasf
#! SET multivariate false
#! SET kerneltype gaussian
#! SET min_phi -pi
#! SET max_phi pi
 1.0  3.0  0.5  0.3  0.1  1.2  4
 2.0 -1.0  0.7  0.3  0.2  0.9  4
";

#[test]
fn the_bias_is_a_sum_of_gaussians_over_periodic_images() {
    let hills = hills_of(HILLS).unwrap();
    assert_eq!((hills.cvs.join(" ").as_str(), hills.n_hills(), hills.n_until(1.5)), ("phi d", 2, 1));
    // From −3 to 3 there is 2π − 6 over the edge.
    let near = (2.0 * PI - 6.0) / 0.3;
    let expected = -1.2 * (-0.5 * near * near - 0.5_f64).exp();
    let free_energy = hills.free_energy(&[-3.0, 0.6], 2)[0];
    assert!((free_energy - expected).abs() < 1e-14, "{free_energy} {expected}");
    assert!((hills.bias(&[-3.0, 0.6], 2)[0] + expected * 0.75).abs() < 1e-14);
    assert_eq!(hills.bias(&[-1.0, 0.7], 1), [0.0]);
    assert!((hills.bias(&[3.0, 0.5, -1.0, 0.7], 2)[1] - 0.675).abs() < 1e-14);
}

#[test]
fn gaussians_end_at_the_cutoff_and_stretched_ones_at_zero() {
    let text = "#! FIELDS time s sigma_s height\n1.0 0.0 1.0 2.0\n";
    let edge = 12.5_f64.sqrt();
    let plain = hills_of(text).unwrap().bias(&[0.0, edge - 1e-9, edge + 1e-9], 1);
    assert!(
        (plain[0] - 2.0).abs() < 1e-15
            && (plain[1] - 2.0 * (-6.25_f64).exp()).abs() < 1e-9
            && plain[2] == 0.0
    );
    let text = text.replace("1.0 0.0", "#! SET kerneltype stretched-gaussian\n1.0 0.0");
    let stretched = hills_of(&text).unwrap().bias(&[0.0, edge - 1e-9, edge + 1e-9], 1);
    assert!((stretched[0] - 2.0).abs() < 1e-15 && stretched[1].abs() < 1e-9 && stretched[2] == 0.0);
    assert!(hills_of(&text.replace("stretched-gaussian", "triangular")).is_err());
}

#[test]
fn multivariate_gaussians_have_a_covariance() {
    // L = [[0.5, 0], [0.3, 0.4]]: the covariance is [[0.25, 0.15], [0.15, 0.25]].
    let text = "#! FIELDS time a b sigma_a_a sigma_b_a sigma_b_b height biasf
#! SET multivariate true
1 0 0 0.5 0.3 0.4 1 -1\n";
    let (x, y) = (0.2_f64, -0.1_f64);
    let determinant = 0.25 * 0.25 - 0.15 * 0.15;
    let square = (0.25 * x * x - 2.0 * 0.15 * x * y + 0.25 * y * y) / determinant;
    let bias = hills_of(text).unwrap().bias(&[x, y], 1)[0];
    assert!((bias - (-0.5 * square).exp()).abs() < 1e-14);
}

#[test]
fn walkers_at_one_time_stay_and_restarts_replace() {
    let header = "#! FIELDS time s sigma_s height biasf\n";
    let rows = |times: &[f64], height: f64| -> String {
        times.iter().map(|time| format!("{time:.1} 0.0 0.1 {height:.1} 1\n")).collect()
    };
    let text = format!("{header}{}{header}{}", rows(&[1.0, 1.0, 2.0, 2.0], 1.0), rows(&[2.0, 2.0, 3.0], 2.0));
    let hills = hills_of(&text).unwrap();
    assert_eq!(
        (hills.times.as_slice(), hills.heights.as_slice()),
        (&[1.0, 1.0, 2.0, 2.0, 3.0][..], &[1.0, 1.0, 2.0, 2.0, 2.0][..])
    );
}

#[test]
fn hills_that_make_no_sense_are_errors() {
    let error = hills_of(&HILLS.replace("0.3  0.2", "0.3  0.0")).unwrap_err().to_string();
    assert!(error.contains("line 7") && error.contains("sigma_d"), "{error}");
    let error = hills_of(&HILLS.replace("0.9", "nan")).unwrap_err().to_string();
    assert!(error.contains("line 7") && error.contains("height"), "{error}");
    assert!(hills_of("#! FIELDS time phi\n1 2\n").is_err());
}

#[test]
fn files_as_plumed_writes_them() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/alchemical");
    let table = read_colvar(&home.join("plumed/COLVAR")).unwrap();
    let time = table.column("time").unwrap();
    assert_eq!(time.len(), 90);
    assert!(time.windows(2).all(|pair| (pair[1] - pair[0] - 0.2).abs() < 1e-6));
    assert!(
        table.warnings[0].contains("line 67") && table.warnings[0].contains("10 rows"),
        "{:?}",
        table.warnings
    );

    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(home.join("engines.json")).unwrap()).unwrap();
    let numbers = |key: &str| -> Vec<f64> {
        expected["plumed"][key].as_array().unwrap().iter().flat_map(|x| x.as_f64()).collect()
    };
    let hills = read_hills(&home.join("plumed/HILLS")).unwrap();
    assert!(hills.stretched && hills.bias_factors.iter().all(|factor| *factor == 8.0));
    let found = hills.free_energy(&numbers("points"), hills.n_hills());
    for (found, expected) in found.iter().zip(numbers("free_energy")) {
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }
}
