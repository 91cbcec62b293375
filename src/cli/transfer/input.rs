//! What an import reads: a file, or standard input.

use super::{
    Format,
    document::Next,
    file::{self, Piece},
    target::Target,
};
use crate::{cli::Usage, model::time::Timestamp};
use anyhow::Context as _;
use indicatif::ProgressBar;
use std::{
    fs::{File, Metadata},
    io::{self, BufReader, Read},
    os::fd::AsFd as _,
    path::Path,
    time::UNIX_EPOCH,
};
use tokio::sync::mpsc;

/// So many records are read ahead.
const AHEAD: usize = 16;

/// See the module.
pub(super) struct Input {
    reader: Box<dyn Read + Send>,
    /// What is known of it.
    met: Metadata,
    is_stdin: bool,
}

impl Input {
    /// Opens what `name` says; `rejected` is a file that is to be written meanwhile.
    ///
    /// # Errors
    /// Where it cannot be read, or would be lost by what is written.
    pub(super) fn open(
        name: &Path,
        rejected: Option<&Path>,
        bar: &ProgressBar,
    ) -> anyhow::Result<Self> {
        let cannot = || format!("{} cannot be read", name.display());
        let is_stdin = name.as_os_str() == "-";
        let file = if is_stdin {
            io::stdin().as_fd().try_clone_to_owned().map(File::from)
        } else {
            File::open(name)
        };
        let file = file.with_context(cannot)?;
        let met = file.metadata().with_context(cannot)?;
        anyhow::ensure!(!met.is_dir(), "{}: it is a folder", cannot());
        if let Some(rejected) = rejected.filter(|path| Target::would_replace(path, &met)) {
            let rejected = rejected.display();
            let text = format!(
                "--rejected {rejected} is what is read, and would be lost: name another file"
            );
            return Err(Usage(text).into());
        }
        if met.is_file() {
            bar.set_length(met.len());
        }
        Ok(Self { reader: Box::new(bar.wrap_read(file)), met, is_stdin })
    }

    /// When it was written. What is no file, or was written later than now, has no time that would be the same
    /// whenever it is asked for; and what comes by standard input is often made on the way.
    pub(super) fn written(&self, now: Timestamp) -> Option<Timestamp> {
        if self.is_stdin || !self.met.is_file() {
            return None;
        }
        let since = self.met.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        let at = Timestamp::from_micros(i64::try_from(since.as_micros()).ok()?)?;
        (at <= now).then_some(at)
    }

    /// Reads it on a thread of its own, no further ahead than is asked for. The thread is not waited for: standard
    /// input may never end.
    pub(super) fn pieces(self, format: Format) -> mpsc::Receiver<io::Result<Piece>> {
        let reader = BufReader::with_capacity(256 * 1024, self.reader);
        let (sender, receiver) = mpsc::channel(AHEAD);
        std::thread::spawn(move || {
            let mut give = |piece| match sender.blocking_send(Ok(piece)) {
                Ok(()) => Next::More,
                Err(_) => Next::Enough,
            };
            if let Err(error) = file::read(format, reader, &mut give) {
                // Nobody takes it where the import has ended.
                let _ = sender.blocking_send(Err(error));
            }
        });
        receiver
    }
}
