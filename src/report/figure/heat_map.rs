//! A square matrix as colours, with its values where there is room.

use super::color::viridis;
use super::lines::extent;
use super::surface::draw_color_bar;
use super::{Anchor, Color, Figure, Mark, Rect, Stroke, TEXT, TICK_TEXT, Text, text_width};

/// A matrix with names of its rows and columns.
#[derive(Debug, Clone)]
pub struct HeatMap {
    /// Above it.
    pub title: String,
    /// Names, the same for rows and columns.
    pub names: Vec<String>,
    /// Row by row.
    pub values: Vec<f64>,
    /// Of both axes.
    pub axis_label: String,
    /// Of the colour bar, with unit.
    pub value_label: String,
}

impl HeatMap {
    /// Draws the matrix with its first row at the top; values that are zero or missing stay blank.
    pub fn figure(&self, name: &str, description: &str) -> Figure {
        let n = self.names.len().max(1);
        let side = 430.0;
        let widest = self.names.iter().map(|name| text_width(name, TICK_TEXT, false)).fold(0.0, f64::max);
        let frame = Rect { x: 40.0 + widest, y: 26.0, width: side, height: side };
        let (width, height) = (frame.right() + 100.0, frame.bottom() + 44.0);
        let mut figure = Figure::new(name, description, width, height);
        figure.title((frame.x, 14.0), &self.title, Anchor::Start);
        figure.fill(frame, Color::Blank);
        let high = extent(self.values.iter().copied()).1.max(f64::MIN_POSITIVE);
        let colors = self
            .values
            .iter()
            .map(|value| (value.is_finite() && *value > 0.0).then(|| viridis(value / high)))
            .collect();
        figure.marks.push(Mark::Cells { frame, n_columns: n, colors });
        figure.outline(frame, Stroke::solid(Color::Muted, 1.0));
        let cell = side / n as f64;
        let stride = (16.0 / cell).ceil() as usize;
        for (i, name) in self.names.iter().enumerate().step_by(stride.max(1)) {
            let middle = (i as f64 + 0.5) * cell;
            let at = (frame.x - 6.0, frame.y + middle + 4.0);
            figure.text(at, name, TICK_TEXT, Anchor::End, Color::Muted);
        }
        let label_stride = ((widest + 8.0) / cell).ceil() as usize;
        for (i, name) in self.names.iter().enumerate().step_by(label_stride.max(1)) {
            let at = (frame.x + (i as f64 + 0.5) * cell, frame.bottom() + 15.0);
            figure.text(at, name, TICK_TEXT, Anchor::Middle, Color::Muted);
        }
        let middle = frame.x + side / 2.0;
        figure.text((middle, frame.bottom() + 34.0), &self.axis_label, TEXT, Anchor::Middle, Color::Ink);
        figure.upward_text((14.0, frame.y + side / 2.0), &self.axis_label, false);
        if cell >= 30.0 {
            self.write_values(&mut figure, frame, cell, high);
        }
        let bar = Rect { x: frame.right() + 20.0, y: frame.y, width: 13.0, height: side };
        draw_color_bar(&mut figure, bar, (0.0, high), &self.value_label);
        figure
    }

    fn write_values(&self, figure: &mut Figure, frame: Rect, cell: f64, high: f64) {
        let n = self.names.len();
        for (i, value) in self.values.iter().enumerate().filter(|(_, value)| **value >= 0.005) {
            let at = (
                frame.x + ((i % n) as f64 + 0.5) * cell,
                frame.y + ((i / n) as f64 + 0.5) * cell + 0.35 * TICK_TEXT,
            );
            // White on the dark half of the map, black on the bright one, in every theme.
            let color = Color::Rgb(if value / high < 0.6 { [255; 3] } else { [20; 3] });
            let text = format!("{value:.2}").trim_start_matches('0').to_string();
            let (size, anchor) = (TICK_TEXT, Anchor::Middle);
            let text = Text { at, text, size, anchor, bold: false, upwards: false, color };
            figure.marks.push(Mark::Text(text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_matrix_has_no_numbers_and_few_enough_names() {
        let n = 60;
        let map = HeatMap {
            title: "t".into(),
            names: (0..n).map(|i| i.to_string()).collect(),
            values: vec![0.5; n * n],
            axis_label: "level".into(),
            value_label: "overlap".into(),
        };
        let texts = map.figure("n", "d").marks.iter().filter(|m| matches!(m, Mark::Text(_))).count();
        assert!((20..100).contains(&texts), "{texts}");
    }
}
