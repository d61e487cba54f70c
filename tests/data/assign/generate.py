"""Reference energies for `force_field::assign` from OpenMM's ForceField, and the structures for them.

    python tests/data/assign/generate.py CHIGNOLIN.pdb

CHIGNOLIN.pdb is CLN025 with all hydrogens. The peptides are built here from the templates of ff14SB,
relaxed roughly and perturbed (their chirality and conformation mean nothing), and written with three decimals of an
Angstrom; energies are computed with these rounded positions by the Reference platform (OpenMM 8.6.1).
The relaxation uses several threads: another run gives other structures and energies.

- `all_residues.pdb`: all amino acids and protonation states between ACE and NME, with a disulfide;
- `termini.pdb`: dipeptides X-X of all amino acids with both termini charged, atoms in the order of PDB
  files (heavy atoms first), X-NHE at the end;
- `hydroxyproline.pdb`: ACE-HYP-HYP, known to ff14SB only.
"""

import json
import os
import sys

import numpy
import openmm
import openmm.app as app
from openmm import unit

HERE = os.path.dirname(os.path.abspath(__file__))
FORCE_FIELDS = {
    "amber_ff14sb": "amber14/protein.ff14SB.xml",
    "amber_ff99sb_ildn": "amber99sbildn.xml",
    "amber_ff96": "amber96.xml",
}
TEMPLATES = app.ForceField("amber14/protein.ff14SB.xml")._templates
WRITTEN_AS = {"HID": "HIS", "HIE": "HIS", "HIP": "HIS", "ASH": "ASP", "GLH": "GLU", "CYX": "CYS"}
TWENTY = "ALA ARG ASN ASP CYS GLN GLU GLY HID HIE HIP ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL".split()


def build(chains, heavy_first=False, seed=1):
    """A topology of chains of template names and relaxed positions in nm."""
    topology = app.Topology()
    sulfurs = []
    centers = []
    for chain_idx, names in enumerate(chains):
        chain = topology.addChain(chr(ord("A") + chain_idx))
        previous_carbon = None
        for position, name in enumerate(names):
            template = TEMPLATES[name]
            base = name[1:] if len(name) == 4 else name
            residue = topology.addResidue(WRITTEN_AS.get(base, base), chain)
            order = list(range(len(template.atoms)))
            if heavy_first:
                backbone = ["N", "CA", "C", "O"]
                rank = lambda i: backbone.index(template.atoms[i].name) if template.atoms[i].name in backbone else 4
                order.sort(key=lambda i: (template.atoms[i].element.symbol == "H", rank(i), template.atoms[i].name))
            atoms = {}
            for i in order:
                atoms[i] = topology.addAtom(template.atoms[i].name, template.atoms[i].element, residue)
                centers.append((chain_idx * 3.0, position * 0.35, 0.0))
            for i, j in template.bonds:
                topology.addBond(atoms[i], atoms[j])
            by_name = {atom.name: atom for atom in atoms.values()}
            if previous_carbon is not None:
                topology.addBond(previous_carbon, by_name["N"])
            previous_carbon = by_name.get("C")
            if base == "CYX":
                sulfurs.append(by_name["SG"])
    for first, second in zip(sulfurs[::2], sulfurs[1::2]):
        topology.addBond(first, second)

    rng = numpy.random.default_rng(seed)
    positions = numpy.array(centers) + 0.15 * rng.standard_normal((len(centers), 3))
    # First a soft repulsion lets atoms pass through each other, then the force field takes over.
    system = app.ForceField("amber14/protein.ff14SB.xml").createSystem(topology, removeCMMotion=False)
    soft = openmm.System()
    for i in range(system.getNumParticles()):
        soft.addParticle(system.getParticleMass(i))
    for force in system.getForces():
        if isinstance(force, (openmm.HarmonicBondForce, openmm.HarmonicAngleForce)):
            soft.addForce(openmm.XmlSerializer.clone(force))
        if isinstance(force, openmm.NonbondedForce):
            repulsion = openmm.CustomNonbondedForce("2000*step(0.25-r)*(0.25-r)^2")
            for i in range(force.getNumParticles()):
                repulsion.addParticle([])
            repulsion.createExclusionsFromBonds([(a.index, b.index) for a, b in topology.bonds()], 2)
            soft.addForce(repulsion)
    for stage in (soft, system):
        context = openmm.Context(stage, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("CPU"))
        context.setPositions(positions)
        openmm.LocalEnergyMinimizer.minimize(context, 10.0, 3000)
        positions = context.getState(getPositions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    # Away from the minimum a wrong order of the atoms of an improper shows.
    return topology, positions + 0.01 * rng.standard_normal(positions.shape)


def write(name, topology, positions):
    """Writes NAME.pdb and returns the rounded positions."""
    rounded = numpy.round(positions * 10, 3)
    text = []
    for atom, (x, y, z) in zip(topology.atoms(), rounded):
        name_column = atom.name if len(atom.name) == 4 else f" {atom.name:<3}"
        text.append(
            f"ATOM  {atom.index + 1:5d} {name_column} {atom.residue.name:>3} {atom.residue.chain.id}"
            f"{atom.residue.index + 1:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {atom.element.symbol:>2}\n"
        )
    with open(os.path.join(HERE, name + ".pdb"), "w") as file:
        file.write("".join(text) + "END\n")
    return rounded / 10


def energies(topology, positions, source):
    """Energies by term in kJ/mol and numbers of terms."""
    system = app.ForceField(source).createSystem(
        topology, nonbondedMethod=app.NoCutoff, constraints=None, removeCMMotion=False
    )
    names = {
        openmm.HarmonicBondForce: "bond",
        openmm.HarmonicAngleForce: "angle",
        openmm.PeriodicTorsionForce: "torsion",
        openmm.NonbondedForce: "nonbonded",
    }
    result = {"n_atoms": system.getNumParticles()}
    result["mass_da"] = sum(system.getParticleMass(i)._value for i in range(system.getNumParticles()))
    for group, force in enumerate(system.getForces()):
        force.setForceGroup(group)
        name = names[type(force)]
        count = {"bond": "getNumBonds", "angle": "getNumAngles", "torsion": "getNumTorsions", "nonbonded": "getNumExceptions"}
        result["n_" + name] = getattr(force, count[name])()
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    for group, force in enumerate(system.getForces()):
        energy = context.getState(getEnergy=True, groups={group}).getPotentialEnergy()
        result[names[type(force)]] = energy.value_in_unit(unit.kilojoule_per_mole)
    return result


def main():
    middle = "ALA ARG ASH ASN ASP CYM CYS CYX GLH GLN GLU GLY HID HIE HIP ILE LEU LYN LYS MET PHE PRO SER THR TRP TYR CYX VAL"
    structures = {
        "all_residues": build([["ACE", *middle.split(), "NME"]]),
        "termini": build([["N" + x, "C" + x] for x in TWENTY] + [["NALA", "NHE"], ["NCYX", "CCYX"]], True),
        "hydroxyproline": build([["ACE", "HYP", "CHYP"]]),
    }
    structures = {name: (topology, write(name, topology, x)) for name, (topology, x) in structures.items()}
    pdb = app.PDBFile(sys.argv[1])
    structures["chignolin"] = pdb.topology, write("chignolin", pdb.topology, numpy.array(pdb.getPositions()._value))
    pdb = app.PDBFile(os.path.join(HERE, "..", "aldp.pdb"))
    structures["aldp"] = pdb.topology, numpy.array(pdb.getPositions()._value)
    reference = {}
    for structure, (topology, positions) in structures.items():
        reference[structure] = {}
        for name, source in FORCE_FIELDS.items():
            if structure != "hydroxyproline" or name == "amber_ff14sb":
                reference[structure][name] = energies(topology, positions, source)
    with open(os.path.join(HERE, "openmm_energies.json"), "w") as file:
        json.dump(reference, file, indent=1)


main()
