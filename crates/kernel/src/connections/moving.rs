//! Connections taken out of tracking so that they begin again, by another uplink.

use ipnet::IpNet;
use nix::libc;
use uplinkd_model::{
    Connection, Family, Mark, Outcome, Step,
    connection::{Tuple, TupleKind},
};

use super::{marked, tuple};
use crate::{
    Kernel, encode,
    errno::{Meaning, meaning, refused},
    netlink::{Frame, KernelError, Message},
    wire::{connection as cta, message},
};

impl Kernel {
    /// Takes the connections of a family with a mark out of tracking, whose uplink still works. What
    /// answers them is kept out for a moment where they keep their source.
    pub(crate) fn move_connections(&mut self, mark: Mark, family: Family) -> Outcome {
        let answers = match self.answers_to(mark, family) {
            Ok(answers) => answers,
            Err(error) => return refused(&error),
        };
        self.try_to_keep_out(&answers);
        let step = Step::FlushConnections {
            mark,
            family: Some(family),
        };
        let answer = self
            .netfilter
            .one(encode::flush_connections(mark, Some(family)));
        match meaning(&step, answer) {
            Meaning::Settled(outcome) => outcome,
            // Nothing is put there, so that nothing can be in the way.
            Meaning::Taken(error) => refused(&error),
        }
    }

    /// Takes connections out of tracking, each by its original direction. One that is gone already
    /// is no reason to stop, nor is a refusal; the first refusal is told.
    ///
    /// Answers are kept out as if no source was translated: those to a translated one are other
    /// packets.
    pub(crate) fn delete_connections(&mut self, tuples: &[Tuple]) -> Outcome {
        let answers: Vec<Tuple> = tuples.iter().map(reversed).collect();
        self.try_to_keep_out(&answers);
        let messages: Vec<Message> = tuples.iter().map(delete).collect();
        self.delete_all(&messages)
    }

    fn delete_all(&mut self, messages: &[Message]) -> Outcome {
        let answers = match self.netfilter.request(messages) {
            Ok(answers) => answers,
            Err(error) => return refused(&error),
        };
        let refusal = answers
            .iter()
            .filter_map(|a| a.as_ref().err())
            .find(|e| e.errno != libc::ENOENT);
        match refusal {
            Some(error) => refused(error),
            None if answers.iter().all(Result::is_err) => Outcome::AlreadySo,
            None => Outcome::Done,
        }
    }

    /// Takes the connections with a mark out of tracking that bear an address of a prefix which is
    /// gone, so that nothing answers them.
    ///
    /// What it masqueraded behind an address the kernel has released by itself when that went; not so
    /// what the router itself began, what came in, and what was translated otherwise.
    ///
    /// They are listed by mark and removed one by one. The kernel could pick them out by address as
    /// well (`CTA_FILTER`), but up to 6.18 at least it compares IPv6 addresses the wrong way round
    /// (`ctnetlink_filter_match_tuple`): all others would go.
    pub(crate) fn release_prefix(&mut self, mark: Mark, prefix: IpNet) -> Outcome {
        let mut found = Vec::new();
        let listed = self.netfilter.dump_matching(
            marked(Family::of_net(prefix), mark),
            |frame: &Frame<'_>| {
                let bears =
                    |t: &Tuple| [t.source, t.destination].iter().any(|a| prefix.contains(a));
                let connection = tuple::connection(frame.body);
                let concerned = connection.filter(|c| bears(&c.original) || bears(&c.reply));
                found.extend(concerned.map(|c| delete(&c.original)));
                false
            },
        );
        if let Err(error) = listed {
            return refused(&error);
        }
        self.delete_all(&found)
    }

    /// The answers to connections that keep their source, as they arrive. The kernel picks the
    /// connections out.
    fn answers_to(&mut self, mark: Mark, family: Family) -> Result<Vec<Tuple>, KernelError> {
        let ask = marked(family, mark);
        let mut answers = Vec::new();
        self.netfilter.dump_matching(ask, |frame: &Frame<'_>| {
            let keeps_source = |c: &Connection| c.original.source == c.reply.destination;
            answers.extend(
                tuple::connection(frame.body)
                    .filter(keeps_source)
                    .map(|c| c.reply),
            );
            false
        })?;
        Ok(answers)
    }

    fn try_to_keep_out(&mut self, answers: &[Tuple]) {
        if let Err(error) = self.keep_out(answers) {
            // Most connections move nevertheless.
            tracing::warn!(%error, "cannot keep out answers to connections that move");
        }
    }
}

pub(super) fn delete(tuple: &Tuple) -> Message {
    let header = [tuple.family().number(), 1, 0, 0];
    Message::new(message::DELETE_CONNECTIONS, 0, &header)
        .nest(cta::ORIGINAL, |body| tuple::put_tuple(body, tuple))
}

/// The other direction, where nothing is translated.
fn reversed(tuple: &Tuple) -> Tuple {
    let kind = match tuple.kind {
        TupleKind::Ports {
            source,
            destination,
        } => TupleKind::Ports {
            source: destination,
            destination: source,
        },
        kind @ (TupleKind::Icmp { .. } | TupleKind::Other) => kind,
    };
    Tuple {
        source: tuple.destination,
        destination: tuple.source,
        kind,
        ..*tuple
    }
}
