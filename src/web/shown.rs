//! The run or stream that is shown: asked by the requests of the control API, as by any client.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::service::Service as _;
use hyper::{Method, Request, Response};
use hyper_util::service::TowerToHyperService;
use serde_json::Value;

use crate::control::client::{self, NoAnswer};

/// A run or stream that is asked anew each time, so that nothing is held open while nobody looks.
#[derive(Debug, Clone)]
pub(super) struct ShownRun {
    /// The path of its socket, or its name.
    pub(super) path: Arc<Path>,
    /// Its answers, where there is no socket.
    pub(super) routes: Option<Router>,
}

impl ShownRun {
    /// Asks the run at this socket.
    pub(super) fn at(path: &Path) -> Self {
        ShownRun {
            path: path.into(),
            routes: None,
        }
    }

    /// Returns its name, which is that of its socket.
    pub(super) fn name(&self) -> String {
        let name = self.path.file_stem().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Returns `true` if it is a stream, which several supervisors may share.
    pub(super) fn is_stream(&self) -> bool {
        self.routes.is_some()
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
    pub(super) async fn pieces(&self, target: &str) -> Result<Body, NoAnswer> {
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
    async fn answered(&self, request: Request<Full<Bytes>>) -> Result<Response<Body>, NoAnswer> {
        let response = self.send(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(match client::whole(&self.path, response).await {
            Ok(answer) => NoAnswer::strange(&self.path, &answer),
            Err(why) => why,
        })
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Body>, NoAnswer> {
        if let Some(routes) = &self.routes {
            let routes = TowerToHyperService::new(routes.clone());
            let answer = routes.call(request.map(Body::new)).await;
            return Ok(answer.unwrap_or_else(|never| match never {}));
        }
        let (mut sender, _) = client::dial(&self.path).await?;
        let response = client::send(&self.path, &mut sender, request).await?;
        Ok(response.map(Body::new))
    }
}
