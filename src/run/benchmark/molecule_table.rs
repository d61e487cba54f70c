//! Runs of molecules in one table: what their summaries say, of one seed with its own errors, of several with their spread.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::molecules::{Number, number};
use super::ranking::Ranking;
use super::table::{Spread, words};
use super::{Learned, Plan};
use crate::error::Result;
use crate::run::directory::write_atomic;
use crate::run::summary::entry;

/// Key of the summary, heading and unit of each column.
pub(super) const COLUMNS: [(&str, &str, &str); 10] = [
    ("js_excess_iid", "JS excess, reverse diffusion", "nat"),
    ("js_excess_langevin", "JS excess, Langevin", "nat"),
    ("js_excess_equilibrium", "JS excess, equilibrium", "nat"),
    ("js_floor", "JS floor", "nat"),
    ("pmf_error_excess_iid", "PMF excess, reverse diffusion", "kT²"),
    ("pmf_error_excess_langevin", "PMF excess, Langevin", "kT²"),
    ("pmf_error_excess_equilibrium", "PMF excess, equilibrium", "kT²"),
    ("validation_dsm", "held-out DSM", ""),
    ("train_seconds", "training", "s"),
    ("iid_milliseconds", "reverse diffusion", "ms per sample"),
];

/// One molecule and method.
pub(super) struct Row {
    pub molecule: String,
    pub method: String,
    pub label: String,
    pub n_seeds: usize,
    /// In the order of [`COLUMNS`]: mean over seeds, and their standard deviation, or the error of a single one.
    pub values: Vec<Spread>,
    /// Population of each state among held-out frames and in each ensemble, in the order of the states.
    pub populations: Vec<[Spread; 3]>,
    /// Why samples of its runs should not be trusted.
    pub doubts: Vec<String>,
}

/// All rows, by molecule.
pub(super) struct MoleculeTable {
    pub rows: Vec<Row>,
    /// Molecule and how its methods compare.
    pub rankings: Vec<(String, Ranking)>,
}

/// Ensembles whose populations are shown, besides the frames.
pub(super) const ENSEMBLES: [(&str, &str); 3] =
    [("data", "held-out frames"), ("iid", "reverse diffusion"), ("equilibrium", "equilibrium")];

impl Row {
    pub fn get(&self, column: &str) -> Spread {
        let idx = COLUMNS.iter().position(|(name, ..)| *name == column);
        idx.map_or(Spread { mean: f64::NAN, deviation: f64::NAN }, |idx| self.values[idx])
    }
}

impl MoleculeTable {
    pub fn new(plan: &Plan, all: &[Learned]) -> Self {
        let (mut rows, mut rankings) = (Vec::new(), Vec::new());
        for molecule in &plan.molecules {
            let name = &molecule.settings.name;
            let of: Vec<&Learned> = all.iter().filter(|run| run.molecule.settings.name == *name).collect();
            for set in ["iid", "equilibrium"] {
                rankings.extend(Ranking::new(set, &of).map(|ranking| (name.clone(), ranking)));
            }
            for method in &plan.config.methods {
                let is_of =
                    |run: &&Learned| run.molecule.settings.name == *name && run.method.name == method.name;
                let of: Vec<&Learned> = all.iter().filter(is_of).collect();
                if of.is_empty() {
                    continue;
                }
                let spread = |key: &str| {
                    let numbers: Vec<Number> = of.iter().map(|run| column(&run.summary, key)).collect();
                    match numbers[..] {
                        [Number { value, std_error }] => Spread { mean: value, deviation: std_error },
                        _ => Spread::of(&numbers.iter().map(|number| number.value).collect::<Vec<_>>()),
                    }
                };
                let population =
                    |state: &str| ENSEMBLES.map(|(set, _)| spread(&format!("population_{state}_{set}")));
                let doubts = of.iter().flat_map(|run| {
                    run.doubts.iter().map(|doubt| format!("{}, seed {}: {doubt}", method.label, run.seed))
                });
                rows.push(Row {
                    molecule: name.clone(),
                    method: method.name.clone(),
                    label: method.label.clone(),
                    n_seeds: of.len(),
                    values: COLUMNS.iter().map(|(key, ..)| spread(key)).collect(),
                    populations: molecule.states.iter().map(|[state, _]| population(state)).collect(),
                    doubts: doubts.collect(),
                });
            }
        }
        Self { rows, rankings }
    }

    /// Writes `molecules.csv` and `molecules.md`, where there is anything.
    pub fn write(&self, directory: &Path) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let number = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
        let mut csv = String::from("molecule,method,n_seeds");
        let mut text = String::from("| molecule | method |");
        for (key, heading, unit) in COLUMNS {
            let _ = write!(csv, ",{key},{key}_error");
            let unit = if unit.is_empty() { String::new() } else { format!(" / {unit}") };
            let _ = write!(text, " {heading}{unit} |");
        }
        csv.push('\n');
        text += "\n|---|---|";
        text += &"---|".repeat(COLUMNS.len());
        text.push('\n');
        for row in &self.rows {
            let _ = write!(csv, "{},{},{}", row.molecule, row.method, row.n_seeds);
            let _ = write!(text, "| {} | {} |", row.molecule, row.label);
            for value in &row.values {
                let _ = write!(csv, ",{},{}", number(value.mean), number(value.deviation));
                let _ = write!(text, " {} |", words(*value));
            }
            csv.push('\n');
            text.push('\n');
        }
        for row in &self.rows {
            row.doubts.iter().for_each(|doubt| text += &format!("\n{}, {doubt}\n", row.molecule));
        }
        write_atomic(&directory.join("molecules.csv"), csv.as_bytes())?;
        write_atomic(&directory.join("molecules.md"), text.as_bytes())
    }

    /// The headline numbers of each molecule and method: those that any of them has.
    pub fn summary(&self) -> Map<String, Value> {
        let mut entries = Map::new();
        let is_there =
            |(key, ..): &(&str, &str, &str)| self.rows.iter().any(|row| row.get(key).mean.is_finite());
        for row in &self.rows {
            for (key, heading, unit) in COLUMNS.into_iter().filter(is_there) {
                let value = row.get(key);
                let how = if row.n_seeds == 1 {
                    format!("{heading}; one training")
                } else {
                    format!("{heading}; mean and standard deviation of {} trainings", row.n_seeds)
                };
                let error = value.deviation.is_finite().then_some(value.deviation);
                let name = format!("{key}_{}_{}", row.molecule, row.method);
                entries.insert(name, entry(value.mean, error, unit, &how));
            }
        }
        entries
    }

    /// The order of the methods at each molecule; of a single method, how far it is.
    pub fn verdict(&self) -> String {
        let mut sentences: Vec<String> =
            self.rankings.iter().map(|(molecule, ranking)| ranking.sentence(molecule)).collect();
        let is_ranked = |row: &&Row| self.rankings.iter().any(|(molecule, _)| *molecule == row.molecule);
        for row in self.rows.iter().filter(|row| !is_ranked(row)) {
            let excess = words(row.get("js_excess_equilibrium"));
            sentences.push(format!("{}, {}: JS excess at equilibrium {excess}.", row.molecule, row.label));
        }
        let doubted: Vec<String> = (self.rows.iter().filter(|row| !row.doubts.is_empty()))
            .map(|row| format!("{}, {}", row.molecule, row.label))
            .collect();
        if !doubted.is_empty() {
            sentences.push(format!("Samples are in doubt, see the report: {}.", doubted.join("; ")));
        }
        sentences.join(" ")
    }
}

/// A number of a summary, or one that is made of several.
fn column(summary: &Value, key: &str) -> Number {
    if key == "iid_milliseconds" {
        // The summary has evaluations and seconds; every sample is one walker with as many of them.
        let samples = number(summary, "iid_samples").value;
        let value = 1e3 * number(summary, "iid_seconds").value / samples;
        return Number { value, std_error: f64::NAN };
    }
    number(summary, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubts_stand_below_the_numbers_and_in_the_closing_sentence() {
        let row = |method: &str, doubts: &[&str]| Row {
            molecule: "aldp".into(),
            method: method.into(),
            label: method.to_uppercase(),
            n_seeds: 1,
            values: COLUMNS.iter().map(|_| Spread { mean: 0.5, deviation: 0.1 }).collect(),
            populations: Vec::new(),
            doubts: doubts.iter().map(|doubt| doubt.to_string()).collect(),
        };
        let rows = vec![row("dsm", &["DSM, seed 2: walkers of langevin remember"]), row("em", &[])];
        let table = MoleculeTable { rows, rankings: Vec::new() };
        let home = tempfile::tempdir().unwrap();
        table.write(home.path()).unwrap();
        let text = std::fs::read_to_string(home.path().join("molecules.md")).unwrap();
        assert!(text.ends_with("|\n\naldp, DSM, seed 2: walkers of langevin remember\n"), "{text}");
        let said = table.verdict();
        assert!(said.ends_with("Samples are in doubt, see the report: aldp, DSM."), "{said}");
    }
}
