//! Averages in an ensemble other than the one that was sampled (Zwanzig 1954; Ferrenberg and Swendsen 1988).
//!
//! Samples of exp(−β₁ (U₁ + V)) stand for exp(−β₂ U₂) with the weights ln w = β₁ (U₁ + V) − β₂ U₂. How many samples
//! are left is Kish's (Σw)²/Σw²; a few that have most of the weight mean that the ensembles hardly overlap, and no
//! error computed from the samples can be trusted then. Errors are those of block bootstraps with blocks from the
//! correlation of w (A − ⟨A⟩), the series whose mean is the error of the average.
//!
//! Samples of several ensembles, replicas at several temperatures for example, have the weights of MBAR
//! (Shirts and Chodera 2008), w = exp(−u) / Σ_k N_k exp(f_k − u_k), and every resample is solved again.

use rayon::prelude::*;

use super::alchemical::{Severity, Verdict};
use super::bootstrap::deviation;
use super::mbar::{Mbar, MbarSettings};
use super::weights::log_sum_exp;
use super::{Estimate, ReducedEnergies, Strata};
use crate::error::{Error, Result};
use crate::random::{Purpose, Streams};
use crate::trajectory::statistical_inefficiency;
use crate::units::Temperature;

/// Effective samples below which averages are not to be trusted.
const FEW: f64 = 50.0;
/// Share of effective samples below which ensembles hardly overlap.
const SMALL_SHARE: f64 = 0.01;
/// Weight that a single sample should not have.
const DOMINANT: f64 = 0.1;

/// ln w of samples from one temperature at another; energies in kJ/mol.
pub fn to_temperature(energies_kj: &[f64], from: Temperature, to: Temperature) -> Vec<f64> {
    let difference = 1.0 / from.kt_kj_per_mol() - 1.0 / to.kt_kj_per_mol();
    energies_kj.iter().map(|u| difference * u).collect()
}

/// ln w of samples of one potential at one temperature under another, at the same or another temperature.
pub fn to_potential(from_kj: &[f64], to_kj: &[f64], from: Temperature, to: Temperature) -> Vec<f64> {
    let (beta_from, beta_to) = (1.0 / from.kt_kj_per_mol(), 1.0 / to.kt_kj_per_mol());
    from_kj.iter().zip(to_kj).map(|(u, v)| beta_from * u - beta_to * v).collect()
}

/// ln w of samples of a simulation with a bias without it; the bias in kJ/mol.
pub fn to_unbiased(bias_kj: &[f64], temperature: Temperature) -> Vec<f64> {
    bias_kj.iter().map(|v| v / temperature.kt_kj_per_mol()).collect()
}

/// Samples with weights.
#[derive(Debug, Clone)]
pub struct Reweighted {
    /// ln w, normalised: Σ w = 1.
    log_weights: Vec<f64>,
    /// The mean of the unnormalised weights, −ln of it: the free energy of the target minus that of the source, kT.
    free_energy_kt: f64,
    /// Samples of each simulation, one after the other.
    lengths: Vec<usize>,
    /// Of samples of several ensembles.
    mixture: Option<Mixture>,
}

/// Samples of several ensembles.
#[derive(Debug, Clone)]
struct Mixture {
    /// In each of the ensembles, and in the last row in the target.
    energies: ReducedEnergies,
    /// f of each, the last of them the target.
    free_energies_kt: Vec<f64>,
    /// The state whose f is that of the target: the ensemble with the same energies, where there is one. The f of both differ
    /// by what the solver leaves, which is no free energy and has a sign.
    target: usize,
    /// Which ensembles share no samples, if there are such.
    disconnection: Option<String>,
}

/// A weighted average.
#[derive(Debug, Clone, PartialEq)]
pub struct Average {
    /// With the weights.
    pub reweighted: Estimate,
    /// Of the samples as they are.
    pub plain: Estimate,
}

impl Reweighted {
    /// Takes unnormalised ln w of simulations of given lengths.
    ///
    /// −∞ is a sample that the target forbids; NaN and +∞ are errors that name the sample.
    pub fn new(log_weights: Vec<f64>, lengths: &[usize]) -> Result<Self> {
        if lengths.iter().sum::<usize>() != log_weights.len() || log_weights.is_empty() {
            return Err(Error::invalid(
                "weights of samples",
                format!("one for each of {} samples, and at least one", lengths.iter().sum::<usize>()),
                log_weights.len().to_string(),
            ));
        }
        if let Some(n) = log_weights.iter().position(|w| w.is_nan() || *w == f64::INFINITY) {
            let found = format!("{} of sample {n}", log_weights[n]);
            return Err(Error::invalid("logarithms of weights", "finite numbers or −inf", found));
        }
        let sum = log_sum_exp(&log_weights);
        if sum == f64::NEG_INFINITY {
            return Err(Error::invalid("weights of samples", "one above zero", "none"));
        }
        let free_energy_kt = (log_weights.len() as f64).ln() - sum;
        let log_weights = log_weights.into_iter().map(|w| w - sum).collect();
        Ok(Self { log_weights, free_energy_kt, lengths: lengths.to_vec(), mixture: None })
    }

    /// Takes samples of several ensembles by their reduced energies in each of these and, in the last row, in the
    /// target, which has no samples. The free energy is that of the target relative to the first ensemble.
    pub fn from_ensembles(energies: ReducedEnergies, lengths: &[usize]) -> Result<Self> {
        let target = energies.n_states() - 1;
        if energies.n_k()[target] > 0 || energies.n_k()[..target].iter().all(|n| *n == 0) {
            let expected = "samples of the ensembles, and none in the last row";
            return Err(Error::invalid("energies in ensembles", expected, format!("{:?}", energies.n_k())));
        }
        let mbar = Mbar::new(&energies)?;
        let mut of_samples = Self::new(mbar.log_weights(target), lengths)?;
        let free_energies_kt = mbar.free_energies_kt().to_vec();
        let same = (0..target).find(|&state| energies.row(state) == energies.row(target));
        let target = same.unwrap_or(target);
        of_samples.free_energy_kt = free_energies_kt[target];
        let disconnection = mbar.disconnection();
        of_samples.mixture = Some(Mixture { energies, free_energies_kt, target, disconnection });
        Ok(of_samples)
    }

    /// ln w with Σ w = 1.
    pub fn log_weights(&self) -> &[f64] {
        &self.log_weights
    }

    /// w with Σ w = 1.
    pub fn weights(&self) -> Vec<f64> {
        self.log_weights.iter().map(|w| w.exp()).collect()
    }

    /// Kish's effective sample size.
    pub fn n_effective(&self) -> f64 {
        1.0 / self.log_weights.iter().map(|w| (2.0 * w).exp()).sum::<f64>()
    }

    /// The same as a share of the samples.
    pub fn efficiency(&self) -> f64 {
        self.n_effective() / self.log_weights.len() as f64
    }

    /// The sample with the largest weight, and that weight.
    pub fn largest(&self) -> (usize, f64) {
        let largest = self.log_weights.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        largest.map_or((0, f64::NAN), |(n, w)| (n, w.exp()))
    }

    /// −ln ⟨w⟩, the free energy of the target relative to the source in kT, with its error.
    pub fn free_energy(&self, n_resamples: usize, streams: &Streams) -> Result<Estimate> {
        let strata = self.strata(&self.weights())?;
        let solution = self.solution()?;
        let replicates = replicates(&strata, n_resamples, streams, |count| {
            self.resample(solution.as_ref(), count).map(|resample| resample.free_energy_kt)
        })?;
        let error = if self.is_uniform() { 0.0 } else { deviation(replicates.iter().copied()) };
        Ok(Estimate::new(self.free_energy_kt, error, self.n_effective(), "kT", strata.method(n_resamples)))
    }

    /// The average of an observable, which must be finite wherever the weight is not zero.
    ///
    /// The error is that of the mean in the root mean square over repetitions. Of skewed observables it is small where
    /// the mean is small by chance, so that intervals of ±1.96 errors contain the truth less often than 95 %: 91 % for
    /// energies of one oscillator in 2,000 correlated samples.
    pub fn average(
        &self,
        observable: &[f64],
        unit: &str,
        n_resamples: usize,
        streams: &Streams,
    ) -> Result<Average> {
        let weights = self.weights();
        if observable.len() != weights.len() {
            return Err(Error::invalid(
                "observable",
                format!("{} numbers", weights.len()),
                observable.len().to_string(),
            ));
        }
        if let Some(n) = observable.iter().position(|value| !value.is_finite()) {
            let found = format!("{} of sample {n}", observable[n]);
            return Err(Error::invalid("observable", "finite numbers", found));
        }
        let of = |weights: &[f64], resampled: &Resampled| -> Result<Estimate> {
            let mean = weights.iter().zip(observable).map(|(w, a)| w * a).sum::<f64>();
            let series: Vec<f64> = weights.iter().zip(observable).map(|(w, a)| w * (a - mean)).collect();
            // The observable itself may be slower than its product with noisy weights.
            let by_series = self.inefficiencies(&series);
            let g: Vec<f64> =
                self.inefficiencies(observable).iter().zip(&by_series).map(|(a, b)| a.max(*b)).collect();
            let strata = Strata::new(&self.lengths, &g)?;
            let replicates = replicates(&strata, n_resamples, streams, |count| {
                let weights = resampled(count)?;
                let (sum, total) = sums(weights.iter().zip(observable).map(|(w, a)| (w * a, *w)));
                Ok(sum / total)
            })?;
            let squares: f64 = weights.iter().map(|w| w * w).sum();
            let slowest = by_series.iter().copied().fold(1.0, f64::max);
            let error = deviation(replicates.iter().copied());
            Ok(Estimate::new(mean, error, 1.0 / squares / slowest, unit, strata.method(n_resamples)))
        };
        let uniform = vec![1.0 / weights.len() as f64; weights.len()];
        let solution = self.solution()?;
        let reweighted = of(&weights, &|count| Ok(self.resample(solution.as_ref(), count)?.weights))?;
        Ok(Average { reweighted, plain: of(&uniform, &Ok)? })
    }

    /// What must be known before the weights are used.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let (n_effective, share) = (self.n_effective(), self.efficiency());
        let n = self.log_weights.len();
        let (frame, largest) = self.largest();
        let mut verdicts = Vec::new();
        if n_effective < FEW || share < SMALL_SHARE {
            let severity =
                if n_effective < FEW && share < 0.5 { Severity::Untrustworthy } else { Severity::Warning };
            let advice = match share {
                share if share < 0.5 => {
                    "the ensembles hardly overlap: sample one between them, or the target itself"
                }
                _ => "there are too few samples",
            };
            let message =
                format!("{n} samples are worth {n_effective:.1} ({:.2} %): {advice}", 100.0 * share);
            verdicts.push(Verdict::new(severity, "low_effective_sample_size", message));
        }
        if largest > DOMINANT && n > 20 {
            let severity = if largest > 0.5 { Severity::Untrustworthy } else { Severity::Warning };
            let message = format!(
                "sample {frame} alone has {:.0} % of the weight: averages are mostly its value, and their errors, \
                 which come from the other samples, are too small",
                100.0 * largest
            );
            verdicts.push(Verdict::new(severity, "dominant_sample", message));
        }
        if let Some(sentence) = self.mixture.as_ref().and_then(|mixture| mixture.disconnection.clone()) {
            verdicts.push(Verdict::new(Severity::Untrustworthy, "disconnected_states", sentence));
        }
        verdicts
    }

    /// MBAR of all samples, from which resamples start; none for samples of one ensemble.
    fn solution(&self) -> Result<Option<Mbar<'_>>> {
        let Some(Mixture { energies, free_energies_kt, .. }) = &self.mixture else { return Ok(None) };
        let start_kt = Some(free_energies_kt.clone());
        Mbar::with_settings(energies, &MbarSettings { start_kt, ..MbarSettings::default() }).map(Some)
    }

    /// What samples that count so often weigh.
    fn resample(&self, solution: Option<&Mbar<'_>>, count: Vec<f64>) -> Result<Resample> {
        if let (Some(mbar), Some(mixture)) = (solution, &self.mixture) {
            let resampled = mbar.resampled(count)?;
            let free_energy_kt = resampled.free_energies_kt()[mixture.target];
            return Ok(Resample {
                weights: resampled.weights(mixture.energies.n_states() - 1),
                free_energy_kt,
            });
        }
        let weights: Vec<f64> = count.iter().zip(&self.log_weights).map(|(c, w)| c * w.exp()).collect();
        let (sum, counted) = sums(weights.iter().copied().zip(count));
        let per_sample = sum / counted * self.log_weights.len() as f64;
        Ok(Resample { weights, free_energy_kt: self.free_energy_kt - per_sample.ln() })
    }

    fn is_uniform(&self) -> bool {
        self.log_weights.iter().all(|w| *w == self.log_weights[0])
    }

    fn inefficiencies(&self, series: &[f64]) -> Vec<f64> {
        let mut rest = series;
        let mut of = |n: &usize| {
            let (own, after) = rest.split_at(*n);
            rest = after;
            statistical_inefficiency(own)
        };
        self.lengths.iter().map(&mut of).collect()
    }

    fn strata(&self, series: &[f64]) -> Result<Strata> {
        Strata::new(&self.lengths, &self.inefficiencies(series))
    }
}

/// Weights from how often each sample counts, both up to a factor.
type Resampled<'a> = dyn Fn(Vec<f64>) -> Result<Vec<f64>> + Sync + 'a;

/// What a resample of the samples gave.
struct Resample {
    /// Of every sample, as often as it counts; up to a factor.
    weights: Vec<f64>,
    /// Of the target, kT.
    free_energy_kt: f64,
}

/// One number of each resample, from how often each sample counts in it.
fn replicates(
    strata: &Strata,
    n_resamples: usize,
    streams: &Streams,
    of: impl Fn(Vec<f64>) -> Result<f64> + Sync,
) -> Result<Vec<f64>> {
    (0..n_resamples as u64)
        .into_par_iter()
        .map(|index| of(strata.draw(&mut streams.stream(Purpose::Bootstrap, index))))
        .collect()
}

fn sums(pairs: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    pairs.fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::fill_normal;

    const KELVIN_300: f64 = 300.0;

    fn temperature(kelvin: f64) -> Temperature {
        Temperature::from_kelvin(kelvin).unwrap()
    }

    /// Energies of three harmonic oscillators at a temperature: mean 3/2 kT, kJ/mol.
    fn oscillators(n: usize, kelvin: f64, stream: u64) -> Vec<f64> {
        let mut x = vec![0.0; 3 * n];
        fill_normal(&mut Streams::new(4).stream(Purpose::Walker, stream), &mut x);
        let kt = temperature(kelvin).kt_kj_per_mol();
        x.chunks_exact(3).map(|x| 0.5 * kt * x.iter().map(|x| x * x).sum::<f64>()).collect()
    }

    #[test]
    fn energies_of_oscillators_follow_the_temperature() {
        // ⟨U⟩ = 3/2 kT, and F/kT of a partition function (kT)^(3/2) differs by −3/2 ln(T₂/T₁).
        let u = oscillators(20_000, KELVIN_300, 0);
        for kelvin in [280.0, 300.0, 330.0, 360.0] {
            let weights = to_temperature(&u, temperature(KELVIN_300), temperature(kelvin));
            let reweighted = Reweighted::new(weights, &[12_000, 8_000]).unwrap();
            let average = reweighted.average(&u, "kJ/mol", 200, &Streams::new(0)).unwrap();
            let exact = 1.5 * temperature(kelvin).kt_kj_per_mol();
            let sigma = (average.reweighted.value - exact) / average.reweighted.std_error;
            assert!(sigma.abs() < 4.0, "{kelvin}: {} instead of {exact}", average.reweighted);
            assert!((average.plain.value - 1.5 * temperature(300.0).kt_kj_per_mol()).abs() < 0.1);
            let free_energy = reweighted.free_energy(200, &Streams::new(0)).unwrap();
            let difference = free_energy.value + 1.5 * (kelvin / 300.0).ln();
            assert!(difference.abs() <= 4.0 * free_energy.std_error + 1e-12, "{kelvin}: {difference}");
            assert!(reweighted.verdicts().is_empty());
        }
    }

    /// Reduced energies of oscillators that were simulated at several temperatures, and at a target.
    fn of_replicas(n: usize, kelvins: &[f64], target: f64, stream: u64) -> (Vec<f64>, ReducedEnergies) {
        let parts = kelvins.iter().zip(0..).map(|(kelvin, k)| oscillators(n, *kelvin, 16 * stream + k));
        let u: Vec<f64> = parts.flatten().collect();
        let rows = kelvins.iter().chain([&target]);
        let u_kn = rows.flat_map(|kelvin| {
            let kt = temperature(*kelvin).kt_kj_per_mol();
            u.iter().map(move |u| u / kt)
        });
        let state_of = (0..kelvins.len()).flat_map(|k| vec![k; n]).collect();
        let energies = ReducedEnergies::new(kelvins.len() + 1, u_kn.collect(), state_of).unwrap();
        (u, energies)
    }

    #[test]
    fn samples_of_several_temperatures_make_one_ensemble() {
        for target in [300.0, 330.0, 450.0] {
            let (u, energies) = of_replicas(4_000, &[300.0, 400.0, 550.0], target, 7);
            let reweighted = Reweighted::from_ensembles(energies, &[4_000; 3]).unwrap();
            assert!(reweighted.verdicts().is_empty());
            let average = reweighted.average(&u, "kJ/mol", 100, &Streams::new(0)).unwrap().reweighted;
            let exact = 1.5 * temperature(target).kt_kj_per_mol();
            assert!((average.value - exact).abs() < 4.0 * average.std_error, "{target}: {average}, {exact}");
            let free_energy = reweighted.free_energy(100, &Streams::new(0)).unwrap();
            let difference = free_energy.value + 1.5 * (target / 300.0).ln();
            assert!(difference.abs() <= 4.0 * free_energy.std_error + 1e-9, "{target}: {free_energy}");
            // More than the share of the one temperature alone.
            assert!(reweighted.n_effective() > 5_000.0, "{}", reweighted.n_effective());
        }
    }

    #[test]
    fn a_temperature_that_was_sampled_has_the_free_energy_of_its_samples() {
        for (target, state) in [(300.0, 0), (400.0, 1)] {
            let (_, energies) = of_replicas(400, &[300.0, 400.0], target, 5);
            let reweighted = Reweighted::from_ensembles(energies, &[400; 2]).unwrap();
            let mixture = reweighted.mixture.as_ref().unwrap();
            assert_eq!(mixture.target, state);
            let free_energy = reweighted.free_energy(20, &Streams::new(0)).unwrap();
            assert_eq!(free_energy.value, mixture.free_energies_kt[state]);
            // Relative to itself it is 0 in every resample: what the solver leaves is no error of a free energy.
            if state == 0 {
                assert_eq!(free_energy.to_string(), "0.000000 ± 0.000000 kT");
            }
        }
    }

    #[test]
    fn errors_of_several_temperatures_are_those_of_repetitions() {
        let results: Vec<[Estimate; 2]> = (0..120)
            .map(|stream| {
                let (u, energies) = of_replicas(300, &[300.0, 420.0, 600.0], 500.0, 10 + stream);
                let reweighted = Reweighted::from_ensembles(energies, &[300; 3]).unwrap();
                let average = reweighted.average(&u, "kJ/mol", 60, &Streams::new(1)).unwrap().reweighted;
                [average, reweighted.free_energy(60, &Streams::new(1)).unwrap()]
            })
            .collect();
        let exact = [1.5 * temperature(500.0).kt_kj_per_mol(), -1.5 * (500.0_f64 / 300.0).ln()];
        for (k, exact) in exact.into_iter().enumerate() {
            let n = results.len() as f64;
            let square = results.iter().map(|own| (own[k].value - exact).powi(2)).sum::<f64>() / n;
            let claimed = results.iter().map(|own| own[k].std_error.powi(2)).sum::<f64>() / n;
            // 120 squares scatter by 13 %.
            assert!((square / claimed - 1.0).abs() < 0.4, "{k}: {square} instead of {claimed}");
        }
    }

    #[test]
    fn temperatures_without_overlap_are_not_trusted() {
        // Energies a hundred times as large: 300 K and 600 K have no sample in common.
        let (u, _) = of_replicas(500, &[300.0, 600.0], 450.0, 3);
        let u_kn: Vec<f64> = [300.0, 600.0, 450.0]
            .into_iter()
            .flat_map(|kelvin| {
                let kt = temperature(kelvin).kt_kj_per_mol();
                u.iter().enumerate().map(move |(n, u)| (u + if n < 500 { 0.0 } else { 2e4 }) / kt)
            })
            .collect();
        let state_of = (0..1000).map(|n| n / 500).collect();
        let energies = ReducedEnergies::new(3, u_kn, state_of).unwrap();
        let reweighted = Reweighted::from_ensembles(energies, &[500, 500]).unwrap();
        let kinds: Vec<String> = reweighted.verdicts().into_iter().map(|verdict| verdict.kind).collect();
        assert!(kinds.contains(&"disconnected_states".to_string()), "{kinds:?}");
    }

    #[test]
    fn a_bias_is_removed_with_the_right_sign() {
        // Samples of ½ x² + V with V = ½ x²: variance ½, and 1 without the bias. exp(−V) would give ⅓.
        let kt = temperature(KELVIN_300).kt_kj_per_mol();
        let mut x = vec![0.0; 40_000];
        fill_normal(&mut Streams::new(9).stream(Purpose::Walker, 0), &mut x);
        x.iter_mut().for_each(|x| *x *= 0.5_f64.sqrt());
        let bias: Vec<f64> = x.iter().map(|x| 0.5 * kt * x * x).collect();
        let square: Vec<f64> = x.iter().map(|x| x * x).collect();
        let weights = to_unbiased(&bias, temperature(KELVIN_300));
        let variance =
            Reweighted::new(weights, &[40_000]).unwrap().average(&square, "1", 200, &Streams::new(0));
        let variance = variance.unwrap().reweighted;
        assert!(
            (variance.value - 1.0).abs() < 4.0 * variance.std_error && variance.std_error < 0.05,
            "{variance}"
        );
        // To another potential: from 2 × ½ x² to ½ x² is the same thing.
        let (from, to) = (bias.iter().map(|v| 2.0 * v).collect::<Vec<_>>(), bias.clone());
        let weights = to_potential(&from, &to, temperature(KELVIN_300), temperature(KELVIN_300));
        let other = Reweighted::new(weights, &[40_000]).unwrap().average(&square, "1", 0, &Streams::new(0));
        assert!((other.unwrap().reweighted.value - variance.value).abs() < 1e-9);
    }

    #[test]
    fn weights_that_rest_on_few_samples_are_not_trusted() {
        let u = oscillators(5_000, KELVIN_300, 1);
        let shifted: Vec<f64> = u.iter().map(|u| u * 100.0).collect();
        let of = |kelvin: f64| {
            let weights = to_temperature(&shifted, temperature(KELVIN_300), temperature(kelvin));
            Reweighted::new(weights, &[5_000]).unwrap()
        };
        let far = of(500.0);
        assert!(far.n_effective() < 5.0);
        let kinds: Vec<String> = far.verdicts().iter().map(|verdict| verdict.kind.clone()).collect();
        assert!(
            kinds.contains(&"low_effective_sample_size".into()) && kinds.contains(&"dominant_sample".into())
        );
        assert!(far.verdicts().iter().any(|verdict| verdict.severity == Severity::Untrustworthy));
        // Offsets as large as those of a box of water do no harm.
        let offset: Vec<f64> = u.iter().map(|u| u - 1e9).collect();
        let weights = to_temperature(&offset, temperature(300.0), temperature(310.0));
        let near = to_temperature(&u, temperature(300.0), temperature(310.0));
        let ess = |w: Vec<f64>| Reweighted::new(w, &[5_000]).unwrap().n_effective();
        assert!((ess(weights) / ess(near) - 1.0).abs() < 1e-4);
    }

    #[test]
    fn weights_without_sense_are_refused() {
        assert!(Reweighted::new(vec![0.0, f64::NAN], &[2]).unwrap_err().to_string().contains("sample 1"));
        assert!(Reweighted::new(vec![f64::NEG_INFINITY; 2], &[2]).is_err());
        assert!(Reweighted::new(vec![0.0; 3], &[2]).is_err() && Reweighted::new(vec![], &[]).is_err());
        let one = Reweighted::new(vec![0.0, f64::NEG_INFINITY], &[2]).unwrap();
        assert_eq!((one.weights(), one.n_effective()), (vec![1.0, 0.0], 1.0));
        assert!(one.average(&[1.0, f64::NAN], "1", 10, &Streams::new(0)).is_err());
    }
}
