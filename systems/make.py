"""Makes the files of the shipped systems: topologies, start structures and reference energies.

    python systems/make.py [--shared DIR] [NAME ...]

Needs OpenMM 8.6 and ParmEd 4.3, for some openmmtools 0.27. Topologies of peptides are OpenMM's `amber99sbildn.xml` written as an AMBER
prmtop by ParmEd, with physical masses, no constraints and mbondi3 radii. `--shared` is the directory with
the inputs that are not in this repository: `small_molecules/` and `chignolin/`; without it those systems
get their reference energies only. Every `energies.csv` holds OpenMM Reference-platform energies of the
start structure as it stands in the PDB file, for `AmberPrmtopFile.createSystem(NoCutoff)`.
"""

import argparse
import csv
import random
import shutil
from pathlib import Path

import numpy as np
import openmm
import parmed
from openmm import app, unit
from openmm.app.internal import customgbforces as customgb

HERE = Path(__file__).parent
SOLVENTS = {"vacuum": None, "obc1": app.OBC1, "obc2": app.OBC2, "gbn2": app.GBn2}
TERMS = {
    "bond": "HarmonicBondForce",
    "angle": "HarmonicAngleForce",
    "torsion": "PeriodicTorsionForce",
    "nonbonded": "NonbondedForce",
    "implicit_solvent": ("CustomGBForce", "GBSAOBCForce"),
}
REFERENCE = openmm.Platform.getPlatformByName("Reference")
NM = unit.nanometer
KJ = unit.kilojoule_per_mole


def term_energies(system, positions):
    """Energies in kJ/mol by the class of the force, on the Reference platform."""
    system = openmm.XmlSerializer.clone(system)
    for group, force in enumerate(system.getForces()):
        force.setForceGroup(group)
    integrator = openmm.VerletIntegrator(0.001)
    context = openmm.Context(system, integrator, REFERENCE)
    context.setPositions(positions)
    energy = lambda **groups: context.getState(getEnergy=True, **groups).getPotentialEnergy().value_in_unit(KJ)
    terms = {force.__class__.__name__: energy(groups={g}) for g, force in enumerate(system.getForces())}
    return {"total": energy(), **terms}


def write_energies(name, prmtop, pdb):
    """`energies.csv` of a system: one row per solvent."""
    topology = app.AmberPrmtopFile(str(HERE / name / prmtop))
    positions = app.PDBFile(str(HERE / name / pdb)).positions
    with open(HERE / name / "energies.csv", "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["solvent", *(f"{term}_kJ_mol" for term in ["total", *TERMS])])
        for solvent, model in SOLVENTS.items():
            system = topology.createSystem(implicitSolvent=model, nonbondedMethod=app.NoCutoff)
            found = term_energies(system, positions)
            pick = lambda names: sum(found.get(n, 0.0) for n in ((names,) if isinstance(names, str) else names))
            table.writerow([solvent, repr(found["total"]), *(repr(pick(force)) for force in TERMS.values())])


def minimised(system, positions, steps=2000):
    """Positions of a local minimum."""
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context, tolerance=1.0, maxIterations=steps)
    return context.getState(getPositions=True).getPositions()


def write_pdb(path, topology, positions, title):
    """A PDB file without the date that OpenMM writes into its first line."""
    with open(path, "w") as file:
        print(f"REMARK   1 {title}", file=file)
        app.PDBFile.writeModel(topology, positions, file)
        app.PDBFile.writeFooter(topology, file)


def write_prmtop(path, topology, system, positions, title):
    """An AMBER prmtop with mbondi3 radii of an OpenMM System without solvent."""
    structure = parmed.openmm.load_topology(topology, system, positions)
    structure.title = title
    parm = parmed.amber.AmberParm.from_structure(structure)
    parmed.tools.changeRadii(parm, "mbondi3").execute()
    # ParmEd takes the atom before OXT for the other carboxylate oxygen, which it is not in OpenMM's order.
    radii = [10.0 * parameters[0] for parameters in customgb.GBSAGBn2Force.getStandardParameters(topology)]
    parm.parm_data["RADII"] = radii
    for atom, radius in zip(parm.atoms, radii):
        atom.solvent_radius = radius
    parm.parm_data["TITLE"] = [title]
    parm.write_parm(str(path))
    # The first line carries the date: without it the file is the same whenever it is made.
    lines = path.read_text().splitlines(keepends=True)
    lines[0] = "%VERSION  VERSION_STAMP = V0001.000  DATE = 01/01/26  00:00:00\n"
    path.write_text("".join(lines))
    # The file must say what the System says.
    again = app.AmberPrmtopFile(str(path)).createSystem(nonbondedMethod=app.NoCutoff)
    first, second = term_energies(system, positions), term_energies(again, positions)
    for term in ("HarmonicBondForce", "HarmonicAngleForce", "PeriodicTorsionForce", "NonbondedForce"):
        print(f"  {path.name} {term}: {first[term]:.6f}, differs by {second[term] - first[term]:.1e} kJ/mol")
        assert abs(first[term] - second[term]) < 2e-5 * (1 + abs(first[term]) / 1000), term


def place(a, b, c, length, angle, dihedral):
    """The point at `length` from c with the angle b-c-point and the dihedral a-b-c-point (nm, degrees)."""
    angle, dihedral = np.radians([angle, dihedral])
    bc = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, bc)
    normal /= np.linalg.norm(normal)
    local = [-np.cos(angle), np.sin(angle) * np.cos(dihedral), np.sin(angle) * np.sin(dihedral)]
    return c + length * (local[0] * bc + local[1] * np.cross(normal, bc) + local[2] * normal)


def capped_peptide(n_alanines, phi, psi):
    """Topology and heavy atoms of ACE-(ALA)n-NME with ideal bond lengths and angles, trans peptide bonds."""
    topology = app.Topology()
    chain = topology.addChain("A")
    element = {"C": app.element.carbon, "N": app.element.nitrogen, "O": app.element.oxygen}
    points, atoms = [], {}

    def add(residue, name, point):
        atoms[residue.index, name] = topology.addAtom(name, element[name[0]], residue)
        points.append(point)
        return point

    cap = topology.addResidue("ACE", chain, "1")
    ch3 = add(cap, "CH3", np.zeros(3))
    c = add(cap, "C", np.array([0.152, 0.0, 0.0]))
    add(cap, "O", place(np.array([0.0, 0.1, 0.0]), ch3, c, 0.123, 120.5, 0.0))
    before, ca = ch3, ch3
    n = place(np.array([0.0, 0.1, 0.0]), ch3, c, 0.133, 116.5, 180.0)
    for k in range(n_alanines):
        residue = topology.addResidue("ALA", chain, str(k + 2))
        add(residue, "N", n)
        new_ca = place(before, c, n, 0.1455, 121.9, 180.0)
        add(residue, "CA", new_ca)
        new_c = place(c, n, new_ca, 0.152, 110.5, phi)
        add(residue, "CB", place(c, n, new_ca, 0.153, 110.0, phi - 122.5))
        add(residue, "C", new_c)
        add(residue, "O", place(n, new_ca, new_c, 0.123, 120.5, psi + 180.0))
        before, ca, c = new_ca, new_ca, new_c
        n = place(n, new_ca, new_c, 0.133, 116.5, psi)
    cap = topology.addResidue("NME", chain, str(n_alanines + 2))
    add(cap, "N", n)
    add(cap, "C", place(before, c, n, 0.1455, 121.9, 180.0))
    topology.createStandardBonds()
    return topology, np.array(points) * NM


def peptide_force_field():
    return app.ForceField("amber99sbildn.xml")


def make_capped_peptide(name, n_alanines, phi, psi, title):
    topology, positions = capped_peptide(n_alanines, phi, psi)
    modeller = app.Modeller(topology, positions)
    field = peptide_force_field()
    random.seed(1)
    modeller.addHydrogens(field, platform=REFERENCE)
    system = field.createSystem(modeller.topology, nonbondedMethod=app.NoCutoff)
    positions = minimised(system, modeller.positions)
    write_prmtop(HERE / name / f"{name}.prmtop", modeller.topology, system, positions, title)
    write_pdb(HERE / name / f"{name}.pdb", modeller.topology, positions, f"{title}, minimised in vacuum")


def make_small_molecule(name, shared):
    source = shared / "small_molecules"
    shutil.copyfile(source / f"{name}.prmtop", HERE / name / f"{name}.prmtop")
    prmtop = app.AmberPrmtopFile(str(source / f"{name}.prmtop"))
    positions = app.AmberInpcrdFile(str(source / f"{name}.inpcrd")).positions
    write_pdb(HERE / name / f"{name}.pdb", prmtop.topology, positions, f"{name}, start structure")


OF_OPENMMTOOLS = {
    "benzene": ("benzene-toluene-implicit/receptor", "inpcrd"),
    "toluene": ("benzene-toluene-implicit/solvent", "inpcrd"),
    "methanol": ("methanol-box/methanol-box", "crd"),
}


def make_of_openmmtools(name):
    """The first molecule of files that openmmtools ships, alone in vacuum and with mbondi2 radii."""
    import openmmtools
    from parmed.tools import changeRadii

    stem, extension = OF_OPENMMTOOLS[name]
    path = Path(openmmtools.__file__).parent / "data" / stem
    molecule = parmed.load_file(f"{path}.prmtop", f"{path}.{extension}")[":1"]
    molecule.box = None
    molecule.coordinates = molecule.coordinates - molecule.coordinates.mean(axis=0)
    changeRadii(molecule, "mbondi2").execute()
    prmtop = HERE / name / f"{name}.prmtop"
    molecule.save(str(prmtop), overwrite=True)
    # The same file whenever it is made.
    first, rest = prmtop.read_text().split("\n", 1)
    prmtop.write_text(f"{first.split('DATE')[0]}DATE = 01/01/26  00:00:00\n{rest}")
    positions = molecule.positions
    write_pdb(HERE / name / f"{name}.pdb", molecule.topology, positions, f"{name}, start structure")


def read_dcd(path):
    """Frames of a DCD file of CHARMM's format without a cell, in nm."""
    raw = path.read_bytes()
    at, records = 0, []
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 4], "little")
        records.append(raw[at + 4 : at + 4 + size])
        at += size + 8
    has_cell = int.from_bytes(records[0][44:48], "little")
    body, step = records[3:], 4 if has_cell else 3
    frames = [body[k + step - 3 : k + step] for k in range(0, len(body) - step + 1, step)]
    return np.array([[np.frombuffer(axis, "<f4") for axis in frame] for frame in frames]).transpose(0, 2, 1) / 10.0


def rmsd(frames, reference):
    """RMSD in nm after optimal superposition without reflection (Kabsch)."""
    frames = frames - frames.mean(1, keepdims=True)
    reference = reference - reference.mean(0)
    u, s, vt = np.linalg.svd(np.einsum("fai,aj->fij", frames, reference))
    s[:, 2] *= np.sign(np.linalg.det(u) * np.linalg.det(vt))
    square = (frames**2).sum((1, 2)) + (reference**2).sum() - 2.0 * s.sum(1)
    return np.sqrt(np.maximum(square, 0.0) / frames.shape[1])


def make_chignolin(shared):
    source, folder = shared / "chignolin", HERE / "chignolin"
    pdb = app.PDBFile(str(source / "chignolin.pdb"))
    field = peptide_force_field()
    system = field.createSystem(pdb.topology, nonbondedMethod=app.NoCutoff)
    write_prmtop(folder / "chignolin.prmtop", pdb.topology, system, pdb.positions, "chignolin CLN025, ff99SB-ILDN")
    write_pdb(folder / "chignolin.pdb", pdb.topology, pdb.positions, "CLN025, minimised crystal structure")
    shutil.copyfile(source / "5awl_crystal_heavy.pdb", folder / "5awl_crystal_heavy.pdb")

    # Against the serialised System with which the shared trajectories were made: it constrains the bonds to
    # hydrogen and so leaves out their energy, and is the same otherwise.
    reference = openmm.XmlSerializer.deserialize((source / "chignolin_openmm_system.xml").read_text())
    prmtop = app.AmberPrmtopFile(str(folder / "chignolin.prmtop"))
    ours = prmtop.createSystem(implicitSolvent=app.GBn2, nonbondedMethod=app.NoCutoff, constraints=app.HBonds)
    found, expected = term_energies(ours, pdb.positions), term_energies(reference, pdb.positions)
    for term, value in expected.items():
        print(f"  against the System: {term} {value:.6f}, differs by {found.get(term, 0.0) - value:.1e} kJ/mol")
    assert abs(found["total"] - expected["total"]) < 1e-4

    frames = read_dcd(source / "aa_340K_walkB.dcd")[::10]
    # From frame 312 on the atoms of that file are in another order: constrained bonds are not what they were.
    held = [reference.getConstraintParameters(k) for k in range(reference.getNumConstraints())]
    i, j, length = (np.array([float(str(c[k]).split()[0]) for c in held]) for k in range(3))
    stretch = np.abs(np.linalg.norm(frames[:, i.astype(int)] - frames[:, j.astype(int)], axis=2) - length)
    frames = frames[stretch.max(1) < 1e-3]
    alpha = [atom.index for atom in pdb.topology.atoms() if atom.name == "CA"]
    crystal = np.array(pdb.positions.value_in_unit(NM))[alpha]
    distance = rmsd(frames[:, alpha].astype(float), crystal)
    radius = np.sqrt(frames[:, alpha].var(1).sum(1))
    # The most extended frame, and a compact one that is far from the native fold.
    extended = int(np.argmax(radius))
    compact = int(np.argmin(np.where(distance > 0.45, radius, np.inf)))
    for label, frame in (("extended", extended), ("compact", compact)):
        print(f"  unfolded_{label}: frame {frame}, RMSD {distance[frame]:.3f} nm, Rg {radius[frame]:.3f} nm")
        centred = (frames[frame] - frames[frame].mean(0)).astype(float) * NM
        title = f"CLN025 unfolded ({label}), C-alpha RMSD {distance[frame]:.2f} nm to 5AWL"
        write_pdb(folder / f"unfolded_{label}.pdb", pdb.topology, centred, title)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=Path)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    make = {
        "alanine_dipeptide": None,
        "alanine_tetrapeptide": lambda _: make_capped_peptide(
            "alanine_tetrapeptide", 3, -75.0, 150.0, "ACE-ALA-ALA-ALA-NME, ff99SB-ILDN"
        ),
        "n_methylacetamide": lambda _: make_capped_peptide("n_methylacetamide", 0, 0.0, 0.0, "ACE-NME, ff99SB-ILDN"),
        "chignolin": make_chignolin,
        "aromatic_ligand": lambda shared: make_small_molecule("aromatic_ligand", shared),
        "cb7_guest": lambda shared: make_small_molecule("cb7_guest", shared),
        **{name: lambda _, name=name: make_of_openmmtools(name) for name in OF_OPENMMTOOLS},
    }
    needs_shared = {"chignolin", "aromatic_ligand", "cb7_guest"}
    files = {"alanine_dipeptide": ("aldp.prmtop", "aldp.pdb")}
    for name in arguments.names or make:
        print(name)
        (HERE / name).mkdir(exist_ok=True)
        if make[name] and (arguments.shared or name not in needs_shared):
            make[name](arguments.shared)
        write_energies(name, *files.get(name, (f"{name}.prmtop", f"{name}.pdb")))


main()
