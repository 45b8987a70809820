//! A request or a connection, as the role of the filter has it.
//!
//! Where the role does not fit the place of the filter, everything passes as if the filter were not
//! there, and that is counted and said.

use proxy_host::Action;

use crate::connection_role::ConnectionRole;
use crate::http_role::HttpRole;

/// See the module's documentation.
pub(crate) enum Stream {
    Http(HttpRole),
    Connection(ConnectionRole),
}

// === impl Stream ===

impl Stream {
    pub fn on_request_headers(&mut self, end_of_stream: bool) -> Action {
        match self {
            Self::Http(role) => role.on_request_headers(end_of_stream),
            Self::Connection(role) => role.is_misplaced(),
        }
        Action::Continue
    }

    pub fn on_response_headers(&mut self) -> Action {
        if let Self::Http(role) = self {
            role.on_response_headers();
        }
        Action::Continue
    }

    pub fn on_new_connection(&mut self) -> Action {
        match self {
            Self::Connection(role) => role.on_new_connection(),
            Self::Http(role) => role.is_misplaced(),
        }
        Action::Continue
    }

    pub fn on_downstream_data(&mut self, size: usize, end_of_stream: bool) -> Action {
        match self {
            Self::Connection(role) => role.on_downstream_data(size, end_of_stream),
            Self::Http(_) => Action::Continue,
        }
    }

    pub fn on_upstream_data(&mut self, size: usize) -> Action {
        if let Self::Connection(role) = self {
            role.on_upstream_data(size);
        }
        Action::Continue
    }

    pub fn on_downstream_close(&mut self) -> Action {
        if let Self::Connection(role) = self {
            role.forget();
        }
        Action::Continue
    }
}
