//! Reads the text that holds a signature. Takes any text and never fails: what cannot be read is passed over.

use super::{Encoding, Form};
use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// Idle bits must be zero, so that a signature has one text only.
const STRICT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The signatures that a text lists, decoded; those that are malformed or of an unknown version are passed over.
pub fn signatures(form: Form, encoding: Encoding, text: &str) -> Vec<Vec<u8>> {
    candidates(form, text.trim())
        .into_iter()
        .filter_map(|candidate| decode(encoding, candidate.trim()))
        .filter(|bytes| !bytes.is_empty())
        .collect()
}

/// The first value under a key of a text of pairs; `None` for texts of another form.
pub fn pair<'a>(form: Form, text: &'a str, key: &str) -> Option<&'a str> {
    let Form::Pairs { separator, .. } = form else { return None };
    pairs(separator, text).find_map(|(known, value)| (known == key).then_some(value))
}

fn candidates(form: Form, text: &str) -> Vec<&str> {
    match form {
        Form::Whole => vec![text],
        Form::Prefixed { prefix, optional } => match text.strip_prefix(prefix) {
            Some(rest) => vec![rest],
            None if optional => vec![text],
            None => Vec::new(),
        },
        Form::Pairs { separator, signature } => pairs(separator, text)
            .filter_map(|(key, value)| (key == signature).then_some(value))
            .collect(),
        // Supabase joins its list by a comma and a space.
        Form::Versions => text
            .split_whitespace()
            .filter_map(|entry| entry.trim_end_matches(',').strip_prefix("v1,"))
            .collect(),
        Form::KeyedList => text
            .split('&')
            .filter_map(|entry| entry.split_once('|').map(|(_, signature)| signature))
            .collect(),
    }
}

fn pairs<'a>(separator: &'static str, text: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    text.split(separator.trim())
        .filter_map(|entry| entry.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
}

fn decode(encoding: Encoding, text: &str) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Hex => hex::decode(text).ok(),
        Encoding::Base64 => STRICT.decode(text).ok(),
        Encoding::HexOrBase64 => hex::decode(text).ok().or_else(|| STRICT.decode(text).ok()),
    }
}

/// Writes the bytes of a signature; of two encodings the first.
pub(super) fn encode(encoding: Encoding, bytes: &[u8]) -> String {
    match encoding {
        Encoding::Hex | Encoding::HexOrBase64 => hex::encode(bytes),
        Encoding::Base64 => STRICT.encode(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STRIPE: Form = Form::Pairs { separator: ",", signature: "v1" };

    #[test]
    fn every_form_finds_its_signatures_and_passes_over_the_rest() {
        let check = |form, text, expected: &[&[u8]]| {
            assert_eq!(signatures(form, Encoding::Hex, text), expected, "{text}");
        };
        let sha256 = |optional| Form::Prefixed { prefix: "sha256=", optional };
        check(Form::Whole, " aBcD ", &[&[0xab, 0xcd]]);
        check(Form::Whole, "abc", &[]);
        check(Form::Whole, "", &[]);
        check(sha256(false), "sha256=ab", &[&[0xab]]);
        check(sha256(false), "ab", &[]);
        check(sha256(false), "sha512=ab", &[]);
        check(sha256(true), "ab", &[&[0xab]]);
        check(STRIPE, "t=1,v1=ab, v1 = cd ,v0=ef,v1=zz,x,=,v1", &[&[0xab], &[0xcd]]);
        check(Form::Versions, "v1,ab v2,cd v1,ef, v1a,00 v1 , v1,", &[&[0xab], &[0xef]]);
        check(Form::KeyedList, "pub|ab&other|cd&odd&|ef|", &[&[0xab], &[0xcd]]);
    }

    #[test]
    fn base64_needs_no_padding_but_has_one_text_only() {
        let read = |text| signatures(Form::Whole, Encoding::Base64, text);
        assert_eq!(read("AAE="), [[0, 1]]);
        assert_eq!(read("AAE"), [[0, 1]]);
        assert!(read("AAF=").is_empty());
        assert!(read("AA_-").is_empty());
    }

    #[test]
    fn the_first_stamp_of_a_list_of_pairs_counts() {
        assert_eq!(pair(STRIPE, "v1=ab, t=1,t=2", "t"), Some("1"));
        assert_eq!(pair(STRIPE, "v1=ab", "t"), None);
        assert_eq!(pair(Form::Whole, "t=1", "t"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail(text in ".*", odd in "[tv01h=,;|& \\t+/A-Fa-f]{0,60}") {
            for form in [
                Form::Whole,
                Form::Prefixed { prefix: "sha256=", optional: true },
                STRIPE,
                Form::Pairs { separator: ";", signature: "h1" },
                Form::Versions,
                Form::KeyedList,
            ] {
                for encoding in [Encoding::Hex, Encoding::Base64, Encoding::HexOrBase64] {
                    for text in [&text, &odd] {
                        let found = signatures(form, encoding, text);
                        prop_assert!(found.iter().all(|bytes| !bytes.is_empty()));
                        prop_assert!(pair(form, text, "t").is_none_or(|stamp| text.contains(stamp)));
                    }
                }
            }
        }
    }
}
