//! The bytes from the broker, before the AMQP client reads them: pure.
//!
//! RabbitMQ takes what no client library must trust. lapin 4.12 ends the connection at a short string that is no
//! UTF-8, so that the message comes again for ever, and its reader, which recurses, overflows its stack and
//! aborts the process at some hundred nested arrays. Both are mended here in place, without a change of
//! length: bytes that are no UTF-8 become `?`, and what is nested too deep becomes a byte array.
//!
//! Three things are noted on the way that the client does not tell: the server's version, which published
//! messages were returned (with several confirms in flight it gives a returned message to any of them), and how many
//! bytes of messages arrived that nobody has settled yet: see [`ahead`].
//!
//! Frames and values: AMQP 0-9-1, sections 2.3.5 and 4.2; field types: RabbitMQ's errata.

use ahead::Ahead;
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, OnceLock, PoisonError},
};

pub mod ahead;
pub mod stream;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
/// Type, channel and size before a frame's payload.
const PREFIX: usize = 7;
/// A frame with method or header larger than this is not held back to be mended: no broker sends it.
const LARGEST: usize = 16 * 1024 * 1024;
/// How deep headers may nest; the broker's own `x-death` needs two.
const DEPTH: usize = 8;

/// What was noted about a connection.
#[derive(Debug, Default)]
pub struct Seen {
    version: OnceLock<String>,
    returned: Mutex<HashSet<String>>,
    /// What was sent ahead.
    pub ahead: Ahead,
}

impl Seen {
    /// The server's version, once the connection is open.
    pub fn version(&self) -> Option<&str> {
        self.version.get().map(String::as_str)
    }

    /// Whether the message with this `message-id` came back because no queue took it. It tells once.
    pub fn was_returned(&self, message_id: &str) -> bool {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).remove(message_id)
    }

    fn note_returned(&self, message_id: String) {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).insert(message_id);
    }
}

/// Walks over the bytes as they arrive.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Bytes of a frame that pass as they are.
    passing: usize,
    /// Channels whose next header belongs to a returned message.
    returning: HashSet<u16>,
    /// How large the message is that arrives on a channel, and how much of it is still to come.
    arriving: HashMap<u16, (usize, usize)>,
    /// The message that is complete once what passes has passed.
    completes: Option<(u16, usize)>,
    /// What arrives is no AMQP 0-9-1: it passes as it is.
    foreign: bool,
}

impl Scanner {
    /// Mends what is complete; how many bytes from the start are ready to be read.
    pub fn scan(&mut self, bytes: &mut [u8], seen: &Seen) -> usize {
        let mut at = 0;
        loop {
            let rest = bytes.len() - at;
            if self.foreign {
                return bytes.len();
            }
            if self.passing > 0 {
                let step = self.passing.min(rest);
                self.passing -= step;
                at += step;
                if self.passing > 0 {
                    return at;
                }
                if let Some((channel, size)) = self.completes.take() {
                    seen.ahead.arrived(channel, size);
                }
                continue;
            }
            let Some(&[kind, c0, c1, s0, s1, s2, s3]) = bytes.get(at..at + PREFIX) else {
                return at;
            };
            let size = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
            let frame = PREFIX + size + 1;
            let channel = u16::from_be_bytes([c0, c1]);
            match kind {
                METHOD | HEADER if frame <= LARGEST => {
                    let Some(payload) = bytes.get_mut(at + PREFIX..at + PREFIX + size) else {
                        return at;
                    };
                    self.mend(kind, channel, payload, seen);
                    self.passing = frame;
                }
                METHOD | HEADER | BODY | HEARTBEAT => {
                    if kind == BODY {
                        self.count(channel, size);
                    }
                    self.passing = frame;
                }
                _ => self.foreign = true,
            }
        }
    }

    /// Notes that so much of a body comes next.
    fn count(&mut self, channel: u16, size: usize) {
        let Some((whole, missing)) = self.arriving.get_mut(&channel) else { return };
        *missing = missing.saturating_sub(size);
        if *missing == 0 {
            self.completes = Some((channel, *whole));
            self.arriving.remove(&channel);
        }
    }

    fn mend(&mut self, kind: u8, channel: u16, payload: &mut [u8], seen: &Seen) {
        let mut walk = Walk { end: payload.len(), bytes: payload, at: 0 };
        if kind == HEADER {
            let size = walk.body_size().and_then(|size| usize::try_from(size).ok());
            if let Some(size) = size.filter(|size| *size > 0) {
                self.arriving.insert(channel, (size, size));
            }
            let message_id = walk.header();
            if self.returning.remove(&channel)
                && let Some(message_id) = message_id
            {
                seen.note_returned(message_id);
            }
            return;
        }
        match walk.method() {
            Some(Method::Start(Some(version))) => {
                let _ = seen.version.set(version);
            }
            Some(Method::Return) => {
                self.returning.insert(channel);
            }
            Some(Method::Opened) => {
                self.returning.remove(&channel);
                self.arriving.remove(&channel);
                seen.ahead.opened(channel);
            }
            _ => {}
        }
    }
}

enum Method {
    Start(Option<String>),
    Opened,
    Return,
    Other,
}

/// A place in a frame's payload. Whatever runs over the end is `None`, and the rest stays as it is.
struct Walk<'a> {
    bytes: &'a mut [u8],
    at: usize,
    /// Where the table or array ends that it is in, else the payload: nothing behind it is read or changed.
    end: usize,
}

impl Walk<'_> {
    fn method(&mut self) -> Option<Method> {
        match (self.u16()?, self.u16()?) {
            // connection.start: two bytes of protocol version, the server's properties
            (10, 10) => {
                self.skip(2)?;
                Some(Method::Start(self.server_version()))
            }
            // channel.open-ok
            (20, 11) => Some(Method::Opened),
            // connection.close and channel.close: code, text
            (10, 50) | (20, 40) => {
                self.skip(2)?;
                self.short()?;
                Some(Method::Other)
            }
            // basic.return: code, text, exchange, routing key
            (60, 50) => {
                self.skip(2)?;
                self.shorts(3)?;
                Some(Method::Return)
            }
            // basic.deliver: consumer tag, delivery tag, redelivered, exchange, routing key
            (60, 60) => {
                self.short()?;
                self.skip(9)?;
                self.shorts(2)?;
                Some(Method::Other)
            }
            // basic.get-ok: delivery tag, redelivered, exchange, routing key
            (60, 71) => {
                self.skip(9)?;
                self.shorts(2)?;
                Some(Method::Other)
            }
            _ => Some(Method::Other),
        }
    }

    /// The entry `version`, a long string, of the table that begins here.
    fn server_version(&mut self) -> Option<String> {
        let end = self.length()?;
        while self.at < end {
            let name = self.short()?;
            let mark = self.at;
            if name == "version" && self.u8()? == b'S' {
                let stop = self.length()?;
                return Some(String::from_utf8_lossy(self.bytes.get(self.at..stop)?).into_owned());
            }
            self.at = mark;
            self.value(DEPTH)?;
        }
        None
    }

    /// How large the body is of which this is the content header. Stays where it is.
    fn body_size(&self) -> Option<u64> {
        // class, weight
        self.bytes.get(4..)?.first_chunk().map(|size| u64::from_be_bytes(*size))
    }

    /// A content header; its `message-id`.
    fn header(&mut self) -> Option<String> {
        // class, weight, size of the body
        self.skip(12)?;
        let flags = self.u16()?;
        let has = |place: u16| flags & (1 << (15 - place)) != 0;
        // content type, content encoding
        for place in [0, 1] {
            if has(place) {
                self.short()?;
            }
        }
        if has(2) {
            let end = self.length()?;
            self.entries(end, true, DEPTH);
        }
        // delivery mode, priority
        for place in [3, 4] {
            if has(place) {
                self.skip(1)?;
            }
        }
        // correlation id, reply to, expiration
        for place in [5, 6, 7] {
            if has(place) {
                self.short()?;
            }
        }
        let message_id = if has(8) { Some(self.short()?) } else { None };
        // timestamp, then type, user id, app id, cluster id
        if has(9) {
            self.skip(8)?;
        }
        for place in [10, 11, 12, 13] {
            if has(place) {
                self.short()?;
            }
        }
        message_id
    }

    /// The entries of a table (named) or an array up to its end. One that cannot be read becomes a byte array
    /// with all behind it.
    fn entries(&mut self, end: usize, named: bool, depth: usize) {
        let outer = std::mem::replace(&mut self.end, end);
        while self.at < end {
            let begun = self.at;
            if named && (self.short().is_none() || self.at >= end) {
                self.fill(begun, end, named);
                break;
            }
            let mark = self.at;
            if self.value(depth).is_none() {
                if !self.blank(mark, end) {
                    self.fill(begun, end, named);
                }
                break;
            }
        }
        self.at = end;
        self.end = outer;
    }

    /// Makes one entry of what stands between two places and is none: of nothing, or a byte array where it is long. In
    /// an array as many entries of nothing. A single byte of a table can be none.
    fn fill(&mut self, from: usize, to: usize, named: bool) {
        let Some(all) = self.bytes.get_mut(from..to) else { return };
        if !named {
            all.fill(b'V');
        } else if let [size, name @ .., kind] = all {
            if let Ok(length) = u8::try_from(name.len()) {
                *size = length;
                name.fill(b'?');
                *kind = b'V';
            } else {
                *size = 0;
                self.blank(from + 1, to);
            }
        }
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        let mark = self.at;
        match self.u8()? {
            b'V' => Some(()),
            b't' | b'b' | b'B' => self.skip(1),
            b's' | b'u' | b'U' => self.skip(2),
            b'I' | b'i' | b'f' => self.skip(4),
            b'D' => self.skip(5),
            b'l' | b'L' | b'd' | b'T' => self.skip(8),
            b'S' | b'x' => {
                self.at = self.length()?;
                Some(())
            }
            kind @ (b'A' | b'F') => {
                let end = self.length()?;
                if depth == 0 {
                    *self.bytes.get_mut(mark)? = b'x';
                    self.at = end;
                } else {
                    self.entries(end, kind == b'F', depth - 1);
                }
                Some(())
            }
            _ => None,
        }
    }

    /// Makes what stands between two places one byte array, where it is long enough to be one; whether it is.
    fn blank(&mut self, from: usize, to: usize) -> bool {
        let size = to.saturating_sub(from).checked_sub(5).and_then(|size| u32::try_from(size).ok());
        if let (Some(size), Some([kind, length @ ..])) = (size, self.bytes.get_mut(from..from + 5))
        {
            *kind = b'x';
            length.copy_from_slice(&size.to_be_bytes());
            return true;
        }
        false
    }

    fn shorts(&mut self, count: usize) -> Option<()> {
        for _ in 0..count {
            self.short()?;
        }
        Some(())
    }

    /// A short string, made UTF-8 in place.
    fn short(&mut self) -> Option<String> {
        let size = usize::from(self.u8()?);
        let start = self.at;
        self.skip(size)?;
        let text = self.bytes.get_mut(start..self.at)?;
        while let Err(error) = std::str::from_utf8(text) {
            let from = error.valid_up_to();
            let to = error.error_len().map_or(size, |bad| from + bad);
            text.get_mut(from..to)?.fill(b'?');
        }
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// A long length; where what it measures ends.
    fn length(&mut self) -> Option<usize> {
        let size = u32::from_be_bytes(self.take()?) as usize;
        let end = self.at.checked_add(size)?;
        (end <= self.end).then_some(end)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.bytes.get(self.at..self.end)?.first_chunk::<N>()?;
        self.at += N;
        Some(*bytes)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        let end = self.at.checked_add(count)?;
        if end > self.end {
            return None;
        }
        self.at = end;
        Some(())
    }
}

#[cfg(test)]
mod tests;
