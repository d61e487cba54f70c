//! A model on disk: `model.safetensors` (weights and time table) beside `model.toml` (all the rest).
//!
//! Both are written to a temporary name and renamed, so that what exists is complete.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::energy_model::EnergyModel;
use super::fused::Weights;
use super::network::{Architecture, NETWORKS};
use super::time_table::TimeTable;
use crate::error::{Error, Result};
use crate::potential::Noise;

/// What `model.toml` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// One unit of reduced length, nm.
    pub length_scale_nm: f64,
    /// Temperature of the data, K.
    pub temperature_kelvin: f64,
    /// Name of each bead.
    pub bead_names: Vec<String>,
    /// Type of each bead.
    pub bead_types: Vec<usize>,
    /// Bonds between beads.
    pub bonds: Vec<[usize; 2]>,
    /// Rows of the time table.
    pub n_time_rows: usize,
    /// How data become noise.
    pub noise: Noise,
    /// Settings of the network, with its `kind`.
    pub network: toml::Table,
}

impl ModelCard {
    /// What the network depends on besides its settings.
    pub fn architecture(&self) -> Architecture {
        Architecture::new(self.bead_types.clone(), self.bonds.clone(), self.noise)
    }
}

/// Writes `model.safetensors` and `model.toml` into an existing directory.
pub fn save(directory: &Path, model: &EnergyModel, card: &ModelCard) -> Result<()> {
    let mut card = card.clone();
    card.n_time_rows = model.time_table.n_rows();
    let tensors = [("weights", model.weights().values()), ("time_table", model.time_table.stored())];
    write_tensors(&directory.join("model.safetensors"), &tensors, HashMap::new())?;
    let text = toml::to_string(&card).map_err(|error| Error::Tensor(error.to_string()))?;
    write_atomically(&directory.join("model.toml"), text.as_bytes())
}

/// Reads a model; errors name the file and what does not fit.
pub fn load(directory: &Path) -> Result<(EnergyModel, ModelCard)> {
    let path = directory.join("model.toml");
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let card: ModelCard =
        toml::from_str(&text).map_err(|error| Error::file(&path, "", "a model card", error.message()))?;
    let network =
        NETWORKS.build("network", card.network.clone(), &()).map_err(|error| error.in_config(&path, None))?;
    let architecture = card.architecture();
    let program = network.program(&architecture)?;

    let path = directory.join("model.safetensors");
    let mut tensors = read_tensors(&path)?;
    let mut take = |name: &str, expected: usize| -> Result<Vec<f32>> {
        let found = tensors.remove(name);
        let length = found.as_ref().map_or(0, Vec::len);
        found.filter(|numbers| numbers.len() == expected).ok_or_else(|| {
            let found = format!("{length}");
            Error::file(&path, format!("tensor `{name}`"), format!("{expected} numbers"), found)
                .with_hint("the file belongs to a model of another architecture")
        })
    };
    let weights = take("weights", program.n_parameters())?;
    let n_table = TimeTable::stored_length(card.n_time_rows);
    let table = take("time_table", n_table)?;
    if program.n_time_rows() != card.n_time_rows {
        return Err(Error::file(
            directory.join("model.toml"),
            "n_time_rows",
            program.n_time_rows().to_string(),
            card.n_time_rows.to_string(),
        ));
    }
    let table = TimeTable::from_stored(card.noise, card.n_time_rows, table).expect("the length was checked");
    let weights = Weights::new(&program, weights);
    Ok((EnergyModel::new(architecture, card.length_scale_nm, program, table, weights), card))
}

/// Writes vectors of f32 with metadata, atomically.
pub fn write_tensors(
    path: &Path,
    tensors: &[(&str, &[f32])],
    metadata: HashMap<String, String>,
) -> Result<()> {
    let bytes: Vec<(String, Vec<u8>)> = tensors
        .iter()
        .map(|(name, numbers)| ((*name).to_string(), numbers.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect();
    let views = bytes.iter().map(|(name, bytes)| {
        let view = TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes).expect("a vector of f32");
        (name.as_str(), view)
    });
    let file =
        safetensors::serialize(views, Some(metadata)).map_err(|error| Error::Tensor(error.to_string()))?;
    write_atomically(path, &file)
}

/// Reads vectors of f32.
pub fn read_tensors(path: &Path) -> Result<HashMap<String, Vec<f32>>> {
    Ok(read_tensors_and_metadata(path)?.0)
}

/// Vectors of f32 by name.
type Tensors = HashMap<String, Vec<f32>>;

/// Reads vectors of f32 and the metadata.
pub fn read_tensors_and_metadata(path: &Path) -> Result<(Tensors, HashMap<String, String>)> {
    let file = std::fs::read(path).map_err(Error::io("read", path))?;
    let broken = |found: String| {
        Error::file(path, "", "a safetensors file of f32 vectors", found).with_hint("the file is damaged")
    };
    let parsed = SafeTensors::deserialize(&file).map_err(|error| broken(error.to_string()))?;
    let metadata = SafeTensors::read_metadata(&file).map_err(|error| broken(error.to_string()))?.1;
    let mut tensors = HashMap::new();
    for name in parsed.names() {
        let view = parsed.tensor(name).map_err(|error| broken(error.to_string()))?;
        if view.dtype() != Dtype::F32 {
            return Err(broken(format!("tensor `{name}` of {:?}", view.dtype())));
        }
        let bytes = view.data().chunks_exact(4);
        let numbers = bytes.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        tensors.insert(name.to_string(), numbers);
    }
    Ok((tensors, metadata.metadata().clone().unwrap_or_default()))
}

fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    let temporary = path.with_extension("tmp");
    let mut file = std::fs::File::create(&temporary).map_err(Error::io("create", &temporary))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io("write", &temporary))?;
    std::fs::rename(&temporary, path).map_err(Error::io("rename", path))
}

/// The bead type of each name: equal names are one type, in the order of first appearance.
pub fn bead_types(names: &[String]) -> Vec<usize> {
    let mut known: Vec<&String> = vec![];
    names
        .iter()
        .map(|name| {
            known.iter().position(|other| *other == name).unwrap_or_else(|| {
                known.push(name);
                known.len() - 1
            })
        })
        .collect()
}
