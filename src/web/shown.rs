//! The run that is shown: asked over its control socket, as by any client.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response};
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
        let request = client::request(&self.path, method, target, body.into())?;
        client::whole(&self.path, self.send(request).await?).await
    }

    pub(super) async fn get(&self, target: &str) -> Result<Value, NoAnswer> {
        self.ask(Method::GET, target, Bytes::new()).await
    }

    /// Asks for something that comes piece by piece.
    pub(super) async fn pieces(&self, target: &str) -> Result<Incoming, NoAnswer> {
        let request = client::request(&self.path, Method::GET, target, Bytes::new())?;
        Ok(self.answered(request).await?.into_body())
    }

    /// Asks for the numbers for Prometheus, in the form that is accepted. Returns the form and the text.
    pub(super) async fn metrics(&self, accepts: &str) -> Result<(String, Bytes), NoAnswer> {
        let mut request = client::request(&self.path, Method::GET, "/metrics", Bytes::new())?;
        if let Ok(accepts) = HeaderValue::try_from(accepts) {
            request.headers_mut().insert(ACCEPT, accepts);
        }
        let response = self.answered(request).await?;
        let form = response.headers().get(CONTENT_TYPE);
        let form = form.and_then(|form| form.to_str().ok());
        let form = form.unwrap_or("text/plain").to_owned();
        let text = response.into_body().collect().await;
        let text = text.map_err(|why| NoAnswer::strange(&self.path, &why))?;
        Ok((form, text.to_bytes()))
    }

    /// Sends a request, which must be answered with what it asks for.
    async fn answered(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, NoAnswer> {
        let response = self.send(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(match client::whole(&self.path, response).await {
            Ok(answer) => NoAnswer::strange(&self.path, &answer),
            Err(why) => why,
        })
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, NoAnswer> {
        let (mut sender, _) = client::dial(&self.path).await?;
        client::send(&self.path, &mut sender, request).await
    }
}
