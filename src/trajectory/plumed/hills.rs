//! Gaussians that metadynamics deposited.
//!
//! The bias is V(s) = Σ w exp(−½ Σ_i (s_i − c_i)² / σ_i²), or with the metric of a covariance matrix L Lᵀ where
//! `multivariate` is set, over periodic images nearest to s. PLUMED cuts a Gaussian off where the half square in the
//! exponent reaches 6.25; a `stretched-gaussian` is shifted and scaled to be 0 there and w at its centre.
//!
//! A well-tempered run (bias factor γ > 1; Barducci, Bussi and Parrinello, 2008) writes heights multiplied by
//! γ / (γ − 1), so that minus their sum estimates the free energy directly; the bias that acted is smaller by this
//! factor. In an ordinary run both are the sum as written.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{domains, later_wins, require_plumed};
use crate::error::{Error, Result};
use crate::trajectory::columns::Columns;

/// PLUMED's cutoff of the half square in the exponent.
const CUTOFF: f64 = 6.25;

/// Points that one task sums, and hills that it looks at together.
const POINTS: usize = 32;
const BLOCK: usize = 128;

/// Deposited Gaussians, in order of time.
#[derive(Debug, Clone)]
pub struct Hills {
    /// The file.
    pub path: PathBuf,
    /// Names of the collective variables.
    pub cvs: Vec<String>,
    /// `[hill][variable]`.
    pub centers: Vec<f64>,
    /// `[hill][variable]`, or the lower triangle of L row by row, `[hill][n (n + 1) / 2]`, where multivariate.
    pub sigmas: Vec<f64>,
    /// As written, in the unit of the file; see the module.
    pub heights: Vec<f64>,
    /// γ of each hill; 1 for ordinary metadynamics.
    pub bias_factors: Vec<f64>,
    /// Time of each hill.
    pub times: Vec<f64>,
    /// Ends of each variable, where it is periodic.
    pub domains: Vec<Option<(f64, f64)>>,
    /// Whether the Gaussians have a covariance matrix.
    pub multivariate: bool,
    /// Whether the Gaussians are shifted and scaled to end at 0.
    pub stretched: bool,
    /// What was left out or looks strange, with file and line.
    pub warnings: Vec<String>,
}

/// Reads a `HILLS`. Where the header stands again and the times go back, the later run wins from its first time on;
/// walkers that deposit at the same time in one file stay.
pub fn read_hills(path: &Path) -> Result<Hills> {
    hills(Columns::read(path)?)
}

/// A table of columns as a `HILLS`.
pub(super) fn hills(mut table: Columns) -> Result<Hills> {
    require_plumed(&table)?;
    let time = table.column("time")?.to_vec();
    let starts: Vec<usize> = table
        .restarts
        .iter()
        .copied()
        .filter(|row| *row > 0 && *row < time.len() && time[*row] <= time[row - 1])
        .collect();
    later_wins(&mut table, &time, &starts);
    // Variables stand between the time and the widths.
    let first_sigma = table.names.iter().position(|name| name.starts_with("sigma_")).unwrap_or(0);
    let cvs: Vec<String> =
        table.names.iter().take(first_sigma).filter(|name| *name != "time").cloned().collect();
    if cvs.is_empty() {
        let found = format!("the columns {}", table.names.join(", "));
        return Err(Error::file(
            &table.path,
            "",
            "columns `time`, the variables, `sigma_…`, `height`",
            found,
        ));
    }
    let multivariate = table.setting("multivariate") == Some("true");
    let stretched = match table.setting("kerneltype") {
        None | Some("gaussian" | "GAUSSIAN") => false,
        Some("stretched-gaussian" | "STRETCHED-GAUSSIAN") => true,
        Some(other) => {
            return Err(Error::file(
                &table.path,
                "SET kerneltype",
                "gaussian or stretched-gaussian",
                format!("`{other}`"),
            ));
        }
    };
    let sigma_names: Vec<String> = if multivariate {
        (0..cvs.len())
            .flat_map(|i| (0..=i).map(move |j| (i, j)))
            .map(|(i, j)| format!("sigma_{}_{}", cvs[i], cvs[j]))
            .collect()
    } else {
        cvs.iter().map(|cv| format!("sigma_{cv}")).collect()
    };
    let centers = rows(&table, &cvs)?;
    let sigmas = rows(&table, &sigma_names)?;
    check_sigmas(&table, &sigmas, &sigma_names, multivariate.then_some(cvs.len()))?;
    let heights = table.finite_column("height")?.to_vec();
    let bias_factors = if table.names.iter().any(|name| name == "biasf") {
        table.finite_column("biasf")?.iter().map(|factor| factor.max(1.0)).collect()
    } else {
        vec![1.0; heights.len()]
    };
    let known: HashMap<String, (f64, f64)> = domains(&table)?;
    Ok(Hills {
        centers,
        sigmas,
        heights,
        bias_factors,
        times: table.finite_column("time")?.to_vec(),
        domains: cvs.iter().map(|cv| known.get(cv).copied()).collect(),
        cvs,
        multivariate,
        stretched,
        path: table.path,
        warnings: table.warnings,
    })
}

/// Columns, transposed.
fn rows(table: &Columns, names: &[String]) -> Result<Vec<f64>> {
    let columns: Vec<&[f64]> = names.iter().map(|name| table.finite_column(name)).collect::<Result<_>>()?;
    Ok((0..table.n_rows()).flat_map(|row| columns.iter().map(move |column| column[row])).collect())
}

/// Widths must be above 0; of a triangle, those on its diagonal.
fn check_sigmas(table: &Columns, sigmas: &[f64], names: &[String], triangle: Option<usize>) -> Result<()> {
    let on_diagonal = |column: usize| match triangle {
        None => true,
        Some(n) => (0..n).any(|i| i * (i + 3) / 2 == column),
    };
    let bad = sigmas.iter().enumerate().find(|(i, sigma)| on_diagonal(i % names.len()) && **sigma <= 0.0);
    let Some((index, sigma)) = bad else { return Ok(()) };
    let (row, column) = (index / names.len(), index % names.len());
    Err(Error::file(
        &table.path,
        table.place(row),
        format!("a width `{}` above 0", names[column]),
        sigma.to_string(),
    ))
}

impl Hills {
    /// Number of hills.
    pub fn n_hills(&self) -> usize {
        self.heights.len()
    }

    /// Number of hills deposited up to and including a time, in a file in order of time.
    pub fn n_until(&self, time: f64) -> usize {
        self.times.partition_point(|deposited| *deposited <= time)
    }

    /// The bias that acts after the first `n_hills`, at points `[point][variable]`.
    pub fn bias(&self, points: &[f64], n_hills: usize) -> Vec<f64> {
        self.sum(points, n_hills, |hill| {
            let factor = self.bias_factors[hill];
            self.heights[hill] * if factor > 1.0 { (factor - 1.0) / factor } else { 1.0 }
        })
    }

    /// Estimate of the free energy from the first `n_hills`, up to a constant, at points `[point][variable]`.
    pub fn free_energy(&self, points: &[f64], n_hills: usize) -> Vec<f64> {
        self.sum(points, n_hills, |hill| -self.heights[hill])
    }

    /// Σ height × kernel at points `[point][variable]`.
    fn sum(&self, points: &[f64], n_hills: usize, height: impl Fn(usize) -> f64) -> Vec<f64> {
        let n_cvs = self.cvs.len();
        let n_hills = n_hills.min(self.n_hills());
        let heights: Vec<f64> = (0..n_hills).map(height).collect();
        let axes: Vec<Axis> = (0..n_cvs).map(|cv| self.axis(cv, n_hills)).collect();
        let end = (-CUTOFF).exp();
        let (scale, shift) =
            if self.stretched { (1.0 / (1.0 - end), -end / (1.0 - end)) } else { (1.0, 0.0) };
        let mut bias = vec![0.0; points.len() / n_cvs];
        bias.par_chunks_mut(POINTS).zip(points.par_chunks(POINTS * n_cvs)).for_each(|(bias, points)| {
            let mut distances = vec![[0.0; BLOCK]; n_cvs];
            for (bias, point) in bias.iter_mut().zip(points.chunks_exact(n_cvs)) {
                for (block, heights) in heights.chunks(BLOCK).enumerate() {
                    let half_squares =
                        half_squares(&axes, point, block * BLOCK, heights.len(), &mut distances);
                    for (height, half_square) in heights.iter().zip(half_squares) {
                        if half_square < CUTOFF {
                            *bias += height * (scale * (-half_square).exp() + shift);
                        }
                    }
                }
            }
        });
        bias
    }

    /// One variable of the first hills.
    fn axis(&self, cv: usize, n_hills: usize) -> Axis {
        let n_cvs = self.cvs.len();
        let width = if self.multivariate { n_cvs * (n_cvs + 1) / 2 } else { n_cvs };
        let sigma = |hill: usize, column: usize| self.sigmas[hill * width + column];
        let row = cv * (cv + 1) / 2;
        let domain = self.domains[cv];
        let center = (0..n_hills).map(|hill| wrapped(self.centers[hill * n_cvs + cv], domain)).collect();
        if !self.multivariate {
            let scale = (0..n_hills).map(|hill| 1.0 / sigma(hill, cv)).collect();
            return Axis { domain, center, scale, mixing: Vec::new() };
        }
        let scale: Vec<f64> = (0..n_hills).map(|hill| 1.0 / sigma(hill, row + cv)).collect();
        let mixing =
            (0..cv).map(|j| (0..n_hills).map(|hill| sigma(hill, row + j) * scale[hill]).collect()).collect();
        Axis { domain, center, scale, mixing }
    }
}

/// One variable of all hills: centres, 1 / σ (or 1 / L_ii), and L_ij / L_ii for j < i where L is not diagonal.
struct Axis {
    domain: Option<(f64, f64)>,
    center: Vec<f64>,
    scale: Vec<f64>,
    mixing: Vec<Vec<f64>>,
}

/// The image of a value inside its domain.
fn wrapped(value: f64, domain: Option<(f64, f64)>) -> f64 {
    match domain {
        None => value,
        Some((low, high)) => value - (high - low) * ((value - low) / (high - low)).floor(),
    }
}

/// ½ (s − c)ᵀ Σ⁻¹ (s − c) of a block of hills; `distances` is room for y = L⁻¹ (s − c), with |y|² the square.
fn half_squares(
    axes: &[Axis],
    point: &[f64],
    first: usize,
    n: usize,
    distances: &mut [[f64; BLOCK]],
) -> [f64; BLOCK] {
    let mut half_squares = [0.0; BLOCK];
    for (cv, axis) in axes.iter().enumerate() {
        let (known, rest) = distances.split_at_mut(cv);
        let distance = &mut rest[0][..n];
        let (center, scale) = (&axis.center[first..first + n], &axis.scale[first..first + n]);
        let at = wrapped(point[cv], axis.domain);
        let (period, half) =
            axis.domain.map_or((0.0, f64::INFINITY), |(low, high)| (high - low, 0.5 * (high - low)));
        for ((y, center), scale) in distance.iter_mut().zip(center).zip(scale) {
            let d = at - center;
            let d = if d > half { d - period } else { d };
            let d = if d < -half { d + period } else { d };
            *y = d * scale;
        }
        for (mixing, known) in axis.mixing.iter().zip(known) {
            for ((y, mixing), known) in distance.iter_mut().zip(&mixing[first..first + n]).zip(known.iter()) {
                *y -= mixing * known;
            }
        }
        for (half_square, y) in half_squares.iter_mut().zip(distance.iter()) {
            *half_square += 0.5 * y * y;
        }
    }
    half_squares
}
