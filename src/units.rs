//! Quantities with units at the edge of the program, plain numbers inside.
//!
//! A configuration writes `"300 K"`, `"2 fs"`, `"1 /ps"`; the types here turn this into the internal
//! units nm, ps, K, kJ/mol and rad and back. Inside, numbers are `f64` and names carry the unit.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The molar gas constant in kJ/(mol K), exact since the 2019 SI.
pub const GAS_CONSTANT: f64 = 8.314_462_618_153_24e-3;

/// A unit that a text may use: its name and how many internal units it is.
type Unit = (&'static str, f64);

const DEGREE: f64 = std::f64::consts::PI / 180.0;

/// Splits a text into number and unit and converts it; errors list what is accepted.
fn parse(text: &str, quantity: &str, units: &[Unit]) -> Result<f64, String> {
    let expected = || {
        let names: Vec<_> = units.iter().map(|(name, _)| *name).collect();
        format!("expected {quantity} such as \"1 {}\" (units: {})", names[0], names.join(", "))
    };
    let text = text.trim();
    // The unit starts where no prefix can be a number any more: the longest numeric prefix wins, so
    // that the `e` of an exponent is not taken for a unit.
    let split = (1..=text.len())
        .rev()
        .filter(|&end| text.is_char_boundary(end))
        .find(|&end| text[..end].trim_end().parse::<f64>().is_ok())
        .ok_or_else(|| format!("{}, found \"{text}\"", expected()))?;
    let (number, unit) = (text[..split].trim_end(), text[split..].trim());
    let number: f64 = number.parse().map_err(|_| expected())?;
    if unit.is_empty() {
        return Err(format!("{}, found \"{text}\" without a unit", expected()));
    }
    let factor = units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| factor)
        .ok_or_else(|| format!("{}, found the unit \"{unit}\"", expected()))?;
    Ok(number * factor)
}

/// The text with the shortest number that reads back to exactly the same value.
fn write(value: f64, units: &[Unit]) -> String {
    let (mut best, mut unit) = (value.to_string(), units[0].0);
    for (name, factor) in units {
        // Dividing by a factor leaves rounding in the last digits: the number meant has fewer.
        for digits in [6, 15] {
            let Ok(number) = format!("{:.digits$e}", value / factor).parse::<f64>() else { continue };
            if number * factor == value && number.to_string().len() < best.len() {
                (best, unit) = (number.to_string(), name);
            }
        }
    }
    format!("{best} {unit}")
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $from:ident, $as:ident, $what:literal, $symbol:literal,
     $requirement:literal, $allowed:expr, $units:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
        pub struct $name(f64);

        impl $name {
            #[doc = concat!("From ", $symbol, "; `None` unless ", $requirement, ".")]
            pub fn $from(value: f64) -> Option<Self> {
                let allowed: fn(f64) -> bool = $allowed;
                (value.is_finite() && allowed(value)).then_some(Self(value))
            }

            #[doc = concat!("In ", $symbol, ".")]
            pub fn $as(self) -> f64 {
                self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let value = parse(text, $what, $units)?;
                Self::$from(value)
                    .ok_or_else(|| format!("{} must be {}, found \"{}\"", $what, $requirement, text.trim()))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(&write(self.0, $units))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        let names: Vec<_> = $units.iter().map(|(name, _): &Unit| *name).collect();
                        write!(formatter, concat!($what, " as text, for example \"1 {}\" (units: {})"),
                            names[0], names.join(", "))
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }
    };
}

quantity!(
    /// A temperature above absolute zero.
    Temperature, from_kelvin, as_kelvin, "a temperature", "kelvin", "above absolute zero",
    |value| value > 0.0, &[("K", 1.0)]
);

quantity!(
    /// A molar energy.
    Energy, from_kj_per_mol, as_kj_per_mol, "an energy", "kJ/mol", "finite",
    |_| true, &[("kJ/mol", 1.0), ("kcal/mol", 4.184), ("J/mol", 1e-3)]
);

quantity!(
    /// A length, not negative.
    Length, from_nm, as_nm, "a length", "nm", "finite and not negative",
    |value| value >= 0.0, &[("nm", 1.0), ("A", 0.1), ("Å", 0.1), ("angstrom", 0.1), ("pm", 1e-3)]
);

quantity!(
    /// A span of time, not negative.
    Time, from_ps, as_ps, "a time", "ps", "finite and not negative",
    |value| value >= 0.0, &[("ps", 1.0), ("fs", 1e-3), ("ns", 1e3), ("us", 1e6), ("µs", 1e6)]
);

quantity!(
    /// Something per time, not negative: a friction, for example.
    Rate, from_per_ps, as_per_ps, "a rate", "1/ps", "finite and not negative",
    |value| value >= 0.0, &[("/ps", 1.0), ("1/ps", 1.0), ("ps^-1", 1.0), ("/fs", 1e3), ("1/fs", 1e3), ("/ns", 1e-3), ("1/ns", 1e-3)]
);

quantity!(
    /// A mass above zero.
    Mass, from_da, as_da, "a mass", "Da", "above zero",
    |value| value > 0.0, &[("Da", 1.0), ("u", 1.0), ("amu", 1.0), ("g/mol", 1.0)]
);

quantity!(
    /// An angle.
    Angle, from_radians, as_radians, "an angle", "radians", "finite",
    |_| true, &[("rad", 1.0), ("deg", DEGREE), ("°", DEGREE)]
);

impl Temperature {
    /// kT in kJ/mol: the only way between molar and reduced energies.
    pub fn kt_kj_per_mol(self) -> f64 {
        GAS_CONSTANT * self.0
    }
}

/// The unit in which free energies are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EnergyUnit {
    /// Thermal energy at the temperature of the data.
    #[default]
    Kt,
    /// kJ/mol.
    KjPerMol,
    /// kcal/mol, of 4.184 kJ each.
    KcalPerMol,
}

impl EnergyUnit {
    /// How many of this unit are one kT at a temperature in K.
    pub fn per_kt(self, temperature_k: f64) -> f64 {
        match self {
            Self::Kt => 1.0,
            Self::KjPerMol => GAS_CONSTANT * temperature_k,
            Self::KcalPerMol => GAS_CONSTANT * temperature_k / 4.184,
        }
    }
}

impl std::str::FromStr for EnergyUnit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().to_lowercase().as_str() {
            "kt" => Ok(Self::Kt),
            "kj/mol" => Ok(Self::KjPerMol),
            "kcal/mol" => Ok(Self::KcalPerMol),
            _ => Err(format!("expected kT, kJ/mol or kcal/mol, found \"{text}\"")),
        }
    }
}

impl std::fmt::Display for EnergyUnit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Kt => "kT",
            Self::KjPerMol => "kJ/mol",
            Self::KcalPerMol => "kcal/mol",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kt_is_what_it_is_in_every_unit() {
        let unit = |text: &str| text.parse::<EnergyUnit>().unwrap();
        assert_eq!(unit("kt").per_kt(300.0), 1.0);
        assert!((unit("kJ/mol").per_kt(298.15) - 2.478_957).abs() < 1e-6);
        assert!((unit("kcal/mol").per_kt(298.15) - 0.592_484).abs() < 1e-6);
        assert!("eV".parse::<EnergyUnit>().unwrap_err().contains("kcal/mol"));
    }

    #[test]
    fn texts_become_internal_units() {
        assert_eq!("300 K".parse::<Temperature>().unwrap().as_kelvin(), 300.0);
        assert_eq!("2 fs".parse::<Time>().unwrap().as_ps(), 2e-3);
        assert_eq!("2fs".parse::<Time>().unwrap().as_ps(), 2e-3);
        assert_eq!("1 /ps".parse::<Rate>().unwrap().as_per_ps(), 1.0);
        assert_eq!("0.1 nm".parse::<Length>().unwrap().as_nm(), 0.1);
        assert_eq!("1.5e0 Å".parse::<Length>().unwrap().as_nm(), 1.5 * 0.1);
        assert_eq!("-180 deg".parse::<Angle>().unwrap().as_radians(), -std::f64::consts::PI);
        assert_eq!("1 kcal/mol".parse::<Energy>().unwrap().as_kj_per_mol(), 4.184);
    }

    #[test]
    fn texts_without_sense_say_what_is_accepted() {
        let message = |text: &str| text.parse::<Time>().unwrap_err();
        assert_eq!(
            message("2"),
            "expected a time such as \"1 ps\" (units: ps, fs, ns, us, µs), found \"2\" without a unit"
        );
        assert!(message("2 f").contains("found the unit \"f\""));
        assert!(message("fs").contains("found \"fs\""));
        assert!(message("").contains("found \"\""));
        assert_eq!(message("-2 fs"), "a time must be finite and not negative, found \"-2 fs\"");
        assert_eq!(
            "0 K".parse::<Temperature>().unwrap_err(),
            "a temperature must be above absolute zero, found \"0 K\""
        );
        assert!("2 m".parse::<Angle>().unwrap_err().starts_with("expected an angle such as"));
        assert!("2 m".parse::<Energy>().unwrap_err().starts_with("expected an energy such as"));
        assert!("inf K".parse::<Temperature>().is_err() && "NaN K".parse::<Temperature>().is_err());
    }

    #[test]
    fn what_is_written_reads_back_to_the_same_bits() {
        for (text, shown) in [("60 deg", "60 deg"), ("-180 deg", "-180 deg"), ("1.25 rad", "1.25 rad")] {
            let angle: Angle = text.parse().unwrap();
            assert_eq!(angle.to_string(), shown);
        }
        for k in 1..500 {
            let value = f64::from(k).sqrt() / 7.0;
            let angle = Angle::from_radians(value).unwrap();
            assert_eq!(angle.to_string().parse::<Angle>().unwrap(), angle);
            let time = Time::from_ps(value * 1e-3).unwrap();
            assert_eq!(time.to_string().parse::<Time>().unwrap(), time);
        }
        assert_eq!("2 fs".parse::<Time>().unwrap().to_string(), "2 fs");
    }

    #[test]
    fn kt_at_300_kelvin_is_2_494_kj_per_mol() {
        let kt = Temperature::from_kelvin(300.0).unwrap().kt_kj_per_mol();
        assert!((kt - 2.494_338_785).abs() < 1e-9);
    }
}
