//! A cluster spec.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    kcl_fuzz::spec(data);
});
