//! Files that are whole or not there: written beside their place, hashed on the
//! way, encrypted with age where recipients are given, synced, then renamed.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use age::{Decryptor, Encryptor, Identity, IdentityFile, Recipient};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::fault::{Code, Fault, fail};

/// Who can read an encrypted file.
#[derive(Clone, Default)]
pub struct Recipients(Vec<age::x25519::Recipient>);

impl Recipients {
    /// From `age1...` texts.
    ///
    /// # Errors
    /// `usage` for a text that is none.
    pub fn parse(texts: &[String]) -> anyhow::Result<Self> {
        let parsed = texts.iter().map(|text| {
            text.trim().parse().map_err(|_| {
                // Someone may have pasted the secret key: it is not shown.
                Fault::new(Code::Usage, "a recipient is not an age public key")
                    .hint("make a pair with `age-keygen -o key.txt` and give the line that begins with age1")
                    .into()
            })
        });
        Ok(Self(parsed.collect::<anyhow::Result<_>>()?))
    }

    /// None is given: files stay readable.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Bytes on disk.
    pub bytes: u64,
    /// SHA-256 of them, in hexadecimal.
    pub sha256: String,
}

struct Hashing<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

type Disk = Hashing<BufWriter<File>>;

enum Body {
    Plain(Disk),
    Sealed(age::stream::StreamWriter<Disk>),
}

/// Writing past a limit on the size of files ends a process, unless it listens for the
/// signal; then the write fails as one on a full disk does, and nothing is left half done.
fn outlive_a_limit() {
    use tokio::signal::unix::{SignalKind, signal};
    if tokio::runtime::Handle::try_current().is_ok() {
        let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    }
}

/// A file being written. Dropped before [`finish`](Self::finish), it leaves nothing.
pub struct Outlet {
    body: Option<Body>,
    beside: PathBuf,
    place: PathBuf,
}

impl Outlet {
    /// Begins a file that does not exist yet.
    ///
    /// # Errors
    /// `already-exists` from the system if it does; any other failure to create it.
    pub fn create(place: &Path, recipients: &Recipients) -> io::Result<Self> {
        if place.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        outlive_a_limit();
        let name = place
            .file_name()
            .ok_or_else(|| io::Error::other("it names no file"))?
            .to_string_lossy();
        let beside = place.with_file_name(format!(".{name}.{}.partial", Uuid::new_v4().simple()));
        let mut options = File::options();
        options.write(true).create_new(true);
        // Patient data: for whoever runs this alone.
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let disk = Hashing {
            inner: BufWriter::with_capacity(1 << 18, options.open(&beside)?),
            hash: Sha256::new(),
            bytes: 0,
        };
        let mut outlet = Self {
            body: None,
            beside,
            place: place.to_owned(),
        };
        outlet.body = Some(if recipients.is_empty() {
            Body::Plain(disk)
        } else {
            let all = recipients.0.iter().map(|one| one as &dyn Recipient);
            let encryptor = Encryptor::with_recipients(all).map_err(io::Error::other)?;
            Body::Sealed(encryptor.wrap_output(disk)?)
        });
        Ok(outlet)
    }

    /// Makes it last under its name.
    ///
    /// # Errors
    /// The system's; nothing is left then.
    pub fn finish(mut self) -> io::Result<Written> {
        let mut disk = match self.body.take() {
            Some(Body::Plain(disk)) => disk,
            Some(Body::Sealed(stream)) => stream.finish()?,
            None => return Err(io::Error::other("it is finished already")),
        };
        disk.flush()?;
        disk.inner.get_ref().sync_all()?;
        std::fs::rename(&self.beside, &self.place)?;
        sync_folder(&self.place)?;
        Ok(Written {
            bytes: disk.bytes,
            sha256: hex(&disk.hash.finalize()),
        })
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.body {
            Some(Body::Plain(disk)) => disk.write(bytes),
            Some(Body::Sealed(stream)) => stream.write(bytes),
            None => Err(io::Error::other("it is finished already")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.body {
            Some(Body::Plain(disk)) => disk.flush(),
            Some(Body::Sealed(stream)) => stream.flush(),
            None => Ok(()),
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.beside);
    }
}

/// Makes the entry of a file in its folder last.
///
/// # Errors
/// The system's.
pub fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

/// Writes a small file whole or not at all, over one that is there, whose mode it keeps.
///
/// # Errors
/// The system's.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("it names no file"))?
        .to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}.partial", Uuid::new_v4().simple()));
    let mode = std::fs::metadata(path).map(|there| there.permissions());
    let written = File::create(&beside)
        .and_then(|mut file| {
            if let Ok(mode) = mode {
                file.set_permissions(mode)?;
            }
            file.write_all(bytes).and_then(|()| file.sync_all())
        })
        .and_then(|()| std::fs::rename(&beside, path))
        .and_then(|()| sync_folder(path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// Size and SHA-256 of a file as it lies on disk.
///
/// # Errors
/// The system's.
pub fn measure(path: &Path) -> io::Result<Written> {
    let mut sink = Hashing {
        inner: io::sink(),
        hash: Sha256::new(),
        bytes: 0,
    };
    io::copy(
        &mut BufReader::with_capacity(1 << 18, File::open(path)?),
        &mut sink,
    )?;
    Ok(Written {
        bytes: sink.bytes,
        sha256: hex(&sink.hash.finalize()),
    })
}

/// The secret keys that open encrypted files.
#[derive(Default)]
pub struct Identities(Vec<Box<dyn Identity + Send + Sync>>);

impl Identities {
    /// From files as `age-keygen` writes them.
    ///
    /// # Errors
    /// `bad-file` for one that cannot be read or holds no key.
    pub fn read(files: &[PathBuf]) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for file in files {
            let shown = file.display();
            let bad = |why: String| {
                Fault::new(
                    Code::BadFile,
                    format!("cannot use the key file `{shown}`: {why}"),
                )
                .hint("name a file that `age-keygen` wrote, with `--identity FILE`")
            };
            let parsed = IdentityFile::from_file(file.to_string_lossy().into_owned())
                .map_err(|cause| bad(cause.to_string()))?;
            all.extend(
                parsed
                    .into_identities()
                    .map_err(|_| bad("it holds no usable key".to_owned()))?,
            );
        }
        Ok(Self(all))
    }
}

/// Opens a file for reading, decrypted if it is encrypted.
///
/// # Errors
/// `refused` where no key is given or none fits; `bad-file` if it cannot be read.
pub fn open(
    path: &Path,
    encrypted: bool,
    identities: &Identities,
) -> anyhow::Result<Box<dyn Read + Send>> {
    let shown = path.display();
    let file = File::open(path).map_err(|cause| {
        Fault::new(Code::BadFile, format!("cannot read `{shown}`: {cause}"))
            .hint("name a file that you may read")
    })?;
    let file = BufReader::with_capacity(1 << 18, file);
    if !encrypted {
        return Ok(Box::new(file));
    }
    if identities.0.is_empty() {
        return fail(
            Code::Refused,
            format!("`{shown}` is encrypted, and no key was given"),
            "give the file with the secret key: `--identity FILE`",
        );
    }
    let decryptor = Decryptor::new_buffered(file).map_err(|cause| damaged(path, &cause))?;
    match decryptor.decrypt(identities.0.iter().map(|one| &**one as &dyn Identity)) {
        Ok(stream) => Ok(Box::new(stream)),
        Err(age::DecryptError::NoMatchingKeys | age::DecryptError::DecryptionFailed) => fail(
            Code::Refused,
            format!("`{shown}` is encrypted for other keys than those given"),
            "give the secret key of one of its recipients: `--identity FILE`",
        ),
        Err(cause) => Err(damaged(path, &cause)),
    }
}

fn damaged(path: &Path, cause: &age::DecryptError) -> anyhow::Error {
    Fault::new(
        Code::RestoreDiffers,
        format!(
            "`{}` is not an encrypted file that is whole: {cause}",
            path.display()
        ),
    )
    .hint("take another backup; `kinedb backup check --in FOLDER` lists them")
    .into()
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("kinedb-archive-{}", Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn a_file_that_is_not_finished_leaves_nothing() {
        let folder = folder();
        let mut outlet = Outlet::create(&folder.join("a"), &Recipients::default()).unwrap();
        outlet.write_all(b"half").unwrap();
        drop(outlet);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_encrypted_opens_with_its_key_only() {
        let folder = folder();
        let (mine, other) = (
            age::x25519::Identity::generate(),
            age::x25519::Identity::generate(),
        );
        let to = Recipients::parse(&[mine.to_public().to_string()]).unwrap();
        let place = folder.join("a");
        let mut outlet = Outlet::create(&place, &to).unwrap();
        let text = vec![b'x'; 300_000];
        outlet.write_all(&text).unwrap();
        let written = outlet.finish().unwrap();
        assert_eq!(measure(&place).unwrap(), written);
        assert!(
            !std::fs::read(&place)
                .unwrap()
                .windows(64)
                .any(|part| part == &text[..64])
        );

        let mut back = Vec::new();
        let key = Identities(vec![Box::new(mine)]);
        open(&place, true, &key)
            .unwrap()
            .read_to_end(&mut back)
            .unwrap();
        assert_eq!(back, text);
        for wrong in [Identities::default(), Identities(vec![Box::new(other)])] {
            let error = open(&place, true, &wrong).err().unwrap();
            assert_eq!(Fault::of(&error).unwrap().code(), Code::Refused);
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
