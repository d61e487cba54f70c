"""Writes NAME/parameters.toml from the AMBER force fields in the OpenMM XML format.

Sources: `amber14/protein.ff14SB.xml`, `amber99sbildn.xml` and `amber96.xml` as distributed with OpenMM
8.6.1 (`openmm/app/data`), which were converted from the files of AmberTools (`dat/leap/parm`, public
domain). Residues that are not amino acids or caps, and parameters that no residue needs, are left out.
Units become those of the AMBER files, so that a line can be compared with the publication; the script
checks that every number converts back to the one in the XML within 1e-11 relative.

    python force_fields/convert.py
"""

import math
import os
import xml.etree.ElementTree as ElementTree

import openmm.app

KCAL = 4.184
HERE = os.path.dirname(os.path.abspath(__file__))
SETS = {
    "amber_ff14sb": ("AMBER ff14SB", "amber14/protein.ff14SB.xml"),
    "amber_ff99sb_ildn": ("AMBER ff99SB-ILDN", "amber99sbildn.xml"),
    "amber_ff96": ("AMBER ff96", "amber96.xml"),
}
AMINO_ACIDS = (
    "ALA ARG ASH ASN ASP CYM CYS CYX GLH GLN GLU GLY HID HIE HIP HYP ILE LEU LYN LYS MET PHE PRO SER THR "
    "TRP TYR VAL"
).split()
CAPS = ["ACE", "NME", "NHE"]


def tidy(value):
    """The decimal number with the fewest digits within 1e-11 of `value`, relative."""
    for digits in range(1, 17):
        rounded = float(f"{value:.{digits}g}")
        if abs(rounded - value) <= 1e-11 * abs(value):
            return repr(rounded)
    raise ValueError(value)


def quoted(*names):
    return ", ".join(f'"{name}"' for name in names)


def wrapped(items, width=108):
    """Array elements on lines of at most `width` characters."""
    lines, line = [], " "
    for item in items:
        if len(line) + len(item) + 2 > width:
            lines.append(line)
            line = " "
        line += f" {item},"
    return "\n".join(lines + [line])


def convert(name, title, source):
    root = ElementTree.parse(os.path.join(os.path.dirname(openmm.app.__file__), "data", source)).getroot()
    types = {t.get("name"): t for t in root.find("AtomTypes")}
    class_of = {type_name: t.get("class") for type_name, t in types.items()}
    nonbonded = root.find("NonbondedForce")
    lennard_jones, charge_of = {}, {}
    for atom in nonbonded.findall("Atom"):
        klass = class_of[atom.get("type")] if atom.get("type") else atom.get("class")
        value = float(atom.get("sigma")), float(atom.get("epsilon"))
        assert lennard_jones.setdefault(klass, value) == value, klass
        charge_of[atom.get("type")] = atom.get("charge")

    residues, used = {}, {}
    for residue in root.find("Residues"):
        full = residue.get("name")
        if full in AMINO_ACIDS + CAPS:
            base, form = full, "internal"
        elif full[1:] in AMINO_ACIDS and full[0] in "NC":
            base, form = full[1:], {"N": "n_terminal", "C": "c_terminal"}[full[0]]
        else:
            continue
        names = [atom.get("name") for atom in residue.findall("Atom")]
        atoms = []
        for atom in residue.findall("Atom"):
            klass = class_of[atom.get("type")]
            used[klass] = types[atom.get("type")]
            charge = float(atom.get("charge") or charge_of[atom.get("type")])
            atoms.append(f'[{quoted(atom.get("name"), klass)}, {tidy(charge) if charge else "0.0"}]')
        bonds = []
        for bond in residue.findall("Bond"):
            if bond.get("from"):
                bonds.append(f'{names[int(bond.get("from"))]}-{names[int(bond.get("to"))]}')
            else:
                bonds.append(f'{bond.get("atomName1")}-{bond.get("atomName2")}')
        residues[base, form] = atoms, bonds

    def classes(element, n):
        result = []
        for i in range(1, n + 1):
            as_type = element.get(f"type{i}")
            klass = element.get(f"class{i}") if as_type is None else class_of.get(as_type, "")
            result.append(klass or "X")
        return result

    def needed(element, n):
        return all(klass == "X" or klass in used for klass in classes(element, n))

    def terms(element):
        result, i = [], 1
        while element.get(f"k{i}"):
            k = float(element.get(f"k{i}"))
            phase = math.degrees(float(element.get(f"phase{i}")))
            if k != 0:
                phase = tidy(phase) if phase else "0.0"
                result.append(f'[{element.get(f"periodicity{i}")}, {phase}, {tidy(k / KCAL)}]')
            i += 1
        return "[" + ", ".join(result) + "]"

    out = [f"# {title}. Written by force_fields/convert.py from {source} of OpenMM 8.6.1; AmberTools parameters are in the"]
    out += ["# public domain. The format and its units are described in force_fields/README.md."]
    out += [f'title = "{title}"']
    order = root.find("PeriodicTorsionForce").get("ordering", "default")
    out += [f'improper_order = "{ {"amber": "template", "default": "element"}[order] }"']
    out += [f'coulomb_14 = {nonbonded.get("coulomb14scale")}', f'lennard_jones_14 = {nonbonded.get("lj14scale")}']

    out += ["", "# class = [element, mass (Da), Rmin/2 (A), epsilon (kcal/mol)]", "[classes]"]
    for klass, type_ in used.items():
        sigma, epsilon = lennard_jones[klass]
        radius = tidy(sigma * 2 ** (1 / 6) / 2 * 10) if epsilon else "0.0"
        mass = tidy(float(type_.get("mass")))
        out += [f'"{klass}" = ["{type_.get("element")}", {mass}, {radius}, {tidy(epsilon / KCAL) if epsilon else "0.0"}]']

    seen = set()

    def once(names):
        key = tuple(min(names, names[::-1]))
        assert key not in seen, names
        seen.add(key)

    out += ["", "[terms]", "# class, class, k (kcal/(mol A^2)), length (A)", "bonds = ["]
    items = []
    for bond in root.find("HarmonicBondForce"):
        if needed(bond, 2):
            once(classes(bond, 2))
            k, length = float(bond.get("k")), float(bond.get("length"))
            items.append(f'[{quoted(*classes(bond, 2))}, {tidy(k / KCAL / 200)}, {tidy(length * 10)}]')
    out += [wrapped(items), "]", "# class, class at the apex, class, k (kcal/(mol rad^2)), angle (degrees)", "angles = ["]
    items = []
    for angle in root.find("HarmonicAngleForce"):
        if needed(angle, 3):
            once(classes(angle, 3))
            k, theta = float(angle.get("k")), math.degrees(float(angle.get("angle")))
            items.append(f'[{quoted(*classes(angle, 3))}, {tidy(k / KCAL / 2)}, {tidy(theta)}]')
    out += [wrapped(items), "]", "# four classes, [[periodicity, phase (degrees), k (kcal/mol)], ...]", "torsions = ["]
    for torsion in root.find("PeriodicTorsionForce").findall("Proper"):
        if needed(torsion, 4):
            names = classes(torsion, 4)
            once(names)
            # Then one generic and one specific definition decide every torsion, whatever their order.
            assert names.count("X") == 0 or (names[0] == names[3] == "X" and names.count("X") == 2), names
            out += [f"  [{quoted(*names)}, {terms(torsion)}],"]
    out += ["]", "# the central class first", "impropers = ["]
    for torsion in root.find("PeriodicTorsionForce").findall("Improper"):
        if needed(torsion, 4):
            out += [f"  [{quoted(*classes(torsion, 4))}, {terms(torsion)}],"]
    out += ["]"]

    for base, form in sorted(residues):
        atoms, bonds = residues[base, form]
        out += ["", f"[residues.{base}.{form}]", "atoms = [", wrapped(atoms), "]"]
        out += [f'bonds = "{" ".join(bonds)}"']
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "parameters.toml"), "w") as file:
        file.write("\n".join(out) + "\n")


for name, (title, source) in SETS.items():
    convert(name, title, source)
