//! A run directory with the energy that it learned of one trajectory.

use std::path::Path;

use crate::error::{Error, Result};
use crate::model::EnergyModel;
use crate::model::checkpoint::{self, ModelCard};
use crate::run::Request;
use crate::run::directory::{Layout, read_json};
use crate::run::plan::Plan;
use crate::run::provenance::{Input, Provenance};
use crate::run::source::is_of_another_kind;

/// What a run learned, and from what.
pub struct LearnedRun {
    /// The plan of the run; its data must still be there.
    pub plan: Plan,
    /// The energy.
    pub model: EnergyModel,
    /// Beads, temperature and length scale of the energy.
    pub card: ModelCard,
}

impl LearnedRun {
    /// Reads plan and model; what is no such run is named.
    pub fn open(directory: &Path) -> Result<Self> {
        if !directory.join("plan.toml").is_file() {
            let expected = "a run directory of `kirkwood run` with a trained model";
            return Err(Error::file(directory, "", expected, "no plan.toml"));
        }
        if is_of_another_kind(directory) {
            let expected = "a run that learned the energy of one trajectory";
            return Err(Error::file(directory.join("plan.toml"), "kind", expected, "a run of another kind"));
        }
        let plan = Plan::resolve(&Request::of(directory))?;
        let trained = Layout::at(directory).finished("train")?;
        let provenance: Provenance = read_json(&directory.join("provenance.json"))?;
        let inputs = Input::of_all(plan.config.data.files())?;
        if let Some(changed) = provenance.changed_input(&inputs) {
            return Err(Error::RunDirectory {
                path: directory.to_path_buf(),
                message: format!(
                    "learned from other data than there are now: `{}` changed",
                    changed.display()
                ),
                hint: "restore the file: which of its frames the model has seen is known by their place"
                    .into(),
            });
        }
        let (model, card) = checkpoint::load(&trained)?;
        Ok(Self { plan, model, card })
    }
}
