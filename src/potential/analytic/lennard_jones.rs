//! Lennard-Jones clusters held together by a harmonic well around their centroid.
//!
//! u(x) = (ε/τ) Σ_{i<j} [(r_m/r_ij)¹² − 2 (r_m/r_ij)⁶] + ½ k Σ_i |x_i − x̄|², on conformations with their
//! centroid at the origin. This is the convention of Köhler, Klein and Noé (Equivariant flows, ICML 2020)
//! and of the samplers compared since on LJ13 and LJ55, all with ε/τ = r_m = k = 1; their sum over ordered
//! pairs has the factor ε/2τ. The well depth is ε at r_m, so minima are those of the usual 4ε form with
//! σ = r_m/2^{1/6}. Without the well exp(−u) could not be normalised: particles evaporate.
//!
//! Two particles have a normaliser of one, three of three dimensions of quadrature: in Jacobi coordinates
//! ξ₁ = (x₁ − x₂)/√2, ξ₂ = (x₁ + x₂ − 2x₃)/√6, which are orthonormal on the centred space,
//!
//! Z₂ = 4π ∫ ρ² exp(−u) dρ,  Z₃ = 8π² ∫∫∫ ρ₁² ρ₂² exp(−u) dρ₁ dρ₂ d cos θ.

use std::f64::consts::PI;

use serde::Deserialize;

use super::{ExactPotential, fill_energies, fill_gradients};
use crate::error::{Error, Result};
use crate::potential::{ReducedPotential, Space, log_sum_exp};
use crate::registry::Settings;

/// A cluster of at least two particles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LennardJones {
    n_particles: usize,
    depth_kt: f64,
    radius: f64,
    stiffness: f64,
}

impl LennardJones {
    /// `depth_kt` is ε/τ, `radius` r_m, `stiffness` k in kT per square of the length unit (0: no well).
    pub fn new(n_particles: usize, depth_kt: f64, radius: f64, stiffness: f64) -> Result<Self> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        if n_particles < 2
            || !positive(depth_kt)
            || !positive(radius)
            || !(stiffness == 0.0 || positive(stiffness))
        {
            return Err(Error::invalid(
                "Lennard-Jones cluster",
                "at least 2 particles, a positive depth and radius and a stiffness that is not negative",
                format!("{n_particles}, {depth_kt}, {radius}, {stiffness}"),
            ));
        }
        Ok(Self { n_particles, depth_kt, radius, stiffness })
    }

    /// Energy of a pair at squared distance r², and −(1/r) dU/dr.
    ///
    /// Particles at one point have an infinite energy and no direction of force.
    fn pair(&self, square: f64) -> (f64, f64) {
        if square == 0.0 {
            return (f64::INFINITY, 0.0);
        }
        let inverse = self.radius * self.radius / square;
        let sixth = inverse * inverse * inverse;
        // Factored, so that overflow gives +∞ and never ∞ − ∞.
        let energy = self.depth_kt * sixth * (sixth - 2.0);
        (energy, 12.0 * self.depth_kt * sixth * (sixth - 1.0) / square)
    }

    fn energy(&self, x: &[f64]) -> f64 {
        let mut u = self.well(x, None);
        for i in 0..self.n_particles {
            for j in 0..i {
                u += self.pair(square_distance(x, i, j)).0;
            }
        }
        u
    }

    fn energy_and_gradient(&self, x: &[f64], gradient: &mut [f64]) -> f64 {
        let mut u = self.well(x, Some(gradient));
        for i in 0..self.n_particles {
            for j in 0..i {
                let (energy, force) = self.pair(square_distance(x, i, j));
                u += energy;
                for axis in 0..3 {
                    let along = force * (x[3 * i + axis] - x[3 * j + axis]);
                    gradient[3 * i + axis] -= along;
                    gradient[3 * j + axis] += along;
                }
            }
        }
        u
    }

    /// ½ k Σ |x − x̄|²; the centroid is taken from x, so that the energy is invariant to translations.
    fn well(&self, x: &[f64], gradient: Option<&mut [f64]>) -> f64 {
        let mut centroid = [0.0; 3];
        for xyz in x.chunks_exact(3) {
            centroid.iter_mut().zip(xyz).for_each(|(c, x)| *c += x / self.n_particles as f64);
        }
        if let Some(gradient) = gradient {
            for (g, xyz) in gradient.chunks_exact_mut(3).zip(x.chunks_exact(3)) {
                (0..3).for_each(|axis| g[axis] = self.stiffness * (xyz[axis] - centroid[axis]));
            }
        }
        let square = |xyz: &[f64]| (0..3).map(|axis| (xyz[axis] - centroid[axis]).powi(2)).sum::<f64>();
        0.5 * self.stiffness * x.chunks_exact(3).map(square).sum::<f64>()
    }

    /// log Z of two or three particles by quadrature; `None` for more, or without a well.
    pub fn quadrature(&self) -> Option<f64> {
        if self.stiffness == 0.0 {
            return None;
        }
        match self.n_particles {
            2 => Some(self.pair_integral()),
            3 => Some(self.triple_integral()),
            _ => None,
        }
    }

    /// Where exp(−½ k ρ²) has fallen to 1e-16 even at the bottom of the wells.
    fn extent(&self) -> f64 {
        (2.0 * (37.0 + 3.0 * self.depth_kt) / self.stiffness).sqrt() + 2.0 * self.radius
    }

    /// The integrand is even in ρ and vanishes with all derivatives at 0 and beyond the extent, where the
    /// trapezoidal rule converges faster than any power.
    fn pair_integral(&self) -> f64 {
        let n = 20_000;
        let h = self.extent() / f64::from(n);
        let logs: Vec<f64> = (1..=n)
            .map(|i| {
                let rho = f64::from(i) * h;
                2.0 * rho.ln() - self.pair(2.0 * rho * rho).0 - 0.5 * self.stiffness * rho * rho
            })
            .collect();
        log_sum_exp(&logs) + (4.0 * PI * h).ln()
    }

    /// Trapezoidal in ρ₁ and ρ₂, Gauss–Legendre in cos θ, where the integrand is even.
    fn triple_integral(&self) -> f64 {
        let step = 0.02 * self.radius / self.depth_kt.sqrt().max(1.0);
        let n = (self.extent() / step).ceil() as usize;
        // cos θ and −cos θ give the same: half the nodes, twice their weight.
        let nodes: Vec<(f64, f64)> = gauss_legendre(48).into_iter().filter(|node| node.0 > 0.0).collect();
        let mut rows = Vec::with_capacity(n);
        for i in 1..=n {
            let first = i as f64 * step;
            let alone = self.pair(2.0 * first * first).0 + 0.5 * self.stiffness * first * first;
            // Below this distance exp(−u) is zero in double precision.
            if alone > 700.0 {
                continue;
            }
            let mut row = 0.0;
            for j in 1..=n {
                let second = j as f64 * step;
                let well = 0.5 * self.stiffness * second * second;
                // |x₁ − x₃|² and |x₂ − x₃|² are ½ρ₁² + 3/2 ρ₂² ± √3 ρ₁ρ₂ cos θ.
                let (mean, amplitude) =
                    (0.5 * first * first + 1.5 * second * second, 3_f64.sqrt() * first * second);
                let over_angle: f64 = nodes
                    .iter()
                    .map(|&(cosine, weight)| {
                        let (near, far) = (mean - amplitude * cosine, mean + amplitude * cosine);
                        weight * (-alone - well - self.pair(near).0 - self.pair(far).0).exp()
                    })
                    .sum();
                row += second * second * over_angle;
            }
            rows.push((row * first * first).ln());
        }
        log_sum_exp(&rows) + (16.0 * PI * PI * step * step).ln()
    }
}

/// |x_i − x_j|².
fn square_distance(x: &[f64], i: usize, j: usize) -> f64 {
    (0..3).map(|axis| (x[3 * i + axis] - x[3 * j + axis]).powi(2)).sum()
}

/// Nodes and weights on [−1, 1] of the rule that is exact for polynomials of degree 2n − 1.
fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    (0..n)
        .map(|k| {
            // Newton's method from Tricomi's estimate of the k-th root.
            let mut x = (PI * (k as f64 + 0.75) / (n as f64 + 0.5)).cos();
            let mut slope = 1.0;
            for _ in 0..100 {
                let (mut before, mut value) = (1.0, x);
                for degree in 2..=n {
                    let degree = degree as f64;
                    (before, value) =
                        (value, ((2.0 * degree - 1.0) * x * value - (degree - 1.0) * before) / degree);
                }
                slope = n as f64 * (x * value - before) / (x * x - 1.0);
                x -= value / slope;
                if value.abs() < 1e-15 {
                    break;
                }
            }
            (x, 2.0 / ((1.0 - x * x) * slope * slope))
        })
        .collect()
}

impl ReducedPotential for LennardJones {
    fn space(&self) -> Space {
        Space::Centered { n_particles: self.n_particles }
    }

    fn energies(&self, x: &[f64], u: &mut [f64]) -> Result<()> {
        fill_energies(3 * self.n_particles, x, u, |x| self.energy(x));
        Ok(())
    }

    fn energies_and_gradients(&self, x: &[f64], u: &mut [f64], gradient: &mut [f64]) -> Result<()> {
        fill_gradients(3 * self.n_particles, x, u, gradient, |x, g| self.energy_and_gradient(x, g));
        Ok(())
    }
}

/// A cluster whose normaliser is known: by quadrature, or by a Monte Carlo calculation with its error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KnownLennardJones {
    /// The energy.
    pub cluster: LennardJones,
    /// log Z.
    pub log_z: f64,
    /// Standard error of log Z; 0 for a quadrature.
    pub std_error: f64,
}

/// Particles, log Z and its standard error at ε/τ = r_m = k = 1.
///
/// Bennett's acceptance ratio over 32 and 63 windows in which r_m grows from 0, where Z is Gaussian, to 1, in
/// three independent runs each: `tests/data/lennard_jones/normalizer.c`.
const TABLE: [(usize, f64, f64); 2] = [(13, 39.250, 0.004), (55, 203.90, 0.08)];

impl KnownLennardJones {
    /// The cluster with its normaliser, or an error that says which are known.
    pub fn new(cluster: LennardJones) -> Result<Self> {
        if let Some(log_z) = cluster.quadrature() {
            return Ok(Self { cluster, log_z, std_error: 0.0 });
        }
        let standard = (cluster.depth_kt, cluster.radius, cluster.stiffness) == (1.0, 1.0, 1.0);
        match TABLE.iter().find(|(n, ..)| standard && *n == cluster.n_particles) {
            Some(&(_, log_z, std_error)) => Ok(Self { cluster, log_z, std_error }),
            None => Err(Error::invalid(
                "Lennard-Jones cluster with a known normaliser",
                "2 or 3 particles in a well, or 13 or 55 particles with depth, radius and stiffness 1",
                format!(
                    "{} particles with {}, {}, {}",
                    cluster.n_particles, cluster.depth_kt, cluster.radius, cluster.stiffness
                ),
            )),
        }
    }
}

impl ReducedPotential for KnownLennardJones {
    fn space(&self) -> Space {
        self.cluster.space()
    }

    fn energies(&self, x: &[f64], u: &mut [f64]) -> Result<()> {
        self.cluster.energies(x, u)
    }

    fn energies_and_gradients(&self, x: &[f64], u: &mut [f64], gradient: &mut [f64]) -> Result<()> {
        self.cluster.energies_and_gradients(x, u, gradient)
    }
}

impl ExactPotential for KnownLennardJones {
    fn log_normalizer(&self) -> f64 {
        self.log_z
    }
}

/// Settings of [`KnownLennardJones`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LennardJonesSettings {
    /// How many particles.
    n_particles: usize,
    /// ε/τ.
    #[serde(rename = "depth_kT", default = "one")]
    depth_kt: f64,
    /// r_m.
    #[serde(default = "one")]
    radius: f64,
    /// k in kT per square of the length unit.
    #[serde(default = "one")]
    stiffness: f64,
}

fn one() -> f64 {
    1.0
}

impl Settings<dyn ExactPotential, ()> for LennardJonesSettings {
    const SUMMARY: &'static str = "a Lennard-Jones cluster in a harmonic well: LJ2, LJ3, LJ13, LJ55";
    const EXAMPLE: &'static str = "n_particles = 13\ndepth_kT = 1.0\nradius = 1.0\nstiffness = 1.0";

    fn build(self, _: &()) -> Result<Box<dyn ExactPotential>> {
        let cluster = LennardJones::new(self.n_particles, self.depth_kt, self.radius, self.stiffness)?;
        Ok(Box::new(KnownLennardJones::new(cluster)?))
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;
    use crate::random::{Purpose, Streams};

    /// Steepest descent with a step that adapts; enough for clusters that start near their minimum.
    fn minimum(mut x: Vec<f64>) -> f64 {
        let cluster = LennardJones::new(x.len() / 3, 1.0, 1.0, 0.0).unwrap();
        let mut gradient = vec![0.0; x.len()];
        let mut u = cluster.energy_and_gradient(&x, &mut gradient);
        let mut step = 1e-3;
        for _ in 0..20_000 {
            let trial: Vec<f64> = x.iter().zip(&gradient).map(|(x, g)| x - step * g).collect();
            let mut next = gradient.clone();
            let energy = cluster.energy_and_gradient(&trial, &mut next);
            if energy <= u {
                (x, gradient, u, step) = (trial, next, energy, 1.2 * step);
            } else {
                step *= 0.4;
            }
            if gradient.iter().all(|g| g.abs() < 1e-7) || step < 1e-16 {
                break;
            }
        }
        u
    }

    /// Cyclic permutations of the vertices of an icosahedron with edge 1.
    fn icosahedron() -> Vec<[f64; 3]> {
        let golden = 0.5 * (1.0 + 5_f64.sqrt());
        let mut points = Vec::new();
        for (a, b) in [(0.5, 0.5 * golden), (0.5, -0.5 * golden), (-0.5, 0.5 * golden), (-0.5, -0.5 * golden)]
        {
            points.extend([[0.0, a, b], [a, b, 0.0], [b, 0.0, a]]);
        }
        points
    }

    #[test]
    fn global_minima_are_the_published_ones() {
        // Wales and Doye, J. Phys. Chem. A 101, 5111 (1997).
        let flat = |points: &[[f64; 3]], scale: f64| -> Vec<f64> {
            points.iter().flatten().map(|x| scale * x).collect()
        };
        let shell = icosahedron();
        let mut points = vec![[0.0; 3]];
        points.extend(&shell);
        assert!((minimum(flat(&points, 1.0)) + 44.326_801).abs() < 1e-6);

        // The second shell of Mackay's icosahedron: vertices at twice the distance, and middles of edges.
        points.extend(shell.iter().map(|p| p.map(|x| 2.0 * x)));
        for (i, p) in shell.iter().enumerate() {
            for q in &shell[..i] {
                if (0..3).map(|axis| (p[axis] - q[axis]).powi(2)).sum::<f64>() < 1.01 {
                    points.push([p[0] + q[0], p[1] + q[1], p[2] + q[2]]);
                }
            }
        }
        assert_eq!(points.len(), 55);
        assert!((minimum(flat(&points, 0.97)) + 279.248_470).abs() < 1e-6);

        // The truncated octahedron of face-centred cubic sites around an octahedral hole.
        let mut octahedron = Vec::new();
        for code in 0..125 {
            let site = [code % 5 - 2, code / 5 % 5 - 2, code / 25 - 2];
            let square: i32 = site.iter().map(|x| x * x).sum();
            if site.iter().sum::<i32>() % 2 != 0 && square <= 5 {
                octahedron.push(site.map(f64::from));
            }
        }
        assert_eq!(octahedron.len(), 38);
        assert!((minimum(flat(&octahedron, 0.5_f64.sqrt())) + 173.928_427).abs() < 1e-6);
    }

    /// Z/Z₀ = ⟨exp(−u_LJ)⟩ over the Gaussian of the well: sees a wrong Jacobian or dimension.
    #[test]
    fn quadratures_agree_with_reweighted_gaussians() {
        for (n_particles, stiffness) in [(2, 1.0), (3, 1.0), (3, 2.5)] {
            let cluster = LennardJones::new(n_particles, 1.0, 1.0, stiffness).unwrap();
            let (space, n) = (cluster.space(), 200_000);
            let mut rng = Streams::new(8).stream(Purpose::Walker, 0);
            let mut x = vec![0.0; space.dimension()];
            let (mut sum, mut square) = (0.0, 0.0);
            for _ in 0..n {
                space.fill_normal(&mut rng, &mut x);
                x.iter_mut().for_each(|x| *x /= stiffness.sqrt());
                let weight = (cluster.well(&x, None) - cluster.energy(&x)).exp();
                sum += weight;
                square += weight * weight;
            }
            let mean = sum / f64::from(n);
            let std_error = ((square / f64::from(n) - mean * mean) / f64::from(n)).sqrt() / mean;
            let gaussian = 0.5 * space.degrees_of_freedom() as f64 * (TAU / stiffness).ln();
            let (value, exact) = (mean.ln() + gaussian, cluster.quadrature().unwrap());
            assert!((value - exact).abs() < 4.0 * std_error, "{n_particles}: {value} {exact} ± {std_error}");
            assert!(std_error < 0.01);
        }
    }

    #[test]
    fn the_quadrature_of_three_has_converged() {
        // Scaling lengths by s and k by 1/s² multiplies Z by s⁶; another scale is another grid.
        let log_z = |radius: f64, stiffness: f64| {
            LennardJones::new(3, 1.0, radius, stiffness).unwrap().quadrature().unwrap()
        };
        let scale: f64 = 1.37;
        let difference = log_z(scale, 1.0 / scale.powi(2)) - log_z(1.0, 1.0) - 6.0 * scale.ln();
        assert!(difference.abs() < 1e-8, "{difference}");
        // An independent program: Bennett's acceptance ratio over windows in which r_m grows from 0 to 1.
        assert!((log_z(1.0, 1.0) - 5.7738).abs() < 4.0 * 0.0006, "{}", log_z(1.0, 1.0));
    }

    #[test]
    fn particles_at_one_point_have_an_infinite_energy_and_no_nan() {
        let cluster = LennardJones::new(3, 1.0, 1.0, 1.0).unwrap();
        let x = [0.1, 0.0, 0.0, 0.1, 0.0, 0.0, 1.0, 0.0, 0.0];
        let mut gradient = [0.0; 9];
        assert_eq!(cluster.energy_and_gradient(&x, &mut gradient), f64::INFINITY);
        assert!(gradient.iter().all(|g| g.is_finite()));
        assert!(KnownLennardJones::new(LennardJones::new(7, 1.0, 1.0, 1.0).unwrap()).is_err());
    }
}
