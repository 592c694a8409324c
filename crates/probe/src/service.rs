//! Which question is asked how.

use std::{
    cell::Cell,
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use uplinkd_model::{
    Host, Question, Service, Subject,
    target::{Ask, Query},
};

use crate::{
    command, dns, http,
    line::Line,
    names::Names,
    neighbour,
    prober::{Probe, Prober},
    resolvers,
    tls::Trust,
};

/// What questions have in common.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) names: Names,
    pub(crate) luck: Luck,
    pub(crate) trust: Trust,
}

/// Numbers that nobody who has seen some can tell the next of: a keyed hash over a counter.
#[derive(Debug, Default)]
pub(crate) struct Luck {
    key: RandomState,
    counter: Cell<u64>,
}

impl Luck {
    pub(crate) fn number(&self) -> u16 {
        self.counter.set(self.counter.get().wrapping_add(1));
        let [high, low, ..] = self.key.hash_one(self.counter.get()).to_be_bytes();
        u16::from_be_bytes([high, low])
    }
}

/// Asks a question: how long the answer took, or what is wrong with it.
pub(crate) async fn ask(
    shared: &Rc<Shared>,
    line: &Line,
    question: &Question,
) -> Result<Duration, String> {
    match &question.subject {
        Subject::Neighbour(address) => neighbour::ask(line, *address, question.source).await,
        Subject::Service(service) => ask_service(shared, line, question, service).await,
    }
}

async fn ask_service(
    shared: &Rc<Shared>,
    line: &Line,
    question: &Question,
    service: &Service,
) -> Result<Duration, String> {
    // Half of the time is left for the question itself, so that a resolver's silence is told.
    let patience = question.limit / 2;
    let address = async |host: &Host| shared.names.address(shared, line, host, patience).await;
    match &service.ask {
        Ask::Icmp(name) => {
            let address = address(&Host::Name(name.clone())).await?;
            echo(line, address).await
        }
        Ask::Tcp { host, port } => {
            let address = address(host).await?;
            let began = Instant::now();
            line.connect(SocketAddr::new(address, *port)).await?;
            Ok(began.elapsed())
        }
        Ask::Dns(query) => match &query.server {
            Some(server) => {
                let server = address(server).await?;
                dns::ask(&shared.luck, line, server, query).await
            }
            None => ask_given(shared, line, query).await,
        },
        Ask::Http(page) => {
            let address = address(&page.host).await?;
            http::fetch(&shared.trust, line, page, address).await
        }
        Ask::Command(program) => command::run(line, question, program).await,
    }
}

/// Asks all resolvers that the provider gave, at once; one good answer will do.
async fn ask_given(shared: &Rc<Shared>, line: &Line, query: &Query) -> Result<Duration, String> {
    let resolvers = resolvers::given(line);
    let mut asked = JoinSet::new();
    for server in &resolvers.servers {
        let (shared, line, query, server) =
            (Rc::clone(shared), line.clone(), query.clone(), *server);
        asked.spawn_local(async move {
            let said = dns::ask(&shared.luck, &line, server, &query).await;
            said.map_err(|why| format!("{server}: {why}"))
        });
    }
    let mut said = Err(resolvers.lack());
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok(took)) => return Ok(took),
            Ok(Err(why)) => said = Err(why),
            Err(_) => {}
        }
    }
    said
}

/// An echo of a host that was looked up. A socket for each question costs little at the pace at
/// which one host is asked.
async fn echo(line: &Line, target: IpAddr) -> Result<Duration, String> {
    let mut prober = Prober::new();
    let probe = Probe {
        id: 0,
        uplink: line.uplink.clone(),
        device: line.device.clone(),
        mark: line.mark,
        target,
    };
    prober.send(probe).map_err(|e| e.to_string())?;
    loop {
        if let Some(reply) = prober.replies().await.first() {
            return Ok(reply.rtt);
        }
    }
}
