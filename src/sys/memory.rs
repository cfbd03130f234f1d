//! Memory that processes share: made, sealed, sent as a file, and mapped.
//!
//! It is a memfd of our own, because ipc-channel's cannot be sealed. The kernel enforces seals:
//! memory cannot be made shorter, which would end a reader beyond the new end by SIGBUS; and of
//! memory that one process writes and others read, only its maker can get a writable mapping.
//! Memory from another process is mapped only if it is sealed so. The content is not known here.

use std::ffi::c_void;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut, Range};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::resource::{Resource, getrlimit};
use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fstat,
    ftruncate, memfd_create,
};
use rustix::io::Errno;

/// Fixes the size and the seals for ever.
const FIXED: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// Pages in this process's address space, until it is dropped.
pub(crate) struct Mapping {
    start: NonNull<c_void>,
    bytes: NonZeroUsize,
}

// SAFETY: it is plain memory, at the same address for all threads. Each access argues for itself.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({} bytes)", self.bytes)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `of`, and all users of an address in it keep this alive.
        let _ = unsafe { munmap(self.start, self.bytes.get()) };
    }
}

impl Mapping {
    fn of(file: impl AsFd, bytes: usize, access: ProtFlags, more: MapFlags) -> io::Result<Self> {
        Self::at(file, 0, bytes, access, MapFlags::MAP_SHARED | more)
    }

    fn at(
        file: impl AsFd,
        offset: usize,
        bytes: usize,
        access: ProtFlags,
        flags: MapFlags,
    ) -> io::Result<Self> {
        let bytes = NonZeroUsize::new(bytes).ok_or(io::ErrorKind::UnexpectedEof)?;
        let offset = i64::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let start = unsafe { mmap(None, bytes, access, flags, file, offset) }?;
        Ok(Mapping { start, bytes })
    }

    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr().cast()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.get()
    }
}

/// Makes memory that two processes write to, all zero, whose pages are allocated on use. Returns
/// the mapping, and the file to send to the other process.
pub(crate) fn make_for_two(bytes: usize) -> io::Result<(Mapping, OwnedFd)> {
    let file = make(bytes)?;
    fcntl_add_seals(&file, FIXED)?;
    let mapping = Mapping::of(&file, bytes, WRITABLE, MapFlags::empty())?;
    Ok((mapping, file))
}

/// Makes memory that this process writes to and others read, all zero, with all its pages
/// allocated: a lack of memory is an error here, and no signal later.
pub(crate) fn make_for_readers(bytes: usize) -> io::Result<(Mapping, OwnedFd)> {
    let file = make(bytes)?;
    fallocate(&file, FallocateFlags::empty(), 0, bytes as u64)?;
    let mapping = Mapping::of(&file, bytes, WRITABLE, MapFlags::MAP_POPULATE)?;
    // From now on a writable mapping is refused, however the file is opened.
    fcntl_add_seals(&file, FIXED | SealFlags::FUTURE_WRITE)?;
    Ok((mapping, file))
}

/// Returns advice for the case that there is no shared memory.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::FileTooLarge => "raise the limit on the size of files (ulimit -f)",
        _ => "raise the limit on open files or on memory",
    }
}

const WRITABLE: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);

fn make(bytes: usize) -> io::Result<OwnedFd> {
    // The kernel ends a process that makes a file longer than this limit.
    let (longest, _) = getrlimit(Resource::RLIMIT_FSIZE)?;
    if bytes as u64 > longest {
        let why = format!("no file may be longer than {longest} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match memfd_create("dishrack", flags | MemfdFlags::NOEXEC_SEAL) {
        // Kernels before 6.3 do not know the flag; later ones may insist on it.
        Err(Errno::INVAL) => memfd_create("dishrack", flags),
        other => other,
    }?;
    ftruncate(&file, bytes as u64)?;
    Ok(file)
}

/// Maps memory that another process writes to as well, if it cannot be made shorter than this.
///
/// # Errors
/// It is not sealed or too short, or there is no room for it.
pub(crate) fn map_to_write(file: impl AsFd, bytes: usize) -> io::Result<Mapping> {
    if sealed_size(file.as_fd(), SealFlags::SHRINK)? < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Mapping::of(file, bytes, WRITABLE, MapFlags::empty())
}

/// Memory that another process has made, and that this one can only read.
#[derive(Debug)]
pub(crate) struct ReadableMapping(Mapping);

impl ReadableMapping {
    /// Maps memory that cannot be made shorter and that only its maker can write to.
    ///
    /// # Errors
    /// It is not sealed so, or there is no room for it.
    pub(crate) fn map(file: impl AsFd) -> io::Result<Self> {
        let bytes = readable_size(file.as_fd())?;
        let access = ProtFlags::PROT_READ;
        Mapping::of(file, bytes, access, MapFlags::empty()).map(ReadableMapping)
    }
}

fn readable_size(file: BorrowedFd<'_>) -> io::Result<usize> {
    sealed_size(file, SealFlags::SHRINK | SealFlags::FUTURE_WRITE)
}

/// Bytes of memory that others only read, as this process alone sees them: it may write to them, and
/// what it writes is a copy of its own. A page that was not written to is still that of the memory.
#[derive(Debug)]
pub(crate) struct PrivateMapping {
    pages: Mapping,
    bytes: Range<usize>,
}

impl PrivateMapping {
    /// Maps these bytes of memory that cannot be made shorter and that only its maker can write to.
    /// It must not, as long as this exists.
    ///
    /// # Errors
    /// It is not sealed so or too short, or there is no room for it.
    pub(crate) fn map(file: BorrowedFd<'_>, bytes: Range<usize>) -> io::Result<Self> {
        if readable_size(file)? < bytes.end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let first = bytes.start - bytes.start % rustix::param::page_size();
        let length = bytes.end - first;
        let pages = Mapping::at(file, first, length, WRITABLE, MapFlags::MAP_PRIVATE)?;
        let bytes = bytes.start - first..length;
        Ok(PrivateMapping { pages, bytes })
    }
}

impl Deref for PrivateMapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: within the mapping, which `map` has made for them, and nobody writes to what this
        // process does not own: neither its maker, as `map` demands, nor another thread without `&mut`.
        unsafe {
            let start = self.pages.start().add(self.bytes.start);
            std::slice::from_raw_parts(start, self.bytes.len())
        }
    }
}

impl DerefMut for PrivateMapping {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; a write makes the page this mapping's own.
        unsafe {
            let start = self.pages.start().add(self.bytes.start);
            std::slice::from_raw_parts_mut(start, self.bytes.len())
        }
    }
}

impl Deref for ReadableMapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped for as long as `self` is, and never shorter. Its maker writes a part only
        // before it tells of it, and again only after it was told that it is not read any more.
        unsafe { std::slice::from_raw_parts(self.0.start(), self.0.len()) }
    }
}

/// Returns its size, if it has these seals.
fn sealed_size(file: BorrowedFd<'_>, seals: SealFlags) -> io::Result<usize> {
    let has = fcntl_get_seals(file).unwrap_or(SealFlags::empty());
    if !has.contains(seals) {
        return Err(io::Error::other("the shared memory is not sealed"));
    }
    usize::try_from(fstat(file)?.st_size).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_write_and_nobody_cuts() {
        let (ours, file) = make_for_two(4096).unwrap();
        let theirs = map_to_write(&file, 4096).unwrap();
        // SAFETY: both are mappings of one page, and this is the only thread that knows of them.
        let seen = unsafe {
            ours.start().write(7);
            theirs.start().read()
        };
        assert_eq!(seen, 7);
        assert_eq!(ftruncate(&file, 0), Err(Errno::PERM));
        assert!(map_to_write(&file, 4097).is_err(), "it is too short");
        assert!(
            ReadableMapping::map(&file).is_err(),
            "others could write to it"
        );
    }

    #[test]
    fn others_can_only_read_however_they_open_it() {
        let (ours, file) = make_for_readers(100_000).unwrap();
        let theirs = ReadableMapping::map(&file).unwrap();
        // SAFETY: within the mapping, and not read meanwhile.
        unsafe { ours.start().write(7) };
        assert_eq!((theirs[0], theirs.len()), (7, 100_000));
        assert_eq!(ftruncate(&file, 0), Err(Errno::PERM));
        assert_eq!(rustix::io::write(&file, b"7"), Err(Errno::PERM));
        assert!(map_to_write(&file, 4096).is_err());
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        let again = std::fs::File::options().read(true).write(true).open(path);
        if let Ok(again) = again {
            assert!(map_to_write(&again, 4096).is_err());
        }
    }

    #[test]
    fn what_is_written_to_a_private_mapping_nobody_else_sees() {
        let (ours, file) = make_for_readers(3 * 4096).unwrap();
        // SAFETY: within the mapping, and not read meanwhile.
        unsafe { ours.start().add(5000).write(7) };
        let mut own = PrivateMapping::map(file.as_fd(), 4990..8500).unwrap();
        let other = PrivateMapping::map(file.as_fd(), 0..3 * 4096).unwrap();
        assert_eq!((own.len(), own[10], own[11]), (3510, 7, 0));
        own[10] = 8;
        assert_eq!((own[10], other[5000]), (8, 7));
        assert_eq!(ReadableMapping::map(&file).unwrap()[5000], 7);
        assert!(PrivateMapping::map(file.as_fd(), 1..3 * 4096 + 1).is_err());
        let plain = memfd_create("plain", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&plain, 4096).unwrap();
        assert!(PrivateMapping::map(plain.as_fd(), 0..1).is_err());
    }

    #[test]
    fn what_is_not_sealed_is_not_mapped() {
        let file = memfd_create("plain", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, 4096).unwrap();
        assert!(map_to_write(&file, 4096).is_err());
        assert!(ReadableMapping::map(&file).is_err());
        let (one, _) = std::io::pipe().unwrap();
        assert!(ReadableMapping::map(&one).is_err());
    }
}
