//! Callbacks that come as they like.

use arbitrary::Result;

use super::Edge;
use super::connections::written;
use crate::host::{self, CONTINUE, PAUSE, Stream, call};

/// Contexts are named up to this one.
pub const LAST_CONTEXT: u32 = 63;

/// The codec takes what was held back, and writes whatever there is.
pub fn codec_answers(context: u32, held: &[u8]) {
    written(context, held);
}

// === impl Edge ===

impl Edge<'_, '_> {
    /// Any callback, for any context, with any stream behind it.
    pub(super) fn wild(&mut self) -> Result<()> {
        let context = u32::from(self.data.arbitrary::<u8>()?) % (LAST_CONTEXT + 1);
        let other = u32::from(self.data.arbitrary::<u8>()?) % (LAST_CONTEXT + 1);
        if self.data.ratio(1, 4)? {
            let stream = self.stream()?;
            host::with(|host| host.streams.insert(context, stream));
        }
        let (up, down) = host::with(|host| {
            let stream = host.streams.get(&context);
            stream.map_or((0, 0), |stream| (stream.upstream.len(), stream.downstream.len()))
        });
        let end = self.data.arbitrary()?;
        let which = self.data.arbitrary::<u8>()? % 12;
        let action = call(context, |module| {
            let edge = module.edge();
            match which {
                0 => (module.context_create)(context, other),
                1 => (module.context_create)(context, 0),
                2 => {
                    let size = host::with(|host| host.configuration.len());
                    let _ = (module.configure)(context, size);
                }
                3 => (module.tick)(context),
                4 => (module.delete)(context),
                5 => (edge.queue_ready)(context, other),
                6 => (edge.downstream_connection_close)(context, other),
                7 => return (module.request_headers)(context, other as usize, end),
                8 => return (module.response_headers)(context, other as usize, end),
                9 => return (edge.new_connection)(context),
                10 => return (edge.upstream_data)(context, up, end),
                _ => return (edge.downstream_data)(context, down, end),
            }
            CONTINUE
        });
        assert!(action == CONTINUE || (action == PAUSE && which == 11), "{action} after {which}");
        Ok(())
    }

    /// Any stream.
    fn stream(&mut self) -> Result<Stream> {
        Ok(Stream {
            connection: match self.data.arbitrary::<u8>()? {
                0..=31 => self.bytes(9)?,
                id => u64::from(id % 16).to_le_bytes().to_vec(),
            },
            protocol: match self.data.arbitrary::<u8>()? % 4 {
                0 => b"HTTP/1.1".to_vec(),
                1 => b"HTTP/2".to_vec(),
                2 => b"HTTP/3".to_vec(),
                _ => self.bytes(9)?,
            },
            request: vec![(b":method".into(), self.bytes(9)?)],
            response: vec![
                (b":status".into(), self.bytes(4)?),
                (b"spillway-close".into(), self.bytes(60)?),
            ],
            downstream: self.bytes(60)?,
            upstream: self.bytes(60)?,
            let_through: Vec::new(),
            closed: false,
        })
    }
}
