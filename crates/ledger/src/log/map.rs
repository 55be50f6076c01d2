//! A file of fixed size that is written by storing into memory: the system keeps what was stored when the
//! process ends, however it ends, and no call into the system is needed for it.
//!
//! The only unsafe code of this crate. What it rests on:
//!
//! R1. The file's blocks are reserved before it is mapped, so that a store cannot find the disk full.
//! R2. Nobody else changes the file: it lies in a folder that one process has locked (R1 of `store`). Whoever
//!     truncates it under a running server ends that server with SIGBUS.
//! R3. Ranges that are stored to do not overlap ranges that another thread stores to meanwhile: the caller
//!     holds the log's lock.

#![expect(
    unsafe_code,
    reason = "memory that is a file can be written no other way"
)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use memmap2::{Advice, MmapRaw, UncheckedAdvice};

#[cfg(target_arch = "x86_64")]
const CACHE_LINE: usize = 64;

/// Memory that is a file.
pub(crate) struct Map {
    memory: MmapRaw,
}

impl Map {
    /// Reserves `len` bytes on the disk and maps them. `StorageFull` where the disk has no room.
    pub(crate) fn create(file: &File, len: usize) -> io::Result<Self> {
        // R1.
        rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len as u64)?;
        let memory = MmapRaw::map_raw(file)?;
        assert!(memory.len() == len, "a new file is as long as it was made");
        Ok(Self { memory })
    }

    /// Stores bytes at a place that lies within the file.
    pub(crate) fn store(&self, at: usize, bytes: &[u8]) {
        let end = at.checked_add(bytes.len());
        assert!(
            end.is_some_and(|end| end <= self.memory.len()),
            "the log stores within its segment"
        );
        // SAFETY: the range lies within the mapping, as was just checked, and `bytes` is no part of it,
        // since no reference into it is ever given out. R2 and R3 keep others from writing to it.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.memory.as_mut_ptr().add(at),
                bytes.len(),
            );
        }
    }

    /// Says that `len` bytes from a place on are stored to next, as far as they lie within the file.
    ///
    /// A store into memory that no cache has is waited for when the log's lock is let go: a fifth of what
    /// recording a small request costs. What is asked for here arrives while the answer is written.
    pub(crate) fn expect(&self, at: usize, len: usize) {
        #[cfg(target_arch = "x86_64")]
        for line in (at..at.saturating_add(len).min(self.memory.len())).step_by(CACHE_LINE) {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            // SAFETY: a hint reads and writes nothing, whatever its address; this one lies in the mapping.
            unsafe {
                _mm_prefetch::<_MM_HINT_ET0>(self.memory.as_ptr().wrapping_add(line).cast());
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (at, len);
    }

    /// Brings pages into memory, to be stored to, so that a store need not wait for the disk.
    pub(crate) fn prepare(&self, file: &File, range: Range<usize>) -> io::Result<()> {
        let advised = self
            .memory
            .advise_range(Advice::PopulateWrite, range.start, range.len());
        match advised {
            // Before Linux 5.14.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                // What is not stored to yet is zero.
                file.write_all_at(&vec![0; range.len()], range.start as u64)
            }
            result => result,
        }
    }

    /// Lets go of the memory of pages that are on disk; the file keeps what it has.
    pub(crate) fn forget(&self, range: Range<usize>) {
        // SAFETY: for a shared mapping of a file, pages that are dropped are read back from the file.
        let advised = unsafe {
            self.memory
                .unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
        };
        if let Err(error) = advised {
            tracing::debug!(%error, "memory of the log was not given back");
        }
    }
}
