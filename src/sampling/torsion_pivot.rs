//! Torsion pivots: rotations of one side of a bond about it.
//!
//! A pivot changes one dihedral angle by a uniform angle and keeps every bond length and angle, except
//! where the bond graph has a ring. Its Jacobian is one and the proposal is symmetric, so it is accepted
//! with min(1, exp(−Δu)). It crosses barriers between rotamers that local moves and dynamics meet only
//! rarely.

use std::f64::consts::PI;

use rand::Rng as _;
use rayon::prelude::*;

use super::kernel::Proposals;
use super::{MIN_PER_TASK, Outcome, Walkers};
use crate::error::{Error, Result};
use crate::potential::{PotentialPath, Space};

/// A bond about which the beads on one side can turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PivotBond {
    /// One end of the axis, on the side that stays.
    pub from: usize,
    /// The other end of the axis, on the side that moves.
    pub to: usize,
    /// The beads that move: the smaller side without the axis.
    pub moved: Vec<usize>,
}

/// The bonds of a graph that are not in a ring and have further beads on both sides.
pub fn rotatable_bonds(n_particles: usize, bonds: &[(usize, usize)]) -> Result<Vec<PivotBond>> {
    let mut neighbours = vec![Vec::new(); n_particles];
    for &(a, b) in bonds {
        if a >= n_particles || b >= n_particles || a == b {
            let expected = format!("two different beads below {n_particles}");
            return Err(Error::invalid("bond of a torsion pivot", expected, format!("{a}-{b}")));
        }
        neighbours[a].push(b);
        neighbours[b].push(a);
    }
    let side = |start: usize, other: usize| -> Option<Vec<usize>> {
        let mut reached = vec![false; n_particles];
        reached[start] = true;
        let mut stack = vec![start];
        while let Some(bead) = stack.pop() {
            for &next in &neighbours[bead] {
                if bead == start && next == other {
                    continue;
                }
                if next == other {
                    return None;
                }
                if !reached[next] {
                    reached[next] = true;
                    stack.push(next);
                }
            }
        }
        Some((0..n_particles).filter(|&bead| reached[bead] && bead != start).collect())
    };
    let mut found: Vec<PivotBond> = Vec::new();
    for &(a, b) in bonds {
        let known = found.iter().any(|bond| [(bond.from, bond.to), (bond.to, bond.from)].contains(&(a, b)));
        if let (false, Some(of_a), Some(of_b)) = (known, side(a, b), side(b, a))
            && !of_a.is_empty()
            && !of_b.is_empty()
        {
            found.push(if of_a.len() < of_b.len() {
                PivotBond { from: b, to: a, moved: of_a }
            } else {
                PivotBond { from: a, to: b, moved: of_b }
            });
        }
    }
    Ok(found)
}

/// Pivots of a batch of walkers.
#[derive(Debug, Clone)]
pub struct TorsionPivot {
    bonds: Vec<PivotBond>,
    proposals: Proposals,
}

impl TorsionPivot {
    /// Pivots about these bonds; errors unless there is one and the walkers are conformations of particles.
    pub fn new(bonds: Vec<PivotBond>, walkers: &Walkers) -> Result<Self> {
        if bonds.is_empty() || !matches!(walkers.space(), Space::Centered { .. }) {
            return Err(Error::invalid(
                "torsion pivots",
                "centred particles with at least one rotatable bond",
                format!("{} bonds on {:?}", bonds.len(), walkers.space()),
            ));
        }
        Ok(Self { bonds, proposals: Proposals::new(walkers) })
    }

    /// Proposes to every walker a pivot about one bond, or with probability ½ about two in random order.
    pub fn step(&mut self, path: &dyn PotentialPath, walkers: &mut Walkers) -> Result<&[Outcome]> {
        let (space, d, bonds) = (walkers.space(), walkers.space().dimension(), &self.bonds);
        (self.proposals.x.par_chunks_exact_mut(d))
            .zip(walkers.x.par_chunks_exact(d))
            .zip(&mut walkers.rngs)
            .with_min_len(MIN_PER_TASK)
            .for_each(|((new_x, x), rng)| {
                new_x.copy_from_slice(x);
                let first = rng.random_range(0..bonds.len());
                rotate(new_x, &bonds[first], rng.random_range(-PI..PI));
                if bonds.len() > 1 && rng.random::<bool>() {
                    let second = (first + rng.random_range(1..bonds.len())) % bonds.len();
                    rotate(new_x, &bonds[second], rng.random_range(-PI..PI));
                }
                space.project(new_x);
            });
        self.proposals.evaluate(path, walkers)?;
        self.proposals.log_correction.fill(0.0);
        self.proposals.decide(walkers);
        Ok(&self.proposals.outcomes)
    }
}

/// Rotates the moved beads about the axis by Rodrigues' formula.
fn rotate(x: &mut [f64], bond: &PivotBond, angle: f64) {
    let at = |x: &[f64], bead: usize| [x[3 * bead], x[3 * bead + 1], x[3 * bead + 2]];
    let (origin, tip) = (at(x, bond.from), at(x, bond.to));
    let mut axis = [tip[0] - origin[0], tip[1] - origin[1], tip[2] - origin[2]];
    let length = axis.iter().map(|a| a * a).sum::<f64>().sqrt();
    axis.iter_mut().for_each(|a| *a /= length);
    let (sin, cos) = angle.sin_cos();
    for &bead in &bond.moved {
        let p = at(x, bead);
        let v = [p[0] - origin[0], p[1] - origin[1], p[2] - origin[2]];
        let along = (axis[0] * v[0] + axis[1] * v[1] + axis[2] * v[2]) * (1.0 - cos);
        for i in 0..3 {
            let (j, k) = ((i + 1) % 3, (i + 2) % 3);
            let across = axis[j] * v[k] - axis[k] * v[j];
            x[3 * bead + i] = origin[i] + v[i] * cos + across * sin + axis[i] * along;
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::random::{Purpose, Streams};

    /// Four beads in a chain: bonds and angles are stiff, the dihedral has u = B cos φ.
    pub struct Butane {
        /// B in kT.
        pub barrier_kt: f64,
    }

    pub fn distance(x: &[f64], a: usize, b: usize) -> f64 {
        (0..3).map(|i| (x[3 * a + i] - x[3 * b + i]).powi(2)).sum::<f64>().sqrt()
    }

    pub fn dihedral(x: &[f64]) -> f64 {
        let b = |k: usize| -> [f64; 3] { std::array::from_fn(|i| x[3 * (k + 1) + i] - x[3 * k + i]) };
        let cross = |a: [f64; 3], b: [f64; 3]| -> [f64; 3] {
            std::array::from_fn(|i| a[(i + 1) % 3] * b[(i + 2) % 3] - a[(i + 2) % 3] * b[(i + 1) % 3])
        };
        let dot = |a: [f64; 3], b: [f64; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
        let (n1, n2) = (cross(b(0), b(1)), cross(b(1), b(2)));
        (dot(b(1), b(1)).sqrt() * dot(b(0), n2)).atan2(dot(n1, n2))
    }

    impl Butane {
        fn energy(&self, x: &[f64]) -> f64 {
            let mut u = self.barrier_kt * dihedral(x).cos();
            for (a, b, length) in [(0, 1, 1.0), (1, 2, 1.0), (2, 3, 1.0), (0, 2, 1.6), (1, 3, 1.6)] {
                u += 0.5 * 400.0 * (distance(x, a, b) - length).powi(2);
            }
            u
        }

        /// A conformation with dihedral φ, centred.
        pub fn conformation(phi: f64) -> Vec<f64> {
            let (sin, cos) = (0.6_f64, 0.8_f64);
            // A half of the 1–3 distance of 1.6 between unit bonds is 0.8: the sine of half the angle.
            let (along, up) = (2.0 * cos * cos - 1.0, 2.0 * sin * cos);
            let mut x = vec![-along, up, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0];
            x.extend([1.0 + along, up * phi.cos(), up * phi.sin()]);
            Space::Centered { n_particles: 4 }.project(&mut x);
            x
        }
    }

    impl PotentialPath for Butane {
        fn space(&self) -> Space {
            Space::Centered { n_particles: 4 }
        }

        fn range(&self) -> (f64, f64) {
            (0.0, 1.0)
        }

        fn energies(&self, _: &[f64], x: &[f64], u: &mut [f64]) -> Result<()> {
            u.iter_mut().zip(x.chunks_exact(12)).for_each(|(u, x)| *u = self.energy(x));
            Ok(())
        }

        fn energies_and_gradients(
            &self,
            lambda: &[f64],
            x: &[f64],
            u: &mut [f64],
            g: &mut [f64],
        ) -> Result<()> {
            self.energies(lambda, x, u)?;
            for (x, g) in x.chunks_exact(12).zip(g.chunks_exact_mut(12)) {
                let mut moved = x.to_vec();
                for i in 0..12 {
                    let mut at = |h: f64| {
                        moved[i] = x[i] + h;
                        self.energy(&moved)
                    };
                    g[i] = (at(1e-6) - at(-1e-6)) / 2e-6;
                    moved[i] = x[i];
                }
            }
            Ok(())
        }

        fn lambda_derivatives(&self, _: &[f64], _: &[f64], rate: &mut [f64]) -> Result<()> {
            rate.fill(0.0);
            Ok(())
        }
    }

    #[test]
    fn a_chain_of_five_has_two_pivots_and_a_ring_has_none() {
        let chain = rotatable_bonds(5, &[(0, 1), (1, 2), (2, 3), (3, 4), (2, 1)]).unwrap();
        assert_eq!(
            chain,
            [PivotBond { from: 2, to: 1, moved: vec![0] }, PivotBond { from: 2, to: 3, moved: vec![4] }]
        );
        assert!(rotatable_bonds(4, &[(0, 1), (1, 2), (2, 3), (3, 0)]).unwrap().is_empty());
        // A ring with a tail turns about the bond that joins them only if the tail bends.
        let ring = [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4)];
        let pivots = rotatable_bonds(5, &ring).unwrap();
        assert_eq!(pivots, [PivotBond { from: 2, to: 3, moved: vec![4] }]);
        assert!(rotatable_bonds(3, &[(0, 3)]).is_err());
    }

    #[test]
    fn a_pivot_turns_its_dihedral_and_keeps_bonds_and_angles() {
        let x = Butane::conformation(0.3);
        assert!((dihedral(&x) - 0.3).abs() < 1e-9);
        let bond = &rotatable_bonds(4, &[(0, 1), (1, 2), (2, 3)]).unwrap()[0];
        let mut turned = x.clone();
        rotate(&mut turned, bond, 1.1);
        assert!((dihedral(&turned) - 0.3).abs() - 1.1 < 1e-9);
        assert!(((dihedral(&turned) - dihedral(&x)).abs() - 1.1).abs() < 1e-9);
        for (a, b) in [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3)] {
            assert!((distance(&turned, a, b) - distance(&x, a, b)).abs() < 1e-12);
        }
    }

    #[test]
    fn pivots_alone_sample_the_law_of_the_dihedral() {
        let path = Butane { barrier_kt: 1.5 };
        let n = 4000;
        let x: Vec<f64> = (0..n).flat_map(|_| Butane::conformation(0.2)).collect();
        let mut walkers =
            Walkers::new(&path, x, vec![0.0; n], &Streams::new(6), Purpose::Equilibrium).unwrap();
        let bonds = rotatable_bonds(4, &[(0, 1), (1, 2), (2, 3)]).unwrap();
        let mut pivot = TorsionPivot::new(bonds, &walkers).unwrap();
        for _ in 0..30 {
            pivot.step(&path, &mut walkers).unwrap();
        }
        // E[cos φ] = −I₁(B)/I₀(B), by quadrature.
        let weight = |k: i32| (-1.5 * (f64::from(k) * PI / 500.0).cos()).exp();
        let (sum, total) = (0..1000).fold((0.0, 0.0), |(sum, total), k| {
            (sum + weight(k) * (f64::from(k) * PI / 500.0).cos(), total + weight(k))
        });
        let (mean, std_error) =
            crate::sampling::testing::mean_and_error((0..n).map(|idx| dihedral(walkers.position(idx)).cos()));
        assert!((mean - sum / total).abs() < 4.0 * std_error, "{mean} {}", sum / total);
    }
}
