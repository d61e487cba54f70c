//! Configurations that must work, and those that must be refused with the right words in the right line.
//!
//! In a bad file the expected message stands as a comment `#^ message` below the offending line, or as
//! `#! message` anywhere for an error that belongs to no line.

use std::path::{Path, PathBuf};

use kirkwood::run::{self, Request, Variants, simulate};

use crate::common::root;

fn request(config: &Path) -> Request {
    Request {
        config: config.to_path_buf(),
        out: None,
        device: None,
        seed: None,
        assignments: Vec::new(),
        resume: false,
        variants: Variants::All,
        command: "test".into(),
    }
}

/// The text of the plan, of a simulation or of a run.
fn check(config: &Path) -> kirkwood::Result<String> {
    if simulate::plan::is_simulation(config) {
        return Ok(simulate::check(&request(config))?.text().to_string());
    }
    Ok(run::check(&request(config))?.text().to_string())
}

fn files(directory: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("tests/config").join(directory)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn good_configurations_resolve_and_a_plan_is_its_own_plan() {
    let home = tempfile::tempdir().unwrap();
    let examples = ["run.toml", "small.toml", "vacuum.toml", "all_heavy.toml"];
    let examples = examples.map(|name| root().join("examples/alanine_dipeptide").join(name));
    let simulations = files("../../examples/simulate");
    for path in files("good").into_iter().chain(examples).chain(simulations) {
        let plan = check(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let stored = home.path().join("plan.toml");
        std::fs::write(&stored, &plan).unwrap();
        let again = check(&stored).unwrap_or_else(|error| panic!("{error}\n{plan}"));
        assert_eq!(again, plan, "{}", path.display());
    }
}

#[test]
fn bad_configurations_are_refused_in_the_right_line_with_the_right_words() {
    let mut failures = Vec::new();
    for path in files("bad") {
        let text = std::fs::read_to_string(&path).unwrap();
        let expectation = text.lines().enumerate().find_map(|(idx, line)| {
            let line = line.trim_start();
            let pointing = line.strip_prefix("#^ ").map(|message| (Some(idx), message));
            pointing.or_else(|| line.strip_prefix("#! ").map(|message| (None, message)))
        });
        let (line, expected) = expectation.unwrap_or_else(|| panic!("{} expects nothing", path.display()));
        let found = match check(&path) {
            Ok(_) => "no error at all".to_string(),
            Err(error) => error.to_string(),
        };
        let place = line.map(|line| format!("line {line}:"));
        if !found.contains(expected) || !place.as_ref().is_none_or(|place| found.contains(place)) {
            let place = place.unwrap_or_default();
            failures.push(format!("{}\n  expected {place} {expected}\n  found    {found}", path.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
