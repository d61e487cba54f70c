//! A molecule with every kind of term, checked by finite differences, by symmetry and by closed forms;
//! agreement with OpenMM is tested in `tests/energy.rs`.

use super::*;
use crate::force_field::parameters::*;
use crate::potential::PotentialPath;
use crate::random::{Purpose, Streams, fill_normal};
use crate::system::{Atom, Topology};
use crate::units::Temperature;

const N: usize = 9;

/// A branched chain of nine atoms, one conformation after the other in nm.
fn conformations(n_frames: usize, spread: f64) -> Vec<f64> {
    let mut rng = Streams::new(5).stream(Purpose::Walker, 0);
    let mut x = vec![0.0; 3 * N * n_frames];
    fill_normal(&mut rng, &mut x);
    for (k, value) in x.iter_mut().enumerate() {
        let (atom, axis) = (k / 3 % N, k % 3);
        let t = atom as f64;
        let ideal = [0.12 * t, 0.07 * (1.7 * t).sin(), 0.07 * (2.3 * t).cos()][axis];
        *value = ideal + spread * *value;
    }
    x
}

#[derive(Clone, Copy, PartialEq)]
enum Solvent {
    Vacuum,
    Obc,
    Gbn2,
    Salt,
}

fn molecule(solvent: Solvent) -> Parameters {
    let atom = Atom {
        name: "C".into(),
        element: "C".into(),
        residue_name: "MOL".into(),
        residue_id: 1,
        chain: String::new(),
        mass_da: 12.0,
    };
    let bond_pairs: Vec<[usize; 2]> = (0..N - 1).map(|i| [i, i + 1]).collect();
    let charges: Vec<f64> = (0..N).map(|i| 0.4 * (1.3 * i as f64 + 0.5).sin()).collect();
    let mut exceptions = Vec::new();
    for i in 0..N {
        for j in i + 1..N.min(i + 4) {
            let scale = if j - i == 3 { 1.0 } else { 0.0 };
            let exception = Exception {
                atoms: [j, i],
                charge_product: scale * charges[i] * charges[j] / 1.2,
                sigma_nm: 0.2,
                epsilon: scale * 0.2,
            };
            exceptions.push(exception);
        }
    }
    let born = |i: usize| {
        let radius_nm = 0.12 + 0.006 * i as f64;
        BornAtom {
            charge: charges[i],
            radius_nm,
            offset_radius_nm: radius_nm - 0.009,
            scaled_radius_nm: 0.8 * (radius_nm - 0.009),
            alpha: 1.0,
            beta: 0.8,
            gamma: 4.85,
        }
    };
    let implicit_solvent = (solvent != Solvent::Vacuum).then(|| ImplicitSolvent {
        model: GeneralizedBorn::Obc2,
        solute_dielectric: 1.0,
        solvent_dielectric: 78.5,
        kappa_per_nm: if solvent == Solvent::Salt { 0.9 } else { 0.0 },
        coulomb: COULOMB,
        atoms: (0..N).map(born).collect(),
        neck: (solvent == Solvent::Gbn2).then(|| Neck {
            classes: (0..N).map(|i| i % 2).collect(),
            n_classes: 2,
            d0_nm: vec![0.27, 0.31, 0.29, 0.33],
            m0_per_nm: vec![0.28, 0.19, 0.25, 0.14],
            scale: 0.826_836,
            cutoff_nm: 0.68,
        }),
        surface_area: Some(SurfaceArea { factor: 28.391_955_1, probe_nm: 0.14 }),
        fills_engulfed: false,
    });
    let torsion = |i: usize, periodicity: u32, phase_rad: f64, barrier: f64| PeriodicTorsion {
        atoms: [i, i + 1, i + 2, i + 3],
        periodicity,
        phase_rad,
        barrier,
    };
    let size = 12;
    let energies = (0..size * size).map(|k| 3.0 * (0.5 * k as f64).sin() + (0.13 * k as f64).cos()).collect();
    Parameters {
        topology: Topology::new(vec![atom; N], bond_pairs.clone()),
        bonds: (bond_pairs.iter())
            .map(|&atoms| HarmonicBond { atoms, length_nm: 0.15, stiffness: 2.5e5 })
            .collect(),
        angles: (0..N - 2)
            .map(|i| HarmonicAngle { atoms: [i, i + 1, i + 2], angle_rad: 1.9, stiffness: 500.0 })
            .collect(),
        torsions: vec![
            torsion(0, 1, 0.0, 5.0),
            torsion(0, 3, 3.141_594, 2.0),
            torsion(1, 2, 0.7, -3.0),
            torsion(3, 6, 1.1, 0.5),
        ],
        ryckaert_bellemans: vec![RyckaertBellemansTorsion {
            atoms: [2, 3, 4, 5],
            coefficients: [9.28, 12.16, -13.12, -3.06, 26.24, -31.5],
        }],
        cmap_grids: vec![CmapGrid { size, energies }],
        cmaps: vec![Cmap { first: [1, 2, 3, 4], second: [2, 3, 4, 5], grid: 0 }],
        nonbonded: Nonbonded {
            charges: charges.clone(),
            sigma_nm: (0..N).map(|i| 0.2 + 0.01 * i as f64).collect(),
            epsilon: (0..N).map(|i| 0.3 + 0.05 * i as f64).collect(),
            pair_table: None,
            exceptions,
            method: NonbondedMethod::NoCutoff,
        },
        implicit_solvent,
        constraints: Vec::new(),
        box_vectors_nm: None,
    }
}

/// Largest difference of forces and the central differences of the total.
fn force_error(mechanics: &MolecularMechanics, lambda: f64, x: &[f64]) -> f64 {
    let mut forces = vec![0.0; x.len()];
    mechanics.evaluate(Precision::Double, &[lambda], x, Some(&mut forces));
    let h = 1e-6;
    let energy = |k: usize, h: f64| {
        let mut moved = x.to_vec();
        moved[k] += h;
        mechanics.evaluate(Precision::Double, &[lambda], &moved, None)[0].total()
    };
    (0..x.len()).map(|k| (forces[k] + (energy(k, h) - energy(k, -h)) / (2.0 * h)).abs()).fold(0.0, f64::max)
}

#[test]
fn forces_are_the_slopes_of_the_energy() {
    for solvent in [Solvent::Vacuum, Solvent::Obc, Solvent::Gbn2, Solvent::Salt] {
        let mechanics = MolecularMechanics::new(&molecule(solvent)).unwrap();
        let error = force_error(&mechanics, 1.0, &conformations(1, 0.01));
        assert!(error < 2e-4, "{error}");
    }
    let mut cut = molecule(Solvent::Vacuum);
    for (periodic, switching_nm) in [(false, None), (true, Some(0.35))] {
        cut.nonbonded.method = NonbondedMethod::ReactionField {
            cutoff_nm: 0.45,
            dielectric: 78.3,
            periodic,
            switching_nm,
            dispersion_correction: periodic,
        };
        cut.box_vectors_nm = Some([[1.2, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.95]]);
        let error = force_error(&MolecularMechanics::new(&cut).unwrap(), 1.0, &conformations(1, 0.01));
        assert!(error < 2e-4, "{error}");
    }
}

#[test]
fn overlapping_spheres_keep_exact_forces() {
    // Atoms 2 and 3 so close that one lies inside the descreening sphere of the other.
    for fills in [false, true] {
        let mut parameters = molecule(Solvent::Obc);
        if let Some(solvent) = &mut parameters.implicit_solvent {
            solvent.fills_engulfed = fills;
            solvent.atoms[3].scaled_radius_nm = 0.3;
        }
        let mut x = conformations(1, 0.01);
        for axis in 0..3 {
            x[9 + axis] = x[6 + axis] + 0.03;
        }
        let mechanics = MolecularMechanics::new(&parameters).unwrap();
        let error = force_error(&mechanics, 1.0, &x);
        assert!(error < 5e-3, "{error}");
    }
}

#[test]
fn coinciding_atoms_have_a_huge_but_finite_energy() {
    let mechanics = MolecularMechanics::new(&molecule(Solvent::Gbn2)).unwrap();
    let mut x = conformations(1, 0.01);
    x.copy_within(0..3, 24);
    for precision in [Precision::Double, Precision::Single] {
        let mut forces = vec![0.0; x.len()];
        let total = mechanics.evaluate(precision, &[], &x, Some(&mut forces))[0].total();
        assert!(total.is_finite() && total > 1e10, "{total}");
    }
}

#[test]
fn single_precision_and_every_block_size_agree_with_double() {
    let x = conformations(37, 0.004);
    for solvent in [Solvent::Vacuum, Solvent::Obc, Solvent::Gbn2, Solvent::Salt] {
        let mechanics = MolecularMechanics::new(&molecule(solvent)).unwrap();
        let (mut exact_forces, mut forces) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let exact = mechanics.energies(&x, Some(&mut exact_forces));
        let single = mechanics.single_precision_energies(&x, Some(&mut forces));
        let without_forces = mechanics.single_precision_energies(&x, None);
        for ((exact, single), without_forces) in exact.iter().zip(&single).zip(&without_forces) {
            // The bonds of this molecule are strained to 1e4 kJ/mol.
            assert!((exact.bond - single.bond).abs() < 1e-6 * exact.bond + 1e-4);
            assert!((exact.nonbonded - single.nonbonded).abs() < 1e-6 * exact.nonbonded.abs() + 1e-4);
            assert!((exact.implicit_solvent - single.implicit_solvent).abs() < 2e-4);
            assert!((exact.torsion + exact.angle - single.torsion - single.angle).abs() < 1e-3);
            assert_eq!(single, without_forces);
        }
        let largest = exact_forces.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        for (exact, single) in exact_forces.iter().zip(&forces) {
            assert!((exact - single).abs() < 3e-6 * largest, "{exact} {single} of {largest}");
        }
    }
}

#[test]
fn blocks_of_lanes_give_what_frames_give() {
    let mechanics = MolecularMechanics::along(&molecule(Solvent::Obc), AlchemicalPath::GbCharges).unwrap();
    let x = conformations(LANES, 0.01);
    let lambda: [f64; LANES] = std::array::from_fn(|lane| lane as f64 / 15.0);
    let mut lanes = vec![0.0; x.len()];
    for (k, value) in lanes.iter_mut().enumerate() {
        *value = x[k % LANES * 3 * N + k / LANES] + 4.0;
    }
    let (mut energies, mut forces) = ([0.0; LANES], vec![0.0; x.len()]);
    let mut workspace = mechanics.workspace();
    mechanics.energies_and_forces(&lambda, &lanes, &mut energies, &mut forces, &mut workspace);
    let mut by_frame = vec![0.0; x.len()];
    let terms = mechanics.evaluate(Precision::Single, &lambda, &x, Some(&mut by_frame));
    for (k, force) in forces.iter().enumerate() {
        let expected = by_frame[k % LANES * 3 * N + k / LANES];
        assert!((force - expected).abs() < 0.1 + 1e-5 * expected.abs(), "{force} {expected}");
    }
    for (energy, terms) in energies.iter().zip(&terms) {
        assert!((energy - terms.total()).abs() < 1e-6 * terms.total().abs());
    }
}

#[test]
fn rotations_change_nothing_and_forces_have_no_net_force_or_torque() {
    let mechanics = MolecularMechanics::new(&molecule(Solvent::Gbn2)).unwrap();
    let x = conformations(1, 0.01);
    let (sin, cos) = 0.9_f64.sin_cos();
    let turned: Vec<f64> = (x.as_chunks::<3>().0.iter())
        .flat_map(|[a, b, c]| [cos * a - sin * b + 3.0, sin * a + cos * b - 1.0, *c])
        .collect();
    let mut forces = vec![0.0; x.len()];
    let (one, other) = (mechanics.energies(&x, Some(&mut forces)), mechanics.energies(&turned, None));
    assert!((one[0].total() - other[0].total()).abs() < 1e-10 * one[0].total().abs());
    let largest = forces.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    for (i, j) in [(0, 1), (1, 2), (2, 0)] {
        let net: f64 = forces.iter().skip(i).step_by(3).sum();
        let torque: f64 = (0..N)
            .map(|atom| x[3 * atom + i] * forces[3 * atom + j] - x[3 * atom + j] * forces[3 * atom + i])
            .sum();
        assert!(net.abs() < 1e-10 * largest && torque.abs() < 1e-10 * largest, "{net} {torque}");
    }
}

#[test]
fn lambda_has_its_meaning_and_its_derivative() {
    let parameters = molecule(Solvent::Gbn2);
    let x = conformations(3, 0.01);
    let physical = MolecularMechanics::new(&parameters).unwrap().energies(&x, None);
    let paths = [
        AlchemicalPath::GbCharges,
        AlchemicalPath::ImplicitSolvent,
        AlchemicalPath::Charges { atoms: vec![0, 4, 5] },
        AlchemicalPath::SoftCore { atoms: vec![0, 4, 5], within: false },
        AlchemicalPath::SoftCore { atoms: (0..N).collect(), within: true },
    ];
    for path in paths {
        let mechanics = MolecularMechanics::along(&parameters, path.clone()).unwrap();
        let at = |lambda: f64| mechanics.evaluate(Precision::Double, &[lambda; 3], &x, None);
        for (end, physical) in at(1.0).iter().zip(&physical) {
            assert!((end.total() - physical.total()).abs() < 1e-9, "{path:?}");
        }
        for (frame, polynomial) in mechanics.lambda_polynomials(&x).into_iter().flatten().enumerate() {
            let [a, b, c] = polynomial;
            let exact = at(0.3)[frame].total();
            assert!((a + 0.3 * b + 0.09 * c - exact).abs() < 1e-9, "{path:?} {exact}");
        }
        for lambda in [0.0, 0.3, 1.0] {
            let h = 1e-5;
            let derivatives = mechanics.lambda_derivatives(&[lambda; 3], &x);
            for ((derivative, plus), minus) in derivatives.iter().zip(at(lambda + h)).zip(at(lambda - h)) {
                let numeric = (plus.total() - minus.total()) / (2.0 * h);
                assert!(
                    (derivative - numeric).abs() < 1e-5 * numeric.abs() + 1e-4,
                    "{path:?} at {lambda}: {derivative} {numeric}"
                );
            }
            assert!(force_error(&mechanics, lambda, &x[..3 * N]) < 2e-4, "{path:?} at {lambda}");
        }
    }
    // Without any solvent it is the vacuum.
    let vacuum = Parameters { implicit_solvent: None, ..parameters.clone() };
    let vacuum = MolecularMechanics::new(&vacuum).unwrap().energies(&x, None);
    let begin = MolecularMechanics::along(&parameters, AlchemicalPath::ImplicitSolvent).unwrap();
    for (begin, vacuum) in begin.evaluate(Precision::Double, &[0.0; 3], &x, None).iter().zip(vacuum) {
        assert!((begin.total() - vacuum.total()).abs() < 1e-9 && begin.implicit_solvent == 0.0);
    }
    // Without charges nothing is left of generalised Born but the surface.
    let bare = MolecularMechanics::along(&parameters, AlchemicalPath::Charges { atoms: (0..N).collect() })
        .unwrap()
        .evaluate(Precision::Double, &[0.0; 3], &x, None);
    for terms in bare {
        assert!((terms.implicit_solvent - terms.surface_area).abs() < 1e-12);
    }
}

#[test]
fn a_path_of_temperatures_scales_the_energy() {
    let mechanics = MolecularMechanics::new(&molecule(Solvent::Obc)).unwrap();
    let kelvin = |t: f64| Temperature::from_kelvin(t).unwrap();
    let path = TemperaturePath {
        mechanics: &mechanics,
        first: kelvin(300.0),
        last: kelvin(600.0),
        precision: Precision::Double,
    };
    let x = conformations(1, 0.01);
    let mut u = [0.0];
    path.energies(&[1.0], &x, &mut u).unwrap();
    let expected = mechanics.energies(&x, None)[0].total() / (crate::units::GAS_CONSTANT * 600.0);
    assert!((u[0] - expected).abs() < 1e-12 * expected.abs());
    let (mut plus, mut minus, mut slope) = ([0.0], [0.0], [0.0]);
    path.energies(&[0.4001], &x, &mut plus).unwrap();
    path.energies(&[0.3999], &x, &mut minus).unwrap();
    path.lambda_derivatives(&[0.4], &x, &mut slope).unwrap();
    assert!((slope[0] - (plus[0] - minus[0]) / 2e-4).abs() < 1e-5 * slope[0].abs());
}

/// Pairs that are made row by row and slopes that are computed twice, as for large molecules.
#[test]
fn nothing_stored_changes_nothing() {
    let x = conformations(5, 0.01);
    for solvent in [Solvent::Vacuum, Solvent::Obc, Solvent::Gbn2, Solvent::Salt] {
        let mut mechanics = MolecularMechanics::new(&molecule(solvent)).unwrap();
        let evaluate = |mechanics: &MolecularMechanics, precision| {
            let mut forces = vec![0.0; x.len()];
            (mechanics.evaluate(precision, &[], &x, Some(&mut forces)), forces)
        };
        let cases = [(Precision::Double, 1e-12), (Precision::Single, 1e-5)];
        let expected = cases.map(|(precision, _)| evaluate(&mechanics, precision));
        mechanics.double.pairs.forget();
        mechanics.single.pairs.forget();
        for ((precision, tolerance), (energies, forces)) in cases.into_iter().zip(expected) {
            let (found, found_forces) = evaluate(&mechanics, precision);
            assert_eq!(found, energies);
            let largest = forces.iter().fold(0.0_f64, |largest, force| largest.max(force.abs()));
            for (found, expected) in found_forces.iter().zip(&forces) {
                assert!((found - expected).abs() < tolerance * largest, "{found} {expected}");
            }
        }
    }
}

/// Two atoms, each in the field of the other: Coulomb's law, the depth of the Lennard-Jones well, and
/// the generalised-Born energy of two ions far apart.
#[test]
fn two_ions_have_closed_forms() {
    let mut parameters = molecule(Solvent::Obc);
    let n = 2;
    parameters.topology.atoms.truncate(n);
    parameters.topology.bonds.clear();
    parameters.bonds.clear();
    parameters.angles.clear();
    parameters.torsions.clear();
    parameters.ryckaert_bellemans.clear();
    parameters.cmaps.clear();
    let nonbonded = &mut parameters.nonbonded;
    nonbonded.exceptions.clear();
    nonbonded.charges = vec![1.0, -1.0];
    nonbonded.sigma_nm = vec![0.3; 2];
    nonbonded.epsilon = vec![0.5; 2];
    let solvent = parameters.implicit_solvent.as_mut().unwrap();
    solvent.atoms.truncate(n);
    (solvent.atoms[0].charge, solvent.atoms[1].charge) = (1.0, -1.0);
    solvent.surface_area = None;
    let radii: Vec<f64> = solvent.atoms.iter().map(|atom| atom.offset_radius_nm).collect();
    let mechanics = MolecularMechanics::new(&parameters).unwrap();
    let r = 50.0;
    let terms = mechanics.energies(&[0.0, 0.0, 0.0, r, 0.0, 0.0], None)[0];
    assert!((terms.nonbonded + COULOMB / r).abs() < 1e-9);
    let tau = COULOMB * (1.0 - 1.0 / 78.5);
    // Born's formula for each, with the offset radius: far away nothing descreens.
    let expected = -0.5 * tau * (1.0 / radii[0] + 1.0 / radii[1]) + tau / r;
    assert!((terms.implicit_solvent - expected).abs() < 1e-3, "{} {expected}", terms.implicit_solvent);
    let well = 0.3 * 2.0_f64.powf(1.0 / 6.0);
    let terms = mechanics.energies(&[0.0, 0.0, 0.0, 0.0, well, 0.0], None)[0];
    assert!((terms.nonbonded + COULOMB / well + 0.5).abs() < 1e-9);
}

#[test]
fn what_cannot_be_computed_is_named() {
    let mut parameters = molecule(Solvent::Vacuum);
    parameters.nonbonded.method = NonbondedMethod::ParticleMeshEwald {
        cutoff_nm: 1.0,
        tolerance: 5e-4,
        switching_nm: None,
        dispersion_correction: false,
        splitting: None,
    };
    let message = MolecularMechanics::new(&parameters).err().unwrap().to_string();
    assert!(message.contains("a box"), "{message}");
    parameters.box_vectors_nm = Some([[1.9, 0.0, 0.0], [0.0, 2.1, 0.0], [0.0, 0.0, 2.1]]);
    let message = MolecularMechanics::new(&parameters).err().unwrap().to_string();
    assert!(message.contains("twice the cutoff of 1 nm"), "{message}");
    let mut solvated = molecule(Solvent::Obc);
    (solvated.nonbonded.method, solvated.box_vectors_nm) =
        (parameters.nonbonded.method, parameters.box_vectors_nm);
    let message = MolecularMechanics::new(&solvated).err().unwrap().to_string();
    assert!(message.contains("generalised Born"), "{message}");
    let vacuum = molecule(Solvent::Vacuum);
    let message = MolecularMechanics::along(&vacuum, AlchemicalPath::GbCharges).err().unwrap().to_string();
    assert!(message.contains("implicit solvent"), "{message}");
    let path = AlchemicalPath::Charges { atoms: vec![99] };
    let message = MolecularMechanics::along(&vacuum, path).err().unwrap().to_string();
    assert!(message.contains("0 to 8"), "{message}");
}
