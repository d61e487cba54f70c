//! The same files with one thread, with two, and after being killed half-way.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{json, kirkwood, run, tiny};

/// Everything under a run directory that must not depend on how the run went.
fn results(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fn collect(root: &Path, directory: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                collect(root, &path, found);
            } else if !["provenance.json", "log.jsonl", ".lock"].contains(&name.as_str())
                && !name.contains("report")
            {
                found.insert(name.clone(), timeless(&name, std::fs::read(&path).unwrap()));
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(directory, directory, &mut found);
    found
}

/// A file without what tells the time.
fn timeless(name: &str, bytes: Vec<u8>) -> Vec<u8> {
    if name.ends_with(".dcd") {
        // The second record of a DCD says when it was written.
        let length = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize + 8;
        let title = length(0);
        return bytes[title + length(title)..].to_vec();
    }
    if name.ends_with(".safetensors") {
        // The header is a JSON object whose keys have no order; the tensors follow by name.
        return bytes[8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize..].to_vec();
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if name.ends_with("loss.csv") {
        let rows = text.lines().map(|line| line.rsplit_once(',').map_or(line, |(row, _)| row));
        return rows.collect::<Vec<_>>().join("\n").into_bytes();
    }
    if name.ends_with(".json") {
        fn strip(value: &mut serde_json::Value) {
            match value {
                serde_json::Value::Object(map) => {
                    map.retain(|key, _| !key.contains("seconds") && key != "peak_memory_mib");
                    map.values_mut().for_each(strip);
                }
                serde_json::Value::Array(array) => array.iter_mut().for_each(strip),
                _ => {}
            }
        }
        let mut value = serde_json::from_str(&text).unwrap();
        strip(&mut value);
        return value.to_string().into_bytes();
    }
    bytes
}

fn assert_same(name: &str, a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{name}: other files");
    let differ: Vec<&String> = a.keys().filter(|file| a[*file] != b[*file]).collect();
    assert!(differ.is_empty(), "{name}: these differ: {differ:?}");
}

/// Starts a run and kills it (SIGKILL) as soon as a file is there.
fn kill_when(arguments: &[&str], file: &Path) {
    let mut child = kirkwood(arguments)
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while !file.exists() && child.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < Duration::from_secs(120), "{} never came", file.display());
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn threads_and_interruptions_change_nothing() {
    let home = tempfile::tempdir().unwrap();
    let config = tiny().display().to_string();
    let path = |name: &str| home.path().join(name).display().to_string();
    let done = |arguments: &[&str]| {
        let output = run(arguments);
        let code = output.status.code();
        assert!(code == Some(0) || code == Some(3), "{code:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    };

    let (one, two, killed) = (path("one"), path("two"), path("killed"));
    done(&["run", &config, "--out", &one, "--threads", "1", "--quiet"]);
    done(&["run", &config, "--out", &two, "--threads", "2", "--quiet"]);
    let reference = results(Path::new(&one));
    assert!(reference.keys().any(|name| name == "sample/smc.dcd") && reference.len() > 40);
    assert_same("two threads", &reference, &results(Path::new(&two)));

    // Killed during training and during sampling, resumed with another number of threads each time.
    let partial = |name: &str| Path::new(&killed).join(name);
    kill_when(
        &["run", &config, "--out", &killed, "--threads", "2", "--quiet"],
        &partial("train.partial/checkpoints/state.safetensors"),
    );
    let refused = run(&["run", &config, "--out", &killed, "--json"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(json(&refused)["error"]["message"].as_str().unwrap().contains("--resume"));
    kill_when(
        &["run", &config, "--out", &killed, "--threads", "1", "--quiet", "--resume"],
        &partial("sample.partial/iid.json"),
    );
    done(&["run", &config, "--out", &killed, "--threads", "2", "--quiet", "--resume"]);
    assert_same("killed and resumed", &reference, &results(Path::new(&killed)));

    // A finished run says so; stage by stage gives the same.
    let again = run(&["run", &config, "--out", &one, "--json"]);
    assert_eq!(json(&again)["status"], "already_finished");
    let staged = path("staged");
    for stage in ["train", "sample", "estimate", "compare", "report"] {
        done(&[stage, &config, "--out", &staged, "--quiet"]);
    }
    assert_same("stage by stage", &reference, &results(Path::new(&staged)));
}
