"""Trims files of alchemtest (CC0) and writes what alchemlyb reads from them; makes tables of PLUMED.

Run in this directory, with alchemlyb 2.5 and alchemtest installed. Every file is small, and keeps what makes reading
it hard: averages between records, a record of step 0, a run cut off, interleaved windows, a restart.
"""

import bz2
import json
import math
import random
from pathlib import Path

import alchemtest
import numpy as np
from alchemlyb.parsing import amber, namd
from loguru import logger

logger.remove()
DATA = Path(alchemtest.__file__).parent
HERE = Path(__file__).parent


def lines_of(path):
    return bz2.open(DATA / path, "rt").read().splitlines(keepends=True)


def write(name, lines):
    (HERE / name).write_bytes(bz2.compress("".join(lines).encode()))


def summary(frame):
    if frame is None:
        return None
    values = frame.values.astype(float)
    last = [None if math.isnan(x) else x for x in values[-1]]
    return {
        "n": len(frame),
        "states": [float(c) for c in frame.columns] if frame.columns[0] != "dHdl" else [],
        "first": [None if math.isnan(x) else x for x in values[0]],
        "last": last,
        "mean": [None if np.isnan(c).all() else float(np.nanmean(c)) for c in values.T],
    }


def amber_files():
    source = "amber/bace_CAT-13d~CAT-17a/complex/decharge/0.25/ti-0.25.out.bz2"
    lines = lines_of(source)
    # 52 records with the averages after the 50th, and the end of the file.
    records = [i for i, line in enumerate(lines) if line.startswith("MBAR Energy")]
    end = next(i for i, line in enumerate(lines) if "5.  TIMINGS" in line)
    write("amber/bace_0.25.out.bz2", lines[: records[52]] + lines[end - 1 :])

    lines = lines_of("amber/tyk2_ejm_47~ejm_31/complex/0.79366/ti-0.79366.out.bz2")
    records = [i for i, line in enumerate(lines) if line.startswith("MBAR Energy")]
    end = next(i for i, line in enumerate(lines) if "5.  TIMINGS" in line)
    write("amber/tyk2_0.7937.out.bz2", lines[: records[40]] + lines[end - 1 :])

    lines = lines_of("amber/testfiles/not_finished_run.out.bz2")
    write("amber/not_finished.out.bz2", [line.replace("\0", "") for line in lines])

    result = {}
    for name, temperature in [("bace_0.25", 298.0), ("tyk2_0.7937", 300.0), ("not_finished", 298.0)]:
        found = amber.extract(str(HERE / f"amber/{name}.out.bz2"), temperature)
        result[name] = {key: summary(value) for key, value in found.items()}
    return result


def trimmed(lines, every):
    """Header, comments and the first energies of each stretch between comments."""
    kept, n = [], 0
    for line in lines:
        n = 0 if line.startswith("#") else n + 1
        if n <= every:
            kept.append(line)
    return kept


def namd_files():
    lines = lines_of("namd/idws/idws1.fepout.bz2")
    ends = [i for i, line in enumerate(lines) if line.startswith("#Free")]
    write("namd/idws.fepout.bz2", trimmed(lines[: ends[2] + 1], 101))
    for part in ["002", "002a"]:
        # The second run begins at a step that the first had passed.
        lines = lines_of(f"namd/restarted/restarted{part}.fepout.bz2")
        lines = lines[:403] + lines[2200:] if part == "002" else lines[:250] + lines[-3:]
        if part == "002":
            header = next(i for i, line in enumerate(lines) if line.startswith("#NEW"))
            starting = [line for line in lines_of("namd/restarted/restarted002.fepout.bz2") if "#STARTING" in line]
            lines = lines[: header + 40] + starting + lines[403:]
        write(f"namd/restarted{part}.fepout.bz2", lines)
    lines = lines_of("namd/restarted/restarted001.fepout.bz2")
    write("namd/restarted001.fepout.bz2", trimmed(lines, 60))

    sets = {"idws": ["idws"], "restarted": ["restarted001", "restarted002", "restarted002a"]}
    result = {}
    for name, files in sets.items():
        frame = namd.extract_u_nk([str(HERE / f"namd/{file}.fepout.bz2") for file in files], 300.0)
        result[name] = {"files": files, "u_nk": summary(frame)}
    return result


def plumed_files():
    random.seed(7)
    header = "#! FIELDS time phi d metad.bias\n#! SET min_phi -pi\n#! SET max_phi pi\n"
    row = lambda i: f" {i * 0.2:f} {random.uniform(-3.1, 3.1):f} {random.uniform(0.3, 1.2):f} {random.random():f}\n"
    rows = [row(i) for i in range(60)]
    again = [row(i) for i in range(50, 90)]
    (HERE / "plumed/COLVAR").write_text(header + "".join(rows) + header + "".join(again))

    hills = []
    text = "#! FIELDS time phi d sigma_phi sigma_d height biasf\n#! SET multivariate false\n"
    text += "#! SET kerneltype stretched-gaussian\n#! SET min_phi -pi\n#! SET max_phi pi\n"
    for i in range(50):
        hill = [i + 1.0, random.uniform(-3.1, 3.1), random.uniform(0.3, 1.2), 0.35, 0.1, random.uniform(0.2, 1.2), 8]
        line = " ".join(f"{x:.6f}" for x in hill)
        hills.append([float(x) for x in line.split()])
        text += f" {line}\n"
    (HERE / "plumed/HILLS").write_text(text)
    points = [(phi, d) for phi in np.linspace(-3.0, 3.0, 7) for d in np.linspace(0.3, 1.2, 4)]
    end = math.exp(-6.25)
    free_energy = []
    for phi, d in points:
        total = 0.0
        for _, c_phi, c_d, s_phi, s_d, height, _ in hills:
            d_phi = (phi - c_phi + math.pi) % (2 * math.pi) - math.pi
            half = 0.5 * (d_phi**2 / s_phi**2 + (d - c_d) ** 2 / s_d**2)
            if half < 6.25:
                total += height * (math.exp(-half) - end) / (1.0 - end)
        free_energy.append(-total)
    return {"points": [x for point in points for x in map(float, point)], "free_energy": free_energy}


expected = {"amber": amber_files(), "namd": namd_files(), "plumed": plumed_files()}
(HERE / "engines.json").write_text(json.dumps(expected, indent=1) + "\n")
