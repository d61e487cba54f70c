//! `kirkwood score` as it is typed.

use crate::common::{json, root, run, tiny};

#[test]
fn frames_of_the_ensemble_are_familiar_and_other_beads_are_not() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("run").display().to_string();
    let config = tiny().display().to_string();
    assert!(run(&["train", &config, "--out", &out, "--variant", "none", "--quiet"]).status.success());

    let data = root().join("examples/alanine_dipeptide/data");
    let frames = data.join("implicit_300K_heavy.dcd").display().to_string();
    let table = home.path().join("scores.csv").display().to_string();
    let score = |more: &[&str]| {
        let mut arguments = vec!["score", &out, &frames, "--json", "--threshold", "0.01"];
        arguments.extend(more);
        run(&arguments)
    };
    let output = score(&["--output", &table]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let own = json(&output);
    let number = |value: &serde_json::Value, key: &str| value[key].as_f64().unwrap();
    assert!(number(&own, "share_foreign") < 0.013, "{own}");
    // Neighbouring frames are correlated, but the trajectory is one.
    assert!((number(&own["both"], "auroc") - 0.5).abs() < 0.03, "{own}");
    let text = std::fs::read_to_string(&table).unwrap();
    assert_eq!(text.lines().count() as u64, 1 + own["n_frames"].as_u64().unwrap());
    assert!(
        text.starts_with("frame,energy_kT,force_kT_per_nm,p_energy,p_force,p,foreign\n0,"),
        "{text:.100}"
    );

    // Five other atoms of the same molecule.
    let output = score(&["--selection", "name CH3 O CB or (resname NME and name C)"]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stdout));
    let other = json(&output);
    assert!(other["warnings"].to_string().contains("ACE CH3"), "{other}");
    assert!(number(&other, "share_foreign") > 0.99 && number(&other["both"], "auroc") > 0.99, "{other}");

    // Bonds that are longer or shorter by several of their deviations.
    let output = score(&["--displace", "0.05 nm"]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(number(&json(&output)["both"], "auroc") > 0.95);

    // Frames that were changed since are not those that were held out.
    let copy = home.path().join("frames.dcd");
    std::fs::copy(&frames, &copy).unwrap();
    let other = home.path().join("other").display().to_string();
    let from = format!("data.trajectory='{}'", copy.display());
    let trained = run(&["train", &config, "--out", &other, "--variant", "none", "--quiet", "--set", &from]);
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
    std::fs::copy(data.join("vacuum_300K_heavy.dcd"), &copy).unwrap();
    let changed = run(&["score", &other, &frames, "--json"]);
    assert_eq!(changed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&changed.stdout).contains("frames.dcd` changed"));

    let message = |output: std::process::Output| {
        assert_eq!(output.status.code(), Some(2));
        json(&output)["error"]["message"].as_str().unwrap().to_string()
    };
    assert!(message(score(&["--selection", "name N"])).contains("5 beads"));
    assert!(message(score(&["--selection", "nmae N"])).contains("`--selection = \"nmae N\"`"));
    let bad = run(&["score", &out, &frames, "--json", "--threshold", "2"]);
    assert!(message(bad).contains("between 0 and 1"));
    assert!(message(score(&["--displace=-1 nm"])).contains("not negative"));
    let nowhere = run(&["score", &data.display().to_string(), &frames, "--json"]);
    assert!(message(nowhere).contains("run directory"));
}
