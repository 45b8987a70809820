//! The two headers are RFC 9651 dictionaries: what reads and writes them here agrees with a library
//! that others keep, whatever comes in.
#![cfg(not(target_family = "wasm"))]

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use redistribution::VmToken;
use redistribution::wire::{
    CloseRequest, Error, MAX_CONNECTIONS, MAX_HEADER_BYTES, NamedConnection, Position, Stamp,
    is_valid_name,
};
use sfv::{BareItem, DictSerializer, Dictionary, Item, ListEntry, Parser, key_ref};

/// What a header must be read as, by what the library says of it.
fn stamp_of(dictionary: &Dictionary) -> Option<Stamp<'_>> {
    let entry = |key: &str| dictionary.get(key);
    let unsigned = |key: &str| match entry(key) {
        None => Some(None),
        Some(value) => {
            let number = item(value)?.bare_item.as_integer()?;
            u64::try_from(i64::from(number)).ok().map(Some)
        }
    };
    let name = |key: &str| match entry(key) {
        None => Some(None),
        Some(value) => {
            let name = item(value)?.bare_item.as_string()?.as_str();
            is_valid_name(name).then_some(Some(name))
        }
    };
    let weight = match entry("weight") {
        None => 1.0,
        Some(value) => match &item(value)?.bare_item {
            BareItem::Decimal(weight) => f64::from(*weight),
            BareItem::Integer(weight) => i64::from(*weight) as f64,
            _ => return None,
        },
    };
    let position = match unsigned("seq")? {
        None => None,
        Some(seq) => Some(Position {
            vm: VmToken::parse(item(entry("vm")?)?.bare_item.as_token()?.as_str())?,
            seq,
            total: unsigned("total")?.unwrap_or(seq),
            connection: unsigned("conn")??,
            age: Duration::from_secs(unsigned("age")?.unwrap_or(0)),
            open: unsigned("open")?.unwrap_or(0),
            sample: unsigned("sample")?.unwrap_or(1).max(1),
        }),
    };
    let stamp = Stamp {
        id: name("id")??.into(),
        pool: name("pool")?.unwrap_or("default").into(),
        weight,
        position,
    };
    (weight > 0.0).then_some(stamp)
}

fn close_request_of(dictionary: &Dictionary) -> Option<CloseRequest<'_>> {
    let lb = item(dictionary.get("lb")?)?.bare_item.as_string()?.as_str();
    let ListEntry::InnerList(list) = dictionary.get("conns")? else {
        return None;
    };
    let named = |item: &Item| {
        let vm = VmToken::parse(item.params.get("vm")?.as_token()?.as_str())?;
        let id = u64::try_from(i64::from(item.bare_item.as_integer()?)).ok()?;
        Some(NamedConnection { vm, id })
    };
    let connections =
        list.items.iter().take(MAX_CONNECTIONS).map(named).collect::<Option<Vec<_>>>()?;
    let fits = is_valid_name(lb) && !connections.is_empty();
    fits.then(|| CloseRequest { lb: lb.into(), connections })
}

fn item(entry: &ListEntry) -> Option<&Item> {
    match entry {
        ListEntry::Item(item) => Some(item),
        ListEntry::InnerList(_) => None,
    }
}

/// Both say the same of `header`.
fn check(header: &[u8]) -> Result<(), TestCaseError> {
    let text = || String::from_utf8_lossy(header).into_owned();
    let (stamp, close) = (Stamp::parse(header), CloseRequest::parse(header));
    match Parser::new(header).parse::<Dictionary>() {
        _ if header.len() > MAX_HEADER_BYTES => {
            prop_assert_eq!((stamp, close), (Err(Error::TooLong), Err(Error::TooLong)));
        }
        Err(error) => {
            let refused = (Err(Error::NotADictionary), Err(Error::NotADictionary));
            prop_assert_eq!((stamp, close), refused, "{:?}: {}", text(), error);
        }
        Ok(dictionary) => {
            prop_assert_ne!(&stamp, &Err(Error::NotADictionary), "{:?}", text());
            prop_assert_eq!(stamp.ok(), stamp_of(&dictionary), "{:?}", text());
            prop_assert_eq!(close.ok(), close_request_of(&dictionary), "{:?}", text());
        }
    }
    Ok(())
}

/// Values of all types, some of them malformed.
const VALUES: &[&str] = &[
    "0",
    "7",
    "-7",
    "-",
    "--1",
    "1.",
    "1.0",
    "1.25",
    "-0.125",
    "1.0625",
    ".5",
    "00012",
    "999999999999999",
    "1000000000000000",
    "999999999999.999",
    "1000000000000.0",
    "\"\"",
    "\"e\"",
    r#""a \"b\" \\c""#,
    r#""\a""#,
    r#""\"#,
    "\"\u{e4}\"",
    "\"\t\"",
    "\"\x7f\"",
    "token",
    "*t/o:k~e.n",
    "T",
    "9t",
    "?1",
    "?0",
    "?2",
    "?",
    "::",
    ":aGk=:",
    ":aGk:",
    ":aG=:",
    ":aG==:",
    ":a:",
    ":a===:",
    ":=:",
    ":aGk==:",
    ":aG=k:",
    ":aGkA=:",
    ":a-b:",
    ":aGk",
    "@1",
    "@-1",
    "@1.5",
    "@",
    "%\"\"",
    "%\"f%c3%bc\"",
    "%\"%c3\"",
    "%\"%C3%BC\"",
    "%\"%00\"",
    "%\"a",
    "%",
    "()",
    "(1 2)",
    "( 1  2 )",
    "(1;vm=a)",
    "(1;vm=a 2;vm=b;vm=c)",
    "(1;vm=\"a\")",
    "(1;vm)",
    "(1 2",
    "(1,2)",
    "(1\t2)",
    "(1;vm=a)x",
    "(1;vm=a -2;vm=b)",
    "((1))",
    "(\"e\";vm=a)",
];

const KEYS: &[&str] = &[
    "id",
    "pool",
    "vm",
    "seq",
    "total",
    "conn",
    "age",
    "open",
    "weight",
    "sample",
    "lb",
    "conns",
    "*",
    "a_b-c.d*9",
    "Id",
    "9",
    "-",
    "_",
    "",
];

const PARAMETERS: &[&str] =
    &["", "", "", ";a", ";a=1", "; a=\"b\";c=d", ";", ";A", ";a=", ";a=(1)", " ;a", ";vm=z"];

const SEPARATORS: &[&str] = &[",", ", ", " ,", "\t,\t ", ",,", ";", " "];

fn entry() -> impl Strategy<Value = String> {
    (select(KEYS), proptest::option::weighted(0.95, select(VALUES)), select(PARAMETERS)).prop_map(
        |(key, value, parameters)| match value {
            Some(value) => format!("{key}={value}{parameters}"),
            None => format!("{key}{parameters}"),
        },
    )
}

/// A dictionary, or nearly one.
fn dictionary() -> impl Strategy<Value = String> {
    let separator = prop_oneof![9 => Just(", "), 1 => select(SEPARATORS)];
    let entries = proptest::collection::vec((entry(), separator), 0..6);
    (entries, select(vec!["", "", "", " ", ",", "\t"]), select(vec!["", "", "", "  ", "\t"]))
        .prop_map(|(entries, end, start)| {
            let last = entries.len();
            let parts = entries.into_iter().enumerate().map(|(index, (entry, separator))| {
                if index + 1 == last { entry } else { entry + separator }
            });
            start.to_owned() + &parts.collect::<String>() + end
        })
}

/// A stamp that is right, but for one key.
fn nearly_a_stamp() -> impl Strategy<Value = String> {
    (entry(), any::<bool>()).prop_map(|(entry, in_front)| {
        let stamp = "id=\"e\", pool=\"p\", weight=2.5, vm=a, seq=7, total=9, conn=1, age=3, open=2";
        if in_front { format!("{entry}, {stamp}") } else { format!("{stamp}, {entry}") }
    })
}

fn nearly_a_close_request() -> impl Strategy<Value = String> {
    entry().prop_map(|entry| format!("lb=\"e\", conns=(1;vm=a 2;vm=b), {entry}"))
}

#[test]
fn all_that_a_single_key_can_hold_is_read_alike() {
    for key in KEYS {
        for value in VALUES {
            for parameters in PARAMETERS {
                check(format!("{key}={value}{parameters}").as_bytes()).unwrap();
                check(format!("id=\"e\", {key}={value}{parameters}").as_bytes()).unwrap();
            }
        }
    }
    check(&[b'a'; MAX_HEADER_BYTES]).unwrap();
    check(&[b'a'; MAX_HEADER_BYTES + 1]).unwrap();
    let long = vec!["1;vm=a"; MAX_CONNECTIONS + 5].join(" ");
    check(format!("lb=\"e\", conns=({long} x)").as_bytes()).unwrap();
    check(format!("lb=\"e\", conns=({long} )").as_bytes()).unwrap();
}

#[test]
fn names_and_tokens_are_what_the_library_takes_for_strings_and_tokens() {
    for byte in 0..=u8::MAX {
        let text = String::from_utf8_lossy(&[byte]).into_owned();
        for text in [text.clone(), format!("a{text}")] {
            assert_eq!(is_valid_name(&text), sfv::StringRef::from_str(&text).is_ok(), "{text:?}");
            let token = sfv::TokenRef::from_str(&text).is_ok();
            assert_eq!(VmToken::parse(&text).is_some(), token, "{text:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn any_bytes_are_read_alike(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        check(&bytes)?;
    }

    #[test]
    fn any_dictionary_is_read_alike(header in dictionary()) {
        check(header.as_bytes())?;
    }

    #[test]
    fn what_is_nearly_right_is_read_alike(
        stamp in nearly_a_stamp(),
        request in nearly_a_close_request(),
    ) {
        check(stamp.as_bytes())?;
        check(request.as_bytes())?;
    }

    #[test]
    fn numbers_and_names_are_written_alike(
        id in "[ -~]{1,40}",
        numbers in proptest::array::uniform6(0..=999_999_999_999_999_u64),
        weight in prop_oneof![proptest::num::f64::ANY, 0.0..10.0, 0.0..1e13],
        random in any::<u64>(),
    ) {
        let [seq, total, connection, age, open, sample] = numbers;
        let vm = VmToken::from_random(random);
        let age_of = Duration::from_secs(age);
        let position = Position { vm, seq, total, connection, age: age_of, open, sample };
        let id_text = id.clone();
        let stamp =
            Stamp { id: id.into(), pool: "default".into(), weight, position: Some(position) };
        let mut written = String::new();
        stamp.write(&mut written);

        let mut expected = DictSerializer::new();
        let integer = |number: u64| sfv::Integer::try_from(number).unwrap();
        expected.bare_item(key_ref("id"), sfv::StringRef::from_str(&id_text).unwrap());
        if let Ok(weight) = sfv::Decimal::try_from(weight)
            && weight > sfv::Decimal::ZERO
            && stamp.weight.to_bits() != 1.0_f64.to_bits()
        {
            expected.bare_item(key_ref("weight"), weight);
        }
        expected.bare_item(key_ref("vm"), sfv::TokenRef::from_str(vm.as_str()).unwrap());
        expected.bare_item(key_ref("seq"), integer(seq));
        if total != seq {
            expected.bare_item(key_ref("total"), integer(total));
        }
        expected.bare_item(key_ref("conn"), integer(connection));
        expected.bare_item(key_ref("age"), integer(age));
        expected.bare_item(key_ref("open"), integer(open));
        if sample != 1 {
            expected.bare_item(key_ref("sample"), integer(sample));
        }
        prop_assert_eq!(Some(written), expected.finish());
    }
}
