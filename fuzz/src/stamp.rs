//! `spillway-lb`: what is read is what `sfv` reads, and what is written is read back.

use std::borrow::Cow;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use redistribution::VmToken;
use redistribution::wire::{
    DEFAULT_POOL, MAX_HEADER_BYTES, MAX_INTEGER, Position, STAMP_HEADER, Stamp, is_valid_name,
};

use crate::oracle;

/// Largest weight that can be written as a decimal, and the least.
const WEIGHTS: std::ops::RangeInclusive<f64> = 0.001..=999_999_999_999.0;

/// Takes `data` for a header, and for a stamp to be written.
///
/// # Panics
/// Where something does not hold.
pub fn check(data: &[u8]) {
    let read = Stamp::parse(data).ok();
    assert_eq!(read, expected(data), "{STAMP_HEADER}: {}", data.escape_ascii());
    if let Some(stamp) = read {
        check_written(&stamp);
    }
    if let Ok(stamp) = stamp(&mut Unstructured::new(data)) {
        check_written(&stamp);
    }
}

/// What the header says, read in another way.
fn expected(header: &[u8]) -> Option<Stamp<'static>> {
    let dictionary = oracle::dictionary(header)?;
    let number = |key| oracle::item(&dictionary, key, oracle::unsigned);
    let name = |key| oracle::item(&dictionary, key, oracle::name);
    let weight = oracle::item(&dictionary, "weight", oracle::number)?.unwrap_or(1.0);
    let position = match number("seq")? {
        None => None,
        Some(seq) => Some(Position {
            vm: oracle::item(&dictionary, "vm", oracle::token)??,
            seq,
            total: number("total")?.unwrap_or(seq),
            connection: number("conn")??,
            age: Duration::from_secs(number("age")?.unwrap_or(0)),
            open: number("open")?.unwrap_or(0),
            sample: number("sample")?.unwrap_or(1).max(1),
        }),
    };
    let id = name("id")??;
    let pool = name("pool")?.unwrap_or_else(|| DEFAULT_POOL.to_owned());
    (weight > 0.0).then_some(Stamp { id: id.into(), pool: pool.into(), weight, position })
}

fn check_written(stamp: &Stamp<'_>) {
    let mut header = String::new();
    stamp.write(&mut header);
    if !is_valid_name(&stamp.id) || !is_valid_name(&stamp.pool) {
        assert_eq!(header, "", "{stamp:?}");
        return;
    }
    assert!(header.len() <= MAX_HEADER_BYTES, "{header}");
    assert!(header.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{header:?}");
    let read = Stamp::parse(header.as_bytes()).expect(&header);
    assert_eq!((&read.id, &read.pool), (&stamp.id, &stamp.pool));
    let position = stamp.position.map(|position| Position {
        seq: wrapped(position.seq),
        total: wrapped(position.total),
        connection: wrapped(position.connection),
        age: Duration::from_secs(wrapped(position.age.as_secs())),
        open: wrapped(position.open),
        ..position
    });
    assert_eq!(read.position, position, "{header}");
    if WEIGHTS.contains(&stamp.weight) {
        assert!((read.weight - stamp.weight).abs() <= 0.000_6, "{} in {header}", stamp.weight);
    }
    let mut again = String::new();
    read.write(&mut again);
    // A weight next to 1 is written as 1, and left out then.
    assert_eq!(Stamp::parse(again.as_bytes()), Ok(read), "{again} of {header}");
}

/// A number as an RFC 9651 integer can hold it.
pub(crate) fn wrapped(number: u64) -> u64 {
    number % (MAX_INTEGER + 1)
}

/// Any stamp: names that can be written and others, numbers that can be and others.
pub(crate) fn stamp<'a>(data: &mut Unstructured<'a>) -> Result<Stamp<'a>> {
    let id = Cow::Borrowed(data.arbitrary()?);
    let pool =
        if data.arbitrary()? { DEFAULT_POOL.into() } else { Cow::Borrowed(data.arbitrary()?) };
    let weight = if data.arbitrary()? { 1.0 } else { data.arbitrary()? };
    let position = if data.arbitrary()? {
        let (seq, same) = (data.arbitrary()?, data.arbitrary()?);
        Some(Position {
            vm: VmToken::from_random(data.arbitrary()?),
            seq,
            total: if same { seq } else { data.arbitrary()? },
            connection: data.arbitrary()?,
            age: data.arbitrary()?,
            open: data.arbitrary()?,
            sample: if same { 1 } else { data.int_in_range(1..=MAX_INTEGER)? },
        })
    } else {
        None
    };
    Ok(Stamp { id, pool, weight, position })
}
