use kirkwood::model::EnergyModel;
use kirkwood::model::fused::{Direction, Weights, Workspace};
use kirkwood::model::kernels::{self, Matrix};
use kirkwood::model::network::{Architecture, Context, NETWORKS};
use kirkwood::potential::{Noise, Space};
use kirkwood::random::{Purpose, Streams, fill_normal};
use std::time::Instant;

fn main() {
    let lanes_list: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let name = std::env::var("NET").unwrap_or("whitened".into());
    let n_beads: usize = std::env::var("BEADS").ok().and_then(|b| b.parse().ok()).unwrap_or(5);
    let batch: usize = std::env::var("BATCH").ok().and_then(|b| b.parse().ok()).unwrap_or(1024);
    let streams = Streams::new(1);
    let bonds = (1..n_beads).map(|k| [k - 1, k]).collect();
    let types = (0..n_beads).map(|bead| bead % 3).collect();
    let architecture = Architecture::new(types, bonds, Noise::default());
    let space = Space::Centered { n_particles: n_beads };
    let mut data = vec![0.0; 3 * n_beads * 500];
    for (idx, frame) in data.chunks_exact_mut(3 * n_beads).enumerate() {
        fill_normal(&mut streams.stream(Purpose::Walker, idx as u64), frame);
        for (bead, xyz) in frame.chunks_exact_mut(3).enumerate() {
            let angle = 1.7 * bead as f64;
            let helix = [angle.cos(), angle.sin(), 0.5 * bead as f64];
            xyz.iter_mut().zip(helix).for_each(|(x, helix)| *x = helix + 0.03 * *x);
        }
        space.project(frame);
    }
    let mut table = toml::Table::new();
    table.insert("kind".into(), name.into());
    let network = NETWORKS.build("model.network", table, &()).unwrap();
    let built =
        network.build(&Context { architecture: &architecture, data: &data, streams: &streams }).unwrap();
    let mut weights = Weights::initial(&built.program, &streams);
    let mut noise = vec![0.0; built.program.n_parameters()];
    fill_normal(&mut streams.stream(Purpose::Start, 0), &mut noise);
    weights.update(&built.program, |w| w.iter_mut().zip(&noise).for_each(|(w, z)| *w += 0.01 * *z as f32));
    let model = EnergyModel::new(architecture, 0.1, built.program, built.time_table, weights);
    let (program, weights) = (&model.program, model.weights());

    // Pure FMA peak.
    let peak = kernels_peak();
    println!("peak {peak:.1} GFlop/s; {} parameters", program.n_parameters());

    for lanes in lanes_list {
        let mut workspaces: Vec<Workspace> = vec![Workspace::new(program, lanes)];
        let size = 3 * n_beads;
        let mut row = vec![0.0; model.time_table.n_rows()];
        for w in &mut workspaces {
            for lane in 0..lanes {
                model.time_table.fill(0.01 + 0.9 * lane as f64 / lanes as f64, &mut row);
                w.set_time(lane, &row);
                for k in 0..size {
                    w.coordinates_mut()[(k % 3 * n_beads + k / 3) * lanes + lane] =
                        data[lane * size + k] as f32;
                }
            }
            w.coordinate_tangent_mut().fill(0.3);
        }
        let e = vec![0.1; lanes];
        let mut gradient = vec![0.0; program.n_parameters()];
        let n = batch / lanes;
        let mut best = [f64::INFINITY; 6];
        let w = &mut workspaces[0];
        for _ in 0..300 {
            let mut times = [0.0; 6];
            for _ in 0..n {
                let mut mark = Instant::now();
                let mut lap = |slot: usize| {
                    times[slot] += mark.elapsed().as_secs_f64();
                    mark = Instant::now();
                };
                w.forward(program, weights);
                lap(0);
                w.reverse(program, weights);
                lap(1);
                w.tangent(program, weights, Direction::Coordinates);
                lap(2);
                w.reverse_tangent(program, weights, &e, &mut gradient);
                lap(3);
            }
            times[4] = times[..2].iter().sum();
            times[5] = times[..4].iter().sum();
            best.iter_mut().zip(times).for_each(|(b, t)| *b = b.min(t));
        }
        println!(
            "lanes {lanes}: forward {:.2} reverse {:.2} tangent {:.2} reverse_tangent {:.2} | f+r {:.2} all {:.2} ms",
            best[0] * 1e3,
            best[1] * 1e3,
            best[2] * 1e3,
            best[3] * 1e3,
            best[4] * 1e3,
            best[5] * 1e3
        );
        // One product.
        for (m, nn, k) in [(128, lanes, 128), (128, 128, lanes), (423, lanes, 33), (128, lanes, 19)] {
            let (a, b, mut c) = (vec![0.5; m * k], vec![0.25; k * nn], vec![0.0; m * nn]);
            let mut best = f64::INFINITY;
            for _ in 0..300 {
                let mark = Instant::now();
                kernels::multiply(
                    kernels::Shape { m, n: nn, k },
                    Matrix { data: &a, stride: k },
                    Matrix { data: &b, stride: nn },
                    kernels::Start::Kept,
                    &mut c,
                    nn,
                );
                best = best.min(mark.elapsed().as_secs_f64());
            }
            println!("  {m}x{nn}x{k}: {:.1} GFlop/s", 2e-9 * (m * nn * k) as f64 / best);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline(never)]
fn fma_loop(n: usize) -> f32 {
    use std::arch::x86_64::*;
    let mut s = [_mm512_set1_ps(1.0); 16];
    let (a, b) = (_mm512_set1_ps(std::hint::black_box(0.999)), _mm512_set1_ps(std::hint::black_box(1e-3)));
    for _ in 0..n {
        for s in &mut s {
            *s = _mm512_fmadd_ps(*s, a, b);
        }
        if n == 1 {
            std::hint::black_box(&mut s);
        }
    }
    s.iter().map(|s| _mm512_reduce_add_ps(*s)).sum()
}

fn kernels_peak() -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..200 {
        let mark = Instant::now();
        std::hint::black_box(unsafe { fma_loop(std::hint::black_box(20000)) });
        best = best.min(mark.elapsed().as_secs_f64());
    }
    20000.0 * 16.0 * 32.0 / best * 1e-9
}
