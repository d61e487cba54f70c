//! What a user gets for broken input: exit code 2 and an error that names the file, before any work.

use std::fs;
use std::path::Path;

use crate::common::{json, kirkwood, root, run, tiny};

/// The error object of a failed run, after checking that nothing was left behind.
fn error_of(arguments: &[&str], out: &Path) -> serde_json::Value {
    let mut all = vec!["run"];
    all.extend_from_slice(arguments);
    let out_text = out.display().to_string();
    all.extend_from_slice(&["--out", &out_text, "--json", "--quiet"]);
    let output = run(&all);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(!out.exists(), "the run directory was made although nothing could be done");
    json(&output)["error"].clone()
}

#[test]
fn broken_trajectories_are_named_before_any_work() {
    let home = tempfile::tempdir().unwrap();
    let data = root().join("examples/alanine_dipeptide/data");
    let config = tiny().display().to_string();
    let out = home.path().join("out");
    let good = fs::read(data.join("implicit_300K_heavy.dcd")).unwrap();
    let trajectory = |name: &str, bytes: &[u8]| {
        let path = home.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let with = |file: &str| error_of(&[&config, "--set", &format!("data.trajectory={file}")], &out);

    let error = with("nowhere.dcd");
    assert_eq!(error["kind"], "file");
    assert!(error["message"].as_str().unwrap().contains("no such file"), "{error}");
    assert!(error["file"].as_str().unwrap().ends_with("nowhere.dcd"));

    let error = with(&trajectory("empty.dcd", b""));
    assert!(error["message"].as_str().unwrap().contains("empty"), "{error}");

    let error = with(&trajectory("text.dcd", b"this is no trajectory\n"));
    assert!(error["file"].as_str().unwrap().ends_with("text.dcd"), "{error}");

    let error = with(&trajectory("cut.dcd", &good[..good.len() / 2]));
    assert!(error["file"].as_str().unwrap().ends_with("cut.dcd"), "{error}");

    // One coordinate of frame 2,000 is not a number.
    let mut bytes = good.clone();
    let frame_size = 3 * (4 * 10 + 8);
    let at = bytes.len() - (100_000 - 2_000) * frame_size + 4;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let error = with(&trajectory("nan.dcd", &bytes));
    assert!(error["message"].as_str().unwrap().contains("2000"), "{error}");
}

#[test]
fn a_topology_of_other_atoms_and_a_missing_device_are_named() {
    let home = tempfile::tempdir().unwrap();
    let config = tiny().display().to_string();
    let out = home.path().join("out");
    let pdb = fs::read_to_string(root().join("examples/alanine_dipeptide/data/heavy.pdb")).unwrap();
    let fewer: Vec<&str> =
        pdb.lines().filter(|line| !line.contains("CB") && !line.starts_with("CONECT")).collect();
    let path = home.path().join("fewer.pdb");
    fs::write(&path, fewer.join("\n")).unwrap();
    let error = error_of(&[&config, "--set", &format!("data.topology={}", path.display())], &out);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains('9') && message.contains("10"), "{message}");

    let error = error_of(&[&config, "--device", "cuda:7"], &out);
    assert_eq!(error["kind"], "device");
    assert!(error["message"].as_str().unwrap().contains("present: cpu"), "{error}");

    let error = error_of(&[&config, "--set", "data.selection=name ZZ"], &out);
    assert!(error["message"].as_str().unwrap().contains("data.selection"), "{error}");

    let error = error_of(&[&config, "--set", "data.frames={stride=2000}"], &out);
    assert!(error["message"].as_str().unwrap().contains("frames"), "{error}");
}

#[test]
fn arguments_without_sense_are_refused_as_json_too() {
    let output = run(&["run", "a.toml", "--threads", "0", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(json(&output)["error"]["kind"], "arguments");
    let output = run(&["run", "nowhere.toml", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(json(&output)["error"]["file"].as_str().unwrap().ends_with("nowhere.toml"));
    let output = run(&["list", "networks", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(json(&output)["network"]["entries"][0]["name"].is_string());
    let output = run(&["list", "netwrk"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean `network`?"));
}

#[test]
fn a_damaged_or_foreign_checkpoint_is_named_and_nothing_is_lost() {
    let home = tempfile::tempdir().unwrap();
    let config = tiny().display().to_string();
    let out = home.path().join("out").display().to_string();
    let output = run(&["train", &config, "--out", &out, "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let model = Path::new(&out).join("train/model.safetensors");
    fs::write(&model, &fs::read(&model).unwrap()[..1000]).unwrap();
    let output = run(&["sample", &config, "--out", &out, "--json", "--quiet"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(json(&output)["error"]["file"].as_str().unwrap().ends_with("model.safetensors"));

    // The state of another network in the place of a checkpoint.
    let other = home.path().join("other").display().to_string();
    let arguments = ["train", &config, "--out", &other, "--quiet", "--set", "model.network.hidden=[8]"];
    assert_eq!(run(&arguments).status.code(), Some(0));
    let third = home.path().join("third");
    let checkpoints = third.join("train.partial/checkpoints");
    let third_text = third.display().to_string();
    let begun = ["train", &config, "--out", &third_text, "--quiet"];
    assert_eq!(run(&begun).status.code(), Some(0));
    fs::rename(third.join("train"), third.join("train.partial")).unwrap();
    let state = "train/checkpoints/state.safetensors";
    fs::copy(Path::new(&other).join(state), checkpoints.join("state.safetensors")).unwrap();
    let output = run(&["train", &config, "--out", &third_text, "--json", "--quiet", "--resume"]);
    assert_eq!(output.status.code(), Some(2));
    let error = json(&output)["error"].clone();
    assert!(error["file"].as_str().unwrap().ends_with("state.safetensors"), "{error}");
}

/// Who reads only the first lines of a long output closes the pipe.
#[test]
fn a_closed_pipe_is_no_failure() {
    for arguments in [["list"].as_slice(), &["list", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = kirkwood(arguments).stdout(writer).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{arguments:?}: {said}");
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = kirkwood(&["run", "nowhere.toml"]).stderr(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_name_that_is_nothing_and_a_run_of_another_kind_are_told_as_what_they_are() {
    let message = |arguments: &[&str]| {
        let output = run(&[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(2));
        json(&output)["error"]["message"].as_str().unwrap().to_string()
    };
    let nothing = message(&["simulate", "methanl"]);
    assert!(nothing.contains("neither a file nor a shipped system is called `methanl`"), "{nothing}");
    assert!(nothing.contains("did you mean `methanol`?") && !nothing.contains("line"), "{nothing}");

    let home = tempfile::tempdir().unwrap();
    let composition = home.path().join("comp.toml");
    fs::write(&composition, "kind = \"composition\"\nguides = 3\n").unwrap();
    for stage in ["train", "sample", "report"] {
        let other = message(&[stage, &composition.display().to_string()]);
        assert!(other.contains("`kind = \"composition\"`") && other.contains("`kirkwood run`"), "{other}");
    }
}

#[test]
fn a_configuration_of_another_command_is_named_with_that_command() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out").display().to_string();
    let [simulation, trajectory] = ["examples/simulate/monte_carlo.toml", "tests/config/good/tiny.toml"]
        .map(|path| root().join(path).display().to_string());
    for (command, config, place, right) in [
        (&["run"][..], &simulation, "system", "`kirkwood simulate` does it"),
        (&["train"], &simulation, "system", "`kirkwood simulate` does it"),
        (&["simulate"], &trajectory, "data", "`kirkwood run` does it"),
        (&["benchmark", "energies"], &trajectory, "data", "`kirkwood run` does it"),
    ] {
        let output = run(&[command, &[config, "--out", &out, "--json"]].concat());
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        let error = &json(&output)["error"];
        assert_eq!(error["place"], place, "{error}");
        assert!(error["message"].as_str().unwrap().contains(right), "{error}");
    }
}
