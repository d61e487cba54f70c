"""Systems, conformations and reference energies of OpenMM 8.6 for the tests of readers and energies.

Run with the folders of alanine dipeptide and of the small molecules (prmtop, reference_positions.csv, *_positions_nm.npy):
    python make.py ALDP SMALL_MOLECULES
Writes beside itself; all energies are those of the Reference platform, in double precision, in kJ/mol.
"""
import json, sys, shutil, math
from pathlib import Path
import numpy as np
import openmm as mm
from openmm import app, unit

here = Path(__file__).parent
aldp, small = map(Path, sys.argv[1:3])
rng = np.random.default_rng(7)

def inpcrd(path, positions_nm):
    with open(path, 'w') as f:
        f.write(f'default_name\n{len(positions_nm):5d}\n')
        flat = 10 * positions_nm.reshape(-1)
        for i in range(0, len(flat), 6):
            f.write(''.join(f'{v:12.7f}' for v in flat[i:i + 6]) + '\n')

TERMS = {'HarmonicBondForce': 'bond', 'HarmonicAngleForce': 'angle', 'PeriodicTorsionForce': 'torsion',
         'RBTorsionForce': 'torsion', 'CMAPTorsionForce': 'cmap', 'NonbondedForce': 'nonbonded',
         'CustomNonbondedForce': 'nonbonded', 'GBSAOBCForce': 'implicit_solvent', 'CustomGBForce': 'implicit_solvent'}

def energies(system, positions_nm, n_forces=1):
    for i, force in enumerate(system.getForces()):
        force.setForceGroup(i)
    context = mm.Context(system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName('Reference'))
    frames = []
    for k, x in enumerate(positions_nm):
        context.setPositions(x)
        terms = {}
        for i, force in enumerate(system.getForces()):
            name = TERMS.get(type(force).__name__)
            if name:
                e = context.getState(getEnergy=True, groups={i}).getPotentialEnergy()._value
                terms[name] = terms.get(name, 0.0) + e
        terms['total'] = context.getState(getEnergy=True).getPotentialEnergy()._value
        if k < n_forces:
            terms['forces'] = np.array(context.getState(getForces=True).getForces(asNumpy=True)._value).tolist()
        frames.append(terms)
    return frames

cases = []

def case(name, topology, positions, system, structure=None, model=None, surface=None, n_forces=1):
    x = np.load(here / positions)
    cases.append({'name': name, 'topology': topology, 'structure': structure, 'positions': positions,
                  'implicit_solvent': model, 'surface_area': surface, 'frames': energies(system, x, n_forces)})

MODELS = {'none': None, 'obc1': app.OBC1, 'obc2': app.OBC2, 'gbn2': app.GBn2}

def prmtop_cases(name, topology, positions, models, **kw):
    top = app.AmberPrmtopFile(str(here / topology))
    for model in models:
        for surface in ([True, False] if model != 'none' else [True]):
            system = top.createSystem(implicitSolvent=MODELS[model], sasaMethod='ACE' if surface else None)
            case(f'{name} {model}{"" if surface else " without surface"}', topology, positions, system,
                 model=model, surface=surface, **kw)

# Alanine dipeptide: ten reference frames. The topology is tests/data/aldp.prmtop.
reference = np.load(aldp / 'reference_energies.npz')
np.save(here / 'aldp.npy', reference['positions_nm'][::20])
prmtop_cases('aldp', '../aldp.prmtop', 'aldp.npy', MODELS)
inpcrd(here / 'aldp.inpcrd', reference['positions_nm'][0])

# Two small organic molecules.
for name in ['aromatic_ligand', 'cb7_guest']:
    shutil.copy(small / f'{name}.prmtop', here)
    np.save(here / f'{name}.npy', np.load(small / f'{name}_positions_nm.npy')[:2])
    prmtop_cases(name, f'{name}.prmtop', f'{name}.npy', MODELS, n_forces=0)

# Variants of alanine dipeptide that differ in what sections say; written out by the tests as well.
np.save(here / 'aldp_2.npy', reference['positions_nm'][[0, 100]])
text = open(here.parent / 'aldp.prmtop').read()

def section(text, flag, change):
    """The text with the lines of one section changed; None: without the section."""
    parts = text.split('%FLAG ')
    out = []
    for part in parts:
        if part.split('\n')[0].strip() == flag:
            if change is None:
                continue
            head, body = part.split('\n', 2)[:2], part.split('\n', 2)[2]
            part = '\n'.join(head) + '\n' + change(body)
        out.append(part)
    return '%FLAG '.join(out)

def variant(name, changed, models, n_forces=1):
    path = f'aldp_{name}.prmtop'
    (here / path).write_text(changed)
    prmtop_cases(f'aldp {name}', path, 'aldp_2.npy', models, n_forces=n_forces)

def nbfix(body):
    values = [float(body[i:i + 16]) for line in body.split('\n') for body in [line] for i in range(0, len(line), 16)]
    values[4] *= 1.5
    return ''.join(''.join(f'{v:16.8E}' for v in values[i:i + 5]) + '\n' for i in range(0, len(values), 5))

unscaled = section(section(text, 'SCEE_SCALE_FACTOR', None), 'SCNB_SCALE_FACTOR', None)
variant('nbfix', section(unscaled, 'LENNARD_JONES_ACOEF', nbfix), ['none'])
variant('nucleic', section(text, 'RESIDUE_LABEL', lambda body: body.replace('ALA', 'DA5').replace('NME', 'THY')), ['gbn2'], 0)

size = 24
angle = 2 * math.pi * np.arange(size) / size - math.pi
grid = np.round(1.5 * np.cos(angle)[:, None] * np.sin(2 * angle)[None, :] + 0.3 * rng.normal(size=(size, size)), 5)
cmap = '%FLAG CMAP_COUNT\n%FORMAT(2I8)\n       1       1\n%FLAG CMAP_RESOLUTION\n%FORMAT(20I4)\n  24\n'
cmap += '%FLAG CMAP_PARAMETER_01\n%COMMENT ALA\n%FORMAT(8(F9.5))\n'
flat = grid.reshape(-1)
cmap += ''.join(''.join(f'{v:9.5f}' for v in flat[i:i + 8]) + '\n' for i in range(0, len(flat), 8))
cmap += '%FLAG CMAP_INDEX\n%FORMAT(6I8)\n       5       7       9      15      17       1\n'
variant('cmap', text.rstrip('\n') + '\n' + cmap, ['none'])

# Serialised systems of the same molecule.
top = app.AmberPrmtopFile(str(here.parent / 'aldp.prmtop'))
def xml(name, system, structure='../aldp.pdb', positions='aldp_2.npy'):
    (here / f'{name}.xml').write_text(mm.XmlSerializer.serialize(system))
    case(f'{name} xml', f'{name}.xml', positions, system, structure=structure)

xml('aldp_obc1', top.createSystem(implicitSolvent=app.OBC1, constraints=app.HBonds, flexibleConstraints=True))
xml('aldp_obc2', top.createSystem(implicitSolvent=app.OBC2, sasaMethod=None))
salt = top.createSystem(implicitSolvent=app.OBC2, implicitSolventKappa=1.3, soluteDielectric=2.0)
xml('aldp_obc2_salt', salt)
xml('aldp_gbn2', top.createSystem(implicitSolvent=app.GBn2, sasaMethod=None, solventDielectric=80.0))
cut = app.AmberPrmtopFile(str(here / 'aldp_cmap.prmtop')).createSystem(nonbondedMethod=app.NoCutoff)
for force in list(cut.getForces()):
    if isinstance(force, mm.PeriodicTorsionForce):
        rb = mm.RBTorsionForce()
        rb.addTorsion(4, 6, 8, 14, 1.0, -2.0, 3.0, 0.5, -0.7, 0.2)
        rb.addTorsion(1, 4, 6, 8, 0.1, -0.2, 0.4, 0.5, 0.3, -1.2)
        cut.addForce(rb)
xml('aldp_rb_cmap', cut)

json.dump({'unit': 'kJ/mol', 'openmm': mm.__version__, 'cases': cases}, open(here / 'reference.json', 'w'), indent=None)
