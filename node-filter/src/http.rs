//! One request and its response.

use std::rc::Rc;

use proxy_host::{Action, MapType, Status, get_header, remove_header, replace_header};
use redistribution::node::RequestInHand;
use redistribution::wire::{CLOSE_HEADER, STAMP_HEADER};

use crate::root::Filter;

/// The context of a request.
pub(crate) struct Http {
    /// Absent where the filter was never configured: the request passes as if it were not there.
    filter: Option<Rc<Filter>>,
    /// It came with a stamp, whatever that says.
    had_stamp: bool,
    request: Option<RequestInHand>,
}

// === impl Http ===

impl Http {
    pub fn new(filter: Option<Rc<Filter>>) -> Self {
        Self { filter, had_stamp: false, request: None }
    }

    pub fn on_request_headers(&mut self) -> Action {
        let Some(filter) = &self.filter else {
            return Action::Continue;
        };
        let stamp = match get_header(MapType::RequestHeaders, STAMP_HEADER) {
            Ok(stamp) => Some(stamp),
            Err(Status::NotFound) => None,
            Err(_) => {
                filter.count_host_error();
                None
            }
        };
        self.had_stamp = stamp.is_some();
        self.request = filter.node.borrow_mut().on_request(stamp.as_deref(), filter.now.get());
        Action::Continue
    }

    pub fn on_response_headers(&mut self) -> Action {
        // Edges look for close requests only where they have put a stamp.
        let Some(filter) = self.filter.as_ref().filter(|_| self.had_stamp) else {
            return Action::Continue;
        };
        // What the application says in this header is not for it to say. All of it goes, since
        // replacing a header replaces the first of its name only.
        if remove_header(MapType::ResponseHeaders, CLOSE_HEADER).is_err() {
            filter.count_host_error();
        }
        let Some(request) = self.request.take() else {
            return Action::Continue;
        };
        let close = filter.node.borrow_mut().on_response(&request, filter.now.get());
        if let Some(close) = close.map(|close| close.to_header())
            && replace_header(MapType::ResponseHeaders, CLOSE_HEADER, close.as_bytes()).is_err()
        {
            filter.count_host_error();
        }
        Action::Continue
    }
}
