//! Scales with ticks, and the frame of a panel.

use super::{Anchor, Color, Figure, Rect, Stroke, TEXT, TICK_TEXT, text_width};

/// How values become places along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Evenly.
    Linear,
    /// By their logarithm; values must be positive.
    Logarithmic,
    /// Evenly, with ticks at multiples of 90 degrees; values are degrees.
    Degrees,
}

/// An axis: a range of values on a range of pixels.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    kind: Kind,
    low: f64,
    high: f64,
    pixel_low: f64,
    pixel_high: f64,
}

impl Scale {
    /// An axis whose range is exactly `(low, high)`; an empty range is widened.
    pub fn exact(kind: Kind, (low, high): (f64, f64), (pixel_low, pixel_high): (f64, f64)) -> Self {
        let (low, high) = match kind {
            Kind::Logarithmic if !(low > 0.0 && high > low) => {
                let middle = if low > 0.0 { low } else { 1.0 };
                (middle / 3.0, middle * 3.0)
            }
            Kind::Linear | Kind::Degrees if high.is_nan() || high <= low => {
                let margin = if low == 0.0 || !low.is_finite() { 1.0 } else { 0.1 * low.abs() };
                let low = if low.is_finite() { low } else { 0.0 };
                (low - margin, low + margin)
            }
            _ => (low, high),
        };
        Self { kind, low, high, pixel_low, pixel_high }
    }

    /// An axis with 4 % of margin around `(low, high)`.
    pub fn with_margin(kind: Kind, range: (f64, f64), pixels: (f64, f64)) -> Self {
        let exact = Self::exact(kind, range, pixels);
        let (low, high) = match kind {
            Kind::Linear => {
                let margin = 0.04 * (exact.high - exact.low);
                (exact.low - margin, exact.high + margin)
            }
            Kind::Logarithmic => {
                let factor = (exact.high / exact.low).powf(0.04);
                (exact.low / factor, exact.high * factor)
            }
            Kind::Degrees => (exact.low, exact.high),
        };
        Self { low, high, ..exact }
    }

    /// The pixel of a value; not a number where the value has no place.
    pub fn at(&self, value: f64) -> f64 {
        let fraction = match self.kind {
            Kind::Logarithmic => (value / self.low).ln() / (self.high / self.low).ln(),
            _ => (value - self.low) / (self.high - self.low),
        };
        self.pixel_low + fraction * (self.pixel_high - self.pixel_low)
    }

    /// The range of values.
    pub fn range(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// Values at which the axis has labelled ticks.
    pub fn ticks(&self) -> Vec<f64> {
        let length = (self.pixel_high - self.pixel_low).abs();
        match self.kind {
            Kind::Degrees if self.high - self.low > 180.0 => {
                multiples(90.0 * if length < 110.0 { 2.0 } else { 1.0 }, self.low, self.high)
            }
            Kind::Logarithmic => self.decades(length),
            _ => {
                let wanted = (length / 55.0).clamp(2.0, 8.0);
                multiples(round_step((self.high - self.low) / wanted), self.low, self.high)
            }
        }
    }

    fn decades(&self, length: f64) -> Vec<f64> {
        let (first, last) = (self.low.log10().ceil() as i32, self.high.log10().floor() as i32);
        let n_decades = last - first + 1;
        if n_decades < 2 {
            let within = |factors: &[f64]| -> Vec<f64> {
                (first - 1..=last.max(first))
                    .flat_map(|power| factors.iter().map(move |f| f * 10f64.powi(power)))
                    .filter(|tick| *tick >= self.low * 0.9999 && *tick <= self.high * 1.0001)
                    .collect()
            };
            let coarse = within(&[1.0, 2.0, 5.0]);
            return if coarse.len() >= 2 {
                coarse
            } else {
                within(&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
            };
        }
        let stride = (f64::from(n_decades) / (length / 35.0).max(2.0)).ceil() as usize;
        (first..=last).step_by(stride.max(1)).map(|power| 10f64.powi(power)).collect()
    }

    /// The label of a tick.
    pub fn label(&self, tick: f64) -> String {
        if self.kind == Kind::Degrees {
            return signed(format!("{tick:.0}°"));
        }
        if self.kind == Kind::Logarithmic {
            let power = tick.log10().round();
            let is_power = |tick: &f64| (tick.log10() - tick.log10().round()).abs() < 1e-6;
            let ticks = self.ticks();
            let wide = ticks.iter().any(|tick| !(0.0009..10_001.0).contains(tick));
            if wide && ticks.iter().all(is_power) {
                return if power == 0.0 { "1".into() } else { format!("10{}", superscript(power as i32)) };
            }
        }
        let ticks = self.ticks();
        let step = ticks.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
        let unit = if self.kind == Kind::Logarithmic { tick } else { step.min(self.high.abs().max(1e-300)) };
        let magnitude = self.low.abs().max(self.high.abs());
        if self.kind == Kind::Linear && !(1e-4..1e6).contains(&magnitude) {
            return signed(format!("{tick:.1e}"));
        }
        let digits = (-(unit.log10() + 1e-9).floor()).clamp(0.0, 9.0) as usize;
        let digits = if self.kind == Kind::Logarithmic && is_half(tick) { digits + 1 } else { digits };
        signed(format!("{tick:.digits$}"))
    }
}

fn is_half(tick: f64) -> bool {
    let mantissa = tick / 10f64.powf(tick.log10().floor());
    (mantissa - mantissa.round()).abs() > 0.1
}

/// A number with a proper minus sign, and none before zero.
fn signed(text: String) -> String {
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| !c.is_ascii_digit() || c == '0') => rest.to_string(),
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

/// An exponent in raised digits.
pub fn superscript(power: i32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    power.to_string().chars().map(|c| c.to_digit(10).map_or('⁻', |digit| DIGITS[digit as usize])).collect()
}

/// The round number (1, 2, 5 or 10 times a power of ten) nearest to a step.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let nearest = [(1.5, 1.0), (3.5, 2.0), (7.5, 5.0)].into_iter().find(|(below, _)| step / power < *below);
    nearest.map_or(10.0, |(_, round)| round) * power
}

fn multiples(step: f64, low: f64, high: f64) -> Vec<f64> {
    let slack = 1e-9 * (high - low).abs();
    let (first, last) = (((low - slack) / step).ceil() as i64, ((high + slack) / step).floor() as i64);
    (first..=last).take(50).map(|i| i as f64 * step).collect()
}

/// What stands beside the axes of a panel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Labels<'a> {
    /// Below, with its unit.
    pub x: &'a str,
    /// To the left, with its unit.
    pub y: &'a str,
    /// Whether tick labels of the y axis are left out, because the panel to the left has them.
    pub hide_y_ticks: bool,
    /// Whether a label at the right end of the x axis is left out, because it would run into the next panel's.
    pub hide_last_x_tick: bool,
}

/// Draws grid lines, tick labels and axis labels; the frame's inside is left for the data.
pub fn draw_axes(figure: &mut Figure, frame: Rect, x: &Scale, y: &Scale, labels: Labels<'_>, grid: bool) {
    let line = Stroke::solid(Color::Grid, 1.0);
    let tick = Stroke::solid(Color::Muted, 1.0);
    for value in x.ticks() {
        let place = x.at(value);
        if grid {
            figure.polyline(vec![(place, frame.y), (place, frame.bottom())], line);
        }
        figure.polyline(vec![(place, frame.bottom()), (place, frame.bottom() + 4.0)], tick);
        if !labels.hide_last_x_tick || place < frame.right() - 14.0 {
            let at = (place, frame.bottom() + 16.0);
            figure.text(at, &x.label(value), TICK_TEXT, Anchor::Middle, Color::Muted);
        }
    }
    let mut widest: f64 = 0.0;
    for value in y.ticks() {
        let place = y.at(value);
        if grid {
            figure.polyline(vec![(frame.x, place), (frame.right(), place)], line);
        }
        figure.polyline(vec![(frame.x - 4.0, place), (frame.x, place)], tick);
        if !labels.hide_y_ticks {
            let label = y.label(value);
            widest = widest.max(text_width(&label, TICK_TEXT, false));
            figure.text((frame.x - 8.0, place + 4.0), &label, TICK_TEXT, Anchor::End, Color::Muted);
        }
    }
    if !labels.x.is_empty() {
        let at = (frame.x + frame.width / 2.0, frame.bottom() + 34.0);
        figure.text(at, labels.x, TEXT, Anchor::Middle, Color::Ink);
    }
    if !labels.y.is_empty() {
        let at = (frame.x - 8.0 - widest - 10.0, frame.y + frame.height / 2.0);
        figure.upward_text(at, labels.y, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_labelled_with_the_digits_they_need() {
        let scale = Scale::exact(Kind::Linear, (-0.13, 0.42), (0.0, 300.0));
        let labels: Vec<String> = scale.ticks().into_iter().map(|tick| scale.label(tick)).collect();
        assert_eq!(labels, ["−0.1", "0.0", "0.1", "0.2", "0.3", "0.4"]);
        let degrees = Scale::exact(Kind::Degrees, (-180.0, 180.0), (0.0, 300.0));
        assert_eq!(degrees.ticks(), [-180.0, -90.0, 0.0, 90.0, 180.0]);
        assert_eq!(degrees.label(-90.0), "−90°");
        let decades = Scale::exact(Kind::Logarithmic, (1e-6, 1.0), (0.0, 300.0));
        assert_eq!(decades.label(decades.ticks()[0]), "10⁻⁶");
        let narrow = Scale::exact(Kind::Logarithmic, (0.57, 0.69), (0.0, 300.0));
        assert!(!narrow.ticks().is_empty());
    }

    #[test]
    fn places_follow_the_scale_and_an_empty_range_has_some_width() {
        let scale = Scale::exact(Kind::Logarithmic, (0.01, 100.0), (0.0, 80.0));
        assert!((scale.at(1.0) - 40.0).abs() < 1e-12);
        let empty = Scale::exact(Kind::Linear, (2.0, 2.0), (0.0, 80.0));
        assert!((empty.at(2.0) - 40.0).abs() < 1e-9);
        let nothing = Scale::exact(Kind::Linear, (f64::INFINITY, f64::NEG_INFINITY), (0.0, 80.0));
        assert!(nothing.at(0.0).is_finite());
    }
}
