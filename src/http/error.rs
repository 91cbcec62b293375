//! Errors as the API tells them: one shape on every path and status (contract 4).

use crate::store;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;
use std::{borrow::Cow, sync::Arc};

/// Why a request is not answered with what it asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    param: Option<Cow<'static, str>>,
    details: Option<Value>,
    /// Seconds.
    retry_after: Option<u16>,
    /// For our log alone.
    #[source]
    cause: Option<Cause>,
}

#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
struct Cause(Arc<store::Error>);

/// When a client may try again what we could not do just now, in seconds.
const RETRY_AFTER: u16 = 5;

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self { status, code, message, param: None, details: None, retry_after: None, cause: None }
    }

    /// 400: a parameter cannot be used.
    pub(super) fn param(
        code: &'static str,
        param: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { param: Some(param.into()), ..Self::new(StatusCode::BAD_REQUEST, code, message) }
    }

    /// 400: the request itself cannot be read.
    pub(super) fn unreadable(message: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unreadable_request", message)
    }

    /// 401: nobody that we know.
    pub(super) fn unauthenticated(code: &'static str, message: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, message)
    }

    /// 403: somebody who may not.
    pub(super) fn forbidden(message: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, "insufficient_scope", message)
    }

    /// 404.
    pub(super) fn not_found(code: &'static str, message: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 408: a body that does not arrive.
    pub(super) fn slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the body did not arrive in time")
    }

    /// 409.
    pub(super) fn conflict(code: &'static str, message: &'static str) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 413.
    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("the body is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    /// 503: later it may work.
    pub(super) fn unavailable(message: &'static str) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
        Self { retry_after: Some(RETRY_AFTER), ..error }
    }

    /// 500: a fault of ours.
    pub(super) fn internal() -> Self {
        let message = "something went wrong here; the request id helps to find it in the log";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }

    /// What a response of that status says that did not come from a handler of ours.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let (code, message) = match status {
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method_not_allowed", "this path does not answer to this method")
            }
            StatusCode::PAYLOAD_TOO_LARGE => ("body_too_large", "the body is too large"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                ("unsupported_media_type", "the content type must be application/json")
            }
            StatusCode::UNPROCESSABLE_ENTITY => {
                ("unprocessable_body", "the body is not of the expected shape")
            }
            status if status.is_server_error() => return Self::internal(),
            _ => ("unreadable_request", "the request cannot be read"),
        };
        Self::new(status, code, message)
    }

    /// With something a program can read.
    pub(super) fn with_details(self, details: Value) -> Self {
        Self { details: Some(details), ..self }
    }

    /// The parameter that is wrong.
    #[cfg(test)]
    pub(super) fn named(&self) -> String {
        self.param.as_deref().unwrap_or_default().to_owned()
    }

    /// The field's word for the status.
    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::CONFLICT => "conflict_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "api_error",
            _ => "invalid_request_error",
        }
    }

    /// The answer, with the request's id in it. Logs what is our own fault.
    pub(super) fn render(&self, request_id: &str) -> Response {
        if self.status.is_server_error() {
            let cause = self.cause.as_ref().map(chain).unwrap_or_default();
            tracing::error!(request_id, code = self.code, cause, "a request failed: {self}");
        }
        let body = Body {
            error: Inner {
                kind: self.kind(),
                code: self.code,
                message: &self.message,
                param: self.param.as_deref(),
                details: self.details.as_ref(),
            },
            request_id,
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"customer-sync\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

fn chain(cause: &Cause) -> String {
    let mut text = cause.to_string();
    let mut next = std::error::Error::source(cause.0.as_ref());
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

#[derive(Serialize)]
struct Body<'a> {
    error: Inner<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Inner<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    code: &'static str,
    message: &'a str,
    param: Option<&'a str>,
    details: Option<&'a Value>,
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        let told = if error.is_transient() {
            Self::unavailable("the database is away or busy")
        } else {
            Self::internal()
        };
        Self { cause: Some(Cause(Arc::new(error))), ..told }
    }
}

/// Hands the error to [`super::request_id::envelope`], which knows the request's id.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
