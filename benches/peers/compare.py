#!/usr/bin/env python3
"""One training step of kirkwood, PyTorch and JAX: the same network, weights and batch, taken in turns.

    python3 benches/peers/compare.py [--threads 1 2] [--repeats 40] [--cases NAME ...] [--json FILE]

Makes a virtual environment in target/peers with the versions of requirements.txt, builds the Rust step,
checks that every peer finds the same loss and gradient, and prints a table. See README.md.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VENV = ROOT / "target" / "peers"

# Network, beads, data points, times per point. Two times: DSM on both and binary DiffCLF between them.
CASES = {
    "whitened_dsm": ("whitened", 5, 1024, 1),
    "whitened_dsm_diffclf": ("whitened", 5, 512, 2),
    "message_passing_dsm": ("message_passing", 5, 512, 1),
    "message_passing_dsm_diffclf": ("message_passing", 5, 256, 2),
    "message_passing_22_beads_dsm": ("message_passing", 22, 64, 1),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--json", help="also write all numbers to this file")
    parser.add_argument("--worker", nargs=2, metavar=("CASE", "STEP"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work(arguments.worker[0], arguments.worker[1], arguments.threads[0], arguments.repeats)

    if not (VENV / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([VENV / "bin/pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
        (VENV / "done").touch()
    build = ["cargo", "bench", "--no-run", "--bench", "step", "--message-format=json"]
    messages = subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    artifacts = [json.loads(line) for line in messages.splitlines() if line.startswith("{")]
    (step,) = [a["executable"] for a in artifacts if a.get("executable") and a["target"]["name"] == "step"]

    everything = []
    for case in arguments.cases:
        for threads in arguments.threads:
            # Libraries size their pools at start, from the cores that they may use: a process per count.
            environment = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
            # Limits for the BLAS of other libraries have no place in a comparison.
            for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
                environment.pop(name, None)
            environment["JAX_PLATFORMS"] = "cpu"
            command = [VENV / "bin/python", __file__, "--threads", str(threads), "--repeats"]
            command += [str(arguments.repeats), "--worker", case, step]
            cores = set(sorted(os.sched_getaffinity(0))[:threads])
            found = subprocess.run(
                command,
                env=environment,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )
            result = json.loads(found.stdout.splitlines()[-1])
            everything.append(result)
            show(result)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(everything, indent=1))


def show(result):
    print(f"\n{result['case']}, {result['threads']} thread(s), matrix products {result['gflop']:.3f} GFlop")
    rate = result["gflop"] / result["times"]["kirkwood"]["cpu_min"]
    peak = result["peak_gflops"]
    print(f"  kirkwood: {rate:.0f} GFlop/s in products alone, {100 * rate / peak:.0f} % of the {peak:.0f} of one core")
    print(f"  {'':16} {'CPU min':>9} {'CPU med':>9} {'wall min':>9} {'wall med':>9}  ms   CPU vs kirkwood")
    own = result["times"]["kirkwood"]["cpu_min"]
    for name, t in result["times"].items():
        numbers = [1e3 * t[key] for key in ("cpu_min", "cpu_median", "wall_min", "wall_median")]
        print(f"  {name:16} " + " ".join(f"{n:9.2f}" for n in numbers) + f"       {t['cpu_min'] / own:8.2f}")
    for name, reason in result["missing"].items():
        print(f"  {name:16} not available: {reason}")
    sys.stdout.flush()


# ---------------------------------------------------------------------------------------------------
# In the virtual environment.


class Step:
    """The exported step."""

    def __init__(self, directory):
        import numpy as np

        def read(name):
            return np.fromfile(directory / f"{name}.f32", dtype=np.float32)

        self.__dict__.update(json.loads((directory / "step.json").read_text()))
        n = self.n_points * self.n_times
        self.x = read("x").reshape(n, self.n_beads, 3)
        self.noise = read("noise").reshape(n, self.n_beads, 3)
        self.table = read("table").reshape(-1, 2 * self.n_rows)
        self.gradient = read("gradient")
        self.times = np.array(self.times, dtype=np.float64)
        weights = read("weights")
        self.slots = {}
        self.weights = []
        for value, node in enumerate(self.program):
            if node["op"] in ("linear", "bias"):
                shape = (node["rows"], node.get("columns", 1))
                self.slots[value] = len(self.weights)
                self.weights.append(weights[node["offset"] :][: shape[0] * shape[1]].reshape(shape))


class Backend:
    """What torch and jax.numpy call differently."""

    def __init__(self, name):
        if name == "jax":
            import jax
            import jax.numpy as jnp

            self.np = jnp
            self.silu, self.softplus = jax.nn.silu, jax.nn.softplus
            self.array = jnp.asarray
            self.index = jnp.asarray
            self.concat = lambda parts, axis: jnp.concatenate(parts, axis)
            self.sum = lambda x, axis, keep=False: jnp.sum(x, axis, keepdims=keep)
            self.scatter = lambda x, index, n: jnp.zeros((x.shape[0], n, x.shape[2]), x.dtype).at[:, index].add(x)
            self.cross = lambda x, y, axis: jnp.cross(x, y, axis=axis)
            self.transposed = lambda x: jnp.transpose(x, (2, 1, 0))
        else:
            import torch
            import torch.nn.functional as F

            self.np = torch
            self.silu, self.softplus = F.silu, F.softplus
            self.array = lambda x: torch.from_numpy(x.copy())
            self.index = torch.tensor
            self.concat = torch.cat
            self.sum = lambda x, axis, keep=False: torch.sum(x, axis, keepdim=keep)
            self.scatter = lambda x, index, n: torch.zeros(x.shape[0], n, x.shape[2]).index_add(1, index, x)
            self.cross = lambda x, y, axis: torch.linalg.cross(x, y, dim=axis)
            self.transposed = lambda x: x.permute(2, 1, 0).contiguous()

    def unary(self, x, function):
        kind, *bound = function
        sqrt = self.np.sqrt
        return {
            "silu": lambda: self.silu(x),
            "softplus": lambda: self.softplus(x),
            "soft_clip": lambda: x / sqrt(1 + x * x / bound[0] ** 2),
            "saturating_square": lambda: 0.5 * x * x / (1 + x * x / bound[0] ** 2),
            "inverse_sqrt": lambda: 1 / sqrt(x),
            "negative_log": lambda: -self.np.log(x),
        }[kind]()


def of_program(step, b):
    """The energy as the program says it, values as [rows, items, conformations]."""
    index = {}
    for value, node in enumerate(step.program):
        if "index" in node:
            index[value] = b.index(node["index"])
        elif "pairs" in node:
            index[value] = [b.index([pair[side] for pair in node["pairs"]]) for side in (0, 1)]

    def energy(weights, x, rows):
        n = x.shape[0]
        coordinates, time_rows = b.transposed(x), rows.T
        values = []
        for value, node in enumerate(step.program):
            op, shape = node["op"], (node["rows"], node["items"], n)
            at = lambda key: values[node[key]]
            if op == "coordinates":
                y = coordinates
            elif op == "time":
                y = time_rows[node["start"] : node["start"] + shape[0]].reshape(shape)
            elif op == "linear":
                y = (weights[step.slots[value]] @ at("x").reshape(node["columns"], -1)).reshape(shape)
                if node["plus"] is not None:
                    y = y + at("plus")
            elif op == "bias":
                # One number per row serves all conformations: broadcast where it is used.
                y = weights[step.slots[value]].reshape(shape[0], 1, 1)
            elif op == "add":
                y = at("x") + at("y")
            elif op == "multiply":
                y = at("x") * at("y")
            elif op == "scale":
                y = at("x") * node["by"]
            elif op == "shift":
                y = at("x") + node["by"]
            elif op == "unary":
                y = b.unary(at("x"), node["function"])
            elif op == "gather":
                y = at("x")[:, index[value]]
            elif op == "scatter_sum" and shape[1] == 1:
                y = b.sum(at("x"), 1, True)
            elif op == "scatter_sum":
                y = b.scatter(at("x"), index[value], shape[1])
            elif op == "gather_pairs":
                first, second = (at("x")[:, i] for i in index[value])
                y = first + second if node["sign"] > 0 else first - second
            elif op == "scatter_pairs":
                x_, (first, second) = at("x"), index[value]
                both = b.concat([x_, x_ if node["sign"] > 0 else -x_], 1)
                y = b.scatter(both, b.concat([first, second], 0), shape[1])
            elif op == "sum_rows":
                y = b.sum(at("x"), 0, True)
            elif op == "concat":
                y = b.concat([values[part] for part in node["values"]], 0)
            elif op == "rows":
                y = at("x")[node["start"] : node["start"] + shape[0]]
            elif op == "reshape":
                y = at("x")
                y = y.reshape(shape[0], shape[1], y.shape[2])
            elif op == "cross":
                y = b.cross(at("x"), at("y"), 0)
            values.append(y)
        return values[-1].reshape(n)

    return energy


def whitened(step, b):
    """The whitened network as one would write it, values as [conformations, features]."""
    i, j = (b.index([pair[side] for pair in step.pairs]) for side in (0, 1))
    corners = [b.index([q[side] for q in step.volumes]) for side in range(4)]
    beads = [b.index([d[side] for d in step.dihedrals]) for side in range(4)]
    layers = [node for node in step.program if node["op"] == "linear"]
    m, k = layers[0]["columns"], layers[1]["columns"]
    widths = [node["rows"] for node in layers[1:-1]]
    sqrt = b.np.sqrt

    def energy(weights, x, rows):
        splines, mean, inverse = rows[:, :m], rows[:, m : m + k], rows[:, m + k : m + 2 * k]
        signal, smoothing = rows[:, m + 2 * k : m + 2 * k + 1], rows[:, m + 2 * k + 1 : m + 2 * k + 2]
        r = x[:, j] - x[:, i]
        base = x[:, corners[0]]
        p, q, s = (x[:, corner] - base for corner in corners[1:])
        b1, b2, b3 = (x[:, beads[l + 1]] - x[:, beads[l]] for l in range(3))
        n1, n2 = b.cross(b1, b2, -1), b.cross(b2, b3, -1)
        square = b.sum(b2 * b2, -1)
        cosine, sine = b.sum(n1 * n2, -1), b.sum(b1 * n2, -1) * square / sqrt(square + 1e-6)
        scale = 1 / sqrt(cosine * cosine + sine * sine + smoothing)
        volume = b.sum(b.cross(p, q, -1) * s, -1)
        f = b.concat([b.sum(r * r, -1), volume, cosine * scale, sine * scale], 1)
        z = (f - mean) * inverse
        clipped = z / sqrt(1 + z * z / 25)
        quadratic = 0.5 * z * z / (1 + z * z / 400)
        of_time = splines @ weights[0].T
        hidden, at = clipped, 0
        for width, weight in zip(widths, weights[1:]):
            hidden = b.silu(hidden @ weight.T + of_time[:, at : at + width])
            at += width
        stiffness = b.softplus(of_time[:, at : at + k])
        slope = of_time[:, at + k : at + 2 * k]
        mlp = (hidden @ weights[-1].T)[:, 0]
        return signal[:, 0] * (mlp + b.sum(quadratic * stiffness + clipped * slope, 1) + of_time[:, -1])

    return energy


def loss_of(step, b, network, score):
    """The loss of the step; `score(energy, x)` returns energies and their gradient."""
    n, k, d = step.x.shape[0], step.n_times, 3 * step.n_beads - 3
    import numpy as np

    def locate(t):
        # The noise is the default one, variance preserving with β from 0.1 to 20.
        log_scale = lambda t: -0.5 * t * 0.1 - 0.25 * t * t * 19.9
        variance = lambda t: -np.expm1(2 * log_scale(t))
        log_snr = lambda t: 2 * log_scale(t) - np.log(variance(t))
        first, last = log_snr(1.0), log_snr(1e-5)
        position = (log_snr(t) - first) / (last - first) * 768
        cell = np.clip(np.floor(position), 0, 767).astype(np.int64)
        return cell, (position - cell).astype(np.float32), np.sqrt(variance(t)).astype(np.float32)

    table, x, noise = b.array(step.table), b.array(step.x), b.array(step.noise)
    own, other = step.times, step.times.reshape(-1, k)[:, ::-1].reshape(-1)
    (cell, s, g), (other_cell, other_s, _) = ([b.array(a) for a in locate(t)] for t in (own, other))
    g = g.reshape(n, 1, 1)
    rows_per_level = step.n_rows

    def rows(cell, s):
        s = s.reshape(-1, 1)
        low, high = table[cell], table[cell + 1]
        v0, d0 = low[:, :rows_per_level], low[:, rows_per_level:]
        v1, d1 = high[:, :rows_per_level], high[:, rows_per_level:]
        s2, s3 = s * s, s * s * s
        return (2 * s3 - 3 * s2 + 1) * v0 + (s3 - 2 * s2 + s) * d0 + (3 * s2 - 2 * s3) * v1 + (s3 - s2) * d1

    def loss(weights):
        # a² + g² = 1: the Gaussian part is |x|²/2, its constant cancels.
        at_own = rows(cell, s)
        energy = lambda y: network(weights, y, at_own) + 0.5 * b.sum(b.sum(y * y, 2), 1)
        u, gradient = score(energy, x)
        residual = noise - g * gradient
        total = b.sum(b.sum(b.sum(residual * residual, 2), 1), 0) / (n * d)
        if k == 2:
            at_other = network(weights, x, rows(other_cell, other_s)) + 0.5 * b.sum(b.sum(x * x, 2), 1)
            total = total + 0.6 * b.sum(b.softplus(u - at_other), 0) / n
        return total

    return loss


def torch_steps(step, threads, name):
    import torch

    torch.set_num_threads(threads)
    b = Backend("torch")
    networks = {"torch": of_program(step, b)}
    if name == "whitened":
        networks["torch batched"] = whitened(step, b)

    def by_autograd(energy, x):
        x = x.detach().requires_grad_()
        u = energy(x)
        (gradient,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        return u, gradient

    def by_func(energy, x):
        def total(y):
            u = energy(y)
            return u.sum(), u

        gradient, u = torch.func.grad(total, has_aux=True)(x)
        return u, gradient

    weights = [torch.from_numpy(w.copy()).requires_grad_() for w in step.weights]
    for label, network in networks.items():
        eager = loss_of(step, b, network, by_autograd)

        def run(eager=eager):
            loss = eager(weights)
            return loss, torch.autograd.grad(loss, weights)

        yield label, run

        def compiled(network=network):
            whole = torch.func.grad_and_value(loss_of(step, b, network, by_func))
            fast = torch.compile(whole)
            constant = [w.detach() for w in weights]

            def run():
                gradient, loss = fast(constant)
                return loss, gradient

            return run

        yield label + " compiled", compiled()


def jax_steps(step, threads, name):
    import jax

    b = Backend("jax")
    networks = {"jax jit": of_program(step, b)}
    if name == "whitened":
        networks["jax jit batched"] = whitened(step, b)

    def score(energy, x):
        def total(y):
            u = energy(y)
            return u.sum(), u

        gradient, u = jax.grad(total, has_aux=True)(x)
        return u, gradient

    weights = [jax.numpy.asarray(w) for w in step.weights]
    for label, network in networks.items():
        fast = jax.jit(jax.value_and_grad(loss_of(step, b, network, score)))
        yield label, lambda fast=fast: jax.block_until_ready(fast(weights))


def work(case, executable, threads, repeats):
    import itertools

    import numpy as np

    name, n_beads, n_points, n_times = CASES[case]
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        command = [executable, directory, name] + [str(n) for n in (n_beads, n_points, n_times, threads)]
        rust = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def own_step():
            rust.stdin.write("\n")
            rust.stdin.flush()
            return json.loads(rust.stdout.readline())

        own_step()
        step = Step(directory)
        runners, missing = {}, {}
        scale = np.abs(step.gradient).max()
        for label, run in itertools.chain(torch_steps(step, threads, name), jax_steps(step, threads, name)):
            try:
                loss, gradient = run()
                flat = np.concatenate([np.asarray(g.detach() if hasattr(g, "detach") else g).ravel() for g in gradient])
                assert abs(loss.item() / step.loss - 1) < 1e-4, f"loss {loss.item()} and not {step.loss}"
                error = np.abs(flat - step.gradient).max() / scale
                assert error < 1e-3, f"gradient differs by {error:.1e} of its largest element"
                runners[label] = run
            except Exception as error:
                missing[label] = f"{type(error).__name__}: {str(error).splitlines()[0][:150] if str(error) else ''}"

        times = {label: [] for label in ["kirkwood", *runners]}
        for repeat in range(repeats + 3):
            for label in times:
                # Threads that spin after their work must not be counted to the next.
                time.sleep(0.005)
                if label == "kirkwood":
                    found = own_step()
                    wall, cpu = found["wall_s"], found["cpu_s"]
                else:
                    wall, cpu = time.perf_counter(), time.process_time()
                    runners[label]()
                    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                if repeat >= 3:
                    times[label].append((cpu, wall))
        rust.stdin.close()

    def summary(pairs):
        cpu, wall = zip(*pairs)
        return {
            "cpu_min": min(cpu),
            "cpu_median": statistics.median(cpu),
            "wall_min": min(wall),
            "wall_median": statistics.median(wall),
        }

    all_passes, energy_only = step.flops_per_conformation
    flop = n_points * n_times * (all_passes + (energy_only if n_times > 1 else 0))
    times = {label: summary(pairs) for label, pairs in times.items()}
    found = {"case": case, "threads": threads, "gflop": 1e-9 * flop, "peak_gflops": step.peak_gflops}
    print(json.dumps(found | {"times": times, "missing": missing}))


if __name__ == "__main__":
    main()
