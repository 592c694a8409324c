// How uplinks were, as curves: no more points than there are pixels, and drawn again only where some are new.

import { Refused, get } from "./api.js";
import { $, el, show, svg } from "./dom.js";
import { at, bits, ms, percent, span } from "./words.js";

const RANGES = [["10 minutes", 600], ["1 hour", 3600], ["6 hours", 21600], ["1 day", 86400], ["1 week", 604800], ["1 month", 2592000], ["1 year", 31536000]];
/** Lengths of a slot in seconds, of which the first is taken that is long enough. */
const STEPS = [10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400];
/** Pixels of a slot. */
const SLOT_WIDTH = 2;
const HEIGHT = 170;
/** Each uplink has a colour of the style sheet, and a dash as well. */
const COLOURS = 6;
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];

/** How times are written below curves with marks so many seconds apart, and what stands below where a year or a
 * day begins. */
const CLOCK = [
  [86400 * 28, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [86400, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
];

let range = RANGES[1][1];
let uplinks = [];
let step = 0;
/** Tallies of a slot, by uplink and time. */
let slots = new Map();
let timer = 0;
let isAsking = false;
const plots = {};

const CHARTS = {
  rtt: { unit: ms, least: 0.1, value: (slot) => (slot.answered ? slot.rtt / slot.answered : null) },
  loss: { unit: percent, least: 0.05, most: 1, value: (slot) => (slot.sent ? slot.lost / slot.sent : null) },
  rate: { unit: bits, least: 1000, value: (slot) => (slot.rx == null ? null : (slot.rx * 8) / step), below: (slot) => (slot.tx == null ? null : (-slot.tx * 8) / step) },
};

export function startCharts(seconds) {
  range = seconds ?? range;
  show($("range"), RANGES.map(([word, seconds]) => el("option", { value: seconds }, word)));
  $("range").value = range;
  $("range").addEventListener("change", () => {
    range = Number($("range").value);
    again();
  });
  let width = 0;
  new ResizeObserver(([{ contentRect }]) => {
    if (Math.round(contentRect.width) === width || !contentRect.width) return;
    width = Math.round(contentRect.width);
    for (const plot of Object.values(plots)) plot.setSize({ width, height: HEIGHT });
  }).observe($("chart-rtt"));
  // Colours are part of what was drawn.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(true));
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : uplinks.length && load()));
}

/** Takes the uplinks that there are. */
export function updateCharts(status) {
  const names = [...new Set(status.uplinks.map((line) => line.name))];
  if (names.join("\n") === uplinks.join("\n")) return;
  uplinks = names;
  show($("legend"), names.map((name, index) => el("li", { "data-key": name },
    svg("svg", { width: 28, height: 8, "aria-hidden": "true" },
      svg("line", { x1: 0, x2: 28, y1: 4, y2: 4, class: `stroke-${index % COLOURS}`, "stroke-width": 2, "stroke-dasharray": dash(index).join(" ") })),
    name)));
  again();
}

const dash = (index) => DASHES[index % DASHES.length];

/** Forgets all and asks again. */
function again() {
  slots = new Map();
  load(true);
}

async function load(isOther = false) {
  clearTimeout(timer);
  if (isAsking) {
    timer = setTimeout(load, 300, isOther);
    return;
  }
  isAsking = true;
  const width = Math.max(280, $("chart-rtt").clientWidth);
  step = STEPS.find((length) => length >= (range * SLOT_WIDTH) / width) ?? STEPS.at(-1);
  const until = Math.floor(Date.now() / 1000) + 1;
  const newest = Math.max(0, ...[...slots.values()].map((of) => Math.max(0, ...of.keys())));
  // What was counted last may have become more.
  const since = Math.max(until - range, newest - step);
  try {
    const { series, trouble } = await get("v1/history", { since, until, step });
    take(series, since);
    forget(until - range);
    show($("charts-note"), trouble ?? "");
    draw(isOther);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status !== 401) show($("charts-note"), error.message);
  }
  isAsking = false;
  if (!document.hidden) timer = setTimeout(load, Math.max(step, 10) * 1000);
}

/** Targets beyond the gateway say more of a provider; where there are none the gateway has to do. */
function take(series, since) {
  const beyond = new Set(series.filter((one) => one.target && one.target !== "gateway").map((one) => one.uplink));
  for (const of of slots.values()) for (const time of of.keys()) if (time >= since) of.delete(time);
  for (const { uplink, target, family, points } of series) {
    if (!slots.has(uplink)) slots.set(uplink, new Map());
    const of = slots.get(uplink);
    const isWanted = target ? target !== "gateway" || !beyond.has(uplink) : family == null;
    if (!isWanted) continue;
    for (const point of points) {
      if (point.time < since) continue;
      const slot = of.get(point.time) ?? { sent: 0, lost: 0, rtt: 0, answered: 0, rx: null, tx: null };
      if (target) {
        const answered = point.sent - point.lost;
        slot.sent += point.sent;
        slot.lost += point.lost;
        if (point.rtt_mean_ms != null) {
          slot.rtt += point.rtt_mean_ms * answered;
          slot.answered += answered;
        }
      } else {
        slot.rx = point.rx_bytes ?? null;
        slot.tx = point.tx_bytes ?? null;
      }
      of.set(point.time, slot);
    }
  }
}

function forget(before) {
  for (const of of slots.values()) for (const time of of.keys()) if (time < before) of.delete(time);
}

/** Every slot of the time, also those in which nobody counted: there the curve has a gap. */
function times() {
  const until = Date.now() / 1000;
  const first = Math.ceil((until - range) / step) * step;
  const all = [];
  for (let time = first; time <= until; time += step) all.push(time);
  return all;
}

function draw(isOther = false) {
  const x = times();
  for (const [name, chart] of Object.entries(CHARTS)) {
    const data = [x];
    for (const uplink of uplinks) {
      const of = slots.get(uplink) ?? new Map();
      for (const value of [chart.value, chart.below]) {
        if (value) data.push(x.map((time) => (of.has(time) ? value(of.get(time)) : null)));
      }
    }
    const box = $(`chart-${name}`);
    if (isOther || !plots[name] || plots[name].series.length !== data.length) {
      plots[name]?.destroy();
      plots[name] = new uPlot(options(chart, box), data, box);
    } else {
      plots[name].setData(data);
    }
    describe(box, name, chart, data);
  }
}

function options(chart, box) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
  const series = [{}];
  uplinks.forEach((name, index) => {
    const one = { label: name, stroke: colour(`--curve-${index % COLOURS}`), width: 1.5, dash: dash(index), points: { size: 4 }, spanGaps: false };
    series.push(one);
    if (chart.below) series.push({ ...one });
  });
  return {
    width: box.clientWidth || 300, height: HEIGHT, legend: { show: false },
    cursor: { y: false, drag: { setScale: false }, sync: { key: "uplinkd" }, points: { size: 6 } },
    scales: { x: { time: true }, y: { range: (_, low, high) => bounds(chart, low, high) } },
    axes: [
      { ...axis, values: CLOCK },
      { ...axis, size: 74, space: 24, values: (_, ticks) => ticks.map((tick) => chart.unit(Math.abs(tick))) },
    ],
    series,
    hooks: { setCursor: [(plot) => tell(plot, chart)] },
  };
}

function bounds({ least, most = Infinity, below }, low, high) {
  const top = Math.min(most, Math.max(least, (high ?? 0) * 1.1));
  return [below ? Math.min(-least, (low ?? 0) * 1.1) : 0, top];
}

/** Says what is under the pointer, to those who have one: the curves' labels are for all. */
function tell(plot, chart) {
  const { idx } = plot.cursor;
  if (idx == null || !plot.root.matches(":hover")) return;
  const width = chart.below ? 2 : 1;
  const words = uplinks.map((name, index) => {
    const values = plot.data.slice(1 + index * width, 1 + (index + 1) * width).map((column) => column[idx]);
    return `${name} ${values.map((value) => (value == null ? "–" : chart.unit(Math.abs(value)))).join(" in, ")}${chart.below ? " out" : ""}`;
  });
  show($("charts-under"), `${at(plot.data[0][idx])}: ${words.join(" · ")}`);
}

/** The curves in words, for those who do not see them. */
function describe(box, name, chart, data) {
  const width = chart.below ? 2 : 1;
  const words = uplinks.map((uplink, index) => {
    const known = data[1 + index * width].filter((value) => value != null);
    if (!known.length) return `${uplink}: nothing known`;
    const mean = known.reduce((a, b) => a + b) / known.length;
    return `${uplink}: mean ${chart.unit(mean)}, at most ${chart.unit(Math.max(...known))}`;
  });
  const title = box.parentElement.querySelector("figcaption").textContent;
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", `${title}, last ${span(range)}. ${words.join("; ")}`);
}
