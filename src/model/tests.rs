//! Contracts that every network keeps, on every device present: the two executors agree, derivatives
//! are finite differences, rigid motions change nothing and reflections do.

use nalgebra::{Rotation3, Vector3};

use super::EnergyModel;
use super::compute::devices;
use super::data::TrainingData;
use super::fused::{Direction, Weights, Workspace};
use super::network::{Architecture, Context, NETWORKS, Network};
use super::tensor::TensorProgram;
use crate::potential::{Noise, PotentialPath, Space};
use crate::random::{Purpose, Streams, fill_normal};

/// Bends of a chiral chain, `[frame][bead][xyz]`, centred and of unit variance.
pub(super) fn chain(n_beads: usize, n_frames: usize, streams: &Streams) -> Vec<f64> {
    let space = Space::Centered { n_particles: n_beads };
    let mut data = vec![0.0; 3 * n_beads * n_frames];
    for (idx, frame) in data.chunks_exact_mut(3 * n_beads).enumerate() {
        fill_normal(&mut streams.stream(Purpose::Walker, idx as u64), frame);
        let twist = 1.7 + 0.3 * frame[0] + if frame[1] > 0.0 { 0.0 } else { 0.8 };
        for (bead, xyz) in frame.chunks_exact_mut(3).enumerate() {
            let angle = twist * bead as f64;
            let helix = [angle.cos(), angle.sin(), 0.5 * bead as f64];
            xyz.iter_mut().zip(helix).for_each(|(x, helix)| *x = helix + 0.03 * *x);
        }
        space.project(frame);
    }
    let scale =
        (data.iter().map(|x| x * x).sum::<f64>() / (n_frames * space.degrees_of_freedom()) as f64).sqrt();
    data.iter_mut().for_each(|x| *x /= scale);
    data
}

/// A model with random weights, everywhere different from zero, and its training data. A chain of more
/// than 8 beads forks at its end.
pub(super) fn random_model(network: &dyn Network, n_beads: usize) -> (EnergyModel, Vec<f64>) {
    let bonds = (1..n_beads)
        .map(|k| if n_beads > 8 && k + 2 >= n_beads { [n_beads - 3, k] } else { [k - 1, k] })
        .collect();
    let types = (0..n_beads).map(|bead| bead % 3).collect();
    let molecule = Architecture::new(types, bonds, Noise::default());
    // Some networks are for vectors, of which the same numbers serve as well.
    let vectors = Architecture::of_vectors(3 * n_beads, Noise::default());
    let is_for_molecules = network.program(&molecule).is_ok();
    random_model_of(network, if is_for_molecules { molecule } else { vectors })
}

fn random_model_of(network: &dyn Network, architecture: Architecture) -> (EnergyModel, Vec<f64>) {
    let streams = Streams::new(11);
    let data = chain(architecture.space.dimension() / 3, 200, &streams);
    let frames: Vec<f32> = data.iter().map(|&x| x as f32).collect();
    let of_frames = TrainingData::of_frames(architecture.space, &frames);
    let context = Context { architecture: &architecture, data: &of_frames, streams: &streams };
    let built = network.build(&context).unwrap();
    let mut weights = Weights::initial(&built.program, &streams);
    for (idx, parameter) in built.program.parameters().enumerate() {
        let mut noise = vec![0.0; parameter.len()];
        fill_normal(&mut streams.stream(Purpose::Start, idx as u64), &mut noise);
        let deviation = 0.5 / (parameter.columns as f64).sqrt();
        weights.update(&built.program, |values| {
            let values = &mut values[parameter.offset..][..parameter.len()];
            values.iter_mut().zip(&noise).for_each(|(w, z)| *w += (deviation * z) as f32);
        });
    }
    (EnergyModel::new(architecture, 0.1, built.program, built.time_table, weights), data)
}

/// Noised data at levels from one end of time to the other, as f32 numbers in f64.
pub(super) fn noised(model: &EnergyModel, data: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let (noise, space) = (*model.noise(), PotentialPath::space(model));
    let size = space.dimension();
    let times = noise.log_snr_grid(n - 1);
    let mut x = vec![0.0; n * size];
    for (k, frame) in x.chunks_exact_mut(size).enumerate() {
        space.fill_normal(&mut Streams::new(5).stream(Purpose::Batch, k as u64), frame);
        let (a, g) = (noise.scale(times[k]), noise.deviation(times[k]));
        let start = &data[(7 * k * size) % data.len()..][..size];
        frame.iter_mut().zip(start).for_each(|(x, x0)| *x = f64::from((a * x0 + g * *x) as f32));
    }
    (times, x)
}

fn random(n: usize, index: u64) -> Vec<f64> {
    let mut values = vec![0.0; n];
    fill_normal(&mut Streams::new(9).stream(Purpose::Start, index), &mut values);
    values.iter().map(|&value| f64::from(value as f32)).collect()
}

fn time_rows(model: &EnergyModel, times: &[f64], rate: bool) -> Vec<f64> {
    let mut row = vec![0.0; model.time_table.n_rows()];
    times
        .iter()
        .flat_map(|&t| {
            if rate {
                model.time_table.fill_rate(t, &mut row)
            } else {
                model.time_table.fill(t, &mut row)
            };
            row.iter().map(|&value| f64::from(value)).collect::<Vec<_>>()
        })
        .collect()
}

/// Every network that has a name, small enough for tests; whitened features also as those of atoms.
fn networks() -> impl Iterator<Item = (&'static str, Box<dyn Network>)> {
    let build = |name: &str, more: &str| {
        let entry = NETWORKS.get("", name).unwrap();
        let mut table: toml::Table = format!("{}\n{more}", entry.example).parse().unwrap();
        table.insert("kind".into(), name.into());
        NETWORKS.build("model.network", table, &()).unwrap()
    };
    let named = NETWORKS.entries.iter().map(move |entry| (entry.name, build(entry.name, "")));
    named.chain([("whitened, atoms", build("whitened", "features = \"atoms\""))]).chain(with_states())
}

/// Every network with states.
pub(super) fn with_states() -> impl Iterator<Item = (&'static str, Box<dyn Network>)> {
    let build = |name: &str, n_states: usize| {
        let entry = NETWORKS.get("", name).unwrap();
        let mut table: toml::Table = format!("{}\nstates = {n_states}", entry.example).parse().unwrap();
        table.insert("kind".into(), name.into());
        NETWORKS.build("model.network", table, &()).unwrap()
    };
    [
        ("vector, states", build("vector", 5)),
        ("whitened, states", build("whitened", 3)),
        ("message passing, states", build("message_passing", 2)),
    ]
    .into_iter()
}

/// The largest difference relative to the largest number.
pub(super) fn relative(found: impl IntoIterator<Item = f64>, expected: &[f64]) -> f64 {
    let largest = expected.iter().fold(0.0_f64, |m, e| m.max(e.abs()));
    let found: Vec<f64> = found.into_iter().collect();
    assert_eq!(found.len(), expected.len());
    assert!(largest > 0.0 && found.iter().all(|f| f.is_finite()));
    found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f64::max) / largest
}

/// `[coordinate][item][lane]` → `[lane][item][coordinate]`
fn unlaned(values: &[f32], (rows, items): (usize, usize)) -> Vec<f64> {
    let lanes = values.len() / (rows * items);
    let at = |lane: usize, item: usize, row: usize| f64::from(values[(row * items + item) * lanes + lane]);
    (0..lanes)
        .flat_map(|lane| (0..items).flat_map(move |item| (0..rows).map(move |row| at(lane, item, row))))
        .collect()
}

fn laned(values: &[f64], (rows, items): (usize, usize), out: &mut [f32]) {
    let lanes = values.len() / (rows * items);
    for (lane, frame) in values.chunks_exact(rows * items).enumerate() {
        for (k, &value) in frame.iter().enumerate() {
            out[(k % rows * items + k / rows) * lanes + lane] = value as f32;
        }
    }
}

#[test]
fn the_fused_passes_agree_with_tensors_in_f64() {
    for (name, network) in networks() {
        for n_beads in [4, 5, 9] {
            let (model, data) = random_model(&*network, n_beads);
            let (program, weights) = (&model.program, model.weights());
            let lanes = model.lanes();
            let (t, x) = noised(&model, &data, lanes);
            let (v, e) = (random(x.len(), 0), random(lanes, 1));

            let mut workspace = Workspace::new(program, lanes);
            // Passes must not depend on what earlier ones left behind.
            for round in 0..2 {
                model.load(&mut workspace, &t, &x);
                workspace.forward(program, weights);
                workspace.reverse(program, weights);
                if round == 0 {
                    for (lane, rate) in time_rows(&model, &t, true).chunks(program.n_time_rows()).enumerate()
                    {
                        let rate: Vec<f32> = rate.iter().map(|&r| r as f32).collect();
                        workspace.set_time_tangent(lane, &rate);
                    }
                    workspace.tangent(program, weights, Direction::Time);
                }
            }
            let energies: Vec<f64> = workspace.energies().iter().map(|&u| u.into()).collect();
            let gradient = unlaned(workspace.coordinate_gradient(), model.architecture.shape());
            workspace.tangent(program, weights, Direction::Time);
            let rates: Vec<f64> = workspace.energy_tangents().iter().map(|&u| u.into()).collect();
            laned(&v, model.architecture.shape(), workspace.coordinate_tangent_mut());
            workspace.tangent(program, weights, Direction::Coordinates);
            let tangents: Vec<f64> = workspace.energy_tangents().iter().map(|&u| u.into()).collect();
            let e32: Vec<f32> = e.iter().map(|&e| e as f32).collect();
            let (mut of_both, mut of_energy) =
                (vec![0.0; program.n_parameters()], vec![0.0; program.n_parameters()]);
            workspace.reverse_tangent(program, weights, &e32, &mut of_both);
            workspace.reverse_energy(program, weights, &e32, &mut of_energy);

            for (device, compute) in devices() {
                let tensors = TensorProgram::new(program, &compute.in_f64(), weights.values()).unwrap();
                let batch = tensors.batch(&x, &time_rows(&model, &t, false)).unwrap();
                let (u, du_dx) = tensors.evaluate(&batch).unwrap();
                let along_t = tensors.tangent(&batch, Direction::Time, &time_rows(&model, &t, true)).unwrap();
                let along_v = tensors.tangent(&batch, Direction::Coordinates, &v).unwrap();
                let both = tensors.parameter_gradient(&batch, &v, &e).unwrap();
                let energy = tensors.parameter_gradient(&batch, &vec![0.0; v.len()], &e).unwrap();
                let place = format!("{name}, {n_beads} beads, {device}");
                assert_eq!(u, tensors.energies(&batch).unwrap());
                let errors = [
                    relative(energies.iter().copied(), &u),
                    relative(gradient.iter().copied(), &du_dx),
                    relative(rates.iter().copied(), &along_t),
                    relative(tangents.iter().copied(), &along_v),
                    relative(of_both.iter().map(|&g| g.into()), &both),
                    relative(of_energy.iter().map(|&g| g.into()), &energy),
                ];
                assert!(errors.iter().all(|&error| error < 1e-4), "{place}: {errors:?}");
                // Gradients grow as the noise falls, so each conformation is compared on its own scale.
                for (fused, tensor) in gradient.chunks(3 * n_beads).zip(du_dx.chunks(3 * n_beads)) {
                    let error = relative(fused.iter().copied(), tensor);
                    assert!(error < 1e-4, "{place}: gradient {error}");
                }
                // Each matrix on its own scale, so that none hides behind a larger one.
                for parameter in program.parameters() {
                    let range = parameter.offset..parameter.offset + parameter.len();
                    let error = relative(of_both[range.clone()].iter().map(|&g| g.into()), &both[range]);
                    assert!(error < 1e-3, "{place}, {parameter:?}: {error}");
                }
            }
        }
    }
}

/// (f(−2h) − 8 f(−h) + 8 f(h) − f(2h))/12h
fn difference(h: f64, f: impl Fn(f64) -> Vec<f64>) -> Vec<f64> {
    let [a, b, c, d] = [-2.0 * h, -h, h, 2.0 * h].map(f);
    (0..a.len()).map(|k| (a[k] - d[k] + 8.0 * (c[k] - b[k])) / (12.0 * h)).collect()
}

#[test]
fn derivatives_of_tensors_are_finite_differences() {
    for (name, network) in networks() {
        let (model, data) = random_model(&*network, 5);
        let (program, n) = (&model.program, 6);
        let (t, x) = noised(&model, &data, n);
        let (time, rate) = (time_rows(&model, &t, false), time_rows(&model, &t, true));
        let weights: Vec<f64> = model.weights().values().iter().map(|&w| w.into()).collect();
        // A step in proportion to the noise, which is the scale on which energies vary.
        let scale = |k: usize| model.noise().deviation(t[k / 15]);
        let v: Vec<f64> = random(x.len(), 2).iter().enumerate().map(|(k, v)| v * scale(k)).collect();
        let rate: Vec<f64> = rate.iter().enumerate().map(|(k, r)| r * t[k / program.n_time_rows()]).collect();
        let e = random(n, 3);
        let moved =
            |x: &[f64], v: &[f64], h: f64| -> Vec<f64> { x.iter().zip(v).map(|(x, v)| x + h * v).collect() };

        for (device, compute) in devices() {
            let compute = compute.in_f64();
            let tensors = TensorProgram::new(program, &compute, &weights).unwrap();
            let batch = tensors.batch(&x, &time).unwrap();
            let (_, gradient) = tensors.evaluate(&batch).unwrap();
            let along_v: Vec<f64> = gradient
                .chunks_exact(15)
                .zip(v.chunks_exact(15))
                .map(|(g, v)| g.iter().zip(v).map(|(g, v)| g * v).sum())
                .collect();
            let expected = difference(1e-4, |h| {
                tensors.energies(&tensors.batch(&moved(&x, &v, h), &time).unwrap()).unwrap()
            });
            assert!(relative(along_v, &expected) < 1e-6, "{name} {device}: score");

            let along_t = tensors.tangent(&batch, Direction::Time, &rate).unwrap();
            let expected = difference(1e-4, |h| {
                tensors.energies(&tensors.batch(&x, &moved(&time, &rate, h)).unwrap()).unwrap()
            });
            assert!(relative(along_t, &expected) < 1e-6, "{name} {device}: time");

            let step = random(weights.len(), 4);
            let found = tensors.parameter_gradient(&batch, &v, &e).unwrap();
            let found = found.iter().zip(&step).map(|(g, s)| g * s).sum::<f64>();
            let expected = difference(1e-4, |h| {
                let moved = TensorProgram::new(program, &compute, &moved(&weights, &step, h)).unwrap();
                let along_v = moved.tangent(&batch, Direction::Coordinates, &v).unwrap();
                let energies = moved.energies(&batch).unwrap();
                vec![along_v.iter().zip(&energies).zip(&e).map(|((w, u), e)| w + e * u).sum()]
            });
            assert!(relative([found], &expected) < 1e-6, "{name} {device}: {found} {expected:?}");
        }
    }
}

#[test]
fn chunks_stay_in_cache_and_their_size_does_not_change_a_lane() {
    let of = |name: &str, n_beads: usize| {
        let network =
            NETWORKS.build("", toml::Table::from_iter([("kind".into(), name.into())]), &()).unwrap();
        random_model(&*network, n_beads)
    };
    assert_eq!(of("whitened", 5).0.lanes(), 64);
    let (model, data) = of("message_passing", 5);
    assert_eq!((model.lanes(), of("message_passing", 22).0.lanes()), (16, 16));
    let (t, x) = noised(&model, &data, 64);
    let mut u = vec![0.0; 64];
    model.energies(&t, &x, &mut u).unwrap();
    // All in one chunk of 64, by hand.
    let mut workspace = Workspace::new(&model.program, 64);
    laned(&x, (3, 5), workspace.coordinates_mut());
    let rows: Vec<f32> = time_rows(&model, &t, false).iter().map(|&row| row as f32).collect();
    rows.chunks(model.time_table.n_rows()).enumerate().for_each(|(lane, row)| workspace.set_time(lane, row));
    workspace.forward(&model.program, model.weights());
    let whole = workspace.energies().iter().zip(&t).zip(x.chunks_exact(15));
    let whole = whole.map(|((&u, &t), x)| f64::from(u) + model.gaussian_energy(t, x));
    assert!(relative(whole, &u) < 1e-6);
}

#[test]
fn a_rotation_changes_nothing_and_a_reflection_does() {
    for (name, network) in networks() {
        let n_beads = 5;
        let (model, data) = random_model(&*network, n_beads);
        if model.architecture.n_beads == 0 {
            continue;
        }
        let lanes = model.lanes();
        let (t, x) = noised(&model, &data, lanes);
        let energies = |x: &[f64]| -> Vec<f64> {
            let mut workspace = model.take_workspace();
            model.load(&mut workspace, &t, x);
            workspace.forward(&model.program, model.weights());
            workspace.energies().iter().map(|&u| u.into()).collect()
        };
        let rotation = Rotation3::from_euler_angles(0.3, -1.1, 2.0);
        let shift = Vector3::new(0.4, -0.2, 0.7);
        let mapped = |f: &dyn Fn(Vector3<f64>) -> Vector3<f64>| -> Vec<f64> {
            x.chunks_exact(3).flat_map(|p| f(Vector3::new(p[0], p[1], p[2])).as_slice().to_vec()).collect()
        };
        let u = energies(&x);
        let moved = energies(&mapped(&|p| rotation * p + shift));
        assert!(relative(moved, &u) < 1e-4, "{name}");
        let mirrored = energies(&mapped(&|p| -p));
        let change = u.iter().zip(&mirrored).map(|(u, m)| (u - m).abs()).sum::<f64>() / lanes as f64;
        assert!(change > 1e-2, "{name}: {change}");
    }
}

/// Up to the factor a²/(a² + g²), which is 4·10⁻⁵ at the noise end.
#[test]
fn the_noise_end_is_the_normalised_gaussian_whatever_the_weights() {
    for (name, network) in networks() {
        let (model, data) = random_model(&*network, 5);
        let noise = model.noise();
        let (_, last) = noise.time_range();
        let (_, x) = noised(&model, &data, 40);
        let beyond_gaussian = |t: f64| -> f64 {
            let mut u = vec![0.0; 40];
            model.energies(&[t; 40], &x, &mut u).unwrap();
            let differences =
                u.iter().zip(x.chunks_exact(15)).map(|(u, x)| (u - model.gaussian_energy(t, x)).abs());
            differences.fold(0.0, f64::max)
        };
        let middle = beyond_gaussian(noise.time_at_log_snr(0.0));
        let end = beyond_gaussian(last);
        let signal = noise.scale(last).powi(2);
        assert!(middle > 0.5 && end < 1e3 * signal && end > 0.0, "{name}: {middle} {end} {signal}");
    }
}

#[test]
fn message_passing_treats_equal_beads_alike() {
    let network = NETWORKS.get("", "message_passing").unwrap();
    let mut table: toml::Table = network.example.parse().unwrap();
    table.insert("kind".into(), network.name.into());
    let network = NETWORKS.build("model.network", table, &()).unwrap();
    let relabelled = |types: Vec<usize>, bonds: Vec<[usize; 2]>, order: [usize; 5]| {
        let (model, data) = random_model_of(&*network, Architecture::new(types, bonds, Noise::default()));
        let (t, x) = noised(&model, &data, 64);
        let permuted: Vec<f64> = x
            .chunks_exact(15)
            .flat_map(|f| order.iter().flat_map(|&i| f[3 * i..3 * i + 3].to_vec()))
            .collect();
        let (mut u, mut of_permuted) = (vec![0.0; 64], vec![0.0; 64]);
        model.energies(&t, &x, &mut u).unwrap();
        model.energies(&t, &permuted, &mut of_permuted).unwrap();
        relative(of_permuted, &u)
    };
    let chain = || (1..5).map(|k| [k - 1, k]).collect::<Vec<_>>();
    assert!(relabelled(vec![0; 5], vec![], [3, 0, 4, 1, 2]) < 1e-5);
    // A chain that reads the same from both ends may be turned round, and nothing else.
    assert!(relabelled(vec![0, 1, 2, 1, 0], chain(), [4, 3, 2, 1, 0]) < 1e-5);
    assert!(relabelled(vec![0; 5], chain(), [1, 0, 2, 3, 4]) > 1e-3);
    assert!(relabelled(vec![0, 1, 2, 3, 4], vec![], [1, 0, 2, 3, 4]) > 1e-3);
}

#[test]
fn a_model_is_a_path_with_exact_derivatives() {
    for (name, network) in networks() {
        let (model, data) = random_model(&*network, 5);
        let (t, x) = noised(&model, &data, 100);
        // Interior times, so that differences stay within the range.
        let (t, x) = (&t[5..95], &x[15 * 5..15 * 95]);
        let energies = |t: &[f64], x: &[f64]| {
            let mut u = vec![0.0; t.len()];
            model.energies(t, x, &mut u).unwrap();
            u
        };
        let mut u = vec![0.0; t.len()];
        let mut gradient = vec![0.0; x.len()];
        model.energies_and_gradients(t, x, &mut u, &mut gradient).unwrap();
        assert_eq!(u, energies(t, x));

        let v: Vec<f64> = random(x.len(), 6);
        let step = |k: usize| 3e-2 * model.noise().deviation(t[k]);
        let at = |h: f64| -> Vec<f64> {
            x.iter().zip(&v).enumerate().map(|(k, (x, v))| x + h * step(k / 15) * v).collect()
        };
        let expected = difference(1.0, |h| energies(t, &at(h)));
        let found: Vec<f64> =
            (0..t.len()).map(|k| (15 * k..15 * k + 15).map(|i| gradient[i] * v[i] * step(k)).sum()).collect();
        let error = relative(found, &expected);
        assert!(error < 3e-3, "{name}: gradient {error}");
        let of_molecule = if model.architecture.n_beads > 0 { &gradient[..] } else { &[] };
        for frame in of_molecule.chunks_exact(15) {
            let net: f64 = frame.iter().step_by(3).sum();
            assert!(net.abs() < 1e-9 * frame.iter().map(|g| g.abs()).sum::<f64>());
        }

        let mut rates = vec![0.0; t.len()];
        model.lambda_derivatives(t, x, &mut rates).unwrap();
        let expected = difference(1.0, |h| {
            let moved: Vec<f64> = t.iter().map(|t| t * (1.0 + 1e-2 * h)).collect();
            energies(&moved, x)
        });
        let found: Vec<f64> = rates.iter().zip(t).map(|(rate, t)| rate * 1e-2 * t).collect();
        let error = relative(found, &expected);
        assert!(error < 3e-3, "{name}: rate {error}");
    }
}

#[test]
fn one_thread_and_two_give_the_same_bits() {
    for (name, network) in networks() {
        let (model, data) = random_model(&*network, 5);
        let (t, x) = noised(&model, &data, 3 * model.lanes() + 7);
        let run = |n_threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            let (mut u, mut gradient, mut rates) =
                (vec![0.0; t.len()], vec![0.0; x.len()], vec![0.0; t.len()]);
            pool.install(|| {
                model.energies_and_gradients(&t, &x, &mut u, &mut gradient).unwrap();
                model.lambda_derivatives(&t, &x, &mut rates).unwrap();
            });
            (u, gradient, rates)
        };
        assert_eq!(run(1), run(2), "{name}");
    }
}

/// Conformations at one time skip what is zero there, also in the gradient of the parameters.
#[test]
fn the_times_of_other_lanes_change_nothing() {
    for (name, network) in networks() {
        let (model, data) = random_model(&*network, 5);
        let (t, x) = noised(&model, &data, model.lanes());
        let gradient = |t: &[f64], e: &[f32]| {
            let mut workspace = model.take_workspace();
            model.load(&mut workspace, t, &x);
            workspace.forward(&model.program, model.weights());
            let u: Vec<f64> = workspace.energies().iter().map(|&u| u.into()).collect();
            let mut gradient = vec![0.0; model.program.n_parameters()];
            workspace.reverse_energy(&model.program, model.weights(), e, &mut gradient);
            (u, gradient.into_iter().map(f64::from).collect::<Vec<f64>>())
        };
        for lane in (0..t.len()).step_by(5) {
            let mut e = vec![0.0; t.len()];
            e[lane] = 1.0;
            let (mixed, of_mixed) = gradient(&t, &e);
            let (alone, of_alone) = gradient(&vec![t[lane]; t.len()], &e);
            assert!((mixed[lane] - alone[lane]).abs() < 1e-5 * (1.0 + mixed[lane].abs()), "{name}");
            assert!(relative(of_alone, &of_mixed) < 1e-5, "{name}");
        }
    }
}

#[test]
fn bonds_that_branch_ask_for_features_of_atoms() {
    let rows = |features: &str, bonds: Vec<[usize; 2]>| {
        let table = format!("kind = \"whitened\"\nfeatures = \"{features}\"").parse().unwrap();
        let network = NETWORKS.build("model.network", table, &()).unwrap();
        let molecule = Architecture::new(vec![0; 5], bonds, Noise::default());
        network.program(&molecule).unwrap().n_time_rows()
    };
    let chain = || (1..5).map(|k| [k - 1, k]).collect::<Vec<_>>();
    let methane = || (1..5).map(|k| [0, k]).collect::<Vec<_>>();
    assert_eq!(rows("automatic", chain()), rows("beads", chain()));
    assert_eq!(rows("automatic", methane()), rows("atoms", methane()));
    assert_ne!(rows("atoms", methane()), rows("beads", methane()));
}
