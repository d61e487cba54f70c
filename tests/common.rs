//! Paths, and the program itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A configuration that takes a second or two.
pub fn tiny() -> PathBuf {
    root().join("tests/config/good/tiny.toml")
}

/// The program with these arguments.
pub fn kirkwood(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kirkwood"));
    command.args(arguments);
    command
}

/// Runs it to its end.
pub fn run(arguments: &[&str]) -> Output {
    kirkwood(arguments).output().expect("the program starts")
}

/// What `--json` printed.
pub fn json(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("not one JSON object: {error}\n{text}\n{}", String::from_utf8_lossy(&output.stderr))
    })
}
