//! Decimal amounts, exactly: from the text in the body to minor units, never through a float.

use crate::model::money::LARGEST_AMOUNT;

/// The most digits that are read: no real amount has more, and a number's exponent must not make work.
const MOST_DIGITS: usize = 40;

/// A decimal text in minor units of a currency with so many decimals: `1500.25` at 2 is 150025.
///
/// An exponent is read too (`1.0E7` is how some languages write a float). Zeros behind the currency's last decimal
/// do no harm; any other digit there does.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn minor(text: &str, exponent: u32) -> Result<i64, &'static str> {
    const NO_DECIMAL: &str = "is no decimal amount";
    const TOO_LARGE: &str = "is larger than 9007199254740991 minor units";
    let text = text.trim();
    if text.starts_with('-') {
        return Err("is negative");
    }
    let (mantissa, shift) = match text.split_once(['e', 'E']) {
        Some((mantissa, shift)) => (mantissa, shift.parse::<i32>().map_err(|_| NO_DECIMAL)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = [whole, fraction].concat();
    let shaped = !whole.is_empty()
        && digits.len() <= MOST_DIGITS
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !(mantissa.contains('.') && fraction.is_empty());
    if !shaped {
        return Err(NO_DECIMAL);
    }
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    // The value is `significant` times ten to the power of `power`, in minor units.
    let zeros = digits.len().saturating_sub(significant.len());
    let size = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
    let power = i64::from(shift)
        .saturating_add(i64::from(exponent))
        .saturating_add(size(zeros))
        .saturating_sub(size(fraction.len()));
    let power = u32::try_from(power).map_err(|_| "has more decimals than its currency")?;
    let value = significant.parse::<i64>().map_err(|_| TOO_LARGE)?;
    let minor = 10_i64.checked_pow(power).and_then(|factor| value.checked_mul(factor));
    minor.filter(|minor| *minor <= LARGEST_AMOUNT).ok_or(TOO_LARGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_units_become_minor_ones_exactly() {
        for (text, exponent, minor) in [
            ("100", 2, 10_000),
            ("1500.25", 2, 150_025),
            ("0.5", 2, 50),
            ("0.10", 2, 10),
            ("2990.00", 0, 2_990),
            ("26.875", 3, 26_875),
            ("1.0E7", 2, 1_000_000_000),
            ("1e-2", 2, 1),
            ("0", 2, 0),
            ("0.000", 0, 0),
            ("90071992547409.91", 2, LARGEST_AMOUNT),
            (" 007.10 ", 2, 710),
        ] {
            assert_eq!(super::minor(text, exponent), Ok(minor), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_an_amount_is_refused() {
        for (text, exponent, why) in [
            ("26.875", 2, "has more decimals than its currency"),
            ("0.5", 0, "has more decimals than its currency"),
            ("1e-3", 2, "has more decimals than its currency"),
            ("1e999999999", 2, "is larger than 9007199254740991 minor units"),
            ("90071992547409.92", 2, "is larger than 9007199254740991 minor units"),
            ("-1", 2, "is negative"),
            ("", 2, "is no decimal amount"),
            (".5", 2, "is no decimal amount"),
            ("5.", 2, "is no decimal amount"),
            ("1,000", 2, "is no decimal amount"),
            ("1.2.3", 2, "is no decimal amount"),
            ("1e", 2, "is no decimal amount"),
            ("0x10", 2, "is no decimal amount"),
            ("NaN", 2, "is no decimal amount"),
        ] {
            assert_eq!(minor(text, exponent), Err(why), "{text}");
        }
        assert!(minor(&"1".repeat(60), 2).is_err());
    }

    proptest! {
        #[test]
        fn minor_units_written_as_a_decimal_come_back(minor in 0..=LARGEST_AMOUNT, exponent in 0..4_u32) {
            let factor = 10_i64.pow(exponent);
            let width = exponent as usize;
            let text = match exponent {
                0 => minor.to_string(),
                _ => format!("{}.{:0width$}", minor / factor, minor % factor),
            };
            prop_assert_eq!(super::minor(&text, exponent), Ok(minor));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*", exponent in 0..5_u32) {
            let _ = minor(&text, exponent);
        }
    }
}
