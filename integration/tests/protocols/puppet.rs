//! The application behind a node without the filter: it answers as the path says, down to the
//! bytes, and asks to close the connection of the request where the path begins with `/close`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use integration::application::Application;
use integration::fleet::StartApplication;
use redistribution::wire::Stamp;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Parts of a slow body.
const PARTS: usize = 20;

/// What `big` answers with: more than what any buffer on the way holds.
pub const BIG: usize = 8_000_000;

/// What `cached` answers with: more than what sockets hold.
pub const CACHED: usize = 20_000_000;

pub fn puppet() -> StartApplication {
    StartApplication(|address| Box::pin(Application::serve_raw(address, serve)))
}

/// What goes on once a test says so, by the last part of a path.
pub fn gate(key: &str) -> Arc<Notify> {
    static GATES: LazyLock<Mutex<BTreeMap<String, Arc<Notify>>>> = LazyLock::new(Mutex::default);
    let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(gates.entry(key.to_owned()).or_default())
}

struct Request {
    path: String,
    headers: BTreeMap<String, String>,
    body: usize,
}

async fn serve(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await? {
        if !answer(&mut stream, &request).await? {
            break;
        }
    }
    Ok(())
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Result<Option<Request>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines.first().context("no request line")?.split(' ');
    let path = match (words.next(), words.next()) {
        (Some("CONNECT"), Some("close:80")) => "/close/tunnel".to_owned(),
        (Some("CONNECT"), _) => "/tunnel".to_owned(),
        (_, path) => path.context("no path")?.to_owned(),
    };
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<_, _> =
        headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut body = 0;
    if let Some(length) = headers.get("content-length") {
        body = length.parse()?;
        take(stream, body).await?;
    } else if headers.contains_key("transfer-encoding") {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size).await?;
            let size = usize::from_str_radix(size.trim_end(), 16)?;
            // Its line end too.
            take(stream, size + 2).await?;
            body += size;
            if size == 0 {
                break;
            }
        }
    }
    Ok(Some(Request { path, headers, body }))
}

async fn take(stream: &mut BufReader<TcpStream>, count: usize) -> Result<()> {
    tokio::io::copy(&mut stream.take(count as u64), &mut tokio::io::sink()).await?;
    Ok(())
}

/// Whether the connection goes on.
async fn answer(stream: &mut BufReader<TcpStream>, request: &Request) -> Result<bool> {
    let mut path = request.path.split('?').next().unwrap_or_default().split('/').skip(1).peekable();
    let closes = path.next_if_eq(&"close").is_some();
    let stamp = request.headers.get("spillway-lb").cloned().unwrap_or_default();
    let own = request.headers.get("spillway-lb").and_then(|stamp| {
        let at = Stamp::parse(stamp.as_bytes()).ok()?.position?;
        Some(format!("spillway-close: lb=\"edge-1\", conns=({};vm={})\r\n", at.connection, at.vm))
    });
    let close = own.filter(|_| closes).unwrap_or_default();
    let what = path.next().unwrap_or_default();
    let key = path.next().unwrap_or_default();
    let plain = format!("<{}>", request.path);
    let whole = |status: &str, headers: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\n{close}{headers}content-length: {}\r\n\r\n{body}", body.len())
    };
    let chunked = format!("HTTP/1.1 200 OK\r\n{close}transfer-encoding: chunked\r\n");
    let text = match what {
        "204" => format!("HTTP/1.1 204 No Content\r\n{close}\r\n"),
        "304" => format!("HTTP/1.1 304 Not Modified\r\n{close}etag: \"a\"\r\n\r\n"),
        "head" => format!("HTTP/1.1 200 OK\r\n{close}content-length: 1000\r\n\r\n"),
        "hints" => {
            stream.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n").await?;
            whole("200 OK", "", &plain)
        }
        "headers" => whole("200 OK", &format!("x-large: {}\r\n", "h".repeat(40_000)), &plain),
        "upload" => whole("200 OK", "", &request.body.to_string()),
        "stamp" => whole("200 OK", "", &stamp),
        "name" => {
            let vm = key;
            let id = path.next().unwrap_or_default();
            let named = format!("spillway-close: lb=\"edge-1\", conns=({id};vm={vm})\r\n");
            whole("200 OK", &named, "")
        }
        "hedge" if request.headers.get("x-envoy-attempt-count").is_none_or(|n| n == "1") => {
            gate(key).notified().await;
            whole("200 OK", "", "too late")
        }
        "retry" if request.headers.get("x-envoy-attempt-count").is_none_or(|n| n == "1") => {
            whole("503 Service Unavailable", "", "")
        }
        "redirect" => {
            whole("302 Found", "location: http://edge.spillway.test/close/landed\r\n", "")
        }
        "cached" => whole("200 OK", "cache-control: max-age=600\r\n", &"c".repeat(CACHED)),
        "text" => whole("200 OK", "content-type: text/plain\r\n", &"word ".repeat(10_000)),
        "big" => whole("200 OK", "", &"b".repeat(BIG)),
        "trailers" => {
            format!("{chunked}trailer: x-end\r\n\r\n3\r\nabc\r\n0\r\nx-end: here\r\n\r\n")
        }
        "slow" => {
            stream.write_all(format!("{chunked}\r\n").as_bytes()).await?;
            for _ in 0..PARTS {
                stream.write_all(b"4\r\nslow\r\n").await?;
                sleep(Duration::from_millis(100)).await;
            }
            "0\r\n\r\n".to_owned()
        }
        "hold" => {
            stream.write_all(format!("{chunked}\r\n6\r\nbegun-\r\n").as_bytes()).await?;
            gate(key).notified().await;
            "5\r\nended\r\n0\r\n\r\n".to_owned()
        }
        "wait" => {
            gate(key).notified().await;
            whole("200 OK", "", &plain)
        }
        "break" => {
            stream.write_all(format!("{chunked}\r\n4\r\nhalf\r\n").as_bytes()).await?;
            sleep(Duration::from_millis(200)).await;
            return Ok(false);
        }
        "switch" => {
            let head = "connection: upgrade\r\nupgrade: websocket\r\n\r\n";
            let head = format!("HTTP/1.1 101 Switching Protocols\r\n{close}{head}");
            return echo(stream, &head).await;
        }
        "tunnel" => return echo(stream, &format!("HTTP/1.1 200 OK\r\n{close}\r\n")).await,
        _ => whole("200 OK", "", &plain),
    };
    stream.write_all(text.as_bytes()).await?;
    Ok(true)
}

async fn echo(stream: &mut BufReader<TcpStream>, head: &str) -> Result<bool> {
    stream.write_all(head.as_bytes()).await?;
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(false);
        }
        stream.write_all(&buffer[..count]).await?;
    }
}
