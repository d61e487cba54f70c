//! What the samples of a profile tell about how far it can be trusted.

use super::{Axis, AxisRequest, Pmf, Samples, WindowReport, periods};
use crate::error::Result;
use crate::free_energy::alchemical::{Severity, Verdict};
use crate::free_energy::pmf::series::{drift, transitions};
use crate::free_energy::pmf::{Binned, Density};
use crate::free_energy::reweighting::Reweighted;
use crate::run::series::Series;

/// Standard errors between the halves of a simulation beyond which it is not in equilibrium.
const DRIFT: f64 = 4.5;
/// Passages between the ends of a variable that a simulation should have.
const FEW_TRANSITIONS: usize = 10;
/// Independent samples that a profile should have.
const FEW_SAMPLES: f64 = 50.0;

/// Columns of a bias, with `rbias`, which lacks the constant that grows with time, in place of `bias` of
/// metadynamics where the files have it (Tiwary and Parrinello 2015).
pub(super) fn settled_bias(
    series: &[Series],
    columns: &[String],
    verdicts: &mut Vec<Verdict>,
) -> Vec<String> {
    let settled = |column: &String| {
        let better = column.strip_suffix(".bias").map(|stem| format!("{stem}.rbias"));
        let has = |name: &String| series.iter().all(|series| series.names().contains(name));
        let Some(better) = better.filter(has) else { return column.clone() };
        let message =
            format!("`{better}`, the bias without its growing constant, was used in place of `{column}`");
        verdicts.push(Verdict::new(Severity::Note, "rbias", message));
        better
    };
    columns.iter().map(settled).collect()
}

/// Of columns of a bias in samples that count as unbiased.
pub(super) fn ignored_bias(series: &[Series]) -> Option<Verdict> {
    let acted = |series: &Series, name: &String| {
        let is_bias = name.ends_with(".bias") || name.ends_with(".rbias");
        let varies = |column: &[f64]| column.iter().any(|value| *value != column[0]);
        is_bias && series.column(name).is_ok_and(varies)
    };
    let (path, name) = series.iter().find_map(|series| {
        let name = series.names().iter().find(|name| acted(series, name))?;
        Some((&series.path, name))
    })?;
    let message = format!(
        "`{}` has a column `{name}`, and its samples count as unbiased: if that bias acted on the simulation, give it \
         with --bias {name} and --temperature",
        path.display()
    );
    Some(Verdict::new(Severity::Warning, "bias_ignored", message))
}

/// Of a column that is meant by its number and has different names in different files.
pub(super) fn column_names(series: &[Series], axes: &[AxisRequest]) -> Vec<Verdict> {
    // A number for a name is that of a file without names.
    let name = |series: &Series, axis: &AxisRequest| -> Option<String> {
        series.name_of(&axis.column).ok().filter(|name| name.parse::<f64>().is_err()).map(str::to_string)
    };
    let of_axis = |axis: &AxisRequest| {
        let mut named = series.iter().filter_map(|series| Some((&series.path, name(series, axis)?)));
        let (path, first) = named.next()?;
        let (other, second) = named.find(|(_, name)| *name != first)?;
        let message = format!(
            "column {} is `{first}` in `{}` and `{second}` in `{}`: name the column if these are not one variable",
            axis.column,
            path.display(),
            other.display()
        );
        Some(Verdict::new(Severity::Warning, "column_names", message))
    };
    axes.iter().filter_map(of_axis).collect()
}

/// Of weights from a bias.
pub(super) fn weights(log_weights: &[f64], samples: &Samples) -> Result<Vec<Verdict>> {
    Ok(Reweighted::new(log_weights.to_vec(), &samples.lengths)?.verdicts())
}

/// Of simulations that find their way without windows.
pub(super) fn sampling(samples: &Samples, axes: &[Axis], n_effective: f64) -> Vec<Verdict> {
    let mut verdicts = drifts(samples, axes);
    if n_effective < FEW_SAMPLES {
        let severity = if n_effective < 10.0 { Severity::Untrustworthy } else { Severity::Warning };
        let n: usize = samples.lengths.iter().sum();
        let message = format!("{n} samples are worth {n_effective:.1} independent ones: run longer");
        verdicts.push(Verdict::new(severity, "few_samples", message));
    }
    for index in (0..axes.len()).filter(|index| !axes[*index].is_periodic()) {
        let of = |values: &[f64]| {
            transitions(&values.iter().skip(index).step_by(axes.len()).copied().collect::<Vec<_>>())
        };
        let n: usize = samples.by_series(axes.len()).map(of).sum();
        if n < FEW_TRANSITIONS {
            let message = format!(
                "variable {} went {n} times between its lowest and highest fifth: what lies between them is known \
                 no better than from that many passages, and errors from shorter blocks may be too small",
                index + 1
            );
            verdicts.push(Verdict::new(Severity::Warning, "few_transitions", message));
        }
    }
    verdicts.extend(outside(samples, axes));
    verdicts
}

/// Of simulations whose halves differ.
pub(super) fn drifts(samples: &Samples, axes: &[Axis]) -> Vec<Verdict> {
    let periods = periods(axes);
    let verdict = |(series, values): (&Series, &[f64])| {
        let z = drift(values, &periods);
        (z > DRIFT).then(|| {
            let message = format!(
                "the halves of `{}` differ by {z:.1} standard errors: it is not in equilibrium; leave more of the \
                 beginning out (--discard) or run longer",
                series.path.display()
            );
            Verdict::new(Severity::Warning, "not_equilibrated", message)
        })
    };
    samples.series.iter().zip(samples.by_series(axes.len())).filter_map(verdict).collect()
}

/// Of samples that no bin has.
pub(super) fn outside(samples: &Samples, axes: &[Axis]) -> Option<Verdict> {
    let n_outside = Binned::new(axes, &samples.values).ok()?.n_outside();
    let n: usize = samples.lengths.iter().sum();
    (n_outside > 0).then(|| {
        let message = format!("{n_outside} of {n} samples lie outside the bins");
        Verdict::new(Severity::Note, "outside", message)
    })
}

/// Of MBAR and WHAM when they say different things about the same samples.
pub(super) fn disagreement(pmf: &Pmf, histogram: &Density, weights: [&[f64]; 2]) -> Option<Verdict> {
    let curves = weights.map(|weights| histogram.evaluate(weights));
    let total = |curve: &[f64]| curve.iter().sum::<f64>();
    let scale = total(&curves[0]) / total(&curves[1]);
    let mut worst = (0.0, 0);
    for (bin, error) in pmf.std_errors_kt.iter().enumerate().filter(|(_, error)| error.is_finite()) {
        let difference = (curves[0][bin] / curves[1][bin] / scale).ln().abs();
        if difference > error.max(0.1) && difference > worst.0 {
            worst = (difference, bin);
        }
    }
    (worst.0 > 0.0).then(|| {
        let message = format!(
            "MBAR and WHAM differ by up to {:.2} kT (bin {}), more than their error: restraints vary within bins; \
             use more bins, or MBAR",
            worst.0, worst.1
        );
        Verdict::new(Severity::Warning, "estimators_disagree", message)
    })
}

/// Simulations without restraints, as windows are listed.
pub(super) fn series_reports(samples: &Samples) -> Vec<WindowReport> {
    samples
        .series
        .iter()
        .zip(samples.lengths.iter().zip(&samples.inefficiencies))
        .map(|(series, (n_samples, inefficiency))| WindowReport {
            name: series.path.display().to_string(),
            n_samples: *n_samples,
            inefficiency: *inefficiency,
            mean: Vec::new(),
            next: None,
        })
        .collect()
}
