//! What lets hydrogens take longer steps: masses moved onto them, and bonds of fixed length.
//!
//! Equilibrium averages over positions do not depend on masses. With hydrogens of 3 or 4 Da and their
//! bonds constrained, steps of 4 fs are as accurate as 2 fs without (Feenstra, Hess and Berendsen 1999;
//! Hopkins et al. 2015).

use crate::error::{Error, Result};
use crate::force_field::{DistanceConstraint, Parameters};
use crate::system::Topology;

/// Masses in Da in which every hydrogen bonded to a heavier atom has `hydrogen_mass_da`, taken from that
/// atom, so that each molecule keeps its mass.
///
/// Hydrogens that have this mass already stay as they are. Fails where the heavy atom would be left with
/// less than 1 Da; a carbon of a methyl group with hydrogens of 4 Da keeps 3 Da, which is common practice.
pub fn repartition_hydrogen_mass(
    topology: &Topology,
    masses_da: &[f64],
    hydrogen_mass_da: f64,
) -> Result<Vec<f64>> {
    if masses_da.len() != topology.n_atoms() {
        let expected = format!("{} masses", topology.n_atoms());
        return Err(Error::invalid("hydrogen mass repartitioning", expected, format!("{}", masses_da.len())));
    }
    if !(hydrogen_mass_da > 0.0 && hydrogen_mass_da.is_finite()) {
        let found = format!("{hydrogen_mass_da}");
        return Err(Error::invalid("hydrogen mass", "a positive number of Da", found));
    }
    let mut masses = masses_da.to_vec();
    for &[a, b] in &topology.bonds {
        let (hydrogen, heavy) = match (is_hydrogen(topology, a), is_hydrogen(topology, b)) {
            (true, false) => (a, b),
            (false, true) => (b, a),
            _ => continue,
        };
        masses[heavy] -= hydrogen_mass_da - masses[hydrogen];
        masses[hydrogen] = hydrogen_mass_da;
    }
    for (atom, mass) in masses.iter().enumerate() {
        if *mass < masses_da[atom] && !is_hydrogen(topology, atom) && *mass < 1.0 {
            return Err(Error::invalid(
                "hydrogen mass",
                format!("a mass that leaves {} at least 1 Da", topology.atoms[atom].describe()),
                format!("{hydrogen_mass_da} Da, which leaves it {mass:.3} Da"),
            ));
        }
    }
    Ok(masses)
}

/// Bonds to hydrogen at their equilibrium lengths, as constraints.
///
/// A file may hold some distances fixed already: they are kept, and their bonds not repeated.
pub fn hydrogen_bond_constraints(parameters: &Parameters) -> Vec<DistanceConstraint> {
    let topology = &parameters.topology;
    let mut constraints = parameters.constraints.clone();
    for bond in &parameters.bonds {
        let [a, b] = bond.atoms;
        let known = constraints.iter().any(|known| known.atoms == [a, b] || known.atoms == [b, a]);
        if !known && (is_hydrogen(topology, a) || is_hydrogen(topology, b)) {
            constraints.push(DistanceConstraint { atoms: bond.atoms, length_nm: bond.length_nm });
        }
    }
    constraints
}

fn is_hydrogen(topology: &Topology, atom: usize) -> bool {
    matches!(topology.atoms[atom].element.as_str(), "H" | "D")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::force_field::HarmonicBond;
    use crate::system::Atom;

    /// Methanol: C with three hydrogens, O with one.
    fn methanol() -> Topology {
        let atom = |element: &str, mass_da| Atom {
            name: element.into(),
            element: element.into(),
            residue_name: "MOH".into(),
            residue_id: 1,
            chain: String::new(),
            mass_da,
        };
        let hydrogens = (0..4).map(|_| atom("H", 1.008));
        let atoms = [atom("C", 12.011), atom("O", 15.999)].into_iter().chain(hydrogens).collect();
        Topology::new(atoms, vec![[0, 1], [0, 2], [0, 3], [4, 0], [1, 5]])
    }

    #[test]
    fn repartitioning_keeps_the_total_and_is_done_once() {
        let topology = methanol();
        let masses = topology.masses_da();
        let heavy = repartition_hydrogen_mass(&topology, &masses, 3.0).unwrap();
        assert!((heavy.iter().sum::<f64>() - masses.iter().sum::<f64>()).abs() < 1e-12);
        assert!(heavy[2..].iter().all(|mass| *mass == 3.0));
        assert!((heavy[0] - (12.011 - 3.0 * 1.992)).abs() < 1e-12);
        assert!((heavy[1] - (15.999 - 1.992)).abs() < 1e-12);
        assert_eq!(repartition_hydrogen_mass(&topology, &heavy, 3.0).unwrap(), heavy);
        assert!(repartition_hydrogen_mass(&topology, &masses, 4.0).is_ok());
        let message = repartition_hydrogen_mass(&topology, &masses, 5.0).unwrap_err().to_string();
        assert!(message.contains("C of MOH 1"), "{message}");
        assert!(repartition_hydrogen_mass(&topology, &masses[1..], 3.0).is_err());
        assert!(repartition_hydrogen_mass(&topology, &masses, 0.0).is_err());
    }

    #[test]
    fn bonds_to_hydrogen_become_constraints_once() {
        let bond = |a, b| HarmonicBond { atoms: [a, b], length_nm: 0.1, stiffness: 1.0 };
        let known = DistanceConstraint { atoms: [2, 0], length_nm: 0.109 };
        let parameters = Parameters {
            topology: methanol(),
            bonds: vec![bond(0, 1), bond(0, 2), bond(0, 3), bond(5, 1)],
            constraints: vec![known],
            ..Default::default()
        };
        let atoms: Vec<_> = hydrogen_bond_constraints(&parameters).iter().map(|c| c.atoms).collect();
        assert_eq!(atoms, [[2, 0], [0, 3], [5, 1]]);
    }
}
