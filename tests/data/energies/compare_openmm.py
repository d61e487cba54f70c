"""Deviations between `kirkwood energy` and OpenMM, for any topology and coordinates.

    python compare_openmm.py TOPOLOGY COORDINATES [--structure FILE.pdb] [--implicit-solvent none|obc1|obc2|gbn2]
        [--no-surface-area] [--precision double|single] [--no-forces] [--frames N] [--platform Reference]
        [--kirkwood target/release/kirkwood] [--json]

TOPOLOGY is an AMBER prmtop or a serialised OpenMM System (.xml; it needs --structure, and has its own solvent).
COORDINATES are inpcrd, rst7, PDB, npy (frames, atoms, 3) in nm, or anything that mdtraj reads. OpenMM is given exactly
these positions in double precision, and so is kirkwood, through a temporary npy file; --as-is gives kirkwood the
file itself, which tests its reader as well.

Printed per term: the largest deviation of any frame in kJ/mol and relative to the larger of 1 kJ/mol and the term;
for forces, the largest deviation relative to the largest force of the frame. The exit code is 1 if a double-precision
deviation exceeds 1e-8 (1e-3 kJ/mol per energy in single precision), 2 if kirkwood refuses; otherwise 0.
Needs Python with OpenMM 8 and numpy (mdtraj for trajectories).
"""
import argparse, json, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np
import openmm as mm
from openmm import app, unit

TERMS = {'HarmonicBondForce': 'bond', 'HarmonicAngleForce': 'angle', 'PeriodicTorsionForce': 'torsion',
         'RBTorsionForce': 'torsion', 'CMAPTorsionForce': 'cmap', 'NonbondedForce': 'nonbonded',
         'CustomNonbondedForce': 'nonbonded', 'GBSAOBCForce': 'implicit_solvent', 'CustomGBForce': 'implicit_solvent'}
MODELS = {'none': None, 'obc1': app.OBC1, 'obc2': app.OBC2, 'gbn2': app.GBn2}


def positions(path, topology):
    """(frames, atoms, 3) in nm."""
    suffix = Path(path).suffix.lower()
    nm = lambda p: np.asarray(p.value_in_unit(unit.nanometer), float)[None]
    if suffix == '.npy':
        return np.load(path).astype(float)
    if suffix in ('.inpcrd', '.rst7', '.crd'):
        return nm(app.AmberInpcrdFile(str(path)).getPositions(asNumpy=True))
    if suffix == '.pdb':
        pdb = app.PDBFile(str(path))
        return np.concatenate([nm(pdb.getPositions(asNumpy=True, frame=k)) for k in range(pdb.getNumFrames())])
    import mdtraj
    return mdtraj.load(str(path), top=str(topology)).xyz.astype(float)


def system(arguments):
    if arguments.topology.endswith('.xml'):
        made = mm.XmlSerializer.deserialize(Path(arguments.topology).read_text())
        if arguments.no_surface_area:
            sys.exit('--no-surface-area: the solvent of a serialised System cannot be changed here')
        return made
    return app.AmberPrmtopFile(arguments.topology).createSystem(
        nonbondedMethod=app.NoCutoff, implicitSolvent=MODELS[arguments.implicit_solvent],
        sasaMethod=None if arguments.no_surface_area else 'ACE')


def openmm_energies(made, x, platform, forces):
    for k, force in enumerate(made.getForces()):
        force.setForceGroup(k)
    context = mm.Context(made, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName(platform))
    frames, seconds = [], 0.0
    for frame in x:
        context.setPositions(frame)
        terms = {}
        start = time.time()
        for k, force in enumerate(made.getForces()):
            name = TERMS.get(type(force).__name__)
            if name:
                energy = context.getState(getEnergy=True, groups={k}).getPotentialEnergy()._value
                terms[name] = terms.get(name, 0.0) + energy
        state = context.getState(getEnergy=True, getForces=forces)
        terms['total'] = state.getPotentialEnergy()._value
        if forces:
            terms['forces'] = np.array(state.getForces(asNumpy=True)._value)
        seconds += time.time() - start
        frames.append(terms)
    return frames, seconds / len(x)


def kirkwood_energies(arguments, path):
    command = [arguments.kirkwood, 'energy', arguments.topology, str(path), '--json',
               '--precision', arguments.precision]
    if arguments.structure:
        command += ['--structure', arguments.structure]
    if not arguments.topology.endswith('.xml'):
        command += ['--implicit-solvent', arguments.implicit_solvent]
    command += ['--forces'] * arguments.forces + ['--no-surface-area'] * arguments.no_surface_area
    start = time.time()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.time() - start
    if done.returncode not in (0, 3):
        print(done.stdout, done.stderr, sep='')
        sys.exit(2)
    return json.loads(done.stdout)['frames'], seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('topology')
    parser.add_argument('coordinates')
    parser.add_argument('--structure')
    parser.add_argument('--implicit-solvent', choices=MODELS, default='none')
    parser.add_argument('--no-surface-area', action='store_true')
    parser.add_argument('--precision', choices=['double', 'single'], default='double')
    parser.add_argument('--no-forces', dest='forces', action='store_false')
    parser.add_argument('--frames', type=int, help='only the first N')
    parser.add_argument('--platform', default='Reference')
    parser.add_argument('--kirkwood', default=str(Path(__file__).parents[3] / 'target/release/kirkwood'))
    parser.add_argument('--as-is', action='store_true', help='kirkwood reads COORDINATES itself')
    parser.add_argument('--json', action='store_true')
    arguments = parser.parse_args()

    x = positions(arguments.coordinates, arguments.topology)[:arguments.frames]
    expected, openmm_seconds = openmm_energies(system(arguments), x, arguments.platform, arguments.forces)
    if arguments.as_is:
        found, seconds = kirkwood_energies(arguments, arguments.coordinates)
        found = found[:arguments.frames]
    else:
        with tempfile.TemporaryDirectory() as home:
            path = Path(home) / 'positions.npy'
            np.save(path, x)
            found, seconds = kirkwood_energies(arguments, path)
    if len(found) != len(expected):
        sys.exit(f'{len(found)} frames of kirkwood, {len(expected)} of OpenMM')

    deviations, worst = {}, 0.0
    names = [name for name in expected[0] if name != 'forces']
    for name in names:
        pairs = [(a[name], b[name]) for a, b in zip(found, expected)]
        absolute = max(abs(a - b) if a is not None else float('inf') for a, b in pairs)
        relative = max(abs(a - b) / max(1.0, abs(b)) if a is not None else float('inf') for a, b in pairs)
        deviations[name] = {'kJ_per_mol': absolute, 'relative': relative, 'openmm': pairs[0][1]}
        worst = max(worst, relative / 1e-8 if arguments.precision == 'double' else absolute / 1e-3)
    extra = [name for name in found[0] if name not in expected[0] and found[0][name] not in (0, 0.0)]
    if extra:
        deviations['only in kirkwood'] = {name: found[0][name] for name in extra if name != 'verdict'}
    if arguments.forces:
        relative = max(np.abs(np.array(a['forces'], float) - b['forces']).max() / np.abs(b['forces']).max()
                       for a, b in zip(found, expected))
        deviations['forces'] = {'relative': float(relative)}
        if arguments.precision == 'double':
            worst = max(worst, relative / 1e-8)
    if arguments.json:
        print(json.dumps({'atoms': x.shape[1], 'frames': len(x), 'deviations': deviations, 'worst_over_tolerance': worst,
                          'openmm_s_per_frame': openmm_seconds, 'kirkwood_s': seconds}))
    else:
        print(f'{x.shape[1]} atoms, {len(x)} frames; OpenMM {arguments.platform} {openmm_seconds:.3f} s per frame, '
              f'kirkwood {seconds:.3f} s in all')
        for name, of in deviations.items():
            print(f'  {name:18}' + ''.join(f' {key} {value:.3g}' if key != 'openmm' else f' of {value:.6f}'
                                           for key, value in of.items()))
    sys.exit(int(not worst <= 1.0))


if __name__ == '__main__':
    main()
