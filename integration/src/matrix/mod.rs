//! `cargo matrix`: every protocol, plain and over TLS, closed in both ways, on every Envoy.
//!
//! A cell is one such combination. It runs traffic among closes, with every response checked by the
//! hash of its body, and must meet closes and lose nothing.

mod cell;
mod traffic;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use self::cell::{Cell, Selection};
use crate::artifacts::filters;
use crate::run::{prepare_folder, unless_signalled};

/// What the user can choose.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Only cells of these Envoys (1.40.0), protocols (http1, http2, grpc, http3), transports
    /// (plain, tls) and ways (`connection_role`, `native_drain`)
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Write the result as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// What came of a cell.
#[derive(Clone, Debug, Default, Serialize)]
struct Outcome {
    requests: u64,
    /// What the edge told its clients.
    closes: u64,
    connections: u64,
    /// Responses lost, cut or wrong, requests sent twice, and connections that ended without a word.
    lost: u64,
    failures: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    cell: Cell,
    #[serde(flatten)]
    outcome: Outcome,
}

/// Plays all cells, one after the other.
///
/// # Errors
///
/// A cell met no closes or lost something; something that is needed is missing; the user has ended
/// it ([`Interrupted`](crate::run::Interrupted)). The result is written in the first case also.
pub async fn run(options: &Options) -> Result<()> {
    let cells = Selection::new(&options.only)?.cells();
    ensure!(!cells.is_empty(), "there is no such combination: {}", options.only.join(","));
    if let Some(path) = &options.json {
        prepare_folder(path)?;
    }
    println!("Filters: {}", filters()?.directory.display());
    println!("{}", Cell::HEAD);
    let rows = unless_signalled(async {
        let mut rows = Vec::new();
        for fleet in cells.chunk_by(Cell::shares_a_fleet) {
            traffic::play(fleet, |cell, outcome| {
                println!("{}", cell.line(&outcome));
                rows.push(Row { cell, outcome });
            })
            .await?;
        }
        Ok(rows)
    })
    .await?;
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&serde_json::json!({ "cells": rows }))? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("Result:  {}", path.display());
    }
    let bad: Vec<_> = rows.iter().filter(|row| !row.outcome.is_good()).collect();
    println!("{} cells, {} of them lost something or met no close", rows.len(), bad.len());
    ensure!(bad.is_empty(), "{bad:#?}");
    Ok(())
}

// === impl Outcome ===

impl Outcome {
    fn is_good(&self) -> bool {
        self.lost == 0 && self.closes > 0 && self.connections > 1
    }
}
