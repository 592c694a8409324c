//! Names of users and groups into numbers, as this machine has them.

use std::fs;

/// The number of a user.
///
/// # Errors
/// Where there is none of that name.
pub(crate) fn user(word: &str) -> Result<u32, String> {
    number(word, "/etc/passwd")
}

/// The number of a group.
///
/// # Errors
/// Where there is none of that name.
pub(crate) fn group(word: &str) -> Result<u32, String> {
    number(word, "/etc/group")
}

fn number(word: &str, path: &str) -> Result<u32, String> {
    if let Ok(number) = word.parse() {
        return Ok(number);
    }
    let text = fs::read_to_string(path).unwrap_or_default();
    // `name:password:number:…` in both files.
    let found = text.lines().find_map(|line| {
        let mut parts = line.split(':');
        let is_it = parts.next() == Some(word);
        is_it.then(|| parts.nth(1)?.parse().ok()).flatten()
    });
    found.ok_or_else(|| format!("{path} does not have that name; give its number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_both_taken() {
        assert_eq!(user("0"), Ok(0));
        assert_eq!(user("root"), Ok(0));
        assert_eq!(group("root"), Ok(0));
        assert!(user("nobody-of-that-name").is_err());
    }
}
