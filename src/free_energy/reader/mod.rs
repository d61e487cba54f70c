//! Output files of simulation programs, as samples with reduced energies and derivatives.
//!
//! Every reader makes [`Series`] of files: GROMACS `dhdl.xvg`, AMBER output, NAMD `fepout`, GOMC
//! free-energy output, tables as alchemlyb writes them (CSV, Parquet) and plain tables. Files may be
//! compressed with gzip or bzip2. What a file says (units, temperature, λ vectors) is taken from it; what
//! it lacks is demanded. Half a last line, a restart in the middle or a second run appended are handled
//! and named in the warnings of the series.

mod amber;
mod damage;
mod files;
mod frame;
mod gomc;
mod gromacs;
#[cfg(test)]
mod gromacs_tests;
mod namd;
pub mod parquet;
#[cfg(test)]
mod real_tests;
mod rows;
pub mod series;
mod table;
#[cfg(test)]
mod table_tests;
pub mod text;
mod windows;

pub use series::{Format, Origin, Series, common_temperature};
pub use text::Text;

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::error::{Error, Result};

/// What to read and what the files do not say.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// The format; found out from the beginning of each file without one.
    pub format: Option<Format>,
    /// Temperature in K, for files that do not hold it; where they do it must agree to 0.01 K.
    pub temperature_k: Option<f64>,
    /// Files, in the order given; directories are searched for files of a known format.
    pub files: Vec<PathBuf>,
}

/// A file after the first, parallel pass: read to the end where it stands alone.
enum Pass {
    Read(Vec<Series>),
    Kept(Format, Text, Option<String>),
}

/// Reads files into series, in the order of the files.
///
/// A series whose `temperature_k` is NaN comes from a table of reduced energies that does not tell it.
pub fn read(options: &ReadOptions) -> Result<Vec<Series>> {
    let files = files::expand(&options.files, options.format)?;
    let passes: Vec<Pass> = files.par_iter().map(|file| pass(file, options)).collect::<Result<_>>()?;

    let mut by_file: Vec<(usize, Series)> = Vec::new();
    let mut kept: Vec<(Format, Vec<Text>, Vec<Option<String>>)> = Vec::new();
    for (index, pass) in passes.into_iter().enumerate() {
        match pass {
            Pass::Read(series) => by_file.extend(series.into_iter().map(|series| (index, series))),
            Pass::Kept(format, text, warning) => {
                let known = kept.iter().position(|(known, ..)| *known == format);
                let group = known.unwrap_or_else(|| {
                    kept.push((format, Vec::new(), Vec::new()));
                    kept.len() - 1
                });
                kept[group].1.push(text);
                kept[group].2.push(warning);
            }
        }
    }
    for (format, texts, warnings) in kept {
        for mut series in dispatch(format, &texts, options.temperature_k)? {
            for (text, warning) in texts.iter().zip(&warnings) {
                if series.sources.contains(&text.path) {
                    series.warnings.extend(warning.clone());
                }
            }
            let first = |source: &PathBuf| files.iter().position(|file| file == source);
            let index = series.sources.first().and_then(first).unwrap_or(files.len());
            by_file.push((index, series));
        }
    }
    by_file.sort_by_key(|(index, _)| *index);
    let series = joined(by_file.into_iter().map(|(_, series)| series).collect());
    common_temperature(&series)?;
    Ok(series)
}

fn pass(file: &Path, options: &ReadOptions) -> Result<Pass> {
    let (text, truncated) = Text::read(file)?;
    let format = match options.format.or_else(|| files::recognise(&text.bytes)) {
        Some(format) => format,
        None => {
            return Err(Error::file(file, "", "output of a known program", first_line(&text))
                .with_hint(files::LOOKED_FOR));
        }
    };
    let warning = truncated.then(|| {
        let lines = text.lines().count();
        format!(
            "`{}` ends too early: the compressed file was cut, {lines} lines could be read",
            file.display()
        )
    });
    match format {
        // Files of these formats stand alone: nothing is gained by keeping their text.
        Format::Gromacs | Format::Gomc => {
            let mut series = dispatch(format, std::slice::from_ref(&text), options.temperature_k)?;
            if let Some(last) = series.last_mut() {
                last.warnings.extend(warning);
            }
            Ok(Pass::Read(series))
        }
        _ => Ok(Pass::Kept(format, text, warning)),
    }
}

fn dispatch(format: Format, files: &[Text], temperature_k: Option<f64>) -> Result<Vec<Series>> {
    match format {
        Format::Gromacs => gromacs::read(files, temperature_k),
        Format::Gomc => gomc::read(files, temperature_k),
        Format::Amber => amber::read(files, temperature_k),
        Format::Namd => namd::read(files, temperature_k),
        Format::Table => table::read(files, temperature_k),
        Format::Parquet => parquet::read(files, temperature_k),
    }
}

/// Tables with energies and tables with derivatives of the same samples (times and states) as one series.
fn joined(series: Vec<Series>) -> Vec<Series> {
    let is_table = |series: &Series| matches!(series.format, Format::Table | Format::Parquet);
    let lambda = |series: &Series, sample: usize| series.states[series.state_of[sample]].clone();
    let fits = |one: &Series, half: &Series| {
        is_table(one)
            && !one.u_kt.is_empty()
            && one.dudl_kt.is_empty()
            && one.components == half.components
            && one.time == half.time
            // A temperature that is not known agrees with any.
            && (one.temperature_k.is_nan()
                || half.temperature_k.is_nan()
                || (one.temperature_k - half.temperature_k).abs() <= 0.01)
            && (0..half.n_samples()).all(|sample| lambda(one, sample) == lambda(half, sample))
    };
    let mut all: Vec<Option<Series>> = series.into_iter().map(Some).collect();
    for index in 0..all.len() {
        let is_half = |half: &Series| is_table(half) && half.u_kt.is_empty();
        let Some(half) = all[index].take_if(|series| is_half(series)) else { continue };
        match all.iter_mut().flatten().find(|one| fits(one, &half)) {
            Some(one) => {
                one.dudl_kt = half.dudl_kt;
                one.sources.extend(half.sources);
                one.warnings.extend(half.warnings);
                if one.temperature_k.is_nan() {
                    one.temperature_k = half.temperature_k;
                }
            }
            None => all[index] = Some(half),
        }
    }
    all.into_iter().flatten().collect()
}

fn first_line(text: &Text) -> String {
    match text.lines().map(|(_, line, _)| line.trim_ascii()).find(|line| !line.is_empty()) {
        Some(line) => format!("a file that begins with {}", damage::shown(line)),
        None => "an empty file".into(),
    }
}
