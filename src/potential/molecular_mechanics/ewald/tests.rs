//! The sum on a mesh against the plain one, pairs of cells against all pairs, forces against slopes.
//! Agreement with OpenMM is tested in `tests/periodic.rs`.

use std::f64::consts::PI;

use super::screening::{Gaussian, Screening, erfc};
use super::*;
use crate::force_field::parameters::{EwaldSplitting, Exception, Nonbonded, Parameters};
use crate::potential::{BlockPotential, LANES, MolecularMechanics};
use crate::system::{Atom, Topology};

/// A box with all of its angles.
const SKEWED: [[f64; 3]; 3] = [[2.0, 0.0, 0.0], [0.7, 1.9, 0.0], [-0.6, 0.8, 1.8]];

fn ions(charges: Vec<f64>, box_nm: [[f64; 3]; 3], method: NonbondedMethod) -> Parameters {
    let n = charges.len();
    let atom = Atom {
        name: "X".into(),
        element: "X".into(),
        residue_name: "X".into(),
        residue_id: 1,
        chain: String::new(),
        mass_da: 1.0,
    };
    Parameters {
        topology: Topology::new(vec![atom; n], Vec::new()),
        nonbonded: Nonbonded {
            charges,
            sigma_nm: vec![0.1; n],
            epsilon: vec![0.0; n],
            method,
            ..Nonbonded::default()
        },
        box_vectors_nm: Some(box_nm),
        ..Parameters::default()
    }
}

fn ewald(cutoff_nm: f64, alpha_per_nm: f64, mesh: usize) -> NonbondedMethod {
    NonbondedMethod::ParticleMeshEwald {
        cutoff_nm,
        tolerance: 5e-4,
        switching_nm: None,
        dispersion_correction: false,
        splitting: Some(EwaldSplitting { alpha_per_nm, mesh: [mesh, mesh + 1, mesh + 2] }),
    }
}

fn reaction_field(cutoff_nm: f64) -> NonbondedMethod {
    NonbondedMethod::ReactionField {
        cutoff_nm,
        dielectric: 78.3,
        periodic: true,
        switching_nm: Some(0.8 * cutoff_nm),
        dispersion_correction: true,
    }
}

/// Positions all over a box and beyond its faces, evenly spread (an additive recurrence).
fn scattered(n: usize, box_nm: [[f64; 3]; 3]) -> Vec<f64> {
    const STEPS: [f64; 3] = [0.819_172_513_396, 0.671_043_606_704, 0.549_700_477_902];
    let place = |atom: usize| -> [f64; 3] {
        let s = STEPS.map(|step| (atom as f64 + 0.5) * step % 1.0 * 2.0 - 0.4);
        std::array::from_fn(|axis| (0..3).map(|k| s[k] * box_nm[k][axis]).sum())
    };
    (0..n).flat_map(place).collect()
}

fn energy(parameters: &Parameters, x: &[f64], forces: Option<&mut [f64]>) -> f64 {
    let periodic = Periodic::new(parameters).unwrap().unwrap();
    periodic.energy(periodic.cell(), x, forces, &mut PeriodicMemory::default())
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest))
}

/// Ewald's sum as it stands in textbooks, and its forces; exact where both parts have converged.
fn plain_sum(charges: &[f64], box_nm: [[f64; 3]; 3], x: &[f64], alpha: f64) -> (f64, Vec<f64>) {
    let cell = Cell::new(box_nm, 0.0).unwrap();
    let x = x.as_chunks::<3>().0;
    let mut forces = vec![0.0; 3 * x.len()];
    let mut energy = 0.0;
    let reach = |end: f64, lengths: [f64; 3]| lengths.map(|length| (end / length).ceil() as i64 + 1);
    let images = |reach: [i64; 3]| {
        (-reach[0]..=reach[0]).flat_map(move |i| {
            (-reach[1]..=reach[1])
                .flat_map(move |j| (-reach[2]..=reach[2]).map(move |k| [i as f64, j as f64, k as f64]))
        })
    };
    for shift in images(reach(6.2 / alpha, cell.widths())) {
        let shift = cell.cartesian(shift);
        for i in 0..x.len() {
            for j in 0..x.len() {
                let d: [f64; 3] = std::array::from_fn(|axis| {
                    // Within one box, so that the sum over images is symmetric.
                    (0..3)
                        .map(|k| {
                            (cell.fractional(x[i])[k] - cell.fractional(x[j])[k]) * cell.vectors[k][axis]
                        })
                        .sum::<f64>()
                        + shift[axis]
                });
                let square: f64 = d.iter().map(|d| d * d).sum();
                if square == 0.0 {
                    continue;
                }
                let r = square.sqrt();
                let product = COULOMB * charges[i] * charges[j];
                let value = product * erfc(alpha * r) / r;
                energy += 0.5 * value;
                let gauss = product * 2.0 * alpha / PI.sqrt() * (-alpha * alpha * square).exp();
                for axis in 0..3 {
                    forces[3 * i + axis] += (value + gauss) / square * d[axis];
                }
            }
        }
    }
    let lengths = [0, 1, 2].map(|k| 1.0 / cell.vectors[k].iter().map(|v| v * v).sum::<f64>().sqrt());
    for m in images(reach(6.2 * alpha / PI, lengths)).filter(|m| *m != [0.0; 3]) {
        let k: [f64; 3] =
            std::array::from_fn(|axis| (0..3).map(|b| 2.0 * PI * cell.inverse[axis][b] * m[b]).sum());
        let square: f64 = k.iter().map(|k| k * k).sum();
        let weight = COULOMB * 2.0 * PI / cell.volume * (-square / (4.0 * alpha * alpha)).exp() / square;
        let phase = |x: &[f64; 3]| (0..3).map(|axis| k[axis] * x[axis]).sum::<f64>();
        let (mut cos, mut sin) = (0.0, 0.0);
        for (x, charge) in x.iter().zip(charges) {
            cos += charge * phase(x).cos();
            sin += charge * phase(x).sin();
        }
        energy += weight * (cos * cos + sin * sin);
        for (i, (x, charge)) in x.iter().zip(charges).enumerate() {
            let slope = 2.0 * weight * charge * (phase(x).sin() * cos - phase(x).cos() * sin);
            (0..3).for_each(|axis| forces[3 * i + axis] += slope * k[axis]);
        }
    }
    let net: f64 = charges.iter().sum();
    let squares: f64 = charges.iter().map(|charge| charge * charge).sum();
    energy -= COULOMB * alpha / PI.sqrt() * squares;
    energy -= COULOMB * PI * net * net / (2.0 * alpha * alpha * cell.volume);
    (energy, forces)
}

#[test]
fn screening_has_the_values_of_tables() {
    let gaussian = Gaussian::new(2.0);
    // Abramowitz and Stegun, table 7.1, to more digits.
    let values = [
        (0.1, 0.887_537_083_981_715_2),
        (0.5, 0.479_500_122_186_953_5),
        (1.0, 0.157_299_207_050_285_13),
        (2.0, 4.677_734_981_047_266e-3),
        (3.0, 2.209_049_699_858_544e-5),
        (5.0, 1.537_459_794_428_035e-12),
    ];
    for (x, expected) in values {
        assert!((erfc(x) / expected - 1.0).abs() < 2e-15, "{x}");
    }
    for k in 1..700 {
        let x = 0.01 * f64::from(k) + 0.001_234;
        let [value, gauss] = gaussian.complement(x);
        assert!((value - erfc(x)).abs() < 2e-15, "{x}");
        assert!((gauss - 2.0 / PI.sqrt() * (-x * x).exp()).abs() < 1e-12, "{x}");
    }
    // Both parts together are Coulomb's law, on both sides of the change to a series.
    for r in [1e-3, 4.999e-3, 5.001e-3, 0.1, 0.7] {
        let [direct, direct_slope] = gaussian.pair(r * r, 1.0 / r);
        let [other, other_slope] = gaussian.reciprocal_pair(r * r);
        assert!((r * (direct + other) - 1.0).abs() < 1e-13);
        assert!((r.powi(3) * (direct_slope + other_slope) + 1.0).abs() < 1e-12);
    }
}

#[test]
fn rock_salt_has_its_madelung_constant() {
    let (edge, spacing) = (4, 0.5);
    let sites = (0..edge * edge * edge).map(|k| [k / (edge * edge), k / edge % edge, k % edge]);
    let charges: Vec<f64> =
        sites.clone().map(|site| if site.iter().sum::<usize>() % 2 == 0 { 1.0 } else { -1.0 }).collect();
    // Off the points of the mesh, on which errors would cancel.
    let x: Vec<f64> = sites.flatten().map(|k| spacing * k as f64 + 0.0137).collect();
    let side = spacing * edge as f64;
    let cube = [[side, 0.0, 0.0], [0.0, side, 0.0], [0.0, 0.0, side]];
    let exact = -1.747_564_594_633_182 * COULOMB / spacing * 0.5 * charges.len() as f64;
    let (plain, _) = plain_sum(&charges, cube, &x, 3.0);
    assert!((plain / exact - 1.0).abs() < 1e-12, "{plain} {exact}");
    let mut forces = vec![0.0; x.len()];
    let found = energy(&ions(charges, cube, ewald(0.99, 4.5, 64)), &x, Some(&mut forces));
    assert!((found / exact - 1.0).abs() < 1e-6, "{found} {exact}");
    assert!(largest(&forces) < 2e-3 * COULOMB, "{}", largest(&forces));
}

#[test]
fn the_mesh_agrees_with_the_plain_sum_of_a_charged_skewed_box() {
    let charges: Vec<f64> = (0..12).map(|k| (1.7 * f64::from(k)).sin() + 0.2).collect();
    let x = scattered(charges.len(), SKEWED);
    let (exact, exact_forces) = plain_sum(&charges, SKEWED, &x, 3.0);
    let (other, other_forces) = plain_sum(&charges, SKEWED, &x, 4.5);
    let difference = |a: &[f64], b: &[f64]| largest(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>());
    // The textbook sum does not depend on α: it is right itself.
    assert!((exact - other).abs() < 1e-10 * exact.abs(), "{exact} {other}");
    assert!(difference(&exact_forces, &other_forces) < 1e-10 * largest(&exact_forces));
    let mut errors = Vec::new();
    for mesh in [32, 64] {
        let mut forces = vec![0.0; x.len()];
        let found = energy(&ions(charges.clone(), SKEWED, ewald(0.9, 5.0, mesh)), &x, Some(&mut forces));
        errors.push([(found - exact).abs(), difference(&forces, &exact_forces)]);
    }
    let scale = [exact.abs(), largest(&exact_forces)];
    assert!(errors[1][0] < 1e-6 * scale[0] && errors[1][1] < 5e-5 * scale[1], "{errors:?} of {scale:?}");
    // Forces from splines of order 5 converge as the fourth power of the spacing.
    assert!(errors[0][1] > 16.0 * errors[1][1], "{errors:?} of {scale:?}");
}

/// Twenty atoms with everything: net charge, Lennard-Jones, exclusions, 1-4 exceptions.
fn mixture(method: NonbondedMethod) -> (Parameters, Vec<f64>) {
    let n = 20;
    let mut parameters = ions((0..n).map(|k| (1.3 * k as f64).cos()).collect(), SKEWED, method);
    let nonbonded = &mut parameters.nonbonded;
    nonbonded.sigma_nm = (0..n).map(|k| 0.15 + 0.005 * k as f64).collect();
    nonbonded.epsilon = (0..n).map(|k| if k % 4 == 0 { 0.0 } else { 0.1 * k as f64 }).collect();
    let exception = |i: usize, j: usize, charge_product: f64, epsilon: f64| Exception {
        atoms: [i, j],
        charge_product,
        sigma_nm: 0.2,
        epsilon,
    };
    nonbonded.exceptions =
        vec![exception(1, 0, 0.0, 0.0), exception(1, 2, 0.0, 0.0), exception(3, 0, 0.3, 0.4)];
    let mut x = scattered(n, SKEWED);
    for atom in 1..4 {
        (0..3).for_each(|axis| x[3 * atom + axis] = x[axis] + 0.09 * atom as f64 + 0.05 * axis as f64);
    }
    (parameters, x)
}

#[test]
fn forces_are_the_slopes_of_the_energy() {
    for method in [ewald(0.8, 3.0, 20), reaction_field(0.8)] {
        let (parameters, x) = mixture(method);
        let mut forces = vec![0.0; x.len()];
        energy(&parameters, &x, Some(&mut forces));
        let h = 1e-6;
        for k in 0..x.len() {
            let mut moved = x.clone();
            moved[k] += h;
            let plus = energy(&parameters, &moved, None);
            moved[k] -= 2.0 * h;
            let slope = (plus - energy(&parameters, &moved, None)) / (2.0 * h);
            let allowed = 1e-6 * largest(&forces);
            assert!(
                (forces[k] + slope).abs() < allowed,
                "{k}: {} {slope} of {}",
                forces[k],
                largest(&forces)
            );
        }
    }
}

#[test]
fn images_are_the_same_atoms() {
    for method in [ewald(0.8, 3.0, 20), reaction_field(0.8)] {
        let (parameters, x) = mixture(method);
        let mut forces = vec![0.0; x.len()];
        let expected = energy(&parameters, &x, Some(&mut forces));
        let mut moved = x.clone();
        for atom in 4..20 {
            for axis in 0..3 {
                let vectors = [atom % 3, atom % 5, atom % 2];
                let shift = (0..3).map(|k| (vectors[k] as f64 - 1.0) * SKEWED[k][axis]).sum::<f64>();
                moved[3 * atom + axis] += shift;
            }
        }
        let mut other = vec![0.0; x.len()];
        let found = energy(&parameters, &moved, Some(&mut other));
        assert!((found - expected).abs() < 1e-11 * expected.abs(), "{found} {expected}");
        for (a, b) in forces.iter().zip(&other) {
            assert!((a - b).abs() < 1e-9 * largest(&forces));
        }
        // Other vectors of the same lattice.
        let mut leaning = parameters.clone();
        let [a, b, c] = SKEWED;
        let sum = |x: [f64; 3], y: [f64; 3], n: f64| std::array::from_fn(|k| x[k] + n * y[k]);
        leaning.box_vectors_nm = Some([a, sum(b, a, 2.0), sum(c, b, -1.0)]);
        let found = energy(&leaning, &x, None);
        assert!((found - expected).abs() < 1e-10 * expected.abs(), "{found} {expected}");
    }
}

#[test]
fn the_list_of_cells_finds_every_pair_once_for_any_number_of_threads() {
    // Boxes of one, of few and of many cells along an axis, and more than one task.
    let boxes = [(SKEWED, 0.9), (SKEWED, 0.31), ([[9.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.3, -0.4, 2.0]], 0.5)];
    for ((box_nm, cutoff), n) in boxes.into_iter().flat_map(|case| [(case, 300), (case, 2100)]) {
        let mut parameters =
            ions((0..n).map(|k| (0.7 * k as f64).sin()).collect(), box_nm, reaction_field(cutoff));
        parameters.nonbonded.sigma_nm = vec![0.03; n];
        parameters.nonbonded.epsilon = vec![0.5; n];
        let x = scattered(n, box_nm);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut forces = vec![0.0; x.len()];
            let total = pool.install(|| energy(&parameters, &x, Some(&mut forces)));
            (total, forces)
        };
        let (found, forces) = run(1);
        assert_eq!((found, forces.clone()), run(3));

        let periodic = Periodic::new(&parameters).unwrap().unwrap();
        let Coulomb::ReactionField(field) = &periodic.coulomb else { unreachable!() };
        let (cell, begin) = (periodic.cell(), 0.8 * cutoff);
        let sites: Vec<[f64; 3]> = x.as_chunks::<3>().0.iter().map(|x| cell.fractional(*x)).collect();
        let mut expected = periodic.dispersion / cell.volume;
        // All atoms of the small system, some of the large one.
        let looked_at = if n == 300 { n } else { 20 };
        for i in 0..looked_at {
            let mut force = [0.0; 3];
            // The nearest image is among these, since the box is reduced.
            for (j, image) in (0..n).filter(|j| *j != i).flat_map(|j| (0..27).map(move |image| (j, image))) {
                let s: [f64; 3] = std::array::from_fn(|axis| {
                    let d = sites[i][axis] - sites[j][axis];
                    d - d.round() + [image / 9, image / 3 % 3, image % 3][axis] as f64 - 1.0
                });
                let d = cell.cartesian(s);
                let square: f64 = d.iter().map(|d| d * d).sum();
                if square >= cutoff * cutoff {
                    continue;
                }
                let r = square.sqrt();
                let [coulomb, slope] = field.pair(square, 1.0 / r);
                let product = periodic.atoms.charges[i] * periodic.atoms.charges[j];
                let sixth = (0.03 / r).powi(6);
                let [factor, change] = direct::switch(((r - begin) / (cutoff - begin)).max(0.0));
                let bare = 2.0 * sixth * (sixth - 1.0);
                expected += 0.5 * (product * coulomb + bare * factor);
                let steep = 2.0 * sixth * (6.0 - 12.0 * sixth) / square * factor
                    + bare * change / (cutoff - begin) / r
                    + product * slope;
                (0..3).for_each(|axis| force[axis] -= steep * d[axis]);
            }
            for (axis, expected) in force.into_iter().enumerate() {
                let found = forces[3 * i + axis];
                assert!((found - expected).abs() < 1e-9 * largest(&forces), "{found} {expected}");
            }
        }
        if looked_at == n {
            assert!((found - expected).abs() < 1e-9 * expected.abs(), "{found} {expected}");
        }
    }
}

#[test]
fn lanes_and_frames_agree_and_each_frame_may_have_its_box() {
    let (parameters, x) = mixture(ewald(0.8, 3.0, 20));
    let n = x.len() / 3;
    let mechanics = MolecularMechanics::new(&parameters).unwrap();
    assert!(mechanics.is_periodic());
    let frames: Vec<f64> =
        (0..LANES).flat_map(|lane| x.iter().map(move |x| x * (1.0 + 0.01 * (lane / 2) as f64))).collect();
    let mut by_frame = vec![0.0; frames.len()];
    let expected = mechanics.energies(&frames, Some(&mut by_frame));
    let lanes: Vec<f64> = (0..frames.len()).map(|k| frames[k % LANES * 3 * n + k / LANES]).collect();
    let (mut energies, mut forces) = ([0.0; LANES], vec![0.0; lanes.len()]);
    let mut workspace = mechanics.workspace();
    mechanics.energies_and_forces(&[1.0; LANES], &lanes, &mut energies, &mut forces, &mut workspace);
    for (lane, expected) in expected.iter().enumerate() {
        assert!((energies[lane] - expected.total()).abs() < 1e-12 * expected.total().abs());
    }
    for (k, force) in forces.iter().enumerate() {
        assert_eq!(*force, by_frame[k % LANES * 3 * n + k / LANES]);
    }

    let wider = SKEWED.map(|row| row.map(|value| 1.1 * value));
    let found = mechanics.energies_in_boxes(&frames[..6 * n], &[SKEWED, wider], None).unwrap();
    assert_eq!(found[0], expected[0]);
    let other = Parameters { box_vectors_nm: Some(wider), ..parameters };
    let total = energy(&other, &frames[3 * n..6 * n], None);
    assert!((found[1].nonbonded - total).abs() < 1e-12 * total.abs());
    let narrow = SKEWED.map(|row| row.map(|value| 0.5 * value));
    let message = mechanics.energies_in_boxes(&x, &[narrow], None).unwrap_err().to_string();
    assert!(message.contains("twice the cutoff"), "{message}");
}

#[test]
fn coinciding_atoms_have_a_huge_but_finite_energy() {
    let (parameters, mut x) = mixture(ewald(0.8, 3.0, 20));
    x.copy_within(21..24, 27);
    let total = energy(&parameters, &x, None);
    assert!(total.is_finite() && total > 1e10, "{total}");
    x[40] = f64::NAN;
    assert!(energy(&parameters, &x, None).is_nan());
}
