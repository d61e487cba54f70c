"""Makes chignolin_ca.pdb and tica.toml: slow coordinates of the ten C-alpha atoms of chignolin.

    python systems/chignolin_ca/make.py DIR

DIR holds `chignolin_ca.pdb`, `ca_340K.dcd` and `ca_340K_index.csv` (walker, time_ps, ca_rmsd_crystal_nm, …):
C-alpha frames every 10 ps of two walkers of 36 ns at 340 K. The first 6 ns of each walker are left out: they
hold repeated frames, and one walker starts far from equilibrium. Pairs of frames a lag apart are taken within
runs of consecutive times of one walker only.
"""

import csv
import shutil
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SKIP_PS, STEP_PS, LAG_PS, N_COMPONENTS = 6000.0, 10.0, 500.0, 2


def read_dcd(path):
    """Frames of a DCD file of CHARMM's format without a cell, in nm."""
    raw = path.read_bytes()
    at, records = 0, []
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 4], "little")
        records.append(raw[at + 4 : at + 4 + size])
        at += size + 8
    axes = np.array([np.frombuffer(record, "<f4") for record in records[3:]], dtype=float)
    return axes.reshape(-1, 3, axes.shape[1]).transpose(0, 2, 1) / 10.0


def tica(pieces, lag):
    """Mean, eigenvalues and components (rows, unit variance) of the symmetrised problem."""
    first = np.concatenate([piece[:-lag] for piece in pieces if len(piece) > lag])
    second = np.concatenate([piece[lag:] for piece in pieces if len(piece) > lag])
    mean = 0.5 * (first.mean(0) + second.mean(0))
    first, second = first - mean, second - mean
    covariance = (first.T @ first + second.T @ second) / (2 * len(first))
    lagged = (first.T @ second + second.T @ first) / (2 * len(first))
    variances, axes = np.linalg.eigh(covariance)
    keep = variances > 1e-8 * variances[-1]
    whitening = axes[:, keep] / np.sqrt(variances[keep])
    eigenvalues, rotation = np.linalg.eigh(whitening.T @ lagged @ whitening)
    components = (whitening @ rotation).T[::-1]
    largest = np.abs(components).argmax(1)
    components *= np.sign(components[np.arange(len(components)), largest])[:, None]
    return mean, eigenvalues[::-1], components


def main():
    source = Path(sys.argv[1])
    frames = read_dcd(source / "ca_340K.dcd")
    with open(source / "ca_340K_index.csv") as file:
        index = list(csv.DictReader(file))
    assert len(index) == len(frames)
    pairs = [(i, j) for i in range(10) for j in range(i + 2, 10)]
    first, second = np.array(pairs).T
    distances = np.linalg.norm(frames[:, first] - frames[:, second], axis=2)
    pieces, piece, before = [], [], None
    for k, row in enumerate(index):
        time = float(row["time_ps"])
        if time <= SKIP_PS:
            continue
        here = (row["walker"], time)
        if before is not None and (here[0] != before[0] or abs(here[1] - before[1] - STEP_PS) > 1e-6):
            pieces.append(piece)
            piece = []
        piece.append(k)
        before = here
    pieces.append(piece)
    print("pieces", [len(piece) for piece in pieces])
    for lag_ps in (50, 100, 200, 500, 1000):
        lag = round(lag_ps / STEP_PS)
        _, values, _ = tica([distances[piece] for piece in pieces], lag)
        print(f"lag {lag_ps} ps: timescales {(-lag_ps / np.log(values[:4]) / 1000).round(2)} ns")
    lag = round(LAG_PS / STEP_PS)
    mean, values, components = tica([distances[piece] for piece in pieces], lag)
    used = np.concatenate(pieces)
    projected = (distances[used] - mean) @ components[:N_COMPONENTS].T
    rmsd = np.array([float(index[k]["ca_rmsd_crystal_nm"]) for k in used])
    for k in range(N_COMPONENTS):
        folded, unfolded = projected[rmsd < 0.2, k], projected[rmsd > 0.5, k]
        print(f"component {k}: folded {folded.mean():.2f} ± {folded.std():.2f}, unfolded {unfolded.mean():.2f} ± {unfolded.std():.2f}, "
              f"correlation with the RMSD {np.corrcoef(rmsd, projected[:, k])[0, 1]:.2f}")
    print(f"folded (RMSD < 0.2 nm) {np.mean(rmsd < 0.2):.3f}, unfolded (> 0.5 nm) {np.mean(rmsd > 0.5):.3f} of {len(used)} frames")

    rows = lambda values: ", ".join(f"{value:.9g}" for value in values)
    with open(HERE / "tica.toml", "w") as file:
        print("# Time-lagged independent components of distances between C-alpha atoms; made by make.py.", file=file)
        print(f"# lag: {lag} frames of {STEP_PS:g} ps; distances in nm between the pairs, in this order.", file=file)
        print("pairs = [" + ", ".join(f"[{i}, {j}]" for i, j in pairs) + "]\n", file=file)
        print("[tica]", file=file)
        print(f"lag = {lag}", file=file)
        print(f"n_pairs = {sum(max(len(p) - lag, 0) for p in pieces)}", file=file)
        print(f"eigenvalues = [{rows(values[:N_COMPONENTS])}]", file=file)
        print("\n[tica.projection]", file=file)
        print(f"mean = [{rows(mean)}]", file=file)
        print("components = [", file=file)
        for component in components[:N_COMPONENTS]:
            print(f"    [{rows(component)}],", file=file)
        print("]", file=file)
    shutil.copyfile(source / "chignolin_ca.pdb", HERE / "chignolin_ca.pdb")


main()
