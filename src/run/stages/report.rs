//! From a run directory to `report/report.html`.

use crate::error::Result;
use crate::run::control::Control;
use crate::run::directory::Layout;

/// Draws the report from the files of the run alone.
pub fn run(layout: &Layout, control: &Control) -> Result<()> {
    control.progress().begin("report", 1);
    let written = crate::report::write_report(layout.root())?;
    control.progress().end(&format!("{} ({} kB)", written.html.display(), written.n_bytes / 1000));
    Ok(())
}
