//! Wasserstein-1 distance of two weighted samples on a line: W₁ = ∫ |F(x) − G(x)| dx.

use crate::error::{Error, Result};

/// W₁ in the unit of the samples; each set of weights is normalised, equal without weights.
pub fn wasserstein_1(
    a: &[f64],
    weights_a: Option<&[f64]>,
    b: &[f64],
    weights_b: Option<&[f64]>,
) -> Result<f64> {
    let (a, b) = (sorted(a, weights_a)?, sorted(b, weights_b)?);
    let (mut i, mut j) = (0, 0);
    let (mut f, mut g) = (0.0_f64, 0.0_f64);
    let mut position = a[0].0.min(b[0].0);
    let mut distance = 0.0;
    while i < a.len() || j < b.len() {
        let next_a = a.get(i).map_or(f64::INFINITY, |x| x.0);
        let next_b = b.get(j).map_or(f64::INFINITY, |x| x.0);
        let next = next_a.min(next_b);
        distance += (f - g).abs() * (next - position);
        position = next;
        if next_a <= next_b {
            f += a[i].1;
            i += 1;
        } else {
            g += b[j].1;
            j += 1;
        }
    }
    Ok(distance)
}

/// Values in rising order with normalised weights.
fn sorted(values: &[f64], weights: Option<&[f64]>) -> Result<Vec<(f64, f64)>> {
    let sum = weights.map_or(values.len() as f64, |weights| weights.iter().sum());
    let usable = !values.is_empty()
        && values.iter().all(|value| value.is_finite())
        && weights.is_none_or(|w| w.len() == values.len() && w.iter().all(|w| *w >= 0.0))
        && sum.is_finite()
        && sum > 0.0;
    if !usable {
        return Err(Error::invalid(
            "samples of a Wasserstein distance",
            "finite values with weights ≥ 0, not all zero",
            format!("{} values with weights of sum {sum}", values.len()),
        ));
    }
    let weight = |n: usize| weights.map_or(1.0, |weights| weights[n]) / sum;
    let mut pairs: Vec<(f64, f64)> =
        values.iter().enumerate().map(|(n, value)| (*value, weight(n))).collect();
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_is_its_own_distance() {
        let a: Vec<f64> = (0..100).map(|i| f64::from(i * 37 % 100).sin()).collect();
        let b: Vec<f64> = a.iter().rev().map(|x| x + 0.25).collect();
        assert!((wasserstein_1(&a, None, &b, None).unwrap() - 0.25).abs() < 1e-12);
    }

    #[test]
    fn weights_count_like_copies() {
        let weighted = wasserstein_1(&[0.0, 1.0], Some(&[3.0, 1.0]), &[5.0, 2.0, 2.0], None).unwrap();
        let copied = wasserstein_1(&[0.0, 0.0, 1.0, 0.0], None, &[2.0, 5.0], Some(&[2.0, 1.0])).unwrap();
        assert!((weighted - copied).abs() < 1e-12);
        // Both means are apart by 3 − ¼, and one sample lies wholly to the left of the other.
        assert!((weighted - 2.75).abs() < 1e-12);
        assert!(wasserstein_1(&[], None, &[1.0], None).is_err());
        assert!(wasserstein_1(&[1.0], Some(&[0.0]), &[1.0], None).is_err());
    }

    #[test]
    fn scipy_agrees() {
        let text = include_str!("../../tests/data/comparison_reference.json");
        let data: serde_json::Value = serde_json::from_str(text).unwrap();
        let vector = |name: &str| -> Vec<f64> {
            data[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
        };
        let first = |values: Vec<f64>| -> Vec<f64> { values.into_iter().step_by(2).collect() };
        let (a, b, weights) = (first(vector("a")), first(vector("b")), vector("weights_b"));
        for (case, weights) in [("plain", None), ("weighted", Some(weights.as_slice()))] {
            let expected = data[case]["wasserstein_0"].as_f64().unwrap();
            assert!((wasserstein_1(&a, None, &b, weights).unwrap() - expected).abs() < 1e-12, "{case}");
        }
    }
}
