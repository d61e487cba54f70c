//! Figures as lists of marks in logical pixels, drawn as SVG or as PNG from one description.
//!
//! A chart ([`lines`], [`surface`], [`heat_map`]) adds marks to a [`Figure`]; [`svg`] and [`png`]
//! draw them. A mark names its colour by role ([`Color`]), so that the drawing inside the page
//! follows the light or dark theme of the reader.

pub mod axis;
pub mod color;
pub mod forest;
pub mod heat_map;
pub mod lines;
pub mod png;
pub mod surface;
pub mod svg;

pub use color::Color;

/// Size of axis labels and legends, logical pixels.
pub const TEXT: f64 = 12.0;
/// Size of tick labels.
pub const TICK_TEXT: f64 = 11.0;
/// Size of panel titles.
pub const TITLE_TEXT: f64 = 13.0;
/// Name under which the font is embedded in pages and registered for bitmaps.
pub const FONT: &str = "Inter";

/// Which point of a text its position is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Left end of the base line.
    Start,
    /// Its middle.
    Middle,
    /// Right end.
    End,
}

/// A line's look.
#[derive(Debug, Clone, Copy)]
pub struct Stroke {
    /// Its colour.
    pub color: Color,
    /// Its width.
    pub width: f64,
    /// Length of dashes and of the gaps between them; `None` is a solid line.
    pub dash: Option<f64>,
}

impl Stroke {
    /// A solid line.
    pub fn solid(color: Color, width: f64) -> Self {
        Self { color, width, dash: None }
    }
}

/// A rectangle in logical pixels; y points down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl Rect {
    /// Right edge.
    pub fn right(&self) -> f64 {
        self.x + self.width
    }

    /// Lower edge.
    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }
}

/// One thing drawn.
#[derive(Debug, Clone)]
pub enum Mark {
    /// Points joined by straight segments.
    Polyline {
        /// The points.
        points: Vec<(f64, f64)>,
        /// The look.
        stroke: Stroke,
    },
    /// A filled polygon.
    Area {
        /// Its corners.
        points: Vec<(f64, f64)>,
        /// Its colour.
        color: Color,
        /// 1 hides what lies below.
        opacity: f64,
    },
    /// Equal rectangles, row by row from the upper left; `None` stays as it was.
    Cells {
        /// All of them together.
        frame: Rect,
        /// Rectangles in a row.
        n_columns: usize,
        /// Their colours.
        colors: Vec<Option<[u8; 3]>>,
    },
    /// A filled circle.
    Dot {
        /// Its centre.
        center: (f64, f64),
        /// Its radius.
        radius: f64,
        /// Its colour.
        color: Color,
    },
    /// A line of text.
    Text(Text),
}

/// A line of text.
#[derive(Debug, Clone)]
pub struct Text {
    /// Where its [`Anchor`] lies.
    pub at: (f64, f64),
    /// What it says.
    pub text: String,
    /// Height of the em square.
    pub size: f64,
    /// Which point of it lies there.
    pub anchor: Anchor,
    /// Whether it is semi-bold.
    pub bold: bool,
    /// Whether it reads upwards.
    pub upwards: bool,
    /// Its colour.
    pub color: Color,
}

/// A drawing with a name (of its files) and a description (for those who cannot see it).
#[derive(Debug, Clone)]
pub struct Figure {
    /// File name without extension.
    pub name: String,
    /// What it shows, in a sentence.
    pub description: String,
    /// Width in logical pixels.
    pub width: f64,
    /// Height in logical pixels.
    pub height: f64,
    /// What is drawn, lowest first.
    pub marks: Vec<Mark>,
}

impl Figure {
    /// An empty drawing.
    pub fn new(name: impl Into<String>, description: impl Into<String>, width: f64, height: f64) -> Self {
        Self { name: name.into(), description: description.into(), width, height, marks: Vec::new() }
    }

    /// Adds a line; fewer than two points draw nothing.
    pub fn polyline(&mut self, points: Vec<(f64, f64)>, stroke: Stroke) {
        if points.len() > 1 {
            self.marks.push(Mark::Polyline { points, stroke });
        }
    }

    /// Adds a filled polygon.
    pub fn area(&mut self, points: Vec<(f64, f64)>, color: Color, opacity: f64) {
        if points.len() > 2 {
            self.marks.push(Mark::Area { points, color, opacity });
        }
    }

    /// Adds a filled rectangle.
    pub fn fill(&mut self, rect: Rect, color: Color) {
        let (left, top, right, bottom) = (rect.x, rect.y, rect.right(), rect.bottom());
        self.area(vec![(left, top), (right, top), (right, bottom), (left, bottom)], color, 1.0);
    }

    /// Adds the outline of a rectangle.
    pub fn outline(&mut self, rect: Rect, stroke: Stroke) {
        let (left, top, right, bottom) = (rect.x, rect.y, rect.right(), rect.bottom());
        self.polyline(vec![(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], stroke);
    }

    /// Adds horizontal text of normal weight.
    pub fn text(&mut self, at: (f64, f64), text: &str, size: f64, anchor: Anchor, color: Color) {
        let text = text.to_string();
        self.marks.push(Mark::Text(Text { at, text, size, anchor, bold: false, upwards: false, color }));
    }

    /// Adds a title: semi-bold and in ink.
    pub fn title(&mut self, at: (f64, f64), text: &str, anchor: Anchor) {
        let text = text.to_string();
        let (size, color) = (TITLE_TEXT, Color::Ink);
        self.marks.push(Mark::Text(Text { at, text, size, anchor, bold: true, upwards: false, color }));
    }

    /// Adds centred text that reads upwards.
    pub fn upward_text(&mut self, at: (f64, f64), text: &str, bold: bool) {
        let text = text.to_string();
        let (size, color, anchor) = (TEXT, Color::Ink, Anchor::Middle);
        self.marks.push(Mark::Text(Text { at, text, size, anchor, bold, upwards: true, color }));
    }
}

/// Width of a text in logical pixels.
pub fn text_width(text: &str, size: f64, bold: bool) -> f64 {
    // Measured large, because the font library rounds to whole pixels.
    let magnified = 100.0;
    png::font(magnified, bold)
        .layout_box(text)
        .map(|((left, _), (right, _))| f64::from(right - left) * size / magnified)
        .unwrap_or(0.6 * size * text.chars().count() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_measured_with_the_embedded_font() {
        // Advance widths of Inter at 2048 or 2816 units per em: "M" is about 0.9, "i" about 0.25.
        let (wide, narrow) = (text_width("MMMM", 10.0, false), text_width("iiii", 10.0, false));
        assert!((30.0..42.0).contains(&wide), "{wide}");
        assert!((7.0..14.0).contains(&narrow), "{narrow}");
        assert!(text_width("φψ", 10.0, false) > 8.0);
    }
}
