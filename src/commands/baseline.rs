//! The file of known findings on the command line: accepted, written, renewed.

use std::path::{Path, PathBuf};

use crate::archive::write_whole;
use crate::fault::{Code, Fault, fail};
use crate::ui::Ui;
use crate::verify::finding::Severity;
use crate::verify::{Baseline, Report};

/// Which findings are accepted for now.
#[derive(Debug, clap::Args)]
pub struct Accepting {
    /// File of known findings, each with a reason
    #[arg(long, env = "KINEDB_BASELINE", value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write what is wrong now to a new file of known findings
    #[arg(long, value_name = "FILE", conflicts_with_all = ["baseline", "catalog_only"])]
    write_baseline: Option<PathBuf>,
    /// Renew the file of `--baseline`: keep its reasons, add what is new, drop what
    /// was mended
    #[arg(long, requires = "baseline", conflicts_with = "catalog_only")]
    update_baseline: bool,
}

/// What is to be done with the findings of a run: read before it begins, so that a
/// file that is no good costs no proof.
pub enum Accepted<'a> {
    Nothing,
    Known(&'a Path, Baseline),
    Written(&'a Path),
    Renewed(&'a Path, Baseline),
}

impl Accepting {
    /// Reads or looks at the file.
    ///
    /// # Errors
    /// `bad-file` and `bad-config` for one that cannot be used, `refused` where one that is
    /// to be new exists.
    pub fn read(&self) -> anyhow::Result<Accepted<'_>> {
        if let Some(place) = &self.write_baseline {
            return vacant(place).map(|()| Accepted::Written(place));
        }
        let Some(file) = &self.baseline else {
            return Ok(Accepted::Nothing);
        };
        let known = Baseline::load(file)?;
        Ok(if self.update_baseline {
            Accepted::Renewed(file, known)
        } else {
            Accepted::Known(file, known)
        })
    }

    /// The flags as the report shows them.
    pub fn flags(&self) -> &'static str {
        match (&self.write_baseline, &self.baseline, self.update_baseline) {
            (Some(_), ..) => " --write-baseline",
            (_, Some(_), true) => " --baseline --update-baseline",
            (_, Some(_), false) => " --baseline",
            (None, None, _) => "",
        }
    }
}

impl Accepted<'_> {
    /// Accepts what is known, after writing what is to be known. `least` is the weight from
    /// which findings fail.
    ///
    /// # Errors
    /// `bad-file` where the file cannot be written, `refused` where one has appeared.
    pub fn settle(
        self,
        report: &mut Report,
        least: Severity,
        day: &str,
        ui: &Ui,
    ) -> anyhow::Result<()> {
        let (file, known) = match self {
            Self::Nothing => return Ok(()),
            Self::Known(file, known) => (file, known),
            Self::Written(file) => {
                vacant(file)?;
                let new = renew(file, &Baseline::default(), report, least, day, ui)?;
                (file, new)
            }
            Self::Renewed(file, known) => (file, renew(file, &known, report, least, day, ui)?),
        };
        let applied = report.apply(&known, least);
        ui.say(format!(
            "{} errors are known to `{}`",
            report.known,
            file.display()
        ));
        for known in &applied.idle {
            ui.warn(format!(
                "the baseline knows `{}` of `{}`, which is not there any more; drop it with --update-baseline",
                known.id, known.object
            ));
        }
        for (known, found) in &applied.fewer {
            ui.warn(format!(
                "the baseline knows {} of `{}` of `{}`, and {found} are left; count them anew with --update-baseline",
                known.count.unwrap_or_default(), known.id, known.object
            ));
        }
        for (known, found) in &applied.more {
            ui.warn(format!(
                "the baseline knows {} of `{}` of `{}`, and there are {found}: none of them is accepted",
                known.count.unwrap_or_default(), known.id, known.object
            ));
        }
        Ok(())
    }
}

/// Writes the file, and says what became of its entries.
fn renew(
    file: &Path,
    known: &Baseline,
    report: &Report,
    least: Severity,
    day: &str,
    ui: &Ui,
) -> anyhow::Result<Baseline> {
    let when = match &report.revision {
        Some(revision) => format!("on {day}, at revision {revision}"),
        None => format!("on {day}"),
    };
    let renewed = known.renewed(report, least, &when);
    let shown = file.display();
    // A link stays a link: what it leads to is written.
    let place = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    write_whole(&place, renewed.baseline.text()?.as_bytes()).map_err(|cause| {
        Fault::new(Code::BadFile, format!("cannot write `{shown}`: {cause}")).hint(
            "make its folder writable, or name another: kinedb verify-rls --write-baseline FILE",
        )
    })?;
    ui.say(format!(
        "wrote `{shown}`: {} entries added, {} kept, {} dropped",
        renewed.added, renewed.kept, renewed.dropped
    ));
    if renewed.blind > 0 {
        ui.warn(format!(
            "{} findings say that the proof could not be held as a whole; they are not written, and still count",
            renewed.blind
        ));
    }
    Ok(renewed.baseline)
}

/// A place where a new file can be.
fn vacant(place: &Path) -> anyhow::Result<()> {
    let shown = place.display();
    let folder = match place.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match std::fs::symlink_metadata(place) {
        Ok(there) if there.is_dir() => fail(
            Code::BadFile,
            format!("`{shown}` is a folder"),
            format!("name a file in it: kinedb verify-rls --write-baseline {shown}/baseline.toml"),
        ),
        Ok(_) => fail(
            Code::Refused,
            format!("`{shown}` exists already, and its reasons would be lost"),
            format!("renew it with: kinedb verify-rls --baseline {shown} --update-baseline"),
        ),
        Err(_) if folder.is_dir() => Ok(()),
        Err(_) => fail(
            Code::BadFile,
            format!(
                "cannot write `{shown}`: there is no folder `{}`",
                folder.display()
            ),
            "make the folder, or name another file: kinedb verify-rls --write-baseline FILE",
        ),
    }
}
