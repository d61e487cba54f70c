//! The import order of the modules, as a table, and the few places that may do what others may not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every module may use these.
const FOUNDATIONS: [&str; 5] = ["error", "units", "random", "registry", "simd"];

/// Module → what it may import besides the foundations.
const IMPORTS: [(&str, &[&str]); 15] = [
    ("error", &[]),
    ("units", &[]),
    ("random", &[]),
    ("registry", &[]),
    ("simd", &[]),
    ("system", &[]),
    ("trajectory", &["system"]),
    ("force_field", &["system", "trajectory"]),
    ("potential", &["system", "trajectory", "force_field"]),
    ("sampling", &["system", "trajectory", "force_field", "potential"]),
    ("model", &["system", "trajectory", "potential"]),
    ("training", &["system", "trajectory", "potential", "sampling", "model"]),
    ("free_energy", &["system", "trajectory", "potential"]),
    ("comparison", &["system", "trajectory", "free_energy"]),
    ("report", &[]),
];

/// `run` joins everything below it; `main.rs` and `cli` see the library from outside.
const JOINS: &str = "run";

/// Word → the files and directories of `src/` that may contain it.
const RESERVED: [(&str, &[&str]); 8] = [
    // `mod.rs` and `load.rs` name the module of this name beside them, not the crate.
    ("chemfiles::", &["trajectory/chemfiles.rs", "trajectory/mod.rs", "trajectory/load.rs"]),
    ("candle_core", &["model/", "training/", "trajectory/pytorch.rs"]),
    // They panic where standard output or error is a closed pipe; `cli/output.rs` has what does not.
    ("println!", &[]),
    ("eprintln!", &[]),
    ("print!(", &[]),
    ("dbg!(", &[]),
    ("process::exit", &["main.rs", "cli/"]),
    ("indicatif", &["cli/"]),
];

fn sources() -> Vec<(String, String)> {
    fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
    files.iter().map(|path| (name(path), without_comments(&std::fs::read_to_string(path).unwrap()))).collect()
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The first path segments after `crate::`, also inside `use crate::{…}`.
fn imported(text: &str) -> BTreeSet<String> {
    let identifier = |text: &str| -> String {
        text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
    };
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(identifier(rest));
            continue;
        };
        let (mut depth, mut expects_name) = (1, true);
        for (offset, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => expects_name = true,
                letter if letter.is_alphabetic() && expects_name => {
                    found.insert(identifier(&group[offset..]));
                    expects_name = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

fn is_module(name: &str) -> bool {
    name == JOINS || IMPORTS.iter().any(|(module, _)| *module == name)
}

/// What is wrong with one file, as sentences.
fn trespasses(file: &str, text: &str) -> Vec<String> {
    let module = file.split(['/', '.']).next().unwrap_or_default();
    let mut found = Vec::new();
    if let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) {
        for import in imported(text).into_iter().filter(|import| is_module(import)) {
            let known = import == module || FOUNDATIONS.contains(&import.as_str());
            if !known && !allowed.contains(&import.as_str()) {
                found.push(format!("src/{file} imports `{import}`; `{module}` may import {allowed:?}"));
            }
        }
    }
    for (word, allowed) in RESERVED {
        let may =
            allowed.iter().any(|place| file == *place || (place.ends_with('/') && file.starts_with(place)));
        // `eprintln!(` contains `println!(`: a word begins where no letter stands before it.
        let used = text.match_indices(word).any(|(at, _)| {
            !text[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_')
                && !text[..at].ends_with("crate::trajectory::")
                && !text[..at].ends_with("super::")
                && !text[..at].ends_with("self::")
        });
        if used && !may {
            found.push(format!("src/{file} contains `{word}`, which belongs to {allowed:?}"));
        }
    }
    found
}

#[test]
fn modules_import_only_from_those_before_them() {
    let found: Vec<String> = sources().iter().flat_map(|(file, text)| trespasses(file, text)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_module_stands_in_the_table() {
    for (file, _) in sources() {
        let module = file.split(['/', '.']).next().unwrap();
        assert!(["lib", "main", "cli"].contains(&module) || is_module(module), "src/{file} is in no table");
    }
}

#[test]
fn a_trespass_is_caught() {
    let one = |file: &str, text: &str| trespasses(file, text).len();
    assert_eq!(one("system/a.rs", "use crate::run::Plan;"), 1);
    assert_eq!(one("sampling/a.rs", "use crate::{error::{Error, Result}, model::Model};"), 1);
    assert_eq!(one("sampling/a.rs", "use crate::{error::{Error, Result}, potential::{Space}};"), 0);
    assert_eq!(one("report/a.rs", "fn f() { eprintln!(\"x\") }"), 1);
    assert_eq!(one("report/a.rs", &without_comments("// println!(\"x\")")), 0);
    assert_eq!(one("cli/a.rs", "fn f() { println!(\"x\") }"), 1);
    assert_eq!(one("cli/a.rs", "fn f() { std::process::exit(1) }"), 0);
    assert_eq!(one("system/a.rs", "use chemfiles::Frame;"), 1);
}
