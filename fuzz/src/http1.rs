//! The head of an HTTP/1 response: `connection: close` gets in, and nothing else changes, according
//! to `httparse`.

use httparse::{EMPTY_HEADER, Response, Status};
use redistribution::http1::{Announcement, announce_close};

/// Header lines that the other parser is asked for at most, in what comes in; one is put in.
const MAX_LINES: usize = 64;

/// A response as `httparse` reads it.
struct Head<'a> {
    status: u16,
    version: u8,
    reason: &'a str,
    headers: Vec<(&'a str, &'a [u8])>,
    len: usize,
}

/// Takes `data` for a write that leaves for the client.
///
/// # Panics
/// Where something does not hold.
pub fn check(data: &[u8]) {
    match announce_close(data) {
        Announcement::Rewrite { replace, with } => {
            let rest = data.get(replace..).expect("no more is replaced than there is");
            let written = [&with[..], rest].concat();
            check_rewritten(data, &written);
            assert_eq!(announce_close(&written), Announcement::AlreadyThere, "{}", show(&written));
        }
        Announcement::AlreadyThere => {
            if let Some((_, head)) = final_head(data) {
                assert!(closes(&head), "{}", show(data));
            }
        }
        Announcement::Upgrade => {
            if let Some((interim, head)) = final_head(data) {
                let switches = interim.iter().any(|interim| interim.status == 101);
                assert!(switches || has_token(&head, "upgrade"), "{}", show(data));
            }
        }
        Announcement::Interim | Announcement::NotAHead => {
            // Another line end, or white space where none may be, is not ours to judge.
            let plain = !data.windows(2).any(|pair| pair[0] != b'\r' && pair[1] == b'\n');
            if let Some((interim, head)) = final_head(data).filter(|_| plain) {
                let numbered = interim.iter().chain([&head]).all(|head| head.status >= 100);
                assert!(!numbered, "{}", show(data));
            }
        }
    }
}

fn check_rewritten(before: &[u8], after: &[u8]) {
    let Some((interim, head)) = head_of(before, MAX_LINES) else { return };
    let (interim_after, head_after) =
        head_of(after, MAX_LINES + 1).expect("a head is a head still");
    assert_eq!(interim.len(), interim_after.len());
    for (one, other) in interim.iter().zip(&interim_after) {
        assert_eq!(one.headers, other.headers, "{}", show(after));
    }
    assert_eq!(
        (head.status, head.version, head.reason),
        (head_after.status, head_after.version, head_after.reason)
    );
    let others = |head: &Head<'_>| {
        let headers = head.headers.iter().copied();
        let kept = headers.filter(|(name, _)| !is_about_the_connection(name));
        kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(others(&head), others(&head_after), "{}", show(after));
    let about: Vec<_> =
        head_after.headers.iter().filter(|(name, _)| is_about_the_connection(name)).collect();
    assert_eq!(about, [&("connection", &b"close"[..])], "{}", show(after));
    assert_eq!(before.get(head.len..), after.get(head_after.len..), "the body");
}

fn final_head(bytes: &[u8]) -> Option<(Vec<Head<'_>>, Head<'_>)> {
    head_of(bytes, MAX_LINES)
}

/// The final head at the start of `bytes`, and the interim ones in front of it, with all lengths
/// counted from the start.
fn head_of(bytes: &[u8], max_lines: usize) -> Option<(Vec<Head<'_>>, Head<'_>)> {
    let (mut interim, mut start) = (Vec::new(), 0);
    loop {
        let mut lines = vec![EMPTY_HEADER; max_lines];
        let mut response = Response::new(&mut lines);
        // Empty lines in front of a head are not for everybody.
        let rest = bytes.get(start..).filter(|rest| rest.starts_with(b"HTTP/1."))?;
        let Ok(Status::Complete(len)) = response.parse(rest) else {
            return None;
        };
        let lines = response.headers.iter();
        let head = Head {
            status: response.code?,
            version: response.version?,
            reason: response.reason?,
            headers: lines.map(|line| (line.name, line.value)).collect(),
            len: start + len,
        };
        start = head.len;
        if !(100..200).contains(&head.status) {
            return Some((interim, head));
        }
        interim.push(head);
    }
}

fn is_about_the_connection(name: &str) -> bool {
    name.eq_ignore_ascii_case("connection") || name.eq_ignore_ascii_case("keep-alive")
}

fn closes(head: &Head<'_>) -> bool {
    has_token(head, "close")
}

fn has_token(head: &Head<'_>, token: &str) -> bool {
    let of_connection =
        head.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("connection"));
    let mut elements = of_connection.flat_map(|(_, value)| value.split(|byte| *byte == b','));
    elements.any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn show(bytes: &[u8]) -> std::slice::EscapeAscii<'_> {
    bytes.escape_ascii()
}
