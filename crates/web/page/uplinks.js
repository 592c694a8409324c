// Uplinks, as cards, and who serves which group.

import { el, svg, table } from "./dom.js";
import { at, bits, bytes, count, family, ms, percent, span } from "./words.js";

// Never by colour alone: a sign, a word and a colour.
const SIGNS = { up: "✓", degraded: "!", down: "✕", unknown: "?", absent: "–" };

export function badge(health) {
  return el("span", { class: `badge ${health}` }, el("span", { "aria-hidden": "true" }, SIGNS[health] ?? "?"), ` ${health}`);
}

/** Fewer connections in a family say nothing of shares: our own probes are some. */
const FEW = 20;

/** Uplinks by name, each with its families. */
export function byName(status) {
  const uplinks = new Map();
  for (const line of status.uplinks) {
    if (!uplinks.has(line.name)) uplinks.set(line.name, []);
    uplinks.get(line.name).push(line);
  }
  return uplinks;
}

export function cards(status, before) {
  const sums = connectionSums(status);
  return [...byName(status)].map(([name, lines]) => card(name, lines, sums, status.time, rates(lines[0], status, before)));
}

/** What an interface carried between two looks, in bits per second. */
function rates(line, status, before) {
  const old = before?.uplinks.find((known) => known.name === line.name);
  const seconds = before ? status.time - before.time : 0;
  const rate = (field) => (line[field] >= old?.[field] && seconds > 0 ? bits((8 * (line[field] - old[field])) / seconds) : null);
  const [received, sent] = [rate("received_bytes"), rate("sent_bytes")];
  return received && sent && `in ${received}, out ${sent}`;
}

/** Connections of each family on all uplinks. */
function connectionSums(status) {
  const sums = {};
  for (const line of status.uplinks) sums[line.family] = (sums[line.family] ?? 0) + (line.connections ?? 0);
  return sums;
}

function card(name, lines, sums, now, traffic) {
  const present = lines.filter((line) => !line.absent);
  const shown = present.length ? present : lines.slice(0, 1);
  const { budget, drained, preferred } = lines[0];
  const button = (order, text) => el("button", { type: "button", "data-order": order, "data-uplink": name, "aria-label": `${text.replace(" …", "")}: ${name}` }, text);
  return el("article", { class: "card", "data-key": name, "aria-label": `Uplink ${name}` },
    el("h3", {}, name, el("span", { class: "quiet" }, ` ${lines[0].interface}`)),
    wish("Drained", drained, now),
    wish("Preferred", preferred, now),
    traffic && el("p", { class: "quiet small" }, traffic),
    shown.map((line) => familyOf(line, sums[line.family], now)),
    budget && el("p", {}, `Budget: ${bytes(budget.used)} of ${bytes(budget.limit)} until ${budget.until}`, budget.spent && el("strong", {}, " – used up")),
    el("p", { class: "row" },
      drained ? button("undrain", "Undrain") : button("drain", "Drain …"),
      preferred ? button("unprefer", "Unprefer") : button("prefer", "Prefer …"),
      button("probe", "Probe")));
}

function wish(word, wanted, now) {
  if (!wanted) return null;
  const until = wanted.until ? `, ${span(wanted.until - now)} more` : "";
  return el("p", { class: "wish" }, `${word} by ${wanted.who}${until}`, wanted.why && `: ${wanted.why}`);
}

function familyOf(line, sum, now) {
  const asked = line.targets.filter((target) => target.mean_rtt_ms != null);
  const best = asked.length ? Math.min(...asked.map((target) => target.mean_rtt_ms)) : null;
  const sent = line.targets.map((target) => target.loss);
  const loss = sent.length ? sent.reduce((a, b) => a + b) / sent.length : null;
  const measured = line.connections != null && sum >= FEW ? line.connections / sum : null;
  const figure = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
  const health = line.absent ? "absent" : line.health;
  return el("div", { class: "line", "data-key": line.family, role: "group", "aria-label": family(line.family) },
    el("p", { class: "row" },
      el("strong", {}, family(line.family)), badge(health),
      el("span", { class: "quiet" }, `for ${span(now - line.since)}`)),
    el("p", { class: "reason" }, line.reason),
    !line.absent && el("dl", {},
      figure("Round trip", ms(best)), figure("Loss", percent(loss)),
      figure("Share", line.in_service && !line.idle ? percent(line.share) : "none"),
      figure("Connections", line.connections == null ? "–" : line.connections.toLocaleString("en"))),
    !line.absent && shares(line, measured),
    line.targets.length > 0 && el("details", {},
      el("summary", {}, count(line.targets.length, "target"), `, gateway ${line.gateway ?? "unknown"}`),
      table(`Targets of ${line.name}, ${family(line.family)}`, ["Target", "Answers", "Round trip", "Jitter", "Loss"],
        line.targets.map((target) => el("tr", { "data-key": target.target },
          el("th", { scope: "row" }, target.target, !target.decides && el("span", { class: "quiet" }, " (explains)")),
          el("td", {}, badge({ pass: "up", fail: "down" }[target.state] ?? "unknown"), target.refusal && ` ${target.refusal}`),
          el("td", {}, ms(target.last_rtt_ms)), el("td", {}, ms(target.jitter_ms)), el("td", {}, percent(target.loss)))))));
}

/** What it should carry above what it does carry. */
function shares(line, measured) {
  const wanted = line.in_service && !line.idle ? line.share : 0;
  const text = `By weight ${percent(wanted)} of new connections; ${measured == null ? "too few connections to measure" : `measured ${percent(measured)} of those there are`}`;
  const bar = (y, part, name) => svg("rect", { x: 0, y, height: 6, width: `${(part * 100).toFixed(1)}%`, class: name, rx: 2 });
  return el("div", {},
    svg("svg", { class: "bars", role: "img", "aria-label": text, width: "100%", height: 16 },
      svg("rect", { width: "100%", height: 16, class: "ground", rx: 2 }),
      bar(1, wanted, "wanted"), bar(9, measured ?? 0, "measured")),
    el("p", { class: "quiet small", "aria-hidden": "true" }, `weight ${percent(wanted)} · ${measured == null ? "too few to measure" : `measured ${percent(measured)}`}`));
}

export function groups(status) {
  const sums = connectionSums(status);
  const measured = (group, uplink) => {
    const line = status.uplinks.find((l) => l.name === uplink && l.family === group.family);
    return line?.connections != null && sums[group.family] >= FEW ? line.connections / sums[group.family] : null;
  };
  const rows = status.groups.map((group) => {
    const isDefault = group.code === 0;
    return el("tr", { "data-key": `${group.name} ${group.family}` },
      el("th", { scope: "row" }, group.name), el("td", {}, family(group.family)),
      el("td", {}, group.serving.length ? group.serving.map((s) =>
        el("div", {}, `${s.uplink} ${percent(s.share)}`,
          isDefault && measured(group, s.uplink) != null && el("span", { class: "quiet" }, ` (measured ${percent(measured(group, s.uplink))})`))) : "nobody"),
      el("td", {}, group.tier ? `${group.tier} of ${group.tiers.length}` : "–"),
      el("td", {}, group.reason,
        group.waiting && el("div", {}, group.waiting.until ? `returns to tier ${group.waiting.tier} at ${at(group.waiting.until)} ` : `tier ${group.waiting.tier} could serve again `,
          group.group && el("button", { type: "button", "data-order": "failback", "data-group": group.group }, "Return now"))));
  });
  return table("Groups and who serves them", ["Group", "Family", "Serving", "Tier", "Why"], rows);
}
