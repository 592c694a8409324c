//! The switches that a person gets.

use std::{
    io::{self, BufRead, Write},
    process::Command,
    time::Duration,
};

use anyhow::Result;

use super::{Demo, screen::Screen};
use crate::{addresses::Isp, faults::Fault};

const HELP: &str = "  cut N             pull the cable of provider N      (fault carrier)
  silence N         its far end goes mute             (fault silent)
  upstream N        it is dead beyond its gateway     (fault upstream)
  break N FAULT     any fault: carrier, silent, upstream, loss:30, oneway-out,
                    oneway-in, flap:2000, address, interface, slow:512
  heal [N]          mend provider N, or all
  shares            count 1,000 new UDP and TCP connections from the LAN
  status            what the daemon says (any other command of uplinkctl works
                    too: ctl explain --from 10.0.0.2 --to 1.1.1.1)
  run COMMAND       a command inside the router: run ip rule
  log               the end of the daemon's log
  quit";
/// A command of the person may take this long.
const RUN_MAX: Duration = Duration::from_secs(60);

/// One order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Order {
    Break(Isp, Fault),
    Heal(Option<Isp>),
    Shares,
    Ctl(Vec<String>),
    Run(Vec<String>),
    Log,
    Help,
    Quit,
    Nothing,
}

impl Order {
    fn read(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        Ok(match words.as_slice() {
            [] => Self::Nothing,
            ["cut", n] => Self::Break(n.parse()?, Fault::Carrier),
            ["silence", n] => Self::Break(n.parse()?, Fault::Silent),
            ["upstream", n] => Self::Break(n.parse()?, Fault::Upstream),
            ["break", n, fault] => Self::Break(n.parse()?, fault.parse()?),
            ["heal"] => Self::Heal(None),
            ["heal", n] => Self::Heal(Some(n.parse()?)),
            ["shares"] => Self::Shares,
            ["status", ..] => Self::Ctl(owned(&words)),
            ["ctl", rest @ ..] => Self::Ctl(owned(rest)),
            ["run", program, rest @ ..] => Self::Run(owned(&[&[*program], rest].concat())),
            ["log"] => Self::Log,
            ["help" | "?"] => Self::Help,
            ["quit" | "exit" | "q"] => Self::Quit,
            [first, ..] => return Err(format!("`{first}`: see `help`")),
        })
    }
}

/// Takes orders until `quit` or the end of the input.
pub(super) fn ask(demo: &Demo<'_, '_>, screen: &mut Screen) -> Result<()> {
    screen.title("your turn")?;
    screen.line(HELP)?;
    let mut lines = io::stdin().lock().lines();
    loop {
        let mut out = io::stdout().lock();
        write!(out, "uplink-lab> ")?;
        out.flush()?;
        drop(out);
        let Some(line) = lines.next() else {
            return screen.line("");
        };
        let order = match Order::read(&line?) {
            Ok(Order::Quit) => return Ok(()),
            Ok(order) => order,
            Err(e) => {
                screen.quote(&e)?;
                continue;
            }
        };
        // What goes wrong with one order is told, and the next one may be better.
        if let Err(e) = obey(demo, &order, screen) {
            screen.quote(&format!("{e:#}"))?;
        }
    }
}

fn obey(demo: &Demo<'_, '_>, order: &Order, screen: &mut Screen) -> Result<()> {
    match order {
        Order::Break(isp, fault) => {
            demo.switches.break_line(*isp, *fault)?;
            screen.line(&format!("  {isp} is broken now: {fault}"))
        }
        Order::Heal(isp) => {
            let healed = demo.switches.heal(*isp)?;
            if healed.is_empty() {
                return screen.line("  nothing was broken there");
            }
            for (isp, fault) in healed {
                screen.line(&format!("  {isp} healed: {fault}"))?;
            }
            Ok(())
        }
        Order::Shares => demo.show_shares(screen, false),
        Order::Ctl(words) => {
            let output = demo.places.tool(demo.lab, &demo.uplinkctl, words)?;
            screen.quote_all(&output.stdout)?;
            screen.quote_all(&output.stderr)
        }
        Order::Run(words) => {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]);
            let output = demo.lab.router().output(command, "", RUN_MAX)?;
            screen.quote_all(&output.stdout)?;
            screen.quote_all(&output.stderr)
        }
        Order::Log => screen.quote_all(&demo.daemon.log_tail()),
        Order::Help => screen.line(HELP),
        Order::Quit | Order::Nothing => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read() {
        let isp = |n| Isp::new(n).unwrap();
        let read = |line| Order::read(line).unwrap();
        assert_eq!(read("cut 1"), Order::Break(isp(1), Fault::Carrier));
        assert_eq!(
            read(" break  isp2 loss:30 "),
            Order::Break(isp(2), Fault::Loss(30))
        );
        assert_eq!(read("heal"), Order::Heal(None));
        assert_eq!(read("heal 2"), Order::Heal(Some(isp(2))));
        assert_eq!(
            read("run ip -4 rule"),
            Order::Run(vec!["ip".into(), "-4".into(), "rule".into()])
        );
        assert_eq!(read(""), Order::Nothing);
        for bad in ["cut", "cut 0", "break 1", "break 1 loss", "run", "dance"] {
            assert!(Order::read(bad).is_err(), "{bad}");
        }
    }
}
