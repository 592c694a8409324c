// The page's start, what it knows, and when it asks. Everything that it shows is made from `state` alone.

import { Refused, forgetSession, get, logIn, logOut, mayHaveSession } from "./api.js";
import { startCharts, updateCharts } from "./charts.js";
import { $, el, show } from "./dom.js";
import { startLab, updateLab } from "./lab.js";
import { startOrders, trouble } from "./orders.js";
import { policyTable, startExplain, uplinkChoice } from "./policies.js";
import { EVENTS_MAX, timeline } from "./timeline.js";
import { cards, groups } from "./uplinks.js";
import { span } from "./words.js";

/** Figures that no event tells of, such as round-trip times, are asked again so often, in milliseconds. */
const STATUS_EVERY = 5000;
const POLICIES_EVERY = 10000;
const MANY_POLICIES_EVERY = 60000;
const MANY_POLICIES = 300;
/** What happens together is asked for together. */
const GATHER = 120;
/** A stream that has ended is begun again so much later, each time longer. */
const RETRY_MIN = 1000;
const RETRY_MAX = 30000;

const state = { status: null, before: null, events: [], past: null, policies: [] };
let stream = null;
let isOpen = false;
let retry = RETRY_MIN;
const timers = {};

function later(name, delay, work) {
  clearTimeout(timers[name]);
  timers[name] = setTimeout(work, delay);
}

async function refresh() {
  later("status", STATUS_EVERY, refresh);
  try {
    const status = await get("v1/status");
    if (state.status && state.status.version !== status.version) location.reload();
    // What happened in between says little of rates.
    if (!state.before || status.time - state.before.time > 2) {
      state.before = state.status;
    }
    state.status = status;
    draw();
    updateLab();
  } catch (error) {
    failed(error);
  }
}

async function refreshPolicies() {
  later("policies", state.policies.length > MANY_POLICIES ? MANY_POLICIES_EVERY : POLICIES_EVERY, refreshPolicies);
  try {
    state.policies = (await get("v1/policies")).policies;
    drawPolicies();
  } catch (error) {
    failed(error);
  }
}

async function refreshEvents() {
  const { events } = await get("v1/events");
  state.events = events;
}

/** Of what was before the daemon's start only switches are remembered, and those of this month. */
async function readPast() {
  if (state.past) return;
  const first = state.events[0]?.time ?? Infinity;
  try {
    const { switches } = await get("v1/report");
    state.past = switches.filter((event) => event.time < first);
  } catch (error) {
    // Without history there is no past.
    if (!(error instanceof Refused)) throw error;
    state.past = [];
  }
  drawTimeline();
}

function draw() {
  const { status } = state;
  const words = { up: "Everything is up", degraded: "There is internet, but not as it should be", down: "No internet", starting: "Starting" };
  const sign = { up: "✓", degraded: "!", down: "✕", starting: "?" }[status.state] ?? "?";
  const badge = status.state === "starting" ? "unknown" : status.state;
  show($("state"),
    el("span", { class: `badge ${badge}` }, el("span", { "aria-hidden": "true" }, sign), ` ${words[status.state] ?? status.state}`),
    ` ${status.summary}`);
  document.title = `${sign} uplinkd`;
  show($("trouble"), trouble(status));
  show($("cards"), cards(status, state.before));
  show($("groups"), groups(status));
  show($("file-state"), `uplinkd ${status.version}, running for ${span(status.time - status.started)}`);
  drawTimeline();
  uplinkChoice(status);
  updateCharts(status);
}

function drawTimeline() {
  const now = state.status?.time ?? Date.now() / 1000;
  show($("timeline"), timeline([...(state.past ?? []), ...state.events], now, $("all-events").checked));
}

function drawPolicies() {
  show($("policies"), policyTable(state.policies));
}

function setLive(text) {
  show($("live"), text);
}

function openStream() {
  stream?.close();
  const last = state.events.at(-1)?.id;
  stream = new EventSource(last ? `v1/events/stream?since=${last}` : "v1/events/stream");
  stream.onopen = () => {
    retry = RETRY_MIN;
    setLive("live");
  };
  stream.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (state.events.some((known) => known.id === event.id)) return;
    state.events = [...state.events, event].slice(-EVENTS_MAX);
    later("gather", GATHER, refresh);
    if (["reloaded", "rolled-back", "confirmed"].includes(event.kind)) later("policies", GATHER, refreshPolicies);
  };
  stream.addEventListener("resync", () => later("gather", GATHER, begin));
  stream.onerror = () => {
    setLive("reconnecting …");
    // A browser goes on trying by itself unless it was refused.
    if (stream.readyState !== EventSource.CLOSED) return;
    later("stream", retry, begin);
    retry = Math.min(retry * 2, RETRY_MAX);
  };
}

/** Asks everything anew and follows what happens from there on. */
async function begin() {
  if (!isOpen || document.hidden) return;
  try {
    await refreshEvents();
    await refresh();
    openStream();
    await refreshPolicies();
    await readPast();
  } catch (error) {
    failed(error);
  }
}

/** Where nobody looks, nobody asks; a browser also has few connections for all pages together. */
function rest() {
  stream?.close();
  for (const name of Object.keys(timers)) clearTimeout(timers[name]);
}

function failed(error) {
  if (!(error instanceof Refused)) throw error;
  if (error.status === 401) {
    forgetSession();
    askForToken("The session has ended.");
    return;
  }
  setLive(error.message);
  later("stream", retry, begin);
  retry = Math.min(retry * 2, RETRY_MAX);
}

function askForToken(error) {
  isOpen = false;
  rest();
  $("page").hidden = true;
  $("leave").hidden = true;
  $("login").hidden = false;
  show($("state"));
  setLive("");
  show($("login-error"), error);
  $("token").focus();
}

async function open() {
  $("login").hidden = true;
  $("page").hidden = false;
  $("leave").hidden = false;
  isOpen = true;
  await begin();
}

async function enter(token) {
  try {
    await logIn(token);
  } catch (error) {
    askForToken(error.message);
    return;
  }
  $("token").value = "";
  await open();
}

$("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  enter($("token").value.trim());
});
$("leave").addEventListener("click", async () => {
  await logOut();
  askForToken("");
});
$("all-events").addEventListener("change", drawTimeline);
document.addEventListener("visibilitychange", () => (document.hidden ? rest() : begin()));
startOrders(refresh);
startExplain();

// A link may bring a token along, behind the # that no server is told of.
const readLink = () => new URLSearchParams(location.hash.slice(1));
// Where the page is open already a browser loads nothing by itself.
addEventListener("hashchange", () => readLink().has("token") && location.reload());

const link = readLink();
if (link.has("lab")) startLab();
// A laboratory has no longer past.
startCharts(link.has("lab") ? 600 : null);
if (link.has("token")) {
  history.replaceState(null, "", link.has("lab") ? "#lab" : location.pathname);
  // A plus stands for a space there, which no token has.
  enter(link.get("token").replaceAll(" ", "+"));
} else if (mayHaveSession()) {
  open();
} else {
  askForToken("");
}
