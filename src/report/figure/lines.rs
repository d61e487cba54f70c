//! Line charts: lines with error bands on common axes, panels in rows.

use super::axis::{Kind, Labels, Scale, draw_axes};
use super::{Anchor, Color, Figure, Rect, Stroke, TEXT, TICK_TEXT, text_width};

/// A line, its band and its look.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its name in the legend; an empty one is not listed.
    pub label: String,
    /// Its points, in the order in which they are joined; it is interrupted where one is not finite.
    pub points: Vec<(f64, f64)>,
    /// Standard errors of the points, drawn as a band of one of them to either side; may be empty.
    pub std_errors: Vec<f64>,
    /// Its colour.
    pub color: Color,
    /// Its width in logical pixels.
    pub width: f64,
    /// Length of its dashes, if it has any.
    pub dash: Option<f64>,
    /// Whether points are dots as well.
    pub dots: bool,
    /// Whether the area between it and zero is filled.
    pub filled: bool,
}

impl Line {
    /// A solid line without a band.
    pub fn new(label: impl Into<String>, points: Vec<(f64, f64)>, color: Color) -> Self {
        let std_errors = Vec::new();
        Self {
            label: label.into(),
            points,
            std_errors,
            color,
            width: 1.8,
            dash: None,
            dots: false,
            filled: false,
        }
    }

    /// The same with a band.
    pub fn with_band(mut self, std_errors: Vec<f64>) -> Self {
        self.std_errors = std_errors;
        self
    }

    /// The same with dots at its points.
    pub fn with_dots(mut self) -> Self {
        self.dots = true;
        self
    }

    /// The same with the area down to zero filled.
    pub fn filled(mut self) -> Self {
        self.filled = true;
        self
    }

    /// The same, dashed.
    pub fn dashed(mut self, length: f64) -> Self {
        self.dash = Some(length);
        self
    }

    /// Parts of the line without gaps, with the range of each point's band.
    fn pieces(&self) -> Vec<Vec<(f64, f64, f64)>> {
        let mut pieces = vec![Vec::new()];
        for (i, &(x, y)) in self.points.iter().enumerate() {
            if x.is_finite() && y.is_finite() {
                let error = self.std_errors.get(i).copied().filter(|e| e.is_finite()).unwrap_or(0.0);
                if let Some(piece) = pieces.last_mut() {
                    piece.push((x, y, error));
                }
            } else {
                pieces.push(Vec::new());
            }
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}

/// Lines on common axes.
#[derive(Debug, Clone)]
pub struct LineChart {
    /// Above the panel.
    pub title: String,
    /// Below, with its unit.
    pub x_label: String,
    /// To the left, with its unit.
    pub y_label: String,
    /// The x axis.
    pub x_kind: Kind,
    /// The y axis.
    pub y_kind: Kind,
    /// Range of the y axis; `None` shows all points, bands cut at half the points' range beyond them.
    pub y_range: Option<(f64, f64)>,
    /// The lines, lowest first.
    pub lines: Vec<Line>,
    /// Named places on the x axis, each a vertical dashed line.
    pub x_marks: Vec<(f64, String)>,
    /// A level marked by a horizontal dashed line.
    pub y_mark: Option<f64>,
}

impl LineChart {
    /// A chart without lines on linear axes.
    pub fn new(title: impl Into<String>, x_label: impl Into<String>, y_label: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            x_label: x_label.into(),
            y_label: y_label.into(),
            x_kind: Kind::Linear,
            y_kind: Kind::Linear,
            y_range: None,
            lines: Vec::new(),
            x_marks: Vec::new(),
            y_mark: None,
        }
    }

    /// Whether there is anything to see.
    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.pieces().is_empty())
    }

    /// Makes the y axis logarithmic where all values are positive and span more than `decades`.
    pub fn logarithmic_if_wide(mut self, decades: f64) -> Self {
        let values = self.lines.iter().flat_map(|line| line.points.iter().map(|p| p.1));
        let (low, high) = extent(values);
        if low > 0.0 && (high / low).log10() > decades {
            self.y_kind = Kind::Logarithmic;
        }
        self
    }

    fn y_extent(&self) -> (f64, f64) {
        if let Some(range) = self.y_range {
            return range;
        }
        let points = self.lines.iter().flat_map(|line| line.pieces().concat());
        let marks = self.y_mark.into_iter();
        let (low, high) = extent(points.clone().map(|p| p.1).chain(marks));
        if self.y_kind == Kind::Logarithmic {
            return (low, high);
        }
        let beyond = 0.5 * (high - low);
        let (band_low, band_high) = extent(points.flat_map(|p| [p.1 - p.2, p.1 + p.2]));
        (low.min(band_low.max(low - beyond)), high.max(band_high.min(high + beyond)))
    }

    /// Draws the chart into a rectangle of the figure, axis labels, legend and title included.
    pub fn draw(&self, figure: &mut Figure, area: Rect) {
        figure.title((area.x + 58.0, area.y + 14.0), &self.title, Anchor::Start);
        let legend_bottom = self.draw_legend(figure, area);
        let top = legend_bottom + if self.x_marks.is_empty() { 12.0 } else { 24.0 };
        let frame =
            Rect { x: area.x + 58.0, y: top, width: area.width - 72.0, height: area.bottom() - 44.0 - top };
        let xs = self.lines.iter().flat_map(|line| line.points.iter().map(|p| p.0));
        let x = match self.x_kind {
            Kind::Degrees => Scale::exact(self.x_kind, (-180.0, 180.0), (frame.x, frame.right())),
            kind => Scale::with_margin(kind, extent(xs), (frame.x, frame.right())),
        };
        let y = Scale::with_margin(self.y_kind, self.y_extent(), (frame.bottom(), frame.y));
        let labels = Labels { x: &self.x_label, y: &self.y_label, ..Labels::default() };
        draw_axes(figure, frame, &x, &y, labels, true);
        if let Some(level) = self.y_mark {
            let stroke = Stroke { color: Color::Muted, width: 1.2, dash: Some(4.0) };
            figure.polyline(vec![(frame.x, y.at(level)), (frame.right(), y.at(level))], stroke);
        }
        let inside = |value: f64| value >= x.range().0 && value <= x.range().1;
        for (place, name) in self.x_marks.iter().filter(|(place, _)| inside(*place)) {
            let stroke = Stroke { color: Color::Muted, width: 1.0, dash: Some(3.0) };
            figure.polyline(vec![(x.at(*place), frame.y), (x.at(*place), frame.bottom())], stroke);
            let at = (x.at(*place), frame.y - 5.0);
            // Right of its line, unless it would leave the panel there.
            let fits = at.0 + text_width(name, TICK_TEXT, false) <= area.right();
            let anchor = if fits { Anchor::Start } else { Anchor::End };
            figure.text(at, name, TICK_TEXT, anchor, Color::Muted);
        }
        for line in &self.lines {
            draw_line(figure, line, frame, &x, &y);
        }
        let stroke = Stroke::solid(Color::Muted, 1.0);
        figure.polyline(vec![(frame.x, frame.y), (frame.x, frame.bottom())], stroke);
        figure.polyline(vec![(frame.x, frame.bottom()), (frame.right(), frame.bottom())], stroke);
    }

    /// A legend in rows below the title; a single line is named by the title. Returns its lower end.
    fn draw_legend(&self, figure: &mut Figure, area: Rect) -> f64 {
        let mut bottom = area.y + 20.0;
        let mut listed: Vec<&Line> =
            self.lines.iter().filter(|line| !line.label.is_empty() && !line.pieces().is_empty()).collect();
        if listed.len() < 2 {
            return bottom;
        }
        // The reference comes first in the list, and is drawn last.
        listed.sort_by_key(|line| line.color != Color::Ink);
        let start = area.x + 58.0;
        let mut x = start;
        bottom += 18.0;
        for line in listed {
            let width = 24.0 + text_width(&line.label, TEXT, false) + 14.0;
            if x > start && x + width - 14.0 > area.right() {
                x = start;
                bottom += 18.0;
            }
            let stroke = Stroke { color: line.color, width: line.width.max(1.8), dash: line.dash };
            figure.polyline(vec![(x, bottom - 8.0), (x + 18.0, bottom - 8.0)], stroke);
            if line.dots {
                let (center, radius, color) = ((x + 9.0, bottom - 8.0), 2.6, line.color);
                figure.marks.push(super::Mark::Dot { center, radius, color });
            }
            figure.text((x + 24.0, bottom - 4.0), &line.label, TEXT, Anchor::Start, Color::Ink);
            x += width;
        }
        bottom
    }
}

fn draw_line(figure: &mut Figure, line: &Line, frame: Rect, x: &Scale, y: &Scale) {
    let inside = |place: f64| place.clamp(frame.y, frame.bottom());
    let y_or_floor = |value: f64| {
        let place = y.at(value);
        if place.is_finite() { inside(place) } else { frame.bottom() }
    };
    for piece in line.pieces().iter().filter(|piece| line.filled && piece.len() > 1) {
        let (first, last) = (piece[0], piece[piece.len() - 1]);
        let curve = piece.iter().map(|p| (x.at(p.0), y_or_floor(p.1)));
        let base = [(x.at(last.0), y_or_floor(0.0)), (x.at(first.0), y_or_floor(0.0))];
        figure.area(curve.chain(base).collect(), line.color, 0.12);
    }
    for piece in line.pieces() {
        if piece.iter().any(|p| p.2 > 0.0) {
            let upper = piece.iter().map(|p| (x.at(p.0), y_or_floor(p.1 + p.2)));
            let lower = piece.iter().rev().map(|p| (x.at(p.0), y_or_floor(p.1 - p.2)));
            figure.area(upper.chain(lower).collect(), line.color, 0.18);
        }
    }
    for piece in line.pieces() {
        let points: Vec<(f64, f64)> = piece.iter().map(|p| (x.at(p.0), y.at(p.1))).collect();
        if line.dots || points.len() == 1 {
            for &center in points.iter().filter(|p| p.1 >= frame.y && p.1 <= frame.bottom()) {
                figure.marks.push(super::Mark::Dot { center, radius: 2.6, color: line.color });
            }
        }
        for points in clipped(&points, frame) {
            figure.polyline(points, Stroke { color: line.color, width: line.width, dash: line.dash });
        }
    }
}

/// The parts of a line that lie between the upper and lower edge of a frame.
fn clipped(points: &[(f64, f64)], frame: Rect) -> Vec<Vec<(f64, f64)>> {
    let (top, bottom) = (frame.y, frame.bottom());
    let mut parts: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut part: Vec<(f64, f64)> = Vec::new();
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let fraction = |edge: f64| if y1 == y0 { 0.0 } else { (edge - y0) / (y1 - y0) };
        let (a, b) = (fraction(top), fraction(bottom));
        let outside = y0.max(y1) < top || y0.min(y1) > bottom || !y0.is_finite() || !y1.is_finite();
        if outside {
            parts.extend((!part.is_empty()).then(|| std::mem::take(&mut part)));
            continue;
        }
        let level = y1 == y0;
        let from = if level { 0.0 } else { a.min(b).max(0.0) };
        let to = if level { 1.0 } else { a.max(b).min(1.0) };
        let at = |f: f64| (x0 + f * (x1 - x0), (y0 + f * (y1 - y0)).clamp(top, bottom));
        if part.is_empty() {
            part.push(at(from));
        }
        part.push(at(to));
        if to < 1.0 {
            parts.push(std::mem::take(&mut part));
        }
    }
    parts.extend((!part.is_empty()).then_some(part));
    parts
}

/// The smallest and largest finite value.
pub fn extent(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    values
        .into_iter()
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// Charts of equal size in rows of `n_columns`.
pub fn rows_of_charts(name: &str, description: &str, charts: &[LineChart], n_columns: usize) -> Figure {
    const WIDTH: f64 = 1080.0;
    const HEIGHT: f64 = 300.0;
    let n_columns = n_columns.min(charts.len()).max(1);
    let n_rows = charts.len().div_ceil(n_columns);
    let gap = 16.0;
    let width = if n_columns == 1 { 720.0 } else { WIDTH };
    let panel = (width - gap * (n_columns - 1) as f64) / n_columns as f64;
    let height = HEIGHT * n_rows as f64 + 14.0 * (n_rows - 1) as f64;
    let mut figure = Figure::new(name, description, width, height);
    for (i, chart) in charts.iter().enumerate() {
        let (row, column) = ((i / n_columns) as f64, (i % n_columns) as f64);
        let area = Rect { x: column * (panel + gap), y: row * (HEIGHT + 14.0), width: panel, height: HEIGHT };
        chart.draw(&mut figure, area);
    }
    figure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figure::Mark;

    #[test]
    fn a_line_is_interrupted_where_a_value_is_missing() {
        let line = Line::new("a", vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 1.0), (3.0, 2.0)], Color::Ink);
        assert_eq!(line.pieces().iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_line_ends_at_the_edge_and_comes_back() {
        let frame = Rect { x: 0.0, y: 0.0, width: 10.0, height: 10.0 };
        let parts = clipped(&[(0.0, 5.0), (1.0, -5.0), (2.0, -5.0), (3.0, 15.0), (4.0, 5.0)], frame);
        assert_eq!(parts[0], [(0.0, 5.0), (0.5, 0.0)]);
        assert_eq!(parts[1], [(2.25, 0.0), (2.75, 10.0)]);
        assert_eq!(parts[2], [(3.5, 10.0), (4.0, 5.0)]);
    }

    #[test]
    fn nothing_is_drawn_outside_of_the_chart() {
        let mut chart = LineChart::new("t", "x", "y / kT");
        let points: Vec<(f64, f64)> = (0..50).map(|i| (f64::from(i), f64::from(i * i))).collect();
        chart.lines.push(Line::new("square", points, Color::Series(0)).with_band(vec![1e6; 50]));
        chart.y_range = Some((0.0, 100.0));
        let figure = rows_of_charts("n", "d", &[chart.clone(), chart], 2);
        for mark in &figure.marks {
            if let Mark::Polyline { points, .. } | Mark::Area { points, .. } = mark {
                assert!(points.iter().all(|p| (0.0..=figure.width).contains(&p.0)));
                assert!(points.iter().all(|p| (0.0..=figure.height).contains(&p.1)));
            }
        }
    }

    #[test]
    fn a_name_at_the_right_edge_stands_left_of_its_line() {
        let mut chart = LineChart::new("t", "step", "loss");
        let points = (0..=100).map(|i| (f64::from(i), f64::from(i))).collect();
        chart.lines.push(Line::new("training", points, Color::Series(0)));
        chart.x_marks = vec![(0.0, "stage 1".into()), (50.0, "stage 2".into()), (100.0, "stage 3".into())];
        let figure = rows_of_charts("n", "d", &[chart], 1);
        let anchor = |name: &str| {
            figure.marks.iter().find_map(|mark| match mark {
                Mark::Text(text) if text.text == name => Some(text.anchor),
                _ => None,
            })
        };
        assert_eq!(anchor("stage 1"), Some(Anchor::Start));
        assert_eq!(anchor("stage 2"), Some(Anchor::Start));
        assert_eq!(anchor("stage 3"), Some(Anchor::End));
    }

    #[test]
    fn logarithms_are_for_wide_positive_ranges_only() {
        let chart = |values: [f64; 2]| {
            let mut chart = LineChart::new("", "", "");
            chart.lines.push(Line::new("", vec![(0.0, values[0]), (1.0, values[1])], Color::Ink));
            chart.logarithmic_if_wide(1.5).y_kind
        };
        assert_eq!(chart([1.0, 100.0]), Kind::Logarithmic);
        assert_eq!(chart([1.0, 10.0]), Kind::Linear);
        assert_eq!(chart([0.0, 100.0]), Kind::Linear);
    }
}
