#!/usr/bin/env python3
"""Energies, forces and dynamics of kirkwood, plain C and OpenMM: the same Systems and conformations, in turns.

    pip install openmm==8.6 numpy
    python3 benches/peers/mechanics/compare.py [--repeats 30] [--cases NAME ...] [--json FILE]

Checks that everybody finds the energies and forces of OpenMM's Reference platform, and prints tables of CPU
time per conformation. See ../README.md for what is timed.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import openmm
from openmm import app, unit

warnings.filterwarnings("ignore", message="Non-optimal GB parameters")
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
MODELS = {"vacuum": None, "obc1": app.OBC1, "obc2": app.OBC2, "gbn2": app.GBn2}
CASES = {
    "aldp_vacuum": "alanine_dipeptide/aldp.prmtop",
    "aldp_obc1": "alanine_dipeptide/aldp.prmtop",
    "aldp_obc2": "alanine_dipeptide/aldp.prmtop",
    "aldp_gbn2": "alanine_dipeptide/aldp.prmtop",
    "chignolin_gbn2": "chignolin/chignolin.prmtop",
}
# Name: flags of gcc. The last one may reorder sums and use vector versions of the functions of the library.
PLAIN = {
    "plain C, double": [],
    "plain C, single": ["-DSINGLE"],
    "plain C, single, fast-math": ["-DSINGLE", "-ffast-math"],
}
KJ = unit.kilojoule_per_mole
N_CHECKED = 16


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--bench", help="the built bench, where cargo shall not be asked for it")
    parser.add_argument("--json", help="also write all numbers to this file")
    arguments = parser.parse_args()

    bench = arguments.bench or built()
    # One core for everybody.
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        for name, flags in PLAIN.items():
            command = ["gcc", "-O3", "-march=native", *flags, str(HERE / "plain.c"), "-o", binary(directory, name), "-lm"]
            subprocess.run(command, check=True)
        kirkwood = Server([bench, str(directory)])
        peak = json.loads(kirkwood.answer)["peak_gflops"]
        everything = [compare(case, directory, kirkwood, arguments.repeats, peak) for case in arguments.cases]
        kirkwood.stop()
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(everything, indent=1))


def built():
    build = ["cargo", "bench", "--no-run", "--bench", "mechanics", "--message-format=json"]
    messages = subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    artifacts = [json.loads(line) for line in messages.splitlines() if line.startswith("{")]
    (bench,) = [a["executable"] for a in artifacts if a.get("executable") and a["target"]["name"] == "mechanics"]
    return bench


def binary(directory, name):
    return str(directory / name.replace(",", "").replace(" ", "_"))


class Server:
    """A program that does something for every line it is sent, and answers with a line."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer = self.process.stdout.readline()

    def ask(self, line=""):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self.answer = self.process.stdout.readline()
        return json.loads(self.answer)

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def compare(case, directory, kirkwood, repeats, peak):
    prmtop = app.AmberPrmtopFile(str(ROOT / "systems" / CASES[case]))
    system = prmtop.createSystem(implicitSolvent=MODELS[case.split("_")[1]], nonbondedMethod=app.NoCutoff)
    n = system.getNumParticles()
    x = np.fromfile(directory / f"{case}.x.f64").reshape(-1, n, 3)
    reference = [energy_and_forces(context(system, "Reference"), frame) for frame in x[:N_CHECKED]]

    errors, timers, servers = {}, {}, []

    def check(name, energies, forces, tolerance):
        largest = max(np.abs(f).max() for _, f in reference)
        de = max(abs(e - e0) for e, (e0, _) in zip(energies, reference))
        df = max(np.abs(f - f0).max() for f, (_, f0) in zip(forces, reference)) / largest
        scale = max(1.0, max(abs(e) for e, _ in reference))
        assert de < tolerance * scale and df < tolerance, f"{case} {name}: energy {de:.1e} kJ/mol, forces {df:.1e}"
        errors[name] = {"energy_kJ_mol": de, "force_of_largest": df}

    for precision, tolerance in (("single", 2e-5), ("double", 1e-8)):
        energies = np.fromfile(directory / f"{case}.{precision}.energies.f64")
        forces = np.fromfile(directory / f"{case}.{precision}.forces.f64").reshape(-1, n, 3)
        check(f"kirkwood, {precision}", energies, forces, tolerance)
        timers[f"kirkwood, {precision}"] = lambda precision=precision: kirkwood.ask(f"{case} {precision}")["cpu_s"]
    write_parameters(directory / f"{case}.parameters", system)
    for name in PLAIN:
        results = directory / f"{case}.results"
        command = [binary(directory, name), directory / f"{case}.parameters", directory / f"{case}.x.f64", results]
        server = Server(command)
        servers.append(server)
        table = np.fromfile(results).reshape(-1, 1 + 3 * n)
        check(name, table[:, 0], table[:, 1:].reshape(-1, n, 3), 2e-5 if "single" in name else 1e-8)
        timers[name] = server.ask
    for platform in ("Reference", "CPU"):
        of_state, of_step = context(system, platform), context(system, platform, 1e-7)
        found = [energy_and_forces(of_state, frame) for frame in x[:N_CHECKED]]
        check(f"OpenMM {platform}", *zip(*found), 1e-8 if platform == "Reference" else 1e-4)
        timers[f"OpenMM {platform}, state"] = state_timer(of_state, x)
        timers[f"OpenMM {platform}, step"] = step_timer(of_step, x[0])

    dynamics = {"kirkwood": lambda: kirkwood.ask(f"{case} dynamics")["cpu_s"]}
    for platform in ("Reference", "CPU"):
        dynamics[f"OpenMM {platform}"] = dynamics_timer(prmtop, case, platform, x[0])
    times = {name: np.inf for name in timers}
    days = {name: np.inf for name in dynamics}
    slow = n > 100
    for repeat in range(repeats + 1):
        for best, turns in ((times, timers), (days, dynamics)):
            for name, turn in turns.items():
                # A slow peer's turn is long enough to need few of them.
                if slow and "OpenMM" in name and repeat % 5 != 0:
                    continue
                seconds = turn()
                if repeat > 0 or slow:
                    best[name] = min(best[name], seconds)
    limit = kirkwood.ask(f"{case} single")["limit"]
    for server in servers:
        server.stop()

    gflops = 1e-9 * limit["flop"] / times["kirkwood, single"]
    result = {
        "case": case,
        "load": os.getloadavg(),
        "cpu_us_per_conformation": {name: 1e6 * t for name, t in times.items()},
        "errors": errors,
        "ns_per_day_per_core": {name: 86_400 / t for name, t in days.items()},
        "flop_per_conformation": limit["flop"],
        "gflops": gflops,
        "share_of_peak": gflops / peak,
    }
    show(result, times, days)
    return result


def show(result, times, days):
    load = " ".join(f"{value:.1f}" for value in result["load"])
    print(f"\n{result['case']}, load {load}")
    share = f"{result['gflops']:.0f} GFlop/s, {100 * result['share_of_peak']:.0f} % of fused multiply-adds alone"
    print(f"  kirkwood, single: {result['flop_per_conformation']:.0f} flop per conformation, {share}")
    print(f"  {'':28} {'CPU us':>10} {'x kirkwood':>11}   largest error: energy kJ/mol, force of largest")
    own = times["kirkwood, single"]
    for name, t in times.items():
        found = result["errors"].get(name) or result["errors"][name.split(", s")[0]]
        error = f"{found['energy_kJ_mol']:.1e}, {found['force_of_largest']:.1e}"
        print(f"  {name:28} {1e6 * t:10.3f} {t / own:11.2f}   {error}")
    for name, t in days.items():
        print(f"  dynamics, {name:18} {86_400 / t:10.0f} ns/day per core, kirkwood {t / days['kirkwood']:.1f} times faster")
    sys.stdout.flush()


# ---------------------------------------------------------------------------------------------------
# OpenMM.


def context(system, platform, dt=0.001):
    properties = {"Threads": "1"} if platform == "CPU" else {}
    return openmm.Context(system, openmm.VerletIntegrator(dt), openmm.Platform.getPlatformByName(platform), properties)


def energy_and_forces(context, x):
    context.setPositions(x)
    state = context.getState(getEnergy=True, getForces=True)
    forces = state.getForces(asNumpy=True).value_in_unit(KJ / unit.nanometer)
    return state.getPotentialEnergy().value_in_unit(KJ), forces


def state_timer(context, x):
    """New positions in, energy and forces out: what a Python program waits for."""
    frames = [[openmm.Vec3(*atom) for atom in frame.tolist()] for frame in x[:N_CHECKED]]

    def turn():
        mark = time.process_time()
        for frame in frames:
            context.setPositions(frame)
            context.getState(getEnergy=True, getForces=True)
        return (time.process_time() - mark) / len(frames)

    return turn


def step_timer(context, x):
    """Steps of a Verlet integrator that hardly moves: forces without energies, and no Python between them."""
    context.setPositions(x)
    context.setVelocitiesToTemperature(300, 1)
    context.getIntegrator().step(5)
    n_steps = 10 if len(x) > 100 else 200

    def turn():
        mark = time.process_time()
        context.getIntegrator().step(n_steps)
        return (time.process_time() - mark) / n_steps

    return turn


def dynamics_timer(prmtop, case, platform, x):
    """CPU seconds per nanosecond of Langevin dynamics with the settings of ../../mechanics.rs."""
    large = len(x) > 100
    system = prmtop.createSystem(
        implicitSolvent=MODELS[case.split("_")[1]],
        nonbondedMethod=app.NoCutoff,
        constraints=app.HBonds if large else None,
        hydrogenMass=4 * unit.amu,
    )
    dt, temperature = (0.004, 340) if large else (0.002, 300)
    integrator = openmm.LangevinMiddleIntegrator(temperature, 1.0, dt)
    properties = {"Threads": "1"} if platform == "CPU" else {}
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform), properties)
    context.setPositions(x)
    context.applyConstraints(1e-6)
    context.setVelocitiesToTemperature(temperature, 1)
    context.getIntegrator().step(5)
    n_steps = 10 if large else 200

    def turn():
        mark = time.process_time()
        context.getIntegrator().step(n_steps)
        return (time.process_time() - mark) / (n_steps * dt * 1e-3)

    return turn


def write_parameters(path, system):
    """The System as the plain program reads it."""
    forces = {type(force).__name__: force for force in system.getForces()}
    n = system.getNumParticles()
    number = lambda value: value._value if unit.is_quantity(value) else value
    rows = []

    def add(force, name):
        found = [list(map(number, getattr(force, name)(k))) for k in range(getattr(force, f"getNum{name[3:-10]}s")())]
        rows.extend(found)
        return len(found)

    counts = [
        add(forces["HarmonicBondForce"], "getBondParameters"),
        add(forces["HarmonicAngleForce"], "getAngleParameters"),
        add(forces["PeriodicTorsionForce"], "getTorsionParameters"),
    ]
    nonbonded = forces["NonbondedForce"]
    particles = [list(map(number, nonbonded.getParticleParameters(k))) for k in range(n)]
    exceptions = {}
    for k in range(nonbonded.getNumExceptions()):
        i, j, *values = map(number, nonbonded.getExceptionParameters(k))
        exceptions[min(i, j), max(i, j)] = values
    for i in range(n):
        for j in range(i + 1, n):
            (q, s, e), (r, t, f) = particles[i], particles[j]
            charges, sigma, epsilon = exceptions.get((i, j), (q * r, 0.5 * (s + t), np.sqrt(e * f)))
            rows.append([4 * epsilon * sigma**12, 4 * epsilon * sigma**6, 138.93545764438198 * charges])
    tension = 1 - 1 / 78.5
    if "GBSAOBCForce" in forces:
        force = forces["GBSAOBCForce"]
        rows += [[1], [138.93545764438198 * tension, 4 * np.pi * number(force.getSurfaceAreaEnergy())]]
        for k in range(n):
            charge, radius, scale = map(number, force.getParticleParameters(k))
            rows.append([charge, radius - 0.009, radius, scale * (radius - 0.009), 1.0, 0.8, 4.85, 0])
        rows.append([0])
    elif "CustomGBForce" in forces:
        force = forces["CustomGBForce"]
        rows += [[1], [138.935485 * tension, 28.3919551]]
        for k in range(n):
            charge, offset_radius, scaled_radius, *rest = force.getParticleParameters(k)
            alpha, beta, gamma, kind = rest or (0.8, 0.0, 2.909125, 0)
            radius = offset_radius + (0.0195141 if rest else 0.009)
            rows.append([charge, offset_radius, radius, scaled_radius, alpha, beta, gamma, int(kind)])
        if force.getNumTabulatedFunctions() == 0:
            rows.append([0])
        else:
            tables = {force.getTabulatedFunctionName(k): force.getTabulatedFunction(k) for k in range(2)}
            size, _, d0 = tables["getd0"].getFunctionParameters()
            _, _, m0 = tables["getm0"].getFunctionParameters()
            rows.append([size, 0.68])
            # The first index runs fastest there.
            rows += [[d0[i + size * j], 0.826836 * m0[i + size * j]] for i in range(size) for j in range(size)]
    else:
        rows.append([0])
    with open(path, "w") as file:
        print(n, *counts, file=file)
        for row in rows:
            print(*(repr(float(v)) if isinstance(v, (float, np.floating)) else v for v in row), file=file)


if __name__ == "__main__":
    main()
