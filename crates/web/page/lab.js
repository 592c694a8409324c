// The switches of `uplink-lab demo`, which answers `lab/` itself, in front of the daemon.

import { get, post } from "./api.js";
import { $, el, show } from "./dom.js";
import { say } from "./orders.js";

const WAYS = [["carrier", "Cut", "the cable"], ["silent", "Silence", "the far end"], ["slow:20", "Slow down", "to 20 kbit/s"], ["loss:30", "Spoil", "30 % is lost"]];
let isThere = false;

export function startLab() {
  isThere = true;
  $("lab").hidden = false;
  document.addEventListener("click", async (event) => {
    const { isp, fault } = event.target.closest("[data-isp]")?.dataset ?? {};
    if (!isp) return;
    try {
      const path = `lab/${isp}/`;
      await post(path + (fault ? `break/${fault}` : "heal"));
      say(fault ? `${isp} is broken now: ${fault}` : `${isp} is healed`);
    } catch (error) {
      say(error.message);
    }
    updateLab();
  });
}

export async function updateLab() {
  if (!isThere) return;
  let lines = [];
  try {
    ({ lines } = await get("lab/"));
  } catch {
    return;
  }
  show($("lab-lines"), lines.map(({ isp, faults }) => el("p", { class: "row", "data-key": isp },
    el("strong", {}, isp),
    WAYS.map(([fault, verb, what]) => el("button", {
      type: "button", "data-isp": isp, "data-fault": fault, "data-key": fault, title: what,
      disabled: faults.includes(fault), "aria-label": `${verb} ${isp}: ${what}`,
    }, verb)),
    el("button", { type: "button", "data-isp": isp, "data-key": "heal", disabled: !faults.length, "aria-label": `Heal ${isp}` }, "Heal"),
    el("span", { class: "quiet" }, faults.length ? `broken: ${faults.join(", ")}` : "whole"))));
}
