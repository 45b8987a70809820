//! HTTP/2 by hand: a client that does what no library lets one do.

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::fleet::Fleet;
use crate::testing::PATIENCE;

/// The kind of a DATA frame.
pub const DATA: u8 = 0;
/// The kind of a HEADERS frame.
pub const HEADERS: u8 = 1;
/// The kind of a PRIORITY frame.
pub const PRIORITY: u8 = 2;
/// The kind of a `RST_STREAM` frame.
pub const RST_STREAM: u8 = 3;
/// The kind of a SETTINGS frame.
pub const SETTINGS: u8 = 4;
/// The kind of a PING frame.
pub const PING: u8 = 6;
/// The kind of a GOAWAY frame.
pub const GOAWAY: u8 = 7;
/// The kind of a `WINDOW_UPDATE` frame.
pub const WINDOW_UPDATE: u8 = 8;
/// The kind of a CONTINUATION frame.
pub const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
/// The flag of DATA and HEADERS that ends a stream.
pub const END_STREAM: u8 = 1;
/// The flag of HEADERS and CONTINUATION that ends a header block.
pub const END_HEADERS: u8 = 4;

/// What RFC 9113, 3.4, has a client begin with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame that came from the edge.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Such as [`DATA`].
    pub kind: u8,
    /// Such as [`END_STREAM`].
    pub flags: u8,
    /// 0 for the connection.
    pub stream: u32,
    /// What follows the frame's head.
    pub payload: Vec<u8>,
}

/// A connection to the first edge. It answers PINGs and SETTINGS, and stays whatever it is told.
#[derive(Debug)]
pub struct Frames {
    stream: TcpStream,
    /// All frames that came, but for SETTINGS.
    pub seen: Vec<Frame>,
}

// === impl Frame ===

impl Frame {
    /// The bytes of a frame.
    #[must_use]
    pub fn bytes(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    /// Whether it is the last one of its stream in its direction.
    #[must_use]
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// Of a GOAWAY: the last stream and the error.
    #[must_use]
    pub fn goaway(&self) -> Option<(u32, u32)> {
        let word =
            |at: usize| Some(u32::from_be_bytes(self.payload.get(at..at + 4)?.try_into().ok()?));
        if self.kind == GOAWAY { Some((word(0)?, word(4)?)) } else { None }
    }
}

// === impl Frames ===

impl Frames {
    /// Connects, and sends what a client begins with.
    pub async fn open(fleet: &Fleet) -> Result<Self> {
        let mut stream = TcpStream::connect(fleet.edges()[0].address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(PREFACE).await?;
        let mut this = Self { stream, seen: Vec::new() };
        this.send(SETTINGS, 0, 0, &[]).await?;
        Ok(this)
    }

    /// Sends a frame.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
        self.send_bytes(&Frame::bytes(kind, flags, stream, payload)).await
    }

    /// Sends bytes that may be many frames, or parts of them.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Opens a stream, its header block in two frames.
    pub async fn get(&mut self, stream: u32, path: &str) -> Result<()> {
        let block = get(path, &[]);
        let (front, back) = block.split_at(3);
        self.send(HEADERS, END_STREAM, stream, front).await?;
        self.send(CONTINUATION, END_HEADERS, stream, back).await
    }

    /// Sends a PING.
    pub async fn ping(&mut self) -> Result<()> {
        self.send(PING, 0, 0, b"bytes..8").await
    }

    /// The next frame but SETTINGS; `None` once the edge has closed the connection in order.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        timeout(PATIENCE, self.next_unbounded())
            .await
            .with_context(|| format!("{:?}", self.seen))?
    }

    async fn next_unbounded(&mut self) -> Result<Option<Frame>> {
        loop {
            let mut header = [0; 9];
            if self.stream.read(&mut header[..1]).await? == 0 {
                return Ok(None);
            }
            self.stream.read_exact(&mut header[1..]).await?;
            let [l2, l1, l0, kind, flags, s3, s2, s1, s0] = header;
            let mut payload = vec![0; u32::from_be_bytes([0, l2, l1, l0]) as usize];
            self.stream.read_exact(&mut payload).await?;
            let stream = u32::from_be_bytes([s3, s2, s1, s0]);
            if matches!(kind, SETTINGS | PING) && flags & ACK == 0 {
                self.send(kind, ACK, 0, if kind == PING { &payload } else { &[] }).await?;
            }
            if kind != SETTINGS {
                let frame = Frame { kind, flags, stream, payload };
                self.seen.push(frame.clone());
                return Ok(Some(frame));
            }
        }
    }

    /// Reads until a frame is so, and returns it.
    pub async fn until(&mut self, is: impl Fn(&Frame) -> bool) -> Result<Frame> {
        loop {
            let frame = self.next().await?;
            let frame = frame.with_context(|| format!("closed after {:?}", self.seen))?;
            if is(&frame) {
                return Ok(frame);
            }
        }
    }

    /// What came of the body of a stream.
    #[must_use]
    pub fn body(&self, stream: u32) -> String {
        let frames = self.seen.iter().filter(|f| f.kind == DATA && f.stream == stream);
        let bytes: Vec<_> = frames.flat_map(|frame| frame.payload.clone()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The GOAWAYs that came: the last stream and the error of each.
    #[must_use]
    pub fn goaways(&self) -> Vec<(u32, u32)> {
        self.seen.iter().filter_map(Frame::goaway).collect()
    }
}

/// The header block of a GET with these headers, whatever they are: HPACK (RFC 7541) without
/// Huffman codes and without entering anything into the table.
#[must_use]
pub fn get(path: &str, headers: &[(&[u8], &[u8])]) -> Vec<u8> {
    // GET and http from the static table, path and authority as literals.
    let mut block = vec![0x82, 0x86, 0x04];
    literal(&mut block, path.as_bytes());
    block.extend([0x01, 1, b'a']);
    for (name, value) in headers {
        block.extend(field(name, value));
    }
    block
}

/// One header, or a trailer, of a block as [`get`] makes them.
#[must_use]
pub fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut block = vec![0];
    literal(&mut block, name);
    literal(&mut block, value);
    block
}

fn literal(block: &mut Vec<u8>, text: &[u8]) {
    const MOST: usize = 127;
    let Some(mut rest) = text.len().checked_sub(MOST) else {
        block.extend(text.len().to_be_bytes().last());
        block.extend(text);
        return;
    };
    block.push(127);
    while rest > MOST {
        block.extend((rest & MOST | 128).to_be_bytes().last());
        rest >>= 7;
    }
    block.extend(rest.to_be_bytes().last());
    block.extend(text);
}
