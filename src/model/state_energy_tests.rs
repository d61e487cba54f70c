//! Energies of states belong together, on every device present, and are not there where there are none.

use super::compute::devices;
use super::network::{Architecture, NETWORKS};
use super::tensor::TensorProgram;
use super::tests::{noised, random_model, relative, with_states};
use crate::potential::{Noise, PotentialPath};

/// exp(−u(x, t)) is the sum of exp(−u(x, t, y)), forces are the mean of those of states, and the noise end knows no state.
#[test]
fn energies_of_states_add_up_to_the_energy() {
    for (name, network) in with_states() {
        let (model, data) = random_model(&*network, 5);
        let (t, x) = noised(&model, &data, model.lanes() + 7);
        let (n, n_states) = (t.len(), model.n_states());
        let run = |path: &dyn PotentialPath| {
            let (mut u, mut gradient, mut rates) = (vec![0.0; n], vec![0.0; x.len()], vec![0.0; n]);
            path.energies_and_gradients(&t, &x, &mut u, &mut gradient).unwrap();
            path.lambda_derivatives(&t, &x, &mut rates).unwrap();
            (u, gradient, rates)
        };
        let (u, gradient, rates) = run(&model);
        let of_states: Vec<_> = (0..n_states).map(|state| run(&model.of_state(state).unwrap())).collect();
        let p = model.state_probabilities(&t, &x).unwrap();
        let (mut forces, mut mean_rates) = (vec![0.0; x.len()], vec![0.0; n]);
        let mut most_known = 0.0_f64;
        for k in 0..n {
            let all: Vec<f64> = of_states.iter().map(|(u, ..)| -u[k]).collect();
            let together = -crate::potential::log_sum_exp(&all);
            assert!((together - u[k]).abs() < 1e-5 * (1.0 + u[k].abs()), "{name}: {together} {}", u[k]);
            for (state, (_, gradient, rates)) in of_states.iter().enumerate() {
                let p = p[k * n_states + state];
                assert!((p - (u[k] + all[state]).exp()).abs() < 1e-3, "{name}");
                most_known = most_known.max(p);
                mean_rates[k] += p * rates[k];
                (15 * k..15 * k + 15).for_each(|i| forces[i] += p * gradient[i]);
            }
        }
        assert!(most_known > 1.5 / n_states as f64, "{name}: {most_known}");
        assert!(relative(forces, &gradient) < 1e-4 && relative(mean_rates, &rates) < 1e-4, "{name}");
        // Every lane its own state.
        let states: Vec<usize> = (0..model.lanes()).map(|lane| lane % n_states).collect();
        let mut workspace = model.take_workspace();
        model.load_with_states(&mut workspace, &t[..states.len()], &x[..15 * states.len()], &states);
        workspace.forward(&model.program, model.weights());
        let mixed = workspace
            .energies()
            .iter()
            .enumerate()
            .map(|(k, &u)| f64::from(u) + model.gaussian_energy(t[k], &x[15 * k..15 * k + 15]));
        let expected: Vec<f64> = states.iter().enumerate().map(|(k, &state)| of_states[state].0[k]).collect();
        assert!(relative(mixed, &expected) < 1e-6, "{name}");

        let last = model.noise().time_range().1;
        let at_noise =
            model.state_probabilities(&[last; 2], &[&x[..15], &x[x.len() - 15..]].concat()).unwrap();
        let [a, b] = [0, 1].map(|k| &at_noise[k * n_states..][..n_states]);
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-2), "{name}: {at_noise:?}");

        for (device, compute) in devices() {
            let tensors = TensorProgram::new(&model.program, &compute, model.weights().values()).unwrap();
            for (state, (u, gradient, _)) in of_states.iter().enumerate() {
                let batch = model.upload_with_states(&tensors, &t, &x, &vec![state; n]).unwrap();
                let (mut found, mut forces) = tensors.evaluate(&batch).unwrap();
                let frames = x.chunks_exact(15).zip(&t);
                found.iter_mut().zip(frames).for_each(|(u, (x, &t))| *u += model.gaussian_energy(t, x));
                model.add_gaussian_gradient(&t, &x, &mut forces);
                assert!(relative(found, u) < 1e-4, "{name} {device}");
                for (found, expected) in forces.chunks(15).zip(gradient.chunks(15)) {
                    assert!(relative(found.iter().copied(), expected) < 1e-4, "{name} {device}");
                }
            }
        }
        assert!(model.of_state(n_states).is_err());
    }
}

/// Parameters, time rows and settings of networks without states are those that checkpoints and plans had before there were any.
#[test]
fn without_states_nothing_is_there_of_them() {
    let table = "kind = \"vector\"\nhidden = [4]\ntime_splines = 9".parse().unwrap();
    let network = NETWORKS.build("model.network", table, &()).unwrap();
    let program = network.program(&Architecture::of_vectors(2, Noise::default())).unwrap();
    assert_eq!((program.n_parameters(), program.n_time_rows()), (6 * 9 + 8 + 4 + 8, 11));
    assert!(program.states().is_empty() && program.nodes().len() == 23, "{}", program.nodes().len());
    let texts = [
        toml::to_string(&super::network::vector::Vector::default()).unwrap(),
        toml::to_string(&super::network::whitened::Whitened::default()).unwrap(),
        toml::to_string(&super::network::message_passing::MessagePassing::default()).unwrap(),
    ];
    assert!(texts.iter().all(|text| !text.contains("states")), "{texts:?}");
    let (model, data) = random_model(&*network, 1);
    assert!(model.of_state(0).is_err());
    assert!(model.state_probabilities(&[0.5], &data[..3]).unwrap().is_empty());
}
