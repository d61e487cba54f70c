//! Parquet tables: u_nk and dHdl of alchemlyb as pandas writes them.
//!
//! pandas keeps the names of the index, and the attributes `temperature` and `energy_unit`, in the metadata of the
//! file under the keys `pandas` and `PANDAS_ATTRS`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::{Compression, Repetition, Type as PhysicalType};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::{DataType, DoubleType};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::Type;
use serde_json::{Value, json};

use super::frame::{Frame, Numbered};
use super::{Format, Series, Text, windows};
use crate::error::{Error, Result};

/// Rows that are written together.
const ROWS_PER_GROUP: usize = 1 << 16;

pub(super) fn read(files: &[Text], temperature_k: Option<f64>) -> Result<Vec<Series>> {
    let frames: Vec<Frame> = files.iter().map(frame).collect::<Result<_>>()?;
    let numbered = windows::of(&frames)?;
    let series = |(frame, numbered): (&Frame, &Option<Numbered>)| {
        frame.series(Format::Parquet, temperature_k, numbered.as_ref())
    };
    frames.iter().zip(&numbered).map(series).collect::<Result<Vec<_>>>().map(|all| all.concat())
}

fn frame(file: &Text) -> Result<Frame> {
    let damaged = |error: ParquetError| {
        Error::file(&file.path, "", "a Parquet file", error.to_string()).with_hint("was it copied in full?")
    };
    let content = std::fs::File::open(&file.path).map_err(Error::io("read", &file.path))?;
    // The crate checks lengths by arithmetic that a damaged file can make overflow.
    let opened = std::panic::catch_unwind(|| SerializedFileReader::new(content));
    let reader = match opened {
        Ok(reader) => reader.map_err(damaged)?,
        Err(_) => return Err(damaged(ParquetError::General("a damaged footer".into()))),
    };
    let metadata = reader.metadata();
    let schema = metadata.file_metadata().schema_descr();
    let mut names: Vec<String> = schema.columns().iter().map(|column| column.name().to_string()).collect();
    let keys = metadata.file_metadata().key_value_metadata();
    let text = |key: &str| keys?.iter().find(|entry| entry.key == key)?.value.as_deref();
    let json = |key: &str| text(key).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let (pandas, attributes) = (json("pandas").unwrap_or_default(), json("PANDAS_ATTRS").unwrap_or_default());
    let attribute = |key: &str| match &attributes[key] {
        Value::Null => &pandas["attributes"][key],
        value => value,
    };
    let mut frame = Frame {
        path: file.path.clone(),
        temperature_k: attribute("temperature").as_f64(),
        unit: attribute("energy_unit").as_str().map(str::to_string),
        ..Frame::default()
    };

    let n_rows = metadata.file_metadata().num_rows().max(0) as usize;
    if n_rows > file.bytes.len().saturating_mul(1000) {
        return Err(damaged(ParquetError::General(format!("{n_rows} rows in {} bytes", file.bytes.len()))));
    }
    let mut columns: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(damaged)?;
        let n = group.metadata().num_rows().max(0) as usize;
        for (index, column) in columns.iter_mut().enumerate() {
            let chunk = group.metadata().column(index);
            let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
            if start < 0 || chunk.compressed_size() < 0 {
                return Err(damaged(ParquetError::General(format!("column {index} at {start}"))));
            }
            let read = std::panic::AssertUnwindSafe(|| numbers(group.get_column_reader(index)?, n));
            let values = std::panic::catch_unwind(read)
                .unwrap_or_else(|_| Err(ParquetError::General("damaged pages".into())))
                .map_err(damaged)?;
            match values {
                Some(values) if values.len() == n => column.extend(values),
                // Texts are no energies and no λ.
                None => names[index].clear(),
                Some(values) => {
                    let message = format!("{} of {n} rows of column {index}", values.len());
                    return Err(damaged(ParquetError::General(message)));
                }
            }
        }
    }
    let kept: Vec<usize> = (0..names.len()).filter(|index| columns[*index].len() == n_rows).collect();
    if n_rows == 0 || !kept.iter().any(|index| !names[*index].is_empty()) {
        return Err(
            Error::file(&file.path, "", "a table with rows of numbers", "none").with_hint(super::frame::HINT)
        );
    }
    frame.names = kept.iter().map(|index| names[*index].clone()).collect();
    frame.values = (0..n_rows)
        .flat_map(|row| kept.iter().map(move |index| (row, *index)))
        .map(|(row, index)| columns[index][row])
        .collect();
    frame.lines = (1..=n_rows as u32).collect();
    Ok(frame)
}

/// The numbers of a column, NaN where none stands; `None` for a column of another kind.
fn numbers(reader: ColumnReader, n_rows: usize) -> ::parquet::errors::Result<Option<Vec<f64>>> {
    Ok(Some(match reader {
        ColumnReader::DoubleColumnReader(reader) => typed(reader, n_rows, |value| value)?,
        ColumnReader::FloatColumnReader(reader) => typed(reader, n_rows, f64::from)?,
        ColumnReader::Int32ColumnReader(reader) => typed(reader, n_rows, f64::from)?,
        ColumnReader::Int64ColumnReader(reader) => typed(reader, n_rows, |value| value as f64)?,
        _ => return Ok(None),
    }))
}

fn typed<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    n_rows: usize,
    convert: impl Fn(T::T) -> f64,
) -> ::parquet::errors::Result<Vec<f64>> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let mut out = Vec::with_capacity(n_rows);
    while out.len() < n_rows {
        levels.clear();
        values.clear();
        let (n, ..) = reader.read_records(n_rows - out.len(), Some(&mut levels), None, &mut values)?;
        if n == 0 {
            break;
        }
        let mut values = values.drain(..);
        if levels.is_empty() {
            out.extend(values.map(&convert));
        } else {
            out.extend(levels.iter().map(|level| match level {
                0 => f64::NAN,
                _ => values.next().map_or(f64::NAN, &convert),
            }));
        }
    }
    Ok(out)
}

/// Writes a table that `pandas.read_parquet` opens with its index and attributes.
///
/// `index` become the levels of the index (`time`, `fep-lambda`, …), in this order, as alchemlyb has them; `columns`
/// are named by λ (`0.25`, or `('0.0', '0.25')` as pandas writes a tuple). NaN is written as a missing value. An
/// attribute `energy_unit` and, where it is known, `temperature` in K let alchemlyb take the file as it is.
pub fn write_frame(
    path: &Path,
    index: &[(&str, &[f64])],
    columns: &[(String, &[f64])],
    attributes: &BTreeMap<String, Value>,
) -> Result<()> {
    let n_rows =
        index.iter().map(|(_, values)| values.len()).chain(columns.iter().map(|(_, values)| values.len()));
    let (least, most) = (n_rows.clone().min().unwrap_or(0), n_rows.max().unwrap_or(0));
    if least != most {
        return Err(Error::invalid("columns", "columns of one length", format!("{least} to {most} rows")));
    }
    // pandas puts the levels of the index behind the columns.
    let all: Vec<(&str, &[f64])> =
        columns.iter().map(|(name, values)| (name.as_str(), *values)).chain(index.iter().copied()).collect();
    let failed = |error: ParquetError| Error::io("write", path)(std::io::Error::other(error));
    let describe = |name: &str| json!({"name": name, "field_name": name, "pandas_type": "float64", "numpy_type": "float64", "metadata": null});
    // With this pandas gives columns that are named by one λ their numbers back.
    let by_number = !columns.is_empty() && columns.iter().all(|(name, _)| name.parse::<f64>().is_ok());
    let kind = if by_number { "floating" } else { "mixed" };
    let pandas = json!({
        "index_columns": index.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        "column_indexes": [{"name": null, "field_name": null, "pandas_type": kind, "numpy_type": "object",
            "metadata": null}],
        "columns": all.iter().map(|(name, _)| describe(name)).collect::<Vec<_>>(),
        "attributes": attributes,
        "creator": {"library": "kirkwood", "version": env!("CARGO_PKG_VERSION")},
        "pandas_version": "2.1.0",
    });
    let attributes = serde_json::to_string(attributes).unwrap_or_default();
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(Some(vec![
            KeyValue::new("pandas".to_string(), pandas.to_string()),
            KeyValue::new("PANDAS_ATTRS".to_string(), attributes),
        ]))
        .build();
    let field = |(name, _): &(&str, &[f64])| {
        let builder = Type::primitive_type_builder(name, PhysicalType::DOUBLE);
        builder.with_repetition(Repetition::OPTIONAL).build().map(Arc::new)
    };
    let fields = all.iter().map(field).collect::<::parquet::errors::Result<Vec<_>>>().map_err(failed)?;
    let schema = Type::group_type_builder("schema").with_fields(fields).build().map_err(failed)?;
    let file = std::fs::File::create(path).map_err(Error::io("create", path))?;
    let mut writer =
        SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).map_err(failed)?;
    let mut start = 0;
    while start < most {
        let end = (start + ROWS_PER_GROUP).min(most);
        let mut group = writer.next_row_group().map_err(failed)?;
        for (_, values) in &all {
            let Some(mut column) = group.next_column().map_err(failed)? else { break };
            let values = &values[start..end];
            let levels: Vec<i16> = values.iter().map(|value| i16::from(!value.is_nan())).collect();
            let present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
            column.typed::<DoubleType>().write_batch(&present, Some(&levels), None).map_err(failed)?;
            column.close().map_err(failed)?;
        }
        group.close().map_err(failed)?;
        start = end;
    }
    writer.close().map_err(failed)?;
    Ok(())
}

/// The name of a column for a λ vector: `0.25`, or `('0.0', '0.25')` as pandas writes the tuples of alchemlyb.
pub fn column_name(lambda: &[f64]) -> String {
    match lambda {
        [lambda] => format!("{lambda:?}"),
        lambda => {
            let words: Vec<String> = lambda.iter().map(|value| format!("'{value:?}'")).collect();
            format!("({})", words.join(", "))
        }
    }
}
