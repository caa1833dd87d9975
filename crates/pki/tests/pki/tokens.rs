//! Tokens of service accounts, verified by a JWT library with the published documents and nothing else.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use kcl_pki::{
    DiscoveryError, JWKS_PATH, Keyset, KeysetName, OPENID_CONFIGURATION_PATH, jwks, openid_configuration,
};
use serde_json::{Value, json};
use time::Duration;

use crate::support::{Counting, NOW};

const ISSUER: &str = "https://keys.s3.eu-north-1.amazonaws.com/k8s.example.com/discovery";

/// Signs a token as the API server does: with the primary key, naming it by its id.
fn token(keyset: &Keyset) -> String {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(keyset.primary().material().public_key().key_id());
    let pem = keyset.primary_private_pem().unwrap();
    let claims = json!({
        "iss": ISSUER,
        "aud": ["amazonaws.com"],
        "sub": "system:serviceaccount:default:iam-account",
        "exp": 4_102_444_800_u64,
    });
    encode(&header, &claims, &EncodingKey::from_rsa_pem(pem.reveal().as_bytes()).unwrap()).unwrap()
}

/// Verifies a token as AWS does: the discovery document leads to the keys, the token's header to one of them.
fn verify(token: &str, configuration: &str, jwks: &str) -> Result<Value, String> {
    let configuration: Value = serde_json::from_str(configuration).unwrap();
    let keys: JwkSet = serde_json::from_str(jwks).unwrap();
    let kid = decode_header(token).unwrap().kid.unwrap();
    let key = keys.find(&kid).ok_or("no such key")?;
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_issuer(&[configuration["issuer"].as_str().unwrap()]);
    validation.set_audience(&["amazonaws.com"]);
    let key = DecodingKey::from_jwk(key).unwrap();
    decode::<Value>(token, &key, &validation).map(|token| token.claims).map_err(|error| error.to_string())
}

#[test]
fn a_token_is_verified_by_the_published_documents() {
    let mut entropy = Counting::default();
    let mut keyset = Keyset::generate(KeysetName::ServiceAccount, &mut entropy, NOW).unwrap();
    let configuration = openid_configuration(ISSUER).unwrap();
    let first = keyset.primary().id().clone();
    let old = token(&keyset);
    let claims = verify(&old, &configuration, &jwks(&keyset).unwrap()).unwrap();
    assert_eq!(claims["sub"], "system:serviceaccount:default:iam-account");

    let second = keyset.add(&mut entropy, NOW + Duration::HOUR).unwrap();
    let published = jwks(&keyset).unwrap();
    assert!(verify(&old, &configuration, &published).is_ok());

    keyset.promote(&second, NOW + Duration::HOUR).unwrap();
    let new = token(&keyset);
    assert_ne!(decode_header(&old).unwrap().kid, decode_header(&new).unwrap().kid);
    assert!(verify(&new, &configuration, &published).is_ok(), "the new key was published before it signed");
    let promoted = jwks(&keyset).unwrap();
    assert!(
        verify(&old, &configuration, &promoted).is_ok(),
        "old tokens stay valid while their key is trusted"
    );

    keyset.distrust(&first, NOW + Duration::DAY).unwrap();
    let last = jwks(&keyset).unwrap();
    assert_eq!(verify(&old, &configuration, &last).unwrap_err(), "no such key");
    assert!(verify(&new, &configuration, &last).is_ok());
}

#[test]
fn a_token_that_was_changed_is_refused() {
    let keyset = Keyset::generate(KeysetName::ServiceAccount, &mut Counting::default(), NOW).unwrap();
    let configuration = openid_configuration(ISSUER).unwrap();
    let token = token(&keyset);
    let (head, signature) = token.rsplit_once('.').unwrap();
    let (first, rest) = signature.split_at(1);
    let changed = format!("{head}.{}{rest}", if first == "A" { "B" } else { "A" });
    assert!(verify(&changed, &configuration, &jwks(&keyset).unwrap()).is_err());
}

#[test]
fn the_keys_are_listed_with_the_primary_first() {
    let mut entropy = Counting::default();
    let mut keyset = Keyset::generate(KeysetName::ServiceAccount, &mut entropy, NOW).unwrap();
    let second = keyset.add(&mut entropy, NOW + Duration::HOUR).unwrap();
    keyset.promote(&second, NOW + Duration::HOUR).unwrap();
    let text = jwks(&keyset).unwrap();
    assert!(text.ends_with("}\n"));
    assert_eq!(text, jwks(&keyset.clone()).unwrap());
    let document: Value = serde_json::from_str(&text).unwrap();
    let ids: Vec<&str> =
        document["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
    let expected: Vec<String> = keyset.trusted().map(|key| key.material().public_key().key_id()).collect();
    assert_eq!(ids, expected);
    assert_eq!(ids[0], keyset.primary().material().public_key().key_id());
    let first = &document["keys"][0];
    assert_eq!(
        (&first["use"], &first["kty"], &first["alg"], &first["e"]),
        (&json!("sig"), &json!("RSA"), &json!("RS256"), &json!("AQAB"))
    );
    // 256 bytes in base64url without padding.
    assert_eq!(first["n"].as_str().unwrap().len(), 342);
    // The order of fields is the API server's.
    let place = |field: &str| text.find(&format!("\"{field}\"")).unwrap();
    assert!(["use", "kty", "kid", "alg", "n", "e"].windows(2).all(|pair| place(pair[0]) < place(pair[1])));
}

#[test]
fn the_discovery_document_is_as_kubernetes_has_it() {
    let expected = format!(
        r#"{{
  "issuer": "{ISSUER}",
  "jwks_uri": "{ISSUER}/openid/v1/jwks",
  "authorization_endpoint": "urn:kubernetes:programmatic_authorization",
  "response_types_supported": [
    "id_token"
  ],
  "subject_types_supported": [
    "public"
  ],
  "id_token_signing_alg_values_supported": [
    "RS256"
  ],
  "claims_supported": [
    "sub",
    "iss"
  ]
}}
"#
    );
    assert_eq!(openid_configuration(ISSUER).unwrap(), expected);
    assert_eq!(
        (OPENID_CONFIGURATION_PATH, JWKS_PATH),
        (".well-known/openid-configuration", "openid/v1/jwks")
    );
}

#[test]
fn an_issuer_that_no_verifier_takes_is_refused() {
    for issuer in [
        "",
        "http://a.example",
        "https://",
        "https:///a",
        "https://a.example/",
        "https://a/?b",
        "https://a/#b",
        "https://a b",
    ] {
        assert!(matches!(openid_configuration(issuer), Err(DiscoveryError::Issuer { .. })), "{issuer}");
    }
}

#[test]
fn authorities_are_not_published_as_token_keys() {
    let keyset = Keyset::generate(KeysetName::EtcdCa, &mut Counting::default(), NOW).unwrap();
    assert!(matches!(jwks(&keyset), Err(DiscoveryError::Keyset(_))));
}
