//! From training frames to a model.

use crate::error::Result;
use crate::model::EnergyModel;
use crate::run::plan::Plan;
use crate::run::stages::Context;
use crate::run::stages::load::Data;

/// Checks settings and device before any long work.
pub fn check(_plan: &Plan, _data: &Data) -> Result<()> {
    Ok(())
}

/// Trains the model.
pub fn run(context: &Context) -> Result<()> {
    context.layout.begin("train")?;
    context.layout.finish("train")?;
    Ok(())
}

/// The model.
pub fn load_model(_context: &Context) -> Result<EnergyModel> {
    todo!()
}
