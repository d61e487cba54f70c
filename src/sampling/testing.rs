//! Systems and comparisons that the tests of several samplers share.

use crate::potential::analytic::{DiffusedMixture, GaussianMixture, Variances};
use crate::potential::{Noise, PotentialPath as _, Space};
use crate::random::{Purpose, Streams};

/// Two unequal modes of three centred particles, with a deliberate offset of the energies along the path.
pub fn centred_mixture() -> DiffusedMixture {
    let space = Space::Centered { n_particles: 3 };
    let mean = [1.2, 0.3, -0.5, -0.9, 0.4, 0.1, -0.3, -0.7, 0.4];
    let means = mean.iter().copied().chain(mean.iter().map(|m| -0.8 * m)).collect();
    let mixture =
        GaussianMixture::new(space, &[0.7, 0.3], means, Variances::Isotropic(vec![0.12, 0.05])).unwrap();
    DiffusedMixture { mixture, noise: Noise::default(), offset_rate_kt: 3.0 }
}

/// Exact samples of p_t.
pub fn sample_many(path: &DiffusedMixture, t: f64, n: usize, seed: u64) -> Vec<f64> {
    let d = path.space().dimension();
    let mut x = vec![0.0; n * d];
    for (idx, x) in x.chunks_exact_mut(d).enumerate() {
        path.sample(t, &mut Streams::new(seed).stream(Purpose::Start, idx as u64), x);
    }
    x
}

/// Compares mean energy, mean square radius and the share of the first mode of independent walkers
/// with those of exact samples, each within 4 standard errors of the difference; the mean energy may have
/// this bias besides.
pub fn moments_agree(path: &DiffusedMixture, t: f64, x: &[f64], energy_bias_kt: f64) -> Result<(), String> {
    let d = path.space().dimension();
    let exact = sample_many(path, t, 40_000, 77);
    type Observable<'a> = (&'a str, Box<dyn Fn(&[f64]) -> f64 + 'a>);
    let observables: [Observable; 4] = [
        ("mode", Box::new(|x| path.mixture.assign(x) as f64)),
        ("square", Box::new(|x| x.iter().map(|x| x * x).sum())),
        ("first coordinate", Box::new(|x| x[0])),
        (
            "energy",
            Box::new(|x| {
                let mut u = [0.0];
                path.energies(&[t], x, &mut u).unwrap();
                u[0]
            }),
        ),
    ];
    for (name, observable) in observables {
        let (mean, error) = mean_and_error(x.chunks_exact(d).map(&observable));
        let (reference, reference_error) = mean_and_error(exact.chunks_exact(d).map(&observable));
        let std_error = error.hypot(reference_error);
        let bias = if name == "energy" { energy_bias_kt } else { 0.0 };
        if (mean - reference).abs() > 4.0 * std_error + bias {
            return Err(format!("{name}: {mean} instead of {reference} ± {std_error}"));
        }
    }
    Ok(())
}

/// Mean of independent values and its standard error.
pub fn mean_and_error(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let values: Vec<f64> = values.collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// Runs with this many threads.
pub fn with_threads<T: Send>(n: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(work)
}
