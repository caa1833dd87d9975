//! A plan that was saved.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    kcl_fuzz::plan(data);
});
