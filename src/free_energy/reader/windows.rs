//! λ of tables whose energy columns are numbered: from `states.csv`, from a column, or from the names of the files.
//!
//! `kirkwood simulate` writes `u_kn_lambda_03.csv` beside `states.csv`: the number is that of the state. A file
//! `lambda_0.3.csv`, or any file in a directory of that name, is of λ = 0.3; all of them together, in rising order,
//! are the states `u_0`, `u_1`, ….

use std::path::Path;

use super::Text;
use super::frame::{Columns, Frame, HINT, Numbered, UNNAMED, position};
use super::table;
use crate::error::{Error, Result};

/// What a name says about the state.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Named {
    State(usize),
    Lambda(f64),
}

/// The states of each table; `None` for a table that names them in its header.
pub(super) fn of(frames: &[Frame]) -> Result<Vec<Option<Numbered>>> {
    let columns: Vec<Columns> = frames.iter().map(|frame| Columns::new(&frame.names)).collect();
    let needs = |columns: &Columns| {
        !columns.of.is_empty()
            || (columns.at.is_empty() && columns.lambda.is_empty() && !columns.derivatives.is_empty())
    };
    let counts = names_count(frames);
    let mut together = Vec::new();
    for (frame, columns) in frames.iter().zip(&columns).filter(|(_, columns)| needs(columns)) {
        together.extend(lambda_of_rows(frame, columns));
        if let (true, Some(Named::Lambda(lambda))) = (columns.lambda.is_empty(), named(&frame.path, counts)) {
            together.push(lambda);
        }
    }
    together.sort_by(f64::total_cmp);
    together.dedup_by(|a, b| (*a - *b).abs() < 1e-6);
    let numbered = |(frame, columns): (&Frame, &Columns)| -> Result<Option<Numbered>> {
        if needs(columns) {
            numbered(frame, columns, named(&frame.path, counts), &together).map(Some)
        } else {
            Ok(None)
        }
    };
    frames.iter().zip(&columns).map(numbered).collect()
}

/// λ in a column of its own.
fn lambda_of_rows(frame: &Frame, columns: &Columns) -> Vec<f64> {
    let [(column, _)] = columns.lambda.as_slice() else { return Vec::new() };
    let mut all: Vec<f64> = frame.values.chunks_exact(frame.names.len()).map(|row| row[*column]).collect();
    all.retain(|lambda| lambda.is_finite());
    all.sort_by(f64::total_cmp);
    all.dedup();
    all
}

fn numbered(frame: &Frame, columns: &Columns, says: Option<Named>, together: &[f64]) -> Result<Numbered> {
    let bad =
        |expected: String, found: String| Err(Error::file(&frame.path, "", expected, found).with_hint(HINT));
    let mut numbers: Vec<usize> = columns.of.iter().map(|(_, number, _)| *number).collect();
    numbers.sort_unstable();
    let n = numbers.len();
    if numbers.iter().enumerate().any(|(index, number)| index != *number) {
        return bad(format!("energy columns u_0 to u_{}", n.saturating_sub(1)), format!("{numbers:?}"));
    }
    let has_column = columns.state.is_some() || !columns.lambda.is_empty();
    let own = |states: &[Vec<f64>]| match says {
        Some(Named::State(number)) => Some(number),
        Some(Named::Lambda(lambda)) => position(states, &[lambda]),
        None if states.len() == 1 => Some(0),
        None => None,
    };
    let beside = frame.path.with_file_name("states.csv");
    if let Some(mut table) = states_beside(&beside)? {
        if n > 0 && table.states.len() != n {
            let expected = format!("as many states as in `{}` ({})", beside.display(), table.states.len());
            return bad(expected, format!("{n} energy columns"));
        }
        table.own = own(&table.states);
        if table.own.is_none_or(|own| own >= table.states.len()) && !has_column {
            return bad("the number or λ of its state in the name of the file".into(), "neither".into());
        }
        return Ok(table);
    }
    let has_lambda = matches!(says, Some(Named::Lambda(_))) || !columns.lambda.is_empty();
    if has_lambda && (n == 0 || together.len() == n) {
        let states: Vec<Vec<f64>> = together.iter().map(|lambda| vec![*lambda]).collect();
        let own = own(&states);
        let components = match columns.lambda.as_slice() {
            [(_, name)] => vec![name.clone()],
            _ => vec![UNNAMED.into()],
        };
        return Ok(Numbered { components, states, has_lambda, temperature_k: None, own });
    }
    if has_lambda {
        return bad(
            format!("{n} different λ in the files, one per energy column u_0 to u_{}", n.saturating_sub(1)),
            format!("{} ({})", together.len(), listed(together)),
        );
    }
    if n > 0 && (columns.state.is_some() || matches!(says, Some(Named::State(_)))) {
        // Numbers are enough for energies; derivatives need λ.
        let states: Vec<Vec<f64>> = (0..n).map(|state| vec![state as f64]).collect();
        let own = own(&states);
        if own.is_none_or(|own| own >= n) && columns.state.is_none() {
            return bad(format!("a state from 0 to {}", n - 1), format!("{own:?} in the name of the file"));
        }
        let components = vec!["state".into()];
        return Ok(Numbered { components, states, has_lambda: false, temperature_k: None, own });
    }
    bad("the state that was sampled".into(), "none".into())
}

/// The beginning of a list of λ.
fn listed(lambda: &[f64]) -> String {
    let words: Vec<String> = lambda.iter().take(12).map(f64::to_string).collect();
    words.join(", ") + if lambda.len() > 12 { ", …" } else { "" }
}

/// States of a file `states.csv`, if there is one: columns `state`, `lambda` or components of λ, `temperature_K`.
fn states_beside(path: &Path) -> Result<Option<Numbered>> {
    if !path.is_file() {
        return Ok(None);
    }
    let (text, _) = Text::read(path)?;
    let frame = table::frame(&text)?;
    let columns = Columns::new(&frame.names);
    let rows = || frame.values.chunks_exact(frame.names.len());
    if let Some(state) = columns.state
        && rows().enumerate().any(|(index, row)| row[state] != index as f64)
    {
        return Err(Error::file(path, "", "states 0, 1, 2, … in this order", "others"));
    }
    let temperatures: Vec<f64> = match frame.names.iter().position(|name| name == "temperature_K") {
        Some(column) => rows().map(|row| row[column]).collect(),
        None => Vec::new(),
    };
    let one_temperature = temperatures.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 0.01);
    let mut components: Vec<String> = columns.lambda.iter().map(|(_, name)| name.clone()).collect();
    let mut states: Vec<Vec<f64>> =
        rows().map(|row| columns.lambda.iter().map(|(column, _)| row[*column]).collect()).collect();
    if !one_temperature {
        let constant = states.windows(2).all(|pair| pair[0] == pair[1]);
        if constant {
            components.clear();
            states.iter_mut().for_each(Vec::clear);
        }
        components.push("temperature_K".into());
        states.iter_mut().zip(&temperatures).for_each(|(state, temperature)| state.push(*temperature));
    }
    if components.is_empty() || states.iter().flatten().any(|value| !value.is_finite()) {
        return Err(Error::file(path, "", "a column `lambda` with a number for each state", "none"));
    }
    let twice = (1..states.len()).find(|index| position(&states[..*index], &states[*index]).is_some());
    if let Some(index) = twice {
        let found = format!("state {index} like one before it");
        return Err(Error::file(path, "", "states that differ", found));
    }
    let temperature_k = temperatures.first().copied().filter(|_| one_temperature);
    Ok(Some(Numbered { components, states, has_lambda: true, temperature_k, own: None }))
}

/// What the name of a file says about its state, or else that of its directory. Where `counts`, whole numbers after
/// `lambda` count states.
fn named(path: &Path, counts: bool) -> Option<Named> {
    let (file, directory) = names(path)?;
    in_name(&file, counts).or_else(|| in_name(&directory, counts))
}

/// Name of a file without endings, and of its directory.
fn names(path: &Path) -> Option<(String, String)> {
    let file = path.file_name()?.to_string_lossy().to_string();
    let mut stem = file.as_str();
    for ending in [".gz", ".bz2", ".csv", ".tsv", ".txt", ".dat"] {
        stem = stem.strip_suffix(ending).unwrap_or(stem);
    }
    let directory = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().to_string());
    Some((stem.to_string(), directory.unwrap_or_default()))
}

fn in_name(name: &str, counts: bool) -> Option<Named> {
    let state = |word: &str| number_after(name, word)?.parse().ok().map(Named::State);
    if name.starts_with("u_kn_") {
        return state("u_kn_lambda").or_else(|| state("u_kn_temperature"));
    }
    let lambda = number_after(name, "lambda").and_then(|number| match number.parse::<usize>() {
        Ok(whole) if counts => Some(Named::State(whole)),
        _ => number.parse().ok().map(Named::Lambda),
    });
    lambda.or_else(|| state("state")).or_else(|| state("window"))
}

/// The digits of `0.25` in `run_lambda_0.25_b` after `lambda`.
fn number_after(name: &str, word: &str) -> Option<String> {
    let (_, rest) = name.rsplit_once(word)?;
    let rest = rest.trim_start_matches(['_', '=', ' ']);
    let length = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
    Some(rest[..length].trim_end_matches('.').to_string()).filter(|number| !number.is_empty())
}

/// Whether names such as `lambda_3` count states: λ itself lies between 0 and 1.
fn names_count(frames: &[Frame]) -> bool {
    let number = |name: &str| number_after(name, "lambda")?.parse::<usize>().ok();
    let largest = |frame: &Frame| {
        let (file, directory) = names(&frame.path)?;
        number(&file).max(number(&directory))
    };
    frames.iter().filter_map(largest).max().is_some_and(|number| number > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_lambda_or_the_number_of_the_state() {
        let said = |path: &str| named(Path::new(path), false);
        assert_eq!(said("run/lambda_0.25.csv.gz"), Some(Named::Lambda(0.25)));
        assert_eq!(said("lambda_0.5/u.csv"), Some(Named::Lambda(0.5)));
        assert_eq!(said("u_kn_lambda_03_walker_1.csv"), Some(Named::State(3)));
        assert_eq!(said("u_kn_temperature_2.csv"), Some(Named::State(2)));
        assert_eq!(said("u_kn_walker_2.csv"), None);
        assert_eq!(said("state_4.txt"), Some(Named::State(4)));
        assert_eq!(said("data.csv"), None);
        assert_eq!(said("lambda_1.csv"), Some(Named::Lambda(1.0)));
        assert_eq!(named(Path::new("lambda_1.csv"), true), Some(Named::State(1)));
        let frames: Vec<Frame> = ["lambda_1.csv", "lambda_2.csv"]
            .map(|path| Frame { path: path.into(), ..Frame::default() })
            .into();
        assert!(names_count(&frames) && !names_count(&frames[..1]));
    }
}
