//! The page of a stream: what is asked of a run over its socket is answered in this process.

use std::path::Path;

use axum::Router;

use super::access::Access;
use super::shown::ShownRun;
use super::{Web, WebOptions};

impl Web {
    /// Describes the page of the stream of this name. `routes` answers the requests of the control API for it.
    pub(crate) fn of_stream(name: &str, routes: Router) -> WebOptions {
        WebOptions {
            runs: vec![ShownRun {
                path: Path::new(name).into(),
                routes: Some(routes),
            }],
            access: Access::default(),
        }
    }
}
