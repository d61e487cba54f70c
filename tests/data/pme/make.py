"""Periodic systems of alanine dipeptide, a DCD file with a box per frame, and reference energies of OpenMM 8.6.

    python make.py
Writes beside itself; energies and forces are those of the Reference platform, in double precision, in kJ/mol and nm.
"""
import json
from pathlib import Path
import numpy as np
import openmm as mm
from openmm import app, unit

here = Path(__file__).parent
prmtop = app.AmberPrmtopFile(str(here.parent / 'aldp.prmtop'))
# Single precision in Å, as DCD files hold it.
positions = (10 * np.load(here.parent / 'energies' / 'aldp_2.npy')).astype(np.float32)
CUBE = [(2.4, 0, 0), (0, 2.5, 0), (0, 0, 2.7)]
SKEWED = [(2.4, 0, 0), (0.8, 2.3, 0), (-0.7, 0.9, 2.2)]

prmtop.topology.setPeriodicBoxVectors(unit.Quantity([mm.Vec3(*v) for v in SKEWED], unit.nanometer))
with open(here / 'aldp_2.dcd', 'wb') as f:
    dcd = app.DCDFile(f, prmtop.topology, 0.001)
    for x, scale in zip(positions, [1.0, 1.02]):
        dcd.writeModel(unit.Quantity(x.astype(float), unit.angstrom),
                       periodicBoxVectors=unit.Quantity([mm.Vec3(*v) * scale for v in SKEWED], unit.nanometer))

def forces_of(system, positions_nm, boxes=None):
    context = mm.Context(system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName('Reference'))
    frames = []
    for k, x in enumerate(positions_nm):
        if boxes:
            context.setPeriodicBoxVectors(*boxes[k])
        context.setPositions(x)
        state = context.getState(getEnergy=True, getForces=True)
        frames.append({'total': state.getPotentialEnergy()._value,
                       'forces': np.array(state.getForces(asNumpy=True)._value).tolist()})
    return frames

cases = []

def case(name, method, box, boxes=None, topology=None, edit=lambda force: None):
    # The topology has no box, so the method is set afterwards.
    system = prmtop.createSystem()
    system.setDefaultPeriodicBoxVectors(*[mm.Vec3(*v) for v in box])
    force = next(f for f in system.getForces() if isinstance(f, mm.NonbondedForce))
    force.setNonbondedMethod(method)
    force.setCutoffDistance(1.0)
    edit(force)
    if topology is None:
        topology = f'{name}.xml'
        (here / topology).write_text(mm.XmlSerializer.serialize(system))
    cases.append({'name': name, 'topology': topology,
                  'frames': forces_of(system, 0.1 * positions.astype(float), boxes)})

def charged(force):
    """A net charge, a mesh of one's own, no mean beyond the cutoff."""
    q, sigma, epsilon = force.getParticleParameters(4)
    force.setParticleParameters(4, q + 1 * unit.elementary_charge, sigma, epsilon)
    force.setPMEParameters(2.9, 27, 30, 28)
    force.setUseDispersionCorrection(False)

def switched(force):
    force.setUseSwitchingFunction(True)
    force.setSwitchingDistance(0.8)
    force.setEwaldErrorTolerance(1e-5)

boxes = [[mm.Vec3(*v) * scale for v in SKEWED] for scale in [1.0, 1.02]]
case('pme_charged', mm.NonbondedForce.PME, CUBE, boxes, edit=charged)
case('pme_switched', mm.NonbondedForce.PME, SKEWED, boxes, edit=switched)
case('reaction_field', mm.NonbondedForce.CutoffPeriodic, SKEWED, boxes)
# The mesh is that of the first box.
case('pme_of_prmtop', mm.NonbondedForce.PME, SKEWED, boxes, topology='../aldp.prmtop')
case('reaction_field_of_prmtop', mm.NonbondedForce.CutoffPeriodic, SKEWED, boxes, topology='../aldp.prmtop')
json.dump({'cases': cases}, open(here / 'reference.json', 'w'))
