//! Numbers as a reader wants them: rounded where their error begins.

use super::figure::axis::superscript;

/// A value with its error, for example `0.0107 ± 0.0003`.
///
/// The error keeps one digit, or two where the first is a 1 (rounding 0.0014 to 0.001 would lose a
/// third of it); the value is rounded to the same place. Without an error the value keeps four
/// digits. A value that is not finite is an en dash.
pub fn with_error(value: f64, std_error: Option<f64>) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let Some(error) = std_error.filter(|error| error.is_finite() && *error > 0.0) else {
        return plain(value);
    };
    let magnitude = value.abs().max(error);
    if !(1e-4..1e6).contains(&magnitude) {
        let power = magnitude.log10().floor() as i32;
        let scale = 10f64.powi(power);
        let digits = digits_of_error(error / scale);
        return format!(
            "({} ± {:.digits$}) × 10{}",
            minus(format!("{:.digits$}", value / scale)),
            error / scale,
            superscript(power)
        );
    }
    let digits = digits_of_error(error);
    if error >= 9.5 {
        let scale = 10f64.powi((error.log10().floor() as i32 - 1).max(0));
        let rounded = |number: f64| grouped(&minus(format!("{:.0}", (number / scale).round() * scale)));
        return format!("{} ± {}", rounded(value), rounded(error));
    }
    format!("{} ± {error:.digits$}", grouped(&minus(format!("{value:.digits$}"))))
}

/// A value with two digits of its error, for numbers that are quoted: `3.041 ± 0.021`.
pub fn two_digits(value: f64, error: f64) -> String {
    let digits = decimals_of_two(error);
    format!("{value:.digits$} ± {}", short_error(error))
}

/// An error with two digits; an en dash when it is not finite.
pub fn short_error(error: f64) -> String {
    let digits = decimals_of_two(error);
    if error.is_finite() { format!("{error:.digits$}") } else { "–".into() }
}

/// Decimals that show the first two digits of an error.
fn decimals_of_two(error: f64) -> usize {
    if error > 0.0 { (1.0 - error.log10().floor()).clamp(0.0, 10.0) as usize } else { 6 }
}

/// Decimals that show the first digit of the error, or the first two if the first is a 1.
fn digits_of_error(error: f64) -> usize {
    let power = error.log10().floor();
    let leading = (error / 10f64.powf(power)).round();
    // 0.96 rounds up to 1: then it is one decade larger and the leading digit is a 1.
    let (power, leading) = if leading >= 10.0 { (power + 1.0, 1.0) } else { (power, leading) };
    let digits = -power + if leading < 2.0 { 1.0 } else { 0.0 };
    digits.clamp(0.0, 12.0) as usize
}

/// A value without error: four digits, whole numbers as they are.
pub fn plain(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    if value == 0.0 {
        return "0".into();
    }
    let magnitude = value.abs();
    if value.fract() == 0.0 && magnitude < 1e15 {
        return grouped(&minus(format!("{value:.0}")));
    }
    if !(1e-4..1e7).contains(&magnitude) {
        let power = magnitude.log10().floor() as i32;
        return format!("{} × 10{}", minus(format!("{:.2}", value / 10f64.powi(power))), superscript(power));
    }
    let digits = (3.0 - magnitude.log10().floor()).clamp(0.0, 8.0) as usize;
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    grouped(&minus(text.into()))
}

/// A share of one as per cent, with its error.
pub fn percent(value: f64, std_error: Option<f64>) -> String {
    let text = with_error(100.0 * value, std_error.map(|error| 100.0 * error));
    match text.as_str() {
        "–" => text,
        // The sign belongs to value and error alike.
        _ if text.contains('±') => format!("({text}) %"),
        _ => format!("{text} %"),
    }
}

/// Seconds in the largest fitting unit.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        "–".into()
    } else if seconds < 1.0 {
        format!("{:.0} ms", 1000.0 * seconds)
    } else if seconds < 120.0 {
        format!("{seconds:.1} s")
    } else if seconds < 7200.0 {
        format!("{:.1} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}

/// Bytes in binary units.
pub fn bytes(n: f64) -> String {
    if !n.is_finite() {
        return "–".into();
    }
    let (mut size, mut unit) = (n, "B");
    for larger in ["KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, larger);
    }
    if unit == "B" { format!("{size:.0} B") } else { format!("{size:.1} {unit}") }
}

fn minus(text: String) -> String {
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| c == '0' || c == '.') => rest.to_string(),
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

/// Thousands apart by a narrow space, from 10 000 on.
fn grouped(text: &str) -> String {
    let whole_end = text.find('.').unwrap_or(text.len());
    let (whole, rest) = text.split_at(whole_end);
    let n_digits = whole.chars().filter(char::is_ascii_digit).count();
    if n_digits < 5 {
        return text.to_string();
    }
    let mut out = String::new();
    let mut left = n_digits;
    for c in whole.chars() {
        if c.is_ascii_digit() {
            if left % 3 == 0 && left != n_digits {
                out.push('\u{a0}');
            }
            left -= 1;
        }
        out.push(c);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_where_its_error_begins() {
        assert_eq!(with_error(0.010_68, Some(0.000_31)), "0.0107 ± 0.0003");
        assert_eq!(with_error(0.010_68, Some(0.000_14)), "0.01068 ± 0.00014");
        assert_eq!(with_error(-0.123, Some(0.052)), "−0.12 ± 0.05");
        assert_eq!(with_error(12.34, Some(0.96)), "12.3 ± 1.0");
        assert_eq!(with_error(12_345.6, Some(234.0)), "12\u{a0}350 ± 230");
        assert_eq!(with_error(-0.001, Some(0.3)), "0.0 ± 0.3");
        assert_eq!(with_error(2.3e-6, Some(4e-7)), "(2.3 ± 0.4) × 10⁻⁶");
    }

    #[test]
    fn without_error_four_digits_are_kept() {
        assert_eq!(with_error(0.123_456, None), "0.1235");
        assert_eq!(with_error(50_000.0, None), "50\u{a0}000");
        assert_eq!(with_error(f64::NAN, Some(1.0)), "–");
        assert_eq!(with_error(0.5, Some(0.0)), "0.5");
        assert_eq!(percent(0.0029, Some(0.0002)), "(0.29 ± 0.02) %");
        assert_eq!(duration(200.0), "3.3 min");
        assert_eq!(bytes(1536.0), "1.5 KiB");
    }
}
