//! One training step, timed on request, with everything that a peer needs to do the same step.
//!
//! `step EXPORT_DIR NETWORK N_BEADS N_POINTS N_TIMES N_THREADS` writes the program, parameters, time
//! table and batch to the directory, together with the loss and gradient found here. Then each line on
//! standard input makes one step and prints `{"wall_s", "cpu_s"}`. `compare.py` talks to it.

#![allow(clippy::print_stdout, reason = "the output is for compare.py")]

use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

use kirkwood::model::EnergyModel;
use kirkwood::model::program::{Op, Program, Unary};
use kirkwood::training::batch::Batch;
use kirkwood::training::gradient::GradientEngine;
use serde_json::{Value, json};

#[path = "../common/mod.rs"]
mod common;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let [directory, network, sizes @ ..] = &arguments[..] else { return };
    let sizes: Vec<usize> = sizes.iter().map(|size| size.parse().expect("a number")).collect();
    let [n_beads, n_points, n_times, n_threads] = sizes[..] else { return };
    rayon::ThreadPoolBuilder::new().num_threads(n_threads).build_global().expect("no pool yet");

    let (model, data) = common::model(network, n_beads);
    let batch = common::batch(&model, &data, n_points, n_times);
    let objectives = common::objectives(n_times);

    let mut engine = GradientEngine::default();
    let mut gradient = vec![0.0; model.program.n_parameters()];
    let losses = engine.evaluate(&model, &batch, &objectives, &[], &mut gradient);
    let loss: f64 = losses.by_objective.iter().zip(&objectives).map(|(l, o)| l * o.weight).sum();
    export(Path::new(directory), &model, &batch, loss, &gradient);

    for line in std::io::stdin().lock().lines() {
        if line.is_err() {
            return;
        }
        let (wall, cpu) = (Instant::now(), cpu_seconds());
        engine.evaluate(&model, &batch, &objectives, &[], &mut gradient);
        println!("{}", json!({"wall_s": wall.elapsed().as_secs_f64(), "cpu_s": cpu_seconds() - cpu}));
    }
}

fn export(directory: &Path, model: &EnergyModel, batch: &Batch, loss: f64, gradient: &[f32]) {
    let write = |name: &str, numbers: &mut dyn Iterator<Item = f32>| {
        let bytes: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
        std::fs::write(directory.join(name), bytes).expect("the directory can be written");
    };
    write("weights.f32", &mut model.weights().values().iter().copied());
    write("table.f32", &mut model.time_table.stored().iter().copied());
    write("x.f32", &mut batch.x.iter().map(|&x| x as f32));
    write("noise.f32", &mut batch.noise.iter().map(|&x| x as f32));
    write("gradient.f32", &mut gradient.iter().copied());
    let features = kirkwood::model::features::FeatureSet::new(
        model.architecture.n_beads,
        model.architecture.dihedrals.clone(),
    );
    let about = json!({
        "n_beads": model.architecture.n_beads,
        "n_points": batch.n_points,
        "n_times": batch.n_times,
        "n_rows": model.program.n_time_rows(),
        "times": batch.times,
        "loss": loss,
        "peak_gflops": common::peak_gflops(),
        "program": program(&model.program),
        "flops_per_conformation": flops(&model.program),
        "pairs": features.pairs, "volumes": features.volumes, "dihedrals": features.dihedrals,
    });
    std::fs::write(directory.join("step.json"), about.to_string()).expect("the directory can be written");
}

/// Operations as peers read them.
fn program(program: &Program) -> Vec<Value> {
    let unary = |function: &Unary| match *function {
        Unary::Silu => json!(["silu"]),
        Unary::Softplus => json!(["softplus"]),
        Unary::SoftClip { bound } => json!(["soft_clip", bound]),
        Unary::SaturatingSquare { bound } => json!(["saturating_square", bound]),
        Unary::InverseSqrt => json!(["inverse_sqrt"]),
        Unary::NegativeLog => json!(["negative_log"]),
    };
    let operation = |op: &Op| match op {
        Op::Coordinates => json!({"op": "coordinates"}),
        Op::Time { start } => json!({"op": "time", "start": start}),
        Op::Linear { x, weight, plus } => {
            json!({"op": "linear", "x": x, "plus": plus, "offset": weight.offset, "columns": weight.columns})
        }
        Op::Bias { parameter } => json!({"op": "bias", "offset": parameter.offset}),
        Op::Add(x, y) => json!({"op": "add", "x": x, "y": y}),
        Op::Multiply(x, y) => json!({"op": "multiply", "x": x, "y": y}),
        Op::Scale(x, factor) => json!({"op": "scale", "x": x, "by": factor}),
        Op::Shift(x, by) => json!({"op": "shift", "x": x, "by": by}),
        Op::Unary(x, function) => json!({"op": "unary", "x": x, "function": unary(function)}),
        Op::Gather { x, index } => json!({"op": "gather", "x": x, "index": &index[..]}),
        Op::ScatterSum { x, index } => json!({"op": "scatter_sum", "x": x, "index": &index[..]}),
        Op::GatherPairs { x, pairs, sign } => {
            json!({"op": "gather_pairs", "x": x, "pairs": &pairs[..], "sign": sign})
        }
        Op::ScatterPairs { x, pairs, sign } => {
            json!({"op": "scatter_pairs", "x": x, "pairs": &pairs[..], "sign": sign})
        }
        Op::SumRows(x) => json!({"op": "sum_rows", "x": x}),
        Op::Concat(values) => json!({"op": "concat", "values": values}),
        Op::Rows { x, start } => json!({"op": "rows", "x": x, "start": start}),
        Op::Reshape(x) => json!({"op": "reshape", "x": x}),
        Op::Cross(x, y) => json!({"op": "cross", "x": x, "y": y}),
    };
    let with_shape = |node: &kirkwood::model::program::Node| {
        let mut value = operation(&node.op);
        value["rows"] = node.rows.into();
        value["items"] = node.items.into();
        value
    };
    program.nodes().iter().map(with_shape).collect()
}

/// Multiplications and additions of matrix products, per conformation: all passes, and the passes that
/// an energy at another time needs.
fn flops(program: &Program) -> [usize; 2] {
    let (mut all, mut energy) = (0, 0);
    for node in program.nodes() {
        if let Op::Linear { x, weight, .. } = &node.op {
            let x = &program.nodes()[*x];
            let moves = usize::from(x.on_x);
            let adjoint = usize::from(x.on_parameters);
            let product = 2 * weight.len() * node.items;
            all += product * (2 + 3 * moves + adjoint);
            energy += product * (2 + adjoint);
        }
    }
    [all, energy]
}

/// Time that the threads of this process have run, from the scheduler's account in ns.
fn cpu_seconds() -> f64 {
    let mut total = 0.0;
    if let Ok(tasks) = std::fs::read_dir("/proc/self/task") {
        for task in tasks.flatten() {
            let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            total += text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) * 1e-9;
        }
    }
    total
}
