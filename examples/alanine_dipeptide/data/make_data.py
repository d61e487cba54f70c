#!/usr/bin/env python3
"""Keeps the ten heavy atoms of the alanine-dipeptide trajectories; needs nothing but Python.

    python3 make_data.py SOURCE_DIRECTORY

SOURCE_DIRECTORY holds the full trajectories of 22 atoms (aldp.pdb, implicit_300K.dcd,
vacuum_300K.dcd; systems/alanine_dipeptide/README.md says how they were simulated). Coordinates are
copied bit for bit; what is left out are the hydrogens, so that the repository stays small.
"""

import struct
import sys
from pathlib import Path

HEAVY = [1, 4, 5, 6, 8, 10, 14, 15, 16, 18]  # numbered from 0 in the file of 22 atoms


def records(file):
    """The blocks of a Fortran file: length, bytes, length."""
    while head := file.read(4):
        (length,) = struct.unpack("<i", head)
        block = file.read(length)
        if file.read(4) != head:
            raise ValueError("a record is damaged")
        yield block


def write(file, block):
    length = struct.pack("<i", len(block))
    file.write(length + block + length)


def reduce_trajectory(source, target):
    with open(source, "rb") as old, open(target, "wb") as new:
        blocks = records(old)
        header = next(blocks)
        n_frames = struct.unpack_from("<i", header, 4)[0]
        next(blocks)
        (n_atoms,) = struct.unpack("<i", next(blocks))
        assert n_atoms == 22, n_atoms
        write(new, header)
        title = b"Heavy atoms of alanine dipeptide, 300 K".ljust(80)
        write(new, struct.pack("<i", 1) + title)
        write(new, struct.pack("<i", len(HEAVY)))
        n_blocks = 0
        for block in blocks:
            write(new, b"".join(block[4 * i : 4 * i + 4] for i in HEAVY))
            n_blocks += 1
        assert n_blocks == 3 * n_frames, (n_blocks, n_frames)


def reduce_topology(source, target):
    atoms = [line for line in source.read_text().splitlines() if line[:6] in ("ATOM  ", "HETATM")]
    bonds = [(0, 1), (1, 2), (1, 3), (3, 4), (4, 5), (4, 6), (6, 7), (6, 8), (8, 9)]
    lines = [f"{atoms[old][:6]}{new + 1:5d}{atoms[old][11:]}" for new, old in enumerate(HEAVY)]
    lines += ["TER"] + [f"CONECT{i + 1:5d}{j + 1:5d}" for i, j in bonds] + ["END"]
    target.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    source, here = Path(sys.argv[1]), Path(__file__).resolve().parent
    reduce_topology(source / "aldp.pdb", here / "heavy.pdb")
    for name in ("implicit_300K", "vacuum_300K"):
        reduce_trajectory(source / f"{name}.dcd", here / f"{name}_heavy.dcd")
