"""Writes comparison_reference.json: metrics from their published definitions, with numpy and scipy.

Definitions: js_divergence and phi_psi_metrics of github.com/noegroup/ScoreMD
(src/scoremd/utils/evaluation.py), written again with numpy.histogram2d, numpy.digitize and
scipy.spatial.distance.jensenshannon; W1 by scipy.stats.wasserstein_distance.
"""
import json
import numpy as np
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

rng = np.random.default_rng(3)


def draw(n, share):
    centers = np.array([[-2.0, 2.6], [-1.3, -0.6], [1.0, 0.7]])
    which = rng.choice(3, n, p=[1 - share - 0.03, share, 0.03])
    x = centers[which] + 0.35 * rng.normal(size=(n, 2))
    return np.round((x + np.pi) % (2 * np.pi) - np.pi, 5)


def js(a, b, w, edges):
    p, _, _ = np.histogram2d(a[:, 0], a[:, 1], bins=edges)
    q, _, _ = np.histogram2d(b[:, 0], b[:, 1], bins=edges, weights=w)
    return float(jensenshannon(p.ravel(), q.ravel()) ** 2)


def surface(a, b, w):
    grid = np.linspace(-np.pi, np.pi, 63)

    def probabilities(x, w):
        index = np.digitize(x[:, 0], grid) * 64 + np.digitize(x[:, 1], grid)
        return np.bincount(index, weights=w, minlength=4096) / w.sum()

    p, q = probabilities(a, np.ones(len(a))), probabilities(b, w)
    occupied = (p > 0) | (q > 0)
    p, q = p[occupied], q[occupied]
    p, q = np.where(p > 0, p, 1e-6), np.where(q > 0, q, 1e-6)
    m = (p + q) / 2
    weights = m / m.sum()
    error = np.sum(weights * (np.log(p) - np.log(q)) ** 2)
    mjs = np.sum(weights * (p / m * np.log(p / m) + q / m * np.log(q / m)) / 2)
    return float(error), float(mjs)


a, b = draw(700, 0.12), draw(500, 0.2)
weights = np.round(rng.exponential(size=len(b)), 4)
pooled = np.vstack([a, b])
pooled_edges = [np.linspace(pooled[:, i].min(), pooled[:, i].max(), 65) for i in range(2)]
periodic_edges = [np.linspace(-np.pi, np.pi, 65)] * 2
result = {"a": a.ravel().tolist(), "b": b.ravel().tolist(), "weights_b": weights.tolist()}
for name, w in (("plain", np.ones(len(b))), ("weighted", weights)):
    error, mjs = surface(a, b, w)
    result[name] = {
        "js": js(a, b, w, pooled_edges), "js_periodic": js(a, b, w, periodic_edges),
        "pmf_error": error, "mean_jensen_shannon": mjs,
        "wasserstein_0": float(wasserstein_distance(a[:, 0], b[:, 0], None, w)),
    }
json.dump(result, open(__file__.replace(".py", ".json"), "w"))
