//! From a run directory to report.html.

use crate::error::Result;
use crate::run::control::Control;
use crate::run::directory::Layout;
use crate::run::plan::Plan;

/// Draws the report.
pub fn run(_plan: &Plan, layout: &Layout, _control: &Control) -> Result<()> {
    layout.begin("report")?;
    layout.finish("report")?;
    Ok(())
}
