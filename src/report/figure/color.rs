//! Colours: a palette that colour-blind readers can tell apart, and a perceptually uniform map.

/// A colour by its role, so that one figure serves light paper and dark screens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// Text and the line of the reference data.
    Ink,
    /// Tick labels and secondary text.
    Muted,
    /// Grid lines and frames.
    Grid,
    /// The background of the page.
    Paper,
    /// Bins of a surface that hold no sample.
    Blank,
    /// A line of the palette; wraps around.
    Series(usize),
    /// A fixed colour, for example of a colour map.
    Rgb([u8; 3]),
}

/// Okabe and Ito (2008), without black (that is [`Color::Ink`]) and yellow (invisible on white).
const PALETTE: [[u8; 3]; 6] =
    [[0, 114, 178], [230, 159, 0], [0, 158, 115], [213, 94, 0], [204, 121, 167], [86, 180, 233]];

impl Color {
    /// The colour on white paper.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::Ink => [27, 29, 34],
            Self::Muted => [92, 97, 107],
            Self::Grid => [224, 227, 232],
            Self::Paper | Self::Blank => [255, 255, 255],
            Self::Series(i) => PALETTE[i % PALETTE.len()],
            Self::Rgb(rgb) => rgb,
        }
    }

    /// The style variable of the page that replaces the colour, if its role depends on the theme.
    pub fn variable(self) -> Option<String> {
        Some(match self {
            Self::Ink => "--ink".into(),
            Self::Muted => "--muted".into(),
            Self::Grid => "--grid".into(),
            Self::Paper => "--paper".into(),
            Self::Blank => "--blank".into(),
            Self::Series(i) => format!("--series-{}", i % PALETTE.len()),
            Self::Rgb(_) => return None,
        })
    }

    /// `#rrggbb` on white paper.
    pub fn hex(self) -> String {
        let [r, g, b] = self.rgb();
        format!("#{r:02x}{g:02x}{b:02x}")
    }
}

/// Ten points of matplotlib's viridis (Smith and van der Walt, 2015; CC0); linear in between.
const VIRIDIS: [[u8; 3]; 10] = [
    [68, 1, 84],
    [72, 40, 120],
    [62, 74, 137],
    [49, 104, 142],
    [38, 130, 142],
    [31, 158, 137],
    [53, 183, 121],
    [109, 205, 89],
    [180, 222, 44],
    [253, 231, 37],
];

/// The viridis colour of a fraction; beyond [0, 1] the ends are used.
///
/// Quantised to 128 colours, which the eye cannot tell from a continuum and which keeps surfaces
/// small: a colour is one path of the drawing.
pub fn viridis(fraction: f64) -> [u8; 3] {
    let fraction = (fraction.clamp(0.0, 1.0) * 127.0).round() / 127.0;
    let place = fraction * (VIRIDIS.len() - 1) as f64;
    let below = (place.floor() as usize).min(VIRIDIS.len() - 2);
    let part = place - below as f64;
    std::array::from_fn(|channel| {
        let (a, b) = (f64::from(VIRIDIS[below][channel]), f64::from(VIRIDIS[below + 1][channel]));
        (a + (b - a) * part).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_brightens_monotonically_between_its_ends() {
        assert_eq!(viridis(-3.0), VIRIDIS[0]);
        assert_eq!(viridis(2.0), VIRIDIS[9]);
        let luminance =
            |c: [u8; 3]| 0.2126 * f64::from(c[0]) + 0.7152 * f64::from(c[1]) + 0.0722 * f64::from(c[2]);
        let steps: Vec<f64> = (0..=40).map(|i| luminance(viridis(f64::from(i) / 40.0))).collect();
        assert!(steps.windows(2).all(|pair| pair[1] > pair[0]));
    }
}
