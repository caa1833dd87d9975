//! Pods and AWS: the published documents verify the cluster's tokens, and nothing depends on documents that nobody can
//! read.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use kcl_testkit::{Answer, World, example, http};
use serde_json::{Value, json};

const KCL: &str = env!("CARGO_BIN_EXE_kcl");
const CLUSTER: &str = "k8s.karlaru.com";

/// The reference cluster in a world of its own.
fn reference() -> (World, String) {
    let world = World::with_bucket(KCL);
    world.make_zone("karlaru.com");
    let spec = example("karlaru.yaml").replace("karlaru-kcl-oidc", &discovery_bucket(&world));
    (world, spec)
}

fn discovery_bucket(world: &World) -> String {
    format!("oidc-{}", world.aws.account())
}

/// An object as anybody sees it.
fn anonymous(world: &World, path: &str) -> Answer {
    let path = format!("/{}/{path}", discovery_bucket(world));
    http(&world.aws.endpoint(), "GET", &path, None, &[], "").unwrap()
}

/// An object or setting with credentials.
fn signed(world: &World, method: &str, path: &str, body: &str) -> Answer {
    http(&world.aws.endpoint(), method, path, Some("s3"), &[("Content-Type", "text/plain")], body).unwrap()
}

/// The primary key of the service accounts, from the state store: its id there, and the key.
fn signing_key(world: &World) -> EncodingKey {
    let folder = format!("/{}/clusters/{CLUSTER}/pki/private/service-account", world.bucket());
    let index = signed(world, "GET", &format!("{folder}/keyset.yaml"), "").body;
    let primary = index.split_once("primaryID: \"").unwrap().1.split_once('"').unwrap().0;
    let key = signed(world, "GET", &format!("{folder}/{primary}.key"), "");
    assert_eq!(key.status, 200, "{key:?}");
    EncodingKey::from_rsa_pem(key.body.as_bytes()).unwrap()
}

/// A token as the API server would sign it for a pod.
fn token(world: &World, issuer: &str, kid: &str) -> String {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::RS256) };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "iss": issuer,
        "sub": "system:serviceaccount:default:iam-account",
        "aud": ["amazonaws.com"],
        "iat": now,
        "exp": now + 3600,
    });
    jsonwebtoken::encode(&header, &claims, &signing_key(world)).unwrap()
}

/// What a verifier does that knows nothing but the issuer.
fn verify(world: &World, token: &str) -> Result<Value, jsonwebtoken::errors::Error> {
    let configuration = anonymous(world, &format!("{CLUSTER}/.well-known/openid-configuration"));
    assert_eq!((configuration.status, configuration.content_type.as_str()), (200, "application/json"));
    let configuration: Value = serde_json::from_str(&configuration.body).unwrap();
    let issuer = configuration["issuer"].as_str().unwrap();
    let jwks_path = configuration["jwks_uri"].as_str().unwrap().strip_prefix(issuer).unwrap();
    let jwks = anonymous(world, &format!("{CLUSTER}{jwks_path}"));
    assert_eq!((jwks.status, jwks.content_type.as_str()), (200, "application/jwk-set+json"));
    let jwks: JwkSet = serde_json::from_str(&jwks.body).unwrap();
    let kid = jsonwebtoken::decode_header(token)?.kid.unwrap();
    let Some(key) = jwks.find(&kid) else {
        return Err(jsonwebtoken::errors::ErrorKind::InvalidSignature.into());
    };
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&["amazonaws.com"]);
    validation.set_issuer(&[issuer]);
    Ok(jsonwebtoken::decode::<Value>(token, &DecodingKey::from_jwk(key)?, &validation)?.claims)
}

fn kids(world: &World) -> Vec<String> {
    let jwks = anonymous(world, &format!("{CLUSTER}/openid/v1/jwks")).body;
    let jwks: Value = serde_json::from_str(&jwks).unwrap();
    let keys = jwks["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn tokens_are_verified_with_the_published_documents_alone() {
    let (world, spec) = reference();
    let path = world.spec(&spec);
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);

    let issuer = format!("https://{}.s3.eu-north-1.amazonaws.com/{CLUSTER}", discovery_bucket(&world));
    let old = token(&world, &issuer, &kids(&world)[0]);
    let claims = verify(&world, &old).unwrap();
    assert_eq!(claims["sub"], "system:serviceaccount:default:iam-account");

    // AWS' side of it: the pod's SDK trades the token for credentials of the role.
    let role = format!("arn:aws:iam::{}:role/iam-account.default.sa.{CLUSTER}", world.aws.account());
    let body = format!(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=pod&RoleArn={role}&WebIdentityToken={old}"
    );
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let assumed = http(&world.aws.endpoint(), "POST", "/", None, &form, &body).unwrap();
    assert_eq!(assumed.status, 200, "{assumed:?}");
    assert!(
        assumed.body.contains("<SessionToken>")
            && assumed
                .body
                .contains(&role.replace(":role/", ":assumed-role/").replace("arn:aws:iam", "arn:aws:sts")),
        "{}",
        assumed.body
    );

    // Another key: trusted by everybody before it signs anything, and the old one until it is distrusted.
    let update = || world.kcl(&["update", "--yes"]).expect(0);
    let before = kids(&world);
    world.kcl(&["create", "keypair", "service-account"]).expect(0);
    let preview = world.kcl(&["update", "--detailed-exitcode"]).expect(2);
    assert!(preview.stdout.contains("openid/v1/jwks"), "{}", preview.stdout);
    update();
    assert_eq!(kids(&world).len(), 2);
    assert_eq!(kids(&world)[0], before[0], "the old one still signs");
    world.kcl(&["promote", "keypair", "service-account"]).expect(0);
    update();
    let new = token(&world, &issuer, &kids(&world)[0]);
    assert_ne!(kids(&world)[0], before[0]);
    verify(&world, &new).unwrap();
    verify(&world, &old).unwrap();
    world.kcl(&["distrust", "keypair", "service-account"]).expect(0);
    update();
    verify(&world, &new).unwrap();
    verify(&world, &old).unwrap_err();
    world.kcl(&["update", "--detailed-exitcode", "--deep"]).expect(0);
}

#[test]
fn only_the_documents_are_public() {
    let (world, spec) = reference();
    world.kcl(&["create", "cluster", "-f", &world.spec(&spec), "--yes"]).expect(0);
    let bucket = discovery_bucket(&world);
    signed(&world, "PUT", &format!("/{bucket}/{CLUSTER}/secret"), "hunter2");
    assert_eq!(anonymous(&world, &format!("{CLUSTER}/secret")).status, 403);
    assert_eq!(anonymous(&world, "").status, 403);
    let listed =
        http(&world.aws.endpoint(), "GET", &format!("/{}/?list-type=2", world.bucket()), None, &[], "");
    assert_eq!(listed.unwrap().status, 403);
    let config = format!("/{}/clusters/{CLUSTER}/config", world.bucket());
    assert_eq!(http(&world.aws.endpoint(), "GET", &config, None, &[], "").unwrap().status, 403);
}

#[test]
fn documents_and_buckets_go_as_they_came() {
    let (world, spec) = reference();
    let path = world.spec(&spec);
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let jwks = format!("{CLUSTER}/openid/v1/jwks");
    let deleted = world.kcl(&["delete", CLUSTER, "--yes"]).expect(0);
    assert!(deleted.stdout.contains("- discovery-document"), "{}", deleted.stdout);
    assert_eq!(signed(&world, "GET", &format!("/{}/{jwks}", discovery_bucket(&world)), "").status, 404);
    assert_eq!(
        signed(&world, "HEAD", &format!("/{}", discovery_bucket(&world)), "").status,
        200,
        "buckets are kept"
    );

    // Without the spec the OIDC provider tells where they are.
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let command = ["delete", CLUSTER, "--region", "eu-north-1", "--yes"];
    let run = world.command(&command).env_remove("KCL_STATE_STORE").output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(signed(&world, "GET", &format!("/{}/{jwks}", discovery_bucket(&world)), "").status, 404);

    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    world.kcl(&["delete", CLUSTER, "--yes", "--purge-state"]).expect(0);
    for bucket in [discovery_bucket(&world), world.bucket()] {
        assert_eq!(signed(&world, "HEAD", &format!("/{bucket}"), "").status, 404, "{bucket}");
    }
}

#[test]
fn tampered_documents_are_seen_and_put_right() {
    let (world, spec) = reference();
    let path = world.spec(&spec);
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let bucket = discovery_bucket(&world);
    let jwks = format!("/{bucket}/{CLUSTER}/openid/v1/jwks");
    let good = signed(&world, "GET", &jwks, "").body;

    // Somebody else's key under the same id would let its owner be any service account.
    let tampered = good.replacen("\"n\": \"", "\"n\": \"AAAA", 1);
    assert_ne!(good, tampered);
    signed(&world, "PUT", &jwks, &tampered);
    let preview = world.kcl(&["update", "-f", &path, "--detailed-exitcode"]).expect(2);
    assert!(
        preview.stdout.contains("keys:") && preview.stdout.contains("content_type: "),
        "{}",
        preview.stdout
    );
    world.kcl(&["update", "-f", &path, "--yes"]).expect(0);
    assert_eq!(signed(&world, "GET", &jwks, "").body, good);

    // Documents that nobody can read any more are as good as none.
    let deleted = http(&world.aws.endpoint(), "DELETE", &format!("/{bucket}?policy"), Some("s3"), &[], "");
    assert_eq!(deleted.unwrap().status, 204);
    let preview = world.kcl(&["update", "-f", &path, "--detailed-exitcode"]).expect(2);
    assert!(preview.stdout.contains("public: false -> true"), "{}", preview.stdout);
    world.kcl(&["update", "-f", &path, "--yes"]).expect(0);
    assert_eq!(anonymous(&world, &format!("{CLUSTER}/openid/v1/jwks")).status, 200);
}

#[test]
fn an_account_that_blocks_public_access_is_told_before_anything_depends_on_it() {
    let (world, spec) = reference();
    world.aws.block_public_access(true).unwrap();
    let run = world.kcl(&["create", "cluster", "-f", &world.spec(&spec), "--yes"]).expect(1);
    assert!(
        run.stderr.contains("lock of public access") || run.stderr.contains("Block Public Access"),
        "{}",
        run.stderr
    );
    assert_eq!(world.aws.count("iam", "CreateOpenIDConnectProvider"), 0);
    let roles = world.aws.calls().into_iter().filter(|call| call.is("iam", "CreateRole"));
    let roles: Vec<String> = roles.map(|call| call.param("RoleName").to_owned()).collect();
    assert!(roles.iter().all(|role| !role.contains(".sa.")), "{roles:?}");

    // Once that is lifted, the same command goes on.
    world.aws.block_public_access(false).unwrap();
    world.kcl(&["create", "cluster", "-f", &world.spec(&spec), "--yes"]).expect(0);
}

#[test]
fn a_bucket_in_another_region_is_named_with_its_own() {
    let (world, spec) = reference();
    let bucket = discovery_bucket(&world);
    let far = |method: &str, query: &str, body: &str| {
        let signature = "AWS4-HMAC-SHA256 Credential=TEST/20260101/eu-west-3/s3/aws4_request, SignedHeaders=host, \
                         Signature=0";
        let headers = [("Authorization", signature)];
        http(&world.aws.endpoint(), method, &format!("/{bucket}{query}"), None, &headers, body).unwrap()
    };
    let place = "<LocationConstraint>eu-west-3</LocationConstraint>";
    let place = format!("<CreateBucketConfiguration>{place}</CreateBucketConfiguration>");
    assert_eq!(far("PUT", "", &place).status, 200);
    far("DELETE", "?publicAccessBlock", "");
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
        "Resource": format!("arn:aws:s3:::{bucket}/{CLUSTER}/*"),
    }]});
    far("PUT", "?policy", &policy.to_string());
    let path = world.spec(&spec);
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let configuration = anonymous(&world, &format!("{CLUSTER}/.well-known/openid-configuration")).body;
    let issuer = format!("https://{bucket}.s3.eu-west-3.amazonaws.com/");
    assert!(configuration.contains(&issuer), "{configuration}");
    world.kcl(&["update", "-f", &path, "--detailed-exitcode"]).expect(0);
    world.kcl(&["delete", CLUSTER, "--yes"]).expect(0);
    assert_eq!(far("GET", &format!("/{CLUSTER}/openid/v1/jwks"), "").status, 404);
}

#[test]
fn a_bucket_of_the_users_own_is_not_opened_for_them() {
    let (world, spec) = reference();
    let bucket = discovery_bucket(&world);
    let place = "<CreateBucketConfiguration><LocationConstraint>eu-north-1</LocationConstraint></CreateBucketConfiguration>";
    assert_eq!(signed(&world, "PUT", &format!("/{bucket}"), place).status, 200);
    let run = world.kcl(&["create", "cluster", "-f", &world.spec(&spec), "--yes"]).expect(1);
    assert!(run.stderr.contains("RestrictPublicBuckets"), "{}", run.stderr);
    assert_eq!(world.aws.count("s3", "PutBucketPolicy"), 0);
    assert_eq!(world.aws.count("iam", "CreateOpenIDConnectProvider"), 0);

    http(&world.aws.endpoint(), "DELETE", &format!("/{bucket}?publicAccessBlock"), Some("s3"), &[], "")
        .unwrap();
    let run = world.kcl(&["create", "cluster", "-f", &world.spec(&spec), "--yes"]).expect(1);
    assert!(run.stderr.contains("the bucket has no policy"), "{}", run.stderr);

    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
        "Resource": format!("arn:aws:s3:::{bucket}/{CLUSTER}/*"),
    }]});
    signed(&world, "PUT", &format!("/{bucket}?policy"), &policy.to_string());
    world.kcl(&["create", "cluster", "-f", &world.spec(&spec), "--yes"]).expect(0);
}
