//! What benches share: a model with data, a batch, and the arithmetic limit of this machine.

#![allow(dead_code, reason = "each bench uses its part")]

use std::time::Instant;

use kirkwood::model::EnergyModel;
use kirkwood::model::data::TrainingData;
use kirkwood::model::fused::Weights;
use kirkwood::model::network::{Architecture, Context, NETWORKS};
use kirkwood::potential::{Noise, Space};
use kirkwood::random::{Purpose, Streams, fill_normal};
use kirkwood::training::batch::Batch;
use kirkwood::training::gradient::Weighted;
use kirkwood::training::objective::OBJECTIVES;
use kirkwood::training::times::TimeSettings;

/// A batch of the default law of times.
pub fn batch(model: &EnergyModel, data: &[f32], n_points: usize, n_times: usize) -> Batch {
    let times = TimeSettings { n_times, ..TimeSettings::default() };
    let space = Space::Centered { n_particles: model.architecture.n_beads };
    let mut batch = Batch::default();
    let data = TrainingData::of_frames(space, data);
    batch.draw(&data, model.noise(), &times, Default::default(), n_points, &Streams::new(1), 0);
    batch
}

/// Denoising score matching, joined by diffusive classification where points have several times.
pub fn objectives(n_times: usize) -> Vec<Weighted> {
    let mut objectives = vec![objective("denoising_score_matching", 1.0)];
    if n_times > 1 {
        objectives.push(objective("diffusive_classification", 0.6));
    }
    objectives
}

/// A model with random weights, and its data: a helix with thermal noise.
pub fn model(name: &str, n_beads: usize) -> (EnergyModel, Vec<f32>) {
    let streams = &Streams::new(1);
    let bonds = (1..n_beads).map(|k| [k - 1, k]).collect();
    let types = (0..n_beads).map(|bead| bead % 3).collect();
    let architecture = Architecture::new(types, bonds, Noise::default());
    let space = Space::Centered { n_particles: n_beads };
    let mut data = vec![0.0; 3 * n_beads * 2000];
    for (idx, frame) in data.chunks_exact_mut(3 * n_beads).enumerate() {
        fill_normal(&mut streams.stream(Purpose::Walker, idx as u64), frame);
        for (bead, xyz) in frame.chunks_exact_mut(3).enumerate() {
            let angle = 1.7 * bead as f64;
            let helix = [angle.cos(), angle.sin(), 0.4 * bead as f64];
            xyz.iter_mut().zip(helix).for_each(|(x, helix)| *x = helix + 0.05 * *x);
        }
        space.project(frame);
    }
    let variance = data.iter().map(|x| x * x).sum::<f64>() / (2000 * space.degrees_of_freedom()) as f64;
    data.iter_mut().for_each(|x| *x /= variance.sqrt());

    let mut table = toml::Table::new();
    table.insert("kind".into(), name.into());
    let network = NETWORKS.build("network", table, &()).expect("the defaults build");
    let data: Vec<f32> = data.iter().map(|&x| x as f32).collect();
    let frames = TrainingData::of_frames(space, &data);
    let context = Context { architecture: &architecture, data: &frames, streams };
    let built = network.build(&context).expect("the defaults build");
    let mut weights = Weights::initial(&built.program, streams);
    let mut noise = vec![0.0; built.program.n_parameters()];
    fill_normal(&mut streams.stream(Purpose::Start, 0), &mut noise);
    weights.update(&built.program, |w| w.iter_mut().zip(&noise).for_each(|(w, z)| *w += 0.02 * *z as f32));
    (EnergyModel::new(architecture, 0.1, built.program, built.time_table, weights), data)
}

fn objective(kind: &str, weight: f64) -> Weighted {
    let mut table = toml::Table::new();
    table.insert("kind".into(), kind.into());
    Weighted { objective: OBJECTIVES.build("objective", table, &()).expect("the defaults build"), weight }
}

/// GFlop/s of one core that does nothing but fused multiply-adds in its widest registers.
pub fn peak_gflops() -> f64 {
    const N: usize = 20_000;
    let (mut best, mut per_round) = (f64::INFINITY, 0);
    for _ in 0..200 {
        let mark = Instant::now();
        per_round = fma_rounds(std::hint::black_box(N));
        best = best.min(mark.elapsed().as_secs_f64());
    }
    1e-9 * (N * per_round) as f64 / best
}

/// Floating-point operations per round, after doing `n` rounds.
fn fma_rounds(n: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the features are present.
            std::hint::black_box(unsafe { x86::rounds512(n) });
            return 16 * 16 * 2;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the features are present.
            std::hint::black_box(unsafe { x86::rounds256(n) });
            return 12 * 8 * 2;
        }
    }
    let mut sums = [1.0_f32; 64];
    let (a, b) = (std::hint::black_box(0.999), std::hint::black_box(1e-3));
    for _ in 0..n {
        sums.iter_mut().for_each(|sum| *sum = *sum * a + b);
    }
    std::hint::black_box(sums);
    64 * 2
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    #[target_feature(enable = "avx512f")]
    pub(super) fn rounds512(n: usize) -> f32 {
        let mut sums = [_mm512_set1_ps(1.0); 16];
        let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(1e-3)));
        for _ in 0..n {
            sums.iter_mut().for_each(|sum| *sum = _mm512_fmadd_ps(*sum, a, b));
        }
        sums.iter().map(|sum| _mm512_reduce_add_ps(*sum)).sum()
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn rounds256(n: usize) -> f32 {
        let mut sums = [_mm256_set1_ps(1.0); 12];
        let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(1e-3)));
        for _ in 0..n {
            sums.iter_mut().for_each(|sum| *sum = _mm256_fmadd_ps(*sum, a, b));
        }
        sums.iter().map(|sum| _mm256_cvtss_f32(*sum)).sum()
    }
}

/// CPU time of this process so far, all threads together, in s.
pub fn cpu_seconds() -> f64 {
    #[cfg(target_os = "linux")]
    {
        #[repr(C)]
        struct Time {
            seconds: i64,
            nanoseconds: i64,
        }
        unsafe extern "C" {
            fn clock_gettime(clock: i32, time: *mut Time) -> i32;
        }
        const PROCESS_CPU_TIME: i32 = 2;
        let mut time = Time { seconds: 0, nanoseconds: 0 };
        // SAFETY: the structure is that of 64-bit Linux, and lives through the call.
        unsafe { clock_gettime(PROCESS_CPU_TIME, &mut time) };
        return time.seconds as f64 + 1e-9 * time.nanoseconds as f64;
    }
    #[allow(unreachable_code, reason = "other systems: wall time stands in")]
    {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_secs_f64()
    }
}
