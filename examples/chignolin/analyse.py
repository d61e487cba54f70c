"""Folding in a run of simulate.toml, and the frames of it that the learned pipeline reads.

    pip install numpy chemfiles
    python3 examples/chignolin/analyse.py runs/chignolin_340K
    python3 examples/chignolin/analyse.py runs/chignolin_340K --write examples/chignolin/data --skip-ns 5 --every-ps 8

Prints folding and unfolding events (dual cut-off on the C-alpha RMSD to 5AWL: below 0.2 nm folded, above
0.5 nm unfolded), round trips, and the folded fraction at each temperature by MBAR, for all walkers and for
those that started from the crystal structure and from an unfolded one. With --write, the C-alpha frames of all
temperatures as chignolin_ca.xtc, walker by walker, and frames.csv, which says of which walker, time, temperature
and energy each is: frames of one walker are a contiguous piece of motion.
"""

import argparse
import csv
import pathlib
import struct

import numpy as np

FOLDED_NM, UNFOLDED_NM = 0.2, 0.5
GAS_CONSTANT = 8.31446261815324e-3


def read_dcd(path):
    """Positions in nm, (frames, atoms, 3)."""
    content, records, at = path.read_bytes(), [], 0
    while at < len(content):
        (n,) = struct.unpack_from("<i", content, at)
        records.append(content[at + 4 : at + 4 + n])
        at += n + 8
    n_atoms = struct.unpack("<i", records[2])[0]
    axes = [np.frombuffer(record, "<f4") for record in records[3:] if len(record) == 4 * n_atoms]
    return np.array(axes).reshape(-1, 3, n_atoms).transpose(0, 2, 1) / 10.0


def read_calpha(path):
    lines = [line for line in path.read_text().splitlines() if line.startswith("ATOM") and line[12:16].strip() == "CA"]
    return np.array([[float(line[at : at + 8]) for at in (30, 38, 46)] for line in lines]) / 10.0


def rmsd(frames, reference):
    """After superposition (Kabsch 1976), in nm."""
    frames = frames - frames.mean(1, keepdims=True)
    reference = reference - reference.mean(0)
    u, s, vt = np.linalg.svd(np.einsum("fai,aj->fij", frames, reference))
    s[:, 2] *= np.sign(np.linalg.det(u) * np.linalg.det(vt))
    square = (frames**2).sum((1, 2)) + (reference**2).sum() - 2.0 * s.sum(1)
    return np.sqrt(np.maximum(square, 0.0) / frames.shape[1])


def events(distance):
    """How often a walker folds and unfolds, and whether it is folded at each frame (None before the first visit)."""
    folded, n_folding, n_unfolding, states = None, 0, 0, []
    for value in distance:
        if value < FOLDED_NM:
            n_folding += folded is False
            folded = True
        elif value > UNFOLDED_NM:
            n_unfolding += folded is True
            folded = False
        states.append(folded)
    return n_folding, n_unfolding, states


def mbar_weights(energy, state, beta):
    """Weights of all frames at each temperature, (temperatures, frames): MBAR (Shirts and Chodera 2008)."""
    counts = np.bincount(state, minlength=len(beta))
    u = np.outer(beta, energy - energy.mean())
    f = np.zeros(len(beta))
    for _ in range(2000):
        log_mixture = np.logaddexp.reduce(np.log(counts)[:, None] + f[:, None] - u, axis=0)
        new = -np.logaddexp.reduce(-u - log_mixture, axis=1)
        new -= new[0]
        if np.abs(new - f).max() < 1e-10:
            break
        f = new
    return np.exp(f[:, None] - u - log_mixture)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--write", type=pathlib.Path)
    parser.add_argument("--skip-ns", type=float, default=0.0)
    parser.add_argument("--every-ps", type=float, default=0.0)
    arguments = parser.parse_args()
    run = arguments.run
    simulation = next(path for path in (run / "simulation", run / "simulation.partial") if path.is_dir())
    reference = read_calpha(pathlib.Path(__file__).parent / "../../systems/chignolin/chignolin.pdb")
    with open(simulation / "frames.csv") as file:
        rows = list(csv.DictReader(file))
    trajectories = {name: read_dcd(simulation / f"{name}.dcd") for name in {row["trajectory"] for row in rows}}
    rows = [row for row in rows if int(row["frame"]) < len(trajectories[row["trajectory"]])]
    positions = np.array([trajectories[row["trajectory"]][int(row["frame"])] for row in rows])
    time, walker, state = (np.array([float(row[key]) for row in rows]) for key in ("time_ps", "walker", "state"))
    walker, state = walker.astype(int), state.astype(int)
    with open(simulation / "energies.csv") as file:
        energies = {(row["time_ps"], row["walker"]): float(row["potential_kJ_per_mol"]) for row in csv.DictReader(file)}
    energy = np.array([energies[row["time_ps"], row["walker"]] for row in rows])
    with open(simulation / "states.csv") as file:
        kelvin = np.array([float(row["temperature_K"]) for row in csv.DictReader(file)])
    distance = rmsd(positions, reference)

    n_walkers = walker.max() + 1
    # Start structures are dealt over the walkers of a state in turn, beginning with another one in the next ladder.
    n_states = len(kelvin)
    from_crystal = (np.arange(n_walkers) % n_states + np.arange(n_walkers) // n_states) % 2 == 0
    first = [distance[walker == own][np.argmin(time[walker == own])] for own in range(n_walkers)]
    print("RMSD / nm of the first frames, started from 5AWL:", np.round(np.array(first)[from_crystal], 2))
    print("RMSD / nm of the first frames, started unfolded: ", np.round(np.array(first)[~from_crystal], 2))
    n_folding = n_unfolding = 0
    is_folded = np.zeros(len(rows))
    for own in range(n_walkers):
        frames = np.flatnonzero(walker == own)
        frames = frames[np.argsort(time[frames])]
        folding, unfolding, states = events(distance[frames])
        n_folding, n_unfolding = n_folding + folding, n_unfolding + unfolding
        # Until it has been anywhere, a walker is what it started as.
        is_folded[frames] = [from_crystal[own] if folded is None else folded for folded in states]
    length = time.max() / 1000.0
    print(f"{n_walkers} walkers of {length:.2f} ns, {n_walkers * length:.0f} ns together, {len(rows)} frames")
    print(f"folding events {n_folding}, unfolding events {n_unfolding}")
    with open(simulation / "round_trips.csv") as file:
        print("round trips", sum(int(float(row["round_trips"])) for row in csv.DictReader(file)))
    print("share of frames below 0.2 nm and above 0.5 nm:", (distance < 0.2).mean().round(3), (distance > 0.5).mean().round(3))

    skipped = time > 1000.0 * arguments.skip_ns
    middle = (time.max() + 1000.0 * arguments.skip_ns) / 2.0
    parts = (f"after {arguments.skip_ns:g} ns", skipped), ("first half of that", skipped & (time <= middle)), ("second half", time > middle)
    for label, chosen in parts:
        weights = mbar_weights(energy[chosen], state[chosen], 1.0 / (GAS_CONSTANT * kelvin))
        groups = {"all walkers": walker[chosen] >= 0, "from 5AWL": from_crystal[walker[chosen]], "from unfolded": ~from_crystal[walker[chosen]]}
        for k, temperature in enumerate(kelvin):
            texts = []
            for name, group in groups.items():
                # Walkers are independent but for exchanges: the error is that of a mean over them (ratio of sums).
                own = [group & (walker[chosen] == w) for w in np.unique(walker[chosen][group])]
                total = np.array([weights[k][mask].sum() for mask in own])
                folded = np.array([(weights[k] * is_folded[chosen])[mask].sum() for mask in own])
                mean = folded.sum() / total.sum()
                error = np.sqrt(((folded - mean * total) ** 2).sum() * len(own) / (len(own) - 1)) / total.sum()
                texts.append(f"{name} {mean:.3f} ± {error:.3f}")
            print(f"folded, {label}, {temperature:.1f} K: " + ", ".join(texts))

    if arguments.write:
        import chemfiles

        kept = np.flatnonzero(skipped & ((arguments.every_ps == 0.0) | (time % max(arguments.every_ps, 1e-9) == 0.0)))
        kept = kept[np.lexsort((time[kept], walker[kept]))]
        with open(arguments.write / "frames.csv", "w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["walker", "time_ps", "temperature_K", "potential_kJ_per_mol"])
            with chemfiles.Trajectory(str(arguments.write / "chignolin_ca.xtc"), "w") as trajectory:
                for row in kept:
                    frame = chemfiles.Frame()
                    for position in positions[row] * 10.0:
                        frame.add_atom(chemfiles.Atom("CA", "C"), position.tolist())
                    trajectory.write(frame)
                    table.writerow([walker[row], f"{time[row]:.0f}", f"{kelvin[state[row]]:.2f}", f"{energy[row]:.2f}"])
        print("wrote", arguments.write, "with", len(kept), "frames")


if __name__ == "__main__":
    main()
