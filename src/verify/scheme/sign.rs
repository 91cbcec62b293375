//! Signs as a provider does: for `send`, and for tests.

use super::{
    BadSecret, Check, Form, Input, Part, Place, Scheme, Signature, StampPlace, check, credential,
    form, jwt, key,
};
use crate::model::{inbound::Headers, secret::Secret, time::Timestamp};

/// A body cannot be signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unsignable {
    /// Of items and forms.
    #[error("the provider signs inside the body, which only it can write")]
    InTheBody,
    /// Where the URL is signed.
    #[error("the provider signs the webhook's address: set `url` of the source")]
    NoUrl,
    /// Where the id is signed: a full stop ends it (Standard Webhooks).
    #[error("the id must not be empty or hold a full stop or a control character")]
    Id,
    /// Of another kind than the scheme works with.
    #[error("the source's secret {0}")]
    Secret(BadSecret),
}

/// The headers with which a scheme accepts a body, signed with a secret at a time.
///
/// # Errors
/// Where the scheme's signature is inside the body, or an ingredient is missing or unfit.
pub fn sign(
    scheme: &Scheme,
    secret: &Secret,
    body: &[u8],
    id: &str,
    at: Timestamp,
    url: Option<&str>,
) -> Result<Headers, Unsignable> {
    let mut headers = match &scheme.check {
        Check::Signature(signature) => signature_headers(signature, secret, body, id, at, url)?,
        Check::JwtBody => return Err(Unsignable::InTheBody),
        Check::JwtHeader(name) => {
            let token = jwt::header(secret, body).map_err(Unsignable::Secret)?;
            Headers::from_iter([(*name, token)])
        }
        _ => credential_header(scheme, secret)?,
    };
    if let [name, ..] = scheme.event_id
        && headers.get(name).is_none()
    {
        headers.add(name, id);
    }
    Ok(headers)
}

fn signature_headers(
    signature: &Signature,
    secret: &Secret,
    body: &[u8],
    id: &str,
    at: Timestamp,
    url: Option<&str>,
) -> Result<Headers, Unsignable> {
    let Place::Header(&[name, ..]) = signature.place else { return Err(Unsignable::InTheBody) };
    let stamp = signature.stamp.map(|rule| rule.text(at));
    let mut headers = Headers::default();
    for part in signature.signed {
        match *part {
            Part::Id(&[name, ..]) => {
                if id.is_empty() || id.contains('.') || id.chars().any(char::is_control) {
                    return Err(Unsignable::Id);
                }
                headers.add(name, id);
            }
            Part::Url if url.is_none() => return Err(Unsignable::NoUrl),
            _ => {}
        }
    }
    let mut pair = None;
    match (signature.stamp.map(|rule| rule.place), &stamp) {
        (Some(StampPlace::Header(&[name, ..])), Some(text)) => headers.add(name, text.clone()),
        (Some(StampPlace::Pair(key)), Some(text)) => pair = Some((key, text.as_str())),
        _ => {}
    }
    let nothing = Headers::default();
    let input = Input { headers: &nothing, body, url, item: None };
    let signed = check::signed(signature, &input, Some(id), stamp.as_deref())
        .map_err(|_| Unsignable::InTheBody)?;
    let key = key::bytes(signature.key, secret).map_err(Unsignable::Secret)?;
    let mac = key::mac(signature.algorithm, &key, &signed);
    headers.add(name, written(signature.form, pair, &form::encode(signature.encoding, &mac)));
    Ok(headers)
}

/// A signature as its header holds it, with the stamp where that stands beside it.
fn written(form: Form, stamp: Option<(&str, &str)>, signature: &str) -> String {
    match form {
        Form::Whole | Form::KeyedList => signature.to_owned(),
        Form::Prefixed { prefix, .. } => format!("{prefix}{signature}"),
        Form::Versions => format!("v1,{signature}"),
        Form::Pairs { separator, signature: key } => match stamp {
            Some((name, text)) => format!("{name}={text}{separator}{key}={signature}"),
            None => format!("{key}={signature}"),
        },
    }
}

fn credential_header(scheme: &Scheme, secret: &Secret) -> Result<Headers, Unsignable> {
    let value = credential::header(&scheme.check, secret).map_err(Unsignable::Secret)?;
    Ok(scheme.credential().map(|name| (name, value)).into_iter().collect())
}
