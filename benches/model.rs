//! Criterion benches of learned energies: passes, evaluation, and whole training steps.
//!
//! `cargo bench --bench model`. Threads as rayon finds them; `RAYON_NUM_THREADS=1` for one.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kirkwood::model::fused::Direction;
use kirkwood::potential::PotentialPath;
use kirkwood::training::gradient::GradientEngine;

mod common;

/// The four passes over one chunk.
fn passes(criterion: &mut Criterion) {
    for (name, n_beads) in [("whitened", 5), ("message_passing", 5), ("message_passing", 22)] {
        let (model, data) = common::model(name, n_beads);
        let lanes = model.lanes();
        let batch = common::batch(&model, &data, lanes, 1);
        let (program, weights) = (&model.program, model.weights());
        let mut workspace = model.take_workspace();
        model.load(&mut workspace, &batch.times, &batch.x);
        workspace.coordinate_tangent_mut().fill(0.1);
        let (slopes, mut gradient) = (vec![0.1; lanes], vec![0.0; program.n_parameters()]);

        let mut group = criterion.benchmark_group(format!("{name}_{n_beads}_beads"));
        group.throughput(Throughput::Elements(lanes as u64));
        group.bench_function("forward", |b| b.iter(|| workspace.forward(program, weights)));
        group.bench_function("reverse", |b| b.iter(|| workspace.reverse(program, weights)));
        group.bench_function("tangent", |b| {
            b.iter(|| workspace.tangent(program, weights, Direction::Coordinates));
        });
        group.bench_function("reverse_tangent", |b| {
            b.iter(|| workspace.reverse_tangent(program, weights, &slopes, &mut gradient));
        });
        group.finish();
    }
}

/// Energies and gradients as samplers ask for them.
fn evaluation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("energies_and_gradients_1024");
    for (name, n_beads) in [("whitened", 5), ("message_passing", 5)] {
        let (model, data) = common::model(name, n_beads);
        let batch = common::batch(&model, &data, 1024, 1);
        let (mut u, mut gradient) = (vec![0.0; 1024], vec![0.0; batch.x.len()]);
        group.bench_function(name, |b| {
            b.iter(|| model.energies_and_gradients(&batch.times, &batch.x, &mut u, &mut gradient));
        });
    }
    group.finish();
}

/// Loss and gradient of a training step.
fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    for (label, name, n_beads, n_points, n_times) in [
        ("whitened_dsm_1024", "whitened", 5, 1024, 1),
        ("whitened_dsm_diffclf_512x2", "whitened", 5, 512, 2),
        ("message_passing_dsm_512", "message_passing", 5, 512, 1),
        ("message_passing_22_beads_dsm_64", "message_passing", 22, 64, 1),
    ] {
        let (model, data) = common::model(name, n_beads);
        let batch = common::batch(&model, &data, n_points, n_times);
        let objectives = common::objectives(n_times);
        let mut engine = GradientEngine::default();
        let mut gradient = vec![0.0; model.program.n_parameters()];
        group.bench_function(label, |b| {
            b.iter(|| engine.evaluate(&model, &batch, &objectives, &[], &mut gradient));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = passes, evaluation, steps
}
criterion_main!(benches);
