//! Where records are written: standard output, or a file that bears its name only once it is whole. A file is for its
//! owner's eyes, since it holds what is known of people.

use anyhow::Context as _;
use std::{
    fs::{File, Metadata, OpenOptions},
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
        let is_stream = std::fs::metadata(name).is_ok_and(|it| !it.is_file() && !it.is_dir());
        let path = if is_stream { name.to_owned() } else { partial(name) };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path);
        let file = file.with_context(|| format!("{} cannot be written", path.display()))?;
        let out = BufWriter::new(file);
        if is_stream {
            return Ok(Self::Stream(out));
        }
        Ok(Self::File { out, partial: path, name: name.to_owned() })
    }

    /// The unfinished file of that name, to go on behind so many of its bytes; made where there is none.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(super) fn go_on(name: &Path, length: u64) -> anyhow::Result<Self> {
        let partial = partial(name);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let open = || {
            let mut file = options.open(&partial)?;
            file.set_len(length)?;
            file.seek(SeekFrom::End(0)).map(|_| file)
        };
        let file = open().with_context(|| format!("{} cannot be written", partial.display()))?;
        Ok(Self::File { out: BufWriter::new(file), partial, name: name.to_owned() })
    }

    /// Whether writing to that name would take away what is read.
    pub(super) fn would_replace(name: &Path, input: &Metadata) -> bool {
        let is_input = |path: &Path| {
            std::fs::metadata(path)
                .is_ok_and(|it| (it.dev(), it.ino()) == (input.dev(), input.ino()))
        };
        input.is_file() && (is_input(name) || is_input(&partial(name)))
    }

    /// # Errors
    /// Where it cannot be written to its end.
    pub(super) fn keep(self) -> anyhow::Result<()> {
        match self {
            Self::Stdout(mut out) => out.flush().context("standard output was closed"),
            Self::Stream(mut out) => out.flush().context("what is written was closed"),
            Self::File { out, partial, name } => {
                let file = out.into_inner().map_err(io::IntoInnerError::into_error);
                file.and_then(|file| file.sync_all())
                    .and_then(|()| std::fs::rename(&partial, &name))
                    .with_context(|| format!("{} cannot be written", name.display()))
            }
        }
    }
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
