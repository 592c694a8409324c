//! How words of the file stand in messages.

/// Most characters of a word that a message repeats; the rest is to be seen in the underlined text.
const SHOWN_MAX: usize = 40;

/// The word in backquotes, control characters escaped, cut where it is long.
pub(crate) fn quoted(word: &str) -> String {
    let mut shown: String = word
        .chars()
        .take(SHOWN_MAX)
        .flat_map(|c| {
            // Only what could steer a terminal is escaped; letters and quotes stay readable.
            let escape = c.is_control();
            escape
                .then(|| c.escape_default())
                .into_iter()
                .flatten()
                .chain((!escape).then_some(c))
        })
        .collect();
    if word.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Words in backquotes, with commas between them.
pub(crate) fn quoted_list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.into_iter().map(quoted).collect();
    words.join(", ")
}

/// The word among `known` that was probably meant by `word`, if one is near enough.
pub(crate) fn meant<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let lower = word.to_lowercase();
    // A third of the letters may be wrong: more would propose words that only share their length.
    let distance_max = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&lower, k), k))
        .filter(|(distance, _)| *distance <= distance_max)
        .min()
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_hostile_words_are_tamed() {
        assert_eq!(quoted("a\u{1b}[0m\nb"), "`a\\u{1b}[0m\\nb`");
        assert_eq!(quoted(&"ä".repeat(99)), format!("`{}…`", "ä".repeat(40)));
    }

    #[test]
    fn near_words_are_proposed_and_far_ones_are_not() {
        let known = ["interface", "weight", "ipv4", "probe"];
        assert_eq!(meant("wieght", known), Some("weight"));
        assert_eq!(meant("Interfaces", known), Some("interface"));
        assert_eq!(meant("metric", known), None);
        assert_eq!(meant("", known), None);
    }
}
