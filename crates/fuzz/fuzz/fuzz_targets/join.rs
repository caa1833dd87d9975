//! Requests to the join service.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    kcl_fuzz::join(data);
});
