//! Whether a manifest is the one that was written. Checksums in a manifest prove a
//! dump; a manifest that is changed with its dump proves itself, unless it carries
//! an HMAC-SHA256 under a secret that whoever can write to the backups lacks.

use std::fmt;
use std::path::Path;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::archive::hex;
use crate::fault::{Code, Fault, fail};

/// Name of the signature in the folder of a backup or an export.
pub const FILE: &str = "manifest.hmac";

/// So short a secret could be guessed.
const LEAST: usize = 32;

const MAKE: &str = "make one with: (umask 077; openssl rand -hex 32 > manifest.key)";

/// The secret.
#[derive(Clone)]
pub struct Key(Vec<u8>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What is known of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signature {
    /// It has none.
    None,
    /// It has one, and no key was given to check it.
    Unchecked,
    /// It is the one that the key makes.
    Good,
}

impl Key {
    /// Reads the secret: the first line of a file.
    ///
    /// # Errors
    /// `bad-file` where it cannot be read or is shorter than 32 characters.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = std::fs::read(path).map_err(|cause| {
            Fault::new(
                Code::BadFile,
                format!("cannot read the manifest key `{shown}`: {cause}"),
            )
            .hint(MAKE)
        })?;
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.trim_ascii();
        if line.len() < LEAST {
            return fail(
                Code::BadFile,
                format!("the manifest key `{shown}` is shorter than {LEAST} characters"),
                MAKE,
            );
        }
        Ok(Self(line.to_vec()))
    }

    fn mac(&self, manifest: &[u8]) -> anyhow::Result<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0)?;
        mac.update(manifest);
        Ok(mac)
    }

    /// The signature of a manifest's bytes, in hexadecimal and with a line's end.
    ///
    /// # Errors
    /// None that a key of [`Key::read`] could give.
    pub fn sign(&self, manifest: &[u8]) -> anyhow::Result<String> {
        Ok(hex(&self.mac(manifest)?.finalize().into_bytes()) + "\n")
    }
}

/// Looks at the signature in the folder of a backup or an export.
///
/// # Errors
/// `restore-differs` where a key is given and the signature is missing or another one.
pub fn check(backup: &Path, manifest: &[u8], key: Option<&Key>) -> anyhow::Result<Signature> {
    let found = std::fs::read_to_string(backup.join(FILE)).ok();
    let Some(key) = key else {
        return Ok(if found.is_some() {
            Signature::Unchecked
        } else {
            Signature::None
        });
    };
    let shown = backup.display();
    let hint = "use another one, and find out who can write to this folder; or name the key that it was signed with";
    let Some(found) = found else {
        return fail(
            Code::RestoreDiffers,
            format!("the manifest of `{shown}` is not signed: it has no {FILE}"),
            hint,
        );
    };
    let wanted = unhex(found.trim());
    if key.mac(manifest)?.verify_slice(&wanted).is_err() {
        return fail(
            Code::RestoreDiffers,
            format!("the manifest of `{shown}` is not the one that was signed with this key"),
            hint,
        );
    }
    Ok(Signature::Good)
}

/// The bytes; none where the text is no hexadecimal.
fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    pairs.collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn the_signature_is_hmac_sha_256() {
        // RFC 4231, test case 2, with its key made as long as is asked here by zeros, which HMAC adds itself.
        let mut key = b"Jefe".to_vec();
        key.resize(LEAST, 0);
        assert_eq!(
            Key(key).sign(b"what do ya want for nothing?").unwrap(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843\n"
        );
    }

    #[test]
    fn what_is_no_hexadecimal_signs_nothing() {
        assert!(unhex("zz").is_empty() && unhex("é1").is_empty());
        assert_eq!(unhex("00fF"), [0, 255]);
        assert_eq!(format!("{:?}", Key(b"secret".to_vec())), "Key(..)");
    }
}
