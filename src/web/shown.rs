//! The run that is shown: asked over its control socket, as by any client.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;
use hyper::body::Incoming;
use serde_json::Value;

use crate::control::client::{self, NoAnswer};

/// A run that is asked anew each time, so that nothing is held open while nobody looks.
#[derive(Debug, Clone)]
pub(super) struct ShownRun {
    path: Arc<Path>,
}

impl ShownRun {
    pub(super) fn at(path: Arc<Path>) -> Self {
        ShownRun { path }
    }

    /// Asks, and reads the answer whole.
    pub(super) async fn ask(
        &self,
        method: Method,
        target: &str,
        body: impl Into<Bytes>,
    ) -> Result<Value, NoAnswer> {
        let (mut sender, _) = client::dial(&self.path).await?;
        let request = client::request(&self.path, method, target, None, body.into())?;
        let response = client::send(&self.path, &mut sender, request).await?;
        client::whole(&self.path, response).await
    }

    pub(super) async fn get(&self, target: &str) -> Result<Value, NoAnswer> {
        self.ask(Method::GET, target, Bytes::new()).await
    }

    /// Asks for something that comes piece by piece.
    pub(super) async fn pieces(&self, target: &str) -> Result<Incoming, NoAnswer> {
        let (mut sender, _) = client::dial(&self.path).await?;
        let request = client::request(&self.path, Method::GET, target, None, Bytes::new())?;
        let response = client::send(&self.path, &mut sender, request).await?;
        match response.status().is_success() {
            true => Ok(response.into_body()),
            false => Err(client::whole(&self.path, response)
                .await
                .err()
                .unwrap_or(NoAnswer::Late { path: self.path.to_path_buf() })),
        }
    }
}
