//! `kirkwood benchmark energies` as it is typed.

use crate::common::{json, run, tiny};

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
    // Five methods on both problems, six on one.
    assert_eq!(table.lines().count(), 1 + 2 * 5 + 6, "{table}");
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

/// A learning rate of 1e6 for one method of two: the other has its numbers, and who reads only the exit code is told.
#[test]
fn a_training_that_diverged_is_in_the_exit_code() {
    let home = tempfile::tempdir().unwrap();
    let method = |name: &str, rate: &str| {
        format!(
            "[[methods]]\nname = '{name}'\nlabel = '{name}'\n[[methods.stages]]\nname = 'only'\nn_steps = 50\n\
             batch_size = 64\nlearning_rate = {rate}\nobjectives = [{{ kind = 'denoising_score_matching' }}]\n"
        )
    };
    let benchmark = |name: &str, methods: &[String]| {
        let config = home.path().join(format!("{name}.toml"));
        let text = format!(
            "kind = 'benchmark'\nname = '{name}'\nn_training = 256\n\
             network = {{ kind = 'vector', hidden = [16], time_splines = 9 }}\n\
             assess = {{ n_levels = 4, n_points = 64, n_samples = 64, n_steps = 5 }}\n\
             [[problems]]\nkind = 'two_modes'\ndimensions = [2]\nseparations = [3.0]\n{}",
            methods.concat()
        );
        std::fs::write(&config, text).unwrap();
        let (config, out) = (config.display().to_string(), home.path().join(name).display().to_string());
        let output = run(&["benchmark", "energies", &config, "--out", &out, "--json", "--quiet"]);
        (output.status.code(), json(&output))
    };
    let steady = method("steady", "1e-3");
    let (code, outcome) = benchmark("fine", std::slice::from_ref(&steady));
    assert_eq!((code, &outcome["trustworthy"]), (Some(0), &true.into()), "{outcome}");
    let methods = [steady, method("hasty", "1e6")];
    for status in ["finished", "already_finished"] {
        let (code, outcome) = benchmark("diverges", &methods);
        assert_eq!((code, &outcome["trustworthy"]), (Some(3), &false.into()), "{outcome}");
        assert_eq!(outcome["status"], status);
        let verdict = outcome["verdict"].as_str().unwrap();
        assert!(verdict.contains("no numbers: hasty on two_modes_2d_3sigma (seed 1)"), "{verdict}");
        assert!(outcome["summary"]["worst_weight_error_steady"]["value"].is_f64(), "{outcome}");
    }
}

/// Trajectories are read without forces.
#[test]
fn objectives_that_need_forces_are_refused_for_molecules() {
    let home = tempfile::tempdir().unwrap();
    let check = |objective: &str| {
        let config = home.path().join(format!("{objective}.toml"));
        let text = format!(
            "kind = 'benchmark'\nname = 'forces'\n[[molecules]]\nname = 'aldp'\nlabel = 'aldp'\nconfig = '{}'\n\
             [[methods]]\nname = 'method'\nlabel = 'method'\n[[methods.stages]]\nname = 'only'\nn_steps = 10\n\
             learning_rate = 1e-3\nobjectives = [{{ kind = '{objective}' }}]\n",
            tiny().display()
        );
        std::fs::write(&config, text).unwrap();
        run(&["check", &config.display().to_string(), "--json"])
    };
    assert_eq!(check("denoising_score_matching").status.code(), Some(0));
    let refused = check("target_score_matching");
    assert_eq!(refused.status.code(), Some(2));
    let message = json(&refused)["error"]["message"].as_str().unwrap().to_string();
    assert!(message.contains("`target_score_matching` needs the forces"), "{message}");
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
