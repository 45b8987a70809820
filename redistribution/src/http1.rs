//! Telling an HTTP/1 client to close: `connection: close` in the head of a response.
//!
//! The header has to be put in among the bytes that leave: Envoy's HTTP connection manager
//! removes a `connection` header that a filter sets (design, section 7, point 1).

/// What is to be done with the bytes of a write, to tell the client to close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// Put `with` in place of the first `replace` bytes.
    Rewrite {
        /// Bytes to take away from the start of the write.
        replace: usize,
        /// Bytes to put there.
        with: Vec<u8>,
    },
    /// The head says `connection: close` already.
    AlreadyThere,
    /// The response switches protocols: the connection no longer speaks HTTP.
    Upgrade,
    /// Only interim (1xx) responses: wait for the next write.
    Interim,
    /// Not the beginning of a response, or a head that is not complete.
    NotAHead,
}

/// Finds the head of the final response at the start of `write` and says what to do with it.
#[must_use]
pub fn announce_close(write: &[u8]) -> Announcement {
    let mut start = 0;
    loop {
        let rest = write.get(start..).unwrap_or_default();
        if rest.is_empty() {
            return if start == 0 { Announcement::NotAHead } else { Announcement::Interim };
        }
        let Some(head) = Head::at_start_of(rest) else {
            return Announcement::NotAHead;
        };
        match head.status {
            101 => return Announcement::Upgrade,
            100..200 => start += head.len,
            _ => return head.rewrite(write, start),
        }
    }
}

/// The head of one response.
struct Head<'a> {
    status: u16,
    /// The status line with its line end.
    status_line: &'a [u8],
    /// The header lines, each with its line end.
    lines: Vec<&'a [u8]>,
    /// Length up to and with the empty line.
    len: usize,
}

/// What a header line has to do with the connection.
enum Field<'a> {
    /// It says what becomes of it. With its value, from the colon on.
    Connection(&'a [u8]),
    /// It holds what is only of use where the connection stays.
    KeepAlive,
    Other,
}

// === impl Head ===

impl<'a> Head<'a> {
    fn at_start_of(bytes: &'a [u8]) -> Option<Self> {
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let status_line = lines.next()?;
        let status = status_of(status_line)?;
        let mut head = Self { status, status_line, lines: Vec::new(), len: status_line.len() };
        for line in lines {
            if !line.ends_with(b"\r\n") {
                return None;
            }
            head.len += line.len();
            if line == b"\r\n" {
                return Some(head);
            }
            head.lines.push(line);
        }
        None
    }

    /// Adds `connection: close` to this head, which begins at `start` of `write`.
    fn rewrite(&self, write: &[u8], start: usize) -> Announcement {
        let mut others = Vec::new();
        for line in &self.lines {
            match field(line) {
                Field::Connection(value) if has_token(value, b"close") => {
                    return Announcement::AlreadyThere;
                }
                Field::Connection(value) if has_token(value, b"upgrade") => {
                    return Announcement::Upgrade;
                }
                Field::Connection(_) | Field::KeepAlive => {}
                Field::Other => others.push(*line),
            }
        }
        let mut with = write.get(..start).unwrap_or_default().to_vec();
        with.extend_from_slice(self.status_line);
        with.extend_from_slice(b"connection: close\r\n");
        if others.len() == self.lines.len() {
            // The usual case: nothing but the status line has to be moved.
            return Announcement::Rewrite { replace: start + self.status_line.len(), with };
        }
        for line in others {
            with.extend_from_slice(line);
        }
        with.extend_from_slice(b"\r\n");
        Announcement::Rewrite { replace: start + self.len, with }
    }
}

/// The status code of `HTTP/1.x NNN reason`.
fn status_of(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?.strip_suffix(b"\r\n")?;
    let code = rest.get(2..5)?;
    let ends = matches!(rest.get(5), None | Some(b' '));
    let separated = rest.get(1) == Some(&b' ');
    if !ends || !separated || !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(code).ok()?.parse().ok().filter(|status| *status >= 100)
}

fn field(line: &[u8]) -> Field<'_> {
    let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
    match line.split_at_checked(colon) {
        Some((name, value)) if name.eq_ignore_ascii_case(b"connection") => Field::Connection(value),
        Some((name, _)) if name.eq_ignore_ascii_case(b"keep-alive") => Field::KeepAlive,
        _ => Field::Other,
    }
}

/// Whether `: a, b\r\n` has `token` among its elements.
fn has_token(value: &[u8], token: &[u8]) -> bool {
    value
        .strip_prefix(b":")
        .unwrap_or(value)
        .split(|byte| *byte == b',')
        .any(|element| element.trim_ascii().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn applied(write: &str) -> String {
        match announce_close(write.as_bytes()) {
            Announcement::Rewrite { replace, mut with } => {
                with.extend_from_slice(&write.as_bytes()[replace..]);
                String::from_utf8(with).unwrap()
            }
            other => panic!("{other:?} for {write:?}"),
        }
    }

    #[test]
    fn the_header_goes_behind_the_status_line_and_all_else_stays() {
        assert_eq!(
            applied("HTTP/1.1 200 OK\r\nserver: envoy\r\ncontent-length: 2\r\n\r\nhi"),
            "HTTP/1.1 200 OK\r\nconnection: close\r\nserver: envoy\r\ncontent-length: 2\r\n\r\nhi"
        );
        assert_eq!(applied("HTTP/1.1 204\r\n\r\n"), "HTTP/1.1 204\r\nconnection: close\r\n\r\n");
    }

    #[test]
    fn only_the_status_line_is_moved() {
        let write = b"HTTP/1.1 200 OK\r\na: b\r\n\r\n";
        let Announcement::Rewrite { replace, .. } = announce_close(write) else {
            panic!("no rewrite");
        };
        assert_eq!(replace, "HTTP/1.1 200 OK\r\n".len());
    }

    #[test]
    fn what_says_keep_alive_is_replaced() {
        assert_eq!(
            applied(
                "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nKeep-Alive: timeout=5\r\na: b\r\n\r\nbody"
            ),
            "HTTP/1.0 200 OK\r\nconnection: close\r\na: b\r\n\r\nbody"
        );
        assert_eq!(
            applied("HTTP/1.1 200 OK\r\nkeep-alive: close\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"
        );
    }

    #[test]
    fn an_interim_response_in_front_is_passed_over() {
        assert_eq!(
            applied("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\na: b\r\n\r\n"),
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nconnection: close\r\na: b\r\n\r\n"
        );
    }

    #[test]
    fn where_nothing_is_to_be_done_it_says_why() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nconnection: a, Close\r\n\r\n", Announcement::AlreadyThere),
            ("HTTP/1.1 101 Switching\r\n\r\n", Announcement::Upgrade),
            ("HTTP/1.1 200 OK\r\nconnection: upgrade\r\n\r\n", Announcement::Upgrade),
            ("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", Announcement::Interim),
            ("", Announcement::NotAHead),
            ("some body", Announcement::NotAHead),
            ("HTTP/1.1 200 OK\r\na: b\r\n", Announcement::NotAHead),
            ("HTTP/1.1 200 OK\r\na: b\n\r\n", Announcement::NotAHead),
            ("HTTP/2 200\r\n\r\n", Announcement::NotAHead),
            ("HTTP/1.1 2000\r\n\r\n", Announcement::NotAHead),
            ("HTTP/1.1 099 X\r\n\r\n", Announcement::NotAHead),
        ];
        for (write, expected) in cases {
            assert_eq!(announce_close(write.as_bytes()), expected, "{write:?}");
        }
    }
}
