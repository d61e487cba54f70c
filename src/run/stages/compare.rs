//! Stage compare.

use crate::error::Result;
use crate::run::stages::Context;

/// Does the stage.
pub fn run(context: &Context) -> Result<()> {
    context.layout.begin("compare")?;
    context.layout.finish("compare")?;
    Ok(())
}
