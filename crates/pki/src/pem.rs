//! PEM, strictly: one block of one label, with nothing around it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::error::KeyFault;

/// Label of a certificate.
pub(crate) const CERTIFICATE: &str = "CERTIFICATE";
/// Label of a PKCS#8 private key without a passphrase.
pub(crate) const PRIVATE_KEY: &str = "PRIVATE KEY";
/// Label of a SubjectPublicKeyInfo.
pub(crate) const PUBLIC_KEY: &str = "PUBLIC KEY";

/// Characters on a line, by RFC 7468.
const LINE: usize = 64;

/// `der` as a PEM block that ends in a newline.
pub(crate) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    // Room for everything, so that a secret is never left behind in a buffer that was outgrown.
    let room = body.len() + body.len() / LINE + 2 * label.len() + 64;
    let mut text = Zeroizing::new(String::with_capacity(room));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// The first block of a text of several.
pub(crate) fn first(text: &[u8]) -> Option<&[u8]> {
    const END: &[u8] = b"-----END ";
    let end = text.windows(END.len()).position(|window| window == END)?;
    let rest = &text[end + END.len()..];
    let line = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    Some(&text[..end + END.len() + line])
}

/// What is in the one block of `text`, which must have this label.
pub(crate) fn decode(label: &str, text: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    let text = std::str::from_utf8(text).map_err(|_| KeyFault::NotPem)?.trim();
    let (found, rest) =
        text.strip_prefix("-----BEGIN ").and_then(|text| text.split_once("-----")).ok_or(KeyFault::NotPem)?;
    if found != label {
        // A label is words in capitals; anything else may be a secret that lost its line breaks.
        let words = found.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b' ');
        let found = if words && found.len() < LINE { found } else { "something unknown" };
        return Err(KeyFault::Label { found: found.to_owned(), expected: label.to_owned() });
    }
    let body = rest
        .strip_suffix("-----")
        .and_then(|rest| rest.strip_suffix(label))
        .and_then(|rest| rest.strip_suffix("-----END "))
        .ok_or(KeyFault::NotPem)?;
    if body.contains("-----") {
        return Err(KeyFault::SeveralBlocks);
    }
    let mut packed = Zeroizing::new(Vec::with_capacity(body.len()));
    packed.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    let mut der = Zeroizing::new(Vec::with_capacity(packed.len()));
    STANDARD.decode_vec(packed.as_slice(), &mut der).map_err(|_| KeyFault::Base64)?;
    Ok(der)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for length in [0, 1, 47, 48, 49, 96, 1000] {
            let der: Vec<u8> = (0..length).map(|byte: u32| byte.to_le_bytes()[0]).collect();
            let text = encode(CERTIFICATE, &der);
            assert!(text.lines().all(|line| line.len() <= LINE));
            assert_eq!(*decode(CERTIFICATE, text.as_bytes()).unwrap(), der);
            assert_eq!(*decode(CERTIFICATE, text.replace('\n', "\r\n").as_bytes()).unwrap(), der);
        }
    }

    #[test]
    fn anything_but_one_block_of_the_label_is_refused() {
        let text = encode(PUBLIC_KEY, b"abc");
        let twice = format!("{}{}", *text, *text);
        assert!(matches!(decode(PUBLIC_KEY, twice.as_bytes()), Err(KeyFault::SeveralBlocks)));
        assert!(matches!(decode(PRIVATE_KEY, text.as_bytes()), Err(KeyFault::Label { .. })));
        assert!(matches!(decode(PUBLIC_KEY, b"abc"), Err(KeyFault::NotPem)));
        assert!(matches!(decode(PUBLIC_KEY, &text.as_bytes()[..40]), Err(KeyFault::NotPem)));
        let broken = text.replace("YWJj", "YW!j");
        assert!(matches!(decode(PUBLIC_KEY, broken.as_bytes()), Err(KeyFault::Base64)));
        let noted = format!("note\n{}", *text);
        assert!(matches!(decode(PUBLIC_KEY, noted.as_bytes()), Err(KeyFault::NotPem)));
    }
}
