//! `spillway-close`: what is read is what `sfv` reads, and what is written is read back.

use std::borrow::Cow;

use arbitrary::{Result, Unstructured};
use redistribution::VmToken;
use redistribution::wire::{
    CLOSE_HEADER, CloseRequest, MAX_CONNECTIONS, MAX_HEADER_BYTES, NamedConnection, is_valid_name,
};
use sfv::ListEntry;

use crate::oracle;
use crate::stamp::wrapped;

/// Takes `data` for a header, and for a close request to be written.
///
/// # Panics
/// Where something does not hold.
pub fn check(data: &[u8]) {
    let read = CloseRequest::parse(data).ok();
    assert_eq!(read, expected(data), "{CLOSE_HEADER}: {}", data.escape_ascii());
    if let Some(request) = read {
        check_written(&request);
    }
    if let Ok(request) = close_request(&mut Unstructured::new(data)) {
        check_written(&request);
    }
}

/// What the header says, read in another way.
fn expected(header: &[u8]) -> Option<CloseRequest<'static>> {
    let dictionary = oracle::dictionary(header)?;
    let lb = oracle::item(&dictionary, "lb", oracle::name)??;
    let Some(ListEntry::InnerList(list)) = dictionary.get("conns") else {
        return None;
    };
    let named = |item: &sfv::Item| {
        let id = oracle::unsigned(&item.bare_item)?;
        Some(NamedConnection { id, vm: oracle::token(item.params.get("vm")?)? })
    };
    let members = list.items.iter().take(MAX_CONNECTIONS);
    let connections = members.map(named).collect::<Option<Vec<_>>>()?;
    (!connections.is_empty()).then_some(CloseRequest { lb: lb.into(), connections })
}

fn check_written(request: &CloseRequest<'_>) {
    let header = request.to_header();
    if !is_valid_name(&request.lb) {
        assert_eq!(header, "", "{request:?}");
        return;
    }
    assert!(header.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{header:?}");
    if request.connections.len() > MAX_CONNECTIONS {
        return;
    }
    assert!(header.len() <= MAX_HEADER_BYTES, "{header}");
    if request.connections.is_empty() {
        assert!(CloseRequest::parse(header.as_bytes()).is_err(), "{header}");
        return;
    }
    let connections = request.connections.iter();
    let connections = connections.map(|named| NamedConnection { id: wrapped(named.id), ..*named });
    let expected = CloseRequest { lb: request.lb.clone(), connections: connections.collect() };
    assert_eq!(CloseRequest::parse(header.as_bytes()).as_ref(), Ok(&expected), "{header}");
    assert_eq!(expected.to_header(), header);
}

/// Any close request: also of a name that cannot be written, and for more than can be named.
fn close_request<'a>(data: &mut Unstructured<'a>) -> Result<CloseRequest<'a>> {
    let lb = Cow::Borrowed(data.arbitrary()?);
    let count = data.int_in_range(0..=MAX_CONNECTIONS + 3)?;
    let connection = |data: &mut Unstructured<'_>| {
        Ok(NamedConnection { id: data.arbitrary()?, vm: VmToken::from_random(data.arbitrary()?) })
    };
    let connections = (0..count).map(|_| connection(data)).collect::<Result<_>>()?;
    Ok(CloseRequest { lb, connections })
}
