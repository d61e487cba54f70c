//! The simulation itself: dynamics between events, exchanges, records and checkpoints.
//!
//! A walker keeps its number; exchanges move its state. What is recorded goes to one place for each state
//! and ladder, so every trajectory file is at one temperature and one λ, and `frames.csv` says which walker
//! each frame is from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::{Error, Result};
use crate::random::Streams;
use crate::run::control::Control;
use crate::run::directory::{RunDirectory, read_json, write_atomic, write_json};
use crate::run::provenance::cpu_seconds;
use crate::run::simulate::config::{Integrator, SimulationConfig, TrajectoryFormat};
use crate::run::simulate::free_energy;
use crate::run::simulate::molecule::{Molecule, read_frames};
use crate::run::simulate::mover::{LangevinMover, MonteCarloMover, MonteCarloSettings, Mover, evaluate};
use crate::run::simulate::records::Records;
use crate::run::simulate::schedule::Schedule;
use crate::run::simulate::summary;
use crate::sampling::dynamics::{
    BlowUp, BlowUpReason, Dynamics, DynamicsOutcome, DynamicsSettings, DynamicsState, MinimizeSettings,
    Segment,
};
use crate::sampling::{Exchange, Ladder, LocalMove, StepSizeAdapter, ThermodynamicState, silent};
use crate::trajectory::{DcdWriter, Ensemble, write_trajectory};

/// The file in which an unfinished run keeps its state.
pub const CHECKPOINT: &str = "checkpoint.toml";

/// Everything that a run needs to go on, to the bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Walkers in nm and nm/ps.
    pub walkers: DynamicsState,
    /// The ladder, where there is one.
    pub exchange: Option<Exchange>,
    /// Steps of Monte Carlo.
    pub adapters: Vec<StepSizeAdapter>,
    /// Bytes of every table.
    pub tables: BTreeMap<String, u64>,
    /// Frames of every trajectory.
    pub n_frames: u64,
    /// Pivots tried and accepted, by move.
    pub pivots: Vec<[u64; 2]>,
    /// Conformations of which forces were computed.
    pub n_force_evaluations: u64,
    /// Wall clock, summed over resumed parts.
    pub wall_seconds: f64,
    /// Time of the processors, summed likewise.
    pub cpu_seconds: f64,
    /// Sum of the acceptance of the moves of Monte Carlo since equilibration, and their number.
    pub move_acceptance: [f64; 2],
}

/// What a simulation is made of.
pub struct Simulation<'a> {
    /// What to do.
    pub config: &'a SimulationConfig,
    /// When.
    pub schedule: Schedule,
    /// To what.
    pub molecule: &'a Molecule,
    /// Where the files go.
    pub directory: PathBuf,
    /// The run, for its log.
    pub run: &'a RunDirectory,
    /// Progress, and the wish to stop.
    pub control: &'a Control,
}

/// A simulation in progress.
struct Job<'a> {
    simulation: &'a Simulation<'a>,
    mover: Box<dyn Mover + 'a>,
    checkpoint: Checkpoint,
    /// The state of each walker, and the states.
    places: Vec<usize>,
    states: Vec<ThermodynamicState>,
    records: Records,
    begun: Instant,
    cpu_begun: f64,
    /// Steps done before this process.
    first_step: u64,
    last_checkpoint: Instant,
}

impl Simulation<'_> {
    /// Runs to the end, from the beginning or from the checkpoint that the directory holds.
    pub fn run(&self) -> Result<()> {
        let mut job = Job::begin(self)?;
        let part = format!("simulate {}", self.config.name);
        self.control.progress().begin(&part, self.schedule.n_steps);
        let result = job.advance_to_end();
        if let Err(Error::Interrupted { .. }) = &result {
            job.store()?;
        }
        result?;
        job.store()?;
        let sentence = job.finish()?;
        self.control.progress().end(&sentence);
        Ok(())
    }

    /// Positions of all walkers at the beginning, `[walker][atom][xyz]`: dealt over the start structures,
    /// each minimised once for each λ.
    fn start_positions(&self, dynamics: &Dynamics, lambda: &[f64]) -> Result<Vec<f64>> {
        let starts = &self.molecule.starts_nm;
        let mut distinct: Vec<(usize, f64)> = Vec::new();
        let mut chosen = Vec::new();
        for (walker, &lambda) in lambda.iter().enumerate() {
            let key = (self.start_of(walker), lambda);
            let idx = distinct.iter().position(|known| *known == key).unwrap_or_else(|| {
                distinct.push(key);
                distinct.len() - 1
            });
            chosen.push(idx);
        }
        let n = 3 * self.molecule.topology.n_atoms();
        let mut positions: Vec<f64> =
            distinct.iter().flat_map(|(start, _)| starts[*start].iter().copied()).collect();
        if self.config.start.minimize {
            let lambda: Vec<f64> = distinct.iter().map(|(_, lambda)| *lambda).collect();
            let found =
                dynamics.minimize(&mut positions, &lambda, &MinimizeSettings::default(), &mut silent)?;
            for ((start, lambda), found) in distinct.iter().zip(&found) {
                self.run.log(
                    "minimized",
                    json!({ "structure": start, "lambda": lambda, "energy_before_kJ_per_mol": found.energy_before,
                        "energy_after_kJ_per_mol": found.energy_after, "n_steps": found.n_steps,
                        "largest_force_kJ_per_mol_nm": found.largest_force }),
                );
            }
        }
        Ok(chosen.into_iter().flat_map(|idx| &positions[idx * n..][..n]).copied().collect())
    }

    /// The start structure of a walker: in turn along a ladder, and every ladder begins with the next one.
    fn start_of(&self, walker: usize) -> usize {
        let n_states = self.config.start_states().len();
        (walker % n_states + walker / n_states) % self.molecule.starts_nm.len()
    }

    fn blown_up(&self, walkers: &DynamicsState, blow_up: &BlowUp) -> Error {
        let path = self.directory.join(format!("blown_up_walker_{}.pdb", blow_up.walker));
        let last_good =
            Ensemble::new(self.molecule.topology.n_atoms(), walkers.position(blow_up.walker).to_vec());
        // The blow-up matters more than a file that cannot be written.
        let structure = last_good
            .and_then(|ensemble| write_trajectory(&path, &self.molecule.topology, &ensemble))
            .map_or_else(|error| format!("(not written: {error})"), |()| path.display().to_string());
        let atoms: Vec<String> = blow_up
            .atoms
            .iter()
            .take(4)
            .map(|&atom| format!("{atom} ({})", self.molecule.topology.atoms[atom].describe()))
            .collect();
        let reason = match blow_up.reason {
            BlowUpReason::Energy { energy } => format!("the energy became {energy} kJ/mol"),
            BlowUpReason::Displacement { displacement_nm } => {
                format!("an atom moved by {displacement_nm:.3} nm in one step")
            }
            BlowUpReason::Constraint { residual } => {
                format!("constraints were missed by {residual:.1e} of their squared length")
            }
        };
        Error::BlownUp {
            step: blow_up.step,
            walker: blow_up.walker,
            reason,
            atoms: atoms.join(", "),
            structure,
        }
    }
}

impl<'a> Job<'a> {
    fn begin(simulation: &'a Simulation<'a>) -> Result<Self> {
        let (config, schedule, molecule) = (simulation.config, &simulation.schedule, simulation.molecule);
        let streams = Streams::new(config.seed);
        let potential = molecule.potential.blocks();
        let settings = DynamicsSettings {
            time_step_ps: schedule.time_step_ps,
            friction_per_ps: config.dynamics.friction.as_per_ps(),
            record_every: schedule.interval(),
            pivot_every: schedule.pivot_every,
        };
        let dynamics = Dynamics::new(
            potential,
            &molecule.masses_da,
            &molecule.constraints,
            molecule.pivots.clone(),
            settings,
            streams,
        )?;
        let path = simulation.directory.join(CHECKPOINT);
        let stored = if path.is_file() { Some(read_checkpoint(&path)?) } else { None };
        let start_states = config.start_states();
        let resumed = stored.is_some();
        let checkpoint = match stored {
            Some(checkpoint) => checkpoint,
            None => {
                let exchange = match &config.replica_exchange {
                    None => None,
                    Some(_) => {
                        Some(Exchange::new(Ladder::new(start_states.clone())?, config.n_walkers_per_state())?)
                    }
                };
                // Walker w begins in state w mod n, as in `Exchange`.
                let n = start_states.len() * config.n_walkers_per_state();
                let of = |walker: usize| start_states[walker % start_states.len()];
                let lambda: Vec<f64> = (0..n).map(|walker| of(walker).lambda).collect();
                let positions = simulation.start_positions(&dynamics, &lambda)?;
                let kt = (0..n).map(|walker| of(walker).kt_kj_per_mol).collect();
                Checkpoint {
                    walkers: dynamics.start(positions, kt, lambda)?,
                    exchange,
                    adapters: Vec::new(),
                    tables: BTreeMap::new(),
                    n_frames: 0,
                    pivots: Vec::new(),
                    n_force_evaluations: 0,
                    wall_seconds: 0.0,
                    cpu_seconds: 0.0,
                    move_acceptance: [0.0, 0.0],
                }
            }
        };
        let n_atoms = molecule.topology.n_atoms();
        let expected = start_states.len() * config.n_walkers_per_state();
        if checkpoint.walkers.n_walkers() != expected
            || checkpoint.walkers.positions_nm.len() != expected * 3 * n_atoms
            || checkpoint.walkers.velocities.len() != expected * 3 * n_atoms
        {
            let wanted = format!("{expected} walkers of {n_atoms} atoms");
            return Err(Error::file(&path, "", wanted, "others"));
        }
        let local_move = match config.dynamics.integrator {
            Integrator::Langevin => None,
            Integrator::Mala => Some(LocalMove::Mala { target_acceptance: 0.574 }),
            Integrator::Hmc => {
                Some(LocalMove::Hmc { n_leapfrog: config.dynamics.n_leapfrog, target_acceptance: 0.75 })
            }
        };
        let mover: Box<dyn Mover> = match local_move {
            None => Box::new(LangevinMover { dynamics }),
            Some(local_move) => {
                // A leapfrog step of unit mass in units of √kT is one of mass m when h = Δt √(kT/m).
                let mass = molecule.masses_da.iter().sum::<f64>() / n_atoms as f64;
                let kt = config.dynamics.temperature.kt_kj_per_mol();
                let settings = MonteCarloSettings {
                    local_move,
                    steps_per_move: schedule.steps_per_move,
                    record_every: schedule.interval(),
                    pivot_every: schedule.pivot_every,
                    first_step_nm: schedule.time_step_ps * (kt / mass).sqrt(),
                };
                Box::new(MonteCarloMover::new(
                    potential,
                    &settings,
                    &molecule.pivots,
                    start_states.len(),
                    (checkpoint.adapters.clone(), checkpoint.move_acceptance),
                    streams,
                ))
            }
        };
        let records = Records::open(simulation, &checkpoint, resumed)?;
        let mut job = Self {
            simulation,
            mover,
            places: (0..expected).map(|walker| walker % start_states.len()).collect(),
            states: start_states,
            records,
            begun: Instant::now(),
            cpu_begun: cpu_seconds(),
            first_step: checkpoint.walkers.step,
            last_checkpoint: Instant::now(),
            checkpoint,
        };
        job.place_walkers();
        if job.checkpoint.walkers.step >= schedule.n_equilibration {
            job.mover.freeze();
        }
        Ok(job)
    }

    /// Puts every walker into the state in which the exchange has it.
    fn place_walkers(&mut self) {
        let Some(exchange) = &self.checkpoint.exchange else { return };
        self.places = exchange.states_of_walkers();
        self.states = exchange.ladder().states().to_vec();
        for (walker, &place) in self.places.iter().enumerate() {
            let state = self.states[place];
            if self.checkpoint.walkers.kt_kj_per_mol[walker] != state.kt_kj_per_mol {
                self.checkpoint.walkers.set_temperature(walker, state.kt_kj_per_mol);
            }
            self.checkpoint.walkers.lambda[walker] = state.lambda;
        }
    }

    fn advance_to_end(&mut self) -> Result<()> {
        let schedule = self.simulation.schedule;
        let adaptations = match &self.simulation.config.replica_exchange {
            Some(exchange) if exchange.adapts() => schedule.adaptations(),
            _ => Vec::new(),
        };
        let mut n_steps = 256;
        while self.checkpoint.walkers.step < schedule.n_steps {
            self.simulation.control.check(self.simulation.run.path())?;
            let step = self.checkpoint.walkers.step;
            let next = schedule.next_stop(step, n_steps);
            let begin = Instant::now();
            let segment =
                self.mover.advance(&mut self.checkpoint.walkers, &self.places, &self.states, next - step)?;
            // Parts of about a second: short enough to be stopped, long enough to cost nothing.
            let wanted = (next - step) as f64 / begin.elapsed().as_secs_f64().max(1e-6);
            n_steps = (wanted.clamp(1.0, 1e6) as u64).min(2 * n_steps).max(1);
            self.record(&segment)?;
            if let DynamicsOutcome::BlownUp(blow_up) = &segment.outcome {
                return Err(self.simulation.blown_up(&self.checkpoint.walkers, blow_up));
            }
            if schedule.is_exchange(next) {
                self.exchange(&segment)?;
            }
            if adaptations.contains(&next)
                && let Some(exchange) = &mut self.checkpoint.exchange
            {
                exchange.adapt()?;
                self.place_walkers();
            }
            if next == schedule.n_equilibration {
                self.mover.freeze();
                self.checkpoint.pivots.clear();
                if let Some(exchange) = &mut self.checkpoint.exchange {
                    exchange.forget();
                }
            }
            let seconds = self.simulation.config.output.checkpoint_every_seconds;
            if self.last_checkpoint.elapsed() >= Duration::from_secs_f64(seconds) {
                self.store()?;
            }
            let message = format!("{:.0} ns/day", self.ns_per_day());
            self.simulation.control.progress().advance(next, &message);
        }
        Ok(())
    }

    fn record(&mut self, segment: &Segment) -> Result<()> {
        self.checkpoint.n_force_evaluations += segment.n_force_evaluations;
        let pivots = &mut self.checkpoint.pivots;
        pivots.resize(pivots.len().max(segment.pivots.len()), [0, 0]);
        for (sum, count) in pivots.iter_mut().zip(&segment.pivots) {
            sum[0] += count.attempted;
            sum[1] += count.accepted;
        }
        let n = self.places.len();
        let size = self.checkpoint.walkers.positions_nm.len();
        for (frame, &step) in segment.steps.iter().enumerate() {
            if self.simulation.schedule.is_recorded(step) {
                let positions = &segment.positions_nm[frame * size..][..size];
                let ratios = segment.kinetic_temperature_ratios.get(frame * n..(frame + 1) * n);
                self.records.frame(self.simulation, step, positions, ratios, &self.places, &self.states)?;
                self.checkpoint.n_frames += 1;
            }
        }
        Ok(())
    }

    fn exchange(&mut self, segment: &Segment) -> Result<()> {
        let Some(exchange) = &mut self.checkpoint.exchange else { return Ok(()) };
        let n = self.places.len();
        let energies = &segment.potential_energies[segment.potential_energies.len() - n..];
        let positions = &self.checkpoint.walkers.positions_nm;
        let potential = self.simulation.molecule.potential.blocks();
        let mut at_lambda = |lambda: &[f64], u: &mut [f64]| {
            evaluate(potential, lambda, positions, u, None);
            Ok(())
        };
        let streams = Streams::new(self.simulation.config.seed);
        exchange.sweep(energies, &mut at_lambda, &streams)?;
        self.place_walkers();
        Ok(())
    }

    /// Simulated time of all walkers by this process, per day of wall clock.
    fn ns_per_day(&self) -> f64 {
        let steps = (self.checkpoint.walkers.step - self.first_step) as f64 * self.places.len() as f64;
        let ns = steps * self.simulation.schedule.time_step_ps * 1e-3;
        ns / self.begun.elapsed().as_secs_f64() * 86_400.0
    }

    /// Brings all files to the disk, then the checkpoint that says how much of them counts.
    fn store(&mut self) -> Result<()> {
        let mut checkpoint = self.checkpoint.clone();
        checkpoint.tables = self.records.sync()?;
        checkpoint.wall_seconds += self.begun.elapsed().as_secs_f64();
        checkpoint.cpu_seconds += cpu_seconds() - self.cpu_begun;
        checkpoint.adapters = self.mover.adapters();
        checkpoint.move_acceptance = self.mover.acceptance();
        let text = toml::to_string(&checkpoint)
            .map_err(|error| Error::io("write", CHECKPOINT)(std::io::Error::other(error)))?;
        write_atomic(&self.simulation.directory.join(CHECKPOINT), text.as_bytes())?;
        self.last_checkpoint = Instant::now();
        summary::write(self.simulation, &checkpoint, &self.records, &self.states)
    }

    /// Structures at the end, trajectories in the format that is wanted; returns a sentence.
    fn finish(&mut self) -> Result<String> {
        let (simulation, molecule) = (self.simulation, self.simulation.molecule);
        let n_atoms = molecule.topology.n_atoms();
        let last = Ensemble::new(n_atoms, self.checkpoint.walkers.positions_nm.clone())?;
        write_trajectory(&simulation.directory.join("last.pdb"), &molecule.topology, &last)?;
        let format = simulation.config.output.format;
        if format != TrajectoryFormat::Dcd {
            let topology = molecule.written_topology();
            for name in self.records.names() {
                let from = simulation.directory.join(format!("{name}.dcd"));
                let frames = read_frames(&from, topology.n_atoms())?;
                let to = simulation.directory.join(format!("{name}.{}", format.extension()));
                write_trajectory(&to, &topology, &frames)?;
            }
        }
        if simulation.config.lambda_path().is_some() && self.states.len() > 1 {
            let files: Vec<PathBuf> = self.records.u_kn_files(&simulation.directory);
            match free_energy::along_lambda(&simulation.directory, &self.states, &files) {
                Ok(found) => {
                    let path = simulation.directory.join("summary.json");
                    let mut entries: serde_json::Map<String, serde_json::Value> = read_json(&path)?;
                    entries.extend(found.entries);
                    write_json(&path, &entries)?;
                    summary::add_verdicts(&simulation.directory, &found.verdicts)?;
                }
                // The samples are worth more than this estimate of them.
                Err(error) => {
                    simulation.run.log("no_free_energy", json!(error.to_string()));
                    simulation.control.progress().note(&format!("no free energy along λ: {error}"));
                }
            }
        }
        Ok(format!("{} frames of each state, {:.0} ns/day", self.checkpoint.n_frames, self.ns_per_day()))
    }
}

fn read_checkpoint(path: &Path) -> Result<Checkpoint> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    toml::from_str(&text).map_err(|error| {
        Error::file(path, "", "a checkpoint that kirkwood writes", error.message().to_string())
    })
}

/// Opens the trajectory of one place.
pub fn trajectory_writer(simulation: &Simulation, name: &str, n_frames: Option<u64>) -> Result<DcdWriter> {
    let path = simulation.directory.join(format!("{name}.dcd"));
    let n_atoms = simulation.molecule.written.len();
    let interval = simulation.config.dynamics.record_every.as_ps();
    match n_frames {
        Some(n_frames) => DcdWriter::resume(&path, n_atoms, n_frames),
        None => DcdWriter::create(&path, n_atoms, interval),
    }
}

/// The trajectories that stand in a finished directory in another format too.
pub fn converted(config: &SimulationConfig, directory: &Path) -> Vec<PathBuf> {
    let extension = config.output.format.extension();
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .filter(|path| {
            let is_dcd = path.extension().is_some_and(|extension| extension == "dcd");
            is_dcd && extension != "dcd" && path.with_extension(extension).is_file()
        })
        .collect()
}
