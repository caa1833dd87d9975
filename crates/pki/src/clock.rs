//! Times as certificates and stored texts hold them: UTC, whole seconds.

use time::macros::datetime;
use time::{Duration, OffsetDateTime};

/// How far a machine's clock may be behind ours and still accept a certificate that was just made. kubeadm
/// takes the same five minutes.
pub const CLOCK_SKEW: Duration = Duration::minutes(5);

/// How long an authority is valid: ten years of 365 days, as kubeadm's.
pub const CA_VALIDITY: Duration = Duration::days(3650);

/// With fewer days than this left of a certificate authority, its owner should hear of it.
pub const EXPIRY_WARNING_DAYS: i64 = 60;

/// The last moment that is taken for a time: the end of the year 9900. A certificate cannot say a year after
/// 9999, and some validity has to fit after now.
const LATEST: i64 = datetime!(9900-12-31 23:59:59 UTC).unix_timestamp();

/// `time` in UTC without its fraction of a second; nothing for a time before 1970 or after the year 9900.
pub(crate) fn whole_seconds(time: OffsetDateTime) -> Option<OffsetDateTime> {
    from_unix(time.unix_timestamp())
}

/// The time so many seconds after 1970, within the same bounds.
pub(crate) fn from_unix(seconds: i64) -> Option<OffsetDateTime> {
    if !(0..=LATEST).contains(&seconds) {
        return None;
    }
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

/// A time as RFC 3339 writes it, in UTC and whole seconds: `2030-01-01T00:00:00Z`.
pub(crate) fn rfc3339(time: OffsetDateTime) -> String {
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_whole_seconds() {
        let time = whole_seconds(datetime!(2030-02-03 04:05:06.789 +02:00)).unwrap();
        assert_eq!(rfc3339(time), "2030-02-03T02:05:06Z");
    }

    #[test]
    fn times_out_of_bounds_are_none() {
        assert!(whole_seconds(datetime!(1969-12-31 23:59:59 UTC)).is_none());
        assert!(whole_seconds(datetime!(9900-12-31 23:59:59 UTC)).is_some());
        assert!(whole_seconds(datetime!(9901-01-01 00:00:00 UTC)).is_none());
    }
}
