//! What a machine is told.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    kcl_fuzz::node_config(data);
});
