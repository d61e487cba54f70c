//! Generalised Born in serialised systems: the built-in force, and expressions that say the same.
//!
//! A `CustomGBForce` holds formulas. They are compared, without spaces and with their definitions in any
//! order, with those that OpenMM writes for OBC1, OBC2 and GBn2; only numbers may differ. What does not match
//! is quoted in the error.

use std::collections::BTreeMap;

use roxmltree::Node;

use super::File;
use crate::error::Result;
use crate::force_field::implicit_solvent::OBC_SURFACE_TENSION;
use crate::force_field::parameters::{
    BornAtom, COULOMB, GeneralizedBorn, ImplicitSolvent, Neck, SurfaceArea,
};

/// The pairwise descreening integral of Hawkins, Cramer and Truhlar.
const DESCREENING: &str =
    "select(step(r+sr2-or1),0.5*(1/L-1/U+0.25*(r-sr2^2/r)*(1/(U^2)-1/(L^2))+0.5*log(L/U)/r),0)";
const NECK: &str = "step(radius1+radius2+neckCut-r)*getm0(radindex1,radindex2)/(1+100*(r-getd0(radindex1,radindex2))^2+0.3*1000000*(r-getd0(radindex1,radindex2))^6)";

/// OpenMM's `GBSAOBCForce`, which is OBC2.
pub(super) fn built_in<'a>(file: File<'a>, force: Node<'a, 'a>, n_atoms: usize) -> Result<ImplicitSolvent> {
    file.require(force, "method", &["0"])?;
    let tension = match force.attribute("surfaceAreaEnergy") {
        Some(_) => file.real(force, "surfaceAreaEnergy")?,
        None => OBC_SURFACE_TENSION,
    };
    let offset_nm = 0.009;
    let mut atoms = Vec::with_capacity(n_atoms);
    for particle in file.children(force, "Particles", "Particle")? {
        let radius_nm = file.real(particle, "r")?;
        let offset_radius_nm = radius_nm - offset_nm;
        let scale = file.real(particle, "scale")?;
        if scale <= 0.0 {
            return Err(file.error(particle, "a scale above 0", scale.to_string()));
        }
        atoms.push(BornAtom {
            charge: file.real(particle, "q")?,
            radius_nm,
            offset_radius_nm,
            scaled_radius_nm: scale * offset_radius_nm,
            alpha: 1.0,
            beta: 0.8,
            gamma: 4.85,
        });
    }
    check_atoms(file, force, &atoms, n_atoms)?;
    Ok(ImplicitSolvent {
        model: GeneralizedBorn::Obc2,
        solute_dielectric: file.real(force, "soluteDielectric")?,
        solvent_dielectric: file.real(force, "solventDielectric")?,
        kappa_per_nm: 0.0,
        coulomb: COULOMB,
        atoms,
        neck: None,
        surface_area: (tension != 0.0)
            .then_some(SurfaceArea { factor: 4.0 * std::f64::consts::PI * tension, probe_nm: 0.14 }),
        fills_engulfed: true,
    })
}

fn check_atoms(file: File<'_>, force: Node<'_, '_>, atoms: &[BornAtom], n_atoms: usize) -> Result<()> {
    if atoms.len() != n_atoms {
        return Err(file.error(force, format!("{n_atoms} particles"), atoms.len().to_string()));
    }
    match atoms.iter().position(|atom| atom.offset_radius_nm <= 0.0) {
        Some(atom) => {
            let found = format!("{} nm of particle {atom}", atoms[atom].offset_radius_nm);
            Err(file.error(force, "offset radii above 0", found))
        }
        None => Ok(()),
    }
}

/// A `CustomGBForce`.
pub(super) fn custom<'a>(file: File<'a>, force: Node<'a, 'a>, n_atoms: usize) -> Result<ImplicitSolvent> {
    if file.text(force, "method")? != "0" {
        let found = format!("method {}", file.text(force, "method")?);
        return Err(file.error(force, "generalised Born without a cutoff (method 0)", found));
    }
    file.require_empty(force, "Exclusions")?;
    let mut globals = BTreeMap::new();
    for parameter in file.children(force, "GlobalParameters", "Parameter")? {
        globals.insert(file.text(parameter, "name")?.to_string(), file.real(parameter, "default")?);
    }
    let formula = |node: Node<'a, 'a>| -> Result<Formula<'a>> {
        Ok(Formula::new(file, node, file.text(node, "expression")?, globals.clone()))
    };

    let values = file.children(force, "ComputedValues", "Value")?;
    let [integral, radius] = values[..] else {
        return Err(file.error(force, "two computed values, I and B", values.len().to_string()));
    };
    // 0 is a formula for single particles, 1 and 2 are for pairs, and no pairs are excluded.
    let is =
        |node: Node<'a, 'a>, kinds: &[&str]| node.attribute("type").is_some_and(|kind| kinds.contains(&kind));
    if file.text(integral, "name")? != "I" || !is(integral, &["1", "2"]) {
        return Err(file.error(integral, "the pair integral I", format!("{integral:?}")));
    }
    if file.text(radius, "name")? != "B" || !is(radius, &["0"]) {
        return Err(file.error(radius, "the Born radius B", format!("{radius:?}")));
    }
    let neck = neck_constants(&formula(integral)?)?;
    let (rescaling, offset_nm) = rescaling(&formula(radius)?)?;

    let mut polar_self = None;
    let mut polar_pair = None;
    let mut surface_area = None;
    for term in file.children(force, "EnergyTerms", "Term")? {
        let formula = formula(term)?;
        if is(term, &["1", "2"]) && polar_pair.is_none() {
            polar_pair = Some(Polar::of_pair(&formula)?);
        } else if !is(term, &["0"]) {
            return Err(formula.not_understood());
        } else if polar_self.is_none()
            && let Some(polar) = Polar::of_particle(&formula)?
        {
            polar_self = Some(polar);
        } else if surface_area.is_none()
            && let Some(numbers) = formula.matches("#*(radius+#)^2*(radius/B)^6")
        {
            formula.define("radius", "or+offset")?;
            if (formula.number("offset")? - offset_nm).abs() > 1e-12 {
                return Err(formula.not_understood());
            }
            surface_area = Some(SurfaceArea { factor: numbers[0], probe_nm: numbers[1] });
        } else {
            return Err(formula.not_understood());
        }
    }
    let (Some(polar), Some(of_pair)) = (polar_self, polar_pair) else {
        return Err(file.error(force, "energy terms of particles and of pairs", "one of them is missing"));
    };
    if polar != of_pair {
        let found = format!("{polar:?} and {of_pair:?}");
        return Err(file.error(force, "the same constants for particles and pairs", found));
    }

    let (atoms, classes) = particles(file, force, rescaling, offset_nm)?;
    check_atoms(file, force, &atoms, n_atoms)?;
    let neck = match neck {
        Some(constants) => Some(neck_tables(file, force, classes, constants)?),
        None => None,
    };
    let model = match (&neck, rescaling) {
        (Some(_), None) => GeneralizedBorn::Gbn2,
        (None, Some([0.8, 0.0, 2.909_125])) => GeneralizedBorn::Obc1,
        (None, Some([1.0, 0.8, 4.85])) => GeneralizedBorn::Obc2,
        _ => {
            let found = radius.attribute("expression").unwrap_or_default();
            return Err(file.error(radius, "the Born radius of OBC1, OBC2 or GBn2", format!("`{found}`")));
        }
    };
    Ok(ImplicitSolvent {
        model,
        solute_dielectric: polar.solute_dielectric,
        solvent_dielectric: polar.solvent_dielectric,
        kappa_per_nm: polar.kappa_per_nm,
        coulomb: polar.coulomb,
        atoms,
        neck,
        surface_area,
        fills_engulfed: false,
    })
}

/// The constants of the neck, offset checked; `None` without a neck.
fn neck_constants(formula: &Formula<'_>) -> Result<Option<[f64; 2]>> {
    let has_neck = formula.matches("Ivdw+neckScale*Ineck").is_some();
    if has_neck {
        formula.define("Ivdw", DESCREENING)?;
        formula.define("Ineck", NECK)?;
        formula.define("radius1", "or1+offset")?;
        formula.define("radius2", "or2+offset")?;
        formula.number("offset")?;
    } else if formula.matches(DESCREENING).is_none() {
        return Err(formula.not_understood());
    }
    formula.define("U", "r+sr2")?;
    formula.define("L", "max(or1,D)")?;
    formula.define("D", "abs(r-sr2)")?;
    if has_neck { Ok(Some([formula.number("neckScale")?, formula.number("neckCut")?])) } else { Ok(None) }
}

/// α, β, γ, where the formula of B has them as numbers, and the offset.
fn rescaling(formula: &Formula<'_>) -> Result<(Option<[f64; 3]>, f64)> {
    formula.define("psi", "I*or")?;
    formula.define("radius", "or+offset")?;
    let offset_nm = formula.number("offset")?;
    let numbers = if let Some(numbers) = formula.matches("1/(1/or-tanh(#*psi+#*psi^3)/radius)") {
        Some([numbers[0], 0.0, numbers[1]])
    } else if let Some(numbers) = formula.matches("1/(1/or-tanh(psi-#*psi^2+#*psi^3)/radius)") {
        Some([1.0, numbers[0], numbers[1]])
    } else if let Some(numbers) = formula.matches("1/(1/or-tanh(#*psi-#*psi^2+#*psi^3)/radius)") {
        Some([numbers[0], numbers[1], numbers[2]])
    } else if formula.matches("1/(1/or-tanh(alpha*psi-beta*psi^2+gamma*psi^3)/radius)").is_some() {
        None
    } else {
        return Err(formula.not_understood());
    };
    Ok((numbers, offset_nm))
}

/// The constants of the polar energy.
#[derive(Debug, PartialEq)]
struct Polar {
    coulomb: f64,
    solute_dielectric: f64,
    solvent_dielectric: f64,
    kappa_per_nm: f64,
}

impl Polar {
    fn of_particle(formula: &Formula<'_>) -> Result<Option<Self>> {
        let plain = formula.matches("-0.5*#*(1/soluteDielectric-1/solventDielectric)*charge^2/B");
        let screened =
            formula.matches("-0.5*#*(1/soluteDielectric-exp(-kappa*B)/solventDielectric)*charge^2/B");
        Self::new(formula, plain, screened)
    }

    fn of_pair(formula: &Formula<'_>) -> Result<Self> {
        formula.define("f", "sqrt(r^2+B1*B2*exp(-r^2/(4*B1*B2)))")?;
        let plain = formula.matches("-#*(1/soluteDielectric-1/solventDielectric)*charge1*charge2/f");
        let screened =
            formula.matches("-#*(1/soluteDielectric-exp(-kappa*f)/solventDielectric)*charge1*charge2/f");
        Self::new(formula, plain, screened)?.ok_or_else(|| formula.not_understood())
    }

    fn new(
        formula: &Formula<'_>,
        plain: Option<Vec<f64>>,
        screened: Option<Vec<f64>>,
    ) -> Result<Option<Self>> {
        let kappa_per_nm = if screened.is_some() { formula.number("kappa")? } else { 0.0 };
        let Some(numbers) = plain.or(screened) else { return Ok(None) };
        Ok(Some(Self {
            coulomb: numbers[0],
            solute_dielectric: formula.number("soluteDielectric")?,
            solvent_dielectric: formula.number("solventDielectric")?,
            kappa_per_nm,
        }))
    }
}

/// The atoms, and the class of each for the neck where it has one.
fn particles<'a>(
    file: File<'a>,
    force: Node<'a, 'a>,
    rescaling: Option<[f64; 3]>,
    offset_nm: f64,
) -> Result<(Vec<BornAtom>, Vec<f64>)> {
    let names: Vec<&str> = file
        .children(force, "PerParticleParameters", "Parameter")?
        .into_iter()
        .map(|parameter| file.text(parameter, "name"))
        .collect::<Result<_>>()?;
    let place =
        |name: &str| names.iter().position(|found| *found == name).map(|at| format!("param{}", at + 1));
    let (mut atoms, mut classes) = (Vec::new(), Vec::new());
    for particle in file.children(force, "Particles", "Particle")? {
        let value = |name: &str| match place(name) {
            Some(attribute) => file.real(particle, &attribute),
            None => Err(file.error(force, format!("the parameter {name} of particles"), names.join(", "))),
        };
        let [alpha, beta, gamma] = match rescaling {
            Some(numbers) => numbers,
            None => [value("alpha")?, value("beta")?, value("gamma")?],
        };
        let offset_radius_nm = value("or")?;
        atoms.push(BornAtom {
            charge: value("charge")?,
            radius_nm: offset_radius_nm + offset_nm,
            offset_radius_nm,
            scaled_radius_nm: value("sr")?,
            alpha,
            beta,
            gamma,
        });
        if place("radindex").is_some() {
            classes.push(value("radindex")?);
        }
    }
    Ok((atoms, classes))
}

fn neck_tables<'a>(
    file: File<'a>,
    force: Node<'a, 'a>,
    classes: Vec<f64>,
    [scale, cutoff_nm]: [f64; 2],
) -> Result<Neck> {
    let functions = file.children(force, "Functions", "Function")?;
    let table = |name: &str| -> Result<(usize, Vec<f64>)> {
        let function = functions
            .iter()
            .find(|function| function.attribute("name") == Some(name))
            .ok_or_else(|| file.error(force, format!("the table {name}"), "none"))?;
        let size = file.index(*function, "xsize", 10_000)?;
        let values: Vec<f64> = file
            .children(*function, "Values", "Value")?
            .into_iter()
            .map(|value| file.real(value, "v"))
            .collect::<Result<_>>()?;
        if function.attribute("type") != Some("Discrete2DFunction") || values.len() != size * size {
            let found = format!("{} values", values.len());
            return Err(file.error(*function, "a square Discrete2DFunction", found));
        }
        // Stored with the first argument, the class of the descreened atom, running fastest.
        let transposed = (0..size * size).map(|at| values[at / size + size * (at % size)]).collect();
        Ok((size, transposed))
    };
    let (n_classes, d0_nm) = table("getd0")?;
    let (n_heights, m0_per_nm) = table("getm0")?;
    if n_heights != n_classes {
        return Err(file.error(force, "two tables of one size", format!("{n_classes} and {n_heights}")));
    }
    let classes = classes
        .into_iter()
        .map(|class| {
            let index = class as usize;
            (class == index as f64 && index < n_classes)
                .then_some(index)
                .ok_or_else(|| file.error(force, format!("radindex below {n_classes}"), class.to_string()))
        })
        .collect::<Result<Vec<_>>>()?;
    if classes.is_empty() {
        return Err(file.error(force, "the parameter radindex of particles", "none"));
    }
    Ok(Neck { classes, n_classes, d0_nm, m0_per_nm, scale, cutoff_nm })
}

/// An expression with its definitions: `main; name = expression; …`.
struct Formula<'a> {
    file: File<'a>,
    node: Node<'a, 'a>,
    text: &'a str,
    main: String,
    definitions: BTreeMap<String, String>,
    globals: BTreeMap<String, f64>,
}

impl<'a> Formula<'a> {
    fn new(file: File<'a>, node: Node<'a, 'a>, text: &'a str, globals: BTreeMap<String, f64>) -> Self {
        let mut parts = text.split(';').map(|part| part.split_whitespace().collect::<String>());
        let main = parts.next().unwrap_or_default();
        let definitions = parts
            .filter_map(|part| {
                part.split_once('=').map(|(name, value)| (name.to_string(), value.to_string()))
            })
            .collect();
        Self { file, node, text, main, definitions, globals }
    }

    fn not_understood(&self) -> crate::Error {
        let expected = "an expression of OBC1, OBC2 or GBn2 as OpenMM writes it";
        self.file.error(self.node, expected, format!("`{}`", self.text))
    }

    /// The numbers of the main expression if it has this form; `#` stands for a number.
    fn matches(&self, form: &str) -> Option<Vec<f64>> {
        matches(&self.main, form)
    }

    /// Errors unless a name is defined like this.
    fn define(&self, name: &str, form: &str) -> Result<()> {
        let found = self.definitions.get(name);
        found.is_some_and(|found| found == form).then_some(()).ok_or_else(|| {
            let found = found.map_or_else(|| "no definition".to_string(), |found| format!("`{found}`"));
            self.file.error(self.node, format!("`{name} = {form}`"), format!("{found} in `{}`", self.text))
        })
    }

    /// A number that is defined beside the main expression or as a global parameter.
    fn number(&self, name: &str) -> Result<f64> {
        let defined = self.definitions.get(name).map(|text| text.parse().ok());
        defined.unwrap_or_else(|| self.globals.get(name).copied()).ok_or_else(|| {
            self.file.error(self.node, format!("a number `{name}`"), format!("none in `{}`", self.text))
        })
    }
}

fn matches(text: &str, form: &str) -> Option<Vec<f64>> {
    let mut numbers = Vec::new();
    let mut pieces = form.split('#');
    let mut rest = text.strip_prefix(pieces.next()?)?;
    for piece in pieces {
        // The longest beginning that is a number, so that the sign and digits of an exponent belong to it.
        let end = (1..=rest.len().min(32))
            .rev()
            .filter(|&end| rest.is_char_boundary(end) && !rest.starts_with(['+', '-']))
            .find(|&end| rest[..end].parse::<f64>().is_ok_and(f64::is_finite))?;
        numbers.push(rest[..end].parse().ok()?);
        rest = rest[end..].strip_prefix(piece)?;
    }
    rest.is_empty().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_may_differ() {
        assert_eq!(matches("-0.5*138.9*x/B", "-0.5*#*x/B"), Some(vec![138.9]));
        assert_eq!(matches("tanh(0.8*psi+2.9e-1*psi^3)", "tanh(#*psi+#*psi^3)"), Some(vec![0.8, 0.29]));
        assert_eq!(matches("tanh(0.8*psi+2.9*psi^4)", "tanh(#*psi+#*psi^3)"), None);
        assert_eq!(matches("x*y", "#*y"), None);
        assert_eq!(matches("1/B+1", "1/B"), None);
    }
}
