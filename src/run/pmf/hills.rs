//! Profiles from the Gaussians that metadynamics deposited, F = −γ/(γ − 1) V.
//!
//! The error is the spread of F over ten times in the last half of the run: how much it still moves. It is no
//! standard error of a long run and has no bound on the bias of a run that has not converged.

use std::path::Path;

use super::PmfRequest;
use super::output::PmfOutcome;
use crate::error::{Error, Result};
use crate::free_energy::alchemical::{Severity, Verdict};
use crate::free_energy::pmf::{Axis, Binned, Method, Pmf};
use crate::run::pmf::axes::Periodicity;
use crate::trajectory::plumed::{Hills, read_hills};

/// Times in the last half of the run.
const TIMES: usize = 10;
/// Points along a variable that is summed over.
const POINTS: usize = 100;

pub(super) fn profile(request: &PmfRequest, path: &Path) -> Result<PmfOutcome> {
    if request.method != Method::Histogram || request.without_jacobian || !request.files.is_empty() {
        return Err(Error::config(
            "hills",
            "a sum of hills takes no files of samples, no method and no Jacobian",
            "give --bias COLUMN with the COLVAR instead, which has proper errors",
        ));
    }
    if path.is_dir() {
        return Err(Error::file(path, "", "a HILLS file", "a directory").with_hint("name the file in it"));
    }
    let hills = read_hills(path)?;
    let per_kt = request.per_kt()?;
    let places: Result<Vec<usize>> = request.axes.iter().map(|axis| place_of(&hills, &axis.column)).collect();
    let places = places?;
    let axes: Result<Vec<Axis>> =
        places.iter().enumerate().map(|(i, place)| axis(request, &hills, i, *place)).collect();
    let axes = axes?;
    let binned = Binned::new(&axes, &[])?;
    let grid = Grid::new(&hills, &places, &binned.centers())?;
    let n_hills = hills.n_hills();
    let full = grid.densities(&hills, n_hills, per_kt);
    let snapshots: Vec<Vec<f64>> = (0..TIMES)
        .map(|time| grid.densities(&hills, n_hills / 2 + (n_hills - n_hills / 2) * time / TIMES, per_kt))
        .collect();
    let mut pmf = Pmf::from_densities(&binned, &full, &snapshots, &request.reference)?;
    pmf.error_method = format!("sum of {n_hills} hills; spread over {TIMES} times in the last half");
    let mut verdicts = vec![Verdict::new(
        Severity::Note,
        "hills",
        "errors are how much the sum of hills still moves; --bias with the COLVAR gives standard errors",
    )];
    let largest = pmf.std_errors_kt.iter().copied().filter(|error| error.is_finite()).fold(0.0, f64::max);
    if largest > 2.0 {
        let message =
            format!("the profile still moves by up to {largest:.1} kT in the last half: run longer");
        verdicts.push(Verdict::new(Severity::Warning, "not_converged", message));
    }
    Ok(PmfOutcome::of_hills(request, pmf, &hills.warnings, n_hills, verdicts))
}

fn place_of(hills: &Hills, name: &str) -> Result<usize> {
    hills.cvs.iter().position(|cv| cv == name).ok_or_else(|| {
        Error::file(&hills.path, "", format!("hills in `{name}`"), format!("in {}", hills.cvs.join(", ")))
    })
}

fn axis(request: &PmfRequest, hills: &Hills, index: usize, place: usize) -> Result<Axis> {
    let mut wanted = request.axes[index].clone();
    if let (Periodicity::FromFile | Periodicity::Turn, Some((low, high))) =
        (wanted.periodicity, hills.domains[place])
    {
        wanted.periodicity = Periodicity::Ends(low, high);
    }
    let centers: Vec<f64> = hills.centers.iter().skip(place).step_by(hills.cvs.len()).copied().collect();
    wanted.axis(&[], &centers)
}

/// Points of the bins, each with those of the variables that are not shown.
struct Grid {
    points: Vec<f64>,
    n_hidden: usize,
}

impl Grid {
    fn new(hills: &Hills, places: &[usize], centers: &[Vec<f64>]) -> Result<Self> {
        let hidden: Vec<usize> = (0..hills.cvs.len()).filter(|place| !places.contains(place)).collect();
        if hidden.len() > 1 {
            let names: Vec<&str> = hidden.iter().map(|place| hills.cvs[*place].as_str()).collect();
            return Err(Error::file(
                &hills.path,
                "",
                "at most one variable that is not shown",
                names.join(", "),
            ));
        }
        let others = match hidden.first() {
            Some(place) => {
                let along = hills.centers.iter().skip(*place).step_by(hills.cvs.len());
                let ends = (f64::INFINITY, f64::NEG_INFINITY);
                let ends = along.fold(ends, |(low, high), x| (low.min(*x), high.max(*x)));
                let (low, high) = hills.domains[*place].unwrap_or(ends);
                Axis::new(low, high, POINTS, false)?.centers()
            }
            None => vec![0.0],
        };
        let mut points = Vec::new();
        for center in centers {
            for other in &others {
                let start = points.len();
                points.resize(start + hills.cvs.len(), *other);
                places.iter().zip(center).for_each(|(place, x)| points[start + place] = *x);
            }
        }
        Ok(Self { points, n_hidden: others.len() })
    }

    /// exp(−F/kT), summed over what is not shown; zero where no hill reaches.
    fn densities(&self, hills: &Hills, n_hills: usize, per_kt: f64) -> Vec<f64> {
        let f = hills.free_energy(&self.points, n_hills);
        let lowest = f.iter().copied().fold(f64::INFINITY, f64::min);
        let density = |f: &[f64]| f.iter().filter(|f| **f < 0.0).map(|f| ((lowest - f) / per_kt).exp()).sum();
        f.chunks_exact(self.n_hidden).map(density).collect()
    }
}
