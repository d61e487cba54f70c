//! Stage estimate.

use crate::error::Result;
use crate::run::stages::Context;

/// Does the stage.
pub fn run(context: &Context) -> Result<()> {
    context.layout.begin("estimate")?;
    context.layout.finish("estimate")?;
    Ok(())
}
