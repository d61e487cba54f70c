//! Free energy from the work of driven processes: Jarzynski (1997) in one direction, Crooks (1999) in two.
//!
//! Works are in kT. Forward works belong to processes that begin in equilibrium in state 0, reverse works to the
//! reversed protocol beginning in state 1. Their distributions cross at the free energy, P₀(w) / P₁(−w) =
//! exp(w − Δf), and Bennett's ratio is the maximum-likelihood use of that (Shirts et al. 2003).

use super::Estimate;
use super::bennett::{Works, bennett_or_exponential, solve};
use super::exponential_averaging::{self, check_work};
use crate::error::Result;

/// What works in one direction tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Jarzynski {
    /// Δf by the exponential average.
    pub exponential: Estimate,
    /// ⟨w⟩ − Δf ≥ 0 (for reverse works ⟨w⟩ + Δf): what was lost as heat, kT.
    pub dissipated_kt: f64,
    /// Standard deviation of the work, kT; near equilibrium its square is twice the dissipation.
    pub deviation_kt: f64,
    /// Processes that about this many others must accompany before one contributes: exp(dissipation of the reverse
    /// process), estimated by the own dissipation (Jarzynski 2006).
    pub n_needed: f64,
    /// Whether there are fewer processes than that, so that the exponential average is biased.
    pub is_biased: bool,
}

/// Δf from works of the process 0 → 1.
pub fn jarzynski_forward(work_kt: &[f64]) -> Result<Jarzynski> {
    jarzynski(work_kt, 1.0)
}

/// Δf from works of the process 1 → 0.
pub fn jarzynski_reverse(work_kt: &[f64]) -> Result<Jarzynski> {
    jarzynski(work_kt, -1.0)
}

fn jarzynski(work_kt: &[f64], sign: f64) -> Result<Jarzynski> {
    let exponential = exponential_averaging::average(work_kt, None, sign)?;
    let n = work_kt.len() as f64;
    let mean = work_kt.iter().sum::<f64>() / n;
    let deviation_kt = super::bootstrap::deviation(work_kt.iter().copied());
    let dissipated_kt = mean - sign * exponential.value;
    // The exponential average cannot show more dissipation than ln N; the Gaussian one can.
    let n_needed = dissipated_kt.max(0.5 * deviation_kt * deviation_kt).exp();
    Ok(Jarzynski { exponential, dissipated_kt, deviation_kt, n_needed, is_biased: n < n_needed })
}

/// What works in both directions tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Crooks {
    /// Δf by Bennett's ratio, or the labelled exponential average where a direction is missing.
    pub free_energy: Estimate,
    /// Where two Gaussians through the distributions of w and −w cross, kT; `None` where they do not, or a
    /// direction has fewer than two works.
    pub crossing_kt: Option<f64>,
    /// ⟨w⟩ − Δf of the forward process, kT.
    pub dissipated_forward_kt: f64,
    /// ⟨w⟩ + Δf of the reverse process, kT.
    pub dissipated_reverse_kt: f64,
    /// Lower bound by the exponential average of the reverse works and upper bound by that of the forward works;
    /// bounds in expectation.
    pub bounds_kt: (f64, f64),
    /// Share of the samples that the two directions have in common: ½ for reversible processes, 0 without overlap.
    pub overlap: f64,
}

/// Δf from works in both directions.
pub fn crooks(forward_kt: &[f64], reverse_kt: &[f64]) -> Result<Crooks> {
    let free_energy = bennett_or_exponential(forward_kt, reverse_kt)?;
    for work in [forward_kt, reverse_kt] {
        if !work.is_empty() {
            check_work(work)?;
        }
    }
    let mean = |work: &[f64]| work.iter().sum::<f64>() / work.len() as f64;
    let bound = |work: &[f64], sign: f64| {
        if work.is_empty() {
            return Ok(sign * f64::INFINITY);
        }
        exponential_averaging::average(work, None, sign).map(|estimate| estimate.value)
    };
    let overlap = if forward_kt.is_empty() || reverse_kt.is_empty() {
        f64::NAN
    } else {
        let solution = solve(Works::all(forward_kt), Works::all(reverse_kt));
        solution.shared / forward_kt.len().min(reverse_kt.len()) as f64
    };
    Ok(Crooks {
        crossing_kt: crossing(forward_kt, reverse_kt),
        dissipated_forward_kt: mean(forward_kt) - free_energy.value,
        dissipated_reverse_kt: mean(reverse_kt) + free_energy.value,
        bounds_kt: (bound(reverse_kt, -1.0)?, bound(forward_kt, 1.0)?),
        overlap,
        free_energy,
    })
}

/// Where the Gaussian of w and that of −w of the reverse process are equal: between the means, or nearest to them.
fn crossing(forward_kt: &[f64], reverse_kt: &[f64]) -> Option<f64> {
    let moments = |work: &[f64], sign: f64| {
        let mean = sign * work.iter().sum::<f64>() / work.len() as f64;
        let deviation = super::bootstrap::deviation(work.iter().copied());
        (mean.is_finite() && deviation.is_finite() && deviation > 0.0).then_some((mean, deviation))
    };
    let ((a, s), (b, t)) = (moments(forward_kt, 1.0)?, moments(reverse_kt, -1.0)?);
    // (x − a)²/s² + 2 ln s = (x − b)²/t² + 2 ln t.
    let quadratic = 1.0 / (s * s) - 1.0 / (t * t);
    let linear = a / (s * s) - b / (t * t);
    let constant = a * a / (s * s) - b * b / (t * t) + 2.0 * (s / t).ln();
    let middle = 0.5 * (a + b);
    if quadratic.abs() < 1e-9 * (1.0 / (s * s) + 1.0 / (t * t)) {
        return Some(middle);
    }
    let root = (linear * linear - quadratic * constant).sqrt();
    let roots = [(linear + root) / quadratic, (linear - root) / quadratic];
    roots
        .into_iter()
        .filter(|x| x.is_finite())
        .min_by(|x, y| (x - middle).abs().total_cmp(&(y - middle).abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams, fill_normal};

    /// Gaussian works of a protocol with dissipation d: forward N(Δf + d, 2 d), reverse N(−Δf + d, 2 d).
    fn works(delta: f64, dissipation: f64, n: usize) -> (Vec<f64>, Vec<f64>) {
        let mut draw = [vec![0.0; n], vec![0.0; n]];
        for (index, noise) in draw.iter_mut().enumerate() {
            fill_normal(&mut Streams::new(8).stream(Purpose::Walker, index as u64), noise);
            let sign = if index == 0 { 1.0 } else { -1.0 };
            noise.iter_mut().for_each(|z| *z = sign * delta + dissipation + (2.0 * dissipation).sqrt() * *z);
        }
        let [forward, reverse] = draw;
        (forward, reverse)
    }

    #[test]
    fn gaussian_works_have_a_known_crossing_and_dissipation() {
        let (forward, reverse) = works(4.0, 1.5, 5000);
        let result = crooks(&forward, &reverse).unwrap();
        assert!((result.free_energy.value - 4.0).abs() < 4.0 * result.free_energy.std_error, "{result:?}");
        assert!((result.crossing_kt.unwrap() - 4.0).abs() < 0.1, "{result:?}");
        assert!((result.dissipated_forward_kt - 1.5).abs() < 0.15);
        assert!((result.dissipated_reverse_kt - 1.5).abs() < 0.15);
        let one = jarzynski_forward(&forward).unwrap();
        assert!((one.exponential.value - 4.0).abs() < 4.0 * one.exponential.std_error && !one.is_biased);
        let back = jarzynski_reverse(&reverse).unwrap();
        assert!((back.exponential.value - 4.0).abs() < 4.0 * back.exponential.std_error);
        assert!((back.dissipated_kt - 1.5).abs() < 0.2);
    }

    #[test]
    fn too_much_dissipation_is_said_and_bounded() {
        let (forward, reverse) = works(2.0, 40.0, 200);
        assert!(jarzynski_forward(&forward).unwrap().is_biased);
        let result = crooks(&forward, &reverse).unwrap();
        assert!(result.overlap < 1e-3 && result.bounds_kt.0 < 2.0 && result.bounds_kt.1 > 2.0, "{result:?}");
        assert!(crooks(&forward, &[]).unwrap().free_energy.error_method.contains("no reverse works"));
        assert!(crooks(&[], &[]).is_err());
    }
}
