#![allow(warnings)]
use kirkwood::model::fused::Weights;
use kirkwood::model::network::*;
use kirkwood::model::*;
use kirkwood::potential::*;
use kirkwood::random::*;
use kirkwood::training::*;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let raw = std::fs::read("/work/exp/beads.f32").unwrap();
    let all: Vec<f32> = raw.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let mut data: Vec<f64> = all.iter().map(|&x| x as f64).collect();
    let sp = Space::Centered { n_particles: 5 };
    for f in data.chunks_exact_mut(15) {
        sp.project(f);
    }
    let settings_text = std::fs::read_to_string(&args[1]).unwrap();
    let table: toml::Table = settings_text.parse().unwrap();
    let seed = args.get(2).map(|s| s.parse().unwrap()).unwrap_or(1);
    let out = args.get(3).cloned().unwrap_or("/tmp/exp.model".into());
    let train_settings: TrainSettings = table["train"].clone().try_into().unwrap();
    train_settings.validate().unwrap();
    // blocks of 2500 frames: alternate
    let mut train = vec![];
    let mut test = vec![];
    let mut sel = vec![];
    for (i, f) in data.chunks_exact(15).enumerate() {
        let b = i / 2500;
        if b % 2 == 0 {
            if b == 0 || b == 20 { sel.extend_from_slice(f) } else { train.extend_from_slice(f) }
        } else {
            test.extend_from_slice(f)
        }
    }
    let n = train.len() / 15;
    let scale = (train.iter().map(|x| x * x).sum::<f64>() / (n * 12) as f64).sqrt();
    for v in [&mut train, &mut sel, &mut test] {
        v.iter_mut().for_each(|x| *x /= scale)
    }
    let noise = Noise::default();
    let arch = Architecture::new(vec![0, 1, 2, 0, 1], vec![[0, 1], [1, 2], [2, 3], [3, 4]], noise);
    println!("dihedrals {:?} scale {scale} n {n}", arch.dihedrals);
    let streams = Streams::new(seed);
    let mut net_table: toml::Table = table["network"].as_table().unwrap().clone();
    let net = NETWORKS.build("network", net_table, &()).unwrap();
    let t0 = std::time::Instant::now();
    let built = net.build(&Context { architecture: &arch, data: &train, streams: &streams }).unwrap();
    println!("built in {:?}, {} parameters", t0.elapsed(), built.program.n_parameters());
    let weights = match args.get(4) {
        None => Weights::initial(&built.program, &streams),
        Some(f) => {
            let raw = std::fs::read(f).unwrap();
            Weights::new(
                &built.program,
                raw.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
            )
        }
    };
    let model = EnergyModel::new(arch, scale, built.program, built.time_table, weights);
    let train32: Vec<f32> = train.iter().map(|&x| x as f32).collect();
    let sel32: Vec<f32> = sel.iter().map(|&x| x as f32).collect();
    let t0 = std::time::Instant::now();
    let mut trainer = Trainer::new(model, &train_settings, &train32, streams).unwrap();
    let mut acc = vec![0.0; 2];
    let mut cnt = 0;
    while let Some(r) = trainer.step() {
        for (a, o) in acc.iter_mut().zip(&r.objectives) {
            *a += o.1;
        }
        cnt += 1;
        if r.step % 2000 == 0 || r.step == 20 {
            let v = trainer.with_average(|m| validate(m, &sel32, &Streams::new(9), 8).unwrap());
            let mean = v.iter().map(|p| p.1).sum::<f64>() / 8.0;
            println!(
                "{} stage {} losses {:?} gn {:.3} val {:.5} {:?} t={:.1}",
                r.step,
                r.stage,
                acc.iter().map(|a| (a / cnt as f64 * 1e5).round() / 1e5).collect::<Vec<_>>(),
                r.gradient_norm,
                mean,
                v.iter().map(|p| (p.1 * 1e4).round() / 1e4).collect::<Vec<_>>(),
                t0.elapsed().as_secs_f64()
            );
            acc = vec![0.0; 2];
            cnt = 0;
        }
    }
    let model = trainer.into_model();
    let bytes: Vec<u8> = model.weights.values().iter().flat_map(|w| w.to_le_bytes()).collect();
    std::fs::write(&out, bytes).unwrap();
    let times = noise.log_snr_grid(200);
    // IID by exact posterior
    let n_s = if std::env::var("NOIID").is_ok() { 2048 } else { 50000 };
    let mut x = vec![0.0; n_s * 15];
    let mut rngs: Vec<_> = (0..n_s).map(|i| streams.stream(Purpose::ReverseDiffusion, i as u64)).collect();
    for (x, r) in x.chunks_exact_mut(15).zip(&mut rngs) {
        sp.fill_normal(r, x);
    }
    let (mut u, mut g) = (vec![0.0; n_s], vec![0.0; n_s * 15]);
    let t1 = std::time::Instant::now();
    for w in times.windows(2) {
        let (t, s) = (w[0], w[1]);
        model.energies_and_gradients(&vec![t; n_s], &x, &mut u, &mut g).unwrap();
        let (at, gt, as_, gs) = (noise.scale(t), noise.deviation(t), noise.scale(s), noise.deviation(s));
        let r = at / as_;
        let v = gt * gt - r * r * gs * gs;
        use rayon::prelude::*;
        x.par_chunks_exact_mut(15).zip(g.par_chunks_exact(15)).zip(rngs.par_iter_mut()).for_each(
            |((x, g), rng)| {
                let mut z = [0.0; 15];
                sp.fill_normal(rng, &mut z);
                for i in 0..15 {
                    let x0 = (x[i] - gt * gt * g[i]) / at;
                    x[i] = (r * gs * gs * x[i] + as_ * v * x0) / (gt * gt) + (v * gs * gs).sqrt() / gt * z[i];
                }
            },
        );
    }
    println!("IID 200 steps {:?}", t1.elapsed());
    let dump = |name: &str, x: &[f64]| {
        let b: Vec<u8> = x.iter().flat_map(|x| ((x * scale) as f32).to_le_bytes()).collect();
        std::fs::write(format!("{out}.{name}"), b).unwrap();
    };
    dump("iid", &x);
    dump("test", &test);
    dump("train", &train);
    // Equilibrium: from test frames in equal basins, torsion pivots + MALA at t_min
    let nw = 2048;
    let t = 1e-5;
    let mut x: Vec<f64> = x[..nw * 15].to_vec();
    let path = AtLambda { path: &model, lambda: t };
    let mut rngs: Vec<_> = (0..nw).map(|i| streams.stream(Purpose::Equilibrium, i as u64)).collect();
    let (mut u, mut g) = (vec![0.0; nw], vec![0.0; nw * 15]);
    path.energies_and_gradients(&x, &mut u, &mut g).unwrap();
    let mut step: f64 = 0.01;
    let (mut y, mut uy, mut gy) = (x.clone(), u.clone(), g.clone());
    let mut keep = vec![];
    use rand::Rng;
    let t1 = std::time::Instant::now();
    let (mut accp, mut np) = (0usize, 0usize);
    for sweep in 0..2500 {
        // pivot every 4
        if sweep % 4 == 0 {
            for w in 0..nw {
                let x = &x[w * 15..][..15];
                let y = &mut y[w * 15..][..15];
                y.copy_from_slice(x);
                let b = rngs[w].random_range(0..3);
                let (j, k) = match b {
                    0 => (1, 2),
                    1 => (2, 3),
                    _ => (9, 9),
                };
                let ang: f64 = rngs[w].random_range(-std::f64::consts::PI..std::f64::consts::PI);
                let ang2: f64 = rngs[w].random_range(-std::f64::consts::PI..std::f64::consts::PI);
                let mut rot = |j: usize, k: usize, ang: f64| {
                    let p =
                        |y: &[f64], i: usize| nalgebra::Vector3::new(y[3 * i], y[3 * i + 1], y[3 * i + 2]);
                    let axis = nalgebra::Unit::new_normalize(p(y, k) - p(y, j));
                    let q = nalgebra::Rotation3::from_axis_angle(&axis, ang);
                    let o = p(y, k);
                    for i in k + 1..5 {
                        let v = q * (p(y, i) - o) + o;
                        y[3 * i] = v.x;
                        y[3 * i + 1] = v.y;
                        y[3 * i + 2] = v.z;
                    }
                };
                if b < 2 {
                    rot(j, k, ang)
                } else {
                    rot(1, 2, ang);
                    rot(2, 3, ang2)
                }
                sp.project(y);
            }
            path.energies_and_gradients(&y, &mut uy, &mut gy).unwrap();
            for w in 0..nw {
                np += 1;
                if rngs[w].random::<f64>() < (u[w] - uy[w]).exp() {
                    accp += 1;
                    u[w] = uy[w];
                    x[w * 15..][..15].copy_from_slice(&y[w * 15..][..15]);
                    g[w * 15..][..15].copy_from_slice(&gy[w * 15..][..15]);
                }
            }
        } else {
            let h = step;
            let mut z = [0.0; 15];
            let mut lq = vec![0.0; nw];
            for w in 0..nw {
                sp.fill_normal(&mut rngs[w], &mut z);
                for i in 0..15 {
                    y[w * 15 + i] = x[w * 15 + i] - 0.5 * h * h * g[w * 15 + i] + h * z[i];
                }
                lq[w] = -0.5 * z.iter().map(|z| z * z).sum::<f64>();
            }
            path.energies_and_gradients(&y, &mut uy, &mut gy).unwrap();
            let mut a = 0.0;
            for w in 0..nw {
                let mut b = 0.0;
                for i in 0..15 {
                    let d = x[w * 15 + i] - y[w * 15 + i] + 0.5 * h * h * gy[w * 15 + i];
                    b += d * d;
                }
                let la = u[w] - uy[w] - b / (2.0 * h * h) - lq[w];
                let p = la.min(0.0).exp();
                a += p;
                if rngs[w].random::<f64>() < p {
                    u[w] = uy[w];
                    x[w * 15..][..15].copy_from_slice(&y[w * 15..][..15]);
                    g[w * 15..][..15].copy_from_slice(&gy[w * 15..][..15]);
                }
            }
            if sweep < 500 {
                step *= (0.1f64 * (a / nw as f64 - 0.574)).exp();
            }
        }
        if sweep >= 500 && sweep % 80 == 0 {
            keep.extend_from_slice(&x);
        }
    }
    println!("equilibrium {:?} step {step} pivot acc {}", t1.elapsed(), accp as f64 / np as f64);
    dump("eq", &keep);
}
