#!/usr/bin/env python3
"""MBAR of kirkwood, pymbar and FastMBAR on the same u_kn, one after the other.

    python3 benches/peers/mbar/compare.py [--kirkwood target/release/kirkwood] [--cases 5x1000 16x5000 ...]
                                          [--threads 1] [--repeats 3] [--bootstrap 0] [--json FILE]

Needs numpy, pymbar >= 4 and FastMBAR (with torch) in the Python that runs it. See README.md.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
CASES = ["5x1000", "5x20000", "16x5000", "16x20000", "64x5000"]
# Resamples that peers are given; their time is scaled to the number asked for.
PEER_RESAMPLES = 10


def write_problem(folder, n_states, n_samples):
    """Harmonic wells one apart, with springs from 1 to 2: f_k = ln(k_k/k_0)/2."""
    import numpy as np

    rng = np.random.default_rng(1)
    center, spring = np.arange(n_states) * 1.0, np.linspace(1, 2, n_states)
    x = np.concatenate([rng.normal(c, k**-0.5, n_samples) for c, k in zip(center, spring)])
    u = np.empty((n_states, x.size))
    for row, c, k in zip(u, center, spring):
        row[:] = 0.5 * k * (x - c) ** 2
    np.save(folder / "u_kn.npy", u)
    np.save(folder / "n_k.npy", np.full(n_states, n_samples, dtype=np.int64))
    return 0.5 * np.log(spring / spring[0])


def peer(name, folder, n_bootstrap, threads):
    """Runs in a process of its own; CPU seconds of the calls alone, without imports and loading."""
    import numpy as np

    u, n_k = np.load(folder / "u_kn.npy"), np.load(folder / "n_k.npy")
    if name == "pymbar":
        os.environ["PYMBAR_DISABLE_JAX"] = "1"
        import logging

        logging.disable(logging.CRITICAL)
        import pymbar

        def solve(n_resamples):
            mbar = pymbar.MBAR(u, n_k, n_bootstraps=n_resamples)
            method = "bootstrap" if n_resamples else None
            found = mbar.compute_free_energy_differences(uncertainty_method=method)
            return found["Delta_f"][0], found["dDelta_f"][0]
    else:
        import torch
        from FastMBAR import FastMBAR

        torch.set_num_threads(threads)

        def solve(n_resamples):
            more = dict(bootstrap=True, bootstrap_block_size=1, bootstrap_num_rep=n_resamples) if n_resamples else {}
            mbar = FastMBAR(energy=u, num_conf=n_k, cuda=False, method="Newton", **more)
            return mbar.F - mbar.F[0], np.asarray(mbar.DeltaF_std)[0]

    def timed(n_resamples):
        wall, cpu = time.perf_counter(), time.process_time()
        f, df = solve(n_resamples)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        return {"cpu_s": cpu, "wall_s": wall, "f": list(map(float, f)), "df": list(map(float, df))}

    result = timed(0)
    if n_bootstrap:
        with_resamples = timed(PEER_RESAMPLES)
        for clock in ("cpu_s", "wall_s"):
            per_resample = max(with_resamples[clock] - result[clock], 0.0) / PEER_RESAMPLES
            result["boot_" + clock] = per_resample * n_bootstrap
    result["memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result))


def environment(threads):
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    return dict(os.environ, PYTHONWARNINGS="ignore", **{name: str(threads) for name in names})


def run_peer(name, folder, n_bootstrap, threads):
    command = [sys.executable, __file__, "--worker", name, str(folder), str(n_bootstrap), str(threads)]
    done = subprocess.run(command, env=environment(threads), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def run_kirkwood(binary, folder, n_bootstrap, threads):
    """CPU seconds of the whole process, with start and loading; wall seconds as it reports them."""
    out = folder / "out.json"
    command = [binary, "estimate", "--u-kn", folder / "u_kn.npy", "--n-k", folder / "n_k.npy"]
    command += ["--threads", str(threads), "--output", out]
    if n_bootstrap:
        command += ["--bootstrap", str(n_bootstrap)]
    process = subprocess.Popen(command, env=environment(threads), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"kirkwood failed with status {status}")
    found = json.loads(out.read_text())
    result = {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": found["solve_s"] + found["cov_s"],
        "f": found["f_k"],
        "df": found["df_k"],
        "memory_mib": usage.ru_maxrss / 1024,
    }
    if n_bootstrap:
        result["boot_wall_s"] = found["boot_s"]
    return result


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "--worker":
        name, folder, n_bootstrap, threads = sys.argv[2:]
        return peer(name, pathlib.Path(folder), int(n_bootstrap), int(threads))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kirkwood", default=ROOT / "target" / "release" / "kirkwood")
    parser.add_argument("--cases", nargs="+", default=CASES, help="STATESxSAMPLES_PER_STATE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bootstrap", type=int, default=0)
    parser.add_argument("--json", help="also write all numbers to this file")
    arguments = parser.parse_args()
    import numpy as np

    records = []
    for case in arguments.cases:
        n_states, n_samples = map(int, case.split("x"))
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            exact = write_problem(folder, n_states, n_samples)
            runs = {"kirkwood": [], "pymbar": [], "FastMBAR": []}
            for _ in range(arguments.repeats):
                fast = run_kirkwood(arguments.kirkwood, folder, 0, arguments.threads)
                runs["kirkwood"].append(fast)
            if arguments.bootstrap:
                fast = run_kirkwood(arguments.kirkwood, folder, arguments.bootstrap, arguments.threads)
                runs["kirkwood"][0]["boot_wall_s"] = fast["boot_wall_s"]
                runs["kirkwood"][0]["boot_cpu_s"] = fast["cpu_s"]
            for other in ("pymbar", "FastMBAR"):
                runs[other].append(run_peer(other, folder, arguments.bootstrap, arguments.threads))
                for _ in range(arguments.repeats - 1):
                    runs[other].append(run_peer(other, folder, 0, arguments.threads))
            reference = runs["pymbar"][0]
            megabytes = n_states**2 * n_samples * 8 / 2**20
            print(f"{n_states} states x {n_samples} samples, u_kn {megabytes:.0f} MiB, {arguments.threads} threads")
            ours = min(run["cpu_s"] for run in runs["kirkwood"])
            ours_wall = min(run["wall_s"] for run in runs["kirkwood"])
            for name, results in runs.items():
                cpu, wall = (min(run[clock] for run in results) for clock in ("cpu_s", "wall_s"))
                f, df = np.array(results[0]["f"]), np.array(results[0]["df"])
                off = np.abs(f - reference["f"]).max()
                sigma = np.abs(df[1:] / np.array(reference["df"])[1:] - 1).max()
                z = np.abs((f - exact)[1:] / df[1:]).max()
                line = f"  {name:9} cpu {cpu:9.4f} s (x {cpu / ours:6.1f})  wall {wall:9.4f} s (x {wall / ours_wall:6.1f})"
                line += f"  |f - pymbar| {off:.0e}  sigma {sigma:.0e}  z {z:.1f}  {results[0]['memory_mib']:.0f} MiB"
                if "boot_cpu_s" in results[0]:
                    boot = runs["kirkwood"][0]["boot_cpu_s"]
                    line += f"  bootstrap cpu {results[0]['boot_cpu_s']:.2f} s (x {results[0]['boot_cpu_s'] / boot:.0f})"
                print(line, flush=True)
                records.append({"case": case, "program": name, "threads": arguments.threads, "runs": results})
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(records))


if __name__ == "__main__":
    main()
