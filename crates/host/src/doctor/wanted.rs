//! What is wanted of a sysctl, and how it compares with what is there.
//!
//! A value that is already better is never touched: what is set is the better of the two, part by part.

use std::fmt;

/// The values that are good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// This or more.
    AtLeast(u64),
    /// This or less.
    AtMost(u64),
    /// Three parts (minimum, default, maximum), each this or more.
    EachAtLeast([u64; 3]),
    /// A range that reaches from here to there.
    Spanning(u64, u64),
}

/// The text does not hold the numbers that the setting should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUnderstood;

impl Wanted {
    /// The value to set in place of `current`, keeping what is better there; `None` if it is good enough.
    pub fn improvement_on(&self, current: &str) -> Result<Option<String>, NotUnderstood> {
        let found = numbers(current)?;
        let improved: Vec<u64> = match (*self, found.as_slice()) {
            (Self::AtLeast(least), &[value]) => vec![value.max(least)],
            (Self::AtMost(most), &[value]) => vec![value.min(most)],
            (Self::EachAtLeast(least), &[a, b, c]) => {
                vec![a.max(least[0]), b.max(least[1]), c.max(least[2])]
            }
            (Self::Spanning(low, high), &[from, to]) => vec![from.min(low), to.max(high)],
            _ => return Err(NotUnderstood),
        };
        Ok((improved != found).then(|| written(&improved)))
    }

    /// The value to set where nothing is known about the present one.
    #[must_use]
    pub fn value(&self) -> String {
        match *self {
            Self::AtLeast(value) | Self::AtMost(value) => value.to_string(),
            Self::EachAtLeast(parts) => written(&parts),
            Self::Spanning(low, high) => written(&[low, high]),
        }
    }

    /// The comparison by which a shell script keeps what is better: `least`, `most` or `span`.
    #[must_use]
    pub fn comparison(&self) -> &'static str {
        match self {
            Self::AtLeast(_) | Self::EachAtLeast(_) => "least",
            Self::AtMost(_) => "most",
            Self::Spanning(..) => "span",
        }
    }
}

fn numbers(text: &str) -> Result<Vec<u64>, NotUnderstood> {
    // Kernels print some unlimited values as negative numbers; none of ours is, so they are not understood.
    text.split_whitespace()
        .take(4)
        .map(|word| word.parse().map_err(|_| NotUnderstood))
        .collect()
}

fn written(parts: &[u64]) -> String {
    parts
        .iter()
        .map(u64::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(_) | Self::EachAtLeast(_) => write!(f, "≥ {}", self.value()),
            Self::AtMost(_) => write!(f, "≤ {}", self.value()),
            Self::Spanning(low, high) => write!(f, "{low} to {high}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_better_stays() {
        assert_eq!(Wanted::AtLeast(4096).improvement_on("8192\n"), Ok(None));
        assert_eq!(
            Wanted::AtLeast(4096).improvement_on("128\n"),
            Ok(Some("4096".into()))
        );
        assert_eq!(
            Wanted::AtMost(300).improvement_on("7200"),
            Ok(Some("300".into()))
        );
        assert_eq!(Wanted::AtMost(300).improvement_on("60"), Ok(None));
        let rmem = Wanted::EachAtLeast([4096, 87_380, 16_777_216]);
        assert_eq!(
            rmem.improvement_on("4096\t131072\t6291456\n"),
            Ok(Some("4096 131072 16777216".into()))
        );
        assert_eq!(
            Wanted::Spanning(1024, 65_535).improvement_on("32768\t60999"),
            Ok(Some("1024 65535".into()))
        );
        assert_eq!(
            Wanted::Spanning(1024, 65_535).improvement_on("1000\t65535"),
            Ok(None)
        );
    }

    #[test]
    fn what_has_another_shape_is_not_understood() {
        for text in ["", "many", "-1", "1 2", "18446744073709551616", "1 2 3 4 5"] {
            assert_eq!(
                Wanted::AtLeast(1).improvement_on(text),
                Err(NotUnderstood),
                "{text:?}"
            );
        }
        assert_eq!(
            Wanted::EachAtLeast([1; 3]).improvement_on("7 7"),
            Err(NotUnderstood)
        );
    }

    fn any_wanted() -> impl Strategy<Value = Wanted> {
        prop_oneof![
            any::<u64>().prop_map(Wanted::AtLeast),
            any::<u64>().prop_map(Wanted::AtMost),
            any::<[u64; 3]>().prop_map(Wanted::EachAtLeast),
            any::<(u64, u64)>().prop_map(|(low, high)| Wanted::Spanning(low, high)),
        ]
    }

    proptest! {
        #[test]
        fn an_improvement_is_enough_and_text_never_panics(
            wanted in any_wanted(),
            text in "([0-9]{1,20}[ \t]){0,4}|\\PC*",
        ) {
            if let Ok(Some(value)) = wanted.improvement_on(&text) {
                prop_assert_eq!(wanted.improvement_on(&value), Ok(None));
            }
            prop_assert_eq!(wanted.improvement_on(&wanted.value()), Ok(None));
        }
    }
}
