//! Frames as a broker sends them, and as it should not.

use super::*;
use proptest::prelude::*;

fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    [&[kind][..], &channel.to_be_bytes(), &long(payload), &[0xce]].concat()
}

fn method(class: u16, id: u16, arguments: &[u8]) -> Vec<u8> {
    frame(METHOD, 1, &[&class.to_be_bytes()[..], &id.to_be_bytes(), arguments].concat())
}

fn header(flags: u16, properties: &[u8]) -> Vec<u8> {
    let fixed = [&60u16.to_be_bytes()[..], &[0; 10], &flags.to_be_bytes()].concat();
    frame(HEADER, 1, &[&fixed, properties].concat())
}

fn deliver(key: &[u8]) -> Vec<u8> {
    method(60, 60, &[short(b"tag"), vec![0; 9], short(b"events"), short(key)].concat())
}

fn mended(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.len();
    assert_eq!(Scanner::default().scan(&mut bytes, &Seen::default()), length);
    bytes
}

#[test]
fn text_that_is_no_utf8_becomes_question_marks_in_place() {
    assert_eq!(mended(deliver(b"a\xffb")), deliver(b"a?b"));
    assert_eq!(mended(deliver("ä".as_bytes())), deliver("ä".as_bytes()));
    let named =
        |name: &[u8]| header(0x2000, &long(&[short(name), b"S".to_vec(), long(b"v\xff")].concat()));
    assert_eq!(mended(named(b"n\xe2\x82")), named(b"n??"));
}

#[test]
fn what_is_nested_too_deep_becomes_bytes() {
    let nested = |levels: usize, core: &[u8]| {
        (0..levels).fold(core.to_vec(), |inner, _| [&b"A"[..], &long(&inner)].concat())
    };
    let with = |value: Vec<u8>| header(0x2000, &long(&[short(b"n"), value].concat()));
    assert_eq!(mended(with(nested(DEPTH, b"V"))), with(nested(DEPTH, b"V")));
    let inner = nested(5_000, b"V");
    let bytes = [&b"x"[..], &long(&inner[5..])].concat();
    assert_eq!(mended(with(nested(DEPTH, &inner))), with(nested(DEPTH, &bytes)));
}

#[test]
fn a_value_of_an_unknown_type_becomes_bytes_with_all_behind_it() {
    let with = |value: &[u8]| header(0x2000, &long(&[&short(b"n")[..], value].concat()));
    assert_eq!(mended(with(b"Z1234567")), with(b"x\0\0\0\x03567"));
}

/// Found by fuzzing: a name that ran over its table was made UTF-8 in what stands behind the table, too.
#[test]
fn what_runs_over_the_end_of_its_table_becomes_an_entry_and_changes_nothing_behind_it() {
    let with = |table: &[u8]| header(0x2080, &[long(table), short(b"m\x01\xff")].concat());
    let becomes = |table: &[u8], entry: &[u8]| {
        let expected = header(0x2080, &[long(entry), short(b"m\x01?")].concat());
        assert_eq!(mended(with(table)), expected);
        assert_eq!(mended(expected.clone()), expected);
    };
    becomes(b"\x0aabc", b"\x02??V");
    becomes(b"\x01nS\0", b"\x02??V");
    becomes(b"\x01nA\0\0\0\x09VV", b"\x01nx\0\0\0\x02VV");
    becomes(b"\x01nA\0\0\0\x02SV", b"\x01nA\0\0\0\x02VV");
    let long_name = [&b"\xff"[..], &[b'a'; 260]].concat();
    becomes(&long_name[..200], &[&[198][..], &[b'?'; 198], b"V"].concat());
}

#[test]
fn bodies_and_what_is_no_amqp_pass_as_they_are() {
    let body = frame(BODY, 1, b"\xff\xfe{}");
    assert_eq!(mended(body.clone()), body);
    let other = b"AMQP\0\0\x09\x01".to_vec();
    assert_eq!(mended(other.clone()), other);
}

#[test]
fn the_servers_version_is_noted() {
    let version = [short(b"version"), b"S".to_vec(), long(b"4.1.2")].concat();
    let nested = [short(b"capabilities"), b"F".to_vec(), long(&short(b"x"))].concat();
    let table = long(&[nested, version].concat());
    let mut start = method(10, 10, &[vec![0, 9], table, long(b"PLAIN"), long(b"en_US")].concat());
    let seen = Seen::default();
    Scanner::default().scan(&mut start, &seen);
    assert_eq!(seen.version(), Some("4.1.2"));
}

#[test]
fn a_returned_message_is_noted_by_its_id_and_a_delivered_one_is_not() {
    let returned = [short(b"NO_ROUTE"), short(b"events"), short(b"key")].concat();
    let identified = |id: &[u8]| header(0x0080, &short(id));
    let mut bytes = [
        method(60, 50, &[&[1, 56][..], &returned].concat()),
        identified(b"m-1"),
        deliver(b"key"),
        identified(b"m-2"),
    ]
    .concat();
    let seen = Seen::default();
    Scanner::default().scan(&mut bytes, &seen);
    assert!(seen.was_returned("m-1") && !seen.was_returned("m-1"));
    assert!(!seen.was_returned("m-2"));
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_keep_their_length_and_come_out(
        frames in prop::collection::vec((prop_oneof![Just(1u8), Just(2), Just(3)], any::<Vec<u8>>()), 0..8),
        cut in 1usize..64,
    ) {
        let bytes: Vec<u8> =
            frames.iter().flat_map(|(kind, payload)| frame(*kind, 1, payload)).collect();
        let whole = mended(bytes.clone());
        let (mut scanner, seen) = (Scanner::default(), Seen::default());
        let (mut waiting, mut out) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(cut) {
            waiting.extend_from_slice(piece);
            let ready = scanner.scan(&mut waiting, &seen);
            out.extend(waiting.drain(..ready));
        }
        prop_assert!(waiting.is_empty());
        prop_assert_eq!(out, whole);
    }

    #[test]
    fn mending_again_changes_nothing(table in any::<Vec<u8>>(), id in any::<Vec<u8>>()) {
        let id = id.get(..id.len().min(255)).unwrap_or_default();
        let frame = mended(header(0x2080, &[long(&table), short(id)].concat()));
        let again = mended(frame.clone());
        prop_assert_eq!(frame, again);
    }
}
