// What a person does with the page, and sees. Started by `stage.rs`, with the name of a visit.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { connect } from "node:net";
import { createInterface } from "node:readline";

const need = createRequire(`${process.env.PAGE_MODULES}/`);
const { chromium } = need("playwright-core");
const AXE = need.resolve("axe-core/axe.min.js");
const { PAGE_URL: URL, PAGE_TOKEN: TOKEN, PAGE_READER: READER, PAGE_BROWSER: BROWSER, PAGE_SHOTS: SHOTS } = process.env;
const PATIENCE = Number(process.env.PAGE_PATIENCE_MS);

/** Has something done to the network. */
const hands = process.env.PAGE_HANDS && connect(process.env.PAGE_HANDS);
const answers = hands && createInterface({ input: hands })[Symbol.asyncIterator]();
async function have(order) {
  hands.write(`${order}\n`);
  const { value } = await answers.next();
  assert.equal(value, "ok", `${order}: ${value}`);
}

const browser = await chromium.launch({ executablePath: BROWSER, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });

/** A window of a fresh profile. Whatever the browser complains of fails the visit, and so does any request to
 * another host. */
async function open({ complaints = [], ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.complaints = complaints;
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(new global.URL("/", URL).href)) complaints.push(`asks ${request.url()}`);
  });
  await page.goto(URL);
  return page;
}

async function logIn(page, token = TOKEN) {
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Log in" }).click();
}

async function enter(options) {
  const page = await open(options);
  await logIn(page);
  await card(page, "isp1").waitFor();
  return page;
}

const card = (page, name) => page.getByRole("article", { name: `Uplink ${name}` });
const health = (page, name, family = "IPv4") => card(page, name).getByRole("group", { name: family }).locator(".badge").first();
const said = (page, words) => page.locator("#said", { hasText: words }).waitFor();

async function is(locator, words) {
  await locator.filter({ hasText: words }).waitFor();
}

async function accessible(page, what) {
  // The policy of the page keeps out what it did not bring along; a test may look all the same.
  const found = await page.evaluate(`${await (await import("node:fs/promises")).readFile(AXE, "utf8")}; axe.run()`);
  const words = found.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.target + " " + n.failureSummary).join("; ")}`);
  assert.deepEqual(words, [], what);
  assert.ok(found.passes.length > 15, `${what}: ${found.passes.length} rules looked`);
}

async function shot(page, name, options) {
  if (!SHOTS) return;
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: Boolean(process.env.PAGE_WHOLE), ...options });
}

const fitsWidth = (page) => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);

/** An answer to a question for history. */
function aDay(asked) {
  const [since, until, step] = ["since", "until", "step"].map((name) => Number(asked.get(name)));
  const points = (make) => {
    const all = [];
    for (let time = Math.ceil(since / step) * step; time < until; time += step) all.push({ time, ...make(time) });
    return all;
  };
  const series = [];
  for (const [index, uplink] of ["isp1", "isp2", "isp3", "isp4"].entries()) {
    const wave = (time) => 1 + Math.sin(time / (3000 + 1000 * index)) / 2 + Math.random() / 5;
    series.push({ uplink, family: null, target: null, points: points((time) => ({ rx_bytes: Math.round(4e6 * wave(time) * step), tx_bytes: Math.round(1e6 * wave(time) * step) })) });
    for (const family of ["ipv4", "ipv6"]) {
      for (const target of ["gateway", "icmp:198.18.0.1", "icmp:198.18.0.2"]) {
        series.push({ uplink, family, target, points: points((time) => ({ sent: step, lost: Math.random() < 0.02 ? 1 : 0, rtt_mean_ms: (8 + 6 * index) * wave(time) })) });
      }
    }
  }
  return { since, until, step, series, trouble: null };
}

const visits = {
  async token() {
    const page = await open();
    assert.equal(await page.locator("main:visible").count(), 1);
    await accessible(page, "the login");
    assert.deepEqual(page.complaints, [], "before anybody has logged in");
    await logIn(page, "not-a-token-of-this-daemon-at-all");
    await is(page.getByRole("alert"), "no token of this daemon");
    page.complaints.length = 0; // A refusal is an error to the browser.
    await logIn(page);
    await card(page, "isp2").waitFor();
    // The session is the browser's: loaded again, nobody is asked again.
    await page.reload();
    await card(page, "isp2").waitFor();
    assert.deepEqual(page.complaints, []);
    assert.equal(await page.evaluate(() => document.cookie), "", "the page cannot read the session");
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByLabel("Token").waitFor();
    await page.reload();
    await page.getByLabel("Token").waitFor();
    assert.deepEqual(page.complaints, []);
    // A link with a token, as the demonstration prints one; it does not stay where people see it.
    await page.goto("about:blank");
    await page.goto(`${URL}#token=${TOKEN}`);
    await card(page, "isp2").waitFor();
    assert.equal(page.url(), URL);
    // The same where the page is open already.
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByLabel("Token").waitFor();
    await page.evaluate((token) => { location.hash = `token=${token}`; }, TOKEN);
    await card(page, "isp2").waitFor();
    assert.deepEqual(page.complaints, []);
    // Other tokens end all sessions, and whoever looks is told at once.
    await is(page.locator("#live"), "live");
    await have("tokens");
    await is(page.getByRole("alert"), "session has ended");
    await logIn(page);
    await is(page.locator("#live"), "live");
  },

  async failover() {
    const page = await open();
    // What happened before the daemon's start.
    const past = { id: 1, time: Date.now() / 1000 - 90_000, level: "info", kind: "selection", text: "", detail: {
      group: "default", family: "ipv4", before: [{ uplink: "isp8", weight: 1 }, { uplink: "isp9", weight: 1 }], after: [{ uplink: "isp8", weight: 1 }], reason: "isp9 was eaten" } };
    await page.route(/\/v1\/report/, (route) => route.fulfill({ json: { switches: [past] } }));
    await logIn(page);
    await is(page.locator("#timeline > li").last(), "isp9 out: isp8 alone in default (IPv4)");
    await page.locator("#timeline summary").last().click();
    await is(page.locator("#timeline > li").last(), "isp9 was eaten");
    await page.locator("#timeline summary").last().click();
    await is(health(page, "isp1"), "up");
    await is(page.locator("#state"), "Everything is up");
    await is(page.locator("#live"), "live");
    let asked = 0;
    page.on("request", () => { asked += 1; });
    const before = asked;
    await have("break 1 carrier");
    const cut = Date.now();
    await is(health(page, "isp1"), "down");
    console.log(`page: a cut line is seen after ${Date.now() - cut} ms`);
    await is(card(page, "isp1"), "no carrier");
    await is(page.locator("#state"), "not as it should be");
    assert.ok(asked - before < 12, `${asked - before} requests for one switch`);
    const entry = page.locator("#timeline details").first();
    await is(entry, "isp1 out");
    assert.ok(!(await entry.evaluate((node) => node.open)));
    await entry.locator("summary").focus();
    await page.keyboard.press("Enter");
    await is(entry, "no carrier");
    await is(entry, "It has lasted for");
    await is(entry, /[1-9]\d* connections? had to go by others/);
    await is(page.locator("#groups"), "isp2 100 %");
    await shot(page, "failover");
    await have("heal");
    await is(health(page, "isp1"), "up");
    await is(page.locator("#timeline details").first(), "isp1 in");
    // What somebody opened stays open, whatever comes above it.
    assert.equal(await page.locator("#timeline details[open]").count(), 1);
    assert.deepEqual(page.complaints, []);
  },

  async explain() {
    const page = await enter();
    const form = page.locator("#explain");
    await is(page.locator("#policies"), "voip");
    await page.locator("#policies td.number", { hasText: /[1-9]/ }).waitFor();
    await form.getByRole("textbox", { name: "From" }).fill("10.0.0.2");
    await form.getByRole("textbox", { name: "To" }).fill("198.18.0.9");
    await form.getByRole("combobox", { name: "Protocol" }).selectOption("udp");
    await form.getByRole("textbox", { name: "Port" }).fill("5060");
    await form.getByRole("textbox", { name: "Port" }).press("Enter");
    const answer = page.locator("#explained");
    await is(answer, "voip");
    await is(answer, "isp2: 100 %");
    await form.getByRole("combobox", { name: "If down" }).selectOption("isp2");
    await form.getByRole("button").click();
    await is(answer, "isp1: 100 %");
    await answer.getByText("Step by step").click();
    await is(answer.locator("details li").first(), "policy voip");
    await form.getByRole("textbox", { name: "To" }).fill("nowhere");
    await form.getByRole("button").click();
    await is(answer, "invalid IP address");
    const complaints = page.complaints.filter((text) => !text.includes("400"));
    assert.deepEqual(complaints, []);
  },

  async orders() {
    const page = await enter();
    const hostile = `<img src=x onerror="document.title='taken'"><script>document.title='taken'</script>`;
    await card(page, "isp2").getByRole("button", { name: "Drain: isp2" }).focus();
    await page.keyboard.press("Enter");
    const dialog = page.getByRole("dialog");
    await is(dialog, "Drain isp2");
    await dialog.getByLabel("For").selectOption("1 hour");
    await dialog.getByLabel("Why").fill(hostile);
    await page.keyboard.press("Enter");
    await said(page, "isp2");
    await is(card(page, "isp2").locator(".wish"), `Drained by whoever`.slice(0, 7));
    await is(card(page, "isp2").locator(".wish"), hostile);
    await page.getByLabel("also what moved nothing").check();
    await is(page.locator("#timeline"), hostile);
    assert.equal(await page.locator("img, main script").count(), 0);
    assert.ok(!(await page.title()).includes("taken"));
    await card(page, "isp2").getByRole("button", { name: "Undrain: isp2" }).click();
    await card(page, "isp2").getByRole("button", { name: "Drain: isp2" }).waitFor();
    await card(page, "isp2").getByRole("button", { name: "Prefer: isp2" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Prefer" }).click();
    await is(card(page, "isp2"), "Preferred by");
    await card(page, "isp2").getByRole("button", { name: "Unprefer: isp2" }).click();
    await card(page, "isp2").getByRole("button", { name: "Prefer: isp2" }).waitFor();
    await card(page, "isp1").getByRole("button", { name: "Probe: isp1" }).click();
    await said(page, "isp1 answers");
    // Who thinks better of it has done nothing.
    await card(page, "isp1").getByRole("button", { name: "Drain: isp1" }).click();
    await page.keyboard.press("Escape");
    await card(page, "isp1").getByRole("button", { name: "Drain: isp1" }).click();
    await page.getByRole("button", { name: "Leave it" }).click();
    assert.equal(await card(page, "isp1").locator(".wish").count(), 0);
    assert.deepEqual(page.complaints, []);
  },

  async trial() {
    const page = await enter();
    const reload = async (trial) => {
      await page.getByRole("button", { name: "Reload …" }).click();
      await page.getByRole("dialog").getByLabel("For").selectOption(trial);
      await page.getByRole("dialog").getByRole("button", { name: "Reload" }).click();
    };
    await have("weight 1");
    await reload("5 minutes");
    await is(page.locator("#trouble"), "on trial");
    await is(page.locator("#groups"), "isp1 33 %");
    await page.getByRole("button", { name: "Confirm" }).click();
    await page.locator("#trouble", { hasNotText: "on trial" }).waitFor({ state: "attached" });
    await is(page.locator("#groups"), "isp1 33 %");
    await have("weight 8");
    await reload("1 minute");
    await is(page.locator("#groups"), "isp1 80 %");
    await page.getByRole("button", { name: "Roll back" }).click();
    await is(page.locator("#groups"), "isp1 33 %");
    await is(page.locator("#trouble"), "not what is in force");
    assert.deepEqual(page.complaints, []);
    await have("mistake");
    await reload("1 minute");
    await is(page.locator("#said pre"), "weihgt");
  },

  async reader() {
    const page = await open();
    await logIn(page, READER);
    await card(page, "isp1").getByRole("button", { name: "Probe: isp1" }).click();
    await said(page, "may change something");
  },

  async everybody() {
    for (const colorScheme of ["light", "dark"]) {
      const page = await enter({ colorScheme });
      await page.locator("#chart-rtt canvas").waitFor();
      await page.locator("details").first().locator("summary").click();
      await accessible(page, colorScheme);
      await page.getByRole("button", { name: "Reload …" }).click();
      await accessible(page, `${colorScheme}, asked`);
      await page.keyboard.press("Escape");
      const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      const [red] = ground.match(/\d+/g).map(Number);
      assert.equal(red < 60, colorScheme === "dark", ground);
      await shot(page, colorScheme);
      assert.deepEqual(page.complaints, []);
      await page.context().close();
    }
    const page = await enter({ viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true });
    await page.locator("#chart-rtt canvas").waitFor();
    await page.locator("#timeline li").first().waitFor();
    assert.ok(await fitsWidth(page), "a phone scrolls up and down, and not to the side");
    for (const summary of await page.locator("summary").all()) await summary.click();
    assert.ok(await fitsWidth(page), "nor with all that there is open");
    await accessible(page, "phone");
    await shot(page, "phone");
    assert.deepEqual(page.complaints, []);
    // By keyboard alone, from the top.
    await page.reload();
    await card(page, "isp1").waitFor();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    assert.ok(await page.evaluate(() => document.activeElement.closest("#uplinks") !== null));
  },

  async demo() {
    const page = await open();
    await card(page, "isp2").waitFor();
    assert.ok(!page.url().includes("token"), page.url());
    const lab = page.getByRole("region", { name: "Laboratory" });
    await is(health(page, "isp2"), "up");
    await accessible(page, "the laboratory");
    await lab.getByRole("button", { name: "Silence isp2" }).click();
    await is(lab, "broken: silent");
    await is(health(page, "isp2"), "down");
    await is(page.locator("#timeline details").first(), "isp2 out");
    await lab.getByRole("button", { name: "Spoil isp2" }).click();
    await is(lab, "broken: silent, loss:30");
    await lab.getByRole("button", { name: "Heal isp2" }).click();
    await is(health(page, "isp2"), "up");
    await shot(page, "demo");
    assert.deepEqual(page.complaints, []);
    // Elsewhere there is nothing of the kind, and nobody asks for it.
    await page.goto("about:blank");
    await page.goto(new global.URL("/", URL).href);
    await card(page, "isp2").waitFor();
    assert.ok(!(await lab.isVisible()));
    assert.deepEqual(page.complaints, []);
  },

  async weight() {
    const page = await open();
    const responses = [];
    const sizes = [];
    page.on("response", (response) => {
      if (response.url().includes("/v1/")) return;
      responses.push(response);
      sizes.push(response.request().sizes().then((s) => s.responseBodySize + s.responseHeadersSize));
    });
    await page.context().clearCookies();
    await page.goto("about:blank");
    await page.goto(URL);
    await page.getByLabel("Token").waitFor();
    const policy = responses[0].headers()["content-security-policy"];
    for (const part of ["default-src 'none'", "script-src 'self';", "style-src 'self';", "frame-ancestors 'none'"]) {
      assert.ok(policy.includes(part), policy);
    }
    const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
    const fresh = await open();
    const paints = [];
    for (let round = 0; round < 5; round += 1) {
      await fresh.reload();
      await fresh.getByLabel("Token").waitFor();
      paints.push(await fresh.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime));
    }
    paints.sort((a, b) => a - b);
    const transferred = await (await open()).evaluate(() =>
      [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
        .filter((e) => !e.name.includes("/v1/")).map((e) => [e.name.split("/").at(-1) || "index.html", e.encodedBodySize]));
    const all = transferred.reduce((sum, [, size]) => sum + size, 0);
    console.log(`page: ${transferred.length} files, ${all} bytes compressed; first paint after ${Math.round(paint)} ms, again ${Math.round(paints[2])} ms (${paints.map(Math.round)})`);
    assert.ok(transferred.length > 10);
    assert.ok(all < 150_000, `${all} bytes`);
    // What is kept is not asked for again, but for the page itself, which is still the same.
    const again = [];
    page.on("response", (response) => again.push([response.status(), response.fromServiceWorker(), response.url()]));
    const header = await page.evaluate(async () => {
      const first = await fetch("./");
      const tag = first.headers.get("etag");
      const same = await fetch("./", { headers: { "if-none-match": tag }, cache: "no-store" });
      return [same.status, first.headers.get("cache-control")];
    });
    assert.deepEqual(header, [304, "no-cache"]);
    page.complaints.length = 0;
    await logIn(page);
    await card(page, "isp4").waitFor();
    // A day of four uplinks, as a daemon that has run for so long would tell it.
    await page.route(/\/v1\/history\?/, (route) => {
      const body = JSON.stringify(aDay(new global.URL(route.request().url()).searchParams));
      return route.fulfill({ contentType: "application/json", body });
    });
    const told = page.waitForResponse(/history/);
    await page.getByRole("combobox", { name: "Time" }).selectOption("1 day");
    await told;
    await page.getByRole("img", { name: /last 1 d\. isp1: mean/ }).first().waitFor();
    await shot(page, "day");
    // Moves the pointer over the curves, while lines fail and come back, and counts what the browser shows.
    const box = await page.locator("#chart-rtt").boundingBox();
    await page.locator("#chart-rtt").scrollIntoViewIfNeeded();
    const frames = page.evaluate(() => new Promise((done) => {
      const times = [];
      const count = (now) => {
        times.push(now);
        if (now - times[0] < 3000) requestAnimationFrame(count);
        else done(times);
      };
      requestAnimationFrame(count);
    }));
    for (let round = 0; round < 3; round += 1) {
      await have(`break ${round + 1} carrier`);
      for (let step = 0; step < 30; step += 1) {
        await page.mouse.move(box.x + 80 + (step * (box.width - 100)) / 30, box.y + 60);
      }
    }
    const times = await frames;
    const gaps = times.slice(1).map((time, index) => time - times[index]).sort((a, b) => a - b);
    const rate = (1000 * gaps.length) / (times.at(-1) - times[0]);
    console.log(`page: ${Math.round(rate)} frames per second, 99 of 100 within ${Math.round(gaps[Math.floor(gaps.length * 0.99)])} ms, with a day of four uplinks of which three fail`);
    await have("heal");
    assert.deepEqual(page.complaints, []);
  },
};

try {
  await visits[process.argv[2]]();
  await browser.close();
  hands?.end();
} catch (error) {
  console.error(error.stack ?? error);
  process.exit(1);
}
