//! The two headers, whatever comes in: nothing panics, nothing out of contract comes out, and
//! what is written is read back the same.
#![cfg(not(target_family = "wasm"))]

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use redistribution::VmToken;
use redistribution::wire::{
    CloseRequest, MAX_CONNECTIONS, MAX_INTEGER, NamedConnection, Position, Stamp, is_valid_name,
};

/// Any name, quotes and backslashes often among its characters.
fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{1,128}", r#"["\\a]{1,128}"#, "[a-z]{1,20}-[0-9]{1,3}"]
}

fn token() -> impl Strategy<Value = VmToken> {
    prop_oneof![
        any::<u64>().prop_map(VmToken::from_random),
        "[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]{0,30}"
            .prop_map(|text| VmToken::parse(&text).expect("a token of at most 31 bytes")),
    ]
}

/// What a header can hold: small numbers, the largest ones, and any between.
fn integer() -> impl Strategy<Value = u64> {
    prop_oneof![0..100_u64, 0..=MAX_INTEGER, MAX_INTEGER - 3..=MAX_INTEGER]
}

/// More than 0, in thousandths.
fn weight() -> impl Strategy<Value = f64> {
    prop_oneof![1..10_000_u64, 1..=MAX_INTEGER].prop_map(|thousandths| thousandths as f64 / 1000.0)
}

fn position() -> impl Strategy<Value = Position> {
    (token(), integer(), integer(), integer(), integer(), integer(), integer()).prop_map(
        |(vm, seq, total, connection, age, open, sample)| Position {
            vm,
            seq,
            total,
            connection,
            age: Duration::from_secs(age),
            open,
            sample: sample.max(1),
        },
    )
}

fn stamp() -> impl Strategy<Value = Stamp<'static>> {
    (name(), name(), prop_oneof![Just(1.0), weight()], proptest::option::of(position())).prop_map(
        |(id, pool, weight, position)| Stamp { id: id.into(), pool: pool.into(), weight, position },
    )
}

fn close_request() -> impl Strategy<Value = CloseRequest<'static>> {
    let connection = (token(), integer()).prop_map(|(vm, id)| NamedConnection { vm, id });
    (name(), proptest::collection::vec(connection, 1..=MAX_CONNECTIONS))
        .prop_map(|(lb, connections)| CloseRequest { lb: lb.into(), connections })
}

fn header_of(stamp: &Stamp<'_>) -> String {
    let mut header = String::new();
    stamp.write(&mut header);
    header
}

/// A change to the bytes of a header, at a place between its start and end.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Cut(Index),
    Remove(Index),
    Insert(Index, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..5),
        select(SYNTAX).prop_map(|piece| piece.as_bytes().to_vec()),
    ];
    prop_oneof![
        (any::<Index>(), 1..=255_u8).prop_map(|(at, bits)| Change::Flip(at, bits)),
        any::<Index>().prop_map(Change::Cut),
        any::<Index>().prop_map(Change::Remove),
        (any::<Index>(), piece).prop_map(|(at, piece)| Change::Insert(at, piece)),
    ]
}

fn changed(header: &str, changes: &[Change]) -> Vec<u8> {
    let mut bytes = header.as_bytes().to_vec();
    for change in changes {
        let places = bytes.len() + 1;
        match change {
            Change::Flip(at, bits) => {
                if let Some(byte) = bytes.get_mut(at.index(places)) {
                    *byte ^= bits;
                }
            }
            Change::Cut(at) => bytes.truncate(at.index(places)),
            Change::Remove(at) => {
                if at.index(places) < bytes.len() {
                    bytes.remove(at.index(places));
                }
            }
            Change::Insert(at, piece) => {
                let at = at.index(places);
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
    bytes
}

/// Pieces that dictionaries are made of, so that what is random gets far into the parser.
const SYNTAX: &[&str] = &[
    "id",
    "pool",
    "vm",
    "seq",
    "total",
    "conn",
    "age",
    "open",
    "weight",
    "lb",
    "conns",
    "=",
    ",",
    ", ",
    ";",
    ";vm=a",
    "(",
    ")",
    "\"",
    "\\",
    "\"e\"",
    "\"\\\"\"",
    "a",
    "*",
    "-",
    "0",
    "1",
    "-1",
    "1.5",
    "0.0",
    "999999999999999",
    "9999999999999999",
    "999999999999.999",
    "?1",
    "?0",
    ":aGk=:",
    "@1",
    "%\"f%c3%bc\"",
    " ",
    "\t",
    "x=(1 2);y",
];

fn soup() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(select(SYNTAX), 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

/// What the readers promise, and that a reader reads the same again from what it has read.
fn check(header: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(stamp) = Stamp::parse(header) {
        prop_assert!(is_valid_name(&stamp.id) && is_valid_name(&stamp.pool));
        prop_assert!(stamp.weight.is_finite() && stamp.weight > 0.0);
        if let Some(position) = &stamp.position {
            let Position { vm, seq, total, connection, age, open, sample } = position;
            prop_assert_eq!(VmToken::parse(vm.as_str()), Some(*vm));
            prop_assert!(*sample >= 1);
            for number in [*seq, *total, *connection, age.as_secs(), *open, *sample] {
                prop_assert!(number <= MAX_INTEGER);
            }
        }
        // An integer as weight can be read that is too large to be written as a decimal.
        if stamp.weight < 1e12 {
            let header = header_of(&stamp);
            prop_assert_eq!(Stamp::parse(header.as_bytes()), Ok(stamp));
        }
    }
    if let Ok(request) = CloseRequest::parse(header) {
        prop_assert!(is_valid_name(&request.lb));
        prop_assert!((1..=MAX_CONNECTIONS).contains(&request.connections.len()));
        for connection in &request.connections {
            prop_assert!(connection.id <= MAX_INTEGER);
            prop_assert_eq!(VmToken::parse(connection.vm.as_str()), Some(connection.vm));
        }
        let header = request.to_header();
        prop_assert_eq!(CloseRequest::parse(header.as_bytes()), Ok(request));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes)?;
    }

    #[test]
    fn anything_much_like_a_header_is_read_or_refused(bytes in soup()) {
        check(&bytes)?;
    }

    #[test]
    fn a_header_that_was_damaged_is_read_or_refused(
        stamp in stamp(),
        request in close_request(),
        changes in proptest::collection::vec(change(), 1..4),
    ) {
        check(&changed(&header_of(&stamp), &changes))?;
        check(&changed(&request.to_header(), &changes))?;
    }

    #[test]
    fn a_stamp_is_read_back_as_it_was_written(stamp in stamp()) {
        let header = header_of(&stamp);
        prop_assert_eq!(Stamp::parse(header.as_bytes()), Ok(stamp));
    }

    #[test]
    fn a_close_request_is_read_back_as_it_was_written(request in close_request()) {
        let header = request.to_header();
        prop_assert_eq!(CloseRequest::parse(header.as_bytes()), Ok(request));
    }

    #[test]
    fn a_stamp_with_any_id_and_weight_is_readable_or_empty(
        id in any::<String>(),
        weight in proptest::num::f64::ANY,
        position in position(),
    ) {
        let stamp = Stamp { id: id.into(), pool: "p".into(), weight, position: Some(position) };
        let header = header_of(&stamp);
        prop_assert_eq!(header.is_empty(), !is_valid_name(&stamp.id));
        prop_assert!(header.is_empty() || Stamp::parse(header.as_bytes()).is_ok());
    }

    #[test]
    fn keys_of_a_later_version_change_nothing(
        stamp in stamp(),
        later in select(vec!["v2", "v2=?0", "v2=(1 \"a\";b);c=d", "v2=1.5;x=:aGk=:", "v2=@7"]),
        in_front in any::<bool>(),
    ) {
        let header = header_of(&stamp);
        let with = if in_front {
            format!("{later}, {header}")
        } else {
            format!("{header},\t{later}")
        };
        prop_assert_eq!(Stamp::parse(with.as_bytes()), Ok(stamp));
    }

    #[test]
    fn counters_of_any_size_can_be_written(seq in any::<u64>(), position in position()) {
        let position = Position { seq, ..position };
        let stamp = Stamp {
            id: "e".into(),
            pool: "default".into(),
            weight: 1.0,
            position: Some(position),
        };
        let header = header_of(&stamp);
        let read = Stamp::parse(header.as_bytes()).unwrap().position.unwrap();
        prop_assert_eq!(read.seq, seq % (MAX_INTEGER + 1));
    }
}
