//! `spillway-lb`: what the edge tells the node with every request.

use std::borrow::Cow;
use std::time::Duration;

use super::dictionary::{Schema, Value};
use super::scanner::Item;
use super::writer::Writer;
use super::{DEFAULT_POOL, Error, is_valid_name, name_of};
use crate::{ConnectionId, VmToken};

const SCHEMA: Schema<10> = Schema {
    keys: ["id", "pool", "vm", "seq", "total", "conn", "age", "open", "weight", "sample"],
    parameter: "vm",
};

/// A load balancer, and where in its traffic a request stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamp<'a> {
    /// The load balancer.
    pub id: Cow<'a, str>,
    /// The pool of load balancers between which its clients can be moved.
    pub pool: Cow<'a, str>,
    /// Capacity relative to the pool; more than 0.
    pub weight: f64,
    /// Absent where the header only announces a load balancer (health checks).
    pub position: Option<Position>,
}

/// Where in a load balancer's traffic a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The VM (worker thread) that forwards the request.
    pub vm: VmToken,
    /// Requests that VM has forwarded, this one included.
    pub seq: u64,
    /// Requests the load balancer has forwarded in all its VMs, as far as this VM knows.
    ///
    /// A node's VM often sees one of a load balancer's VMs only (each worker of the edge keeps
    /// its own upstream connections), so `seq` alone cannot tell it the share of the whole.
    /// The same as `seq` where the header has no `total`.
    pub total: u64,
    /// The downstream connection the request came on.
    pub connection: ConnectionId,
    /// Time since that connection opened or was first seen; whole seconds on the wire.
    pub age: Duration,
    /// Downstream connections open in that VM.
    pub open: u64,
    /// Requests this stamp stands for, at least 1: a VM with many may stamp a sample of them.
    pub sample: u64,
}

// === impl Stamp ===

impl<'a> Stamp<'a> {
    /// Reads the header's bytes.
    ///
    /// # Errors
    /// What is malformed, misses `id`, or has `seq` without the keys that belong to it.
    pub fn parse(header: &'a [u8]) -> Result<Self, Error> {
        let [id, pool, vm, seq, total, conn, age, open, weight, sample] = SCHEMA.read(header)?;
        let position = match unsigned(&seq, "seq")? {
            None => None,
            Some(seq) => Some(Position {
                vm: token(&vm)?,
                seq,
                total: unsigned(&total, "total")?.unwrap_or(seq),
                connection: unsigned(&conn, "conn")?.ok_or(Error::Missing("conn"))?,
                age: Duration::from_secs(unsigned(&age, "age")?.unwrap_or(0)),
                open: unsigned(&open, "open")?.unwrap_or(0),
                sample: unsigned(&sample, "sample")?.unwrap_or(1).max(1),
            }),
        };
        Ok(Self {
            id: name(&id, "id")?.ok_or(Error::Missing("id"))?,
            pool: name(&pool, "pool")?.unwrap_or(Cow::Borrowed(DEFAULT_POOL)),
            weight: positive(&weight, "weight")?.unwrap_or(1.0),
            position,
        })
    }

    /// Appends the header's value to `to`. Keys that hold their default are left out, and so is
    /// a weight that cannot be written: more than 0 in thousandths, at most 999999999999.999.
    ///
    /// An id or pool that [`is_valid_name`] refuses cannot be written and yields nothing.
    pub fn write(&self, to: &mut String) {
        if !is_valid_name(&self.id) || !is_valid_name(&self.pool) {
            return;
        }
        let mut writer = Writer::new(to);
        writer.name("id", &self.id);
        if self.pool != DEFAULT_POOL {
            writer.name("pool", &self.pool);
        }
        #[allow(clippy::float_cmp, reason = "exactly what `parse` puts where the key is left out")]
        if self.weight != 1.0 {
            writer.decimal("weight", self.weight);
        }
        if let Some(position) = &self.position {
            writer.token("vm", position.vm.as_str());
            writer.integer("seq", position.seq);
            if position.total != position.seq {
                writer.integer("total", position.total);
            }
            writer.integer("conn", position.connection);
            writer.integer("age", position.age.as_secs());
            writer.integer("open", position.open);
            if position.sample != 1 {
                writer.integer("sample", position.sample);
            }
        }
    }
}

fn name<'a>(value: &Value<'a>, key: &'static str) -> Result<Option<Cow<'a, str>>, Error> {
    match value {
        Value::Absent => Ok(None),
        value => name_of(value).map(Some).ok_or(Error::Invalid(key)),
    }
}

fn token(value: &Value<'_>) -> Result<VmToken, Error> {
    match value {
        Value::Absent => Err(Error::Missing("vm")),
        Value::Item(Item::Token(token)) => VmToken::from_token(token).ok_or(Error::Invalid("vm")),
        _ => Err(Error::Invalid("vm")),
    }
}

fn unsigned(value: &Value<'_>, key: &'static str) -> Result<Option<u64>, Error> {
    match value {
        Value::Absent => Ok(None),
        Value::Item(Item::Integer(number)) => {
            u64::try_from(*number).map(Some).map_err(|_| Error::Invalid(key))
        }
        _ => Err(Error::Invalid(key)),
    }
}

fn positive(value: &Value<'_>, key: &'static str) -> Result<Option<f64>, Error> {
    let number = match value {
        Value::Absent => return Ok(None),
        Value::Item(Item::Decimal(thousandths)) => *thousandths as f64 / 1000.0,
        Value::Item(Item::Integer(number)) => *number as f64,
        _ => return Err(Error::Invalid(key)),
    };
    if number > 0.0 { Ok(Some(number)) } else { Err(Error::Invalid(key)) }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn written(stamp: &Stamp<'_>) -> String {
        let mut header = String::new();
        stamp.write(&mut header);
        header
    }

    fn position() -> Position {
        Position {
            vm: VmToken::from_random(7),
            seq: 12,
            total: 40,
            connection: 0,
            age: Duration::from_secs(90),
            open: 5,
            sample: 1,
        }
    }

    #[test]
    fn a_full_stamp_is_spelled_as_documented() {
        let stamp = Stamp {
            id: "edge-1".into(),
            pool: "eu".into(),
            weight: 2.5,
            position: Some(position()),
        };
        let header = written(&stamp);
        assert_eq!(
            header,
            "id=\"edge-1\", pool=\"eu\", weight=2.5, vm=v0000000000000007, seq=12, total=40, \
             conn=0, age=90, open=5"
        );
        assert_eq!(Stamp::parse(header.as_bytes()), Ok(stamp));
    }

    #[test]
    fn an_id_alone_announces_a_load_balancer() {
        let stamp = Stamp::parse(b"id=\"edge-1\"").unwrap();
        assert_eq!(
            stamp,
            Stamp { id: "edge-1".into(), pool: "default".into(), weight: 1.0, position: None }
        );
        assert_eq!(written(&stamp), "id=\"edge-1\"");
    }

    #[test]
    fn without_a_total_the_vm_is_taken_as_the_only_one() {
        let stamp = Stamp::parse(b"id=\"e\", vm=a, seq=9, conn=1").unwrap();
        assert_eq!(stamp.position.unwrap().total, 9);
    }

    #[test]
    fn unknown_keys_and_parameters_are_ignored() {
        let header = b"later=(1 2;x);y, id=\"e\";p=1, vm=a, seq=9, conn=1, other=?0";
        assert_eq!(Stamp::parse(header).unwrap().position.unwrap().seq, 9);
    }

    #[test]
    fn malformed_stamps_are_refused_with_the_reason() {
        let long = [b'a'; super::super::MAX_HEADER_BYTES + 1];
        let cases: [(&[u8], Error); 14] = [
            (b"", Error::Missing("id")),
            (b"id", Error::Invalid("id")),
            (b"id=edge", Error::Invalid("id")),
            (b"id=\"\"", Error::Invalid("id")),
            (b"id=(\"e\")", Error::Invalid("id")),
            (b"id=\"e", Error::NotADictionary),
            (b"id=\"\xff\"", Error::NotADictionary),
            (b"id=\"e\", seq=1, conn=1", Error::Missing("vm")),
            (b"id=\"e\", seq=1, vm=a", Error::Missing("conn")),
            (b"id=\"e\", seq=-1, vm=a, conn=1", Error::Invalid("seq")),
            (b"id=\"e\", seq=1.5, vm=a, conn=1", Error::Invalid("seq")),
            (b"id=\"e\", seq=1, vm=\"a\", conn=1", Error::Invalid("vm")),
            (b"id=\"e\", weight=0", Error::Invalid("weight")),
            (&long, Error::TooLong),
        ];
        for (header, error) in cases {
            assert_eq!(Stamp::parse(header), Err(error), "{:?}", String::from_utf8_lossy(header));
        }
    }

    #[test]
    fn what_could_not_be_read_back_is_not_written() {
        let stamp = |id: &str, weight| {
            let id = id.to_owned().into();
            written(&Stamp { id, pool: "default".into(), weight, position: None })
        };
        for id in ["", "\u{e4}", "a\nb", &"a".repeat(257)] {
            assert_eq!(stamp(id, 1.0), "", "{id:?}");
        }
        for weight in [0.0004, -2.0, 1e12, f64::INFINITY, f64::NAN] {
            assert_eq!(stamp("e", weight), "id=\"e\"", "{weight}");
        }
        assert_eq!(stamp("e", 0.001), "id=\"e\", weight=0.001");
    }
}
