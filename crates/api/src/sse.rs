//! Server-sent events, the reading side: bytes in, messages out.

/// One message of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The name of the event; empty for the usual kind.
    pub(crate) event: String,
    /// The data lines, joined.
    pub(crate) data: String,
}

/// The longest message that is taken. Above that the stream is not ours.
const MESSAGE_MAX: usize = 1 << 20;

/// Takes a stream apart, however it is cut into pieces.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    message: Message,
    has_data: bool,
}

/// The message is longer than any of ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Parser {
    /// Reads a piece and hands out the messages that it completes.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<Vec<Message>, TooLong> {
        let mut complete = Vec::new();
        for byte in piece {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() + self.message.data.len() > MESSAGE_MAX {
                    return Err(TooLong);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line);
            let line = line.strip_suffix('\r').unwrap_or(&line);
            if line.is_empty() {
                let message = std::mem::take(&mut self.message);
                if std::mem::take(&mut self.has_data) {
                    complete.push(message);
                }
            } else {
                self.field(line);
            }
        }
        Ok(complete)
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => self.message.event = value.to_owned(),
            "data" => {
                if self.has_data {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
                self.has_data = true;
            }
            // Comments keep the line alive; ids are in the data too.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\n\nid: 7\ndata: {\"a\":1}\n\nevent: resync\r\ndata:one\r\ndata: two\r\n\r\nevent: x\n\n";

    #[test]
    fn messages_are_the_same_however_the_stream_is_cut() {
        let expected = vec![
            Message {
                event: String::new(),
                data: "{\"a\":1}".to_owned(),
            },
            Message {
                event: "resync".to_owned(),
                data: "one\ntwo".to_owned(),
            },
        ];
        for size in 1..STREAM.len() {
            let mut parser = Parser::default();
            let mut found = Vec::new();
            for piece in STREAM.as_bytes().chunks(size) {
                found.extend(parser.push(piece).unwrap());
            }
            assert_eq!(found, expected, "pieces of {size}");
        }
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = Parser::default();
        assert_eq!(parser.push(&vec![b'x'; MESSAGE_MAX + 1]), Err(TooLong));
    }
}
