//! Free-energy output of GOMC (`Free_Energy_BOX_0_*.dat`): total energy, ∂U/∂λ, ΔU to other λ and pV in kJ/mol.
//!
//! λ always has the components `Coulomb` and `VDW`; time is counted in Monte Carlo steps.

use super::rows::{Layout, Own, Rows, each};
use super::{Format, Series, Text, text};
use crate::error::Result;

const COMPONENTS: [&str; 2] = ["Coulomb", "VDW"];

pub(super) fn read(files: &[Text], temperature_k: Option<f64>) -> Result<Vec<Series>> {
    each(files, |file| read_file(file, temperature_k))
}

fn read_file(file: &Text, temperature_k: Option<f64>) -> Result<Vec<Series>> {
    let mut rows = Rows::new(file);
    let mut state: Option<State> = None;
    for (number, line, complete) in file.lines() {
        let mut rest = Some(line.trim_ascii());
        while let Some(line) = rest.take() {
            if line.starts_with(b"#Steps") {
                rows.header();
                // A restart may repeat the names of the columns alone.
                let Some(state) = &state else {
                    let expected = "a line `#T = … (K), Lambda State …` before the names of the columns";
                    return Err(file.error(number, expected, "none", ""));
                };
                rows.begin(layout(file, number, line, state, temperature_k)?, number);
            } else if line.starts_with(b"#") {
                if let Some(found) = State::of(file, number, line)? {
                    state = Some(found);
                    rows.header();
                }
            } else if !line.is_empty() {
                if !rows.has_layout() {
                    let expected = "a line with the names of the columns, `#Steps …`";
                    return Err(file.error(number, expected, "a row", ""));
                }
                rest = rows.row(number, line, complete, b"#")?;
            }
        }
    }
    if !rows.has_layout() {
        let expected = "lines `#T = … (K), Lambda State …` and `#Steps …`";
        return Err(file.error(1, expected, "no `#Steps`", "is this the file Free_Energy_BOX_0_….dat?"));
    }
    rows.finish()
}

/// `#T = 298.0000(K), Lambda State 8: (lambda Coulomb, lambda VDW) = (0.0000,0.4000)`.
struct State {
    temperature_k: Option<f64>,
    lambda: Vec<f64>,
}

impl State {
    fn of(file: &Text, number: u32, line: &[u8]) -> Result<Option<Self>> {
        let line = String::from_utf8_lossy(line);
        if !line.contains("State") {
            return Ok(None);
        }
        let temperature_k = line
            .split_once("T =")
            .and_then(|(_, rest)| rest.split(['(', ',']).next())
            .and_then(|number| number.trim().parse().ok());
        match line.rsplit_once('=').and_then(|(_, lambda)| vector(lambda)) {
            Some(lambda) => Ok(Some(Self { temperature_k, lambda })),
            None => {
                let expected = "the state, such as `(lambda Coulomb, lambda VDW) = (0.0,0.4)`";
                Err(file.error(number, expected, format!("`{line}`"), ""))
            }
        }
    }
}

fn layout(file: &Text, number: u32, line: &[u8], state: &State, given_k: Option<f64>) -> Result<Layout> {
    let line = String::from_utf8_lossy(line);
    let names: Vec<&str> = line.split_whitespace().collect();
    let find = |beginning: &str| names.iter().position(|name| name.starts_with(beginning));
    let (mut states, mut differences): (_, Vec<Option<usize>>) = (Vec::new(), Vec::new());
    let mut twins = Vec::new();
    for (column, name) in names.iter().enumerate() {
        let has_unit = name.starts_with("Total_En") || name.starts_with("PV");
        if has_unit && name.contains('(') && !name.contains("(kJ/mol)") {
            return Err(file.error(number, "energies in kJ/mol", format!("`{name}`"), ""));
        }
        if !name.starts_with("DelE") {
            continue;
        }
        let lambda = name.split_once("->").and_then(|(_, rest)| vector(rest.strip_suffix(')')?));
        let Some(lambda) = lambda else {
            return Err(file.error(number, "a column such as `DelE(L->(0.0,0.4))`", format!("`{name}`"), ""));
        };
        match states.iter().position(|state| *state == lambda) {
            Some(known) => twins.extend(differences[known].map(|first| (first, column))),
            None => {
                states.push(lambda);
                differences.push(Some(column));
            }
        }
    }
    let derivatives: Vec<Option<usize>> =
        COMPONENTS.iter().map(|component| find(&format!("dU/dL({component}"))).collect();
    let derivatives = if derivatives.iter().any(Option::is_some) { derivatives } else { Vec::new() };
    if states.is_empty() && derivatives.is_empty() {
        let found = format!("{} columns without them", names.len());
        return Err(file.error(number, "columns with dU/dL or DelE", found, ""));
    }
    let own = states.iter().position(|known| *known == state.lambda).unwrap_or_else(|| {
        if !states.is_empty() {
            differences.push(None);
        }
        states.push(state.lambda.clone());
        states.len() - 1
    });
    Ok(Layout {
        format: Format::Gomc,
        temperature_k: text::temperature(&file.path, state.temperature_k, given_k)?,
        components: COMPONENTS.iter().map(|component| format!("{component}-lambda")).collect(),
        states,
        own: Own::Fixed(own),
        n_columns: names.len(),
        time_scale: 1.0,
        time_unit: "step",
        common: find("PV").into_iter().chain(find("Total_En")).collect(),
        differences,
        derivatives,
        twins,
    })
}

/// Two finite numbers, `(0.0000,0.4000)`.
fn vector(text: &str) -> Option<Vec<f64>> {
    let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    let number = |word: &str| word.trim().parse().ok().filter(|value: &f64| value.is_finite());
    let values: Vec<f64> = inner.split(',').map(number).collect::<Option<_>>()?;
    (values.len() == COMPONENTS.len()).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::GAS_CONSTANT;

    const HEADER: &str = "#T = 298.0000(K), Lambda State 1: (lambda Coulomb, lambda VDW) = (0.0000,0.4000)
#Steps  Total_En(kJ/mol)  dU/dL(Coulomb=0.0000)  dU/dL(VDW=0.4000)  DelE(L->(0.0000,0.0000))  DelE(L->(0.0000,0.4000))  PV(kJ/mol)
";
    const ROWS: &str = "50000 -100.5 -4.0 -25.0 17.0 -0.0 1.5\n100000 -90.5 -1.0 38.0 8.0 0.0 1.5\n";

    fn read_text(content: String, temperature_k: Option<f64>) -> Result<Vec<Series>> {
        read(&[Text { path: "a.dat".into(), bytes: content.into_bytes() }], temperature_k)
    }

    #[test]
    fn energies_hold_total_energy_and_pressure_times_volume() {
        let series = read_text(format!("{HEADER}{ROWS}"), None).unwrap().remove(0);
        let beta = 1.0 / (GAS_CONSTANT * 298.0);
        assert_eq!(series.components, ["Coulomb-lambda", "VDW-lambda"]);
        assert_eq!((series.time, series.time_unit), (vec![50000.0, 100000.0], "step"));
        assert_eq!((series.states, series.state_of), (vec![vec![0.0, 0.0], vec![0.0, 0.4]], vec![1, 1]));
        assert!((series.u_kt[0] - beta * (17.0 + 1.5 - 100.5)).abs() < 1e-12);
        assert_eq!(series.dudl_kt[1], beta * -25.0);
    }

    #[test]
    fn temperatures_must_agree_and_states_must_be_there() {
        let text = format!("{HEADER}{ROWS}");
        assert!(read_text(text.clone(), Some(300.0)).unwrap_err().to_string().contains("298 K"));
        let without = text.replace("T = 298.0000(K), ", "");
        assert!(read_text(without.clone(), None).unwrap_err().to_string().contains("--temperature"));
        assert_eq!(read_text(without, Some(300.0)).unwrap()[0].temperature_k, 300.0);
        let message = |text: String| read_text(text, None).unwrap_err().to_string();
        assert!(message(text.replace("Lambda State", "Lambda")).contains("Lambda State"));
        assert!(message(text.replace("(0.0000,0.4000)\n", "(0.4000)\n")).contains("line 1"));
        assert!(message(text.replace("Total_En(kJ/mol)", "Total_En(K)")).contains("kJ/mol"));
        assert!(message(ROWS.into()).contains("#Steps"));
        assert!(message(String::new()).contains("#Steps"));
    }

    #[test]
    fn appended_runs_and_cut_lines_are_handled() {
        let other = HEADER.replace("(0.0000,0.4000)\n", "(0.0000,0.0000)\n");
        let swapped = "50000 -100.5 -4.0 -25.0 0.0 -17.0 1.5\n";
        let series = read_text(format!("{HEADER}{ROWS}15000 -1{other}{swapped}100000 -9"), None).unwrap();
        assert_eq!(
            series.iter().map(|series| series.state_of.clone()).collect::<Vec<_>>(),
            [vec![1, 1], vec![0]]
        );
        assert!(
            series[1].warnings.iter().any(|warning| warning.contains("line 8")),
            "{:?}",
            series[1].warnings
        );
    }
}
