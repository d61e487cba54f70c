"""All temperatures of data/ as one ensemble at 340 K: data/chignolin_ca_340K_all.xtc.

    pip install numpy chemfiles
    python3 examples/chignolin/resample.py

MBAR over the four temperatures gives every frame its weight at 340 K; systematic resampling makes 30,000 equally weighted
frames of them, sorted by walker and time. Frames that weigh more than one are there two or three times, side by side.
"""

import csv
import pathlib

import chemfiles
import numpy as np

DATA = pathlib.Path(__file__).parent / "data"
GAS_CONSTANT = 8.31446261815324e-3
N_FRAMES = 30_000


def log_weights(energies, temperatures):
    """log of the weight of every frame at the lowest temperature, normalised, by MBAR."""
    states, counts = np.unique(temperatures, return_counts=True)
    u = energies[None, :] / (GAS_CONSTANT * states[:, None])
    u -= u.min(axis=1, keepdims=True)
    f = np.zeros(len(states))
    for _ in range(100_000):
        log_mixture = np.logaddexp.reduce(np.log(counts)[:, None] + f[:, None] - u, axis=0)
        new = -np.logaddexp.reduce(-u - log_mixture, axis=1)
        new -= new[0]
        change, f = abs(new - f).max(), new
        if change < 1e-10:
            break
    logs = -u[0] - log_mixture
    return logs - np.logaddexp.reduce(logs)


def main():
    rows = list(csv.DictReader((DATA / "frames.csv").open()))
    temperatures = np.array([float(row["temperature_K"]) for row in rows])
    energies = np.array([float(row["potential_kJ_per_mol"]) for row in rows])
    walkers = np.array([int(row["walker"]) for row in rows])
    times = np.array([float(row["time_ps"]) for row in rows])
    positions = []
    for name in ["340K", "356K", "371K", "390K"]:
        with chemfiles.Trajectory(str(DATA / f"chignolin_ca_{name}.xtc")) as trajectory:
            positions += [np.array(frame.positions) for frame in trajectory]
    order = np.lexsort((times, walkers))
    weights = np.exp(log_weights(energies, temperatures))[order]
    print(f"{len(rows)} frames, worth {1.0 / (weights**2).sum():.0f} at {temperatures.min():.1f} K")
    ends = np.cumsum(weights)
    chosen = order[np.minimum(np.searchsorted(ends, (np.arange(N_FRAMES) + 0.5) / N_FRAMES), len(order) - 1)]
    print(f"{len(np.unique(chosen))} different ones among {N_FRAMES}")
    with chemfiles.Trajectory(str(DATA / "chignolin_ca_340K_all.xtc"), "w") as out:
        for idx in chosen:
            frame = chemfiles.Frame()
            frame.resize(positions[idx].shape[0])
            frame.positions[:] = positions[idx]
            out.write(frame)


if __name__ == "__main__":
    main()
