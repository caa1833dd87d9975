//! A bucket of the local AWS.

use kcl_testkit::LocalAws;

/// Makes a bucket whose name begins so, and gives its name: every account has its own.
pub(crate) fn make(aws: &LocalAws, purpose: &str) -> String {
    let bucket = format!("{purpose}-{}", aws.account());
    let region = "<CreateBucketConfiguration><LocationConstraint>eu-north-1</LocationConstraint>\
                  </CreateBucketConfiguration>";
    put(aws, &bucket, "", region);
    bucket
}

/// Puts an object into it, past whatever rules a test has given the local AWS.
pub(crate) fn put(aws: &LocalAws, bucket: &str, key: &str, body: &str) {
    let path = format!("/{bucket}/{key}");
    let path = path.trim_end_matches('/');
    let answer = kcl_testkit::http(&aws.direct_endpoint(), "PUT", path, Some("s3"), &[], body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}
