//! E-mail, by the system's own program: it has the queue and knows the way.

use std::{fmt::Write as _, time::Duration};

use uplinkd_model::notify::Mail;
use uplinkd_probe::program;

use crate::{channel::Sent, message::Message};

/// How long the program may take: it only has to put the message into its queue.
const LIMIT: Duration = Duration::from_secs(30);
/// The longest encoded word of a header (RFC 2047, section 2).
const ENCODED_MAX: usize = 75;

/// Hands a message over.
pub(crate) async fn send(mail: &Mail, message: &Message) -> Sent {
    match hand_over(mail, message).await {
        Ok(()) => Sent::Delivered,
        Err(why) => Sent::Again { why, after: None },
    }
}

async fn hand_over(mail: &Mail, message: &Message) -> Result<(), String> {
    let path = mail.program.to_string_lossy();
    let mut command = program::command(&path, mail.user.as_deref())?;
    // The receivers stand in the text, and a lone dot is no end of it.
    command.args(["-t", "-i"]);
    let ended = program::run(command, letter(mail, message).into_bytes(), LIMIT).await?;
    match ended.status.success() {
        true => Ok(()),
        false => Err(ended.told()),
    }
}

/// The whole text. What comes from outside can end no header: a title is one line, and addresses were
/// checked with the file.
fn letter(mail: &Mail, message: &Message) -> String {
    let mut text = String::new();
    if let Some(from) = &mail.from {
        let _ = writeln!(text, "From: uplinkd <{from}>");
    }
    let _ = writeln!(text, "To: {}", mail.to.join(",\n "));
    let _ = writeln!(text, "Subject: {}", header(&message.title));
    text += "Auto-Submitted: auto-generated\nMIME-Version: 1.0\n\
             Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n";
    text + &message.text
}

/// A text as the value of a header: as it is where that is plain, or else in encoded words.
fn header(text: &str) -> String {
    let is_plain = |c: char| (' '..='~').contains(&c);
    if text.chars().all(is_plain) && !text.contains("=?") && text.len() < 900 {
        return text.to_owned();
    }
    let mut words = vec![String::new()];
    for c in text.chars() {
        let mut bytes = [0; 4];
        let sign = match c {
            ' ' => "_".to_owned(),
            c if c.is_ascii_alphanumeric() => c.to_string(),
            c => {
                let bytes = c.encode_utf8(&mut bytes).bytes();
                bytes.map(|b| format!("={b:02X}")).collect()
            }
        };
        let full =
            words.last().map_or(0, String::len) + sign.len() > ENCODED_MAX - "=?utf-8?Q??=".len();
        if full {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            *word += &sign;
        }
    }
    let words: Vec<_> = words.iter().map(|w| format!("=?utf-8?Q?{w}?=")).collect();
    words.join("\n ")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use uplinkd_api::Level;

    use super::*;
    use crate::message::tests::{event, message};

    fn letter_of(text: &str) -> String {
        let mail = Mail {
            to: vec!["a@b.example".to_owned(), "root".to_owned()],
            from: Some("gate@b.example".to_owned()),
            program: PathBuf::from("/usr/sbin/sendmail"),
            user: None,
        };
        letter(&mail, &message(vec![event(text, Level::Warn)], 0))
    }

    #[test]
    fn a_letter_has_its_headers_and_the_events_below() {
        assert_eq!(
            letter_of("isp1 is down"),
            "From: uplinkd <gate@b.example>\nTo: a@b.example,\n root\nSubject: gate: isp1 is down\n\
             Auto-Submitted: auto-generated\nMIME-Version: 1.0\n\
             Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n\
             2026-11-22 18:43:20 UTC  isp1 is down\n"
        );
    }

    #[test]
    fn nothing_that_is_told_makes_another_header() {
        for text in [
            "x\nBcc: all@c.example",
            "x\r\nBcc: all@c.example\r\n\r\nbody",
            "ü\u{2028}Bcc: all@c.example",
            "=?utf-8?Q?=0ABcc:_x?=",
        ] {
            let letter = letter_of(text);
            let (head, _) = letter.split_once("\n\n").unwrap();
            let names: Vec<_> = head
                .lines()
                .filter(|l| !l.starts_with(' '))
                .map(|l| l.split(':').next().unwrap())
                .collect();
            let expected = [
                "From",
                "To",
                "Subject",
                "Auto-Submitted",
                "MIME-Version",
                "Content-Type",
                "Content-Transfer-Encoding",
            ];
            assert_eq!(names, expected, "{head}");
            assert!(!head.contains("=0A"), "{head}");
            assert!(head.lines().all(|l| l.len() <= 998));
        }
    }

    #[test]
    fn other_signs_than_ascii_are_encoded_in_short_words() {
        assert_eq!(header("a b"), "a b");
        assert_eq!(header("ü b"), "=?utf-8?Q?=C3=BC_b?=");
        let long = header(&"ü".repeat(100));
        assert!(
            long.split("\n ")
                .all(|w| w.len() <= ENCODED_MAX && w.ends_with("?="))
        );
        assert_eq!(long.matches("=C3=BC").count(), 100, "no sign is torn");
    }
}
