//! `connection: close` in HTTP/1 heads, judged by a parser that is not ours.
#![cfg(not(target_family = "wasm"))]

use proptest::prelude::*;
use proptest::sample::{Index, select};
use redistribution::http1::{Announcement, announce_close};

/// A header line: name and value.
type Line = (String, String);

/// A response as Envoy writes it: interim heads, the final head, and what follows.
#[derive(Clone, Debug)]
struct Response {
    interim: Vec<String>,
    version: u8,
    status: u16,
    reason: String,
    lines: Vec<Line>,
    body: Vec<u8>,
}

fn is_about_the_connection(name: &str) -> bool {
    name.eq_ignore_ascii_case("connection") || name.eq_ignore_ascii_case("keep-alive")
}

fn other_line() -> impl Strategy<Value = Line> {
    let name = "[A-Za-z][A-Za-z0-9_.!#$%&'*+^`|~-]{0,20}"
        .prop_filter("not about the connection", |name| !is_about_the_connection(name));
    let near = select(vec!["connection-id", "proxy-connection", "x-connection", "keep-alive-x"]);
    let value = prop_oneof!["", "close", "[!-~]([ -~]{0,60}[!-~])?"];
    (prop_oneof![4 => name, 1 => near.prop_map(str::to_owned)], value)
}

fn connection_line(values: &'static [&'static str]) -> impl Strategy<Value = Line> {
    let name = select(vec!["connection", "Connection", "CONNECTION"]);
    (name, select(values)).prop_map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// Lines of which some say what becomes of the connection, but none that it closes.
fn lines() -> impl Strategy<Value = Vec<Line>> {
    let keep_alive =
        select(vec!["timeout=5", "close"]).prop_map(|v| ("Keep-Alive".to_owned(), v.to_owned()));
    let stays = connection_line(&["keep-alive", "Keep-Alive, x-hop", "", "closed", "not close"]);
    proptest::collection::vec(prop_oneof![8 => other_line(), 1 => stays, 1 => keep_alive], 0..15)
}

fn response() -> impl Strategy<Value = Response> {
    let interim = select(vec![
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\nconnection: x\r\n\r\n",
    ]);
    (
        proptest::collection::vec(interim.prop_map(str::to_owned), 0..3),
        0..=1_u8,
        200..=999_u16,
        prop_oneof!["", "[!-~]([ -~]{0,20}[!-~])?"],
        lines(),
        proptest::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(|(interim, version, status, reason, lines, body)| Response {
            interim,
            version,
            status,
            reason,
            lines,
            body,
        })
}

impl Response {
    fn head(&self) -> String {
        let Self { version, status, reason, .. } = self;
        let lines = self.lines.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        format!("HTTP/1.{version} {status} {reason}\r\n{}\r\n", lines.collect::<String>())
    }

    fn write(&self) -> Vec<u8> {
        [self.interim.concat().as_bytes(), self.head().as_bytes(), &self.body].concat()
    }
}

fn rewritten(write: &[u8]) -> Option<Vec<u8>> {
    match announce_close(write) {
        Announcement::Rewrite { replace, mut with } => {
            with.extend_from_slice(write.get(replace..).expect("no more than there is"));
            Some(with)
        }
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_head_says_close_once_and_is_otherwise_the_same(response in response()) {
        let write = response.write();
        let with = rewritten(&write).expect("a response that keeps its connection is rewritten");

        let rest = with.strip_prefix(response.interim.concat().as_bytes());
        let rest = rest.expect("interim heads stay as they are");
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Response::new(&mut headers);
        let length = parsed.parse(rest).expect("the head can be parsed").unwrap();

        prop_assert_eq!(parsed.code, Some(response.status));
        prop_assert_eq!(parsed.version, Some(response.version));
        prop_assert_eq!(parsed.reason, Some(response.reason.as_str()));
        let headers = parsed.headers.iter();
        let (about, others): (Vec<httparse::Header<'_>>, Vec<_>) =
            headers.partition(|header| is_about_the_connection(header.name));
        prop_assert_eq!(about.len(), 1);
        prop_assert!(about[0].name.eq_ignore_ascii_case("connection"));
        prop_assert_eq!(about[0].value, b"close");
        let others: Vec<Line> = others
            .iter()
            .map(|header| {
                (header.name.to_owned(), String::from_utf8(header.value.to_vec()).unwrap())
            })
            .collect();
        let expected: Vec<Line> = response
            .lines
            .iter()
            .filter(|(name, _)| !is_about_the_connection(name))
            .cloned()
            .collect();
        prop_assert_eq!(others, expected);
        prop_assert_eq!(&rest[length..], &response.body[..]);
    }

    #[test]
    fn told_once_is_told(response in response()) {
        let with = rewritten(&response.write()).unwrap();
        prop_assert_eq!(announce_close(&with), Announcement::AlreadyThere);
    }

    #[test]
    fn a_head_that_closes_or_switches_is_left_alone(
        response in response(),
        at in any::<Index>(),
        line in prop_oneof![
            connection_line(&["close", "Close", " close", "x-hop,close", "a, CLOSE ,b"]),
            connection_line(&["upgrade", "Upgrade", "x-hop, upgrade"]),
        ],
    ) {
        let mut response = response;
        let switches = line.1.to_ascii_lowercase().contains("upgrade");
        response.lines.insert(at.index(response.lines.len() + 1), line);
        let left =
            if switches { Announcement::Upgrade } else { Announcement::AlreadyThere };
        prop_assert_eq!(announce_close(&response.write()), left);
    }

    #[test]
    fn a_head_that_is_cut_is_not_touched(response in response(), at in any::<Index>()) {
        let heads = response.interim.concat() + &response.head();
        let cut = at.index(heads.len());
        prop_assert_eq!(rewritten(&heads.as_bytes()[..cut]), None);
    }

    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(rewritten(&bytes), None);
    }

    #[test]
    fn damaged_heads_are_taken(
        response in response(),
        at in any::<Index>(),
        bits in 1..=255_u8,
        insert in proptest::collection::vec(select(b"\r\n: \tH/1.a\xff".to_vec()), 0..4),
    ) {
        let mut write = response.write();
        let at = at.index(write.len());
        write[at] ^= bits;
        write.splice(at..at, insert);
        // Whatever it makes of it, it takes no more than there is, and only adds to the front.
        rewritten(&write);
    }
}
