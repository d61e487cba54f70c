//! What a simulation records: trajectories, energies, and reduced energies at all states.
//!
//! ```text
//! topology.pdb         the atoms of the trajectories
//! NAME.dcd             one trajectory for each state and ladder (or walker)
//! frames.csv           trajectory,frame,time_ps,walker,state: a piece is contiguous while its walker stays
//! energies.csv         time_ps,walker,state,potential_kJ_per_mol,temperature_K[,configurational_temperature_K]
//! u_kn_NAME.csv        time_ps[,dU_dlambda_kT],u_0,u_1,…: U(x; λ_k)/kT_k of the frames of NAME
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::run::simulate::output::{Table, as_written};
use crate::run::simulate::stage::{Checkpoint, Simulation, trajectory_writer};
use crate::sampling::ThermodynamicState;
use crate::trajectory::{DcdWriter, Ensemble, write_trajectory};
use crate::units::GAS_CONSTANT;

const ENERGIES: &str = "energies.csv";
const FRAMES: &str = "frames.csv";

/// What was measured at one state of one ladder, in order of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// kJ/mol
    pub potential: Vec<f64>,
    /// Of velocities, in K; empty for Monte Carlo.
    pub temperature_k: Vec<f64>,
    /// Of positions and forces, in K; empty with constraints.
    pub configurational_k: Vec<f64>,
}

/// All files that grow, and the series of which averages are made.
pub struct Records {
    n_states: usize,
    names: Vec<String>,
    trajectories: Vec<DcdWriter>,
    tables: BTreeMap<String, Table>,
    series: Vec<Series>,
    with_configurational: bool,
    with_derivatives: bool,
}

impl Records {
    /// Begins the files, or goes on from a checkpoint.
    pub fn open(simulation: &Simulation, checkpoint: &Checkpoint, resumed: bool) -> Result<Self> {
        let (config, molecule) = (simulation.config, simulation.molecule);
        let (n_states, n_ladders) = (config.start_states().len(), config.n_walkers_per_state());
        let with_configurational = molecule.constraints.is_empty();
        let with_derivatives = config.lambda_path().is_some();
        let names = names(n_states, n_ladders, with_derivatives);
        let mut columns = vec![
            (ENERGIES.to_string(), energy_columns(with_configurational).to_string()),
            (FRAMES.to_string(), "trajectory,frame,time_ps,walker,state".to_string()),
        ];
        if n_states > 1 {
            let derivative = if with_derivatives { ",dU_dlambda_kT" } else { "" };
            let states: String = (0..n_states).map(|k| format!(",u_{k}")).collect();
            let header = format!("time_ps{derivative}{states}");
            columns.extend(names.iter().map(|name| (u_kn_file(name), header.clone())));
        }
        let mut tables = BTreeMap::new();
        for (file, header) in columns {
            let path = simulation.directory.join(&file);
            let table = match checkpoint.tables.get(&file).filter(|_| resumed) {
                Some(&length) => Table::resume(&path, length)?,
                None => Table::create(&path, &header)?,
            };
            tables.insert(file, table);
        }
        let n_frames = resumed.then_some(checkpoint.n_frames);
        let trajectories =
            names.iter().map(|name| trajectory_writer(simulation, name, n_frames)).collect::<Result<_>>()?;
        let mut records = Self {
            n_states,
            series: vec![Series::default(); names.len()],
            names,
            trajectories,
            tables,
            with_configurational,
            with_derivatives,
        };
        if resumed {
            records.read_series(simulation)?;
        } else {
            let first = molecule.written_positions(&molecule.starts_nm[0]);
            let ensemble = Ensemble::new(molecule.written.len(), first)?;
            let path = simulation.directory.join("topology.pdb");
            write_trajectory(&path, &molecule.written_topology(), &ensemble)?;
        }
        Ok(records)
    }

    /// Names of the trajectories, `[state][ladder]`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The tables of reduced energies, `[state][ladder]`; of several states.
    pub fn u_kn_files(&self, directory: &Path) -> Vec<PathBuf> {
        self.names.iter().map(|name| directory.join(u_kn_file(name))).collect()
    }

    /// What was measured, `[state][ladder]`.
    pub fn series(&self, state: usize) -> &[Series] {
        let n_ladders = self.series.len() / self.n_states;
        &self.series[state * n_ladders..(state + 1) * n_ladders]
    }

    /// The place of a walker in a state: `[state][ladder]`. Walkers never leave their ladder.
    fn place(&self, walker: usize, state: usize) -> usize {
        let n_ladders = self.names.len() / self.n_states;
        state * n_ladders + walker / self.n_states
    }

    /// Records one frame of all walkers.
    pub fn frame(
        &mut self,
        simulation: &Simulation,
        step: u64,
        positions_nm: &[f64],
        temperature_ratios: Option<&[f64]>,
        state_of_walker: &[usize],
        states: &[ThermodynamicState],
    ) -> Result<()> {
        let molecule = simulation.molecule;
        let potential = &molecule.potential;
        let (n_walkers, n) = (state_of_walker.len(), 3 * molecule.topology.n_atoms());
        let time = simulation.schedule.time_ps(step);
        let lambda: Vec<f64> = state_of_walker.iter().map(|&state| states[state].lambda).collect();
        let mut energies = vec![0.0; n_walkers];
        let mut forces = vec![0.0; if self.with_configurational { positions_nm.len() } else { 0 }];
        let wanted = self.with_configurational.then_some(&mut forces[..]);
        potential.energies_in_full(&lambda, positions_nm, &mut energies, wanted);

        for walker in 0..n_walkers {
            let state = state_of_walker[walker];
            let place = self.place(walker, state);
            let positions = &positions_nm[walker * n..][..n];
            let frame = self.trajectories[place].n_frames();
            self.trajectories[place].append(&molecule.written_positions(positions))?;
            let row = format!("{},{frame},{time},{walker},{state}", self.names[place]);
            self.row(FRAMES, &row)?;

            let energy = as_written(energies[walker]);
            let mut row = format!("{time},{walker},{state},{energy},");
            let series = &mut self.series[place];
            series.potential.push(energy);
            if let Some(ratios) = temperature_ratios {
                let kelvin = as_written(ratios[walker] * states[state].temperature_k());
                series.temperature_k.push(kelvin);
                row += &kelvin.to_string();
            }
            if self.with_configurational {
                let kelvin = as_written(configurational_temperature_k(positions, &forces[walker * n..][..n]));
                series.configurational_k.push(kelvin);
                row += &format!(",{kelvin}");
            }
            self.row(ENERGIES, &row)?;
        }
        if self.n_states > 1 {
            self.reduced_energies(simulation, time, positions_nm, &energies, state_of_walker, states)?;
        }
        Ok(())
    }

    /// u of every walker in every state, and ∂u/∂λ in its own.
    fn reduced_energies(
        &mut self,
        simulation: &Simulation,
        time: f64,
        positions_nm: &[f64],
        energies: &[f64],
        state_of_walker: &[usize],
        states: &[ThermodynamicState],
    ) -> Result<()> {
        let potential = &simulation.molecule.potential;
        let n_walkers = state_of_walker.len();
        let mut rows = vec![time.to_string(); n_walkers];
        if self.with_derivatives {
            let lambda: Vec<f64> = state_of_walker.iter().map(|&state| states[state].lambda).collect();
            let derivatives = potential.lambda_derivatives(&lambda, positions_nm);
            for ((row, derivative), &state) in rows.iter_mut().zip(derivatives).zip(state_of_walker) {
                *row += &format!(",{}", as_written(derivative / states[state].kt_kj_per_mol));
            }
        }
        let mut at_state = energies.to_vec();
        for state in states {
            if self.with_derivatives {
                let lambda = vec![state.lambda; n_walkers];
                potential.energies_in_full(&lambda, positions_nm, &mut at_state, None);
            }
            for (row, energy) in rows.iter_mut().zip(&at_state) {
                *row += &format!(",{}", as_written(energy / state.kt_kj_per_mol));
            }
        }
        for (walker, row) in rows.iter().enumerate() {
            let place = self.place(walker, state_of_walker[walker]);
            let file = u_kn_file(&self.names[place]);
            self.row(&file, row)?;
        }
        Ok(())
    }

    fn row(&mut self, file: &str, row: &str) -> Result<()> {
        match self.tables.get_mut(file) {
            Some(table) => table.row(row),
            None => Err(Error::invalid("table of a simulation", "one that was opened", file)),
        }
    }

    /// Brings all files to the disk; how long each table is.
    pub fn sync(&mut self) -> Result<BTreeMap<String, u64>> {
        self.trajectories.iter_mut().try_for_each(DcdWriter::sync)?;
        self.tables.iter_mut().map(|(name, table)| Ok((name.clone(), table.sync()?))).collect()
    }

    /// Reads back what was measured before an interruption.
    fn read_series(&mut self, simulation: &Simulation) -> Result<()> {
        let path = simulation.directory.join(ENERGIES);
        let damaged = |found: String| Error::file(&path, "", "a table that kirkwood writes", found);
        let mut reader = csv::Reader::from_path(&path).map_err(|error| damaged(error.to_string()))?;
        for row in reader.records() {
            let row = row.map_err(|error| damaged(error.to_string()))?;
            let cell = |idx: usize| row.get(idx).unwrap_or_default();
            let index = |idx: usize| cell(idx).parse::<usize>().map_err(|_| damaged(cell(idx).to_string()));
            let number = |idx: usize| cell(idx).parse::<f64>().map_err(|_| damaged(cell(idx).to_string()));
            let place = self.place(index(1)?, index(2)?);
            let series = self.series.get_mut(place).ok_or_else(|| damaged(format!("{row:?}")))?;
            series.potential.push(number(3)?);
            if !cell(4).is_empty() {
                series.temperature_k.push(number(4)?);
            }
            if self.with_configurational {
                series.configurational_k.push(number(5)?);
            }
        }
        Ok(())
    }
}

fn energy_columns(with_configurational: bool) -> &'static str {
    if with_configurational {
        "time_ps,walker,state,potential_kJ_per_mol,temperature_K,configurational_temperature_K"
    } else {
        "time_ps,walker,state,potential_kJ_per_mol,temperature_K"
    }
}

fn u_kn_file(name: &str) -> String {
    format!("u_kn_{name}.csv")
}

/// `walker_3` of a single state, `temperature_2` or `lambda_2` of several, with the ladder where there are
/// several of these too.
fn names(n_states: usize, n_ladders: usize, along_lambda: bool) -> Vec<String> {
    let number = |idx: usize, n: usize| {
        let width = (n - 1).to_string().len();
        format!("{idx:0width$}")
    };
    let mut names = Vec::new();
    for state in 0..n_states {
        let kind = if along_lambda { "lambda" } else { "temperature" };
        for ladder in 0..n_ladders {
            names.push(match (n_states, n_ladders) {
                (1, _) => format!("walker_{}", number(ladder, n_ladders)),
                (_, 1) => format!("{kind}_{}", number(state, n_states)),
                _ => format!("{kind}_{}_walker_{}", number(state, n_states), number(ladder, n_ladders)),
            });
        }
    }
    names
}

/// ⟨Σ x·∂U/∂x⟩ = (3N − 3) kT, x about the centre: integration by parts of exp(−U/kT). Its fluctuations are
/// those of bond forces, so one frame says little.
fn configurational_temperature_k(positions_nm: &[f64], forces: &[f64]) -> f64 {
    let n_atoms = positions_nm.len() / 3;
    let mut virial = 0.0;
    for axis in 0..3 {
        let values = || positions_nm[axis..].iter().step_by(3);
        let centre = values().sum::<f64>() / n_atoms as f64;
        virial -= values().zip(forces[axis..].iter().step_by(3)).map(|(x, f)| (x - centre) * f).sum::<f64>();
    }
    virial / ((3 * n_atoms).saturating_sub(3).max(1) as f64 * GAS_CONSTANT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_state_and_ladder() {
        assert_eq!(names(1, 11, false)[3], "walker_03");
        assert_eq!(names(2, 1, false), ["temperature_0", "temperature_1"]);
        assert_eq!(names(2, 2, true)[3], "lambda_1_walker_1");
    }

    #[test]
    fn the_virial_of_a_spring_gives_its_temperature() {
        // Two atoms 0.3 nm apart at rest length 0.1 nm: r dU/dr = 0.3 · 1000 · 0.2 kJ/mol, over 3 R.
        let positions = [1.0, 2.0, 3.0, 1.3, 2.0, 3.0];
        let forces = [200.0, 0.0, 0.0, -200.0, 0.0, 0.0];
        let expected = 60.0 / (3.0 * GAS_CONSTANT);
        assert!((configurational_temperature_k(&positions, &forces) - expected).abs() < 1e-9);
    }
}
