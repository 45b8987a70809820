//! What clients do.

use clap::ValueEnum;

use super::contenders::Contender;

/// With 20,000 requests a second an edge stamps about so many: `max_stamps_per_second`.
const STAMPED_ONE_IN: u32 = 20;

/// Requests of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Workload {
    /// HTTP/1.1, bodies of two bytes.
    Http1Small,
    /// HTTP/2, likewise.
    Http2Small,
    /// HTTP/1.1, small bodies, and each request has a stamp.
    Http1SmallStamped,
    /// The same, of a thousand load balancers.
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
            Self::Http1SmallStamped => "HTTP/1.1, small bodies, a stamp with each request",
            Self::Http1SmallManyEdges => {
                "HTTP/1.1, small bodies, a stamp of one of a thousand load balancers with each request"
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

    /// Whether it tells anything of a contender: stamps concern a node only.
    pub(super) fn concerns(self, contender: Contender) -> bool {
        !matches!(self, Self::Http1SmallStamped | Self::Http1SmallManyEdges)
            || matches!(
                contender,
                Contender::NoFilter | Contender::EmptySdkFilter | Contender::NodeFilter
            )
    }

    /// One in so many requests has a stamp.
    pub(super) fn stamps_one_in(self) -> u32 {
        match self {
            Self::Http1Small | Self::Http1SmallClosing => STAMPED_ONE_IN,
            _ => 1,
        }
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
            Self::Http1Small
            | Self::Http2Small
            | Self::Http1SmallStamped
            | Self::Http1SmallManyEdges => "/small",
            Self::Http1Large | Self::Http2Large => "/large",
            Self::Http1SmallClosing => "/small/closing",
            Self::Http1LargeClosing => "/large/closing",
        }
    }
}
