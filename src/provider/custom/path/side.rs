//! One side of a comparison in a filter. Numbers count by their value, however they are written and however long they
//! are: never through a float.

use serde_json::Value;
use std::cmp::Ordering;

/// A value that is compared. Lists and objects are equal where they are written alike.
#[derive(PartialEq, Debug)]
pub(super) enum Side<'b> {
    Number(Decimal),
    Other(&'b Value),
}

/// A number: its sign times 0.DIGITS times ten to the power of `power`. Zero has no digits.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Decimal {
    sign: i8,
    power: i64,
    digits: String,
}

impl<'b> Side<'b> {
    pub(super) fn of(value: &'b Value) -> Self {
        let number = value.as_number().and_then(|number| Decimal::of(number.as_str()));
        number.map_or(Self::Other(value), Self::Number)
    }

    /// Which is the smaller one, of two numbers or two texts.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => Some(left.order(right)),
            (Self::Other(Value::String(left)), Self::Other(Value::String(right))) => {
                Some(left.cmp(right))
            }
            _ => None,
        }
    }
}

impl Decimal {
    /// None where its exponent is beyond all reason: such a number equals what is written alike.
    fn of(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent = exponent.parse::<i64>().ok()?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [whole, fraction].concat();
        let digits = all.trim_start_matches('0');
        let zeros = i64::try_from(all.len().checked_sub(digits.len())?).ok()?;
        let digits = digits.trim_end_matches('0');
        if digits.is_empty() {
            return Some(Self { sign: 0, power: 0, digits: String::new() });
        }
        let before_point = i64::try_from(whole.len()).ok()?;
        Some(Self {
            sign: if negative { -1 } else { 1 },
            power: exponent.checked_add(before_point)?.checked_sub(zeros)?,
            digits: digits.to_owned(),
        })
    }

    fn order(&self, other: &Self) -> Ordering {
        let size = (self.power, &self.digits).cmp(&(other.power, &other.digits));
        let size = if self.sign < 0 { size.reverse() } else { size };
        self.sign.cmp(&other.sign).then(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(left: &str, right: &str) -> Option<Ordering> {
        let [left, right] = [left, right].map(|text| serde_json::from_str(text).expect("JSON"));
        let (left, right) = (Side::of(&left), Side::of(&right));
        assert_eq!(left == right, left.order(&right) == Some(Ordering::Equal));
        left.order(&right)
    }

    #[test]
    fn numbers_are_compared_exactly_by_their_value() {
        use Ordering::{Equal, Greater, Less};
        let huge = |last: &str| format!("1{}{last}", "0".repeat(400));
        for (left, right, order) in [
            ("5", "5.0", Equal),
            ("5", "0.5e1", Equal),
            ("500", "5E+2", Equal),
            ("-0", "0.000e7", Equal),
            ("9007199254740993", "9007199254740992", Greater),
            ("9007199254740992.0000000000000001", "9007199254740992", Greater),
            ("0.1", "0.10000000000000001", Less),
            ("-2", "-10", Greater),
            ("-1", "1", Less),
            ("0", "-1e-400", Greater),
            ("99", "100", Less),
            ("0.09", "0.1", Less),
            (huge("1").as_str(), huge("2").as_str(), Less),
        ] {
            assert_eq!(compared(left, right), Some(order), "{left} {right}");
            assert_eq!(compared(right, left), Some(order.reverse()), "{right} {left}");
        }
    }
}
