//! `kirkwood run` of a solvation free energy by several roads, as it is typed.

use std::path::Path;

use crate::common::{json, run};

/// The smallest run with classical and learned roads.
const CONFIG: &str = r#"
kind = "solvation"
name = "tiny"
n_models = 2
roads = ["classical", "learned", "scores"]
[system]
topology = "n_methylacetamide_obc2"
[frames.simulation]
n_frames = 1024
every = "0.2 ps"
equilibration = "4 ps"
n_walkers = 32
[classical]
std_error_kt = 0.1
[classical.switching]
n_processes = 256
duration = "0.5 ps"
n_steps = 50
[learning.network]
kind = "whitened"
hidden = [16]
squares = 16
[[learning.train.stages]]
name = "score"
n_steps = 60
batch_size = 128
learning_rate = 3e-3
objectives = [{ kind = "target_score_matching" }]
[[learning.train.stages]]
name = "classification"
n_steps = 40
batch_size = 64
learning_rate = 1e-3
times = { n_times = 2, neighbour_step = 0.5 }
objectives = [{ kind = "target_score_matching" }, { kind = "diffusive_classification", weight = 0.05 }]
[integration]
n_nodes = 8
n_samples = 1024
n_frames = 256
n_walkers = 64
n_burn_in = 10
n_records = 2
record_every = 2
"#;

fn written(home: &Path, text: &str) -> String {
    let path = home.join("run.toml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn roads_stand_side_by_side_and_a_part_that_is_done_again_is_the_same() {
    let home = tempfile::tempdir().unwrap();
    let config = written(home.path(), CONFIG);
    let out = home.path().join("out");
    let arguments =
        ["run", &config, "--out", &out.display().to_string(), "--json", "--quiet"].map(String::from);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = json(&run(&arguments));
    let number = |result: &serde_json::Value, name: &str, what: &str| {
        result["summary"][format!("delta_f_{name}")][what]
            .as_f64()
            .unwrap_or_else(|| panic!("{name}: {result}"))
    };
    let mbar = (number(&result, "mbar", "value"), number(&result, "mbar", "std_error"));
    assert!(mbar.1 <= 0.1 && mbar.0 < -5.0, "{mbar:?}");
    for name in ["bar", "ti", "crooks"] {
        let other = (number(&result, name, "value"), number(&result, name, "std_error"));
        assert!((other.0 - mbar.0).abs() < 4.0 * other.1.hypot(mbar.1), "{name}: {other:?} {mbar:?}");
    }
    for name in ["learned_ti", "direct", "learned_ti_dsm", "learned_ti_1", "learned_ti_2"] {
        assert!(number(&result, name, "value").is_finite());
    }
    let table = std::fs::read_to_string(out.join("report/roads.csv")).unwrap();
    assert!(table.starts_with("group,name,value_kT") && table.contains("learned_ti_dsm_2"), "{table}");
    assert!(out.join("report/report.html").is_file() && out.join("report/figures/roads.png").is_file());

    // As if it had been stopped while it integrated along the second model.
    for part in ["learned_2", "report"] {
        std::fs::remove_dir_all(out.join(part)).unwrap();
    }
    std::fs::create_dir(out.join("learned_2.partial")).unwrap();
    let refused = run(&arguments);
    assert_eq!(refused.status.code(), Some(2));
    assert!(json(&refused)["error"]["message"].as_str().unwrap().contains("--resume"));
    let mut resumed = arguments.clone();
    resumed.push("--resume");
    let again = json(&run(&resumed));
    assert_eq!(number(&again, "direct", "value"), number(&result, "direct", "value"));
    assert_eq!(number(&again, "learned_ti_2", "value"), number(&result, "learned_ti_2", "value"));
}

#[test]
fn what_cannot_be_is_refused_before_any_work() {
    let home = tempfile::tempdir().unwrap();
    let refuse = |from: &str, to: &str| {
        let config = written(home.path(), &CONFIG.replace(from, to));
        let output = run(&["check", &config, "--json"]);
        assert_eq!(output.status.code(), Some(2), "{from} → {to}");
        json(&output)["error"]["message"].as_str().unwrap().to_string()
    };
    let message = refuse("roads = [\"classical\", \"learned\", \"scores\"]", "roads = [\"annealed\"]");
    assert!(message.contains("`annealed`") && message.contains("follows a learned path"), "{message}");
    let message = refuse("roads = [\"classical\", \"learned\", \"scores\"]", "roads = [\"escorted\"]");
    assert!(message.contains("`escorted`"), "{message}");
    let stage = |objective: &str| {
        format!(
            "[[escorted.train.stages]]\nname = \"v\"\nn_steps = 1\nlearning_rate = 1e-3\n\
             objectives = [{{ kind = \"{objective}\" }}]\n[classical]"
        )
    };
    let message = refuse("[classical]", &stage("denoising_score_matching"));
    assert!(message.contains("escorted.train.stages") && message.contains("velocity_matching"), "{message}");
    assert!(refuse("[classical]", &stage("velocity")).contains("escorted.train.stages[0].objectives[0]"));
    assert!(
        refuse("topology = \"n_methylacetamide_obc2\"", "topology = \"n_methylacetamide\"")
            .contains("solvent")
    );
    assert!(refuse("n_models = 2", "n_modles = 2").contains("n_models"));
    let hot = "[frames.vacuum]\ntrajectory = [\"run.toml\"]\ntemperature = \"310 K\"\n[classical]";
    assert!(refuse("[classical]", hot).contains("temperature of the run"));
    let missing = "[frames.solvent]\ntrajectory = [\"nowhere.dcd\"]\n[classical]";
    assert!(refuse("[classical]", missing).contains("nowhere.dcd"));
    let noise = "noise = { kind = \"edm\" }\n[learning.network]";
    assert!(refuse("[learning.network]", &format!("[learning]\n{noise}")).contains("interpolant"));
}
