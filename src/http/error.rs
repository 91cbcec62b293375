//! Errors as the API tells them: one shape on every path and status (contract 4).

use super::compat::Dialect;
use crate::{
    model::answer::{ErrorBody, ErrorDetail},
    store,
};
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::TimeDelta;
use serde_json::Value;
use std::{borrow::Cow, sync::Arc};

/// Why a request is not answered with what it asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: Cow<'static, str>,
    pub(super) param: Option<Cow<'static, str>>,
    pub(super) details: Option<Value>,
    /// Seconds.
    pub(super) retry_after: Option<u16>,
    /// For our log alone.
    cause: Option<Cause>,
}

type Cause = Arc<dyn std::error::Error + Send + Sync>;

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

    /// 400: the body cannot be read; where and why.
    pub(super) fn unreadable_body(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unreadable_request", message)
    }

    /// 400: what is asked for takes too long to find.
    pub(super) fn too_broad() -> Self {
        let message = "this took longer than a second: ask for less, or by what has an index";
        Self::new(StatusCode::BAD_REQUEST, "query_too_broad", message)
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
    pub(super) fn not_found(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 408: a body that does not arrive.
    pub(super) fn slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the body did not arrive in time")
    }

    /// 409.
    pub(super) fn conflict(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 413.
    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("the body is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    /// 415.
    pub(super) fn unsupported_media_type() -> Self {
        let message = "send the body as JSON, with `Content-Type: application/json`";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    /// 429: more than a key may; how long it is to wait.
    pub(super) fn too_many(wait: TimeDelta) -> Self {
        let message = "this key makes more requests than it may: slow down";
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message);
        // Whole seconds, rounded up.
        let seconds = wait.num_milliseconds().saturating_add(999) / 1_000;
        Self { retry_after: Some(u16::try_from(seconds).unwrap_or(u16::MAX).max(1)), ..error }
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
            status if status.is_server_error() => return Self::internal(),
            _ => ("unreadable_request", "the request cannot be read"),
        };
        Self::new(status, code, message)
    }

    /// With something a program can read.
    pub(super) fn with_details(self, details: Value) -> Self {
        Self { details: Some(details), ..self }
    }

    /// With the parameter that it is about.
    pub(super) fn about(self, param: impl Into<Cow<'static, str>>) -> Self {
        Self { param: Some(param.into()), ..self }
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

    /// With what brought it about, for the log.
    pub(super) fn because(self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { cause: Some(Arc::new(cause)), ..self }
    }

    /// The answer, with the request's id in it, in our words or in a dialect's. Logs what has a cause on our side.
    pub(super) fn render(&self, request_id: &str, dialect: Option<Dialect>) -> Response {
        let cause = self.cause.as_ref().map(chain);
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(request_id, cause, "a request failed: {self}");
        } else if let Some(cause) = cause {
            tracing::warn!(request_id, cause, "a request could not be answered now: {self}");
        }
        let body = match dialect {
            Some(dialect) => axum::Json(dialect.error(self, request_id)).into_response(),
            None => axum::Json(self.body(request_id)).into_response(),
        };
        let mut response = (self.status, body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"customer-sync\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }

    fn body<'a>(&'a self, request_id: &'a str) -> ErrorBody<'a> {
        ErrorBody {
            error: ErrorDetail {
                kind: self.kind().into(),
                code: self.code.into(),
                message: Cow::Borrowed(&self.message),
                param: self.param.as_deref().map(Cow::Borrowed),
                details: self.details.as_ref().map(Cow::Borrowed),
            },
            request_id: request_id.into(),
        }
    }
}

fn chain(cause: &Cause) -> String {
    let mut text = cause.to_string();
    let mut next = cause.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        if matches!(error, store::Error::TooBroad) {
            return Self::too_broad();
        }
        let told = if error.is_transient() {
            Self::unavailable("the database is away or busy")
        } else {
            Self::internal()
        };
        told.because(error)
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
