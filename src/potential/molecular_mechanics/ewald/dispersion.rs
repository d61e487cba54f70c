//! The Lennard-Jones energy beyond the cutoff, all distances there being equally likely.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use super::direct::switch;
use crate::force_field::parameters::Nonbonded;

/// V U in kJ nm³/mol: 2π N² ⟨∫ (1 − S) 4ε ((σ/r)¹² − (σ/r)⁶) r² dr⟩ from where switching begins to infinity, S being
/// zero from the cutoff on. The mean is over all pairs, atoms with themselves included, as OpenMM takes it.
pub fn dispersion(nonbonded: &Nonbonded, cutoff_nm: f64, switching_nm: Option<f64>) -> f64 {
    let mut classes: BTreeMap<[u64; 2], usize> = BTreeMap::new();
    for (sigma, epsilon) in nonbonded.sigma_nm.iter().zip(&nonbonded.epsilon) {
        *classes.entry([sigma.to_bits(), epsilon.to_bits()]).or_default() += 1;
    }
    let classes: Vec<(f64, f64, f64)> = (classes.into_iter())
        .map(|([sigma, epsilon], count)| (f64::from_bits(sigma), f64::from_bits(epsilon), count as f64))
        .collect();
    let (mut sum12, mut sum6) = (0.0, 0.0);
    for (idx, &(sigma, epsilon, count)) in classes.iter().enumerate() {
        for &(other_sigma, other_epsilon, other_count) in &classes[idx..] {
            let is_same = sigma == other_sigma && epsilon == other_epsilon;
            let n_pairs = if is_same { 0.5 * count * (count + 1.0) } else { count * other_count };
            let depth = n_pairs * (epsilon * other_epsilon).sqrt();
            let sixth = (0.5 * (sigma + other_sigma)).powi(6);
            sum12 += depth * sixth * sixth;
            sum6 += depth * sixth;
        }
    }
    let n = nonbonded.sigma_nm.len() as f64;
    let beyond = |power: i32| {
        let tail = cutoff_nm.powi(3 - power) / f64::from(power - 3);
        tail + switching_nm.map_or(0.0, |begin| switched_off(begin, cutoff_nm, power))
    };
    8.0 * PI * n * n * (sum12 * beyond(12) - sum6 * beyond(6)) / (0.5 * n * (n + 1.0))
}

/// ∫ (1 − S) r²⁻ᵖ dr between begin and end, by Simpson's rule.
fn switched_off(begin: f64, end: f64, power: i32) -> f64 {
    const N: usize = 1000;
    let value = |k: usize| {
        let t = k as f64 / N as f64;
        (1.0 - switch(t)[0]) * (begin + t * (end - begin)).powi(2 - power)
    };
    let inner: f64 = (1..N).map(|k| if k % 2 == 1 { 4.0 * value(k) } else { 2.0 * value(k) }).sum();
    (value(0) + inner + value(N)) * (end - begin) / (3.0 * N as f64)
}
