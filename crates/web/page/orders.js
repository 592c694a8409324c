// What changes something: asked for by buttons, told to the daemon, and what came of it.

import { named, post } from "./api.js";
import { $, el, show } from "./dom.js";
import { family, ms, span } from "./words.js";

const SPANS = [["15 minutes", 900], ["1 hour", 3600], ["2 hours", 7200], ["8 hours", 28800], ["1 day", 86400]];
const FOREVER = ["as long as nobody undoes it", ""];
const TRIALS = [["30 seconds", 30], ["1 minute", 60], ["5 minutes", 300], ["15 minutes", 900], ["good: no way back", ""]];

/** Orders that are asked about first: what they are called, what they do, for how long. */
const ASKED = {
  drain: {
    title: (name) => `Drain ${name}`, verb: "Drain", spans: [FOREVER, ...SPANS],
    text: "It takes no new connections. Those that it carries go on until they end.",
    path: (name) => named("uplinks", name, "drain"), parameter: "for",
  },
  prefer: {
    title: (name) => `Prefer ${name}`, verb: "Prefer", spans: SPANS,
    text: "All new connections use it, wherever it may serve, while it is up.",
    path: (name) => named("uplinks", name, "prefer"), parameter: "for",
  },
  reload: {
    title: () => "Reload the file", verb: "Reload", spans: TRIALS, preset: 1,
    text: "The file is read again and is in force at once. Unless you confirm it in time, what was before comes back.",
    path: () => "v1/reload", parameter: "confirm",
  },
};

const DIRECT = {
  undrain: ({ uplink }) => named("uplinks", uplink, "undrain"),
  unprefer: () => "v1/unprefer",
  probe: ({ uplink }) => named("uplinks", uplink, "probe"),
  failback: ({ group }) => named("groups", group, "failback"),
  confirm: () => "v1/confirm",
  rollback: () => "v1/rollback",
};

let refresh = () => {};
let pending = null;

/** Says what came of something, also to those who do not see it. */
export function say(...content) {
  $("said").className = "";
  show($("said"), ...content);
}

function sayNo(error) {
  $("said").className = "error";
  show($("said"), error.message, error.hint && ` – ${error.hint}`, error.report && el("pre", {}, error.report));
}

export function startOrders(refreshed) {
  refresh = refreshed;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-order]");
    if (!button) return;
    const { order } = button.dataset;
    if (ASKED[order]) ask(order, button.dataset.uplink);
    else carryOut(DIRECT[order](button.dataset), {});
  });
  $("ask-cancel").addEventListener("click", () => $("ask").close());
  $("ask-form").addEventListener("submit", () => {
    const { path, parameter } = ASKED[pending.order];
    const why = $("ask-why").value.trim();
    carryOut(path(pending.name), { [parameter]: $("ask-span").value, why });
  });
}

function ask(order, name) {
  const { title, verb, spans, text, preset } = ASKED[order];
  pending = { order, name };
  show($("ask-title"), title(name));
  show($("ask-text"), text);
  show($("ask-do"), verb);
  show($("ask-span-label").firstElementChild, spans.map(([word, seconds]) => el("option", { value: seconds }, word)));
  $("ask-span").selectedIndex = preset ?? 0;
  $("ask-why").value = "";
  $("ask").showModal();
}

async function carryOut(path, parameters) {
  try {
    const done = await post(path, parameters);
    say(...(done.families ? probed(done) : [done.text]));
  } catch (error) {
    sayNo(error);
  }
  $("said").scrollIntoView({ block: "nearest" });
  refresh();
}

function probed(done) {
  return [
    `${done.uplink} ${done.up ? "answers" : "does not answer as it should"}.`,
    el("ul", {}, done.families.flatMap((of) => of.targets.map((target) =>
      el("li", {}, `${family(of.family)}, ${target.target}: ${target.problem ?? ms(target.rtt_ms)}`)))),
  ];
}

/** What somebody has to look at. */
export function trouble(status) {
  const { trial, time } = status;
  return [
    trial && el("div", { class: "notice", "data-key": "trial" },
      el("p", {}, el("strong", {}, "The file is in force on trial"), ` (${trial.who}${trial.why ? `: ${trial.why}` : ""}). `,
        `What was before comes back in ${span(Math.max(0, trial.until - time))}, unless somebody confirms it.`),
      el("p", { class: "row" },
        el("button", { type: "button", "data-order": "confirm" }, "Confirm"),
        el("button", { type: "button", "data-order": "rollback" }, "Roll back"))),
    status.rolled_back && el("p", { class: "notice", "data-key": "back" }, `The file is not what is in force: ${status.rolled_back}`),
    !status.settled && status.last_problem && el("p", { class: "notice", "data-key": "problem" }, `The kernel is not as it should be: ${status.last_problem}`),
  ];
}
