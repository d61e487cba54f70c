"""Populations of alanine dipeptide at the lowest temperature of runs of parallel_tempering.toml.

    pip install numpy
    python3 examples/simulate/populations.py runs/tempering_1 runs/tempering_2

Standard errors are those of means over 40 blocks of time.
"""

import pathlib
import struct
import sys

import numpy as np

REGIONS = {
    "phi > 0": lambda phi, psi: phi > 0,
    "alpha_R": lambda phi, psi: (phi < 0) & (psi > np.radians(-120)) & (psi < np.radians(60)),
}


def read_dcd(path):
    content, records, at = path.read_bytes(), [], 0
    while at < len(content):
        (n,) = struct.unpack_from("<i", content, at)
        records.append(content[at + 4 : at + 4 + n])
        at += n + 8
    n_atoms = struct.unpack("<i", records[2])[0]
    axes = [np.frombuffer(record, "<f4") for record in records[3:] if len(record) == 4 * n_atoms]
    return np.array(axes).reshape(-1, 3, n_atoms).transpose(0, 2, 1)


def dihedral(x, i, j, k, l):
    f, g, h = x[:, i] - x[:, j], x[:, j] - x[:, k], x[:, l] - x[:, k]
    a, b = np.cross(f, g), np.cross(h, g)
    return np.arctan2((np.cross(b, a) * g).sum(1) / np.linalg.norm(g, axis=1), (a * b).sum(1))


for run in map(pathlib.Path, sys.argv[1:]):
    files = sorted((run / "simulation").glob("temperature_0_walker_*.dcd"))
    if not files:
        sys.exit(f"{run}/simulation has no temperature_0_walker_*.dcd: is it a finished run of parallel_tempering.toml?")
    frames = [read_dcd(file) for file in files]
    phi = np.concatenate([dihedral(x, 4, 6, 8, 14) for x in frames])
    psi = np.concatenate([dihedral(x, 6, 8, 14, 16) for x in frames])
    for name, inside in REGIONS.items():
        blocks = np.array([block.mean() for block in np.array_split(inside(phi, psi), 40)])
        print(f"{run}: {name} {100 * blocks.mean():.2f} ± {100 * blocks.std(ddof=1) / 40**0.5:.2f} % of {len(phi)} frames")
