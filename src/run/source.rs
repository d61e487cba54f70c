//! The text of a configuration: where each key stands, what overlays it, and errors that point at it.
//!
//! A configuration may be changed on the command line (`--set train.batch_size=512`) and by its own
//! variants (`[variants.NAME]`), so it is merged as a table before it is read. Messages still name
//! the line of the file in which the offending key was written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use crate::error::{Error, Result, did_you_mean};
use crate::run::Request;

/// A configuration file, merged with what overlays it.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    text: String,
    table: Table,
    /// Key path → line, counted from 1.
    lines: BTreeMap<String, usize>,
    /// The key path under which an overlay stands in the file: `variants.NAME`.
    overlay: Option<String>,
    /// Key paths given on the command line.
    assigned: Vec<String>,
}

/// The resolved configuration of a run directory.
const PLAN: &str = "plan.toml";

/// Whether a request names a run directory instead of a configuration.
fn is_run(request: &Request) -> bool {
    request.config.is_dir() && request.config.join(PLAN).is_file()
}

/// Where the results of a request go: what it says, the run directory that it names, or `runs/NAME`.
pub fn run_directory(request: &Request, name: &str) -> PathBuf {
    match &request.out {
        Some(out) => out.clone(),
        None if is_run(request) => request.config.clone(),
        None => Path::new("runs").join(name),
    }
}

/// A configuration, or that of a run directory; what is no TOML is left to who reads it.
fn table_of(config: &Path) -> Option<Table> {
    let path = if config.is_dir() { config.join(PLAN) } else { config.to_path_buf() };
    std::fs::read_to_string(path).unwrap_or_default().parse::<Table>().ok()
}

/// Its `kind`.
fn kind_of(config: &Path) -> Option<String> {
    table_of(config)?.get("kind").and_then(Value::as_str).map(str::to_string)
}

/// Whether a configuration, or that of a run directory, has a table of this name.
pub fn has_table(config: &Path, name: &str) -> bool {
    table_of(config).is_some_and(|table| table.contains_key(name))
}

/// Kinds of runs that have no stages to do one by one.
const KINDS: [&str; 4] = ["benchmark", "solvation", "boltzmann_generator", "composition"];

/// Whether a configuration, or that of a run directory, has this `kind`.
pub fn is_of_kind(config: &Path, kind: &str) -> bool {
    kind_of(config).as_deref() == Some(kind)
}

/// Whether it has any `kind`: then it is not one that learns the energy of one trajectory.
pub fn is_of_another_kind(config: &Path) -> bool {
    kind_of(config).is_some()
}

/// Whether a directory or a file can have this name on every system.
pub fn is_file_name(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

/// Checks the name of a run, or of what else becomes a directory; `place` is its key path.
pub fn check_directory_name(place: &str, name: &str) -> Result<()> {
    if is_file_name(name) {
        return Ok(());
    }
    let message = "must consist of letters, digits, `_`, `-` and `.`, because a directory has this name";
    Err(Error::config(format!("{place} = \"{name}\""), message, ""))
}

/// A plan as one JSON object.
pub fn plan_json(plan: &str, out: &Path, sentence: &str) -> serde_json::Value {
    let plan = plan.parse::<Table>().ok().and_then(|table| serde_json::to_value(table).ok());
    serde_json::json!({ "plan": plan, "run_directory": out.display().to_string(), "sentence": sentence })
}

impl Source {
    /// Reads a file; an error of syntax names its line.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => {
                Error::file(path, "", "a configuration in TOML, which is UTF-8 text", "other bytes")
            }
            std::io::ErrorKind::IsADirectory => {
                Error::file(path, "", "a configuration file", "a directory that is not a run directory")
            }
            _ => Error::io("read", path)(error),
        })?;
        Self::from_text(path, text)
    }

    /// The configuration of a request, or the plan of the run directory that it names, with what overlays it.
    pub fn of_request(request: &Request) -> Result<Self> {
        let path = if is_run(request) { request.config.join(PLAN) } else { request.config.clone() };
        Self::read(&path)?.overlaid(request)
    }

    /// With the assignments and the seed of a request.
    pub fn overlaid(mut self, request: &Request) -> Result<Self> {
        for assignment in &request.assignments {
            self.assign(assignment)?;
        }
        if let Some(seed) = request.seed {
            self.assign(&format!("seed={seed}"))?;
        }
        Ok(self)
    }

    /// The same for a text that is already in memory.
    pub fn from_text(path: &Path, text: String) -> Result<Self> {
        let document = DeTable::parse(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_at(&text, span.start));
            Error::file(path, format!("line {line}"), "a configuration in TOML", error.message())
        })?;
        let mut lines = BTreeMap::new();
        for node in nodes(document.get_ref()) {
            lines.insert(node.path, line_at(&text, node.key.start));
        }
        let table = toml::from_str(&text)
            .map_err(|error| Error::file(path, "", "a configuration in TOML", error.message().to_string()))?;
        Ok(Self { path: path.to_path_buf(), text, table, lines, overlay: None, assigned: Vec::new() })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The absolute path of an input, or an error that names the file and the key that asks for it.
    pub fn existing(&self, place: &str, path: &Path) -> Result<PathBuf> {
        let path = self.directory().join(path);
        match path.canonicalize() {
            Ok(path) if path.is_file() => Ok(path),
            Ok(path) => Err(Error::file(path, "", format!("a file (`{place}`)"), "a directory")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let config = self.path().display();
                Err(Error::file(
                    path,
                    "",
                    format!("the file that `{place}` of `{config}` names"),
                    "no such file",
                ))
            }
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    /// The directory that relative paths in the file start from.
    pub fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// The file as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// An error where the configuration has a `kind`: it does not learn the energy of one trajectory stage by stage.
    pub fn refuse_kind(&self) -> Result<()> {
        let Some(kind) = self.table.get("kind") else { return Ok(()) };
        let (message, hint) = match kind.as_str() {
            Some(kind) if KINDS.contains(&kind) => {
                ("is no run that has stages to do one by one", "`kirkwood run` does all of it".to_string())
            }
            other => ("there is no such kind", did_you_mean(other.unwrap_or_default(), KINDS)),
        };
        Err(self.locate(Error::config(format!("kind = {kind}"), message, hint)))
    }

    /// An error that names the right command where the configuration is for another one than `simulate`, `run` or
    /// `benchmark energies`, as its `kind` or its tables tell; what nothing tells is left to who reads it.
    pub fn refuse_unless_for(&self, command: &str) -> Result<()> {
        let (place, other) = match self.table.get("kind") {
            Some(kind) if kind.as_str() == Some("benchmark") => {
                (format!("kind = {kind}"), "benchmark energies")
            }
            Some(kind) => (format!("kind = {kind}"), "run"),
            None if self.table.contains_key("data") => ("data".to_string(), "run"),
            None if self.table.contains_key("system") => ("system".to_string(), "simulate"),
            None => return Ok(()),
        };
        if other == command {
            return Ok(());
        }
        let message = "belongs to a configuration of another command";
        Err(self.locate(Error::config(place, message, format!("`kirkwood {other}` does it"))))
    }

    /// The merged table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Changes one value: `train.stages[0].n_steps=100`; what is not a TOML value is taken as text.
    pub fn assign(&mut self, assignment: &str) -> Result<()> {
        let (key, text) = assignment.split_once('=').ok_or_else(|| {
            Error::config(
                format!("--set {assignment}"),
                "expected key=value",
                "for example train.batch_size=512",
            )
        })?;
        let (key, text) = (key.trim(), text.trim());
        let value = toml::from_str::<Table>(&format!("value = {text}"))
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| Value::String(text.to_string()));
        let steps: Vec<String> =
            key.replace('[', ".").replace(']', "").split('.').map(str::to_string).collect();
        if steps.iter().any(String::is_empty) {
            return Err(Error::config(format!("--set {assignment}"), "the key has an empty part", ""));
        }
        let mut root = Value::Table(std::mem::take(&mut self.table));
        let assigned = assign(&mut root, &steps, value);
        if let Value::Table(table) = root {
            self.table = table;
        }
        assigned.map_err(|message| Error::config(format!("--set {assignment}"), message, ""))?;
        self.assigned.push(path_of(&steps));
        Ok(())
    }

    /// Names of the tables under `[variants]`, in alphabetical order.
    pub fn variants(&self) -> Vec<String> {
        let variants = self.table.get("variants").and_then(Value::as_table);
        variants.map(|table| table.keys().cloned().collect()).unwrap_or_default()
    }

    /// The configuration without `[variants]`, overlaid with the variant of this name.
    pub fn variant(&self, name: &str) -> Result<Self> {
        let overlay = match self.table.get("variants").and_then(|variants| variants.get(name)) {
            Some(Value::Table(overlay)) => overlay.clone(),
            _ => {
                let names = self.variants();
                let hint = did_you_mean(name, names.iter().map(String::as_str));
                return Err(Error::config(format!("variants.{name}"), "there is no such variant", hint)
                    .in_config(&self.path, None));
            }
        };
        let mut merged = self.clone();
        merged.table.remove("variants");
        merge(&mut merged.table, overlay);
        merged.overlay = Some(format!("variants.{name}"));
        Ok(merged)
    }

    /// Reads the merged table as `T`; errors name file, line, key path and the nearest valid key.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        let merged = toml::to_string(&self.table)
            .map_err(|error| Error::config("", format!("cannot be written as TOML: {error}"), ""))?;
        toml::from_str::<T>(&merged).map_err(|error| {
            let place = match (DeTable::parse(&merged), error.span()) {
                // The root table has an empty span.
                (Ok(document), Some(span)) if !span.is_empty() => {
                    innermost(&nodes(document.get_ref()), &span)
                }
                _ => String::new(),
            };
            self.locate(explain(&place, error.message()))
        })
    }

    /// The same error with the file and, where the key stands in it, the line.
    pub fn locate(&self, error: Error) -> Error {
        let Error::Config { place, path: None, .. } = &error else { return error };
        let key = place.split(" = ").next().unwrap_or_default().to_string();
        if self.assigned.iter().any(|assigned| key.starts_with(assigned.as_str())) {
            return error.with_hint_appended("given with --set");
        }
        let line = self.line_of(&key);
        error.in_config(&self.path, line)
    }

    /// The line of a key, or of the innermost table around it that is written in the file.
    fn line_of(&self, key: &str) -> Option<usize> {
        let mut key = key;
        loop {
            let overlaid =
                self.overlay.as_ref().and_then(|overlay| self.lines.get(&format!("{overlay}.{key}")));
            if let Some(line) = overlaid.or_else(|| self.lines.get(key)) {
                return Some(*line);
            }
            key = &key[..key.rfind(['.', '['])?];
        }
    }
}

/// A key of a document: its path, and where it and its value stand.
struct Node {
    path: String,
    key: std::ops::Range<usize>,
    value: std::ops::Range<usize>,
}

/// All keys and array elements of a document.
fn nodes(table: &DeTable<'_>) -> Vec<Node> {
    fn visit_value(path: &str, value: &Spanned<DeValue<'_>>, found: &mut Vec<Node>) {
        match value.get_ref() {
            DeValue::Table(table) => visit_table(path, table, found),
            DeValue::Array(array) => {
                for (idx, element) in array.iter().enumerate() {
                    let path = format!("{path}[{idx}]");
                    let span = element.span();
                    found.push(Node { path: path.clone(), key: span.clone(), value: span });
                    visit_value(&path, element, found);
                }
            }
            _ => {}
        }
    }
    fn visit_table(path: &str, table: &DeTable<'_>, found: &mut Vec<Node>) {
        for (key, value) in table.iter() {
            let dot = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{dot}{}", key.get_ref());
            found.push(Node { path: path.clone(), key: key.span(), value: value.span() });
            visit_value(&path, value, found);
        }
    }
    let mut found = Vec::new();
    visit_table("", table, &mut found);
    found
}

/// The path of the smallest node around a span.
fn innermost(nodes: &[Node], span: &std::ops::Range<usize>) -> String {
    let around = |range: &std::ops::Range<usize>| range.start <= span.start && span.end <= range.end;
    nodes
        .iter()
        .filter_map(|node| {
            let sizes = [&node.key, &node.value].map(|range| around(range).then(|| range.len()));
            sizes.into_iter().flatten().min().map(|size| (size, node.path.len(), &node.path))
        })
        .min_by_key(|(size, depth, _)| (*size, usize::MAX - depth))
        .map(|(_, _, path)| path.clone())
        .unwrap_or_default()
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|&&byte| byte == b'\n').count()
}

/// Turns a message of serde into ours.
fn explain(place: &str, message: &str) -> Error {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let join = |key: &str| if place.is_empty() { key.to_string() } else { format!("{place}.{key}") };
    if let (true, Some((found, valid))) = (message.starts_with("unknown field"), quoted.split_first()) {
        let last = place.rsplit('.').next() == Some(found);
        let place = if last { place.to_string() } else { join(found) };
        return Error::config(place, "there is no such key", did_you_mean(found, valid.iter().copied()));
    }
    if let (true, Some((found, valid))) = (message.starts_with("unknown variant"), quoted.split_first()) {
        let hint = did_you_mean(found, valid.iter().copied());
        return Error::config(format!("{place} = \"{found}\""), "there is no such name", hint);
    }
    if let (true, Some(missing)) = (message.starts_with("missing field"), quoted.first()) {
        return Error::config(join(missing), "is missing", "");
    }
    // A type of Rust, in the words of serde.
    Error::config(place, message.replace("a nonzero usize", "a whole number above 0"), "")
}

/// Key path of steps in which numbers are indices.
fn path_of(steps: &[String]) -> String {
    let mut path = String::new();
    for step in steps {
        if step.parse::<usize>().is_ok() {
            path += &format!("[{step}]");
        } else {
            path += if path.is_empty() { "" } else { "." };
            path += step;
        }
    }
    path
}

/// Puts `value` where the steps lead; missing tables are made, list elements must exist.
fn assign(place: &mut Value, steps: &[String], value: Value) -> std::result::Result<(), String> {
    let Some((step, rest)) = steps.split_first() else {
        *place = value;
        return Ok(());
    };
    match place {
        Value::Table(table) => {
            let inner = table.entry(step.clone()).or_insert_with(|| Value::Table(Table::new()));
            assign(inner, rest, value)
        }
        Value::Array(array) => {
            let length = array.len();
            let element = step.parse::<usize>().ok().and_then(|idx| array.get_mut(idx));
            let element = element.ok_or_else(|| format!("`{step}` is not in a list of {length}"))?;
            assign(element, rest, value)
        }
        other => Err(format!("`{step}` would be inside {}, not a table", other.type_str())),
    }
}

/// Overlays tables key by key; other values, and tables of another `kind`, are replaced whole.
fn merge(base: &mut Table, overlay: Table) {
    for (key, value) in overlay {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above))
                if above.get("kind").is_none() || above.get("kind") == below.get("kind") =>
            {
                merge(below, above);
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(default)]
        seed: u64,
        stride: Option<std::num::NonZeroUsize>,
        train: Inner,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        n_steps: Option<usize>,
        #[serde(default)]
        stages: Vec<Stage>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Stage {
        rate: f64,
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Adam,
        Sgd,
    }

    fn source(text: &str) -> Source {
        Source::from_text(Path::new("run.toml"), text.to_string()).unwrap()
    }

    fn message(text: &str) -> String {
        source(text).parse::<Outer>().unwrap_err().to_string()
    }

    #[test]
    fn errors_name_line_key_path_and_the_nearest_key() {
        assert_eq!(
            message("seed = 1\n[train]\nn_step = 3\n"),
            "`run.toml`, line 3: `train.n_step`: there is no such key (did you mean `n_steps`?)"
        );
        assert_eq!(
            message(
                "[train]\n\n[[train.stages]]\nrate = 1.0\n[[train.stages]]\nrate = 0.1\nkind = \"adm\"\n"
            ),
            "`run.toml`, line 7: `train.stages[1].kind = \"adm\"`: there is no such name (did you mean `adam`?)"
        );
        assert_eq!(message("seed = 1\n"), "`run.toml`: `train`: is missing");
        assert!(message("train = {}\nseed = -1\n").starts_with("`run.toml`, line 2: `seed`: invalid value"));
        assert_eq!(message("[[train.stages]]\n"), "`run.toml`, line 1: `train.stages[0].rate`: is missing");
    }

    #[test]
    fn a_count_of_none_is_refused_in_plain_words() {
        let mut source = source("train = {}");
        source.assign("stride=0").unwrap();
        let message = source.parse::<Outer>().unwrap_err().to_string();
        assert!(message.contains("expected a whole number above 0"), "{message}");
    }

    #[test]
    fn other_kinds_are_named_with_the_command_that_does_them() {
        let refusal = |text: &str| source(text).refuse_kind().map_err(|error| error.to_string());
        assert_eq!(refusal("seed = 1\n"), Ok(()));
        let composition = refusal("seed = 1\nkind = \"composition\"\n").unwrap_err();
        assert!(
            composition.starts_with("`run.toml`, line 2: `kind = \"composition\"`: is no run"),
            "{composition}"
        );
        assert!(composition.contains("`kirkwood run` does all of it"), "{composition}");
        assert!(refusal("kind = \"compositon\"\n").unwrap_err().contains("did you mean `composition`?"));
    }

    #[test]
    fn a_configuration_of_another_command_is_named_with_that_command() {
        let [simulation, trajectory, benchmark, solvation] =
            ["name = 'a'\n[system]\n", "[data]\n", "kind = 'benchmark'\n", "kind = 'solvation'\n[system]\n"];
        for (text, command) in
            [(simulation, "simulate"), (trajectory, "run"), (benchmark, "benchmark energies")]
        {
            for asked in ["run", "simulate", "benchmark energies"] {
                let found = source(text).refuse_unless_for(asked).map_err(|error| error.to_string());
                match found {
                    Ok(()) => assert_eq!(asked, command),
                    Err(message) => {
                        assert!(
                            asked != command && message.contains(&format!("`kirkwood {command}` does it"))
                        );
                    }
                }
            }
        }
        assert!(source("name = 'a'\n").refuse_unless_for("run").is_ok());
        let message = source(solvation).refuse_unless_for("simulate").unwrap_err().to_string();
        assert_eq!(
            message,
            "`run.toml`, line 1: `kind = \"solvation\"`: belongs to a configuration of another command \
             (`kirkwood run` does it)"
        );
    }

    #[test]
    fn syntax_errors_name_the_line() {
        let error = Source::from_text(Path::new("run.toml"), "a = 1\nb = = 2\n".to_string()).unwrap_err();
        assert!(
            error.to_string().starts_with("`run.toml`, line 2: expected a configuration in TOML"),
            "{error}"
        );
    }

    #[test]
    fn assignments_reach_into_lists_and_make_tables() {
        let mut source = source("[train]\n[[train.stages]]\nrate = 1.0\n");
        source.assign("train.stages[0].rate=0.5").unwrap();
        source.assign("train.stages.0.kind = sgd").unwrap();
        source.assign("train.n_steps=7").unwrap();
        source.assign("seed=3").unwrap();
        let outer: Outer = source.parse().unwrap();
        let stages = vec![Stage { rate: 0.5, kind: Some(Kind::Sgd) }];
        assert_eq!(outer, Outer { seed: 3, stride: None, train: Inner { n_steps: Some(7), stages } });
        assert!(source.assign("train.stages[4].rate=1").unwrap_err().to_string().contains("a list of 1"));
        assert!(source.assign("seed").unwrap_err().to_string().contains("key=value"));
        source.assign("train.n_stepz=7").unwrap();
        let message = source.parse::<Outer>().unwrap_err().to_string();
        assert_eq!(
            message,
            "`train.n_stepz`: there is no such key (did you mean `n_steps`?; given with --set)"
        );
    }

    #[test]
    fn a_variant_overlays_and_its_errors_point_into_it() {
        let text = "seed = 1\n[train]\nn_steps = 5\n[variants.short.train]\nn_steps = 2\n[variants.bad.train]\nn_stps = 2\n";
        let source = source(text);
        assert_eq!(source.variants(), ["bad", "short"]);
        let outer: Outer = source.variant("short").unwrap().parse().unwrap();
        assert_eq!((outer.seed, outer.train.n_steps), (1, Some(2)));
        let message = source.variant("bad").unwrap().parse::<Outer>().unwrap_err().to_string();
        assert!(message.starts_with("`run.toml`, line 7: `train.n_stps`"), "{message}");
        assert!(source.variant("shrt").unwrap_err().to_string().contains("did you mean `short`?"));
    }
}
