//! A folder into which others may write as well. Files in it are opened, made, linked and removed
//! by its descriptor, and no link in it is followed. So even if a folder or a file is replaced
//! meanwhile, nothing elsewhere is read or changed. It does not know what the files are.

use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::sys::descriptors::path_of;

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    file: File,
    /// For messages only.
    path: PathBuf,
}

/// The flags to open a folder.
const AS_FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// The mode before the umask.
const OPEN_TO_ALL: Mode = Mode::from_raw_mode(0o777);
const SHARED: Mode = Mode::from_raw_mode(0o666);

impl Folder {
    /// Opens the folder of this path.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = openat(CWD, path, AS_FOLDER, Mode::empty())?;
        Ok(Folder {
            file: file.into(),
            path: path.to_owned(),
        })
    }

    /// Opens the folder of this name in it, and makes it if nothing is there.
    ///
    /// # Errors
    /// Something else is there, a link to a folder for example, or it is another user's.
    pub(super) fn folder(&self, name: &str) -> io::Result<Folder> {
        let path = self.path.join(name);
        match mkdirat(&self.file, name, OPEN_TO_ALL) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let refused = |why: &str| {
            let path = path.display();
            io::Error::other(format!("{path} is {why}: move it away"))
        };
        let opened = openat(
            &self.file,
            name,
            AS_FOLDER | OFlags::NOFOLLOW,
            Mode::empty(),
        );
        let file: File = match opened {
            Ok(file) => file.into(),
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(refused("no folder")),
            Err(errno) => return Err(errno.into()),
        };
        match file.metadata()?.uid() == geteuid().as_raw() {
            true => Ok(Folder { file, path }),
            false => Err(refused("another user's folder")),
        }
    }

    /// Reads a file in it. Returns `None` if nothing is there, or nothing that is a file.
    pub(super) fn read(&self, name: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        // Opening a named pipe in its place must not wait.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file: File = match openat(&self.file, name, flags, Mode::empty()) {
            Ok(file) => file.into(),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Makes a new file, with the mode of new files, in place of the old one.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        self.remove(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        Ok(openat(&self.file, name, flags, SHARED)?.into())
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.file, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes the folder of this name in it, if it is empty.
    pub(super) fn remove_if_empty(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.file, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.file, from, &self.file, to)?)
    }

    /// Puts an open file of this program under this name, with this mode, in place of the old one.
    pub(super) fn put(&self, mut from: &File, name: &str, mode: &Permissions) -> io::Result<()> {
        self.remove(name)?;
        // Before the file has its public name.
        from.set_permissions(mode.clone())?;
        // The very file that is open, even if its path leads elsewhere by now.
        let own = path_of(from);
        match linkat(CWD, &*own, &self.file, name, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => Ok(()),
            // The files are on different file systems, or on one without links.
            Err(_) => io::copy(&mut from, &mut self.create(name)?).map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// Makes a folder with `1` in it, and another folder with a private file.
    fn begin() -> (tempfile::TempDir, Folder, PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let elsewhere = parent.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("stdout"), "secret").unwrap();
        fs::set_permissions(elsewhere.join("stdout"), Permissions::from_mode(0o600)).unwrap();
        let folder = Folder::open(parent.path()).unwrap();
        let inner = folder.folder("1").unwrap();
        (parent, inner, elsewhere)
    }

    #[test]
    fn what_takes_the_place_of_a_folder_is_not_written_into() {
        let (parent, inner, elsewhere) = begin();
        let path = |name: &str| parent.path().join(name);
        fs::rename(path("1"), path("moved")).unwrap();
        symlink("elsewhere", path("1")).unwrap();
        fs::write(path("spool"), "output").unwrap();
        let spool = File::open(path("spool")).unwrap();
        let mode = Permissions::from_mode(0o644);
        inner.put(&spool, "stdout", &mode).unwrap();
        assert_eq!(fs::read(path("moved/stdout")).unwrap(), b"output");
        inner.create("new").unwrap();
        inner.rename("new", "result.json").unwrap();
        assert!(path("moved/result.json").exists());
        assert_eq!(fs::read(elsewhere.join("stdout")).unwrap(), b"secret");
        assert_eq!(mode_of(&elsewhere.join("stdout")), 0o600);
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
        let folder = Folder::open(parent.path()).unwrap();
        let error = folder.folder("1").unwrap_err().to_string();
        assert!(error.contains("1 is no folder"), "{error}");
    }

    #[test]
    fn links_and_pipes_in_it_are_replaced_and_not_followed() {
        let (parent, inner, elsewhere) = begin();
        let path = |name: &str| parent.path().join(name);
        symlink("../elsewhere/stdout", path("1/stdout")).unwrap();
        assert_eq!(inner.read("stdout", 100).unwrap(), None);
        fs::write(path("spool"), "output").unwrap();
        let spool = File::open(path("spool")).unwrap();
        let mode = Permissions::from_mode(0o644);
        inner.put(&spool, "stdout", &mode).unwrap();
        assert_eq!(inner.read("stdout", 100).unwrap().unwrap(), b"output");
        assert_eq!(mode_of(&path("1/stdout")), 0o644);
        assert_eq!(mode_of(&elsewhere.join("stdout")), 0o600);
        let all = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&path("1/result.json"), all).unwrap();
        assert_eq!(inner.read("result.json", 100).unwrap(), None);
    }

    #[test]
    fn the_file_that_is_open_is_put_whatever_has_its_path() {
        let (parent, inner, elsewhere) = begin();
        let path = |name: &str| parent.path().join(name);
        fs::write(path("spool"), "output").unwrap();
        let spool = File::open(path("spool")).unwrap();
        fs::rename(path("spool"), path("spool.old")).unwrap();
        symlink("elsewhere/stdout", path("spool")).unwrap();
        let mode = Permissions::from_mode(0o644);
        inner.put(&spool, "stdout", &mode).unwrap();
        assert_eq!(inner.read("stdout", 100).unwrap().unwrap(), b"output");
        assert_eq!(mode_of(&elsewhere.join("stdout")), 0o600);
    }

    #[test]
    fn a_folder_of_another_user_is_refused() {
        if !geteuid().is_root() {
            // Only root can give a folder away.
            return;
        }
        let (parent, _, _) = begin();
        std::os::unix::fs::chown(parent.path().join("1"), Some(65_534), None).unwrap();
        let folder = Folder::open(parent.path()).unwrap();
        let error = folder.folder("1").unwrap_err().to_string();
        assert!(error.contains("another user's"), "{error}");
    }
}
