//! `spillway-close`: which connections the node asks the edge to close.

use std::borrow::Cow;

use super::dictionary::{Member, Schema, Value};
use super::scanner::Item;
use super::writer::Writer;
use super::{Error, is_valid_name, name_of};
use crate::{ConnectionId, VmToken};

/// Connections one close request can name. A longer list is read up to here.
pub const MAX_CONNECTIONS: usize = 32;

const SCHEMA: Schema<2> = Schema { keys: ["lb", "conns"], parameter: "vm" };

/// Asks a load balancer to close connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseRequest<'a> {
    /// The load balancer this is for; any other ignores it.
    pub lb: Cow<'a, str>,
    /// What to close; never empty.
    pub connections: Vec<NamedConnection>,
}

/// A downstream connection of a load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedConnection {
    /// Its id, as stamped by the VM that owns it. First, because it tells most pairs apart at once.
    pub id: ConnectionId,
    /// The VM (worker thread) that owns it.
    pub vm: VmToken,
}

// === impl CloseRequest ===

impl<'a> CloseRequest<'a> {
    /// Reads the header's bytes.
    ///
    /// # Errors
    /// What is malformed, misses a key, or names no connection.
    pub fn parse(header: &'a [u8]) -> Result<Self, Error> {
        let [lb, conns] = SCHEMA.read(header)?;
        let lb = match lb {
            Value::Absent => return Err(Error::Missing("lb")),
            value => name_of(&value).ok_or(Error::Invalid("lb"))?,
        };
        let members = match conns {
            Value::Absent => return Err(Error::Missing("conns")),
            Value::InnerList(members) => members,
            Value::Item(_) => return Err(Error::Invalid("conns")),
        };
        let connections = members
            .take(MAX_CONNECTIONS)
            .map(|member| NamedConnection::from_member(&member))
            .collect::<Option<Vec<_>>>()
            .filter(|connections| !connections.is_empty())
            .ok_or(Error::Invalid("conns"))?;
        Ok(Self { lb, connections })
    }

    /// The header's value; empty if `lb` is no valid name.
    #[must_use]
    pub fn to_header(&self) -> String {
        let mut header = String::new();
        if !is_valid_name(&self.lb) {
            return header;
        }
        let mut writer = Writer::new(&mut header);
        writer.name("lb", &self.lb);
        let connections = self.connections.iter();
        let members = connections.map(|connection| (connection.id, connection.vm.as_str()));
        writer.list("conns", "vm", members);
        header
    }
}

// === impl NamedConnection ===

impl NamedConnection {
    fn from_member(member: &Member<'_>) -> Option<Self> {
        let (Item::Integer(id), Some(Item::Token(vm))) = (member.item, member.parameter) else {
            return None;
        };
        Some(Self { vm: VmToken::from_token(vm)?, id: u64::try_from(id).ok()? })
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn named(vm: &str, id: ConnectionId) -> NamedConnection {
        NamedConnection { vm: VmToken::parse(vm).unwrap(), id }
    }

    #[test]
    fn it_is_spelled_as_documented() {
        let request = CloseRequest {
            lb: "edge-1".into(),
            connections: vec![named("va", 0), named("vb", 17)],
        };
        let header = request.to_header();
        assert_eq!(header, "lb=\"edge-1\", conns=(0;vm=va 17;vm=vb)");
        assert_eq!(CloseRequest::parse(header.as_bytes()), Ok(request));
    }

    #[test]
    fn it_is_empty_for_a_name_that_could_not_be_read_back() {
        for lb in ["", "\u{e4}", &"a".repeat(257)] {
            let request =
                CloseRequest { lb: lb.to_owned().into(), connections: vec![named("va", 0)] };
            assert_eq!(request.to_header(), "", "{lb:?}");
        }
    }

    #[test]
    fn a_list_that_is_too_long_is_read_up_to_the_bound() {
        let list = vec!["1;vm=a"; MAX_CONNECTIONS + 5].join(" ");
        let header = format!("lb=\"e\", conns=({list})");
        let request = CloseRequest::parse(header.as_bytes()).unwrap();
        assert_eq!(request.connections.len(), MAX_CONNECTIONS);
    }

    #[test]
    fn malformed_ones_are_refused_with_the_reason() {
        let cases: [(&str, Error); 10] = [
            ("", Error::Missing("lb")),
            ("lb=\"e\"", Error::Missing("conns")),
            ("lb=e, conns=(1;vm=a)", Error::Invalid("lb")),
            ("lb=\"\", conns=(1;vm=a)", Error::Invalid("lb")),
            ("lb=\"e\", conns=()", Error::Invalid("conns")),
            ("lb=\"e\", conns=1;vm=a", Error::Invalid("conns")),
            ("lb=\"e\", conns=(1)", Error::Invalid("conns")),
            ("lb=\"e\", conns=(-1;vm=a)", Error::Invalid("conns")),
            ("lb=\"e\", conns=(\"1\";vm=a)", Error::Invalid("conns")),
            ("lb=\"e\", conns=(1;vm=a", Error::NotADictionary),
        ];
        for (header, error) in cases {
            assert_eq!(CloseRequest::parse(header.as_bytes()), Err(error), "{header:?}");
        }
    }
}
