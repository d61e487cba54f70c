//! The particles of a run: beads, the collective variables that describe them, and named states.

use crate::error::{Error, Result, did_you_mean};
use crate::run::config::{Config, NamedSettings, StateSettings};
use crate::system::{COLLECTIVE_VARIABLES, CollectiveVariable, Mapping, MappingSettings, Topology};
use crate::units::{Angle, Length};

/// Beads with everything that a configuration says about them.
pub struct Beads {
    /// From the atoms of the trajectory to the beads.
    pub mapping: Mapping,
    /// What profiles and histograms are made of; the first two span the surface.
    pub variables: Vec<Variable>,
    /// Regions whose populations are reported.
    pub states: Vec<State>,
}

/// A collective variable under the name that the configuration gives it.
pub struct Variable {
    /// How columns and files are named.
    pub name: String,
    /// How it is computed.
    pub function: Box<dyn CollectiveVariable>,
}

/// A region of collective variables.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// As in `summary.json`.
    pub name: String,
    /// As in figures.
    pub label: String,
    /// Index of a variable and the interval of its values; the interval of a periodic variable wraps
    /// around when its lower end is above the upper one.
    pub bounds: Vec<(usize, f64, f64)>,
}

impl Variable {
    /// The name of its column with the unit: `phi_rad`.
    pub fn column(&self) -> String {
        match self.function.unit() {
            "" => self.name.clone(),
            unit => format!("{}_{unit}", self.name),
        }
    }
}

impl State {
    /// Whether a conformation with these values of all variables belongs to it: lower ends are
    /// outside and upper ends inside, so that neighbouring intervals share no point.
    pub fn contains(&self, values: &[f64]) -> bool {
        self.bounds.iter().all(|&(variable, from, to)| {
            let value = values[variable];
            if from <= to { value > from && value <= to } else { value > from || value <= to }
        })
    }
}

impl Beads {
    /// The beads of a configuration; names and numbers are looked up in the topology of the atoms.
    pub fn new(config: &Config, atoms: &Topology) -> Result<Self> {
        let settings = MappingSettings {
            selection: config.data.selection.clone(),
            centers: config.data.centers.clone(),
        };
        let mapping = Mapping::new("data", &settings, atoms)?;
        if mapping.n_beads() < 2 {
            return Err(Error::config(
                "data.selection",
                "only one bead is left",
                "a conformation needs at least two",
            ));
        }
        let variables = variables(&config.collective_variables, mapping.topology())?;
        let states = config
            .states
            .iter()
            .enumerate()
            .map(|(idx, settings)| state(&format!("states[{idx}]"), settings, &variables))
            .collect::<Result<Vec<_>>>()?;
        if let Some(twice) = repeated(states.iter().map(|state| state.name.as_str())) {
            return Err(Error::config("states", format!("two have the name `{twice}`"), ""));
        }
        Ok(Self { mapping, variables, states })
    }

    /// How many beads.
    pub fn n_beads(&self) -> usize {
        self.mapping.n_beads()
    }

    /// The values of every variable, `[variable][frame]`, for positions `[frame][bead][xyz]` in nm.
    pub fn values(&self, positions_nm: &[f64]) -> Result<Vec<Vec<f64>>> {
        self.variables.iter().map(|variable| variable.function.values(self.n_beads(), positions_nm)).collect()
    }

    /// For each frame the index of the first state that contains it; the number of states where none does.
    pub fn basins_of(&self, values: &[Vec<f64>]) -> Vec<usize> {
        let n_frames = values.first().map_or(0, Vec::len);
        let mut point = vec![0.0; values.len()];
        (0..n_frames)
            .map(|frame| {
                point.iter_mut().zip(values).for_each(|(value, series)| *value = series[frame]);
                self.states.iter().position(|state| state.contains(&point)).unwrap_or(self.states.len())
            })
            .collect()
    }
}

fn variables(settings: &[NamedSettings], beads: &Topology) -> Result<Vec<Variable>> {
    let mut variables: Vec<Variable> = Vec::new();
    for (idx, settings) in settings.iter().enumerate() {
        let place = format!("collective_variables[{idx}]");
        let mut table = settings.settings.clone();
        table.entry("label").or_insert_with(|| toml::Value::String(settings.name.clone()));
        let function =
            COLLECTIVE_VARIABLES.build(&place, table, beads).map_err(|error| within(&place, error))?;
        let plain = |letter: char| letter.is_alphanumeric() || letter == '_';
        if settings.name.is_empty() || !settings.name.chars().all(plain) {
            let place = format!("{place}.name = \"{}\"", settings.name);
            return Err(Error::config(
                place,
                "must consist of letters, digits and `_`, because columns have this name",
                "",
            ));
        }
        variables.push(Variable { name: settings.name.clone(), function });
    }
    if let Some(twice) = repeated(variables.iter().map(|variable| variable.name.as_str())) {
        return Err(Error::config("collective_variables", format!("two have the name `{twice}`"), ""));
    }
    Ok(variables)
}

/// Key paths of a part, which knows only its own keys, become those of the configuration.
fn within(outer: &str, error: Error) -> Error {
    match error {
        Error::Config { path, line, place, message, hint } if !place.starts_with(outer) => {
            Error::Config { path, line, place: format!("{outer}.{place}"), message, hint }
        }
        other => other,
    }
}

fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = std::collections::BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

fn state(place: &str, settings: &StateSettings, variables: &[Variable]) -> Result<State> {
    let mut bounds = Vec::new();
    for (name, interval) in &settings.bounds {
        let place = format!("{place}.{name}");
        let variable = variables.iter().position(|variable| variable.name == *name).ok_or_else(|| {
            let known = ["name", "label"].into_iter();
            let hint =
                did_you_mean(name, known.chain(variables.iter().map(|variable| variable.name.as_str())));
            Error::config(&place, "there is no such key and no such collective variable", hint)
        })?;
        let unit = variables[variable].function.unit();
        let ends = match interval.as_array().map(Vec::as_slice) {
            Some([from, to]) => [bound(&place, from, unit)?, bound(&place, to, unit)?],
            _ => return Err(Error::config(&place, "expected an interval [from, to]", "")),
        };
        if ends[0] > ends[1] && variables[variable].function.period().is_none() {
            return Err(Error::config(&place, "the interval ends before it begins", ""));
        }
        bounds.push((variable, ends[0], ends[1]));
    }
    if bounds.is_empty() {
        let hint = format!(
            "give an interval for one of: {}",
            variables.iter().map(|variable| variable.name.as_str()).collect::<Vec<_>>().join(", ")
        );
        return Err(Error::config(place, "the state has no bounds", hint));
    }
    let label = settings.label.clone().unwrap_or_else(|| settings.name.clone());
    Ok(State { name: settings.name.clone(), label, bounds })
}

/// An end of an interval of a variable in its unit, from the text or number of a configuration.
pub(in crate::run) fn bound(place: &str, value: &toml::Value, unit: &str) -> Result<f64> {
    let text = value.as_str();
    let parsed = match (unit, text) {
        ("rad", Some(text)) => text.parse::<Angle>().map(Angle::as_radians),
        ("nm", Some(text)) => text.parse::<Length>().map(Length::as_nm),
        ("rad", None) => Err(format!("expected an angle such as \"60 deg\", found {value}")),
        ("nm", None) => Err(format!("expected a length such as \"0.3 nm\", found {value}")),
        (_, _) => value
            .as_float()
            .or_else(|| value.as_integer().map(|integer| integer as f64))
            .ok_or_else(|| format!("expected a number, found {value}")),
    };
    parsed.map_err(|message| Error::config(place, message, ""))
}

/// The variables of beads for which a configuration names none.
///
/// One dihedral per bond that can be rotated, φ and ψ under their names and first; distances where
/// there is no such bond. At most twelve, because each becomes a file and a figure.
pub fn default_variables(beads: &Topology) -> Vec<NamedSettings> {
    const MOST: usize = 12;
    let neighbours = beads.neighbours();
    // A dihedral follows the backbone where it has the choice, as φ and ψ do.
    let best = |bead: usize, without: usize| {
        let backbone = |idx: usize| ["N", "CA", "C"].contains(&beads.atoms[idx].name.as_str());
        let others = neighbours[bead].iter().copied().filter(|&idx| idx != without);
        others.min_by_key(|&idx| (!backbone(idx), neighbours[idx].len() < 2, idx))
    };
    let mut found: Vec<(usize, String, Vec<usize>)> = Vec::new();
    for &[j, k] in &beads.bonds {
        let (Some(i), Some(l)) = (best(j, k), best(k, j)) else { continue };
        if i == l {
            continue;
        }
        let forward = [i, j, k, l];
        let backward = [l, k, j, i];
        let names = |quad: &[usize; 4]| quad.map(|idx| beads.atoms[idx].name.as_str());
        let torsions = [("phi", ["C", "N", "CA", "C"]), ("psi", ["N", "CA", "C", "N"])];
        let named = torsions.iter().enumerate().find_map(|(rank, (name, pattern))| {
            let quad = [forward, backward].into_iter().find(|quad| names(quad) == *pattern)?;
            Some((rank, name.to_string(), quad.to_vec()))
        });
        let anonymous = || (2, format!("dihedral_{i}_{j}_{k}_{l}"), forward.to_vec());
        found.push(named.unwrap_or_else(anonymous));
    }
    // Several residues: φ and ψ of the first residue come first, then those of the second.
    for name in ["phi", "psi"] {
        let mut count = 0;
        for entry in found.iter_mut().filter(|entry| entry.1 == name) {
            count += 1;
            entry.0 += 3 * (count - 1);
            if count > 1 {
                entry.1 = format!("{name}_{count}");
            }
        }
    }
    let last = found.len() * 3 + 3;
    found.iter_mut().filter(|entry| entry.1.starts_with("dihedral")).for_each(|entry| entry.0 = last);
    found.sort_by_key(|entry| entry.0);
    let mut kind = "dihedral";
    if found.is_empty() {
        kind = "distance";
        let n = beads.n_atoms();
        found = (0..n)
            .flat_map(|i| (i + 1..n).map(move |j| (0, format!("distance_{i}_{j}"), vec![i, j])))
            .collect();
    }
    found.truncate(MOST);
    found
        .into_iter()
        .map(|(_, name, beads)| {
            let beads = beads.into_iter().map(|bead| toml::Value::Integer(bead as i64)).collect();
            let mut settings = toml::Table::new();
            settings.insert("kind".into(), toml::Value::String(kind.into()));
            settings.insert("beads".into(), toml::Value::Array(beads));
            NamedSettings { name, settings }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Atom;

    fn chain(names: &[&str], bonds: Vec<[usize; 2]>) -> Topology {
        let atom = |name: &&str| Atom {
            name: name.to_string(),
            element: name[..1].to_string(),
            residue_name: "ALA".into(),
            residue_id: 1,
            chain: String::new(),
            mass_da: 12.0,
        };
        Topology::new(names.iter().map(atom).collect(), bonds)
    }

    fn config(text: &str) -> Config {
        let data = "name = 'a'\n[data]\ntrajectory = 'a.dcd'\ntemperature = '300 K'\n";
        toml::from_str(&format!("{data}{text}")).unwrap()
    }

    #[test]
    fn the_backbone_of_a_dipeptide_gets_phi_and_psi() {
        let five = chain(&["C", "N", "CA", "C", "N"], vec![[0, 1], [1, 2], [2, 3], [3, 4]]);
        let found = default_variables(&five);
        let shown: Vec<String> =
            found.iter().map(|v| format!("{} {}", v.name, v.settings["beads"])).collect();
        assert_eq!(shown, ["phi [0, 1, 2, 3]", "psi [1, 2, 3, 4]"]);
        // All heavy atoms: the side chain does not take the place of the backbone, and the rest follows.
        let names = ["CH3", "C", "O", "N", "CA", "CB", "C", "O", "N", "C"];
        let bonds = vec![[0, 1], [1, 2], [1, 3], [3, 4], [4, 5], [4, 6], [6, 7], [6, 8], [8, 9]];
        let found = default_variables(&chain(&names, bonds));
        let shown: Vec<String> =
            found.iter().map(|v| format!("{} {}", v.name, v.settings["beads"])).collect();
        assert_eq!(shown[..2], ["phi [1, 3, 4, 6]", "psi [3, 4, 6, 8]"]);
        assert_eq!(shown.len(), 4);
    }

    #[test]
    fn beads_without_a_dihedral_get_distances() {
        let three = chain(&["O", "H", "H"], vec![[0, 1], [0, 2]]);
        let names: Vec<String> = default_variables(&three).into_iter().map(|v| v.name).collect();
        assert_eq!(names, ["distance_0_1", "distance_0_2", "distance_1_2"]);
    }

    #[test]
    fn states_wrap_around_and_share_no_point() {
        let five = chain(&["C", "N", "CA", "C", "N"], vec![[0, 1], [1, 2], [2, 3], [3, 4]]);
        let mut config = config(
            "[[states]]\nname = 'alpha'\nphi = ['-180 deg', '0 deg']\npsi = ['-120 deg', '60 deg']\n
             [[states]]\nname = 'far'\npsi = ['120 deg', '-120 deg']",
        );
        config.collective_variables = default_variables(&five);
        let beads = Beads::new(&config, &five).unwrap();
        let rad = |degrees: f64| degrees.to_radians();
        let values = [[-60.0, -40.0], [60.0, -40.0], [-60.0, 180.0], [-60.0, -170.0], [-60.0, 119.0]];
        let series: Vec<Vec<f64>> = (0..2).map(|k| values.iter().map(|v| rad(v[k])).collect()).collect();
        assert_eq!(beads.basins_of(&series), [0, 2, 1, 1, 2]);
    }

    #[test]
    fn wrong_names_and_bounds_are_pointed_at() {
        let five = chain(&["C", "N", "CA", "C", "N"], vec![[0, 1], [1, 2], [2, 3], [3, 4]]);
        let message = |text: &str| {
            let mut config = config(text);
            if config.collective_variables.is_empty() {
                config.collective_variables = default_variables(&five);
            }
            Beads::new(&config, &five).err().expect(text).to_string()
        };
        let state = "[[states]]\nname = 'a'\n";
        let text = message(&format!("{state}ph = ['0 deg', '1 deg']"));
        assert!(text.starts_with("`states[0].ph`") && text.contains("did you mean `phi`?"), "{text}");
        assert!(message(&format!("{state}phi = [0, 1]")).contains("expected an angle such as \"60 deg\""));
        assert!(message(&format!("{state}phi = '0 deg'")).contains("expected an interval"));
        assert!(message(state).contains("the state has no bounds"));
        let text = message("[[collective_variables]]\nname = 'phi'\nkind = 'dihedral'\nbeads = [0, 1, 2, 9]");
        assert!(text.starts_with("`collective_variables[0].beads`: there is no bead 9"), "{text}");
    }
}
