//! Numbers as people write and read them: `5M` in, `5,000,000` and `18.4 GiB` out.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// Reads a count: `4096`, `5_000_000`, `250k`, `5M`, `1.5M`. Suffixes are decimal.
pub fn parse_count(text: &str) -> Result<u64, InvalidCount> {
    let refused = || InvalidCount {
        text: text.to_owned(),
    };
    let text = text.trim();
    let (digits, unit) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 1_000),
        Some((at, 'm' | 'M')) => (&text[..at], 1_000_000),
        Some((at, 'g' | 'G')) => (&text[..at], 1_000_000_000),
        _ => (text, 1),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole: u64 = parse_digits(whole).ok_or_else(refused)?;
    let count = whole.checked_mul(unit).ok_or_else(refused)?;
    if fraction.is_empty() {
        return if digits.contains('.') {
            Err(refused())
        } else {
            Ok(count)
        };
    }
    // 1.2345k is no count: the fraction must come out whole.
    let scale = 10u64
        .checked_pow(u32::try_from(fraction.len()).map_err(|_| refused())?)
        .ok_or_else(refused)?;
    let parts = parse_digits(fraction)
        .and_then(|f| f.checked_mul(unit))
        .ok_or_else(refused)?;
    if parts % scale != 0 {
        return Err(refused());
    }
    count.checked_add(parts / scale).ok_or_else(refused)
}

fn parse_digits(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(|&c| c != '_').collect();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// The text is no count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidCount {
    text: String,
}

impl fmt::Display for InvalidCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no count: write 4096, 250k, 5M or 5_000_000",
            self.text
        )
    }
}

impl std::error::Error for InvalidCount {}

/// A setting that is either given or left to the host: `auto`, or a count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Worked out from what the host allows.
    #[default]
    Auto,
    /// As given.
    Exactly(u64),
}

impl FromStr for Choice {
    type Err = InvalidChoice;

    fn from_str(text: &str) -> Result<Self, InvalidChoice> {
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        match parse_count(text) {
            Ok(0) => Err(InvalidChoice {
                reason: "must be at least 1, or auto".to_owned(),
            }),
            Ok(count) => Ok(Self::Exactly(count)),
            Err(error) => Err(InvalidChoice {
                reason: format!("{error}, or auto"),
            }),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Exactly(count) => write!(f, "{count}"),
        }
    }
}

/// The text is neither `auto` nor a count of at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidChoice {
    reason: String,
}

impl fmt::Display for InvalidChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for InvalidChoice {}

/// A count with its thousands set apart: `5,000,000`.
#[must_use]
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes in the binary unit that suits it: `18.4 GiB`.
#[must_use]
pub fn binary_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10) as usize;
    let scaled = bytes as f64 / (1u64 << (10 * power)) as f64;
    format!("{scaled:.1} {}", UNITS[power - 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_are_read_as_people_write_them() {
        for (text, count) in [
            ("4096", 4096),
            ("5M", 5_000_000),
            ("250k", 250_000),
            ("1.5M", 1_500_000),
            ("5_000_000", 5_000_000),
            (" 7 ", 7),
            ("0", 0),
        ] {
            assert_eq!(parse_count(text).unwrap(), count, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_count_is_refused() {
        for text in [
            "",
            "M",
            "-1",
            "+1",
            "1.2345k",
            "1.k",
            "0.5",
            "5T",
            "99999999999999999999",
            "_",
            "5é",
        ] {
            assert!(parse_count(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_choice_is_auto_or_at_least_one() {
        assert_eq!("auto".parse::<Choice>().unwrap(), Choice::Auto);
        assert_eq!("5M".parse::<Choice>().unwrap(), Choice::Exactly(5_000_000));
        assert!(
            "0".parse::<Choice>()
                .unwrap_err()
                .to_string()
                .contains("at least 1")
        );
        assert!("many".parse::<Choice>().is_err());
    }

    #[test]
    fn numbers_are_shown_readably() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(5_000_000), "5,000,000");
        assert_eq!(binary_bytes(1023), "1023 B");
        assert_eq!(binary_bytes(24 << 30), "24.0 GiB");
        assert_eq!(binary_bytes(u64::MAX), "16.0 EiB");
    }

    proptest! {
        #[test]
        fn grouping_loses_no_digit(count: u64) {
            prop_assert_eq!(grouped(count).replace(',', ""), count.to_string());
        }

        #[test]
        fn a_count_survives_being_written(count: u64) {
            prop_assert_eq!(parse_count(&count.to_string()).unwrap(), count);
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse_count(&text);
            let _ = text.parse::<Choice>();
        }
    }
}
