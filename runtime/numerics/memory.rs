//! Memory of weights: streamed from end to end at every token, so it lies in large pages where the system has them.

/// Asks for large pages for the memory of `room`, best before it is first written. Where there are none nothing changes.
pub(crate) fn in_large_pages<T>(room: &mut Vec<T>) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        let start = room.as_mut_ptr().addr().next_multiple_of(PAGE);
        let end = (room.as_mut_ptr().addr() + room.capacity() * size_of::<T>()) / PAGE * PAGE;
        if let Some(length) = end.checked_sub(start).filter(|length| *length > 0) {
            // SAFETY: the pages lie within the vector's own memory, and the advice changes no byte of them.
            unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(start), length, libc::MADV_HUGEPAGE) };
        }
    }
}
