//! The list of a keyset's keys.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    kcl_fuzz::keyset(data);
});
