//! HTTP/2 floods on a connection whose close is pending or has begun: Envoy ends the connection as it
//! would any other, says so in its own counters, and others lose no request.

use anyhow::Result;
use integration::by_hand::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, HEADERS, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, field, get,
};
use integration::client::Pace;
use integration::fleet::{Fleet, FleetSpec};
use integration::testing::{eventually, lb, mixed_clients, one_core};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{
    all_are_gone, ask_to_close, at_its_mercy, closes_add_up, counts, position, rss_mib,
};

struct Flood {
    what: &'static str,
    /// What Envoy counts where it ends the connection for this.
    counter: &'static str,
    /// What is sent once.
    begins: fn() -> Vec<u8>,
    /// What is sent from then on, with a stream that is free.
    goes_on: fn(u32) -> Vec<u8>,
}

const FLOODS: [Flood; 8] = [
    Flood {
        what: "SETTINGS",
        counter: "http2.outbound_control_flood",
        begins: Vec::new,
        goes_on: |_| Frame::bytes(SETTINGS, 0, 0, &[]),
    },
    Flood {
        what: "PING",
        counter: "http2.outbound_control_flood",
        begins: Vec::new,
        goes_on: |_| Frame::bytes(PING, 0, 0, b"8 bytes."),
    },
    Flood {
        what: "RST_STREAM",
        counter: "http.public.downstream_rq_too_many_premature_resets",
        begins: Vec::new,
        goes_on: |stream| {
            let opens = Frame::bytes(HEADERS, END_STREAM | END_HEADERS, stream, &get("/", &[]));
            [opens, Frame::bytes(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
        },
    },
    Flood {
        what: "CONTINUATION",
        counter: "http2.header_list_size_too_large",
        begins: || Frame::bytes(HEADERS, END_STREAM, FIRST, &get("/", &[])),
        goes_on: |_| Frame::bytes(CONTINUATION, 0, FIRST, &field(b"x-flood", &[b'f'; 1000])),
    },
    Flood {
        what: "empty CONTINUATION",
        counter: "http2.inbound_empty_frames_flood",
        begins: || Frame::bytes(HEADERS, END_STREAM, FIRST, &get("/", &[])),
        goes_on: |_| Frame::bytes(CONTINUATION, 0, FIRST, &[]),
    },
    Flood {
        what: "empty DATA",
        counter: "http2.inbound_empty_frames_flood",
        begins: || Frame::bytes(HEADERS, END_HEADERS, FIRST, &get("/", &[])),
        goes_on: |_| Frame::bytes(DATA, 0, FIRST, &[]),
    },
    Flood {
        what: "PRIORITY",
        counter: "http2.inbound_priority_frames_flood",
        begins: Vec::new,
        goes_on: |_| Frame::bytes(PRIORITY, 0, FIRST, &[0, 0, 0, 0, 16]),
    },
    Flood {
        what: "WINDOW_UPDATE",
        counter: "http2.inbound_window_update_frames_flood",
        begins: Vec::new,
        goes_on: |_| Frame::bytes(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
    },
];

/// The first stream of a flood.
const FIRST: u32 = 5;

/// What is written at once, and how often at most: more than it takes of any.
const AT_ONCE: usize = 64 * 1024;
const WRITES: u32 = 400;

/// How far the close is when the flood begins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Close {
    /// Admitted: it begins with the next response.
    Pending,
    /// The client was told.
    Told,
}

/// A connection so far.
async fn prepare(fleet: &Fleet, close: Close) -> Result<Frames> {
    let mut client = Frames::open(fleet).await?;
    client.get(1, "/").await?;
    client.until(|frame| frame.stream == 1 && frame.ends_stream()).await?;
    ask_to_close(fleet, &position(&client.body(1))?).await?;
    if close == Close::Told {
        client.get(3, "/").await?;
        client.until(|frame| frame.stream == 3 && frame.ends_stream()).await?;
        assert_eq!(client.goaways(), [(0x7fff_ffff, 0)]);
    }
    Ok(client)
}

/// Sends until the edge has ended the connection. Nothing is read, as one does not who means harm.
async fn play(mut client: Frames, flood: &Flood) -> Result<()> {
    let mut sent = client.send_bytes(&(flood.begins)()).await;
    let mut streams = (FIRST..).step_by(2);
    for _ in 0..WRITES {
        if sent.is_err() {
            return Ok(());
        }
        let mut frames = Vec::new();
        while frames.len() < AT_ONCE {
            frames.extend((flood.goes_on)(streams.next().unwrap_or(FIRST)));
        }
        sent = client.send_bytes(&frames).await;
    }
    anyhow::bail!("{} goes on for ever", flood.what)
}

/// All of them at once, each on a connection of its own, and each counted by Envoy.
async fn play_all(fleet: &Fleet, close: Close) -> Result<()> {
    let edge = &fleet.edges()[0].envoy;
    let mut clients = Vec::new();
    for _ in &FLOODS {
        clients.push(prepare(fleet, close).await?);
    }
    let before = edge.stats().await?;
    let mut floods = JoinSet::new();
    for (client, flood) in clients.into_iter().zip(&FLOODS) {
        floods.spawn(play(client, flood));
    }
    while let Some(ended) = floods.join_next().await {
        ended??;
    }
    for Flood { what, counter, .. } in &FLOODS {
        let by = FLOODS.iter().filter(|flood| flood.counter == *counter).count() as u64;
        eventually(&format!("{counter} grows by {by}: {what}, {close:?}"), || async {
            Ok(edge.stats().await?.counter(counter) == before.counter(counter) + by)
        })
        .await;
    }
    Ok(())
}

#[tokio::test]
async fn floods_on_connections_about_to_close_end_by_envoys_own_limits() -> Result<()> {
    let _core = one_core().await;
    let spec = FleetSpec {
        http: json!({ "max_closes_per_second": 1000 }),
        edge_workers: 2,
        ..at_its_mercy()
    };
    let fleet = Fleet::start(spec).await?;
    let edge = &fleet.edges()[0].envoy;
    let others = mixed_clients(&fleet, 8, 4, Pace::PerSecond(25.0))?;
    play_all(&fleet, Close::Pending).await?;
    // By now buffers have their size.
    let before = rss_mib(edge)?;
    play_all(&fleet, Close::Told).await?;
    let after = rss_mib(edge)?;
    assert!(after <= before + 16, "{before} MiB, then {after}");
    let totals = others.stop().await;
    assert_eq!((totals.failed, totals.connections_lost), (0, 0), "{:#?}", totals.failures);
    assert!(totals.requests > 0);
    all_are_gone(edge).await;
    // Each was told by a GOAWAY, or was gone before there was a response.
    let all = 2 * FLOODS.len() as u64;
    counts(edge, "closes_admitted", all).await;
    let told = lb(edge, "closes_announced.http2").await?;
    assert_eq!(told + lb(edge, "closes_lapsed").await?, all);
    closes_add_up(edge).await
}
