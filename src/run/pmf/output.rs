//! Profiles as JSON, tables and figures.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::{Axis, Pmf, PmfRequest, Samples, Verdict, WindowReport};
use super::{figure, page};
use crate::error::{Error, Result};
use crate::free_energy::alchemical::Severity;
use crate::free_energy::reader::parquet::write_frame;
use crate::run::directory::{write_atomic, write_json};
use crate::units::EnergyUnit;

/// A profile with what is needed to judge it.
#[derive(Debug, Clone)]
pub struct PmfOutcome {
    /// In kT.
    pub pmf: Pmf,
    /// Names of the variables.
    pub names: Vec<String>,
    /// In which it is shown.
    pub unit: EnergyUnit,
    /// How many of this unit are one kT.
    pub per_kt: f64,
    /// Temperature in K, where it is known.
    pub temperature_k: Option<f64>,
    /// Where the zero lies, in words.
    pub reference: String,
    /// Samples used.
    pub n_samples: usize,
    /// Samples left out at the beginning.
    pub n_discarded: usize,
    /// Independent samples of equal weight that they are worth.
    pub n_effective: f64,
    /// Samples outside the bins.
    pub n_outside: usize,
    /// Every simulation.
    pub windows: Vec<WindowReport>,
    /// In order of importance.
    pub verdicts: Vec<Verdict>,
    /// What the readers noticed.
    pub warnings: Vec<String>,
}

impl PmfOutcome {
    pub(super) fn new(
        request: &PmfRequest,
        pmf: Pmf,
        axes: &[Axis],
        samples: &Samples,
        n_effective: f64,
        windows: Vec<WindowReport>,
        verdicts: Vec<Verdict>,
    ) -> Self {
        let n_samples = samples.lengths.iter().sum();
        let binned = crate::free_energy::pmf::Binned::new(axes, &samples.values);
        let mut outcome = Self::bare(request, pmf, verdicts);
        let named = |(index, axis): (usize, &super::AxisRequest)| {
            let known = samples.series.first().and_then(|series| series.name_of(&axis.column).ok());
            // A number for a name says nothing about what is along the axis.
            known
                .filter(|name| name.parse::<f64>().is_err())
                .map_or(format!("cv{}", index + 1), str::to_string)
        };
        outcome.names = request.axes.iter().enumerate().map(named).collect();
        outcome.n_samples = n_samples;
        outcome.n_discarded = samples.series.iter().map(|series| series.n_discarded()).sum();
        outcome.n_effective = n_effective;
        outcome.n_outside = binned.map_or(0, |binned| binned.n_outside());
        outcome.windows = windows;
        outcome.warnings = samples.warnings.clone();
        let of_files = samples.series.iter().flat_map(|series| series.warnings().iter().cloned());
        outcome.warnings.extend(of_files);
        outcome
    }

    pub(super) fn of_hills(
        request: &PmfRequest,
        pmf: Pmf,
        warnings: &[String],
        n_hills: usize,
        verdicts: Vec<Verdict>,
    ) -> Self {
        let mut outcome = Self::bare(request, pmf, verdicts);
        outcome.names = request.axes.iter().map(|axis| axis.column.clone()).collect();
        outcome.n_samples = n_hills;
        outcome.n_effective = f64::NAN;
        outcome.warnings = warnings.to_vec();
        outcome
    }

    fn bare(request: &PmfRequest, pmf: Pmf, mut verdicts: Vec<Verdict>) -> Self {
        let temperature_k = request.temperature.map(|temperature| temperature.as_kelvin());
        verdicts.extend(sparse(&pmf));
        verdicts.extend(smoothing(&pmf));
        verdicts.sort_by_key(|verdict| std::cmp::Reverse(verdict.severity));
        Self {
            pmf,
            names: Vec::new(),
            unit: request.unit,
            per_kt: temperature_k.map_or(1.0, |kelvin| request.unit.per_kt(kelvin)),
            temperature_k,
            reference: request.reference.to_string(),
            n_samples: 0,
            n_discarded: 0,
            n_effective: 0.0,
            n_outside: 0,
            windows: Vec::new(),
            verdicts,
            warnings: Vec::new(),
        }
    }

    /// Whether no verdict says not to trust the numbers.
    pub fn is_trustworthy(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.severity < Severity::Untrustworthy)
    }

    /// F in the unit that is shown.
    pub fn values(&self) -> Vec<f64> {
        self.pmf.values_kt.iter().map(|value| value * self.per_kt).collect()
    }

    /// Errors in the unit that is shown.
    pub fn std_errors(&self) -> Vec<f64> {
        self.pmf.std_errors_kt.iter().map(|error| error * self.per_kt).collect()
    }

    /// One object; what is not known is null. Surfaces are `[bin of axis 0][bin of axis 1]`.
    pub fn to_json(&self) -> Value {
        let axes: Vec<Value> = self
            .pmf
            .axes
            .iter()
            .zip(&self.names)
            .map(|(axis, name)| {
                json!({
                    "name": name,
                    "centers": axis.centers(),
                    "edges": axis.edges(),
                    "periodic": axis.is_periodic(),
                })
            })
            .collect();
        let shaped = |values: &[f64]| match &self.pmf.axes[..] {
            [_, y] => json!(values.chunks_exact(y.n_bins()).map(|row| json!(row)).collect::<Vec<_>>()),
            _ => json!(values),
        };
        let windows: Vec<Value> = self
            .windows
            .iter()
            .map(|window| {
                json!({
                    "file": window.name,
                    "n": window.n_samples,
                    "g": window.inefficiency,
                    "mean": window.mean,
                    "next": window.next.map(|(other, _)| &self.windows[other].name),
                    "overlap_with_next": window.next.map(|(_, overlap)| overlap),
                })
            })
            .collect();
        json!({
            "pmf": {
                "axes": axes,
                "value": shaped(&self.values()),
                "std_error": shaped(&self.std_errors()),
                "unit": self.unit.to_string(),
                "reference": self.reference,
                "probability": shaped(&self.pmf.probability),
                "method": self.pmf.error_method,
            },
            "temperature_K": self.temperature_k,
            "n_samples": self.n_samples,
            "n_discarded": self.n_discarded,
            "n_effective": self.n_effective,
            "n_outside": self.n_outside,
            "coverage": self.pmf.coverage,
            "windows": windows,
            "verdicts": self.verdicts,
            "warnings": self.warnings,
        })
    }

    /// A line per bin: middles, ends, F, its error, probability; empty cells for what is not known.
    pub fn csv(&self) -> String {
        let unit = self.unit.to_string().replace('/', "_per_");
        let mut text = String::new();
        for name in &self.names {
            let name = name.replace(',', "_");
            let _ = write!(text, "{name},{name}_low,{name}_high,");
        }
        let _ = writeln!(text, "free_energy_{unit},std_error_{unit},probability");
        let cell = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
        let (values, errors) = (self.values(), self.std_errors());
        for bin in 0..values.len() {
            let mut rest = bin;
            let mut places = Vec::new();
            for axis in self.pmf.axes.iter().rev() {
                places.push((axis, rest % axis.n_bins()));
                rest /= axis.n_bins();
            }
            for (axis, place) in places.iter().rev() {
                let (low, high) = (axis.edges()[*place], axis.edges()[place + 1]);
                let _ = write!(text, "{},{low},{high},", 0.5 * (low + high));
            }
            let _ =
                writeln!(text, "{},{},{}", cell(values[bin]), cell(errors[bin]), self.pmf.probability[bin]);
        }
        text
    }

    /// For people: bins along one variable, and what must be known.
    pub fn table(&self) -> String {
        let mut text = format!(
            "potential of mean force along {} in {}, zero at {}\n{}\n{} samples",
            self.names.join(" and "),
            self.unit,
            self.reference,
            self.pmf.error_method,
            self.n_samples
        );
        if self.n_effective.is_finite() {
            let _ = write!(text, " worth {:.1}", self.n_effective);
        }
        if self.n_discarded > 0 {
            let _ = write!(text, ", {} more left out at the beginning", self.n_discarded);
        }
        text.push('\n');
        let (values, errors) = (self.values(), self.std_errors());
        if let [axis] = &self.pmf.axes[..] {
            let _ = writeln!(text, "{:>14} {:>12} {:>12}", self.names[0], "F", "error");
            for (center, (value, error)) in axis.centers().iter().zip(values.iter().zip(&errors)) {
                let shown = |value: f64| if value.is_finite() { format!("{value:.4}") } else { "-".into() };
                let _ = writeln!(text, "{center:>14.6} {:>12} {:>12}", shown(*value), shown(*error));
            }
        } else {
            let n_visited = values.iter().filter(|value| value.is_finite()).count();
            let highest = values.iter().copied().filter(|value| value.is_finite()).fold(0.0, f64::max);
            let _ = writeln!(
                text,
                "{n_visited} of {} bins visited, up to {highest:.3} {}",
                values.len(),
                self.unit
            );
        }
        text
    }

    /// `pmf.csv`, `pmf.parquet`, `pmf.json`, `pmf.svg`, `pmf.png` and `report.html` in a directory.
    pub fn write(&self, directory: &Path) -> Result<()> {
        std::fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        write_atomic(&directory.join("pmf.csv"), self.csv().as_bytes())?;
        write_json(&directory.join("pmf.json"), &self.to_json())?;
        self.write_parquet(&directory.join("pmf.parquet"))?;
        figure::write(self, directory)?;
        page::write(self, directory)
    }

    /// The middles of the bins as index, F, its error and the probability as columns.
    fn write_parquet(&self, path: &Path) -> Result<()> {
        let n_bins = self.pmf.values_kt.len();
        let mut centers: Vec<Vec<f64>> = Vec::new();
        let mut stride = n_bins;
        for axis in &self.pmf.axes {
            stride /= axis.n_bins();
            let of_axis = axis.centers();
            centers.push((0..n_bins).map(|bin| of_axis[bin / stride % of_axis.len()]).collect());
        }
        let index: Vec<(&str, &[f64])> =
            self.names.iter().map(String::as_str).zip(centers.iter().map(Vec::as_slice)).collect();
        let (values, errors) = (self.values(), self.std_errors());
        let columns = [
            ("free_energy".to_string(), values.as_slice()),
            ("std_error".to_string(), errors.as_slice()),
            ("probability".to_string(), self.pmf.probability.as_slice()),
        ];
        let mut attributes = BTreeMap::from([("energy_unit".to_string(), json!(self.unit.to_string()))]);
        attributes.extend(self.temperature_k.map(|kelvin| ("temperature".to_string(), json!(kelvin))));
        write_frame(path, &index, &columns, &attributes)
    }
}

/// Of bins that have a value and no error.
fn sparse(pmf: &Pmf) -> Option<Verdict> {
    let bins = pmf.values_kt.iter().zip(&pmf.std_errors_kt);
    let n = bins.filter(|(value, error)| value.is_finite() && error.is_nan()).count();
    // Without resamples no bin has an error.
    let has_errors = pmf.std_errors_kt.iter().any(|error| !error.is_nan());
    (n > 0 && has_errors).then(|| {
        let message = format!("{n} bins were visited in one stretch of time only and have no error");
        Verdict::new(Severity::Note, "sparse_bins", message)
    })
}

/// Of a kernel that is wider than what F does.
fn smoothing(pmf: &Pmf) -> Option<Verdict> {
    let (bin, bias) = pmf.oversmoothed?;
    let message = format!(
        "the kernel is too wide for F in some bins, most of all in bin {bin}, which it changes by about {bias:.2} kT; \
         errors contain that: give a smaller --bandwidth, --bounds where the variable ends, or use a histogram"
    );
    Some(Verdict::new(Severity::Warning, "smoothing_bias", message))
}
