//! Drawing a figure as PNG at twice its logical size, with smooth edges.
//!
//! Everything is drawn at four times the logical size and averaged over 2 × 2 pixels: the bitmap
//! library draws polygons without smoothing.

use super::{Anchor, Color, FONT, Figure, Mark, Stroke, Text};
use crate::{Error, Result};
use plotters::backend::{BitMapBackend, DrawingBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, FontStyle, FontTransform, RGBAColor, TextStyle};
use std::path::Path;
use std::sync::Once;

const DRAWN: f64 = 4.0;
const AVERAGED: usize = 2;

/// Height of ascender plus descender per em of the embedded font; the font library measures sizes so.
const LINE_PER_EM: f64 = 1.2102;

/// The embedded font, SIL Open Font License.
pub const REGULAR: &[u8] = include_bytes!("../assets/Inter-Regular.otf");
/// Its semi-bold weight.
pub const SEMI_BOLD: &[u8] = include_bytes!("../assets/Inter-SemiBold.otf");

/// The embedded font at a size per em.
pub(super) fn font(size: f64, bold: bool) -> FontDesc<'static> {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // A font that cannot be parsed would show as text that is missing; the tests look at that.
        let _ = plotters::style::register_font(FONT, FontStyle::Normal, REGULAR);
        let _ = plotters::style::register_font(FONT, FontStyle::Bold, SEMI_BOLD);
    });
    let style = if bold { FontStyle::Bold } else { FontStyle::Normal };
    FontDesc::new(FontFamily::Name(FONT), size * LINE_PER_EM, style)
}

/// Writes the figure as a PNG of twice its logical size.
pub fn write_png(figure: &Figure, path: &Path) -> Result<()> {
    let (width, height) = (figure.width.ceil() as usize, figure.height.ceil() as usize);
    let (drawn_width, drawn_height) = (width * DRAWN as usize, height * DRAWN as usize);
    let mut drawn = vec![255u8; 3 * drawn_width * drawn_height];
    {
        let mut backend = BitMapBackend::with_buffer(&mut drawn, (drawn_width as u32, drawn_height as u32));
        for mark in &figure.marks {
            draw(&mut backend, mark).ok_or_else(|| not_drawn(path, "a mark"))?;
        }
    }
    let (small_width, small_height) = (drawn_width / AVERAGED, drawn_height / AVERAGED);
    let small = averaged(&drawn, drawn_width, small_width, small_height);
    let size = (small_width as u32, small_height as u32);
    let mut backend = BitMapBackend::new(path, size);
    backend.blit_bitmap((0, 0), size, &small).map_err(|error| not_drawn(path, &error.to_string()))?;
    backend.present().map_err(|error| not_drawn(path, &error.to_string()))
}

fn not_drawn(path: &Path, reason: &str) -> Error {
    Error::io("write", path)(std::io::Error::other(format!("the drawing library failed: {reason}")))
}

fn averaged(drawn: &[u8], drawn_width: usize, width: usize, height: usize) -> Vec<u8> {
    let mut small = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        for x in 0..width {
            for channel in 0..3 {
                let mut sum = 0usize;
                for dy in 0..AVERAGED {
                    for dx in 0..AVERAGED {
                        let pixel = (y * AVERAGED + dy) * drawn_width + x * AVERAGED + dx;
                        sum += usize::from(drawn[3 * pixel + channel]);
                    }
                }
                small.push((sum / (AVERAGED * AVERAGED)) as u8);
            }
        }
    }
    small
}

fn paint(color: Color, opacity: f64) -> RGBAColor {
    let [r, g, b] = color.rgb();
    RGBAColor(r, g, b, opacity)
}

fn pixel((x, y): (f64, f64)) -> (i32, i32) {
    ((x * DRAWN).round() as i32, (y * DRAWN).round() as i32)
}

/// `None` where the bitmap library refuses.
fn draw(backend: &mut BitMapBackend<'_>, mark: &Mark) -> Option<()> {
    match mark {
        Mark::Polyline { points, stroke } => {
            for piece in dashed(points, stroke.dash) {
                draw_line(backend, &piece, stroke)?;
            }
            Some(())
        }
        Mark::Area { points, color, opacity } => {
            backend.fill_polygon(points.iter().copied().map(pixel), &paint(*color, *opacity)).ok()
        }
        Mark::Cells { frame, n_columns, colors } => {
            let n_rows = colors.len() / n_columns;
            let (dx, dy) = (frame.width / *n_columns as f64, frame.height / n_rows as f64);
            for (cell_idx, color) in colors.iter().enumerate() {
                let Some(color) = color else { continue };
                let (column, row) = ((cell_idx % n_columns) as f64, (cell_idx / n_columns) as f64);
                let (left, top) = pixel((frame.x + column * dx, frame.y + row * dy));
                let (right, bottom) = pixel((frame.x + (column + 1.0) * dx, frame.y + (row + 1.0) * dy));
                let color = paint(Color::Rgb(*color), 1.0);
                backend.draw_rect((left, top), (right, bottom), &color, true).ok()?;
            }
            Some(())
        }
        Mark::Dot { center, radius, color } => {
            backend.draw_circle(pixel(*center), (radius * DRAWN) as u32, &paint(*color, 1.0), true).ok()
        }
        Mark::Text(text) => draw_text(backend, text),
    }
}

/// A line as quadrilaterals with discs at the joints.
fn draw_line(backend: &mut BitMapBackend<'_>, points: &[(f64, f64)], stroke: &Stroke) -> Option<()> {
    let color = paint(stroke.color, 1.0);
    let half = stroke.width / 2.0;
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let length = (x1 - x0).hypot(y1 - y0);
        if length < 1e-9 {
            continue;
        }
        let (nx, ny) = (-(y1 - y0) / length * half, (x1 - x0) / length * half);
        let corners = [(x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny)];
        backend.fill_polygon(corners.map(pixel), &color).ok()?;
    }
    if half * DRAWN >= 2.0 {
        for point in points.iter().skip(1).take(points.len().saturating_sub(2)) {
            backend.draw_circle(pixel(*point), (half * DRAWN) as u32, &color, true).ok()?;
        }
    }
    Some(())
}

/// The pieces of a dashed line, dashes and gaps of equal length.
fn dashed(points: &[(f64, f64)], dash: Option<f64>) -> Vec<Vec<(f64, f64)>> {
    let Some(dash) = dash else { return vec![points.to_vec()] };
    let mut pieces = Vec::new();
    let mut piece = vec![points[0]];
    let (mut left, mut drawing) = (dash, true);
    for pair in points.windows(2) {
        let ((mut x, mut y), (x1, y1)) = (pair[0], pair[1]);
        loop {
            let length = (x1 - x).hypot(y1 - y);
            if length <= left {
                left -= length;
                if drawing {
                    piece.push((x1, y1));
                }
                break;
            }
            (x, y) = (x + (x1 - x) * left / length, y + (y1 - y) * left / length);
            if drawing {
                piece.push((x, y));
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece = vec![(x, y)];
            }
            (left, drawing) = (dash, !drawing);
        }
    }
    if drawing && piece.len() > 1 {
        pieces.push(piece);
    }
    pieces
}

fn draw_text(backend: &mut BitMapBackend<'_>, text: &Text) -> Option<()> {
    let width = super::text_width(&text.text, text.size, text.bold);
    let shift = match text.anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => width / 2.0,
        Anchor::End => width,
    };
    // The library puts the base line half a size below the position it is given.
    let rise = text.size * LINE_PER_EM / 2.0;
    let mut font = font(text.size * DRAWN, text.bold);
    let (x, y) = text.at;
    let at = if text.upwards {
        font = font.transform(FontTransform::Rotate270);
        (x - rise, y + shift)
    } else {
        (x - shift, y - rise)
    };
    let color = paint(text.color, 1.0);
    let style = TextStyle::from(font).color(&color).pos(Pos::new(HPos::Left, VPos::Top));
    backend.draw_text(&text.text, &style, pixel(at)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_cover_half_of_a_line_and_turn_its_corners() {
        let pieces = dashed(&[(0.0, 0.0), (7.0, 0.0), (7.0, 5.0)], Some(2.0));
        let length = |piece: &Vec<(f64, f64)>| -> f64 {
            piece.windows(2).map(|p| (p[1].0 - p[0].0).hypot(p[1].1 - p[0].1)).sum()
        };
        assert_eq!(pieces.len(), 3);
        assert!(pieces.iter().all(|piece| (length(piece) - 2.0).abs() < 1e-12));
    }

    #[test]
    fn a_bitmap_shows_text_and_areas_where_they_belong() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.png");
        let mut figure = Figure::new("a", "", 40.0, 20.0);
        figure.text((2.0, 14.0), "Mφ", 12.0, Anchor::Start, Color::Ink);
        write_png(&figure, &path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(&bytes[1..4], b"PNG");
        assert_eq!(bytes[16..24], [0, 0, 0, 80, 0, 0, 0, 40]);
        let mut blank = figure.clone();
        blank.marks.clear();
        let other = directory.path().join("b.png");
        write_png(&blank, &other).unwrap();
        assert_ne!(bytes, std::fs::read(&other).unwrap(), "the text left no trace");
    }
}
