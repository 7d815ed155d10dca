//! A function in Rust. A panic cannot leave an `extern "C"` function: it ends the process, and its callers get `WorkerLost`.

/// How many words a UTF-8 text has, as a little-endian u32.
///
/// # Safety
/// `input` is valid for `bytes` bytes, `output` for 4.
#[no_mangle]
pub unsafe extern "C" fn words(input: *const u8, bytes: u32, output: *mut u8) -> u32 {
    let text = std::slice::from_raw_parts(input, bytes as usize);
    let count = String::from_utf8_lossy(text).split_whitespace().count() as u32;
    std::ptr::copy_nonoverlapping(count.to_le_bytes().as_ptr(), output, 4);
    4
}
