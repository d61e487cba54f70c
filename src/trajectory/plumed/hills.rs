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

/// Points that one task sums.
const CHUNK: usize = 32;

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

    fn sum(&self, points: &[f64], n_hills: usize, height: impl Fn(usize) -> f64 + Sync) -> Vec<f64> {
        let n_cvs = self.cvs.len();
        let n_hills = n_hills.min(self.n_hills());
        let heights: Vec<f64> = (0..n_hills).map(height).collect();
        let end = (-CUTOFF).exp();
        let (scale, shift) =
            if self.stretched { (1.0 / (1.0 - end), -end / (1.0 - end)) } else { (1.0, 0.0) };
        let mut bias = vec![0.0; points.len() / n_cvs];
        bias.par_chunks_mut(CHUNK).zip(points.par_chunks(CHUNK * n_cvs)).for_each(|(bias, points)| {
            let mut distance = vec![0.0; n_cvs];
            for (bias, point) in bias.iter_mut().zip(points.chunks_exact(n_cvs)) {
                for (hill, height) in heights.iter().enumerate() {
                    let half_square = self.half_square(hill, point, &mut distance);
                    if half_square < CUTOFF {
                        *bias += height * (scale * (-half_square).exp() + shift);
                    }
                }
            }
        });
        bias
    }

    /// ½ (s − c)ᵀ Σ⁻¹ (s − c) of a hill; some value above the cutoff where it is above.
    fn half_square(&self, hill: usize, point: &[f64], distance: &mut [f64]) -> f64 {
        let n_cvs = self.cvs.len();
        let center = &self.centers[hill * n_cvs..(hill + 1) * n_cvs];
        let width = if self.multivariate { n_cvs * (n_cvs + 1) / 2 } else { n_cvs };
        let sigma = &self.sigmas[hill * width..(hill + 1) * width];
        let mut half_square = 0.0;
        for i in 0..n_cvs {
            let mut d = point[i] - center[i];
            if let Some((low, high)) = self.domains[i] {
                let period = high - low;
                d -= period * (d / period).round();
            }
            let scaled = if self.multivariate {
                // Forward substitution: L y = d gives |y|² = dᵀ (L Lᵀ)⁻¹ d.
                let row = &sigma[i * (i + 1) / 2..];
                let known: f64 = (0..i).map(|j| row[j] * distance[j]).sum();
                (d - known) / row[i]
            } else {
                d / sigma[i]
            };
            distance[i] = scaled;
            half_square += 0.5 * scaled * scaled;
            if half_square >= CUTOFF {
                break;
            }
        }
        half_square
    }
}
