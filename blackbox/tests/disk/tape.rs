//! Records what this process does to the files under one directory.
//!
//! The C library's functions that change files are defined again here, and because a program's
//! own definitions come before those of its libraries, everything that is linked into this
//! program, sled and the standard library too, calls these. They make the system call and note
//! it, both under one lock, so that the tape has the order in which things happened.
//!
//! What the tape does not see (a change through a memory map, a system call made directly) it
//! would get wrong; so the tests compare a replay of the whole tape with the directory.
//!
//! While nothing is recorded, syncing is a no-op: what the tests do with their images needs
//! none, and it is most of their time.
#![allow(unsafe_code)]

use nix::libc::{self, c_char, c_int, c_long, c_uint, mode_t, off64_t, size_t, ssize_t};
use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A file or directory of the tape.
pub type Id = usize;

/// The directory under which everything is recorded.
pub const ROOT: Id = 0;

/// What happened.
#[derive(Debug)]
pub enum Op {
    /// Something was promised, as a number that means something to the test.
    Ack(usize),
    /// A file came into being.
    Create { dir: Id, name: OsString, id: Id },
    /// A directory came into being.
    MakeDir { dir: Id, name: OsString, id: Id },
    /// A file or an empty directory went.
    Remove { dir: Id, name: OsString },
    /// Something got another name, and what had that name went.
    Rename { from: (Id, OsString), to: (Id, OsString) },
    /// A file got this length.
    Resize { id: Id, length: u64 },
    /// A sync returned; it covers what was done to the file or directory before the op `since`.
    Synced { id: Id, since: usize },
    /// Bytes were written.
    Write { id: Id, offset: u64, bytes: Vec<u8> },
}

/// What stood there when the recording began.
#[derive(Debug)]
pub enum Base {
    Dir { dir: Id, name: OsString, id: Id },
    File { dir: Id, name: OsString, id: Id, bytes: Vec<u8> },
}

/// A recording.
#[derive(Debug, Default)]
pub struct Tape {
    pub base: Vec<Base>,
    pub ops: Vec<Op>,
}

/// How a recording is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Kill this process instead of making this change, counted from 1. A write is made half.
    pub kill_at: Option<u64>,
    /// Pretend that every sync worked and make none.
    pub swallow_syncs: bool,
}

struct Recorder {
    changes: u64,
    ids: HashMap<(u64, u64), Id>,
    next_id: Id,
    rules: Rules,
    tape: Tape,
}

static ON: AtomicBool = AtomicBool::new(false);
static RECORDER: Mutex<Option<Recorder>> = Mutex::new(None);

/// Records from now on what happens under `root`. One recording at a time.
pub fn start(root: &Path, rules: Rules) {
    let mut recorder = Recorder {
        changes: 0,
        ids: HashMap::new(),
        next_id: ROOT + 1,
        rules,
        tape: Tape::default(),
    };
    recorder.ids.insert(key_of(root), ROOT);
    recorder.take_base(root, ROOT);
    let mut guard = lock();
    assert!(guard.is_none(), "one recording at a time");
    *guard = Some(recorder);
    ON.store(true, Ordering::SeqCst);
}

/// Ends the recording.
pub fn stop() -> Tape {
    let mut guard = lock();
    ON.store(false, Ordering::SeqCst);
    guard.take().expect("a recording").tape
}

/// Notes a promise, in its place among the changes.
pub fn ack(what: usize) {
    if let Some(recorder) = lock().as_mut() {
        recorder.tape.ops.push(Op::Ack(what));
    }
}

/// How many changes were made so far.
pub fn changes() -> u64 {
    lock().as_ref().map_or(0, |recorder| recorder.changes)
}

fn lock() -> MutexGuard<'static, Option<Recorder>> {
    RECORDER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key_of(path: &Path) -> (u64, u64) {
    let metadata = std::fs::metadata(path).unwrap();
    (metadata.dev(), metadata.ino())
}

impl Recorder {
    fn take_base(&mut self, path: &Path, dir: Id) {
        let mut entries: Vec<_> =
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let (id, name) = (self.next_id, path.file_name().unwrap().to_owned());
            self.next_id += 1;
            self.ids.insert(key_of(&path), id);
            if path.is_dir() {
                self.tape.base.push(Base::Dir { dir, name, id });
                self.take_base(&path, id);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                self.tape.base.push(Base::File { dir, name, id, bytes });
            }
        }
    }

    fn new_id(&mut self, key: (u64, u64)) -> Id {
        let id = self.next_id;
        self.next_id += 1;
        self.ids.insert(key, id);
        id
    }

    /// The number of what was removed may soon be that of something else.
    fn forget(&mut self, key: Option<(u64, u64)>) {
        if let Some(key) = key {
            self.ids.remove(&key);
        }
    }

    /// The file or directory behind a descriptor, if it is under the root.
    fn open(&self, fd: c_int) -> Option<Id> {
        self.ids.get(&stat_fd(fd)?).copied()
    }

    /// The directory under the root in which a path is, and its last name.
    fn place(&self, dir: c_int, path: &CStr) -> Option<(Id, OsString)> {
        let path = Path::new(OsStr::from_bytes(path.to_bytes()));
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let parent = CString::new(parent.as_os_str().as_bytes()).ok()?;
        let id = *self.ids.get(&stat_at(dir, &parent)?)?;
        Some((id, path.file_name()?.to_owned()))
    }

    /// Counts a change that is about to be made; true when it is the last.
    fn is_last(&mut self) -> bool {
        self.changes += 1;
        self.rules.kill_at == Some(self.changes)
    }

    fn before(&mut self) {
        if self.is_last() {
            die();
        }
    }
}

fn die() -> ! {
    // SAFETY: no memory is involved; the process ends here.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
    loop {
        std::thread::park();
    }
}

fn stat_fd(fd: c_int) -> Option<(u64, u64)> {
    // SAFETY: `stat` is plain data for which zeros are a value, and lives through the call.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        (libc::fstat(fd, &raw mut stat) == 0).then_some((stat.st_dev, stat.st_ino))
    }
}

fn stat_at(dir: c_int, path: &CStr) -> Option<(u64, u64)> {
    // SAFETY: as above; the path ends in a zero byte.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        let found = libc::fstatat(dir, path.as_ptr(), &raw mut stat, 0) == 0;
        found.then_some((stat.st_dev, stat.st_ino))
    }
}

/// Makes the call with the recorder's lock held, if something is recorded.
fn recorded<T>(call: impl FnOnce(Option<&mut Recorder>) -> T) -> T {
    if ON.load(Ordering::SeqCst) { call(lock().as_mut()) } else { call(None) }
}

/// The caller of the C library's function has vouched for its path.
///
/// # Safety
/// `path` ends in a zero byte and lives through the borrow.
unsafe fn text<'a>(path: *const c_char) -> &'a CStr {
    // SAFETY: by the contract of this function.
    unsafe { CStr::from_ptr(path) }
}

fn as_int(result: c_long) -> c_int {
    // File descriptors, 0 and -1.
    c_int::try_from(result).unwrap_or(-1)
}

fn open_at(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    recorded(|recorder| {
        // SAFETY: the arguments of the caller, handed on.
        let real = || as_int(unsafe { libc::syscall(libc::SYS_openat, dir, path, flags, mode) });
        let changing = libc::O_CREAT | libc::O_TRUNC;
        let Some(recorder) = recorder.filter(|_| flags & changing != 0) else {
            return real();
        };
        // SAFETY: open takes a path that ends in a zero byte.
        let path = unsafe { text(path) };
        let before = stat_at(dir, path);
        let place = recorder.place(dir, path);
        let known = before.and_then(|key| recorder.ids.get(&key).copied());
        let creates = before.is_none() && flags & libc::O_CREAT != 0;
        let truncates = flags & libc::O_TRUNC != 0;
        if place.is_some() && (creates || truncates) {
            recorder.before();
        }
        let fd = real();
        match (place, known) {
            (Some((dir, name)), None) if fd >= 0 && creates => {
                let id = recorder.new_id(stat_fd(fd).expect("the file was opened just now"));
                recorder.tape.ops.push(Op::Create { dir, name, id });
            }
            (Some(_), Some(id)) if fd >= 0 && truncates => {
                recorder.tape.ops.push(Op::Resize { id, length: 0 });
            }
            _ => {}
        }
        fd
    })
}

/// Writes and notes it; `offset` is `None` for the descriptor's own position.
fn write_at(fd: c_int, bytes: &[u8], offset: Option<off64_t>) -> ssize_t {
    recorded(|recorder| {
        let real = |bytes: &[u8]| {
            // SAFETY: pointer and length are those of a slice.
            unsafe {
                match offset {
                    Some(at) => {
                        libc::syscall(libc::SYS_pwrite64, fd, bytes.as_ptr(), bytes.len(), at)
                    }
                    None => libc::syscall(libc::SYS_write, fd, bytes.as_ptr(), bytes.len()),
                }
            }
        };
        let Some((recorder, id)) = recorder.and_then(|recorder| {
            let id = recorder.open(fd)?;
            Some((recorder, id))
        }) else {
            return as_size(real(bytes));
        };
        if recorder.is_last() {
            real(&bytes[..bytes.len() / 2]);
            die();
        }
        let written = real(bytes);
        if let Ok(length) = usize::try_from(written) {
            // SAFETY: no memory is involved.
            let offset =
                offset.unwrap_or_else(|| unsafe { libc::lseek64(fd, 0, libc::SEEK_CUR) } - written);
            let offset = u64::try_from(offset).expect("an offset in a file");
            let bytes = bytes[..length].to_vec();
            recorder.tape.ops.push(Op::Write { id, offset, bytes });
        }
        as_size(written)
    })
}

fn as_size(result: c_long) -> ssize_t {
    ssize_t::try_from(result).unwrap_or(-1)
}

fn sync(fd: c_int, number: c_long) -> c_int {
    if !ON.load(Ordering::SeqCst) {
        return 0;
    }
    let started = {
        let mut guard = lock();
        guard.as_mut().and_then(|recorder| {
            let id = recorder.open(fd)?;
            recorder.before();
            Some((id, recorder.tape.ops.len(), recorder.rules.swallow_syncs))
        })
    };
    let Some((id, since, swallow)) = started else {
        return 0;
    };
    if swallow {
        return 0;
    }
    // Without the lock: what other threads write meanwhile is not covered. The page cache
    // outlives the test, so that a kill needs no sync, and the call is left out.
    let _ = number;
    std::thread::yield_now();
    if let Some(recorder) = lock().as_mut() {
        recorder.tape.ops.push(Op::Synced { id, since });
    }
    0
}

fn remove(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    recorded(|recorder| {
        // SAFETY: the arguments of the caller, handed on.
        let real = || as_int(unsafe { libc::syscall(libc::SYS_unlinkat, dir, path, flags) });
        let Some(recorder) = recorder else {
            return real();
        };
        // SAFETY: unlink takes a path that ends in a zero byte.
        let path = unsafe { text(path) };
        let (key, place) = (stat_at(dir, path), recorder.place(dir, path));
        let Some((dir, name)) = place else {
            return real();
        };
        recorder.before();
        let result = real();
        if result == 0 {
            recorder.forget(key);
            recorder.tape.ops.push(Op::Remove { dir, name });
        }
        result
    })
}

// SAFETY of all below: each has the signature and the meaning of the C library's function of its
// name on 64-bit Linux, so its callers' promises are those that the system call needs.

#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    open_at(libc::AT_FDCWD, path, flags, mode)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    open_at(libc::AT_FDCWD, path, flags, mode)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat64(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    open_at(dir, path, flags, mode)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, bytes: *const u8, length: size_t) -> ssize_t {
    // SAFETY: write takes `length` readable bytes.
    write_at(fd, unsafe { std::slice::from_raw_parts(bytes, length) }, None)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(
    fd: c_int,
    bytes: *const u8,
    length: size_t,
    offset: off64_t,
) -> ssize_t {
    // SAFETY: pwrite takes `length` readable bytes.
    write_at(fd, unsafe { std::slice::from_raw_parts(bytes, length) }, Some(offset))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: c_int, parts: *const libc::iovec, count: c_int) -> ssize_t {
    let mut all = Vec::new();
    for i in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: writev takes `count` parts, each with its length of readable bytes.
        unsafe {
            let part = *parts.add(i);
            if part.iov_len > 0 {
                all.extend_from_slice(std::slice::from_raw_parts(
                    part.iov_base.cast::<u8>(),
                    part.iov_len,
                ));
            }
        }
    }
    write_at(fd, &all, None)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(fd: c_int, length: off64_t) -> c_int {
    recorded(|recorder| {
        // SAFETY: no memory is involved.
        let real = || as_int(unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) });
        let Some((recorder, id)) = recorder.and_then(|recorder| {
            let id = recorder.open(fd)?;
            Some((recorder, id))
        }) else {
            return real();
        };
        recorder.before();
        let result = real();
        if let (0, Ok(length)) = (result, u64::try_from(length)) {
            recorder.tape.ops.push(Op::Resize { id, length });
        }
        result
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fsync)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fdatasync)
}

/// Starts writing and waits for it, but says nothing to the disk's own cache: it makes nothing
/// durable, so it is left out.
#[unsafe(no_mangle)]
unsafe extern "C" fn sync_file_range(
    _fd: c_int,
    _offset: off64_t,
    _length: off64_t,
    _flags: c_uint,
) -> c_int {
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    recorded(|recorder| {
        // SAFETY: the arguments of the caller, handed on.
        let real =
            || as_int(unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) });
        let Some(recorder) = recorder else {
            return real();
        };
        // SAFETY: mkdir takes a path that ends in a zero byte.
        let path = unsafe { text(path) };
        let Some((dir, name)) = recorder.place(libc::AT_FDCWD, path) else {
            return real();
        };
        recorder.before();
        let result = real();
        if result == 0 {
            let key = stat_at(libc::AT_FDCWD, path).expect("the directory was made just now");
            let id = recorder.new_id(key);
            recorder.tape.ops.push(Op::MakeDir { dir, name, id });
        }
        result
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    recorded(|recorder| {
        let real = || {
            let cwd = libc::AT_FDCWD;
            // SAFETY: the arguments of the caller, handed on.
            as_int(unsafe { libc::syscall(libc::SYS_renameat2, cwd, from, cwd, to, 0) })
        };
        let Some(recorder) = recorder else {
            return real();
        };
        // SAFETY: rename takes paths that end in a zero byte.
        let (from, to) = unsafe { (text(from), text(to)) };
        let replaced = stat_at(libc::AT_FDCWD, to);
        let places = recorder.place(libc::AT_FDCWD, from).zip(recorder.place(libc::AT_FDCWD, to));
        let Some((from, to)) = places else {
            return real();
        };
        recorder.before();
        let result = real();
        if result == 0 {
            recorder.forget(replaced);
            recorder.tape.ops.push(Op::Rename { from, to });
        }
        result
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    remove(libc::AT_FDCWD, path, 0)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    remove(libc::AT_FDCWD, path, libc::AT_REMOVEDIR)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    remove(dir, path, flags)
}
