//! Thermodynamic integration (Kirkwood 1935): f(b) − f(a) = ∫ₐᵇ ⟨∂u/∂λ⟩_λ dλ.
//!
//! Every rule here is linear, ∫ ≈ Σ w_k y_k, so that errors of the nodes propagate exactly. The
//! variable may be anything that increases or decreases steadily: for diffusion time the log-SNR
//! spreads the nodes better, and the caller gives ∂u/∂t · dt/d(log SNR) at those nodes. The error of
//! the rule itself is shown by the difference between the spline and the trapezoid.

use super::Estimate;
use crate::error::{Error, Result};

/// The mean derivative at one value of the integration variable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Node {
    /// Where, in the integration variable.
    pub lambda: f64,
    /// ⟨∂u/∂λ⟩ there, kT per unit of λ.
    pub mean: f64,
    /// Its standard error.
    pub std_error: f64,
}

/// The integral over nodes that were chosen for some other reason than integration.
#[derive(Debug, Clone, PartialEq)]
pub struct Integral {
    /// By the natural cubic spline: the value to quote.
    pub spline: Estimate,
    /// By the trapezoid.
    pub trapezoid: Estimate,
    /// |spline − trapezoid|, kT: how much the rule matters. An upper bound for a smooth integrand.
    pub discretisation_kt: f64,
}

/// Integrates from the first node to the last; errors of different nodes are independent.
pub fn integrate(nodes: &[Node]) -> Result<Integral> {
    let lambda: Vec<f64> = nodes.iter().map(|node| node.lambda).collect();
    let spline = integrate_with(nodes, &spline_weights(&lambda)?, "natural cubic spline")?;
    let trapezoid = integrate_with(nodes, &trapezoid_weights(&lambda)?, "trapezoid")?;
    let discretisation_kt = (spline.value - trapezoid.value).abs();
    Ok(Integral { spline, trapezoid, discretisation_kt })
}

/// Integrates with given weights, for example those of [`gauss_legendre`].
pub fn integrate_with(nodes: &[Node], weights: &[f64], rule: &str) -> Result<Estimate> {
    if nodes.len() != weights.len() {
        return Err(Error::invalid("weights of nodes", nodes.len().to_string(), weights.len().to_string()));
    }
    let bad = |node: &Node| !(node.lambda.is_finite() && node.mean.is_finite() && node.std_error >= 0.0);
    if let Some(k) = nodes.iter().position(bad) {
        return Err(Error::invalid(
            "nodes of thermodynamic integration",
            "finite numbers with errors ≥ 0",
            format!("{:?} at node {k}", nodes[k]),
        ));
    }
    let value = nodes.iter().zip(weights).map(|(node, weight)| weight * node.mean).sum();
    let variance: f64 = nodes.iter().zip(weights).map(|(node, w)| (w * node.std_error).powi(2)).sum();
    let method = format!("errors of {} nodes through the {rule}", nodes.len());
    Ok(Estimate::new(value, variance.sqrt(), f64::NAN, "kT", method))
}

fn check_order(lambda: &[f64]) -> Result<()> {
    let rising = lambda.windows(2).all(|pair| pair[1] > pair[0]);
    let falling = lambda.windows(2).all(|pair| pair[1] < pair[0]);
    if lambda.len() >= 2 && (rising || falling) {
        return Ok(());
    }
    Err(Error::invalid(
        "nodes of thermodynamic integration",
        "at least two, steadily rising or falling",
        format!("{lambda:?}"),
    ))
}

/// Weights of the trapezoid from the first node to the last.
pub fn trapezoid_weights(lambda: &[f64]) -> Result<Vec<f64>> {
    check_order(lambda)?;
    let mut weights = vec![0.0; lambda.len()];
    for (k, pair) in lambda.windows(2).enumerate() {
        let half = 0.5 * (pair[1] - pair[0]);
        weights[k] += half;
        weights[k + 1] += half;
    }
    Ok(weights)
}

/// Weights of the integral of the natural cubic spline through the nodes.
///
/// On an interval of length h the spline with second derivatives m integrates to
/// h (y₀ + y₁)/2 − h³ (m₀ + m₁)/24, and m solves a symmetric tridiagonal system T m = B y; so the
/// weights are those of the trapezoid minus Bᵀ T⁻¹ v with v the coefficients of m.
pub fn spline_weights(lambda: &[f64]) -> Result<Vec<f64>> {
    let mut weights = trapezoid_weights(lambda)?;
    let n = lambda.len();
    if n < 3 {
        return Ok(weights);
    }
    let h: Vec<f64> = lambda.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let inner = n - 2;
    let mut diagonal: Vec<f64> = (0..inner).map(|i| (h[i] + h[i + 1]) / 3.0).collect();
    let mut x: Vec<f64> = (0..inner).map(|i| (h[i].powi(3) + h[i + 1].powi(3)) / 24.0).collect();
    for i in 1..inner {
        let factor = h[i] / 6.0 / diagonal[i - 1];
        diagonal[i] -= factor * h[i] / 6.0;
        x[i] -= factor * x[i - 1];
    }
    for i in (0..inner).rev() {
        let above = if i + 1 < inner { h[i + 1] / 6.0 * x[i + 1] } else { 0.0 };
        x[i] = (x[i] - above) / diagonal[i];
    }
    for (i, x) in x.iter().enumerate() {
        weights[i] -= x / h[i];
        weights[i + 1] += x * (1.0 / h[i] + 1.0 / h[i + 1]);
        weights[i + 2] -= x / h[i + 1];
    }
    Ok(weights)
}

/// Weights of the nodes in the integral of the natural cubic spline over each interval, `[interval][node]`.
///
/// Their sum over the intervals is [`spline_weights`].
pub fn spline_interval_weights(lambda: &[f64]) -> Result<Vec<Vec<f64>>> {
    check_order(lambda)?;
    let n = lambda.len();
    let h: Vec<f64> = lambda.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // Second derivatives at the nodes as linear functions of the values, `[node][value]`: T m = B y.
    let mut second = vec![vec![0.0; n]; n];
    if n > 2 {
        let inner = n - 2;
        let mut diagonal: Vec<f64> = (0..inner).map(|i| (h[i] + h[i + 1]) / 3.0).collect();
        for i in 0..inner {
            second[i + 1][i] = 1.0 / h[i];
            second[i + 1][i + 1] = -1.0 / h[i] - 1.0 / h[i + 1];
            second[i + 1][i + 2] = 1.0 / h[i + 1];
        }
        for i in 1..inner {
            let factor = h[i] / 6.0 / diagonal[i - 1];
            diagonal[i] -= factor * h[i] / 6.0;
            let before = second[i].clone();
            second[i + 1].iter_mut().zip(before).for_each(|(m, before)| *m -= factor * before);
        }
        for i in (0..inner).rev() {
            let above = if i + 1 < inner { h[i + 1] / 6.0 } else { 0.0 };
            let after = second[i + 2].clone();
            second[i + 1]
                .iter_mut()
                .zip(after)
                .for_each(|(m, after)| *m = (*m - above * after) / diagonal[i]);
        }
    }
    let weights = |k: usize| {
        let mut weights: Vec<f64> =
            (0..n).map(|value| -h[k].powi(3) / 24.0 * (second[k][value] + second[k + 1][value])).collect();
        weights[k] += 0.5 * h[k];
        weights[k + 1] += 0.5 * h[k];
        weights
    };
    Ok((0..n - 1).map(weights).collect())
}

/// Nodes and weights of Gauss and Legendre on [a, b]: exact for polynomials of degree 2n − 1.
pub fn gauss_legendre(n_nodes: usize, a: f64, b: f64) -> (Vec<f64>, Vec<f64>) {
    let n = n_nodes as f64;
    let (mut nodes, mut weights) = (Vec::with_capacity(n_nodes), Vec::with_capacity(n_nodes));
    for i in 0..n_nodes {
        // Newton's method on P_n from Tricomi's approximation; ascending order.
        let mut x = -(std::f64::consts::PI * (i as f64 + 0.75) / (n + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..100 {
            let (mut p, mut previous) = (1.0, 0.0);
            for k in 1..=n_nodes {
                let k = k as f64;
                (p, previous) = (((2.0 * k - 1.0) * x * p - (k - 1.0) * previous) / k, p);
            }
            slope = n * (x * p - previous) / (x * x - 1.0);
            let step = p / slope;
            x -= step;
            if step.abs() < 1e-15 {
                break;
            }
        }
        nodes.push(0.5 * (a + b) + 0.5 * (b - a) * x);
        weights.push((b - a) / ((1.0 - x * x) * slope * slope));
    }
    (nodes, weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Streams, fill_normal};

    fn dot(weights: &[f64], x: &[f64], f: impl Fn(f64) -> f64) -> f64 {
        weights.iter().zip(x).map(|(w, x)| w * f(*x)).sum()
    }

    #[test]
    fn gauss_legendre_is_exact_to_degree_2n_minus_1() {
        for n in [1, 2, 5, 16, 64] {
            let (x, w) = gauss_legendre(n, -0.5, 2.0);
            let degree = (2 * n - 1) as i32;
            let exact = (2.0_f64.powi(degree + 1) - (-0.5_f64).powi(degree + 1)) / f64::from(degree + 1);
            assert!((dot(&w, &x, |x| x.powi(degree)) / exact - 1.0).abs() < 1e-12, "{n}");
            assert!(x.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn rules_are_exact_where_they_should_be() {
        let x = [0.0, 0.1, 0.45, 0.5, 0.9, 1.3];
        let trapezoid = trapezoid_weights(&x).unwrap();
        let spline = spline_weights(&x).unwrap();
        for weights in [&trapezoid, &spline] {
            assert!((dot(weights, &x, |x| 3.0 - 2.0 * x) - (3.9 - 1.69)).abs() < 1e-14);
        }
        // Spline through (0, 1, 0): m = −3 at the middle, integral ½ + ½ + 3 · 2/24 = 1.25.
        let weights = spline_weights(&[-1.0, 0.0, 1.0]).unwrap();
        assert!((weights[1] - 1.25).abs() < 1e-14, "{weights:?}");
        // Fourth order in the inside: sin over many nodes, whose second derivative vanishes at the ends.
        let fine: Vec<f64> = (0..=40).map(|i| f64::from(i) * std::f64::consts::PI / 40.0).collect();
        assert!((dot(&spline_weights(&fine).unwrap(), &fine, f64::sin) - 2.0).abs() < 1e-6);
        assert!((dot(&trapezoid_weights(&fine).unwrap(), &fine, f64::sin) - 2.0).abs() > 1e-4);
    }

    #[test]
    fn intervals_of_the_spline_add_up() {
        for lambda in [vec![0.0, 0.1, 0.45, 0.5, 0.9, 1.3], vec![2.0, 1.0, 0.5], vec![0.0, 1.0]] {
            let total = spline_weights(&lambda).unwrap();
            let parts = spline_interval_weights(&lambda).unwrap();
            for (node, total) in total.iter().enumerate() {
                let sum: f64 = parts.iter().map(|weights| weights[node]).sum();
                assert!((sum - total).abs() < 1e-14, "{lambda:?}: {sum} {total}");
            }
        }
        // Halves of the spline through (0, 1, 0).
        let parts = spline_interval_weights(&[-1.0, 0.0, 1.0]).unwrap();
        assert!((parts[0][1] - 0.625).abs() < 1e-14 && (parts[1][1] - 0.625).abs() < 1e-14);
    }

    #[test]
    fn a_falling_variable_changes_the_sign() {
        let x = [0.0, 0.3, 1.0, 1.2];
        let back: Vec<f64> = x.iter().rev().copied().collect();
        let forward = dot(&spline_weights(&x).unwrap(), &x, f64::exp);
        assert!((forward + dot(&spline_weights(&back).unwrap(), &back, f64::exp)).abs() < 1e-14);
        assert!(spline_weights(&[0.0, 1.0, 0.5]).is_err());
    }

    #[test]
    fn a_stiffening_spring_integrates_to_its_free_energy() {
        // u = ½ k x² with ln k as the variable: ∂u/∂ln k = ½ k x² has the mean ½, f = ½ ln k.
        let (n_samples, n_nodes) = (4000, 6);
        let nodes: Vec<Node> = (0..n_nodes)
            .map(|i| {
                let mut z = vec![0.0; n_samples];
                fill_normal(&mut Streams::new(2).stream(Purpose::Walker, i), &mut z);
                let values: Vec<f64> = z.iter().map(|z| 0.5 * z * z).collect();
                let mean = values.iter().sum::<f64>() / n_samples as f64;
                let spread = crate::free_energy::bootstrap::deviation(values.iter().copied());
                Node { lambda: i as f64 * 0.4, mean, std_error: spread / (n_samples as f64).sqrt() }
            })
            .collect();
        let integral = integrate(&nodes).unwrap();
        assert!((integral.spline.value - 1.0).abs() < 4.0 * integral.spline.std_error);
        assert!(integral.discretisation_kt < 4.0 * integral.spline.std_error);
        // Σ w² · ½/n with trapezoid weights 0.2, 0.4 × 4, 0.2.
        let expected = ((2.0 * 0.04 + 4.0 * 0.16) * 0.5 / n_samples as f64).sqrt();
        assert!((integral.trapezoid.std_error / expected - 1.0).abs() < 0.05);
    }
}
