//! The table of all roads: what each part found, models of one kind put together, and how far roads agree.

use std::path::Path;

use serde_json::{Map, Value};

use super::Road;
use super::config::RoadKind;
use super::grouped::LearnedRoad;
use super::plan::Plan;
use super::travel::ROADS;
use crate::error::{Error, Result};
use crate::free_energy::alchemical::{Severity, Verdict};
use crate::run::directory::{Layout, read_json, write_atomic};
use crate::run::summary::entry;

/// Rows of one kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    /// For people.
    pub title: &'static str,
    /// Whether its numbers are right whatever was learned, so that they must agree with each other.
    pub exact: bool,
    /// The rows.
    pub rows: Vec<LearnedRoad>,
}

/// All rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    /// In the order of the report.
    pub groups: Vec<Group>,
}

/// Beyond so many combined errors two exact roads do not agree.
const DISAGREEMENT: f64 = 4.0;

impl Table {
    /// Reads what the parts of a run have stored.
    pub fn gather(plan: &Plan, layout: &Layout) -> Result<Self> {
        let config = &plan.config;
        // An earlier version has stored what is not determined as a number.
        let read = |part: &str| -> Result<Vec<LearnedRoad>> {
            let rows: Vec<LearnedRoad> = read_json(&layout.finished(part)?.join(ROADS))?;
            Ok(rows.into_iter().map(LearnedRoad::determined).collect())
        };
        let mut groups = Vec::new();
        let mut group = |title, exact, rows: Vec<LearnedRoad>| groups.push(Group { title, exact, rows });
        if config.takes(RoadKind::Classical) {
            group("Classical: the physical energy along λ", true, read("classical")?);
        }
        for (kind, prefix, title) in [
            (RoadKind::Learned, "", "Learned with classification"),
            (RoadKind::Scores, "scores_", "Learned by score matching alone"),
        ] {
            if config.takes(kind) {
                let models = (1..=config.n_models)
                    .map(|model| read(&format!("learned_{prefix}{model}")))
                    .collect::<Result<Vec<_>>>()?;
                group(title, false, of_models(&models));
            }
        }
        let exact = [
            (RoadKind::Corrected, "corrected", "Corrected: between each ensemble and noise, both ways"),
            (RoadKind::Escorted, "escorted", "Corrected: escorted by a learned velocity"),
            (RoadKind::Annealed, "annealed", "Corrected: annealed along the energies between the ensembles"),
            (RoadKind::Absolute, "absolute", "Absolute: from noise to each end"),
        ];
        let mut untrained = Vec::new();
        for (kind, part, title) in exact.into_iter().filter(|(kind, ..)| config.takes(*kind)) {
            group(title, true, read(part)?);
            if config.takes(RoadKind::Untrained) && kind != RoadKind::Absolute {
                untrained.extend(read(&format!("{part}_untrained"))?);
            }
        }
        if !untrained.is_empty() {
            group("The same along energies that nobody trained", true, untrained);
        }
        let mut table = Self { groups };
        table.compare();
        Ok(table)
    }

    /// All rows with the title of their group.
    pub fn rows(&self) -> impl Iterator<Item = (&Group, &LearnedRoad)> {
        self.groups.iter().flat_map(|group| group.rows.iter().map(move |row| (group, row)))
    }

    /// The row that the others are compared with: MBAR of the windows, or the first of the exact roads.
    pub fn reference(&self) -> Option<&Road> {
        let known = |road: &&Road| road.value_kt.is_finite() && road.std_error_kt.is_finite();
        let of = |name: &str| self.rows().map(|(_, row)| &row.road).find(|road| road.name == name);
        of("mbar").or_else(|| of("corrected_bar")).or_else(|| of("absolute")).filter(known)
    }

    /// The difference from the reference in combined errors.
    pub fn deviation(&self, road: &Road) -> Option<f64> {
        let reference = self.reference().filter(|reference| reference.name != road.name)?;
        let deviation =
            (road.value_kt - reference.value_kt) / road.std_error_kt.hypot(reference.std_error_kt);
        deviation.is_finite().then_some(deviation)
    }

    /// Exact roads that do not agree with the reference cannot both be right.
    fn compare(&mut self) {
        let Some(reference) = self.reference().cloned() else { return };
        let deviations: Vec<Vec<Option<f64>>> = (self.groups.iter())
            .map(|group| group.rows.iter().map(|row| self.deviation(&row.road)).collect())
            .collect();
        for (group, deviations) in self.groups.iter_mut().zip(deviations).filter(|(group, _)| group.exact) {
            for (row, deviation) in group.rows.iter_mut().zip(deviations) {
                let Some(deviation) = deviation.filter(|d| d.abs() > DISAGREEMENT) else { continue };
                if !row.road.is_trustworthy() {
                    continue;
                }
                let message = format!(
                    "is {:.1} combined errors from `{}`: one of the two was sampled badly",
                    deviation.abs(),
                    reference.name
                );
                let verdict = Verdict::new(Severity::Untrustworthy, "roads_disagree", message);
                row.road.verdicts.insert(0, verdict);
            }
        }
    }

    /// One sentence, and whether the number may be trusted: the reference must be, and what disagrees with it is said.
    pub fn verdict(&self) -> (String, bool) {
        let Some(reference) = self.reference() else {
            return ("No exact road came to a number.".into(), false);
        };
        let disagreeing: Vec<&str> = (self.rows())
            .filter(|(_, row)| row.road.verdicts.iter().any(|verdict| verdict.kind == "roads_disagree"))
            .map(|(_, row)| row.road.name.as_str())
            .collect();
        let number =
            format!("{:.3} ± {:.3} kT ({})", reference.value_kt, reference.std_error_kt, reference.name);
        let untrusted: Vec<&str> = (self.rows())
            .filter(|(group, row)| group.exact && !row.road.is_trustworthy())
            .map(|(_, row)| row.road.name.as_str())
            .filter(|name| !disagreeing.contains(name))
            .collect();
        let left_out = match untrusted.is_empty() {
            true => String::new(),
            false => format!(" Not to be trusted by their own verdicts: {}.", untrusted.join(", ")),
        };
        if disagreeing.is_empty() {
            let agree = " All exact roads that trust themselves agree with it.";
            return (format!("{number}.{agree}{left_out}"), reference.is_trustworthy());
        }
        let sentence = format!("{number}, but {} disagree with it.{left_out}", disagreeing.join(", "));
        (sentence, false)
    }

    /// The headline numbers: `delta_f_NAME`.
    pub fn summary(&self) -> Map<String, Value> {
        let mut entries: Map<String, Value> = self.rows().map(|(_, row)| row.road.entry()).collect();
        let total = self.rows().map(|(_, row)| row.road.wall_seconds).fold(0.0, f64::max);
        let method = "wall clock of the longest road, everything that it needs included";
        entries.insert("longest_road_seconds".into(), entry(total, None, "s", method));
        entries
    }

    /// Writes `roads.csv`.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join("roads.csv");
        let mut writer = csv::Writer::from_writer(Vec::new());
        let failed = |error: csv::Error| Error::io("write", &path)(std::io::Error::other(error));
        let header = [
            "group",
            "name",
            "value_kT",
            "std_error_kT",
            "deviation_from_reference_std_errors",
            "n_physical_energy_evaluations",
            "n_learned_energy_evaluations",
            "wall_seconds",
            "trustworthy",
            "method",
            "verdicts",
        ];
        writer.write_record(header).map_err(failed)?;
        let number = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
        for (group, row) in self.rows() {
            let road = &row.road;
            let said: Vec<&str> = road.verdicts.iter().map(|verdict| verdict.message.as_str()).collect();
            let record = [
                group.title.to_string(),
                road.name.clone(),
                number(road.value_kt),
                number(road.std_error_kt),
                self.deviation(road).map_or_else(String::new, number),
                road.n_energy_evaluations.to_string(),
                row.n_model_evaluations.to_string(),
                number(road.wall_seconds),
                road.is_trustworthy().to_string(),
                road.method.clone(),
                said.join("; "),
            ];
            writer.write_record(&record).map_err(failed)?;
        }
        let bytes = writer.into_inner().map_err(|error| Error::io("write", &path)(error.into_error()))?;
        write_atomic(&path, &bytes)
    }
}

/// Rows of several models of one kind: their mean, and each of them.
///
/// The error of the mean is that of models which differ, or the mean of their own errors where that is larger: models
/// share their data.
fn of_models(models: &[Vec<LearnedRoad>]) -> Vec<LearnedRoad> {
    let Some(first) = models.first() else { return Vec::new() };
    if models.len() == 1 {
        return first.clone();
    }
    let mut rows = Vec::new();
    for (idx, one) in first.iter().enumerate() {
        let of_all: Vec<&LearnedRoad> = models.iter().filter_map(|rows| rows.get(idx)).collect();
        let n = of_all.len() as f64;
        let mean = of_all.iter().map(|row| row.road.value_kt).sum::<f64>() / n;
        let spread =
            (of_all.iter().map(|row| (row.road.value_kt - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        let own = of_all.iter().map(|row| row.road.std_error_kt).sum::<f64>() / n;
        let mut verdicts: Vec<Verdict> = Vec::new();
        for verdict in of_all.iter().flat_map(|row| &row.road.verdicts) {
            if verdict.severity > Severity::Note && !verdicts.iter().any(|known| known.kind == verdict.kind) {
                verdicts.push(verdict.clone());
            }
        }
        rows.push(LearnedRoad {
            road: Road {
                name: one.road.name.clone(),
                method: format!(
                    "mean of {} models, which scatter by {spread:.3} kT (own errors {own:.3}); {}",
                    of_all.len(),
                    one.road.method
                ),
                value_kt: mean,
                std_error_kt: (spread / n.sqrt()).max(own),
                n_energy_evaluations: one.road.n_energy_evaluations,
                wall_seconds: of_all.iter().map(|row| row.road.wall_seconds).sum(),
                verdicts,
            }
            .determined(),
            n_model_evaluations: of_all.iter().map(|row| row.n_model_evaluations).sum(),
        });
        rows.extend(of_all.iter().enumerate().map(|(model, row)| {
            let mut row = (*row).clone();
            row.road.name += &format!("_{}", model + 1);
            row
        }));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, value_kt: f64, std_error_kt: f64) -> LearnedRoad {
        LearnedRoad {
            road: Road {
                name: name.into(),
                method: "made up".into(),
                value_kt,
                std_error_kt,
                n_energy_evaluations: 10,
                wall_seconds: 2.0,
                verdicts: vec![],
            },
            n_model_evaluations: 5,
        }
    }

    fn table(corrected: f64) -> Table {
        let group = |title, exact, rows| Group { title, exact, rows };
        let mut table = Table {
            groups: vec![
                group("classical", true, vec![row("mbar", -29.43, 0.01), row("crooks", -29.40, 0.02)]),
                group("learned", false, vec![row("learned_ti", -28.0, 0.05)]),
                group("corrected", true, vec![row("corrected_bar", corrected, 0.03)]),
            ],
        };
        table.compare();
        table
    }

    #[test]
    fn exact_roads_must_agree_and_learned_ones_need_not() {
        let good = table(-29.46);
        let (sentence, trustworthy) = good.verdict();
        assert!(trustworthy && sentence.starts_with("-29.430 ± 0.010 kT (mbar). All exact"), "{sentence}");
        assert!(
            (good.deviation(&row("", -29.40, 0.02).road).unwrap() - 0.03 / 0.02_f64.hypot(0.01)).abs()
                < 1e-12
        );
        let bad = table(-29.8);
        let (sentence, trustworthy) = bad.verdict();
        assert!(!trustworthy && sentence.contains("corrected_bar disagree"), "{sentence}");
        let summary = bad.summary();
        assert_eq!(summary["delta_f_learned_ti"]["value"], -28.0);
        assert_eq!(summary["delta_f_corrected_bar"]["std_error"], 0.03);
    }

    #[test]
    fn models_are_averaged_with_the_larger_of_two_errors() {
        let models: Vec<Vec<LearnedRoad>> =
            [-29.0, -29.6, -29.3].iter().map(|value| vec![row("direct", *value, 0.05)]).collect();
        let rows = of_models(&models);
        assert_eq!(rows.len(), 4);
        assert!((rows[0].road.value_kt + 29.3).abs() < 1e-12);
        assert!((rows[0].road.std_error_kt - 0.3 / 3.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(rows[3].road.name, "direct_3");
        let close: Vec<Vec<LearnedRoad>> = (0..3).map(|_| vec![row("direct", -29.3, 0.05)]).collect();
        assert!((of_models(&close)[0].road.std_error_kt - 0.05).abs() < 1e-12);
    }
}
