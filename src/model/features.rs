//! Invariant features of beads: squared distances, signed volumes, smooth dihedrals.
//!
//! All are invariant to rotation and translation. Squared distances are even under reflection; signed
//! volumes T = (x_j − x_i) × (x_k − x_i) · (x_l − x_i) and the sine-like dihedral feature are odd, so
//! that mirror images have different energies. The first two are polynomials and the third is kept
//! smooth by a constant e(t) that grows with the noise: with b₁, b₂, b₃ the bonds, n₁ = b₁ × b₂,
//! n₂ = b₂ × b₃, C = n₁·n₂ and S = |b₂| b₁·n₂, the features are C/√(C² + S² + e) and S/√(C² + S² + e).
//!
//! At each noise level a feature has a mean μ and a deviation s, with which it is whitened. For squared
//! distances these are exact: μ = a² E D₀ + 6 g², s² = a⁴ Var D₀ + 8 a² g² E D₀ + 24 g⁴. The others are
//! measured (between two ensembles, distances as well) on data noised with the same random vectors at every level, so that μ and s are smooth in t.

use rayon::prelude::*;

use super::data::{DataPoints, GROUP, TrainingData};
use super::program::{Program, Unary, Value};
use crate::potential::{Noise, Space};
use crate::random::{Purpose, Streams};

/// |b₂| is computed as b₂²/√(b₂² + ε), which is smooth where beads meet.
const EPSILON: f64 = 1e-6;

/// Numbers that describe a conformation that is spread by so much, the same whichever way it is turned.
pub trait Features: Sync {
    /// How many.
    fn len(&self) -> usize;

    /// True for a single particle.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Particles.
    fn n_particles(&self) -> usize;

    /// How many of them, the first ones, are squared distances, whose moments are known exactly.
    fn n_squared_distances(&self) -> usize {
        0
    }

    /// The features of one conformation, in f64.
    fn evaluate(&self, x: &[f64], spread: f64, out: &mut [f64]);
}

/// How far x_t is spread about the conformation that it came from: g, and between two ensembles also half of
/// what the other one adds, so that features stay smooth where two conformations nearly cancel.
pub fn spread(noise: &Noise, t: f64) -> f64 {
    (noise.deviation(t).powi(2) + 0.25 * (noise.scale(t) * noise.partner_scale(t)).powi(2)).sqrt()
}

/// Which features a network sees.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureSet {
    /// Beads.
    pub n_beads: usize,
    /// Squared distances.
    pub pairs: Vec<[usize; 2]>,
    /// Signed volumes.
    pub volumes: Vec<[usize; 4]>,
    /// Smooth dihedrals, two features each.
    pub dihedrals: Vec<[usize; 4]>,
}

impl FeatureSet {
    /// All pairs; all quadruples while there are at most 35 (7 beads), beyond that those of neighbouring
    /// beads along the chain; and the given dihedrals.
    pub fn new(n_beads: usize, dihedrals: Vec<[usize; 4]>) -> Self {
        let pairs = (0..n_beads).flat_map(|i| (i + 1..n_beads).map(move |j| [i, j])).collect();
        let span = if n_beads <= 7 { n_beads } else { 5 };
        let mut volumes = vec![];
        for i in 0..n_beads {
            for j in i + 1..n_beads.min(i + span) {
                for k in j + 1..n_beads.min(i + span) {
                    for l in k + 1..n_beads.min(i + span) {
                        volumes.push([i, j, k, l]);
                    }
                }
            }
        }
        for dihedral in &dihedrals {
            let mut sorted = *dihedral;
            sorted.sort_unstable();
            if !volumes.contains(&sorted) {
                volumes.push(sorted);
            }
        }
        Self { n_beads, pairs, volumes, dihedrals }
    }

    /// The smoothing constant e(t) of dihedral features.
    pub fn smoothing(deviation: f64) -> f64 {
        0.02 + 0.5 * deviation * deviation
    }

    /// The features as part of a program: rows are features, one item. `smoothing` is a time row.
    pub fn program(&self, program: &mut Program, x: Value, smoothing: Value) -> Value {
        let column = |index: &dyn Fn(usize) -> usize, n: usize| (0..n).map(index).collect::<Vec<usize>>();
        let difference = |program: &mut Program, from: Vec<usize>, to: Vec<usize>| {
            let pairs: Vec<[usize; 2]> = to.into_iter().zip(from).map(|(to, from)| [to, from]).collect();
            program.gather_pairs(x, pairs, -1.0)
        };
        let mut parts = vec![];

        let n = self.pairs.len();
        let r = difference(program, column(&|p| self.pairs[p][0], n), column(&|p| self.pairs[p][1], n));
        let squared = program.dot(r, r);
        parts.push(program.reshape(squared, n, 1));

        let n = self.volumes.len();
        if n > 0 {
            let base = || column(&|q| self.volumes[q][0], n);
            let [a, b, c] =
                [1, 2, 3].map(|corner| difference(program, base(), column(&|q| self.volumes[q][corner], n)));
            let normal = program.cross(a, b);
            let volume = program.dot(normal, c);
            parts.push(program.reshape(volume, n, 1));
        }

        let n = self.dihedrals.len();
        if n > 0 {
            let bead = |corner: usize| column(&|q| self.dihedrals[q][corner], n);
            let [b1, b2, b3] = [0, 1, 2].map(|bond| difference(program, bead(bond), bead(bond + 1)));
            let (n1, n2) = (program.cross(b1, b2), program.cross(b2, b3));
            let cosine = program.dot(n1, n2);
            let square = program.dot(b2, b2);
            let shifted = program.shift(square, EPSILON as f32);
            let inverse = program.unary(shifted, Unary::InverseSqrt);
            let length = program.multiply(square, inverse);
            let sine = program.dot(b1, n2);
            let sine = program.multiply(sine, length);
            let (cosine_squared, sine_squared) =
                (program.multiply(cosine, cosine), program.multiply(sine, sine));
            let sum = program.add(cosine_squared, sine_squared);
            let sum = program.add(sum, smoothing);
            let scale = program.unary(sum, Unary::InverseSqrt);
            for circle in [cosine, sine] {
                let smooth = program.multiply(circle, scale);
                parts.push(program.reshape(smooth, n, 1));
            }
        }
        program.concat(parts)
    }
}

impl Features for FeatureSet {
    fn len(&self) -> usize {
        self.pairs.len() + self.volumes.len() + 2 * self.dihedrals.len()
    }

    fn n_particles(&self) -> usize {
        self.n_beads
    }

    fn n_squared_distances(&self) -> usize {
        self.pairs.len()
    }

    fn evaluate(&self, x: &[f64], spread: f64, out: &mut [f64]) {
        let smoothing = Self::smoothing(spread);
        let point = |i: usize| nalgebra::Vector3::new(x[3 * i], x[3 * i + 1], x[3 * i + 2]);
        let mut out = out.iter_mut();
        let mut push = |value: f64| *out.next().expect("room for every feature") = value;
        for &[i, j] in &self.pairs {
            push((point(j) - point(i)).norm_squared());
        }
        for &[i, j, k, l] in &self.volumes {
            let base = point(i);
            push((point(j) - base).cross(&(point(k) - base)).dot(&(point(l) - base)));
        }
        let circle: Vec<(f64, f64)> = self
            .dihedrals
            .iter()
            .map(|&[i, j, k, l]| {
                let (b1, b2, b3) = (point(j) - point(i), point(k) - point(j), point(l) - point(k));
                let (n1, n2) = (b1.cross(&b2), b2.cross(&b3));
                let length = b2.norm_squared() / (b2.norm_squared() + EPSILON).sqrt();
                let (c, s) = (n1.dot(&n2), length * b1.dot(&n2));
                let scale = 1.0 / (c * c + s * s + smoothing).sqrt();
                (c * scale, s * scale)
            })
            .collect();
        circle.iter().for_each(|(c, _)| push(*c));
        circle.iter().for_each(|(_, s)| push(*s));
    }
}

/// Mean and log deviation of every feature as functions of ℓ = log(a²/g²).
#[derive(Debug, Clone)]
pub struct FeatureMoments {
    noise: Noise,
    n_pairs: usize,
    distance_mean: Vec<f64>,
    distance_variance: Vec<f64>,
    first: f64,
    spacing: f64,
    /// `[level][mean, log deviation][feature]`
    levels: Vec<[Vec<f64>; 2]>,
}

impl FeatureMoments {
    /// Levels at which moments are measured.
    const N_LEVELS: usize = 129;
    /// Conformations on which they are measured.
    const N_SAMPLES: usize = 8192;

    /// Measures moments on training data.
    pub fn measure(set: &dyn Features, noise: &Noise, data: &TrainingData, streams: &Streams) -> Self {
        let size = 3 * set.n_particles();
        let (n_frames, n_features) = (data.n_frames(), set.len());
        let space = Space::Centered { n_particles: set.n_particles() };
        // Of two ensembles, the moments of distances depend on both and are measured like the others.
        let n_pairs = if noise.has_two_ends() { 0 } else { set.n_squared_distances() };

        let (mut distance_mean, mut distance_variance) = (vec![0.0; n_pairs], vec![0.0; n_pairs]);
        if n_pairs > 0 {
            let (mut features, mut x) = (vec![0.0; n_features], vec![0.0; size]);
            for (frame_idx, frame) in data.first.frames.chunks_exact(size).enumerate() {
                x.iter_mut().zip(frame).for_each(|(x, &x0)| *x = x0.into());
                set.evaluate(&x, 0.0, &mut features);
                for (pair, &value) in features[..n_pairs].iter().enumerate() {
                    // Welford: one pass without cancellation.
                    let step = value - distance_mean[pair];
                    distance_mean[pair] += step / (frame_idx + 1) as f64;
                    distance_variance[pair] += step * (value - distance_mean[pair]);
                }
            }
            distance_variance.iter_mut().for_each(|v| *v /= n_frames as f64);
        }

        // Many features are whitened with fewer samples, in the same time.
        let most = if n_features > 256 { Self::N_SAMPLES / 4 } else { Self::N_SAMPLES };
        let n_samples = most.min(4 * n_frames);
        let noise_vectors: Vec<f64> = (0..n_samples)
            .flat_map(|sample| {
                let mut z = vec![0.0; size];
                space.fill_normal(&mut streams.stream(Purpose::Whitening, sample as u64), &mut z);
                z
            })
            .collect();
        let (first_ends, second_ends) = Self::ends(data, n_samples, streams);
        let (t_first, t_last) = noise.time_range();
        let (first, last) = (noise.log_snr(t_last), noise.log_snr(t_first));
        let spacing = (last - first) / (Self::N_LEVELS - 1) as f64;
        let levels = (0..Self::N_LEVELS)
            .into_par_iter()
            .map(|level| {
                let t = noise.time_at_log_snr(first + level as f64 * spacing);
                let (a, b, g) = (noise.scale(t), noise.partner_scale(t), noise.deviation(t));
                let spread = spread(noise, t);
                let (mut mean, mut squares) = (vec![0.0; n_features], vec![0.0; n_features]);
                let (mut x, mut features) = (vec![0.0; size], vec![0.0; n_features]);
                for (sample, z) in noise_vectors.chunks_exact(size).enumerate() {
                    let x0 = &first_ends[sample * size..][..size];
                    x.iter_mut().zip(x0).zip(z).for_each(|((x, x0), z)| *x = a * x0 + g * z);
                    if let Some(x1) = second_ends.get(sample * size..(sample + 1) * size) {
                        x.iter_mut().zip(x1).for_each(|(x, x1)| *x += b * x1);
                    }
                    set.evaluate(&x, spread, &mut features);
                    for (k, &value) in features.iter().enumerate() {
                        let step = value - mean[k];
                        mean[k] += step / (sample + 1) as f64;
                        squares[k] += step * (value - mean[k]);
                    }
                }
                // A feature that does not vary at all keeps a finite scale.
                let log_deviation =
                    squares.iter().map(|s| 0.5 * (s / n_samples as f64).max(1e-12).ln()).collect();
                [mean, log_deviation]
            })
            .collect();
        Self { noise: *noise, n_pairs, distance_mean, distance_variance, first, spacing, levels }
    }

    /// x₀, evenly spread over the data, and their partners, where there are two ensembles.
    fn ends(data: &TrainingData, n_samples: usize, streams: &Streams) -> (Vec<f64>, Vec<f64>) {
        let mut rng = streams.stream(Purpose::Whitening, u64::MAX);
        let (mut first, mut second, mut points) = (vec![], vec![], DataPoints::default());
        let chosen: Vec<usize> = (0..n_samples).map(|sample| sample * data.n_frames() / n_samples).collect();
        for group in chosen.chunks(GROUP) {
            data.collect(group, &mut rng, &mut points);
            first.append(&mut points.first);
            second.append(&mut points.second);
        }
        (first, second)
    }

    /// Means and inverse deviations at ℓ.
    pub fn fill(&self, log_snr: f64, mean: &mut [f64], inverse_deviation: &mut [f64]) {
        let t = self.noise.time_at_log_snr(log_snr);
        let (a2, g2) = (self.noise.scale(t).powi(2), self.noise.deviation(t).powi(2));
        for pair in 0..self.n_pairs {
            let (d, v) = (self.distance_mean[pair], self.distance_variance[pair]);
            mean[pair] = a2 * d + 6.0 * g2;
            let variance = a2 * a2 * v + 8.0 * a2 * g2 * d + 24.0 * g2 * g2;
            inverse_deviation[pair] = 1.0 / variance.max(1e-12).sqrt();
        }
        // Catmull–Rom between levels.
        let last = self.levels.len() - 1;
        let position = ((log_snr - self.first) / self.spacing).clamp(0.0, last as f64);
        let k = (position.floor() as usize).min(last - 1);
        let s = position - k as f64;
        let at = |offset: isize| &self.levels[(k as isize + offset).clamp(0, last as isize) as usize];
        let (p0, p1, p2, p3) = (at(-1), at(0), at(1), at(2));
        let spline = |which: usize, feature: usize| {
            let [a, b, c, d] = [p0, p1, p2, p3].map(|level| level[which][feature]);
            b + 0.5 * s * (c - a + s * (2.0 * a - 5.0 * b + 4.0 * c - d + s * (3.0 * (b - c) + d - a)))
        };
        for feature in self.n_pairs..mean.len() {
            mean[feature] = spline(0, feature);
            inverse_deviation[feature] = (-spline(1, feature)).exp();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::chain;

    const N_BEADS: usize = 5;

    /// Mean, variance and kurtosis of each whitened feature on `n` noised conformations.
    fn whitened(
        set: &FeatureSet,
        moments: &FeatureMoments,
        data: &[f64],
        log_snr: f64,
        n: usize,
        streams: &Streams,
    ) -> Vec<[f64; 3]> {
        let (k, size, n_frames) = (set.len(), 3 * N_BEADS, data.len() / (3 * N_BEADS));
        let space = Space::Centered { n_particles: N_BEADS };
        let (mut mean, mut inverse_deviation) = (vec![0.0; k], vec![0.0; k]);
        moments.fill(log_snr, &mut mean, &mut inverse_deviation);
        let t = moments.noise.time_at_log_snr(log_snr);
        let (a, g) = (moments.noise.scale(t), moments.noise.deviation(t));
        let (mut x, mut features, mut powers) = (vec![0.0; size], vec![0.0; k], vec![[0.0; 4]; k]);
        for sample in 0..n {
            space.fill_normal(&mut streams.stream(Purpose::Whitening, sample as u64), &mut x);
            let frame = &data[sample * n_frames / n * size..][..size];
            x.iter_mut().zip(frame).for_each(|(x, x0)| *x = a * x0 + g * *x);
            set.evaluate(&x, g, &mut features);
            for (feature, powers) in powers.iter_mut().enumerate() {
                let z = (features[feature] - mean[feature]) * inverse_deviation[feature];
                [z, z * z, z * z * z, z.powi(4)].iter().zip(powers).for_each(|(z, sum)| *sum += z / n as f64);
            }
        }
        let cumulants = |[m, m2, m3, m4]: [f64; 4]| {
            let variance = m2 - m * m;
            let fourth = m4 - 4.0 * m * m3 + 6.0 * m * m * m2 - 3.0 * m.powi(4);
            [m, variance, fourth / (variance * variance)]
        };
        powers.into_iter().map(cumulants).collect()
    }

    fn measured(noise: Noise) -> (FeatureSet, FeatureMoments, Vec<f64>) {
        let streams = Streams::new(3);
        let data = chain(N_BEADS, FeatureMoments::N_SAMPLES / 4, &streams);
        let set = FeatureSet::new(N_BEADS, vec![[0, 1, 2, 3], [1, 2, 3, 4]]);
        let frames: Vec<f32> = data.iter().map(|&x| x as f32).collect();
        let space = Space::Centered { n_particles: N_BEADS };
        let moments =
            FeatureMoments::measure(&set, &noise, &TrainingData::of_frames(space, &frames), &streams);
        (set, moments, data)
    }

    /// `n` values of log(a²/g²) from one end of time to the other, both included.
    fn levels(noise: &Noise, n: usize) -> impl IndexedParallelIterator<Item = f64> {
        let (first, last) = noise.time_range();
        let (low, high) = (noise.log_snr(last), noise.log_snr(first));
        (0..n).into_par_iter().map(move |level| low + (high - low) * level as f64 / (n - 1) as f64)
    }

    /// On the noise with which they were measured, so that what is left is the interpolation between levels.
    /// In the first and the last interval the spline has no neighbour and takes half of the slope there: with
    /// EDM noise, where volumes grow as g³ to the end, their variance is 3 % off half-way.
    #[test]
    fn whitened_features_have_mean_zero_and_unit_variance_at_every_level() {
        for noise in [Noise::default(), Noise::Edm { sigma_min: 1e-3, sigma_max: 20.0 }] {
            let (set, moments, data) = measured(noise);
            // Twice as many intervals as were measured: every second level lies half-way between two.
            let n_levels = 2 * FeatureMoments::N_LEVELS - 1;
            levels(&noise, n_levels).enumerate().for_each(|(level, log_snr)| {
                let grows_to_the_end = matches!(noise, Noise::Edm { .. }) && level == 1;
                let tolerance = if grows_to_the_end { 0.04 } else { 0.02 };
                let n = FeatureMoments::N_SAMPLES;
                let of_features = whitened(&set, &moments, &data, log_snr, n, &Streams::new(3));
                for (feature, [mean, variance, _]) in
                    of_features.into_iter().enumerate().skip(set.pairs.len())
                {
                    let place = format!("feature {feature}, log SNR {log_snr}: {mean} {variance}");
                    assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < tolerance, "{place}");
                }
            });
        }
    }

    /// On noise of its own: squared distances, whose moments are exact, as closely as the sample tells;
    /// the others besides as closely as the sample that they were measured on.
    #[test]
    fn whitening_holds_on_other_noise() {
        let (set, moments, data) = measured(Noise::default());
        levels(&moments.noise, 9).for_each(|log_snr| {
            let n = 16 * FeatureMoments::N_SAMPLES;
            let of_features = whitened(&set, &moments, &data, log_snr, n, &Streams::new(4));
            for (feature, [mean, variance, kurtosis]) in of_features.into_iter().enumerate() {
                let exact = feature < set.pairs.len();
                let of_table = if exact { 0.0 } else { 1.0 / FeatureMoments::N_SAMPLES as f64 };
                let per_sample = 1.0 / n as f64 + of_table;
                let errors = [per_sample, (kurtosis - 1.0) * per_sample].map(f64::sqrt);
                let place = format!("feature {feature}, log SNR {log_snr}: {mean} {variance} ± {errors:?}");
                assert!(mean.abs() < 4.0 * errors[0], "{place}");
                assert!((variance - 1.0).abs() < 4.0 * errors[1], "{place}");
                assert!(!exact || mean.abs().max((variance - 1.0).abs()) < 0.03, "{place}");
            }
        });
    }
}
