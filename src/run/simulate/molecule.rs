//! The molecule of a simulation: its energy, masses, constraints, pivots and start structures.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::force_field::{DistanceConstraint, Parameters};
use crate::potential::BlockPotential;
use crate::run::simulate::config::{
    Constraints, Integrator, LadderKind, LambdaPath, NamedBonds, PivotBonds, SimulationConfig,
};
use crate::sampling::dynamics::{PivotMove, hydrogen_bond_constraints, repartition_hydrogen_mass};
use crate::sampling::{PivotBond, ThermodynamicState, rotatable_bonds};
use crate::system::{Topology, select};
use crate::trajectory::{Ensemble, LengthUnit, read_in_blocks};
use crate::units::Temperature;

/// An energy that depends on λ, in single precision for dynamics and in full for what is recorded.
pub trait AlchemicalPotential: BlockPotential + Send {
    /// U in kJ/mol of conformations in nm, and forces in kJ/(mol nm) where they are wanted.
    fn energies_in_full(
        &self,
        lambda: &[f64],
        positions_nm: &[f64],
        energies: &mut [f64],
        forces: Option<&mut [f64]>,
    );

    /// ∂U/∂λ in kJ/mol at fixed positions in nm.
    fn lambda_derivatives(&self, lambda: &[f64], positions_nm: &[f64]) -> Vec<f64>;

    /// The same as what dynamics calls.
    fn blocks(&self) -> &dyn BlockPotential;
}

/// Everything about the molecule that a simulation needs.
pub struct Molecule {
    /// What it is called.
    pub name: String,
    /// Its atoms.
    pub topology: Topology,
    /// Masses of dynamics in Da.
    pub masses_da: Vec<f64>,
    /// Distances that are held fixed.
    pub constraints: Vec<DistanceConstraint>,
    /// Monte Carlo rotations.
    pub pivots: Vec<PivotMove>,
    /// Its energy.
    pub potential: Box<dyn AlchemicalPotential>,
    /// Structures in nm over which walkers are dealt, `[structure][atom][xyz]`.
    pub starts_nm: Vec<Vec<f64>>,
    /// The atoms that trajectories have.
    pub written: Vec<usize>,
}

impl Molecule {
    /// Adds masses, constraints, pivots and starts to parameters and their energy.
    pub fn new(
        config: &SimulationConfig,
        name: String,
        parameters: &Parameters,
        potential: Box<dyn AlchemicalPotential>,
        positions_nm: Option<Vec<f64>>,
    ) -> Result<Self> {
        let topology = parameters.topology.clone();
        let n_atoms = topology.n_atoms();
        let mut masses_da = topology.masses_da();
        if let Some(mass) = config.dynamics.hydrogen_mass {
            masses_da = repartition_hydrogen_mass(&topology, &masses_da, mass.as_da())
                .map_err(|error| Error::config("dynamics.hydrogen_mass", error.to_string(), ""))?;
        }
        let constraints = match config.constraints() {
            Constraints::HydrogenBonds => hydrogen_bond_constraints(parameters),
            Constraints::None => parameters.constraints.clone(),
        };
        if config.dynamics.integrator != Integrator::Langevin && !constraints.is_empty() {
            let message = "Monte Carlo moves every atom, and this topology holds distances fixed";
            return Err(Error::config("dynamics.integrator", message, "use langevin"));
        }
        let pivots = match &config.pivots {
            Some(settings) => pivot_moves(&topology, &settings.bonds)?,
            None => Vec::new(),
        };
        let starts_nm = match (config.start.structures.is_empty(), positions_nm) {
            (true, None) => {
                let message = "is missing: the topology says nothing about positions";
                return Err(Error::config("system.structure", message, "or give `start.structures`"));
            }
            (true, Some(positions_nm)) => vec![positions_nm],
            (false, _) => {
                let mut starts = Vec::new();
                for path in &config.start.structures {
                    let frames = read_frames(path, n_atoms)?;
                    starts.extend(frames.frames().map(<[f64]>::to_vec));
                }
                starts
            }
        };
        let wrong = starts_nm.iter().find(|start| start.len() != 3 * n_atoms);
        if let Some(wrong) = wrong {
            let expected = format!("{n_atoms} atoms");
            return Err(Error::invalid("start structure", expected, (wrong.len() / 3).to_string()));
        }
        let written = select("output.selection", &config.output.selection, &topology)?;
        if written.is_empty() {
            let place = format!("output.selection = \"{}\"", config.output.selection);
            return Err(Error::config(place, "matches no atom", ""));
        }
        Ok(Self { name, topology, masses_da, constraints, pivots, potential, starts_nm, written })
    }

    /// The atoms that trajectories have, with the bonds among them.
    pub fn written_topology(&self) -> Topology {
        let mut number = vec![None; self.topology.n_atoms()];
        self.written.iter().enumerate().for_each(|(new, &old)| number[old] = Some(new));
        let atoms = self.written.iter().map(|&idx| self.topology.atoms[idx].clone()).collect();
        let bonds = self.topology.bonds.iter().filter_map(|&[i, j]| Some([number[i]?, number[j]?]));
        Topology::new(atoms, bonds.collect())
    }

    /// Positions of the atoms that trajectories have.
    pub fn written_positions(&self, positions_nm: &[f64]) -> Vec<f64> {
        self.written.iter().flat_map(|&idx| &positions_nm[3 * idx..3 * idx + 3]).copied().collect()
    }
}

impl SimulationConfig {
    /// Constraints with their default.
    pub fn constraints(&self) -> Constraints {
        self.dynamics.constraints.unwrap_or(match self.dynamics.integrator {
            Integrator::Langevin => Constraints::HydrogenBonds,
            Integrator::Hmc | Integrator::Mala => Constraints::None,
        })
    }

    /// The thermodynamic states at the beginning.
    pub fn start_states(&self) -> Vec<ThermodynamicState> {
        let at = |kelvin: f64, lambda: f64| ThermodynamicState {
            kt_kj_per_mol: kelvin * crate::units::GAS_CONSTANT,
            lambda,
        };
        let temperature: Temperature = self.dynamics.temperature;
        match (&self.replica_exchange, &self.lambda_windows) {
            (Some(exchange), _) if exchange.kind == LadderKind::Temperature => {
                let temperatures = exchange.start_temperatures_k(temperature);
                temperatures.into_iter().map(|kelvin| at(kelvin, 1.0)).collect()
            }
            (Some(exchange), _) => {
                exchange.start_lambdas().into_iter().map(|l| at(temperature.as_kelvin(), l)).collect()
            }
            (None, Some(windows)) => {
                windows.lambdas.iter().map(|&l| at(temperature.as_kelvin(), l)).collect()
            }
            (None, None) => vec![at(temperature.as_kelvin(), 1.0)],
        }
    }

    /// The path along which λ changes, and the atoms on which it acts.
    pub fn lambda_path(&self) -> Option<(LambdaPath, &str)> {
        let exchange =
            self.replica_exchange.as_ref().and_then(|exchange| Some((exchange.path?, &exchange.atoms)));
        let windows = self.lambda_windows.as_ref().map(|windows| (windows.path, &windows.atoms));
        exchange.or(windows).map(|(path, atoms)| (path, atoms.as_deref().unwrap_or("all")))
    }

    /// Walkers in each state.
    pub fn n_walkers_per_state(&self) -> usize {
        let several = self.replica_exchange.is_some() || self.lambda_windows.is_some();
        self.dynamics.n_walkers.unwrap_or(if several { 1 } else { 16 })
    }

    /// Files that are read besides the configuration.
    pub fn inputs(&self) -> Vec<PathBuf> {
        let topology = Path::new(&self.system.topology);
        let topology = topology.is_file().then(|| topology.to_path_buf());
        topology
            .into_iter()
            .chain(self.system.structure.clone())
            .chain(self.start.structures.clone())
            .collect()
    }
}

/// All frames of a file of so many atoms.
pub fn read_frames(path: &Path, n_atoms: usize) -> Result<Ensemble> {
    let mut positions = Vec::new();
    let mut take = |positions_nm: &[f64]| {
        positions.extend_from_slice(positions_nm);
        Ok(())
    };
    let block = NonZeroUsize::MIN.saturating_add(99);
    read_in_blocks(path, n_atoms, LengthUnit::Nm, block, &mut take)?;
    Ensemble::new(n_atoms, positions)
}

/// The rotations that a configuration names.
fn pivot_moves(topology: &Topology, bonds: &PivotBonds) -> Result<Vec<PivotMove>> {
    let all: Vec<(usize, usize)> = topology.bonds.iter().map(|&[i, j]| (i, j)).collect();
    let rotatable = rotatable_bonds(topology.n_atoms(), &all)?;
    let is_heavy = |atom: &usize| !matches!(topology.atoms[*atom].element.as_str(), "H" | "D");
    let chosen: Vec<PivotBond> = match bonds {
        PivotBonds::Pairs(pairs) => {
            let find = |&[i, j]: &[usize; 2]| {
                let found = rotatable
                    .iter()
                    .find(|bond| [(bond.from, bond.to), (bond.to, bond.from)].contains(&(i, j)));
                found.cloned().ok_or_else(|| {
                    let message = "is not a bond about which one side can turn: it must not be in a ring, and both ends \
                                   need further atoms";
                    Error::config(format!("pivots.bonds = [[{i}, {j}]]"), message, "")
                })
            };
            pairs.iter().map(find).collect::<Result<_>>()?
        }
        PivotBonds::Named(NamedBonds::Backbone) => rotatable
            .into_iter()
            .filter(|bond| {
                let [a, b] = [&topology.atoms[bond.from], &topology.atoms[bond.to]];
                let names = [a.name.as_str(), b.name.as_str()];
                let same = (a.residue_id, &a.chain) == (b.residue_id, &b.chain);
                same && [["N", "CA"], ["CA", "N"], ["CA", "C"], ["C", "CA"]].contains(&names)
            })
            .collect(),
        PivotBonds::Named(NamedBonds::All) => {
            let neighbours = topology.neighbours();
            let is_carbonyl = |atom: usize| {
                topology.atoms[atom].element == "C"
                    && neighbours[atom]
                        .iter()
                        .any(|&o| topology.atoms[o].element == "O" && neighbours[o].len() == 1)
            };
            let is_amide = |i: usize, j: usize| topology.atoms[i].element == "N" && is_carbonyl(j);
            rotatable
                .into_iter()
                .filter(|bond| {
                    let (i, j) = (bond.from, bond.to);
                    let moves_heavy = bond.moved.iter().any(is_heavy);
                    moves_heavy && !is_amide(i, j) && !is_amide(j, i)
                })
                .collect()
        }
    };
    if chosen.is_empty() {
        let message = "no bond of this molecule is meant by it";
        return Err(Error::config("pivots.bonds", message, "leave `pivots` out, or name pairs of atoms"));
    }
    Ok(moves_about(topology, &chosen))
}

/// The rotations about these bonds one by one, and together for two that share an atom.
pub(in crate::run) fn moves_about(topology: &Topology, chosen: &[PivotBond]) -> Vec<PivotMove> {
    let name = |bond: &PivotBond| {
        let [a, b] = [bond.from.min(bond.to), bond.from.max(bond.to)];
        format!("{}-{}", topology.atoms[a].describe(), topology.atoms[b].describe())
    };
    let mut moves: Vec<PivotMove> =
        chosen.iter().map(|bond| PivotMove { name: name(bond), bonds: vec![bond.clone()] }).collect();
    for (idx, a) in chosen.iter().enumerate() {
        for b in &chosen[idx + 1..] {
            if [a.from, a.to].iter().any(|atom| [b.from, b.to].contains(atom)) {
                moves.push(PivotMove {
                    name: format!("{} with {}", name(a), name(b)),
                    bonds: vec![a.clone(), b.clone()],
                });
            }
        }
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trajectory::read_structure;

    fn alanine_dipeptide() -> Topology {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/aldp.prmtop");
        read_structure(&path).unwrap().topology
    }

    fn moved(bonds: PivotBonds) -> Vec<Vec<[usize; 2]>> {
        let moves = pivot_moves(&alanine_dipeptide(), &bonds).unwrap();
        let ends = |bond: &PivotBond| [bond.from.min(bond.to), bond.from.max(bond.to)];
        moves.iter().map(|pivot| pivot.bonds.iter().map(ends).collect()).collect()
    }

    #[test]
    fn pivots_of_alanine_dipeptide_are_phi_psi_and_both() {
        // N 6, CA 8, C 14; the peptide bonds 4–6 and 14–16 and the methyl groups are left alone.
        let expected = [vec![[6, 8]], vec![[8, 14]], vec![[6, 8], [8, 14]]];
        assert_eq!(moved(PivotBonds::Named(NamedBonds::Backbone)), expected);
        assert_eq!(moved(PivotBonds::Named(NamedBonds::All)), expected);
        assert_eq!(moved(PivotBonds::Pairs(vec![[14, 8]])), [vec![[8, 14]]]);
        let topology = alanine_dipeptide();
        assert!(pivot_moves(&topology, &PivotBonds::Pairs(vec![[0, 21]])).is_err());
        assert!(pivot_moves(&topology, &PivotBonds::Pairs(vec![])).is_err());
    }
}
