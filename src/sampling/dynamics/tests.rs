//! Laws of small molecules whose averages are known, by springs, dihedral terms and constraints.

#![allow(clippy::needless_range_loop, reason = "one index runs over the lanes of several arrays")]

use super::*;
use crate::potential::BlockWorkspace;
use crate::sampling::silent;
use crate::sampling::testing::{mean_and_error, with_threads};

/// ½ k (r − r₀)² between pairs, times 1 + λ, and B cos φ.
#[derive(Default)]
pub(super) struct Springs {
    pub n_atoms: usize,
    /// (a, b, r₀, k)
    pub pairs: Vec<(usize, usize, f64, f64)>,
    /// (atoms, B)
    pub dihedrals: Vec<([usize; 4], f64)>,
    /// An energy that is not a number where atoms 0 and 1 are further apart than this.
    pub breaks_at: Option<f64>,
}

type Point = [f64; 3];

fn minus(a: Point, b: Point) -> Point {
    std::array::from_fn(|k| a[k] - b[k])
}

fn inner(a: Point, b: Point) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: Point, b: Point) -> Point {
    std::array::from_fn(|i| a[(i + 1) % 3] * b[(i + 2) % 3] - a[(i + 2) % 3] * b[(i + 1) % 3])
}

fn point(x: &[f64], atom: usize) -> Point {
    [x[3 * atom], x[3 * atom + 1], x[3 * atom + 2]]
}

fn distance(x: &[f64], a: usize, b: usize) -> f64 {
    let d = minus(point(x, b), point(x, a));
    inner(d, d).sqrt()
}

fn cosine(x: &[f64], [a, apex, b]: [usize; 3]) -> f64 {
    let (p, q) = (minus(point(x, a), point(x, apex)), minus(point(x, b), point(x, apex)));
    inner(p, q) / (inner(p, p) * inner(q, q)).sqrt()
}

/// cos φ and its gradient.
fn cos_dihedral(x: &[f64], atoms: [usize; 4]) -> (f64, [Point; 4]) {
    let p = atoms.map(|atom| point(x, atom));
    let (b1, b2, b3) = (minus(p[1], p[0]), minus(p[2], p[1]), minus(p[3], p[2]));
    let (m, n) = (cross(b1, b2), cross(b2, b3));
    let (mm, nn, mn) = (inner(m, m), inner(n, n), inner(m, n));
    let cos = mn / (mm * nn).sqrt();
    let dm: Point = std::array::from_fn(|k| n[k] / (mm * nn).sqrt() - cos * m[k] / mm);
    let dn: Point = std::array::from_fn(|k| m[k] / (mm * nn).sqrt() - cos * n[k] / nn);
    // dm·(db1 × b2 + b1 × db2) + dn·(db2 × b3 + b2 × db3)
    let (g1, g3) = (cross(b2, dm), cross(dn, b2));
    let (g2a, g2b) = (cross(dm, b1), cross(b3, dn));
    let g2: Point = std::array::from_fn(|k| g2a[k] + g2b[k]);
    let gradient = [g1.map(|g| -g), minus(g1, g2), minus(g2, g3), g3];
    (cos, gradient)
}

impl BlockPotential for Springs {
    fn n_atoms(&self) -> usize {
        self.n_atoms
    }

    fn workspace(&self) -> BlockWorkspace {
        BlockWorkspace(Box::new(()))
    }

    fn energies_and_forces(
        &self,
        lambda: &[f64; LANES],
        x: &[f64],
        energies: &mut [f64; LANES],
        forces: &mut [f64],
        _: &mut BlockWorkspace,
    ) {
        forces.fill(0.0);
        for lane in 0..LANES {
            let x: Vec<f64> = x[lane..].iter().step_by(LANES).copied().collect();
            let mut energy = 0.0;
            let mut push = |atom: usize, force: Point| {
                (0..3).for_each(|axis| forces[(3 * atom + axis) * LANES + lane] += force[axis]);
            };
            for &(a, b, length, k) in &self.pairs {
                let (d, r) = (minus(point(&x, b), point(&x, a)), distance(&x, a, b));
                let k = k * (1.0 + lambda[lane]);
                energy += 0.5 * k * (r - length).powi(2);
                let factor = if r > 0.0 { k * (r - length) / r } else { 0.0 };
                push(a, d.map(|d| factor * d));
                push(b, d.map(|d| -factor * d));
            }
            for &(atoms, barrier) in &self.dihedrals {
                let (cos, gradient) = cos_dihedral(&x, atoms);
                energy += barrier * cos;
                (0..4).for_each(|k| push(atoms[k], gradient[k].map(|g| -barrier * g)));
            }
            if self.breaks_at.is_some_and(|limit| distance(&x, 0, 1) > limit) {
                energy = f64::NAN;
            }
            energies[lane] = energy;
        }
    }
}

const KT: f64 = 2.5;

fn settings(time_step_ps: f64, friction_per_ps: f64, record_every: u64) -> DynamicsSettings {
    DynamicsSettings { time_step_ps, friction_per_ps, record_every, pivot_every: 0 }
}

fn fixed(lengths: &[(usize, usize, f64)]) -> Vec<DistanceConstraint> {
    lengths.iter().map(|&(a, b, length_nm)| DistanceConstraint { atoms: [a, b], length_nm }).collect()
}

fn pivot_about(from: usize, to: usize, moved: &[usize]) -> PivotMove {
    PivotMove { name: format!("{from}-{to}"), bonds: vec![PivotBond { from, to, moved: moved.to_vec() }] }
}

/// Mean over frames for every walker, and from these the mean and its standard error.
fn average(segment: &Segment, n_walkers: usize, observable: impl Fn(&[f64]) -> f64) -> (f64, f64) {
    let n = segment.positions_nm.len() / (segment.steps.len() * n_walkers);
    mean_and_error((0..n_walkers).map(|walker| {
        let frames = segment.positions_nm.chunks_exact(n).skip(walker).step_by(n_walkers);
        frames.map(&observable).sum::<f64>() / segment.steps.len() as f64
    }))
}

fn kinetic_ratio(segment: &Segment, n_walkers: usize) -> (f64, f64) {
    mean_and_error((0..n_walkers).map(|walker| {
        let ratios = segment.kinetic_temperature_ratios.iter().skip(walker).step_by(n_walkers);
        ratios.sum::<f64>() / segment.steps.len() as f64
    }))
}

/// Four atoms of different masses, every pair at r₀ = 0: a Gaussian.
fn gaussian() -> Springs {
    let pairs = (0..4).flat_map(|a| (0..a).map(move |b| (a, b, 0.0, 2500.0))).collect();
    Springs { n_atoms: 4, pairs, ..Default::default() }
}

const MASSES: [f64; 4] = [1.0, 3.0, 12.0, 40.0];

fn random_positions(n_walkers: usize, n_atoms: usize, scale: f64) -> Vec<f64> {
    let mut x = vec![0.0; n_walkers * n_atoms * 3];
    crate::random::fill_normal(&mut Streams::new(77).stream(crate::random::Purpose::Walker, 0), &mut x);
    x.iter_mut().for_each(|x| *x *= scale);
    x
}

/// ω dt = 1.1 for the fastest mode: with another splitting than BAOAB the variance would be off by 30 %.
#[test]
fn a_gaussian_has_its_exact_variance_at_any_step_temperature_and_lambda() {
    let springs = gaussian();
    let dynamics =
        Dynamics::new(&springs, &MASSES, &[], vec![], settings(0.011, 12.0, 5), Streams::new(3)).unwrap();
    let n = 320;
    let kt: Vec<f64> = (0..n).map(|walker| if walker % 2 == 0 { KT } else { 2.0 * KT }).collect();
    let lambda: Vec<f64> = (0..n).map(|walker| if walker % 3 == 0 { -0.5 } else { 0.0 }).collect();
    let mut state = dynamics.start(random_positions(n, 4, 0.02), kt, lambda.clone()).unwrap();
    dynamics.advance(&mut state, 300, &mut silent).unwrap();
    let segment = dynamics.advance(&mut state, 1500, &mut silent).unwrap();
    assert_eq!(segment.outcome, DynamicsOutcome::Completed);
    assert_eq!((segment.steps.len(), segment.steps[0], state.step), (300, 305, 1800));
    for (a, b) in [(0, 1), (0, 3), (2, 3)] {
        // ⟨r²⟩ = 6 kT/(4 k), in units of which every walker has mean 1.
        let n_frames = segment.steps.len();
        let (mean, std_error) = mean_and_error((0..n).map(|walker| {
            let unit = 6.0 * state.kt_kj_per_mol[walker] / (4.0 * 2500.0 * (1.0 + lambda[walker]));
            let frames = segment.positions_nm.chunks_exact(12).skip(walker).step_by(n);
            frames.map(|x| distance(x, a, b).powi(2)).sum::<f64>() / (n_frames as f64 * unit)
        }));
        assert!((mean - 1.0).abs() < 4.0 * std_error, "{a}-{b}: {mean} ± {std_error}");
        assert!(std_error < 0.01);
    }
    let (ratio, std_error) = kinetic_ratio(&segment, n);
    assert!((ratio - 1.0).abs() < 4.0 * std_error && std_error < 0.005, "{ratio} ± {std_error}");
    let energies = dynamics.energies(&segment.positions_nm[..n * 12], &lambda).unwrap();
    assert_eq!(energies, segment.potential_energies[..n]);
    for (x, v) in state.positions_nm.chunks_exact(12).zip(state.velocities.chunks_exact(12)) {
        for axis in 0..3 {
            let centre: f64 = (0..4).map(|atom| MASSES[atom] * x[3 * atom + axis]).sum();
            let momentum: f64 = (0..4).map(|atom| MASSES[atom] * v[3 * atom + axis]).sum();
            assert!(centre.abs() < 1e-12 && momentum.abs() < 1e-9, "{centre} {momentum}");
        }
    }
}

/// Each atom has 3 kT (1 − m/M) of twice its kinetic energy; without attention to the centre of mass 3 kT.
#[test]
fn every_atom_has_its_share_of_kinetic_energy() {
    let springs = gaussian();
    let dynamics =
        Dynamics::new(&springs, &MASSES, &[], vec![], settings(0.004, 5.0, 100), Streams::new(8)).unwrap();
    let n = 3000;
    let mut state = dynamics.start(random_positions(n, 4, 0.02), vec![KT; n], vec![0.0; n]).unwrap();
    for _ in 0..2 {
        for atom in 0..4 {
            let share = 3.0 * KT * (1.0 - MASSES[atom] / 56.0);
            let twice = |v: &[f64]| MASSES[atom] * inner(point(v, atom), point(v, atom));
            let (mean, std_error) = mean_and_error(state.velocities.chunks_exact(12).map(twice));
            assert!((mean - share).abs() < 4.0 * std_error, "{atom}: {mean} ± {std_error}, not {share}");
        }
        dynamics.advance(&mut state, 100, &mut silent).unwrap();
    }
}

/// A molecule with a star of each size and a rigid triangle, joined by springs.
fn constrained_molecule() -> (Springs, Vec<f64>, Vec<DistanceConstraint>, Vec<f64>) {
    let mut positions: Vec<Point> = Vec::new();
    let (mut masses, mut lengths, mut pairs) = (Vec::new(), Vec::new(), Vec::new());
    let directions: [Point; 4] = [[0.6, 0.6, 0.6], [0.6, -0.6, -0.6], [-0.6, 0.6, -0.6], [-0.6, -0.6, 0.6]];
    for k in 1..=4 {
        let centre = positions.len();
        let origin = [0.25 * k as f64, 0.02 * k as f64, 0.03];
        positions.push(origin);
        masses.push(12.0);
        for leaf in 0..k {
            positions.push(std::array::from_fn(|axis| origin[axis] + 0.1 * directions[leaf][axis]));
            masses.push(1.0 + leaf as f64);
            // The order of the two atoms must not matter.
            lengths.push(if leaf % 2 == 0 {
                (centre, centre + 1 + leaf, 0.1)
            } else {
                (centre + 1 + leaf, centre, 0.11)
            });
            for other in 0..leaf {
                pairs.push((centre + 1 + leaf, centre + 1 + other, 0.17, 2000.0));
            }
        }
        if centre > 0 {
            pairs.push((centre, centre - 1, 0.2, 3000.0));
            pairs.push((centre + 1, centre - 1, 0.25, 3000.0));
        }
    }
    let triangle = positions.len();
    for corner in [[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.0, 0.1, 0.0]] {
        positions.push([1.3 + corner[0], corner[1], corner[2]]);
        masses.push(2.0 + 7.0 * corner[0]);
    }
    lengths.extend([
        (triangle, triangle + 1, 0.1),
        (triangle, triangle + 2, 0.1),
        (triangle + 1, triangle + 2, 0.14),
    ]);
    pairs.push((triangle, triangle - 1, 0.2, 3000.0));
    let springs = Springs { n_atoms: masses.len(), pairs, ..Default::default() };
    (springs, masses, fixed(&lengths), positions.concat())
}

fn copies(x: &[f64], n: usize) -> Vec<f64> {
    x.repeat(n)
}

#[test]
fn constraints_hold_and_their_degrees_of_freedom_are_not_counted() {
    let (springs, masses, constraints, x) = constrained_molecule();
    let dynamics =
        Dynamics::new(&springs, &masses, &constraints, vec![], settings(0.002, 10.0, 20), Streams::new(4))
            .unwrap();
    assert_eq!(dynamics.degrees_of_freedom(), 3 * 17 - 3 - 13);
    let n = 160;
    let mut state = dynamics.start(copies(&x, n), vec![KT; n], vec![0.0; n]).unwrap();
    dynamics.advance(&mut state, 500, &mut silent).unwrap();
    let segment = dynamics.advance(&mut state, 2000, &mut silent).unwrap();
    assert_eq!(segment.outcome, DynamicsOutcome::Completed);
    let mut worst = (0.0_f64, 0.0_f64);
    for (x, v) in state.positions_nm.chunks_exact(51).zip(state.velocities.chunks_exact(51)) {
        for constraint in &constraints {
            let [a, b] = constraint.atoms;
            worst.0 = worst.0.max((distance(x, a, b) / constraint.length_nm - 1.0).abs());
            worst.1 =
                worst.1.max(inner(minus(point(x, a), point(x, b)), minus(point(v, a), point(v, b))).abs());
        }
    }
    assert!(worst.0 < 1e-8 && worst.1 < 1e-8, "{worst:?}");
    let (ratio, std_error) = kinetic_ratio(&segment, n);
    assert!((ratio - 1.0).abs() < 4.0 * std_error && std_error < 0.005, "{ratio} ± {std_error}");
}

/// Two bonds fixed on a light centre: p(θ) ∝ sin θ √(1 − a² cos² θ) with a = m_leaf/(m_leaf + m_centre).
/// Stiff springs would have sin θ and ⟨cos² θ⟩ = 1/3 instead of 0.28.
#[test]
fn the_angle_of_a_rigid_triatomic_has_the_law_of_its_metric() {
    let springs = Springs { n_atoms: 3, ..Default::default() };
    let constraints = fixed(&[(1, 0, 0.1), (1, 2, 0.12)]);
    let masses = [10.0, 1.0, 10.0];
    let dynamics =
        Dynamics::new(&springs, &masses, &constraints, vec![], settings(0.004, 5.0, 10), Streams::new(5))
            .unwrap();
    let n = 480;
    let x = copies(&[0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.12, 0.0], n);
    let mut state = dynamics.start(x, vec![KT; n], vec![0.0; n]).unwrap();
    dynamics.advance(&mut state, 500, &mut silent).unwrap();
    let segment = dynamics.advance(&mut state, 2500, &mut silent).unwrap();
    let (mean, std_error) = average(&segment, n, |x| cosine(x, [0, 1, 2]).powi(2));
    let exact = squared_cosine_of_star(10.0, 1.0);
    assert!((mean - exact).abs() < 4.0 * std_error && std_error < 0.005, "{mean} ± {std_error}, not {exact}");
    let (mean, std_error) = average(&segment, n, |x| cosine(x, [0, 1, 2]));
    assert!(mean.abs() < 4.0 * std_error, "{mean} ± {std_error}");
    let (ratio, std_error) = kinetic_ratio(&segment, n);
    assert!((ratio - 1.0).abs() < 4.0 * std_error, "{ratio} ± {std_error}");
}

fn squared_cosine_of_star(leaf: f64, centre: f64) -> f64 {
    let a = leaf / (leaf + centre);
    let (mut sum, mut total) = (0.0, 0.0);
    for k in 0..2000 {
        let cos = (f64::from(k) + 0.5) / 1000.0 - 1.0;
        let weight = (1.0 - (a * cos).powi(2)).sqrt();
        sum += weight * cos * cos;
        total += weight;
    }
    sum / total
}

/// Without friction the error of the total energy is of second order in the step.
#[test]
fn velocity_verlet_keeps_the_energy_to_second_order() {
    let spread =
        |springs: &Springs, masses: &[f64], constraints: &[DistanceConstraint], x: &[f64], dt: f64| {
            let dynamics =
                Dynamics::new(springs, masses, constraints, vec![], settings(dt, 0.0, 1000), Streams::new(6))
                    .unwrap();
            let mut state = dynamics.start(copies(x, 16), vec![KT; 16], vec![0.0; 16]).unwrap();
            let total = |state: &DynamicsState| -> Vec<f64> {
                let potential = dynamics.energies(&state.positions_nm, &state.lambda).unwrap();
                potential.iter().zip(dynamics.kinetic_energies(state).unwrap()).map(|(u, k)| u + k).collect()
            };
            let first = total(&state);
            let mut square = 0.0;
            for _ in 0..200 {
                dynamics.advance(&mut state, (0.01 / dt).round() as u64, &mut silent).unwrap();
                square += total(&state).iter().zip(&first).map(|(e, first)| (e - first).powi(2)).sum::<f64>();
            }
            (square / 3200.0).sqrt()
        };
    let (springs, masses, constraints, x) = constrained_molecule();
    let stiff = Springs { n_atoms: 3, pairs: vec![(0, 1, 0.1, 4e4), (1, 2, 0.1, 4e4)], ..Default::default() };
    let bent = [0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.0];
    let dt = 0.001;
    let ratio = spread(&springs, &masses, &constraints, &x, dt)
        / spread(&springs, &masses, &constraints, &x, 0.5 * dt);
    assert!((3.6..4.4).contains(&ratio), "with constraints {ratio}");
    let ratio = spread(&stiff, &[2.0, 12.0, 4.0], &[], &bent, dt)
        / spread(&stiff, &[2.0, 12.0, 4.0], &[], &bent, 0.5 * dt);
    assert!((3.6..4.4).contains(&ratio), "without {ratio}");
}

/// X(H,H)–X(H,H) with fixed bonds to H, a term in one dihedral and springs along X–X and X–X–H.
fn ethane_like(barrier: f64) -> (Springs, [f64; 6], Vec<f64>) {
    let pairs = vec![(0, 1, 0.15, 2e4), (0, 4, 0.2, 4e4), (1, 2, 0.2, 4e4)];
    let springs = Springs { n_atoms: 6, pairs, dihedrals: vec![([2, 0, 1, 4], barrier)], breaks_at: None };
    let x = vec![
        0.0, 0.0, 0.0, 0.15, 0.0, 0.0, -0.03, 0.095, 0.0, -0.03, -0.05, 0.08, 0.18, -0.09, 0.03, 0.18, 0.05,
        0.08,
    ];
    (springs, [2.0, 2.0, 10.0, 10.0, 10.0, 10.0], x)
}

/// Pivots leave the law of the dihedral, of the angles in the clusters and of the velocities as they are.
#[test]
fn pivots_between_steps_leave_the_law_of_constrained_dynamics_invariant() {
    for constrained in [true, false] {
        let (mut springs, masses, x) = ethane_like(0.5 * KT);
        let mut constraints = fixed(&[(0, 2, 0.1), (3, 0, 0.1), (1, 4, 0.1), (1, 5, 0.1)]);
        if !constrained {
            springs.pairs.extend(constraints.drain(..).map(|c| (c.atoms[0], c.atoms[1], c.length_nm, 2e4)));
        }
        let pivots = vec![pivot_about(0, 1, &[4, 5]), pivot_about(1, 0, &[2, 3])];
        let settings = DynamicsSettings { pivot_every: 7, ..settings(0.002, 5.0, 20) };
        let dynamics =
            Dynamics::new(&springs, &masses, &constraints, pivots, settings, Streams::new(9)).unwrap();
        let n = 320;
        let mut state = dynamics.start(copies(&x, n), vec![KT; n], vec![0.0; n]).unwrap();
        dynamics.advance(&mut state, 1000, &mut silent).unwrap();
        let segment = dynamics.advance(&mut state, 2000, &mut silent).unwrap();
        // −I₁(½)/I₀(½)
        let exact = -0.242_499_6;
        let (mean, std_error) = average(&segment, n, |x| cos_dihedral(x, [2, 0, 1, 4]).0);
        assert!(
            (mean - exact).abs() < 4.0 * std_error && std_error < 0.01,
            "{mean} ± {std_error}, not {exact}"
        );
        let (mean, std_error) = average(&segment, n, |x| cosine(x, [4, 1, 5]).powi(2));
        let exact = if constrained { squared_cosine_of_star(10.0, 2.0) } else { 1.0 / 3.0 };
        assert!((mean - exact).abs() < 4.0 * std_error, "{constrained}: {mean} ± {std_error}, not {exact}");
        let (ratio, std_error) = kinetic_ratio(&segment, n);
        assert!((ratio - 1.0).abs() < 4.0 * std_error, "{ratio} ± {std_error}");
        let [first, second] = segment.pivots[..] else { panic!("two moves") };
        assert_eq!(first.attempted + second.attempted, 320 * (3000 / 7 - 1000 / 7));
        assert!(first.accepted > first.attempted / 3 && second.accepted > second.attempted / 3);
    }
}

/// From the top of a barrier of 12 kT down to the well, whose width is that of exp(−6 cos φ).
#[test]
fn pivots_find_a_deep_well() {
    let (springs, masses, mut x) = ethane_like(6.0 * KT);
    let constraints = fixed(&[(0, 2, 0.1), (3, 0, 0.1), (1, 4, 0.1), (1, 5, 0.1)]);
    let settings = DynamicsSettings { pivot_every: 5, ..settings(0.002, 5.0, 20) };
    let pivots = vec![pivot_about(0, 1, &[4, 5])];
    let dynamics = Dynamics::new(&springs, &masses, &constraints, pivots, settings, Streams::new(2)).unwrap();
    x[12..15].copy_from_slice(&[0.18, 0.095, 0.0]);
    let mut state = dynamics.start(copies(&x, 64), vec![KT; 64], vec![0.0; 64]).unwrap();
    dynamics.advance(&mut state, 1500, &mut silent).unwrap();
    let segment = dynamics.advance(&mut state, 1000, &mut silent).unwrap();
    let (mean, std_error) = average(&segment, 64, |x| cos_dihedral(x, [2, 0, 1, 4]).0);
    // −I₁(6)/I₀(6)
    assert!((mean + 0.912_1).abs() < 4.0 * std_error && std_error < 0.01, "{mean} ± {std_error}");
}

#[test]
fn pivots_through_a_cluster_of_constraints_are_refused() {
    let (springs, masses, _) = ethane_like(1.0);
    let bonds = [(0, 2, 0.1), (0, 3, 0.1), (1, 4, 0.1), (1, 5, 0.1), (0, 1, 0.15)];
    let all = fixed(&bonds);
    let refused = |constraints: &[DistanceConstraint], pivot| {
        let new = Dynamics::new(
            &springs,
            &masses,
            constraints,
            vec![pivot],
            settings(0.002, 1.0, 1),
            Streams::new(1),
        );
        new.map(|_| ()).map_err(|error| error.to_string())
    };
    assert!(refused(&all[..4], pivot_about(0, 1, &[4, 5])).is_ok());
    let message = refused(&all, pivot_about(0, 1, &[4, 5])).unwrap_err();
    assert!(message.contains("`0-1` about atoms 0-1"), "{message}");
    assert!(refused(&all[..4], pivot_about(0, 1, &[4])).is_err());
    assert!(refused(&all[..4], pivot_about(0, 1, &[1, 4])).is_err());
    assert!(refused(&all[..4], pivot_about(0, 1, &[6])).is_err());
}

/// The same bits for one thread and for two, for one call and for several, and for walkers that others
/// are added to; the last block is not full.
#[test]
fn a_run_depends_on_neither_threads_nor_interruptions() {
    let (springs, masses, x) = ethane_like(3.0);
    let constraints = fixed(&[(0, 2, 0.1), (3, 0, 0.1), (1, 4, 0.1), (1, 5, 0.1)]);
    for constraints in [&constraints[..], &[]] {
        let run = |n: usize, pieces: &[u64]| {
            let settings = DynamicsSettings { pivot_every: 3, ..settings(0.002, 2.0, 10) };
            let pivots = vec![pivot_about(0, 1, &[4, 5])];
            let dynamics =
                Dynamics::new(&springs, &masses, constraints, pivots, settings, Streams::new(9)).unwrap();
            let mut state = dynamics.start(copies(&x, n), vec![KT; n], vec![0.0; n]).unwrap();
            let mut frames = Vec::new();
            for &n_steps in pieces {
                let segment = dynamics.advance(&mut state, n_steps, &mut silent).unwrap();
                frames.extend(segment.positions_nm);
            }
            (state, frames)
        };
        let whole = with_threads(1, || run(37, &[60]));
        assert!(whole == with_threads(2, || run(37, &[60])));
        assert!(whole == run(37, &[13, 1, 16, 30]));
        let fewer = run(32, &[60]);
        assert!(fewer.0.positions_nm[..] == whole.0.positions_nm[..32 * 18]);
        let walkers: std::collections::BTreeSet<u64> =
            whole.0.positions_nm.iter().step_by(18).map(|x| x.to_bits()).collect();
        assert_eq!(walkers.len(), 37, "walkers share noise");
    }
}

#[test]
fn a_blow_up_says_where_and_leaves_the_last_good_state() {
    let springs = Springs { breaks_at: Some(0.1), ..gaussian() };
    let new = |dt, constraints: &[DistanceConstraint]| {
        Dynamics::new(&springs, &MASSES, constraints, vec![], settings(dt, 1.0, 10), Streams::new(3)).unwrap()
    };
    let dynamics = new(0.01, &[]);
    let mut state = dynamics.start(random_positions(20, 4, 0.01), vec![KT; 20], vec![0.0; 20]).unwrap();
    state.velocities[17 * 12] += 14.0;
    let before = state.clone();
    let segment = dynamics.advance(&mut state, 100, &mut silent).unwrap();
    let DynamicsOutcome::BlownUp(blow_up) = segment.outcome else { panic!("it did not blow up") };
    assert_eq!((blow_up.walker, blow_up.atoms.len()), (17, 3));
    assert!(matches!(blow_up.reason, BlowUpReason::Energy { energy } if energy.is_nan()));
    assert!(blow_up.step >= 1 && blow_up.step <= 10 && segment.steps.is_empty());
    assert_eq!(state, before);

    state.velocities[3 * 12 + 4] = 1e3;
    let segment = dynamics.advance(&mut state, 100, &mut silent).unwrap();
    let DynamicsOutcome::BlownUp(blow_up) = segment.outcome else { panic!("it did not blow up") };
    assert_eq!((blow_up.walker, blow_up.step, blow_up.atoms[0]), (3, 1, 1));
    assert!(
        matches!(blow_up.reason, BlowUpReason::Displacement { displacement_nm } if displacement_nm > 5.0)
    );

    // A drift across the bond by more than its length cannot be undone along the bond.
    let dynamics = new(0.01, &fixed(&[(0, 1, 0.09)]));
    let mut x = random_positions(2, 4, 0.02);
    x[12..18].copy_from_slice(&[0.0, 0.0, 0.0, 0.09, 0.0, 0.0]);
    let mut state = dynamics.start(x, vec![KT; 2], vec![0.0; 2]).unwrap();
    state.velocities[12..18].copy_from_slice(&[0.0, 12.0, 0.0, 0.0, -12.0, 0.0]);
    let segment = dynamics.advance(&mut state, 100, &mut silent).unwrap();
    let DynamicsOutcome::BlownUp(blow_up) = segment.outcome else { panic!("it did not blow up") };
    assert_eq!((blow_up.walker, blow_up.step), (1, 1));
    assert!(blow_up.atoms.contains(&0) && blow_up.atoms.contains(&1), "{blow_up:?}");
    assert!(matches!(blow_up.reason, BlowUpReason::Constraint { residual } if residual > 0.1));
}

#[test]
fn minimisation_finds_the_minimum_from_a_clash_and_keeps_constraints() {
    let (springs, masses, constraints, x) = constrained_molecule();
    let minimum = MinimizeSettings { tolerance_kj_per_mol_nm: 1e-3, ..Default::default() };
    for constraints in [&constraints[..], &[]] {
        let dynamics =
            Dynamics::new(&springs, &masses, constraints, vec![], settings(0.002, 1.0, 1), Streams::new(1))
                .unwrap();
        let n = 18;
        let mut positions = copies(&x, n);
        let noise = random_positions(n, 17, 0.01);
        positions.iter_mut().zip(&noise).for_each(|(x, noise)| *x += noise);
        let results = dynamics.minimize(&mut positions, &vec![0.0; n], &minimum, &mut silent).unwrap();
        let energies = dynamics.energies(&positions, &vec![0.0; n]).unwrap();
        for (result, energy) in results.iter().zip(energies) {
            assert!(result.converged && result.largest_force <= 1e-3, "{result:?}");
            assert!(result.energy_after < result.energy_before && result.n_steps > 10);
            assert!((result.energy_after - energy).abs() < 1e-6);
        }
        for x in positions.chunks_exact(51) {
            for constraint in constraints {
                let [a, b] = constraint.atoms;
                assert!((distance(x, a, b) / constraint.length_nm - 1.0).abs() < 1e-8);
            }
        }
    }
    // Two atoms on top of each other and a third far away, with stiffnesses a thousand times apart.
    let springs =
        Springs { pairs: vec![(0, 1, 0.1, 1e6), (1, 2, 0.1, 1e3)], n_atoms: 3, ..Default::default() };
    let dynamics =
        Dynamics::new(&springs, &[1.0; 3], &[], vec![], settings(0.002, 1.0, 1), Streams::new(1)).unwrap();
    let mut positions = vec![0.0, 0.0, 0.0, 1e-4, 0.0, 0.0, 0.5, 0.5, 0.0];
    let result =
        dynamics.minimize(&mut positions, &[0.0], &MinimizeSettings::default(), &mut silent).unwrap()[0];
    assert!(result.converged, "{result:?}");
    assert!(
        (distance(&positions, 0, 1) - 0.1).abs() < 1e-5 && (distance(&positions, 1, 2) - 0.1).abs() < 0.02
    );
}

#[test]
fn unusable_arguments_are_named() {
    let springs = gaussian();
    let new = |masses: &[f64], constraints: &[DistanceConstraint], settings| {
        Dynamics::new(&springs, masses, constraints, vec![], settings, Streams::new(1))
            .map(|_| ())
            .map_err(|error| error.to_string())
            .unwrap_err()
    };
    let usual = settings(0.002, 1.0, 10);
    assert!(new(&[1.0; 3], &[], usual).contains("4 positive numbers"));
    assert!(new(&[1.0, 1.0, 0.0, 1.0], &[], usual).contains("the least 0"));
    assert!(new(&MASSES, &fixed(&[(0, 4, 0.1)]), usual).contains("below 4"));
    assert!(new(&MASSES, &fixed(&[(0, 1, 0.1), (1, 0, 0.1)]), usual).contains("once"));
    assert!(new(&MASSES, &fixed(&[(0, 1, -0.1)]), usual).contains("positive length"));
    assert!(new(&MASSES, &[], settings(0.0, 1.0, 10)).contains("dynamics.time_step_ps"));
    assert!(new(&MASSES, &[], DynamicsSettings { pivot_every: 5, ..usual }).contains("pivot moves"));

    let dynamics =
        Dynamics::new(&springs, &MASSES, &fixed(&[(0, 1, 0.1)]), vec![], usual, Streams::new(1)).unwrap();
    assert!(dynamics.start(vec![0.0; 11], vec![KT], vec![0.0]).is_err());
    assert!(dynamics.start(vec![f64::NAN; 12], vec![KT], vec![0.0]).is_err());
    // Coincident atoms have no direction along which a constraint could be met.
    let message = dynamics.start(vec![0.0; 12], vec![KT], vec![0.0]).unwrap_err().to_string();
    assert!(message.contains("walker 0") && message.contains("0-1"), "{message}");
}

/// Time that this thread has had a core; the machine may be shared.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() * 1e-9
}

/// Time per walker and step besides the forces, and per normal number, on one core.
#[test]
#[ignore = "a measurement"]
fn overhead() {
    struct Free(usize);
    impl BlockPotential for Free {
        fn n_atoms(&self) -> usize {
            self.0
        }
        fn workspace(&self) -> BlockWorkspace {
            BlockWorkspace(Box::new(()))
        }
        fn energies_and_forces(
            &self,
            _: &[f64; LANES],
            _: &[f64],
            energies: &mut [f64; LANES],
            forces: &mut [f64],
            _: &mut BlockWorkspace,
        ) {
            energies.fill(0.0);
            forces.fill(0.0);
        }
    }
    let microseconds = |n_atoms: usize, n_clusters: [usize; 3], n_steps: u64| {
        let (mut constraints, mut x, mut masses) = (Vec::new(), Vec::new(), Vec::new());
        for (k, n) in n_clusters.into_iter().enumerate() {
            for _ in 0..n {
                let centre = masses.len();
                let at = 0.5 * centre as f64;
                x.extend([at, 0.0, 0.0]);
                masses.extend([8.0, 4.0, 4.0, 4.0].iter().take(k + 2));
                for leaf in 0..=k {
                    let direction = [[0.1, 0.0, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, 0.1]][leaf];
                    x.extend([at + direction[0], direction[1], direction[2]]);
                    constraints.push((centre, centre + 1 + leaf, 0.1));
                }
            }
        }
        while masses.len() < n_atoms {
            x.extend([0.5 * masses.len() as f64, 0.0, 0.0]);
            masses.push(12.0);
        }
        let free = Free(n_atoms);
        let dynamics = Dynamics::new(
            &free,
            &masses,
            &fixed(&constraints),
            vec![],
            settings(0.004, 1.0, 1000),
            Streams::new(1),
        )
        .unwrap();
        let mut state = dynamics.start(copies(&x, 16), vec![KT; 16], vec![0.0; 16]).unwrap();
        let mut least = f64::INFINITY;
        for _ in 0..5 {
            let start = cpu_seconds();
            let segment = dynamics.advance(&mut state, n_steps, &mut silent).unwrap();
            assert_eq!(segment.outcome, DynamicsOutcome::Completed);
            least = least.min((cpu_seconds() - start) * 1e6 / (16 * n_steps) as f64);
        }
        (least, constraints.len())
    };
    let mut normal = vec![0.0_f32; 1056];
    let noise = noise::LaneNoise::new(&Streams::new(1), crate::random::Purpose::Dynamics, [0; LANES]);
    let start = cpu_seconds();
    for step in 0..20_000 {
        noise.fill(step, &mut normal);
    }
    let nanoseconds = (cpu_seconds() - start) * 1e9 / (20_000.0 * 1056.0);
    // The last: 79 hydrogens on 43 heavy atoms.
    let work = || {
        (
            microseconds(22, [0; 3], 5000),
            microseconds(22, [3, 0, 3], 5000),
            microseconds(166, [18, 14, 11], 500),
        )
    };
    let (free, dipeptide, chignolin) = with_threads(1, work);
    let text = format!(
        "{nanoseconds:.2} ns per normal number; µs per walker and step with numbers of constraints: \
         {free:.2?}, {dipeptide:.2?}, {chignolin:.2?}\n"
    );
    std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).unwrap();
    assert!(nanoseconds < 2.5 && free.0 < 0.5 && chignolin.0 < 6.0, "{text}");
}
