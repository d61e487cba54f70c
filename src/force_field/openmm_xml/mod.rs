//! Systems that OpenMM has serialised as XML.
//!
//! Read are bonds, angles, periodic and Ryckaert–Bellemans torsions, CMAP, `NonbondedForce`, `GBSAOBCForce`, and
//! the `CustomGBForce` that OpenMM writes for OBC1, OBC2 and GBn2. Removal of the motion of the centre of mass has
//! no energy and is passed over. Anything else, also an option of a known force that changes its energy, is
//! named in the error. Such a file has no elements and no names; these come from a structure.

mod generalized_born;

use std::collections::HashSet;
use std::path::Path;

use roxmltree::{Document, Node};

use crate::error::{Error, Result};
use crate::force_field::parameters::{
    Cmap, CmapGrid, DistanceConstraint, EwaldSplitting, Exception, HarmonicAngle, HarmonicBond,
    LARGEST_ANGLE_RAD, Nonbonded, NonbondedMethod, Parameters, PeriodicTorsion, RyckaertBellemansTorsion,
};
use crate::system::{Atom, Topology};

/// Parameters of a file; the atoms are those of `topology`, with the masses of the file.
pub fn read(path: &Path, topology: &Topology) -> Result<Parameters> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let text = String::from_utf8(bytes).map_err(|_| Error::file(path, "", "XML in UTF-8", "other bytes"))?;
    parse(path, &text, topology)
}

/// Whether a text is XML, judged by its beginning.
pub fn is_xml(beginning: &str) -> bool {
    beginning.trim_start_matches('\u{feff}').trim_start().starts_with('<')
}

/// Parameters of a text; `path` is for messages.
pub fn parse(path: &Path, text: &str, topology: &Topology) -> Result<Parameters> {
    let document = Document::parse(text).map_err(|error| {
        let place = format!("line {}", error.pos().row);
        Error::file(path, place, "well-formed XML", error.to_string()).with_hint("the file may be truncated")
    })?;
    let file = File { path, document: &document };
    let system = document.root_element();
    if system.tag_name().name() != "System" {
        let found = format!("<{}>", system.tag_name().name());
        return Err(file.error(system, "<System>, which XmlSerializer.serialize writes", found));
    }
    let mut parameters = Parameters { topology: file.atoms(system, topology)?, ..Parameters::default() };
    parameters.box_vectors_nm = file.box_vectors(system)?;
    for constraint in file.children(system, "Constraints", "Constraint")? {
        let atoms = file.atom_indices(constraint, ["p1", "p2"], topology.n_atoms())?;
        let length_nm = file.real(constraint, "d")?;
        parameters.constraints.push(DistanceConstraint { atoms, length_nm });
    }
    for force in file.child(system, "Forces")?.children().filter(Node::is_element) {
        file.add_force(force, &mut parameters)?;
    }
    if parameters.nonbonded.charges.is_empty() {
        // A system without such a force: atoms that do not see each other.
        let n_atoms = parameters.n_atoms();
        parameters.nonbonded.charges = vec![0.0; n_atoms];
        parameters.nonbonded.sigma_nm = vec![0.1; n_atoms];
        parameters.nonbonded.epsilon = vec![0.0; n_atoms];
    }
    if parameters.nonbonded.method == NonbondedMethod::NoCutoff && !file.is_periodic(system) {
        // OpenMM gives every System a box, whether anything is periodic or not.
        parameters.box_vectors_nm = None;
    }
    Ok(parameters)
}

/// A document and its name.
#[derive(Clone, Copy)]
struct File<'a> {
    path: &'a Path,
    document: &'a Document<'a>,
}

impl<'a> File<'a> {
    /// An error at an element.
    fn error(self, node: Node<'_, '_>, expected: impl Into<String>, found: impl Into<String>) -> Error {
        let line = self.document.text_pos_at(node.range().start).row;
        let force = node.ancestors().find(|node| node.has_tag_name("Force"));
        let force = force
            .and_then(|force| force.attribute("type"))
            .map_or_else(String::new, |name| format!(", {name}"));
        Error::file(self.path, format!("line {line}{force}"), expected, found)
    }

    fn child(self, node: Node<'a, 'a>, name: &str) -> Result<Node<'a, 'a>> {
        node.children()
            .find(|child| child.has_tag_name(name))
            .ok_or_else(|| self.error(node, format!("<{name}>"), "none"))
    }

    /// The elements of a list; anything but `name` in it is an error.
    fn children(self, node: Node<'a, 'a>, list: &str, name: &str) -> Result<Vec<Node<'a, 'a>>> {
        let elements: Vec<_> = self.child(node, list)?.children().filter(Node::is_element).collect();
        match elements.iter().find(|element| !element.has_tag_name(name)) {
            Some(other) => {
                Err(self.error(*other, format!("<{name}>"), format!("<{}>", other.tag_name().name())))
            }
            None => Ok(elements),
        }
    }

    fn text(self, node: Node<'a, '_>, name: &str) -> Result<&'a str> {
        node.attribute(name).ok_or_else(|| {
            self.error(node, format!("<{} {name}=…>", node.tag_name().name()), "no such attribute")
        })
    }

    fn real(self, node: Node<'a, '_>, name: &str) -> Result<f64> {
        let text = self.text(node, name)?;
        text.parse()
            .ok()
            .filter(|value: &f64| value.is_finite())
            .ok_or_else(|| self.error(node, format!("a real number as {name}"), format!("`{text}`")))
    }

    fn index(self, node: Node<'a, '_>, name: &str, below: usize) -> Result<usize> {
        let text = self.text(node, name)?;
        text.parse()
            .ok()
            .filter(|&index: &usize| index < below)
            .ok_or_else(|| self.error(node, format!("{name} below {below}"), format!("`{text}`")))
    }

    fn atom_indices<const N: usize>(
        self,
        node: Node<'a, '_>,
        names: [&str; N],
        n_atoms: usize,
    ) -> Result<[usize; N]> {
        let mut atoms = [0; N];
        for (atom, name) in atoms.iter_mut().zip(names) {
            *atom = self.index(node, name, n_atoms)?;
        }
        Ok(atoms)
    }

    /// Errors unless an option has one of these values or is absent.
    fn require(self, node: Node<'a, '_>, name: &str, values: &[&str]) -> Result<()> {
        match node.attribute(name) {
            Some(found) if !values.contains(&found) => {
                Err(self.error(node, format!("{name} = {}", values.join(" or ")), format!("`{found}`")))
            }
            _ => Ok(()),
        }
    }

    /// Errors unless a list is empty or absent.
    fn require_empty(self, node: Node<'a, 'a>, list: &str) -> Result<()> {
        let first = node
            .children()
            .find(|child| child.has_tag_name(list))
            .and_then(|list| list.children().find(Node::is_element));
        match first {
            Some(first) => Err(self.error(first, format!("nothing in <{list}>"), "an entry")),
            None => Ok(()),
        }
    }

    /// The atoms of the structure with the masses of the system.
    fn atoms(self, system: Node<'a, 'a>, topology: &Topology) -> Result<Topology> {
        let particles = self.children(system, "Particles", "Particle")?;
        if particles.len() != topology.n_atoms() {
            let expected = format!("{} particles as in the structure", topology.n_atoms());
            return Err(self.error(system, expected, particles.len().to_string()));
        }
        let mut atoms: Vec<Atom> = topology.atoms.clone();
        for (atom, particle) in atoms.iter_mut().zip(particles) {
            if let Some(site) = particle.children().find(Node::is_element) {
                let found = format!("a {}", site.tag_name().name());
                return Err(self.error(site, "particles without virtual sites", found));
            }
            atom.mass_da = self.real(particle, "mass")?;
        }
        Ok(Topology::new(atoms, topology.bonds.clone()))
    }

    fn box_vectors(self, system: Node<'a, 'a>) -> Result<Option<[[f64; 3]; 3]>> {
        let Some(vectors) = system.children().find(|child| child.has_tag_name("PeriodicBoxVectors")) else {
            return Ok(None);
        };
        let mut rows = [[0.0; 3]; 3];
        for (row, name) in rows.iter_mut().zip(["A", "B", "C"]) {
            let vector = self.child(vectors, name)?;
            for (value, axis) in row.iter_mut().zip(["x", "y", "z"]) {
                *value = self.real(vector, axis)?;
            }
        }
        Ok(Some(rows))
    }

    /// Whether the box is another than the 2 nm that OpenMM gives systems for which no one sets it.
    fn is_periodic(self, system: Node<'a, 'a>) -> bool {
        let default = [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]];
        self.box_vectors(system).is_ok_and(|found| found.is_some_and(|found| found != default))
    }

    fn add_force(self, force: Node<'a, 'a>, parameters: &mut Parameters) -> Result<()> {
        if !force.has_tag_name("Force") {
            return Err(self.error(force, "<Force>", format!("<{}>", force.tag_name().name())));
        }
        let n_atoms = parameters.n_atoms();
        let kind = self.text(force, "type")?;
        if kind != "NonbondedForce" {
            self.require(force, "usesPeriodic", &["0"])?;
        }
        match kind {
            "CMMotionRemover" => {}
            "HarmonicBondForce" => {
                for bond in self.children(force, "Bonds", "Bond")? {
                    parameters.bonds.push(HarmonicBond {
                        atoms: self.atom_indices(bond, ["p1", "p2"], n_atoms)?,
                        length_nm: self.real(bond, "d")?,
                        stiffness: self.real(bond, "k")?,
                    });
                }
            }
            "HarmonicAngleForce" => {
                for angle in self.children(force, "Angles", "Angle")? {
                    let angle_rad = self.real(angle, "a")?;
                    if !(0.0..=LARGEST_ANGLE_RAD).contains(&angle_rad) {
                        return Err(self.error(angle, "an angle of 0 to π", angle_rad.to_string()));
                    }
                    parameters.angles.push(HarmonicAngle {
                        atoms: self.atom_indices(angle, ["p1", "p2", "p3"], n_atoms)?,
                        angle_rad,
                        stiffness: self.real(angle, "k")?,
                    });
                }
            }
            "PeriodicTorsionForce" => {
                for torsion in self.children(force, "Torsions", "Torsion")? {
                    let periodicity = self.index(torsion, "periodicity", 100)? as u32;
                    if periodicity == 0 {
                        return Err(self.error(torsion, "a periodicity of at least 1", "0"));
                    }
                    parameters.torsions.push(PeriodicTorsion {
                        atoms: self.atom_indices(torsion, ["p1", "p2", "p3", "p4"], n_atoms)?,
                        periodicity,
                        phase_rad: self.real(torsion, "phase")?,
                        barrier: self.real(torsion, "k")?,
                    });
                }
            }
            "RBTorsionForce" => {
                for torsion in self.children(force, "Torsions", "Torsion")? {
                    let mut coefficients = [0.0; 6];
                    for (value, name) in coefficients.iter_mut().zip(["c0", "c1", "c2", "c3", "c4", "c5"]) {
                        *value = self.real(torsion, name)?;
                    }
                    let atoms = self.atom_indices(torsion, ["p1", "p2", "p3", "p4"], n_atoms)?;
                    parameters.ryckaert_bellemans.push(RyckaertBellemansTorsion { atoms, coefficients });
                }
            }
            "CMAPTorsionForce" => self.add_cmap(force, parameters)?,
            "NonbondedForce" => self.add_nonbonded(force, parameters)?,
            "GBSAOBCForce" | "CustomGBForce" if parameters.implicit_solvent.is_some() => {
                return Err(self.error(force, "one force for the implicit solvent", "a second"));
            }
            "GBSAOBCForce" => {
                parameters.implicit_solvent = Some(generalized_born::built_in(self, force, n_atoms)?)
            }
            "CustomGBForce" => {
                parameters.implicit_solvent = Some(generalized_born::custom(self, force, n_atoms)?)
            }
            other => {
                let known = "a force of bonds, angles, torsions, CMAP, NonbondedForce, GBSAOBCForce, or the CustomGBForce of OBC1, OBC2 and GBn2";
                return Err(self.error(force, known, format!("`{other}`, which is not supported")));
            }
        }
        Ok(())
    }

    fn add_cmap(self, force: Node<'a, 'a>, parameters: &mut Parameters) -> Result<()> {
        let first_grid = parameters.cmap_grids.len();
        let maps = self.children(force, "Maps", "Map")?;
        for map in &maps {
            let size = self.index(*map, "size", 1001)?;
            let energies: Vec<f64> = map
                .children()
                .filter(Node::is_element)
                .map(|energy| self.real(energy, "e"))
                .collect::<Result<_>>()?;
            if size < 2 || energies.len() != size * size {
                return Err(self.error(
                    *map,
                    format!("{size} × {size} energies"),
                    energies.len().to_string(),
                ));
            }
            parameters.cmap_grids.push(CmapGrid { size, energies });
        }
        for torsion in self.children(force, "Torsions", "Torsion")? {
            parameters.cmaps.push(Cmap {
                first: self.atom_indices(torsion, ["a1", "a2", "a3", "a4"], parameters.n_atoms())?,
                second: self.atom_indices(torsion, ["b1", "b2", "b3", "b4"], parameters.n_atoms())?,
                grid: first_grid + self.index(torsion, "map", maps.len())?,
            });
        }
        Ok(())
    }

    fn add_nonbonded(self, force: Node<'a, 'a>, parameters: &mut Parameters) -> Result<()> {
        let n_atoms = parameters.n_atoms();
        if !parameters.nonbonded.charges.is_empty() {
            return Err(self.error(force, "one NonbondedForce", "a second"));
        }
        for list in ["ParticleOffsets", "ExceptionOffsets"] {
            self.require_empty(force, list)?;
        }
        self.require(force, "includeDirectSpace", &["1"])?;
        let particles = self.children(force, "Particles", "Particle")?;
        if particles.len() != n_atoms {
            return Err(self.error(force, format!("{n_atoms} particles"), particles.len().to_string()));
        }
        let mut nonbonded = Nonbonded { method: self.nonbonded_method(force)?, ..Nonbonded::default() };
        for particle in particles {
            nonbonded.charges.push(self.real(particle, "q")?);
            nonbonded.sigma_nm.push(self.real(particle, "sig")?);
            nonbonded.epsilon.push(self.real(particle, "eps")?);
        }
        let mut known = HashSet::new();
        for exception in self.children(force, "Exceptions", "Exception")? {
            let atoms @ [i, j] = self.atom_indices(exception, ["p1", "p2"], n_atoms)?;
            if i == j || !known.insert([i.min(j), i.max(j)]) {
                let expected = "two particles, and each pair once";
                return Err(self.error(exception, expected, format!("particles {i} and {j}")));
            }
            nonbonded.exceptions.push(Exception {
                atoms,
                charge_product: self.real(exception, "q")?,
                sigma_nm: self.real(exception, "sig")?,
                epsilon: self.real(exception, "eps")?,
            });
        }
        parameters.nonbonded = nonbonded;
        Ok(())
    }

    fn nonbonded_method(self, force: Node<'a, 'a>) -> Result<NonbondedMethod> {
        let method = self.text(force, "method")?;
        let periodic = match method {
            "0" => return Ok(NonbondedMethod::NoCutoff),
            "1" => false,
            "2" | "4" => true,
            "3" => return Err(self.error(force, "no cutoff, a cutoff, or PME", "method 3, Ewald summation")),
            "5" => return Err(self.error(force, "no cutoff, a cutoff, or PME", "method 5, LJPME")),
            other => return Err(self.error(force, "a method of 0 to 5", format!("`{other}`"))),
        };
        let cutoff_nm = self.real(force, "cutoff")?;
        if cutoff_nm <= 0.0 {
            return Err(self.error(force, "a cutoff above 0", cutoff_nm.to_string()));
        }
        if periodic {
            self.require(force, "exceptionsUsePeriodic", &["0"])?;
        }
        // Absent in files of old versions, which have it on.
        let dispersion_correction = periodic && force.attribute("dispersionCorrection") != Some("0");
        let switching_nm = match force.attribute("useSwitchingFunction") {
            Some("1") => Some(self.real(force, "switchingDistance")?),
            _ => None,
        };
        if method == "4" {
            let alpha_per_nm = if force.has_attribute("alpha") { self.real(force, "alpha")? } else { 0.0 };
            // Zero leaves the mesh to the tolerance as well.
            let splitting = if alpha_per_nm == 0.0 {
                None
            } else {
                let mut mesh = [0; 3];
                for (points, name) in mesh.iter_mut().zip(["nx", "ny", "nz"]) {
                    *points = self.index(force, name, 4097)?;
                }
                Some(EwaldSplitting { alpha_per_nm, mesh })
            };
            let tolerance = self.real(force, "ewaldTolerance")?;
            return Ok(NonbondedMethod::ParticleMeshEwald {
                cutoff_nm,
                tolerance,
                switching_nm,
                dispersion_correction,
                splitting,
            });
        }
        let dielectric = self.real(force, "rfDielectric")?;
        Ok(NonbondedMethod::ReactionField {
            cutoff_nm,
            dielectric,
            periodic,
            switching_nm,
            dispersion_correction,
        })
    }
}

#[cfg(test)]
mod tests;
