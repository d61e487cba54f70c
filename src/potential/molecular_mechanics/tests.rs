use super::*;
use crate::force_field::parameters::*;

fn dumped(name: &str) -> (Parameters, serde_json::Value) {
    let text = std::fs::read_to_string(format!("/work/exp/mm/{name}.json")).unwrap();
    let v: serde_json::Value = serde_json::from_str(&text).unwrap();
    let rows = |k: &str| -> Vec<Vec<f64>> {
        v.get(k).map_or(vec![], |x| serde_json::from_value(x.clone()).unwrap())
    };
    let n = v["n"].as_u64().unwrap() as usize;
    let atom = crate::system::Atom {
        name: "C".into(),
        element: "C".into(),
        residue_name: "X".into(),
        residue_id: 1,
        chain: String::new(),
        mass_da: 12.0,
    };
    let mut p =
        Parameters { topology: crate::system::Topology::new(vec![atom; n], vec![]), ..Default::default() };
    for r in rows("bonds") {
        p.bonds.push(HarmonicBond {
            atoms: [r[0] as usize, r[1] as usize],
            length_nm: r[2],
            stiffness: r[3],
        });
    }
    for r in rows("angles") {
        p.angles.push(HarmonicAngle {
            atoms: [r[0] as usize, r[1] as usize, r[2] as usize],
            angle_rad: r[3],
            stiffness: r[4],
        });
    }
    for r in rows("torsions") {
        p.torsions.push(PeriodicTorsion {
            atoms: [r[0] as usize, r[1] as usize, r[2] as usize, r[3] as usize],
            periodicity: r[4] as u32,
            phase_rad: r[5],
            barrier: r[6],
        });
    }
    for r in rows("nb") {
        p.nonbonded.charges.push(r[0]);
        p.nonbonded.sigma_nm.push(r[1]);
        p.nonbonded.epsilon.push(r[2]);
    }
    for r in rows("exc") {
        p.nonbonded.exceptions.push(Exception {
            atoms: [r[0] as usize, r[1] as usize],
            charge_product: r[2],
            sigma_nm: r[3],
            epsilon: r[4],
        });
    }
    let gb = rows("gb");
    let obc2 = rows("obc2");
    if !gb.is_empty() || !obc2.is_empty() {
        let gbn2 = gb.first().is_some_and(|r| r.len() > 3);
        let offset = if gbn2 { 0.0195141 } else { 0.009 };
        let atoms = if obc2.is_empty() {
            gb.iter()
                .map(|r| BornAtom {
                    charge: r[0],
                    radius_nm: r[1] + offset,
                    offset_radius_nm: r[1],
                    scaled_radius_nm: r[2],
                    alpha: if gbn2 { r[3] } else { 0.8 },
                    beta: if gbn2 { r[4] } else { 0.0 },
                    gamma: if gbn2 { r[5] } else { 2.909125 },
                })
                .collect()
        } else {
            obc2.iter()
                .map(|r| BornAtom {
                    charge: r[0],
                    radius_nm: r[1],
                    offset_radius_nm: r[1] - 0.009,
                    scaled_radius_nm: (r[1] - 0.009) * r[2],
                    alpha: 1.0,
                    beta: 0.8,
                    gamma: 4.85,
                })
                .collect()
        };
        let neck = gbn2.then(|| Neck {
            classes: gb.iter().map(|r| r[6] as usize).collect(),
            n_classes: (v["d0"].as_array().unwrap().len() as f64).sqrt() as usize,
            d0_nm: {
                let d: Vec<f64> = serde_json::from_value(v["d0"].clone()).unwrap();
                transpose(&d)
            },
            m0_per_nm: {
                let d: Vec<f64> = serde_json::from_value(v["m0"].clone()).unwrap();
                transpose(&d)
            },
            scale: 0.826836,
            cutoff_nm: 0.68,
        });
        p.implicit_solvent = Some(ImplicitSolvent {
            model: GeneralizedBorn::Obc1,
            solute_dielectric: 1.0,
            solvent_dielectric: 78.5,
            kappa_per_nm: 0.0,
            coulomb: if obc2.is_empty() { COULOMB_CUSTOM_GB } else { COULOMB },
            atoms,
            neck,
            surface_area: Some(SurfaceArea {
                factor: if obc2.is_empty() { 28.3919551 } else { 4.0 * std::f64::consts::PI * 2.25936 },
                probe_nm: 0.14,
            }),
            fills_engulfed: !obc2.is_empty(),
        });
    }
    (p, v)
}

/// OpenMM tables run with the first index fastest.
fn transpose(d: &[f64]) -> Vec<f64> {
    let n = (d.len() as f64).sqrt() as usize;
    (0..n * n).map(|k| d[(k / n) + n * (k % n)]).collect()
}

#[test]
fn dev_reference() {
    for name in ["aldp_vac", "aldp_obc1", "aldp_obc2", "aldp_gbn2", "chig"] {
        let (p, v) = dumped(name);
        let m = MolecularMechanics::new(&p).unwrap();
        let x: Vec<Vec<f64>> = serde_json::from_value(v["x"].clone()).unwrap();
        let flat: Vec<f64> = x.concat();
        let f_ref: Vec<Vec<f64>> = serde_json::from_value(v["F"].clone()).unwrap();
        let f_ref = f_ref.concat();
        for precision in [Precision::Double, Precision::Single] {
            let mut f = vec![0.0; flat.len()];
            let e = m.evaluate(precision, &[], &flat, Some(&mut f));
            let e2 = m.evaluate(precision, &[], &flat, None);
            let mut worst = [0.0f64; 6];
            for (k, e) in e.iter().enumerate() {
                let r = |key: &str| v["E"][k].get(key).and_then(|x| x.as_f64()).unwrap_or(0.0);
                let d = [
                    e.bond - r("HarmonicBondForce"),
                    e.angle - r("HarmonicAngleForce"),
                    e.torsion - r("PeriodicTorsionForce"),
                    e.nonbonded - r("NonbondedForce"),
                    e.implicit_solvent - r("CustomGBForce") - r("GBSAOBCForce"),
                    e.total() - e2[k].total(),
                ];
                for (w, d) in worst.iter_mut().zip(d) {
                    *w = w.max(d.abs());
                }
            }
            let fw = f.iter().zip(&f_ref).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            let fm = f_ref.iter().map(|a| a.abs()).fold(0.0, f64::max);
            println!("{name} {precision:?} {worst:?} force {fw:.2e} of {fm:.1}");
        }
    }
}

#[test]
fn dev_speed() {
    for name in ["aldp_vac", "aldp_obc1", "aldp_obc2", "aldp_gbn2", "chig"] {
        let (p, v) = dumped(name);
        let m = MolecularMechanics::new(&p).unwrap();
        let x: Vec<Vec<f64>> = serde_json::from_value(v["x"].clone()).unwrap();
        let d = x[0].len();
        let mut block = vec![0.0; d * LANES];
        for lane in 0..LANES {
            for c in 0..d {
                block[c * LANES + lane] = x[lane][c];
            }
        }
        let mut ws = m.workspace();
        let (mut e, mut f) = ([0.0; LANES], vec![0.0; d * LANES]);
        let reps = if d < 100 { 20000 } else { 300 };
        let mut best = f64::INFINITY;
        for _ in 0..8 {
            let t = std::time::Instant::now();
            for _ in 0..reps / 8 {
                m.energies_and_forces(&[1.0; LANES], &block, &mut e, &mut f, &mut ws);
            }
            best = best.min(t.elapsed().as_secs_f64() / (reps / 8) as f64 / LANES as f64);
        }
        println!("{name} {:.3} us", best * 1e6);
    }
}
