//! Drawing a figure as SVG, either as a file of its own or as a part of a page.

use super::{Anchor, Color, FONT, Figure, Mark, Stroke};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Where the drawing will stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// In a file: fixed colours on white.
    File,
    /// In a page: colours follow the page's theme, the background is the page's.
    Page,
}

/// The figure as an `<svg>` element.
pub fn svg(figure: &Figure, destination: Destination) -> String {
    let (w, h) = (figure.width, figure.height);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w:.0} {h:.0}\" width=\"{w:.0}\" \
         height=\"{h:.0}\" role=\"img\" font-family=\"{FONT}, Helvetica, Arial, sans-serif\">"
    );
    let _ = write!(out, "<title>{}</title>", escaped(&figure.description));
    if destination == Destination::File {
        let _ = write!(out, "<rect width=\"{w:.0}\" height=\"{h:.0}\" fill=\"#ffffff\"/>");
    }
    for mark in &figure.marks {
        draw(&mut out, mark, destination);
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, mark: &Mark, destination: Destination) {
    let paint = |color: Color| match (destination, color.variable()) {
        (Destination::Page, Some(variable)) => format!("var({variable})"),
        _ => color.hex(),
    };
    let _ = match mark {
        Mark::Polyline { points, stroke: Stroke { color, width, dash } } => {
            let dash = dash.map(|d| format!(" stroke-dasharray=\"{d}\"")).unwrap_or_default();
            write!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\" \
                 stroke-linejoin=\"round\"{dash}/>",
                listed(points),
                paint(*color)
            )
        }
        Mark::Area { points, color, opacity } => {
            let opacity = if *opacity < 1.0 { format!(" fill-opacity=\"{opacity}\"") } else { String::new() };
            write!(out, "<polygon points=\"{}\" fill=\"{}\"{opacity}/>", listed(points), paint(*color))
        }
        Mark::Cells { frame, n_columns, colors } => {
            let n_rows = colors.len() / n_columns;
            let (dx, dy) = (frame.width / *n_columns as f64, frame.height / n_rows as f64);
            out.push_str("<g shape-rendering=\"crispEdges\">");
            for (color, path) in paths_by_color(colors, *n_columns) {
                let (x, y) = (frame.x, frame.y);
                let _ = write!(
                    out,
                    "<path transform=\"matrix({dx:.4} 0 0 {dy:.4} {x:.2} {y:.2})\" fill=\"{}\" d=\"{path}\"/>",
                    Color::Rgb(color).hex()
                );
            }
            write!(out, "</g>")
        }
        Mark::Dot { center: (x, y), radius, color } => {
            write!(out, "<circle cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"{radius}\" fill=\"{}\"/>", paint(*color))
        }
        Mark::Text(text) => {
            let (x, y) = text.at;
            let anchor = match text.anchor {
                Anchor::Start => "",
                Anchor::Middle => " text-anchor=\"middle\"",
                Anchor::End => " text-anchor=\"end\"",
            };
            let weight = if text.bold { " font-weight=\"600\"" } else { "" };
            let turn = if text.upwards {
                format!(" transform=\"rotate(-90 {x:.2} {y:.2})\"")
            } else {
                String::new()
            };
            write!(
                out,
                "<text x=\"{x:.2}\" y=\"{y:.2}\" font-size=\"{}\"{anchor}{weight}{turn} fill=\"{}\">{}</text>",
                text.size,
                paint(text.color),
                escaped(&text.text)
            )
        }
    };
}

/// One path of unit squares for every colour; runs of equal colour in a row are one rectangle.
fn paths_by_color(colors: &[Option<[u8; 3]>], n_columns: usize) -> BTreeMap<[u8; 3], String> {
    let mut paths: BTreeMap<[u8; 3], String> = BTreeMap::new();
    for (row_idx, row) in colors.chunks(n_columns).enumerate() {
        let mut start = 0;
        while start < row.len() {
            let length = row[start..].iter().take_while(|color| **color == row[start]).count();
            if let Some(color) = row[start] {
                let path = paths.entry(color).or_default();
                let _ = write!(path, "M{start} {row_idx}h{length}v1h-{length}z");
            }
            start += length;
        }
    }
    paths
}

fn listed(points: &[(f64, f64)]) -> String {
    let mut list = String::with_capacity(12 * points.len());
    for (x, y) in points {
        let _ = write!(list, "{x:.2},{y:.2} ");
    }
    list.pop();
    list
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figure::Rect;

    #[test]
    fn runs_of_one_color_become_one_rectangle_and_gaps_stay_open() {
        let (a, b) = (Some([1, 2, 3]), Some([9, 9, 9]));
        let paths = paths_by_color(&[a, a, None, b, a, b], 3);
        assert_eq!(paths[&[1, 2, 3]], "M0 0h2v1h-2zM1 1h1v1h-1z");
        assert_eq!(paths[&[9, 9, 9]], "M0 1h1v1h-1zM2 1h1v1h-1z");
    }

    #[test]
    fn a_page_gets_theme_colors_and_a_file_fixed_ones() {
        let mut figure = Figure::new("a", "p < q & r", 10.0, 10.0);
        figure.fill(Rect { x: 1.0, y: 1.0, width: 2.0, height: 2.0 }, Color::Ink);
        assert!(svg(&figure, Destination::Page).contains("fill=\"var(--ink)\""));
        let file = svg(&figure, Destination::File);
        assert!(file.contains("fill=\"#1b1d22\"") && !file.contains("var("));
        assert!(file.contains("p &lt; q &amp; r"));
    }
}
