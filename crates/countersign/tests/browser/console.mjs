// Walks the console with a real browser: every screen looked at by axe in light, dark and on a phone; filters, the live
// tail, why, an act with its record; then the same without JavaScript.
// Called by tests/it/console_browser.rs with one JSON argument:
//   {playwright, axe, chromium, spki, auth, wiki, payroll, links: {carol, alice, bob}, shots}
// Prints one line a step; any failed promise, script error or policy violation ends it with exit code 1.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import assert from "node:assert/strict";

const plan = JSON.parse(process.argv[2]);
const { chromium } = createRequire(plan.playwright)("playwright-core");
const axe = readFileSync(plan.axe, "utf8");
const at = (path) => `${plan.auth.replace(/\/$/, "")}${path}`;
const step = (text) => console.log(`console: ${text}`);
const faults = [];

const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
const WIDE = { width: 1280, height: 800 };
const ZOOMED = { width: 320, height: 800 };

const watch = (page, name) => {
  page.on("pageerror", (error) => faults.push(`${name}: script error on ${page.url()}: ${error.message}`));
  page.on("console", (message) => {
    const text = message.text();
    // Chromium reports every 4xx as an error of its own; those are expected here.
    if (message.type() === "error" && !text.startsWith("Failed to load resource")) {
      faults.push(`${name}: console on ${page.url()}: ${text}`);
    }
  });
};

const person = async (browser, name) => {
  const context = await browser.newContext({ viewport: WIDE });
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      console.error(`content security policy: ${event.violatedDirective} blocked ${event.blockedURI}`);
    });
  });
  const page = await context.newPage();
  watch(page, name);
  const session = await context.newCDPSession(page);
  await session.send("WebAuthn.enable");
  await session.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2",
      ctap2Version: "ctap2_1",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  return { context, page };
};

const enrol = async (page, link, fields = {}) => {
  await page.goto(link);
  for (const [field, value] of Object.entries(fields)) await page.fill(`[data-field=${field}]`, value);
  await page.click("[data-start]");
  await page.waitForURL(at("/enrol/codes"));
  await page.check("#saved");
  await page.click("text=Go on");
  await page.waitForURL(plan.auth);
};

const heading = (page) => page.locator("h1").innerText();

const violations = async (page, how) => {
  // Given by the debugger, not by the page: the page's policy lets no foreign script in.
  await page.evaluate(axe);
  const found = await page.evaluate((tags) => axe.run(document, { runOnly: { type: "tag", values: tags } }), TAGS);
  assert.ok(found.passes.length > 5, `${how}: axe looked at nothing`);
  for (const { id, nodes } of found.violations) {
    for (const node of nodes) faults.push(`axe, ${how}: ${id}: ${node.target} ${node.failureSummary}`);
  }
};

const shoot = async (page, name) => {
  if (plan.shots) await page.screenshot({ path: `${plan.shots}/console-${name}.png` });
};

// Looks at a screen in light, dark and at 320 pixels, where nothing but tables may be wider than the window.
const look = async (page, name) => {
  await shoot(page, name);
  await violations(page, `${name}, light`);
  await page.emulateMedia({ colorScheme: "dark" });
  if (name === "access") await shoot(page, "access-dark");
  await violations(page, `${name}, dark`);
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize(ZOOMED);
  await violations(page, `${name}, phone`);
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (over > 0) faults.push(`${name}: ${over} px too wide at 320 pixels`);
  if (name === "access") await shoot(page, "access-phone");
  const heads = await page.locator("h1").count();
  if (heads !== 1) faults.push(`${name}: ${heads} first headings`);
  await page.setViewportSize(WIDE);
};

const browser = await chromium.launch({
  executablePath: plan.chromium,
  headless: true,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    `--ignore-certificate-errors-spki-list=${plan.spki}`,
  ],
});
try {
  const carol = await person(browser, "carol");
  await enrol(carol.page, plan.links.carol, { name: "Carol", email: "carol@example.org" });
  const alice = await person(browser, "alice");
  await enrol(alice.page, plan.links.alice);
  await alice.page.goto(plan.wiki);
  const bob = await person(browser, "bob");
  await enrol(bob.page, plan.links.bob);
  assert.equal((await bob.page.goto(plan.wiki)).status(), 403);
  const refused = await bob.page.goto(at("/console"));
  assert.equal(refused.status(), 403, "the console is not for everybody");
  step("carol administers, alice works, bob is denied, and sees no console");

  // An act: counted, done, recorded; alice is out. First, while carol's sign-in is fresh.
  const { page } = carol;
  await page.goto(at("/console/sessions"));
  await look(page, "sessions");
  await page.fill("#f-user", "alice@example.org");
  await page.keyboard.press("Enter");
  await page.waitForURL(/user=alice/);
  await page.click("a.danger");
  assert.match(await heading(page), /^End \d+ sessions?\?$/);
  await look(page, "confirm");
  await page.click("button.danger");
  await page.waitForURL(/\/console\/done\//);
  assert.match(await page.locator("main").innerText(), /Recorded as/);
  await look(page, "done");
  await alice.page.goto(plan.wiki);
  assert.match(alice.page.url(), /\/login\?/, "alice's session is over");
  step("alice's sessions were counted, ended and recorded");

  await page.goto(at("/console"));
  await look(page, "overview");
  await page.click("nav >> text=Access");
  await look(page, "access");
  assert.match(await page.locator("tbody time").first().innerText(), /[+−]\d\d:\d\d$/, "times are the reader's, with offset");
  step("the overview and the record");

  // A filter by keyboard alone, kept in the address; back and forward show whole pages.
  await page.focus("#f-effect");
  await page.keyboard.type("DENY");
  await page.focus("#f-what");
  await page.keyboard.type("wiki");
  await page.keyboard.press("Enter");
  await page.waitForURL(/effect=DENY/);
  const denied = await page.locator("tbody tr").count();
  assert.ok(denied >= 1, "bob's denial is found");
  await page.goBack();
  assert.equal(await page.locator("h1").count(), 1);
  await page.goForward();
  assert.equal(await page.locator("tbody tr").count(), denied);
  const download = page.waitForEvent("download");
  await page.click("text=CSV");
  assert.equal((await download).suggestedFilename(), "countersign-records.csv");
  await page.goto(at("/console/access?since=7+days"));
  await look(page, "access-error");
  await page.goBack();
  step("a filter by keyboard, back and forward, an export, a mistake");

  // The live tail shows what happens now.
  await page.goto(at("/console/access?app=wiki&effect=DENY"));
  const before = await page.locator("tbody tr").count();
  await page.click("[data-toggle]");
  await bob.page.goto(`${plan.wiki}?live`);
  await page.waitForFunction((count) => document.querySelectorAll("tbody tr").length > count, before, { timeout: 20000 });
  assert.match(await page.locator("tbody tr").first().innerText(), /DENY/);
  await violations(page, "live");
  await page.click("[data-toggle]");
  step("the live tail showed a denial as it happened");

  // The story of one access, then the question again with another fact.
  await page.locator("tbody th a").first().click();
  await page.waitForURL(/\/console\/access\/[a-z2-7]{26}/);
  await look(page, "story");
  await page.click("text=Ask the same now");
  await page.waitForURL(/\/console\/why\?request=/);
  assert.match(await page.locator(".answer .badge").innerText(), /DENY/);
  await page.fill("#f-who", "alice@example.org");
  await page.click("text=See the answer");
  await page.waitForURL(/ask=yes/);
  assert.match(await page.locator(".answer .badge").innerText(), /ALLOW/, "somebody else would be let in");
  await look(page, "why");
  step("why bob was denied, and that alice would not be");

  await page.goto(at("/console/apps"));
  await look(page, "apps");
  await page.click("tbody th a");
  await look(page, "app");
  assert.match(await page.locator("main").innerText(), /engineering › /, "the path that gives access");
  await page.goto(at("/console/people"));
  await look(page, "people");
  await page.click("tbody th a >> text=Bob");
  await look(page, "person");
  await page.goto(at("/console/people/nobody"));
  await look(page, "not-found");
  step("apps, people, and somebody who is not there");

  // Keyboard: the first stop is the skip link, and it leads to the content.
  await page.goto(at("/console/access"));
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");

  // The same without JavaScript.
  const plain = await browser.newContext({
    viewport: WIDE,
    javaScriptEnabled: false,
    storageState: await carol.context.storageState(),
  });
  const still = await plain.newPage();
  watch(still, "without JavaScript");
  await still.goto(at("/console/access"));
  assert.match(await still.locator("tbody time").first().innerText(), /UTC$/);
  assert.equal(await still.locator("[data-toggle]").isVisible(), false, "no button that does nothing");
  await still.selectOption("#f-effect", "DENY");
  await still.click("button:has-text('Show')");
  assert.match(still.url(), /effect=DENY/);
  await still.locator("tbody th a").first().click();
  await still.click("text=Ask the same now");
  await still.selectOption("#f-auth", "none");
  await still.click("text=See the answer");
  assert.match(await still.locator(".answer").innerText(), /DENY/);
  await still.goto(at("/console/people"));
  await still.click("tbody th a >> text=Bob");
  await still.click("text=Disable");
  await still.locator("button.danger, a:has-text('Confirm with your passkey first')").first().waitFor();
  step("the same without JavaScript");
} catch (error) {
  faults.push(error.stack);
} finally {
  await browser.close();
}
for (const fault of faults) console.error(`console: FAULT ${fault}`);
process.exitCode = faults.length === 0 ? 0 : 1;
