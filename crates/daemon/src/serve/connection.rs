//! Answers `uplinkctl explain --connection`: a connection as the kernel tracks it, where its next
//! packet goes, and where it would go if it began now.

use uplinkd_api::{
    ApiError, ConnectionQuery, ConnectionStatus, Explain, ExplainConnection, ExplainQuery,
    IcmpType, Protocol,
};
use uplinkd_core::Controller;
use uplinkd_kernel::{ConnectionQuery as Search, Kernel, RouteQuery};
use uplinkd_model::{Connection, Family, connection::TupleKind};
use uplinkd_web::Refused;

use super::explain::{assemble, explain, incoming, says, uplinks};

/// Connections that are looked through for the one that is meant, where its answers or its
/// translated addresses were given. Beyond that it is not found.
const SEARCHED_MAX: usize = 10_000;
/// Connections that are named where several fit.
const NAMED_MAX: usize = 3;

/// Where an existing connection goes.
///
/// # Errors
/// Where there is no such connection, or several.
pub(crate) fn explain_connection(
    controller: &Controller,
    kernel: &mut Kernel,
    query: ConnectionQuery,
) -> Result<ExplainConnection, Refused> {
    let if_down = uplinks(controller.config(), &query.if_down)?;
    let connection = the_one(find(kernel, &query)?)?;
    let flow = controller.next_packet(&connection, &if_down);
    let asked = kernel.route_get(RouteQuery {
        source: flow.from,
        protocol: flow.protocol,
        iif: incoming(controller, flow.iif.as_ref(), flow.from),
        mark: flow.mark,
        ..RouteQuery::to(flow.to)
    });
    let table = asked.as_ref().ok().map(|a| a.table);
    let found = controller.explain_connection(&connection, &if_down, table);
    let config = controller.config();
    let now = assemble(
        config,
        ExplainQuery {
            from: flow.from,
            protocol: flow.protocol.map(Protocol::from_number),
            mark: Some(flow.mark),
            if_down: query.if_down.clone(),
            ..ExplainQuery::to(flow.to)
        },
        None,
        &found.steps,
        found.decision,
        None,
        asked
            .ok()
            .filter(|_| if_down.is_empty())
            .map(|a| says(config, &a)),
    );
    let anew = if found.is_inbound {
        None
    } else {
        Some(explain(
            controller,
            kernel,
            as_new(controller, &connection, &query),
        )?)
    };
    let status = ConnectionStatus {
        uplink: found.uplink.map(|u| u.to_string()),
        inbound: found.is_inbound,
        outlet: found.outlet,
        ..status(&connection)
    };
    let text = sentence(&status, &now, anew.as_ref());
    Ok(ExplainConnection {
        query,
        connection: status,
        now,
        anew,
        text,
    })
}

/// The connections that fit: as they began, else as they look after translation or from the far end.
fn find(kernel: &mut Kernel, query: &ConnectionQuery) -> Result<Vec<Connection>, Refused> {
    let family = Family::of(query.from);
    if family != Family::of(query.to) {
        let text = "`from` and `to` are of different families";
        return Err(Refused::Bad(ApiError::new(text)));
    }
    let protocol = query.protocol.map(|p| p.number(family));
    let mut search = |search: Search| {
        kernel
            .find_connections(&search, SEARCHED_MAX)
            .map(|found| found.list)
            .map_err(|e| Refused::Bad(ApiError::new(format!("cannot list connections: {e}"))))
    };
    let as_begun = search(Search {
        protocol,
        source: Some(query.from),
        destination: Some(query.to),
        source_port: query.sport,
        destination_port: query.dport,
    })?;
    if !as_begun.is_empty() {
        return Ok(as_begun);
    }
    // Any of the four ends of the two directions may be what was seen on a wire.
    let mut found = search(Search {
        protocol,
        ..Search::default()
    })?;
    let fits = |from: (std::net::IpAddr, Option<u16>), to: (std::net::IpAddr, Option<u16>)| {
        let port = |asked: Option<u16>, has: Option<u16>| asked.is_none() || asked == has;
        from.0 == query.from
            && to.0 == query.to
            && port(query.sport, from.1)
            && port(query.dport, to.1)
    };
    found.retain(|c| {
        let ends = |t: &uplinkd_model::connection::Tuple| {
            let (sport, dport) = ports(t.kind);
            ((t.source, sport), (t.destination, dport))
        };
        let (original, reply) = (ends(&c.original), ends(&c.reply));
        fits(original.1, original.0) || fits(reply.0, reply.1) || fits(reply.1, reply.0)
    });
    Ok(found)
}

fn the_one(mut found: Vec<Connection>) -> Result<Connection, Refused> {
    if found.len() > 1 {
        let named = found.iter().take(NAMED_MAX);
        let named: Vec<_> = named.map(|c| in_words(&status(c))).collect();
        return Err(Refused::Conflict(
            ApiError::new(format!("{} connections fit", found.len())).with_hint(format!(
                "say more of the one you mean, such as {}",
                named.join(", or ")
            )),
        ));
    }
    found.pop().ok_or_else(|| {
        Refused::NotFound(
            ApiError::new("no such connection is tracked")
                .with_hint("it may have ended; `conntrack -L` lists all"),
        )
    })
}

/// The same as a question about a new connection.
fn as_new(
    controller: &Controller,
    connection: &Connection,
    query: &ConnectionQuery,
) -> ExplainQuery {
    let began = &connection.original;
    let (sport, dport) = ports(began.kind);
    let icmp = match began.kind {
        TupleKind::Icmp { icmp_type, .. } => Some(IcmpType::Number(icmp_type)),
        TupleKind::Ports { .. } | TupleKind::Other => None,
    };
    let is_own = controller.has_address(began.source);
    ExplainQuery {
        from: Some(began.source),
        protocol: Some(Protocol::from_number(began.protocol)),
        sport,
        dport,
        icmp,
        iif: is_own.then(|| "lo".to_owned()),
        if_down: query.if_down.clone(),
        // Of a forwarded port, policies see the address behind it.
        ..ExplainQuery::to(connection.reply.source)
    }
}

fn ports(kind: TupleKind) -> (Option<u16>, Option<u16>) {
    match kind {
        TupleKind::Ports {
            source,
            destination,
        } => (Some(source), Some(destination)),
        TupleKind::Icmp { .. } | TupleKind::Other => (None, None),
    }
}

/// What the kernel's entry says by itself.
fn status(connection: &Connection) -> ConnectionStatus {
    let (began, answer) = (&connection.original, &connection.reply);
    let (sport, dport) = ports(began.kind);
    ConnectionStatus {
        protocol: Protocol::from_number(began.protocol).to_string(),
        from: began.source,
        to: began.destination,
        sport,
        dport,
        nat_source: Some(answer.destination).filter(|a| *a != began.source),
        nat_destination: Some(answer.source).filter(|a| *a != began.destination),
        mark: format!("{:#x}", connection.mark),
        uplink: None,
        inbound: false,
        outlet: None,
    }
}

/// As `--connection` takes it.
fn in_words(status: &ConnectionStatus) -> String {
    let end = |address: std::net::IpAddr, port: Option<u16>| match port {
        Some(port) => std::net::SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    };
    format!(
        "'{} {} {}'",
        status.protocol,
        end(status.from, status.sport),
        end(status.to, status.dport)
    )
}

fn sentence(status: &ConnectionStatus, now: &Explain, anew: Option<&Explain>) -> String {
    let Some(anew) = anew else {
        return format!(
            "it is answered by the uplink that it came in by: {}",
            now.text
        );
    };
    let stays = match &status.uplink {
        Some(uplink) if now.decision.uplinks.iter().any(|u| u.uplink == *uplink) => {
            format!("it stays on {uplink}")
        }
        Some(uplink) => format!("it was on {uplink}, and now {}", now.text),
        None => now.text.clone(),
    };
    let would_be = |uplink: &String| anew.decision.uplinks.iter().any(|u| u.uplink == *uplink);
    if status.uplink.as_ref().is_some_and(would_be) {
        return stays;
    }
    format!("{stays}; if it began now: {}", anew.text)
}
