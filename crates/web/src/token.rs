//! Tokens: what those show who come by TCP, where the kernel does not say who they are.

use std::fmt;

use subtle::ConstantTimeEq as _;

use crate::access::Rights;

/// Fewer signs than this could be guessed: 22 of base64 are 128 bits.
pub const TOKEN_LEAST: usize = 22;
/// More is none of ours.
const TOKEN_MOST: usize = 512;
/// Tokens that a file may have: each is compared with what is shown.
const TOKENS_MAX: usize = 64;
/// What stands before a token that may only read.
const READ: &str = "read";

/// The tokens that are taken. What they are is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tokens(Vec<(String, Rights)>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

impl Tokens {
    /// Reads a file of tokens: one on each line, with `read` before those that may only read. Empty
    /// lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// Names the line, and never what stands there.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (token, rights) = match line.split_once(char::is_whitespace) {
                Some((READ, token)) => (token.trim_start(), Rights::Read),
                Some(_) => return Err(format!("line {number} is more than one word")),
                None => (line, Rights::Change),
            };
            if !token.bytes().all(is_sign) {
                return Err(format!(
                    "line {number} has other signs than letters, digits and -._~+/="
                ));
            }
            if !(TOKEN_LEAST..=TOKEN_MOST).contains(&token.len()) {
                return Err(format!(
                    "the token on line {number} is not {TOKEN_LEAST} to {TOKEN_MOST} signs long"
                ));
            }
            tokens.push((token.to_owned(), rights));
        }
        match tokens.len() {
            0 => Err("there is no token in it".to_owned()),
            1..=TOKENS_MAX => Ok(Self(tokens)),
            many => Err(format!(
                "it has {many} tokens, and {TOKENS_MAX} are the most"
            )),
        }
    }

    /// What may be done by whoever shows this; none where it is no token. Takes the same time
    /// whatever signs are right.
    pub(crate) fn rights_of(&self, shown: &[u8]) -> Option<Rights> {
        let mut found = None;
        for (token, rights) in &self.0 {
            // Only the length shows, which is no secret. All are compared, the right one or not.
            if bool::from(token.as_bytes().ct_eq(shown)) {
                found = found.max(Some(*rights));
            }
        }
        found
    }
}

/// The signs of a bearer token (RFC 6750).
fn is_sign(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaa+/=";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn a_token_opens_as_far_as_its_line_says() {
        let tokens = Tokens::parse(&format!("# ours\n\n{A}\r\nread\t {B}\n")).unwrap();
        assert_eq!(tokens.rights_of(A.as_bytes()), Some(Rights::Change));
        assert_eq!(tokens.rights_of(B.as_bytes()), Some(Rights::Read));
        for near in [
            &A[1..],
            &A[..A.len() - 1],
            &format!("{A}a"),
            "",
            "# ours",
            &B.to_uppercase(),
        ] {
            assert_eq!(tokens.rights_of(near.as_bytes()), None, "{near}");
        }
        let twice = Tokens::parse(&format!("read {A}\n{A}\n")).unwrap();
        assert_eq!(twice.rights_of(A.as_bytes()), Some(Rights::Change));
        assert_eq!(Tokens::default().rights_of(b""), None);
    }

    #[test]
    fn a_bad_file_is_refused_without_telling_what_is_in_it() {
        for (text, words) in [
            ("", "no token"),
            ("# nothing\n", "no token"),
            ("\nshort\n", "line 2 is not 22 to 512"),
            (&format!("write {A}"), "line 1 is more than one word"),
            (&format!("read {A} {B}"), "other signs"),
            (&format!("{A}ä"), "line 1 has other signs"),
            (&format!("{A}\n").repeat(65), "65 tokens"),
        ] {
            let error = Tokens::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains("aaa"), "{error}");
        }
        let tokens = Tokens::parse(A).unwrap();
        assert_eq!(format!("{tokens:?}"), "1 tokens");
    }
}
