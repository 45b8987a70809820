//! What clients do.

use clap::ValueEnum;

use super::contenders::Contender;

/// Requests of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Workload {
    /// HTTP/1.1, bodies of two bytes.
    Http1Small,
    /// HTTP/2, likewise.
    Http2Small,
    /// HTTP/1.1, small bodies, and stamps of a thousand load balancers.
    Http1SmallManyEdges,
    /// HTTP/1.1, bodies of 1 MiB.
    Http1Large,
    /// HTTP/2, likewise.
    Http2Large,
    /// HTTP/1.1, small bodies, and one response in 500 asks for a close.
    Http1SmallClosing,
    /// HTTP/1.1, bodies of 1 MiB, likewise.
    Http1LargeClosing,
}

// === impl Workload ===

impl Workload {
    /// What it is called, on the command line as in results.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What it is, in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Http1Small => "HTTP/1.1, small bodies",
            Self::Http2Small => "HTTP/2, small bodies",
            Self::Http1SmallManyEdges => {
                "HTTP/1.1, small bodies, with stamps of a thousand load balancers"
            }
            Self::Http1Large => "HTTP/1.1, bodies of 1 MiB",
            Self::Http2Large => "HTTP/2, bodies of 1 MiB",
            Self::Http1SmallClosing => "HTTP/1.1, small bodies, connections closed",
            Self::Http1LargeClosing => "HTTP/1.1, bodies of 1 MiB, connections closed",
        }
    }

    pub(super) fn http2(self) -> bool {
        matches!(self, Self::Http2Small | Self::Http2Large)
    }

    /// Whether connections are closed.
    pub(super) fn closes(self) -> bool {
        matches!(self, Self::Http1SmallClosing | Self::Http1LargeClosing)
    }

    /// Whether it tells anything of a contender: how many load balancers there are concerns a node only.
    pub(super) fn concerns(self, contender: Contender) -> bool {
        self != Self::Http1SmallManyEdges
            || matches!(contender, Contender::NoFilter | Contender::NodeFilter)
    }

    /// Load balancers that the stamps name.
    pub(super) fn edges(self) -> u32 {
        match self {
            Self::Http1SmallManyEdges => 1000,
            _ => 1,
        }
    }

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Http1Small | Self::Http2Small | Self::Http1SmallManyEdges => "/small",
            Self::Http1Large | Self::Http2Large => "/large",
            Self::Http1SmallClosing => "/small/closing",
            Self::Http1LargeClosing => "/large/closing",
        }
    }
}
