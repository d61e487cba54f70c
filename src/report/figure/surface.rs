//! Surfaces over two variables, side by side on one colour scale.

use super::axis::{Kind, Labels, Scale, draw_axes};
use super::color::viridis;
use super::lines::extent;
use super::{Anchor, Color, Figure, Mark, Rect, Stroke, TEXT, TICK_TEXT};

/// Values on a regular grid.
#[derive(Debug, Clone)]
pub struct Grid {
    /// Centres along x, ascending.
    pub x: Vec<f64>,
    /// Centres along y, ascending.
    pub y: Vec<f64>,
    /// `values[y_idx * x.len() + x_idx]`; not finite where there is none.
    pub values: Vec<f64>,
}

impl Grid {
    /// A grid from (x, y, value) in any order; centres that do not occur are not made up.
    pub fn from_points(points: &[(f64, f64, f64)]) -> Self {
        let x = distinct(points.iter().map(|p| p.0));
        let y = distinct(points.iter().map(|p| p.1));
        let mut values = vec![f64::NAN; x.len() * y.len()];
        for point in points {
            let (i, j) = (nearest(&x, point.0), nearest(&y, point.1));
            values[j * x.len() + i] = point.2;
        }
        Self { x, y, values }
    }
}

fn distinct(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    // Files have rounded centres: two that differ by less than this are one.
    let span = sorted.last().zip(sorted.first()).map_or(0.0, |(last, first)| last - first);
    sorted.dedup_by(|a, b| (*a - *b).abs() <= 1e-6 * span);
    sorted
}

fn nearest(sorted: &[f64], value: f64) -> usize {
    let above = sorted.partition_point(|center| *center < value).min(sorted.len() - 1);
    match above.checked_sub(1) {
        Some(below) if value - sorted[below] < sorted[above] - value => below,
        _ => above,
    }
}

/// A surface with its name.
#[derive(Debug, Clone)]
pub struct Panel {
    /// Above it.
    pub title: String,
    /// Its values.
    pub grid: Grid,
}

/// Rows of surfaces with a common colour bar at the right.
#[derive(Debug, Clone)]
pub struct SurfaceRows {
    /// Rows, each with a name that is shown if there are several.
    pub rows: Vec<(String, Vec<Panel>)>,
    /// Label of the x axes with unit.
    pub x_label: String,
    /// Label of the y axes with unit.
    pub y_label: String,
    /// The x and y axes.
    pub kinds: (Kind, Kind),
    /// Label of the colour bar with unit.
    pub value_label: String,
}

impl SurfaceRows {
    /// Draws everything. The colour scale is that of all panels together.
    pub fn figure(&self, name: &str, description: &str) -> Figure {
        const WIDTH: f64 = 1080.0;
        let n_columns = self.rows.iter().map(|row| row.1.len()).max().unwrap_or(1).max(1);
        let named = self.rows.len() > 1;
        let left = if named { 78.0 } else { 58.0 };
        let (bar, gap) = (88.0, 12.0);
        let side =
            ((WIDTH - left - bar - gap * (n_columns - 1) as f64) / n_columns as f64).clamp(60.0, 250.0);
        let row_height = side + 34.0;
        let width = left + n_columns as f64 * (side + gap) - gap + bar;
        let height = row_height * self.rows.len() as f64 + 36.0;
        let mut figure = Figure::new(name, description, width, height);
        let all = self.rows.iter().flat_map(|row| &row.1).flat_map(|panel| panel.grid.values.iter().copied());
        let (low, high) = extent(all);
        for (row_idx, (row_name, panels)) in self.rows.iter().enumerate() {
            let top = row_idx as f64 * row_height + 24.0;
            if named {
                figure.upward_text((12.0, top + side / 2.0), row_name, true);
            }
            for (column, panel) in panels.iter().enumerate() {
                let x = left + column as f64 * (side + gap);
                let frame = Rect { x, y: top, width: side, height: side };
                let last_row = self.rows.iter().skip(row_idx + 1).all(|(_, below)| below.len() <= column);
                let place = Place { first: column == 0, last: column + 1 == panels.len(), bottom: last_row };
                self.draw_panel(&mut figure, panel, frame, (low, high), place);
            }
        }
        let frame = Rect { x: width - bar + 16.0, y: 24.0, width: 13.0, height: height - 36.0 - 34.0 };
        draw_color_bar(&mut figure, frame, (low, high), &self.value_label);
        figure
    }

    fn draw_panel(&self, figure: &mut Figure, panel: &Panel, frame: Rect, range: (f64, f64), place: Place) {
        figure.title((frame.x + frame.width / 2.0, frame.y - 8.0), &panel.title, Anchor::Middle);
        figure.fill(frame, Color::Blank);
        let grid = &panel.grid;
        let x = Scale::exact(self.kinds.0, span(&grid.x, self.kinds.0), (frame.x, frame.right()));
        let y = Scale::exact(self.kinds.1, span(&grid.y, self.kinds.1), (frame.bottom(), frame.y));
        let labels = Labels {
            x: if place.bottom { &self.x_label } else { "" },
            y: if place.first { &self.y_label } else { "" },
            hide_y_ticks: !place.first,
            hide_last_x_tick: !place.last,
        };
        if place.bottom {
            draw_axes(figure, frame, &x, &y, labels, false);
        } else {
            draw_y_axis_only(figure, frame, &y, labels);
        }
        let colors = grid
            .values
            .chunks(grid.x.len().max(1))
            .rev()
            .flatten()
            .map(|value| value.is_finite().then(|| viridis((value - range.0) / (range.1 - range.0))))
            .collect();
        figure.marks.push(Mark::Cells { frame, n_columns: grid.x.len().max(1), colors });
        figure.outline(frame, Stroke::solid(Color::Muted, 1.0));
    }
}

/// Where a panel stands among the others, which decides on the labels of its axes.
#[derive(Debug, Clone, Copy)]
struct Place {
    first: bool,
    last: bool,
    bottom: bool,
}

fn draw_y_axis_only(figure: &mut Figure, frame: Rect, y: &Scale, labels: Labels<'_>) {
    let below = Scale::exact(Kind::Linear, (0.0, 1.0), (f64::NAN, f64::NAN));
    let mut axes = Figure::new("", "", 0.0, 0.0);
    draw_axes(&mut axes, frame, &below, y, labels, false);
    let visible = axes.marks.into_iter().filter(|mark| match mark {
        Mark::Polyline { points, .. } => points.iter().all(|p| p.0.is_finite()),
        Mark::Text(text) => text.at.0.is_finite(),
        _ => true,
    });
    figure.marks.extend(visible);
}

/// From the lower edge of the first bin to the upper edge of the last; all around for dihedrals.
fn span(centers: &[f64], kind: Kind) -> (f64, f64) {
    let half = if centers.len() > 1 { (centers[1] - centers[0]) / 2.0 } else { 0.5 };
    let (low, high) = extent(centers.iter().copied());
    match kind {
        Kind::Degrees if low - half < -179.0 && high + half > 179.0 => (-180.0, 180.0),
        _ => (low - half, high + half),
    }
}

/// A vertical bar of the colour map with its ticks and label at the right.
pub fn draw_color_bar(figure: &mut Figure, frame: Rect, range: (f64, f64), label: &str) {
    let n_colors = 128;
    let colors = (0..n_colors).rev().map(|i| Some(viridis(f64::from(i) / f64::from(n_colors - 1)))).collect();
    figure.marks.push(Mark::Cells { frame, n_columns: 1, colors });
    figure.outline(frame, Stroke::solid(Color::Muted, 1.0));
    let scale = Scale::exact(Kind::Linear, range, (frame.bottom(), frame.y));
    for tick in scale.ticks() {
        let place = scale.at(tick);
        let stroke = Stroke::solid(Color::Muted, 1.0);
        figure.polyline(vec![(frame.right(), place), (frame.right() + 4.0, place)], stroke);
        let at = (frame.right() + 7.0, place + 4.0);
        figure.text(at, &scale.label(tick), TICK_TEXT, Anchor::Start, Color::Muted);
    }
    let widest = scale
        .ticks()
        .iter()
        .map(|tick| super::text_width(&scale.label(*tick), TICK_TEXT, false))
        .fold(0.0, f64::max);
    let at = (frame.right() + 7.0 + widest + 6.0 + TEXT, frame.y + frame.height / 2.0);
    figure.upward_text(at, label, false);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_any_order_make_the_same_grid_and_gaps_stay_empty() {
        let grid = Grid::from_points(&[(1.0, 5.0, 3.0), (0.0, 4.0, 1.0), (1.0, 4.0, 2.0)]);
        assert_eq!((grid.x.as_slice(), grid.y.as_slice()), ([0.0, 1.0].as_slice(), [4.0, 5.0].as_slice()));
        assert_eq!((grid.values[0], grid.values[1], grid.values[3]), (1.0, 2.0, 3.0));
        assert!(grid.values[2].is_nan());
    }

    #[test]
    fn large_y_is_drawn_at_the_top() {
        let grid = Grid::from_points(&[(0.0, 0.0, 0.0), (0.0, 1.0, 1.0)]);
        let panel = Panel { title: "a".into(), grid };
        let rows = SurfaceRows {
            rows: vec![("r".into(), vec![panel])],
            x_label: "x".into(),
            y_label: "y".into(),
            kinds: (Kind::Linear, Kind::Linear),
            value_label: "v".into(),
        };
        let figure = rows.figure("n", "d");
        let cells = figure.marks.iter().find_map(|mark| match mark {
            Mark::Cells { colors, .. } => Some(colors.clone()),
            _ => None,
        });
        assert_eq!(cells.unwrap(), [Some(viridis(1.0)), Some(viridis(0.0))]);
    }
}
