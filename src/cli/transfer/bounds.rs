//! Readers that end where one record is larger than any may be: without them a quotation mark that is never closed would
//! make the rest of a file one record, and that has to fit into memory.

use std::{
    cell::Cell,
    io::{self, Read},
};

/// The longest record, in bytes as it stands in a file.
pub(super) const LONGEST: usize = 4 * 1024 * 1024;

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a record has more than {LONGEST} bytes"))
}

/// Counts what was read since the last record; whoever takes the records sets it back.
#[derive(Debug)]
pub(super) struct Counted<'c, R> {
    pub(super) inner: R,
    pub(super) since: &'c Cell<usize>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since.get() >= LONGEST {
            return Err(too_long());
        }
        let read = self.inner.read(buffer)?;
        self.since.set(self.since.get().saturating_add(read));
        Ok(read)
    }
}

/// Keeps what was read since the last record was taken, so that it can be had as it stood.
#[derive(Debug)]
pub(super) struct Kept<R> {
    inner: R,
    bytes: Vec<u8>,
    /// Where these begin in the whole.
    begin: u64,
    is_over: bool,
    is_at_end: bool,
}

impl<R: Read> Kept<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, bytes: Vec::new(), begin: 0, is_over: false, is_at_end: false }
    }

    /// Takes what stands before this place of the whole.
    pub(super) fn take_to(&mut self, end: u64) -> Vec<u8> {
        let size = usize::try_from(end.saturating_sub(self.begin)).unwrap_or(usize::MAX);
        let taken: Vec<u8> = self.bytes.drain(..size.min(self.bytes.len())).collect();
        self.begin = end;
        taken
    }

    /// Whether a record was too long.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether there is no more to be read.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// What is kept, and what was not read.
    pub(super) fn into_parts(self) -> (Vec<u8>, R) {
        (self.bytes, self.inner)
    }
}

impl<R: Read> Read for Kept<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.len() >= LONGEST {
            self.is_over = true;
            return Err(too_long());
        }
        let read = self.inner.read(buffer)?;
        self.is_at_end = read == 0;
        self.bytes.extend(buffer.iter().take(read));
        Ok(read)
    }
}
