//! Frames of another ensemble than the one to learn, by weights that a table gives them.
//!
//! As many frames are drawn as there are, in proportion to their weights and in their order (systematic resampling), so
//! that everything after it knows equal frames only. A heavy frame is there several times, side by side: in one block of
//! the split, and counted as correlated with itself wherever frames are judged by their correlation.

use std::path::Path;

use crate::error::{Error, Result};
use crate::free_energy::reweighting::Reweighted;
use crate::random::{Purpose, Streams};
use crate::run::series::Series;
use crate::sampling::systematic_resampling;

/// The columns that may have the weights.
const LOG_WEIGHT: &str = "log_weight";
const WEIGHT: &str = "weight";

/// Frames drawn by weights.
pub struct Drawn {
    /// Their indices, ascending.
    pub frames: Vec<usize>,
    /// Kish's effective number of the frames that there were.
    pub n_effective: f64,
    /// What speaks against the weights.
    pub warnings: Vec<String>,
}

/// Draws from `n_frames` frames, each with a row in the table.
pub fn draw(path: &Path, n_frames: usize, streams: &Streams) -> Result<Drawn> {
    let table = Series::read(path, 0.0)?;
    let log_weights = log_weights(&table)?;
    if log_weights.len() != n_frames {
        let expected = format!("{n_frames} rows, one for each frame that is read");
        return Err(Error::file(path, "", expected, log_weights.len().to_string())
            .with_hint("`kirkwood reweight --out` writes one; `data.frames` leaves frames out"));
    }
    let weighted = Reweighted::new(log_weights, &[n_frames])
        .map_err(|error| Error::file(path, "", "weights that frames can be drawn by", error.to_string()))?;
    let mut rng = streams.stream(Purpose::Resampling, 0);
    Ok(Drawn {
        frames: systematic_resampling(&weighted.weights(), n_frames, &mut rng),
        n_effective: weighted.n_effective(),
        warnings: weighted.verdicts().into_iter().map(|verdict| verdict.message).collect(),
    })
}

fn log_weights(table: &Series) -> Result<Vec<f64>> {
    let has = |name: &str| table.names().iter().any(|own| own == name);
    if has(LOG_WEIGHT) {
        // −∞ is a frame that the ensemble does not contain.
        let column = table.numbers(LOG_WEIGHT)?;
        return match column.iter().position(|w| w.is_nan() || *w == f64::INFINITY) {
            None => Ok(column.to_vec()),
            Some(row) => Err(bad(table, row, "a logarithm of a weight", column[row])),
        };
    }
    if has(WEIGHT) {
        let column = table.column(WEIGHT)?;
        return match column.iter().position(|w| *w < 0.0) {
            None => Ok(column.iter().map(|w| w.ln()).collect()),
            Some(row) => Err(bad(table, row, "a weight that is not negative", column[row])),
        };
    }
    let expected = format!("a column `{LOG_WEIGHT}` or `{WEIGHT}`");
    Err(Error::file(&table.path, "", expected, table.names().join(", ")))
}

fn bad(table: &Series, row: usize, expected: &str, found: f64) -> Error {
    Error::file(&table.path, table.place(row), expected, found.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &str, n_frames: usize) -> Result<Drawn> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("weights.csv");
        std::fs::write(&path, text).unwrap();
        draw(&path, n_frames, &Streams::new(1))
    }

    fn counts(drawn: &Drawn, n: usize) -> Vec<usize> {
        (0..n).map(|frame| drawn.frames.iter().filter(|own| **own == frame).count()).collect()
    }

    /// Whole multiples of the mean weight are drawn exactly, and logarithms weigh as weights do.
    #[test]
    fn frames_are_drawn_as_often_as_they_weigh() {
        let by_weight = drawn("simulation,frame,weight\n0,0,0.5\n0,1,0\n1,0,1.5\n1,1,2\n", 4).unwrap();
        assert_eq!(counts(&by_weight, 4)[1], 0);
        let more: String = (0..40).map(|k| format!("{}\n", [0.0, 1.0, 3.0, 0.0][k % 4])).collect();
        let whole = drawn(&format!("weight\n{more}"), 40).unwrap();
        assert_eq!(counts(&whole, 40), [0, 1, 3, 0].repeat(10));
        assert!(whole.frames.is_sorted() && (whole.n_effective - 16.0).abs() < 1e-9);
        let logs: String =
            (0..40).map(|k| format!("{}\n", ["-inf", "-800", "-798.9013877113318", "-inf"][k % 4])).collect();
        assert_eq!(drawn(&format!("log_weight\n{logs}"), 40).unwrap().frames, whole.frames);
    }

    #[test]
    fn weights_that_rest_on_few_frames_are_told() {
        let one: String = (0..200).map(|k| if k == 7 { "1\n" } else { "1e-6\n" }).collect();
        let few = drawn(&format!("weight\n{one}"), 200).unwrap();
        assert!(
            few.n_effective < 1.1
                && few.warnings.iter().any(|text| text.contains("dominant") || text.contains('%'))
        );
    }

    #[test]
    fn tables_that_do_not_fit_are_refused() {
        let refused = |text: &str, expected: &str| {
            let message = drawn(text, 2).err().expect("an error").to_string();
            assert!(message.contains(expected), "{message}");
        };
        refused("weight\n1\n2\n3\n", "2 rows");
        refused("weight\n1\n-2\n", "line 3");
        refused("weight\n0\n0\n", "none");
        refused("log_weight\n0\nnan\n", "line 3");
        refused("mass\n1\n2\n", "`log_weight` or `weight`");
    }
}
