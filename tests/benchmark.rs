//! `kirkwood benchmark energies` as it is typed.

use crate::common::{json, run};

#[test]
fn a_suite_runs_resumes_and_repeats_itself() {
    let home = tempfile::tempdir().unwrap();
    let benchmark = |name: &str, more: &[&str]| {
        let out = home.path().join(name).display().to_string();
        let quick = ["--set", "assess.n_samples=64", "--set", "problems.1.n_squares=2"];
        let mut arguments =
            vec!["benchmark", "energies", "--suite", "mixtures_small", "--out", &out, "--json"];
        arguments.extend(quick);
        arguments.extend(more);
        let arguments: Vec<String> = arguments.into_iter().map(String::from).collect();
        run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let output = benchmark("whole", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let summary = &json(&output)["summary"];
    let worst = |method: &str| summary[format!("worst_weight_error_{method}")]["value"].as_f64().unwrap();
    // Trained for seconds, it sees weights that score matching does not.
    assert!(worst("diffclf") < 0.5 * worst("dsm"), "{summary}");

    let report = home.path().join("whole/report");
    let table = std::fs::read_to_string(report.join("table.csv")).unwrap();
    // Five methods on both problems, five on one.
    assert_eq!(table.lines().count(), 1 + 2 * 5 + 5, "{table}");
    assert!(table.starts_with("problem,method,n_seeds,n_modes,weight_error,"), "{table}");
    assert!(
        std::fs::read_to_string(report.join("table.md")).unwrap().contains("| checkerboard | DSM + RNE |")
    );
    // The modes are the states of the classifier: two dark squares of four here.
    let board = std::fs::read_to_string(home.path().join("whole/checkerboard.jem.1/loss.csv")).unwrap();
    let column = board.lines().next().unwrap().split(',').position(|name| name == "state_classification");
    let last = board.lines().last().unwrap().split(',').nth(column.unwrap()).unwrap();
    assert!(last.parse::<f64>().unwrap() < 2.0_f64.ln(), "{last}");
    assert!(report.join("report.html").is_file());
    // Five of reverse diffusion, four of particles, and generators before and after recovery, on both problems.
    let few_step = std::fs::read_to_string(report.join("few_step.csv")).unwrap();
    assert_eq!(few_step.lines().count(), 1 + 2 * 11, "{few_step}");
    assert!(few_step.contains("checkerboard,diffclf,1,\"generators, energy score\",3,"), "{few_step}");
    assert!(report.join("figures/few_step_checkerboard.png").is_file());
    assert!(report.join("figures/levels_checkerboard.png").is_file());

    // A part that is done again is the same, up to how long it took.
    let part = home.path().join("whole/checkerboard.dsm.1/assessment.json");
    let without_seconds = |text: String| -> serde_json::Value {
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["training_seconds"].take();
        value
    };
    let before = without_seconds(std::fs::read_to_string(&part).unwrap());
    std::fs::remove_dir_all(part.parent().unwrap()).unwrap();
    std::fs::remove_dir_all(&report).unwrap();
    std::fs::remove_file(home.path().join("whole/summary.json")).unwrap();
    assert_eq!(benchmark("whole", &[]).status.code(), Some(2), "an unfinished run wants --resume");
    assert_eq!(benchmark("whole", &["--resume"]).status.code(), Some(0));
    assert_eq!(without_seconds(std::fs::read_to_string(&part).unwrap()), before);
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |arguments: &[&str]| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        json(&output)["error"]["message"].as_str().unwrap().to_string()
    };
    let message = refused(&["benchmark", "energies", "--suite", "molecules_of_mars", "--json"]);
    assert!(message.contains("known: molecules, mixtures"), "{message}");
    assert!(refused(&["benchmark", "energies", "--json"]).contains("nothing to do"));
    let suite = ["benchmark", "energies", "--suite", "mixtures_small", "--json", "--set"];
    let message = refused(&[&suite[..], &["n_training=2"]].concat());
    assert!(message.contains("n_training"), "{message}");
    let message = refused(&[&suite[..], &["network.kind=\"whitened\""]].concat());
    assert!(message.contains("is made for molecules"), "{message}");
}
