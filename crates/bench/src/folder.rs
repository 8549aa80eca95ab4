//! The folder of a run: made once, filled while the run goes on, never written to again.
//!
//! ```text
//!  bench-results/<date>-<host>-<scenario>/
//!    README.md    command, commit, host, subjects, steal
//!    raw.json     every round of every cell
//!    summary.md   tables
//!    *.svg        plots
//! ```

use crate::record::{FORMAT, Run};
use crate::{plots, readme};
use anyhow::{Context, bail, ensure};
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

const RAW: &str = "raw.json";

/// Makes the summary of a run and of its pictures, which are told by file and title.
pub(crate) type Summarise = fn(&Run, &[(String, String)]) -> String;

/// Where a run is kept, unless another place is asked for.
pub(crate) fn place(out: Option<&Path>, run: &Run) -> PathBuf {
    let date = &run.began[.."2026-11-28".len()];
    let name = format!("bench-results/{date}-{}-{}", run.host.name, run.scenario);
    out.map_or_else(|| PathBuf::from(name), Path::to_owned)
}

/// A run's folder, while the run goes on.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder. Refuses one that exists: runs are kept as they were.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        match fs::create_dir(path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => bail!(
                "{} exists, and runs are never written over: name another one with --out",
                path.display()
            ),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make {}", path.display()));
            }
        }
        Ok(Self {
            path: path.to_owned(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps what was measured until now, whole or not at all.
    pub(crate) fn save(&self, run: &Run) -> anyhow::Result<()> {
        let unfinished = self.path.join("raw.json.new");
        let mut file = BufWriter::new(fs::File::create(&unfinished)?);
        serde_json::to_writer(&mut file, run)?;
        file.write_all(b"\n")?;
        file.flush()?;
        fs::rename(unfinished, self.path.join(RAW))?;
        Ok(())
    }

    /// Writes all that is made of what was measured, the summary by `summarise` from the run and its pictures.
    pub(crate) fn finish(self, run: &Run, summarise: Summarise) -> anyhow::Result<()> {
        self.save(run)?;
        let mut pictures = Vec::new();
        for picture in plots::of(run) {
            fs::write(self.path.join(&picture.file), &picture.svg)?;
            pictures.push((picture.file, picture.title));
        }
        fs::write(self.path.join("summary.md"), summarise(run, &pictures))?;
        fs::write(self.path.join("README.md"), readme::markdown(run))?;
        Ok(())
    }
}

/// Reads a run back.
pub(crate) fn load(path: &Path) -> anyhow::Result<Run> {
    let raw = path.join(RAW);
    let text = fs::read(&raw)
        .with_context(|| format!("{} cannot be read: is it a folder of a run?", raw.display()))?;
    let run: Run = serde_json::from_slice(&text)
        .with_context(|| format!("{} is no run of this harness", raw.display()))?;
    ensure!(
        run.format == FORMAT,
        "{} has format {}, this harness reads {FORMAT}: build the one of its commit",
        raw.display(),
        run.format
    );
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::markdown;
    use crate::summary::tests::run;

    #[test]
    fn a_folder_that_exists_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("results/2026-11-28-echo");
        let folder = Folder::create(&path).expect("a new folder");
        folder.finish(&run(), markdown).expect("written");
        let before = fs::read(path.join("summary.md")).expect("a summary");
        let refused = Folder::create(&path).expect_err("it exists").to_string();
        assert!(refused.contains("--out"), "{refused}");
        assert_eq!(fs::read(path.join("summary.md")).expect("still"), before);
    }

    #[test]
    fn a_run_is_read_back_as_it_was_saved() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("run");
        let folder = Folder::create(&path).expect("a new folder");
        folder.save(&run()).expect("saved");
        let read = load(&path).expect("a run");
        let json = |run: &Run| serde_json::to_value(run).expect("JSON");
        assert_eq!(json(&read), json(&run()));
        assert!(load(directory.path()).is_err());
    }
}
