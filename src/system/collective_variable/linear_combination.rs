//! ξ = Σ_k c_k ξ_k of other collective variables with one common unit.
//!
//! Periodic variables enter with their value in their interval, so that the sum jumps where one of
//! them does; a difference of dihedrals near the trans state is better described by distances.

use super::{COLLECTIVE_VARIABLES, CollectiveVariable};
use crate::error::{Error, Result};
use crate::registry::Settings;
use crate::system::topology::Topology;
use serde::Deserialize;

/// A weighted sum of collective variables.
pub struct LinearCombination {
    label: String,
    terms: Vec<(f64, Box<dyn CollectiveVariable>)>,
}

impl LinearCombination {
    /// Of terms with the same unit.
    pub fn new(label: impl Into<String>, terms: Vec<(f64, Box<dyn CollectiveVariable>)>) -> Result<Self> {
        let Some((_, first)) = terms.first() else {
            return Err(Error::config("terms", "a linear combination needs at least one term", ""));
        };
        if let Some((_, other)) = terms.iter().find(|(_, term)| term.unit() != first.unit()) {
            return Err(Error::config(
                "terms",
                format!("`{}` and `{}` have different units", first.column(), other.column()),
                "combine variables of one unit",
            ));
        }
        Ok(Self { label: label.into(), terms })
    }
}

impl CollectiveVariable for LinearCombination {
    fn label(&self) -> &str {
        &self.label
    }

    fn unit(&self) -> &'static str {
        self.terms.first().map_or("", |(_, term)| term.unit())
    }

    fn n_particles(&self) -> usize {
        self.terms.iter().map(|(_, term)| term.n_particles()).max().unwrap_or(0)
    }

    fn value(&self, positions_nm: &[f64]) -> f64 {
        self.terms.iter().map(|(coefficient, term)| coefficient * term.value(positions_nm)).sum()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinearCombinationSettings {
    terms: Vec<TermSettings>,
    label: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TermSettings {
    coefficient: f64,
    variable: toml::Table,
}

impl Settings<dyn CollectiveVariable, Topology> for LinearCombinationSettings {
    const SUMMARY: &'static str = "Weighted sum of other collective variables of one unit.";
    const EXAMPLE: &'static str = "terms = [\n\
        {coefficient = 1.0, variable = {kind = \"distance\", beads = [0, 1]}},\n\
        {coefficient = -1.0, variable = {kind = \"distance\", beads = [1, 2]}},\n]";

    fn build(self, topology: &Topology) -> Result<Box<dyn CollectiveVariable>> {
        let mut terms = Vec::new();
        for (idx, term) in self.terms.into_iter().enumerate() {
            let place = format!("terms[{idx}].variable");
            terms.push((term.coefficient, COLLECTIVE_VARIABLES.build(&place, term.variable, topology)?));
        }
        let label = self.label.unwrap_or_else(|| "linear_combination".into());
        Ok(Box::new(LinearCombination::new(label, terms)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::collective_variable::tests::{FIVE, build};

    #[test]
    fn the_sum_is_that_of_its_terms() {
        let value = |text: &str| build(text).expect(text).value(&FIVE);
        let first = value("kind = \"distance\"\nbeads = [0, 1]");
        let second = value("kind = \"distance\"\nbeads = [1, 2]");
        let text = format!("kind = \"linear_combination\"\n{}", LinearCombinationSettings::EXAMPLE);
        assert!((value(&text) - (first - second)).abs() < 1e-15);
    }

    #[test]
    fn units_must_agree() {
        let text = "kind = \"linear_combination\"\nterms = [\
            {coefficient = 1.0, variable = {kind = \"distance\", beads = [0, 1]}},\
            {coefficient = 1.0, variable = {kind = \"angle\", beads = [0, 1, 2]}}]";
        let message = build(text).err().expect("nm and rad").to_string();
        assert!(message.contains("distance_0_1_nm") && message.contains("angle_0_1_2_rad"), "{message}");
    }
}
