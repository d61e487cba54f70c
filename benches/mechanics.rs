//! CPU time of molecular mechanics and dynamics, as JSON.
//!
//! `cargo bench --bench mechanics` prints everything: energies and forces of conformations in both precisions,
//! their share of the arithmetic limit, the gain of a second thread, and nanoseconds of dynamics per day.
//! `mechanics DIRECTORY` is for `peers/mechanics/compare.py`: it writes conformations with their energies and
//! forces to the directory; then every line `SYSTEM single|double|dynamics` on standard input is one timing.

#![allow(clippy::print_stdout, reason = "the output is what it is for")]

use std::collections::HashMap;
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

use kirkwood::force_field::Parameters;
use kirkwood::force_field::molecular_system::{SystemRequest, load};
use kirkwood::potential::{BlockPotential, BlockWorkspace, LANES, MolecularMechanics, Precision};
use kirkwood::random::Streams;
use kirkwood::sampling::dynamics::{
    Dynamics, DynamicsOutcome, DynamicsSettings, DynamicsState, MinimizeSettings, hydrogen_bond_constraints,
    repartition_hydrogen_mass,
};
use kirkwood::sampling::silent;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde_json::{Value, json};

mod common;

/// A molecule in a solvent, and how its conformations are made.
struct Case {
    name: &'static str,
    folder: &'static str,
    prmtop: &'static str,
    /// Walkers start from these in turn, so that a block of lanes holds unlike conformations.
    starts: &'static [&'static str],
    solvent: &'static str,
    temperature_k: f64,
    n_frames: usize,
}

const CASES: [Case; 5] = [
    dipeptide("aldp_vacuum", "none"),
    dipeptide("aldp_obc1", "obc1"),
    dipeptide("aldp_obc2", "obc2"),
    dipeptide("aldp_gbn2", "gbn2"),
    Case {
        name: "chignolin_gbn2",
        folder: "chignolin",
        prmtop: "chignolin.prmtop",
        starts: &["chignolin.pdb", "unfolded_extended.pdb", "unfolded_compact.pdb"],
        solvent: "gbn2",
        temperature_k: 340.0,
        n_frames: 48,
    },
];

const fn dipeptide(name: &'static str, solvent: &'static str) -> Case {
    Case {
        name,
        folder: "alanine_dipeptide",
        prmtop: "aldp.prmtop",
        starts: &["aldp.pdb"],
        solvent,
        temperature_k: 300.0,
        n_frames: 256,
    }
}

/// Boltzmann's constant in kJ/(mol K).
const BOLTZMANN: f64 = 0.008_314_462_618_153_24;

struct System {
    case: &'static Case,
    parameters: Parameters,
    mechanics: MolecularMechanics,
    /// `[frame][atom][xyz]`, nm.
    frames: Vec<f64>,
    /// The same, `[atom][xyz][lane]`, one after the other.
    blocks: Vec<Vec<f64>>,
}

/// CPU and wall seconds.
#[derive(Clone, Copy)]
struct Seconds {
    cpu: f64,
    wall: f64,
}

impl System {
    fn new(case: &'static Case) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("systems").join(case.folder);
        let of = |start: &str| {
            let request = SystemRequest {
                topology: folder.join(case.prmtop),
                structure: Some(folder.join(start)),
                implicit_solvent: Some(case.solvent.into()),
                ..SystemRequest::default()
            };
            load(&request).expect("the shipped systems can be read")
        };
        let parameters = of(case.starts[0]).parameters;
        let starts: Vec<Vec<f64>> =
            case.starts.iter().map(|start| of(start).positions_nm.expect("a structure was given")).collect();
        let mechanics = MolecularMechanics::new(&parameters).expect("all terms are supported");

        // Thermal conformations: half a picosecond, each walker with its own noise.
        let settings = DynamicsSettings {
            time_step_ps: 0.0005,
            friction_per_ps: 10.0,
            record_every: 1000,
            pivot_every: 0,
        };
        let masses = parameters.topology.masses_da();
        let dynamics = Dynamics::new(&mechanics, &masses, &[], Vec::new(), settings, Streams::new(1))
            .expect("the settings are valid");
        let mut x: Vec<f64> = starts.iter().cycle().take(case.n_frames).flatten().copied().collect();
        let lambda = vec![1.0; case.n_frames];
        let minimization = MinimizeSettings { max_steps: 300, ..MinimizeSettings::default() };
        dynamics.minimize(&mut x, &lambda, &minimization, &mut silent).expect("nothing interrupts");
        let kt = vec![BOLTZMANN * case.temperature_k; case.n_frames];
        let mut state = dynamics.start(x, kt, lambda).expect("one position per atom");
        let segment = dynamics.advance(&mut state, 1000, &mut silent).expect("nothing interrupts");
        assert_eq!(segment.outcome, DynamicsOutcome::Completed, "{}", case.name);
        let frames = state.positions_nm;

        let dimension = 3 * parameters.n_atoms();
        let blocks = frames.chunks_exact(LANES * dimension).map(|frames| {
            (0..dimension * LANES).map(|idx| frames[idx % LANES * dimension + idx / LANES]).collect()
        });
        let blocks = blocks.collect();
        Self { case, parameters, mechanics, frames, blocks }
    }

    fn n_atoms(&self) -> usize {
        self.parameters.n_atoms()
    }

    /// Seconds per conformation of energies and forces, as dynamics asks for them.
    fn single(&self, workspace: &mut BlockWorkspace) -> Seconds {
        let (mut energies, mut forces) = ([0.0; LANES], vec![0.0; 3 * self.n_atoms() * LANES]);
        let n_rounds = if self.n_atoms() < 100 { 4 } else { 1 };
        per(n_rounds * self.case.n_frames, || {
            for _ in 0..n_rounds {
                for x in &self.blocks {
                    let lambda = &[1.0; LANES];
                    self.mechanics.energies_and_forces(lambda, x, &mut energies, &mut forces, workspace);
                }
            }
        })
    }

    /// Seconds per conformation of a batch, on the present thread pool.
    fn batch(&self, precision: Precision, n_copies: usize) -> Seconds {
        let x = self.frames.repeat(n_copies);
        let mut forces = vec![0.0; x.len()];
        per(n_copies * self.case.n_frames, || {
            std::hint::black_box(self.mechanics.evaluate(precision, &[], &x, Some(&mut forces)));
        })
    }

    /// Dynamics as it is used: chignolin with hydrogens of 4 Da, bonds to them constrained and 4 fs, the
    /// dipeptide with 2 fs, hydrogens of 4 Da and no constraints.
    fn dynamics(&self) -> Dynamics<'_> {
        let topology = &self.parameters.topology;
        let masses =
            repartition_hydrogen_mass(topology, &topology.masses_da(), 4.0).expect("heavy atoms remain");
        let large = self.n_atoms() > 100;
        let constraints = if large { hydrogen_bond_constraints(&self.parameters) } else { Vec::new() };
        let settings = DynamicsSettings {
            time_step_ps: if large { 0.004 } else { 0.002 },
            friction_per_ps: 1.0,
            record_every: 1000,
            pivot_every: 0,
        };
        Dynamics::new(&self.mechanics, &masses, &constraints, Vec::new(), settings, Streams::new(2))
            .expect("the settings are valid")
    }

    /// A state of dynamics with this many full blocks.
    fn state(&self, dynamics: &Dynamics<'_>, n_blocks: usize) -> DynamicsState {
        let n = n_blocks * LANES;
        let x = self.frames[..n * 3 * self.n_atoms()].to_vec();
        let kt = BOLTZMANN * self.case.temperature_k;
        dynamics.start(x, vec![kt; n], vec![1.0; n]).expect("constraints can be met")
    }

    /// Seconds per nanosecond of dynamics, summed over walkers.
    fn advance(&self, dynamics: &Dynamics<'_>, state: &mut DynamicsState) -> Seconds {
        let n_steps = if self.n_atoms() > 100 { 20 } else { 500 };
        let seconds = per(1, || {
            dynamics.advance(state, n_steps, &mut silent).expect("nothing interrupts");
        });
        let ns = 1e-3 * dynamics.settings().time_step_ps * (n_steps * state.n_walkers() as u64) as f64;
        Seconds { cpu: seconds.cpu / ns, wall: seconds.wall / ns }
    }

    /// Writes what peers need to check themselves.
    fn export(&self, directory: &Path) {
        let write = |what: &str, numbers: &[f64]| {
            let bytes: Vec<u8> = numbers.iter().copied().flat_map(f64::to_le_bytes).collect();
            let file = directory.join(format!("{}.{what}.f64", self.case.name));
            std::fs::write(file, bytes).expect("the directory can be written");
        };
        write("x", &self.frames);
        for (name, precision) in [("double", Precision::Double), ("single", Precision::Single)] {
            let mut forces = vec![0.0; self.frames.len()];
            let energies = self.mechanics.evaluate(precision, &[], &self.frames, Some(&mut forces));
            let totals: Vec<f64> = energies.iter().map(|terms| terms.total()).collect();
            write(&format!("{name}.energies"), &totals);
            write(&format!("{name}.forces"), &forces);
        }
    }
}

/// Additions and multiplications in single precision, a fused one counting twice, approximate instructions
/// and comparisons not at all: counted from the formulas of `potential::molecular_mechanics` as written.
mod flop {
    pub const RSQRT: usize = 6;
    pub const RECIPROCAL: usize = 4;
    pub const EXP: usize = 19;
    pub const LN: usize = 27;
    /// Difference of positions and its square.
    pub const DISTANCE: usize = 8;
    /// Lennard-Jones and Coulomb with their slope.
    pub const PAIR: usize = 14;
    pub const VACUUM: usize = DISTANCE + RSQRT + PAIR + 2 + 12;
    /// First pass without descreening, which comes twice: for i and for j.
    pub const FIRST: usize = DISTANCE + RSQRT + PAIR + 5;
    pub const FAR: usize = 2 * (7 + 2 * 6);
    pub const APART: usize = 2 * (7 + 2 * 14);
    pub const NEAR: usize = 2 * (2 * RECIPROCAL + LN + 26);
    pub const NECK: usize = 2 * (RECIPROCAL + 17) + 2;
    pub const SECOND: usize = DISTANCE + EXP + RSQRT + 22;
    pub const THIRD: usize = 19;
    /// Born radius and its derivative.
    pub const ATOM: usize = 2 * (EXP + RECIPROCAL) + 58;
    pub const BOND: usize = DISTANCE + RSQRT + 19;
    pub const ANGLE: usize = RSQRT + 4 * RECIPROCAL + 103;
    pub const TORSION: usize = 3 * RSQRT + 130;
    pub const TORSION_TERM: usize = 15;
}

/// What a conformation costs, and how often each branch of the first pass is taken by a block.
fn arithmetic(system: &System) -> Value {
    let parameters = &system.parameters;
    let n = system.n_atoms();
    let n_pairs = n * (n - 1) / 2;
    let mut highest: HashMap<[usize; 4], u32> = HashMap::new();
    for torsion in &parameters.torsions {
        let own = highest.entry(torsion.atoms).or_default();
        *own = torsion.periodicity.max(*own);
    }
    let terms: u32 = highest.values().sum();
    let bonded = parameters.bonds.len() * flop::BOND
        + parameters.angles.len() * flop::ANGLE
        + highest.len() * flop::TORSION
        + terms as usize * flop::TORSION_TERM;
    let Some(solvent) = &parameters.implicit_solvent else {
        return json!({"flop": bonded + n_pairs * flop::VACUUM});
    };
    let mut counts = [0_usize; 4];
    for block in &system.blocks {
        let coordinate = |atom: usize, axis: usize, lane: usize| block[(3 * atom + axis) * LANES + lane];
        for i in 0..n {
            for j in i + 1..n {
                let square = |lane: usize| -> f64 {
                    (0..3).map(|axis| (coordinate(i, axis, lane) - coordinate(j, axis, lane)).powi(2)).sum()
                };
                let closest = (0..LANES).map(square).fold(f64::INFINITY, f64::min).sqrt();
                let (p, q) = (&solvent.atoms[i], &solvent.atoms[j]);
                let widest = p.scaled_radius_nm.max(q.scaled_radius_nm);
                let apart = (p.offset_radius_nm + q.scaled_radius_nm)
                    .max(q.offset_radius_nm + p.scaled_radius_nm)
                    .max(widest / 0.6);
                let branch = usize::from(closest < apart.max(4.0 * widest)) + usize::from(closest < apart);
                counts[branch] += 1;
                if let Some(neck) = &solvent.neck {
                    let reach = p.radius_nm + q.radius_nm + neck.cutoff_nm;
                    counts[3] += usize::from(closest < reach);
                }
            }
        }
    }
    let [far, apart, near, neck] = counts.map(|count| count as f64 / (n_pairs * system.blocks.len()) as f64);
    let per_pair = (flop::FIRST + flop::SECOND + flop::THIRD) as f64
        + far * flop::FAR as f64
        + apart * flop::APART as f64
        + near * flop::NEAR as f64
        + neck * flop::NECK as f64;
    json!({
        "flop": (bonded + n * flop::ATOM) as f64 + per_pair * n_pairs as f64,
        "flop_per_pair": per_pair,
        "pairs": n_pairs,
        "branches": {"far": far, "apart": apart, "near": near, "neck": neck},
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let pools = [1, 2].map(pool);
    let systems: Vec<System> = CASES.iter().map(|case| pools[0].install(|| System::new(case))).collect();
    match &arguments[..] {
        [directory] => answer(Path::new(directory), &pools[0], &systems),
        _ => println!("{:#}", everything(&pools, &systems)),
    }
}

/// One timing per line of standard input.
fn answer(directory: &Path, one: &ThreadPool, systems: &[System]) {
    for system in systems {
        one.install(|| system.export(directory));
    }
    println!("{}", json!({"peak_gflops": common::peak_gflops()}));
    let mut states: HashMap<String, DynamicsState> = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let Some((name, what)) = line.split_once(' ') else { return };
        let Some(system) = systems.iter().find(|system| system.case.name == name) else { return };
        let seconds = match what {
            "single" => system.single(&mut system.mechanics.workspace()),
            "double" => one.install(|| system.batch(Precision::Double, 1)),
            _ => one.install(|| {
                let dynamics = system.dynamics();
                let state = states.entry(name.into()).or_insert_with(|| system.state(&dynamics, 1));
                system.advance(&dynamics, state)
            }),
        };
        println!("{}", json!({"cpu_s": seconds.cpu, "wall_s": seconds.wall, "limit": arithmetic(system)}));
    }
}

/// All figures that need no peer.
fn everything(pools: &[ThreadPool; 2], systems: &[System]) -> Value {
    const N_REPEATS: usize = 40;
    let peak = common::peak_gflops();
    let mut found = serde_json::Map::new();
    for system in systems {
        let mut limit = arithmetic(system);
        let mut single = Minimum::new();
        let mut double = Minimum::new();
        // Batches and dynamics with one and two threads take turns.
        let (mut batches, mut runs) = ([Minimum::new(); 2], [Minimum::new(); 2]);
        let dynamics = system.dynamics();
        let mut states = [1, 2].map(|n| system.state(&dynamics, n));
        let n_copies = 1.max(1024 / system.case.n_frames);
        for _ in 0..N_REPEATS {
            single.add(system.single(&mut system.mechanics.workspace()));
            double.add(pools[0].install(|| system.batch(Precision::Double, 1)));
            for (idx, pool) in pools.iter().enumerate() {
                batches[idx].add(pool.install(|| system.batch(Precision::Single, n_copies)));
                runs[idx].add(pool.install(|| system.advance(&dynamics, &mut states[idx])));
            }
        }
        let rate = 1e-9 * limit["flop"].as_f64().unwrap_or(0.0) / single.cpu;
        limit["gflops"] = rate.into();
        limit["share_of_peak"] = (rate / peak).into();
        let per_day = |seconds: f64| 86_400.0 / seconds;
        found.insert(
            system.case.name.into(),
            json!({
                "cpu_us_per_conformation": {"single": 1e6 * single.cpu, "double": 1e6 * double.cpu},
                "arithmetic": limit,
                "batch_of": n_copies * system.case.n_frames,
                "batch_wall_us_per_conformation": batches.map(|batch| 1e6 * batch.wall),
                "batch_cpu_us_per_conformation": batches.map(|batch| 1e6 * batch.cpu),
                "second_thread_gains": batches[0].wall / batches[1].wall,
                "dynamics_ns_per_day": {
                    "per_core_one_thread": per_day(runs[0].cpu),
                    "per_core_two_threads": per_day(runs[1].cpu),
                    "wall_one_thread": per_day(runs[0].wall),
                    "wall_two_threads": per_day(runs[1].wall),
                },
            }),
        );
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({"peak_gflops_of_a_core": peak, "load": load.trim(), "systems": found})
}

/// The least of several timings, CPU and wall by themselves.
#[derive(Clone, Copy)]
struct Minimum {
    cpu: f64,
    wall: f64,
}

impl Minimum {
    fn new() -> Self {
        Self { cpu: f64::INFINITY, wall: f64::INFINITY }
    }

    fn add(&mut self, seconds: Seconds) {
        self.cpu = self.cpu.min(seconds.cpu);
        self.wall = self.wall.min(seconds.wall);
    }
}

fn pool(n_threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(n_threads).build().expect("threads can be started")
}

/// Time of a call divided by `n`.
fn per(n: usize, call: impl FnOnce()) -> Seconds {
    let (wall, cpu) = (Instant::now(), common::cpu_seconds());
    call();
    let cpu = common::cpu_seconds() - cpu;
    Seconds { cpu: cpu / n as f64, wall: wall.elapsed().as_secs_f64() / n as f64 }
}
