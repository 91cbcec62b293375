//! Where records are written: standard output, or a file that bears its name only once it is whole. A file is for its
//! owner's eyes, since it holds what is known of people. One process at a time writes it.

use super::resume::Begun;
use anyhow::{Context as _, bail};
use std::{
    fs::{File, Metadata, OpenOptions, TryLockError},
    io::{self, BufWriter, Seek as _, SeekFrom, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// See the module. What is dropped before [`keep`](Self::keep) leaves the file of that name as it was.
pub(super) enum Target {
    Stdout(BufWriter<io::Stdout>),
    File {
        out: BufWriter<File>,
        partial: PathBuf,
        name: PathBuf,
    },
    /// A pipe or a device, which has nothing to be kept whole.
    Stream(BufWriter<File>),
}

impl Target {
    /// # Errors
    /// Where the file cannot be written.
    pub(super) fn open(name: &Path) -> anyhow::Result<Self> {
        if name.as_os_str() == "-" {
            return Ok(Self::Stdout(BufWriter::new(io::stdout())));
        }
        if std::fs::metadata(name).is_ok_and(|it| !it.is_file() && !it.is_dir()) {
            let stream = OpenOptions::new().write(true).open(name);
            let stream = stream.with_context(|| cannot(name))?;
            return Ok(Self::Stream(BufWriter::new(stream)));
        }
        Self::go_on(name, |_| Ok(Begun::default())).map(|(target, _)| target)
    }

    /// The unfinished file of that name, to go on behind what is whole of it; made where there is none.
    ///
    /// # Errors
    /// Where the file cannot be written, another process writes it, or what was begun cannot be gone on with.
    pub(super) fn go_on(
        name: &Path,
        begun: impl FnOnce(&Path) -> anyhow::Result<Begun>,
    ) -> anyhow::Result<(Self, Begun)> {
        let partial = partial(name);
        let mut file = alone(&partial)?;
        let begun = begun(&partial)?;
        let cut = file.set_len(begun.length).and_then(|()| file.seek(SeekFrom::End(0)));
        cut.with_context(|| cannot(&partial))?;
        let out = BufWriter::new(file);
        Ok((Self::File { out, partial, name: name.to_owned() }, begun))
    }

    /// Whether writing to that name would take away what is read.
    pub(super) fn would_replace(name: &Path, input: &Metadata) -> bool {
        input.is_file() && (is_same(name, input) || is_same(&partial(name), input))
    }

    /// # Errors
    /// Where it cannot be written to its end.
    pub(super) fn keep(self) -> anyhow::Result<()> {
        match self {
            Self::Stdout(mut out) => out.flush().context("standard output was closed"),
            Self::Stream(mut out) => out.flush().context("what is written was closed"),
            Self::File { out, partial, name } => {
                let file = out.into_inner().map_err(io::IntoInnerError::into_error);
                // Nobody else may begin in it before it bears its name.
                let kept = file.and_then(|file| {
                    file.sync_all()?;
                    std::fs::rename(&partial, &name)
                });
                kept.with_context(|| cannot(&name))
            }
        }
    }
}

fn cannot(file: &Path) -> String {
    format!("{} cannot be written", file.display())
}

/// An unfinished file, made where there is none, and locked for as long as it is open.
fn alone(partial: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    loop {
        let file = options.open(partial).with_context(|| cannot(partial))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let partial = partial.display();
                bail!(
                    "another process is writing {partial}: wait for its end, or name another file"
                )
            }
            // There are file systems without locks, and each says so in its own way.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        // Whoever had it may just have given it its name.
        let opened = file.metadata().with_context(|| cannot(partial))?;
        if is_same(partial, &opened) {
            return Ok(file);
        }
    }
}

fn is_same(path: &Path, file: &Metadata) -> bool {
    std::fs::metadata(path).is_ok_and(|it| (it.dev(), it.ino()) == (file.dev(), file.ino()))
}

/// What a file is called until it is whole.
pub(super) fn partial(name: &Path) -> PathBuf {
    let mut partial = name.as_os_str().to_owned();
    partial.push(".partial");
    PathBuf::from(partial)
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File { out, .. } | Self::Stream(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File { out, .. } | Self::Stream(out) => out.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_by_one_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = folder.path().join("all.ndjson");
        let mut first = Target::open(&name).expect("nobody writes it");
        first.write_all(b"one\n").expect("written");
        let refused = |second: anyhow::Result<Target>| {
            let why = second.err().expect("another one writes it").to_string();
            assert!(why.contains("another process is writing"), "{why}");
        };
        refused(Target::open(&name));
        let unread = |_: &Path| -> anyhow::Result<Begun> { panic!("it is not whole yet") };
        refused(Target::go_on(&name, unread).map(|(target, _)| target));
        first.keep().expect("kept");
        assert_eq!(std::fs::read(&name).expect("it is whole"), b"one\n");
        let mut next = Target::open(&name).expect("nobody writes it any more");
        next.write_all(b"two\n").expect("written");
        next.keep().expect("kept");
        assert_eq!(std::fs::read(&name).expect("it is whole"), b"two\n");
    }

    #[test]
    fn what_was_opened_before_it_got_its_name_is_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let (name, other) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&name, "whole").expect("written");
        std::fs::write(&other, "another").expect("written");
        let opened = File::open(&name).and_then(|file| file.metadata()).expect("it is there");
        assert!(is_same(&name, &opened) && !is_same(&other, &opened));
        assert!(!is_same(&folder.path().join("c"), &opened), "nor where there is nothing");
    }
}
