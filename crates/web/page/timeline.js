// What happened: events that belong together are one switch, which opens up to its reason and its effect.

import { el } from "./dom.js";
import { at, count, family, span } from "./words.js";

/** The daemon remembers as many. */
export const EVENTS_MAX = 1000;
/** Switches and other entries that are shown. */
const SHOWN_MAX = 60;
/** What happens within so many seconds of each other belongs together. */
const TOGETHER = 2;

const CAUSES = ["health", "drained", "undrained", "preferred", "unpreferred", "failback-told", "reloaded", "rolled-back", "budget", "last-resort"];
const DONE = ["applied", "released"];

/** Runs of events: what made traffic move, what moved, and that it was done. */
function runsOf(events) {
  const runs = [];
  for (const event of events) {
    const run = runs.at(-1);
    const isNear = run && event.time - run.at(-1).time < TOGETHER && isPart(event) && run.every(isPart);
    // What follows after something was moved and is done has moved something else.
    const isOver = run?.some(isMove) && DONE.includes(run.at(-1).kind) && CAUSES.includes(event.kind)
      && !isOfOtherFamily(run, event);
    if (isNear && !isOver) run.push(event);
    else runs.push([event]);
  }
  return runs;
}

/** Whether the last word about the line says the same, which was about its other family. */
function isOfOtherFamily(run, { kind, detail }) {
  const last = run.findLast((known) => known.kind === "health" && known.detail.uplink === detail.uplink);
  return kind === "health" && last?.detail.to === detail.to;
}

const isMove = ({ kind }) => kind === "selection";
const isPart = (event) => CAUSES.includes(event.kind) || isMove(event) || DONE.includes(event.kind);

export function timeline(events, now, all) {
  const runs = runsOf(events);
  const shown = [];
  for (let index = runs.length - 1; index >= 0 && shown.length < SHOWN_MAX; index -= 1) {
    if (all || runs[index].some(isMove)) shown.push(entry(runs, index, now));
  }
  if (!shown.length) return el("li", { class: "quiet" }, all ? "Nothing yet." : "Nothing has moved traffic yet.");
  return shown;
}

function entry(runs, index, now) {
  const run = runs[index];
  const selections = run.filter(isMove);
  const key = `${run[0].time} ${run[0].id}`;
  if (!selections.length) {
    const node = run.map((event) => el("p", { class: event.level }, time(event), ` ${event.text}`));
    return el("li", { "data-key": key }, node);
  }
  const causes = causesOf(run);
  const isBad = causes.some((event) => event.level === "warn");
  return el("li", { "data-key": key },
    el("details", {},
      el("summary", { class: isBad ? "warn" : "info" }, time(selections[0]), ` ${title(selections)}`),
      el("dl", { class: "why" },
        el("dt", {}, "Reason"),
        causes.length ? causes.map((event) => el("dd", {}, event.text))
          : selections.map((event) => el("dd", {}, event.detail.reason ?? event.text)),
        el("dt", {}, "Effect"),
        selections.map((event) => el("dd", {}, moved(event))),
        effects(runs, index, causes, now).map((text) => el("dd", {}, text)))));
}

/** Of what became of a line only the last word before anything moved counts. */
function causesOf(run) {
  const last = run.findLastIndex(isMove);
  const line = ({ detail }) => `${detail.uplink} ${detail.family}`;
  return run.filter((event, index) => CAUSES.includes(event.kind) && (event.kind !== "health"
    || (index < last && !run.slice(index + 1, last).some((later) => later.kind === "health" && line(later) === line(event)) && isNamed(event, run))));
}

/** Whether a line came or went with what moved. */
function isNamed({ detail: { uplink } }, run) {
  return run.filter(isMove).some(({ detail: { before = [], after = [] } }) => {
    const has = (shares) => shares.some((share) => share.uplink === uplink);
    return has(before) !== has(after);
  });
}

const time = (event) => el("time", { datetime: new Date(event.time * 1000).toISOString() }, at(event.time));
const names = (shares) => shares.map((share) => share.uplink).join(" + ") || "nobody";

function title(selections) {
  const words = selections.map(({ detail }) => change(detail));
  const alike = selections.filter((_, index) => words[index] === words[0]);
  const families = [...new Set(alike.map(({ detail }) => family(detail.family)))].sort().join(" and ");
  const more = selections.length - alike.length;
  return `${words[0]} (${families})${more ? `, and ${count(more, "more change")}` : ""}`;
}

function change({ group, before = [], after = [] }) {
  const lacks = (shares, { uplink }) => !shares.some((share) => share.uplink === uplink);
  const gone = before.filter((share) => lacks(after, share));
  const came = after.filter((share) => lacks(before, share));
  if (gone.length && !came.length) return `${names(gone)} out: ${names(after)} alone in ${group}`;
  if (came.length && !gone.length) return `${names(came)} in: ${names(after)} in ${group}`;
  return `${names(after)} instead of ${names(before)} in ${group}`;
}

function moved({ detail }) {
  const shares = (all) => (all ?? []).map((s) => `${s.uplink} (${s.weight})`).join(" + ") || "nobody";
  return `Group ${detail.group}, ${family(detail.family)}: ${shares(detail.after)} instead of ${shares(detail.before)}`;
}

function effects(runs, index, causes, now) {
  const told = [];
  const run = runs[index];
  const applied = run.findLast((event) => event.kind === "applied");
  if (applied) told.push(`The kernel was as it should be ${span(Math.max(0, applied.time - (causes[0] ?? run[0]).time))} after the reason was known.`);
  const released = run.filter((event) => event.kind === "released").reduce((sum, event) => sum + event.detail.connections, 0);
  if (released) told.push(`${count(released, "connection")} had to go by others.`);
  const first = run.find(isMove);
  const isNext = (event) => isMove(event) && event.detail.group === first.detail.group && event.detail.family === first.detail.family;
  let next = null;
  for (let later = index + 1; later < runs.length && !next; later += 1) next = runs[later].find(isNext);
  told.push(next ? `It lasted ${span(next.time - first.time)}.` : `It has lasted for ${span(Math.max(0, now - first.time))}.`);
  return told;
}
