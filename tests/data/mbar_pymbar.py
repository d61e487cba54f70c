"""Writes mbar_pymbar.json: MBAR of a small data set by pymbar 4.0.3 (pip install pymbar).

Five harmonic oscillators, the fourth without samples.
"""
import json
import numpy as np
import pymbar

rng = np.random.default_rng(7)
k = np.array([1.0, 2.0, 3.0, 4.0, 8.0])
x0 = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
n_k = np.array([30, 20, 25, 0, 40])
x = np.concatenate([rng.normal(x0[i], 1 / np.sqrt(k[i]), n_k[i]) for i in range(5)])
state = np.repeat(np.arange(5), n_k)
u = 0.5 * k[:, None] * (x[None, :] - x0[:, None]) ** 2
u = np.round(u + np.array([0.0, 3.0, -2.0, 10.0, 5.0])[:, None], 12)
x = np.round(x, 12)
mbar = pymbar.MBAR(u, n_k, relative_tolerance=1e-14, maximum_iterations=10000,
                   solver_protocol=({"method": "adaptive", "options": {"min_sc_iter": 0}},))
differences = mbar.compute_free_energy_differences(uncertainty_method="svd")
target = np.round(0.5 * 2.5 * (x - 0.7) ** 2, 12)
perturbed = mbar.compute_perturbed_free_energies(np.stack([u[0], target]), uncertainty_method="svd")
x_state = mbar.compute_expectations(x, uncertainty_method="svd")
x_target = mbar.compute_expectations(x, u_kn=target[None, :], uncertainty_method="svd")
json.dump({
    "u_kn": u.tolist(), "state": state.tolist(), "x": x.tolist(), "u_target": target.tolist(),
    "delta_f": differences["Delta_f"].tolist(), "d_delta_f": differences["dDelta_f"].tolist(),
    "target_delta_f": perturbed["Delta_f"][0, 1], "target_d_delta_f": perturbed["dDelta_f"][0, 1],
    "x_mean": x_state["mu"].tolist(), "x_error": x_state["sigma"].tolist(),
    "x_target_mean": float(x_target["mu"][0]), "x_target_error": float(x_target["sigma"][0]),
    "overlap": mbar.compute_overlap()["matrix"].tolist(),
    "n_effective": mbar.compute_effective_sample_number().tolist(),
    "pymbar": pymbar.__version__,
}, open(__file__.replace(".py", ".json"), "w"))
