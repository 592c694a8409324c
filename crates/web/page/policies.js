// Policies, and the question where a connection would go.

import { Refused, get } from "./api.js";
import { $, el, show, table } from "./dom.js";
import { count, percent } from "./words.js";

export function policyTable(policies) {
  if (!policies.length) return el("p", { class: "quiet" }, "There are none: everything uses the group default.");
  const rows = policies.map((policy) => el("tr", { "data-key": policy.name },
    el("th", { scope: "row" }, policy.name),
    el("td", {}, policy.clauses.length ? policy.clauses.map((clause) => el("div", {}, clause)) : "everything"),
    el("td", {}, policy.outlet),
    el("td", {}, policy.hidden_by.length ? `never reached: ${policy.hidden_by.join(", ")} take all of it`
      : policy.active ? "in force" : "not at this time"),
    el("td", { class: "number" }, policy.connections?.toLocaleString("en") ?? "–")));
  return table("Policies in the order in which they are asked", ["Policy", "Takes", "Leads to", "Now", "New connections so far"], rows);
}

export function uplinkChoice(status) {
  const names = [...new Set(status.uplinks.map((line) => line.name))];
  show($("explain").elements.if_down, el("option", { value: "" }, "none"), names.map((name) => el("option", {}, name)));
}

export function startExplain() {
  $("explain").addEventListener("submit", async (event) => {
    event.preventDefault();
    const asked = Object.fromEntries([...new FormData(event.target)].map(([name, value]) => [name, value.trim()]));
    try {
      show($("explained"), explained(await get("v1/explain", asked)));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      show($("explained"), el("p", { class: "error" }, error.message, error.hint && ` – ${error.hint}`));
    }
  });
}

function explained(answer) {
  const mark = (matched) => (matched ? "✓ " : "– ");
  const { decision } = answer;
  return [
    el("p", { class: "answer" }, answer.text),
    decision.uplinks.length > 0 && el("ul", {}, decision.uplinks.map((to) =>
      el("li", {}, `${to.uplink}: ${percent(to.share)}`, to.nat_address && ` as ${to.nat_address}`))),
    el("details", {}, el("summary", {}, "Step by step"),
      answer.policies_not_asked && el("p", {}, `Policies are not asked: ${answer.policies_not_asked}`),
      answer.policies_before > 0 && el("p", {}, `${count(answer.policies_before, "policy", "policies")} before these do not take it.`),
      el("ol", {}, answer.policies.map((step) => el("li", {}, `${mark(step.matched)}policy ${step.policy}: ${step.why}`))),
      el("ol", {}, answer.steps.map((step) => el("li", {}, `${mark(step.matched)}${step.rule}: ${step.why}`))),
      answer.kernel_says && el("p", {}, `The kernel says: ${[answer.kernel_says.device, answer.kernel_says.gateway && `via ${answer.kernel_says.gateway}`].filter(Boolean).join(" ") || "nothing"}`)),
  ];
}
