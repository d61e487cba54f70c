//! Several estimates of one number, one below the other: dots with error bars, and a band for a reference.

use super::axis::{Kind, Scale};
use super::{Anchor, Color, Figure, Mark, Rect, Stroke, TEXT, TICK_TEXT, text_width};

/// One estimate.
#[derive(Debug, Clone)]
pub struct Row {
    /// What it is.
    pub label: String,
    /// Its value; not a number where there is none.
    pub value: f64,
    /// One standard error.
    pub std_error: f64,
    /// The value and its error as text.
    pub text: String,
    /// Of the dot.
    pub color: Color,
}

/// Rows under a heading.
#[derive(Debug, Clone)]
pub struct Group {
    /// The heading.
    pub title: String,
    /// The rows, from above.
    pub rows: Vec<Row>,
}

/// The whole figure.
#[derive(Debug, Clone)]
pub struct Forest {
    /// File name without extension.
    pub name: String,
    /// What it shows, in a sentence.
    pub description: String,
    /// Below the axis, with its unit.
    pub x_label: String,
    /// Rows by group.
    pub groups: Vec<Group>,
    /// Value and standard error of the band.
    pub reference: Option<(f64, f64)>,
}

const WIDTH: f64 = 860.0;
const ROW: f64 = 26.0;
const HEADING: f64 = 30.0;
const GAP: f64 = 16.0;

impl Forest {
    /// Draws it. A value far from most of the others is an arrow at the edge, with its number beside it.
    pub fn draw(&self) -> Figure {
        let rows = || self.groups.iter().flat_map(|group| &group.rows);
        let widest = |text: &dyn Fn(&Row) -> &str| {
            rows().map(|row| text_width(text(row), TEXT, false)).fold(0.0, f64::max)
        };
        let left = widest(&|row| &row.label).min(360.0) + 1.5 * GAP;
        let right = widest(&|row| &row.text) + GAP;
        let groups = self.groups.iter().filter(|group| !group.rows.is_empty());
        let height: f64 = groups.clone().map(|group| HEADING + ROW * group.rows.len() as f64).sum();
        let frame = Rect { x: left, y: 8.0, width: WIDTH - left - right, height };
        let mut figure = Figure::new(&self.name, &self.description, WIDTH, height + 60.0);
        let scale = Scale::with_margin(Kind::Linear, self.range(), (frame.x, frame.right()));
        if let Some((value, std_error)) = self.reference {
            let edge = |side: f64| scale.at(value + side * 2.0 * std_error).clamp(frame.x, frame.right());
            let half = (0.5 * (edge(1.0) - edge(-1.0))).max(0.75);
            let (from, to) = (scale.at(value) - half, scale.at(value) + half);
            figure.area(
                vec![(from, frame.y), (to, frame.y), (to, frame.bottom()), (from, frame.bottom())],
                Color::Ink,
                0.14,
            );
        }
        for tick in scale.ticks() {
            let x = scale.at(tick);
            figure.polyline(vec![(x, frame.y), (x, frame.bottom())], Stroke::solid(Color::Grid, 1.0));
            let at = (x, frame.bottom() + 16.0);
            figure.text(at, &scale.label(tick), TICK_TEXT, Anchor::Middle, Color::Muted);
        }
        let at = (frame.x + frame.width / 2.0, frame.bottom() + 38.0);
        figure.text(at, &self.x_label, TEXT, Anchor::Middle, Color::Ink);
        let mut y = frame.y;
        for group in groups {
            figure.title((4.0, y + 20.0), &group.title, Anchor::Start);
            y += HEADING;
            for row in &group.rows {
                self.row(&mut figure, row, frame, &scale, y + 0.5 * ROW);
                y += ROW;
            }
        }
        figure
    }

    fn row(&self, figure: &mut Figure, row: &Row, frame: Rect, scale: &Scale, y: f64) {
        figure.text((frame.x - GAP, y + 4.0), &row.label, TEXT, Anchor::End, Color::Ink);
        figure.text((WIDTH - 4.0, y + 4.0), &row.text, TEXT, Anchor::End, Color::Ink);
        if !row.value.is_finite() {
            return;
        }
        let x = scale.at(row.value);
        if x < frame.x || x > frame.right() {
            let (tip, back) =
                if x < frame.x { (frame.x, frame.x + 8.0) } else { (frame.right(), frame.right() - 8.0) };
            figure.area(vec![(tip, y), (back, y - 5.0), (back, y + 5.0)], row.color, 1.0);
            return;
        }
        if row.std_error.is_finite() {
            let reach = |side: f64| scale.at(row.value + side * row.std_error).clamp(frame.x, frame.right());
            figure.polyline(vec![(reach(-1.0), y), (reach(1.0), y)], Stroke::solid(row.color, 2.0));
        }
        figure.marks.push(Mark::Dot { center: (x, y), radius: 4.0, color: row.color });
    }

    /// Around the median, wide enough for most rows: four times the median distance from it, at least four times the
    /// median error.
    fn range(&self) -> (f64, f64) {
        let finite: Vec<&Row> =
            self.groups.iter().flat_map(|group| &group.rows).filter(|row| row.value.is_finite()).collect();
        let median = |mut values: Vec<f64>| {
            values.retain(|value| value.is_finite());
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let centre = match self.reference {
            Some((value, _)) => value,
            None => median(finite.iter().map(|row| row.value).collect()),
        };
        let distance = median(finite.iter().map(|row| (row.value - centre).abs()).collect());
        let error = median(finite.iter().map(|row| row.std_error).collect());
        let reach = (4.0 * distance).max(if error.is_finite() { 4.0 * error } else { 0.0 });
        let (mut low, mut high) = (centre, centre);
        for row in finite.iter().filter(|row| (row.value - centre).abs() <= reach) {
            let error = if row.std_error.is_finite() { row.std_error.min(reach) } else { 0.0 };
            (low, high) = (low.min(row.value - error), high.max(row.value + error));
        }
        (low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: &str, value: f64, std_error: f64) -> Row {
        Row { label: label.into(), value, std_error, text: format!("{value}"), color: Color::Series(0) }
    }

    #[test]
    fn values_far_away_become_arrows_and_the_others_keep_their_place() {
        let forest = Forest {
            name: "roads".into(),
            description: String::new(),
            x_label: "kT".into(),
            groups: vec![
                Group {
                    title: "near".into(),
                    rows: vec![row("a", -29.4, 0.1), row("b", -29.3, 0.1), row("c", -29.6, 0.1)],
                },
                Group { title: "far".into(), rows: vec![row("d", -250.0, 3.0), row("e", f64::NAN, 1.0)] },
                Group { title: "none".into(), rows: vec![] },
            ],
            reference: Some((-29.43, 0.01)),
        };
        let (low, high) = forest.range();
        assert!(low > -31.0 && low < -29.6 && high > -29.3 && high < -28.0, "{low} {high}");
        let figure = forest.draw();
        let dots = figure.marks.iter().filter(|mark| matches!(mark, Mark::Dot { .. })).count();
        assert_eq!(dots, 3);
        let titles: Vec<&str> = (figure.marks.iter())
            .filter_map(|mark| match mark {
                Mark::Text(text) if text.bold => Some(text.text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(titles, ["near", "far"]);
    }
}
