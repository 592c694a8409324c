//! Queries of the domain name system, by UDP and TCP, out by the line that they test.

pub(crate) mod message;

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uplinkd_model::{Family, target::Query};

use self::message::{Response, Wanted};
use crate::{
    line::{Line, in_words},
    service::Luck,
};

/// The longest answer by UDP that anybody sends who was not told that more would fit, with room to
/// spare.
const DATAGRAM_MAX: usize = 1500;
/// What is asked where only the server's life is of interest: a name that every resolver keeps for days.
const EVERYWHERE: &str = "a.root-servers.net";
const NO_SUCH_NAME: u8 = 3;

/// Asks a server what a target wants to know.
pub(crate) async fn ask(
    luck: &Luck,
    line: &Line,
    server: IpAddr,
    query: &Query,
) -> Result<Duration, String> {
    let wanted = Wanted {
        id: luck.number(),
        name: query.name.as_deref().unwrap_or(EVERYWHERE),
        family: line.family,
    };
    let server = SocketAddr::new(server, query.port);
    let began = Instant::now();
    let response = match query.over_tcp {
        true => over_tcp(line, server, wanted).await?,
        false => over_udp(line, server, wanted).await?,
    };
    let took = began.elapsed();
    judge(query, &response, line.family).map(|()| took)
}

/// Whether an answer is the one that a target wants.
fn judge(query: &Query, response: &Response, family: Family) -> Result<(), String> {
    if query.name.is_none() && response.code == NO_SUCH_NAME {
        return Ok(());
    }
    failure(response)?;
    let Some(name) = &query.name else {
        return Ok(());
    };
    let found = &response.addresses;
    if found.is_empty() {
        return Err(format!("{name} has no {family} address"));
    }
    let answers = query.answers.iter();
    let wanted: Vec<_> = answers.filter(|a| Family::of(**a) == family).collect();
    if wanted.is_empty() || wanted.iter().any(|a| found.contains(a)) {
        return Ok(());
    }
    Err(format!(
        "the answer is {}, not {}",
        found[0],
        wanted.first().map_or("".to_owned(), ToString::to_string)
    ))
}

/// What a server says that has no answer.
pub(crate) fn failure(response: &Response) -> Result<(), String> {
    Err(match response.code {
        0 => return Ok(()),
        2 => "the server failed (SERVFAIL)".to_owned(),
        NO_SUCH_NAME => "no such name (NXDOMAIN)".to_owned(),
        5 => "the server refuses to answer (REFUSED)".to_owned(),
        code => format!("the server answers with error {code}"),
    })
}

/// Over UDP; where the answer does not fit, over TCP.
pub(crate) async fn over_udp(
    line: &Line,
    server: SocketAddr,
    wanted: Wanted<'_>,
) -> Result<Response, String> {
    let query = query(wanted)?;
    let socket = line.udp(server).await?;
    socket.send(&query).await.map_err(|e| in_words(&e))?;
    let mut buffer = [0; DATAGRAM_MAX];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(|e| in_words(&e))?;
        // Something else than the answer is passed over: somebody may be guessing.
        let Some(response) = message::response(&buffer[..length], wanted) else {
            continue;
        };
        return match response.is_truncated && response.addresses.is_empty() {
            true => over_tcp(line, server, wanted).await,
            false => Ok(response),
        };
    }
}

/// Over TCP.
async fn over_tcp(line: &Line, server: SocketAddr, wanted: Wanted<'_>) -> Result<Response, String> {
    let query = query(wanted)?;
    let mut stream = line.connect(server).await?;
    let talk = async {
        let length = u16::try_from(query.len()).unwrap_or(u16::MAX);
        let framed = [&length.to_be_bytes()[..], &query].concat();
        stream.write_all(&framed).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    };
    let answer = talk.await.map_err(|e: std::io::Error| in_words(&e))?;
    message::response(&answer, wanted).ok_or_else(|| "the answer is not to the question".to_owned())
}

fn query(wanted: Wanted<'_>) -> Result<Vec<u8>, String> {
    message::query(wanted).ok_or_else(|| format!("{} is no name", wanted.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: Option<&str>, answers: &[&str], code: u8, found: &[&str]) -> Result<(), String> {
        let addresses = |all: &[&str]| all.iter().map(|a| a.parse().unwrap()).collect();
        let query = Query {
            server: None,
            port: 53,
            over_tcp: false,
            name: name.map(str::to_owned),
            answers: addresses(answers),
        };
        let response = Response {
            code,
            is_truncated: false,
            addresses: addresses(found),
            ttl: Duration::ZERO,
        };
        judge(&query, &response, Family::V4)
    }

    #[test]
    fn a_server_without_a_question_has_only_to_answer() {
        assert_eq!(told(None, &[], 0, &[]), Ok(()));
        assert_eq!(told(None, &[], 3, &[]), Ok(()));
        let failed = told(None, &[], 2, &[]).unwrap_err();
        assert_eq!(failed, "the server failed (SERVFAIL)");
        assert!(told(None, &[], 5, &[]).unwrap_err().contains("REFUSED"));
    }

    #[test]
    fn a_name_must_have_an_address_and_the_right_one() {
        let name = Some("a.example");
        assert_eq!(told(name, &[], 0, &["192.0.2.1"]), Ok(()));
        assert!(told(name, &[], 3, &[]).unwrap_err().contains("NXDOMAIN"));
        let none = told(name, &[], 0, &[]).unwrap_err();
        assert_eq!(none, "a.example has no IPv4 address");
        let answers = ["192.0.2.1", "192.0.2.2"];
        assert_eq!(told(name, &answers, 0, &["192.0.2.2"]), Ok(()));
        let wrong = told(name, &answers, 0, &["192.0.2.3"]).unwrap_err();
        assert_eq!(wrong, "the answer is 192.0.2.3, not 192.0.2.1");
        // What is expected of the other family says nothing here.
        assert_eq!(told(name, &["2001:db8::1"], 0, &["192.0.2.3"]), Ok(()));
    }
}
