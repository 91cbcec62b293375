//! A scheme in words, for people.

use super::{
    Algorithm, Check, Encoding, Form, Key, Part, Place, Scheme, Signature, Stamp, StampPlace, Unit,
};
use std::fmt;

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.check {
            Check::Signature(signature) => signature.fmt(f),
            Check::Header(name) => write!(f, "header `{name}` equals the secret"),
            Check::Bearer => f.write_str("`Authorization: Bearer` with the secret"),
            Check::Basic => f.write_str("`Authorization: Basic` with `user:password`"),
            Check::JwtBody => f.write_str("the body is a token (JWS) under an RSA key"),
            Check::JwtHeader(name) => {
                write!(f, "header `{name}`: a token (JWT) with the body's SHA-256")
            }
        }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Header(names) => write!(f, "header `{}`", names.join("` or `"))?,
            Place::Item { item, path, .. } => write!(f, "`{path}` of each `{item}`")?,
            Place::FormField(field) => write!(f, "form field `{field}`")?,
        }
        match self.form {
            Form::Whole => {}
            Form::Prefixed { prefix, optional: false } => write!(f, " after `{prefix}`")?,
            Form::Prefixed { prefix, optional: true } => write!(f, ", also after `{prefix}`")?,
            Form::Pairs { separator, signature } => {
                let separator = separator.trim();
                write!(f, " as `{signature}=…` between `{separator}`")?;
            }
            Form::Versions => f.write_str(" as `v1,…`")?,
            Form::KeyedList => f.write_str(" beside its public key")?,
        }
        write!(f, ": HMAC-{} ", algorithm(self.algorithm))?;
        f.write_str(match self.encoding {
            Encoding::Hex => "in hex",
            Encoding::Base64 => "in base64",
            Encoding::HexOrBase64 => "in hex or base64",
        })?;
        f.write_str(" of `")?;
        self.signed.iter().try_for_each(|part| part.fmt(f))?;
        f.write_str("`")?;
        f.write_str(match self.key {
            Key::Utf8 => "",
            Key::Base64 => ", the secret is base64",
            Key::Hex => ", the secret is hex",
            Key::Sha1 => ", the key is the secret's SHA-1",
        })?;
        self.stamp.map_or(Ok(()), |stamp| stamp.fmt(f))
    }
}

fn algorithm(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Sha1 => "SHA1",
        Algorithm::Sha256 => "SHA256",
        Algorithm::Sha384 => "SHA384",
        Algorithm::Sha512 => "SHA512",
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body => f.write_str("{body}"),
            Self::Id(_) => f.write_str("{id}"),
            Self::Stamp => f.write_str("{stamp}"),
            Self::Url => f.write_str("{url}"),
            Self::Text(text) => f.write_str(text),
            Self::Field(path) => write!(f, "{{{path}}}"),
            Self::FormField(field) => write!(f, "{{{field}}}"),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            StampPlace::Pair(key) => write!(f, ", stamp `{key}` beside it")?,
            StampPlace::Header(names) => write!(f, ", stamp in `{}`", names.join("` or `"))?,
        }
        if self.unit == Unit::Milliseconds {
            f.write_str(" in ms")?;
        }
        write!(f, ", {} s", self.tolerance.num_seconds())
    }
}
