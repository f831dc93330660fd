// Walks the console with a real browser: every screen looked at by axe in light, dark and on a phone; filters, the live
// tail, why, an act with its record; then the same without JavaScript.
// Called by tests/it/console_browser.rs with one JSON argument:
//   {playwright, axe, chromium, spki, auth, wiki, payroll, links: {carol, alice, bob}, shots, recover: [program, arguments…]}
// Prints one line a step; any failed promise, script error or policy violation ends it with exit code 1.
import { execFileSync } from "node:child_process";
import assert from "node:assert/strict";
import { enrol as enrolled, faults, forced, heading, launch, person, plan, saved, violations, watch } from "./kit.mjs";

const at = (path) => `${plan.auth.replace(/\/$/, "")}${path}`;
const step = (text) => console.log(`console: ${text}`);

const WIDE = { width: 1280, height: 800 };
const ZOOMED = { width: 320, height: 800 };

const someone = (browser, name) => person(browser, name, { viewport: WIDE });
const enrol = async (page, link, fields = {}) => {
  await enrolled(page, link, fields);
  await saved(page);
};

const shoot = async (page, name) => {
  if (plan.shots) await page.screenshot({ path: `${plan.shots}/console-${name}.png` });
};

// What somebody without JavaScript is shown, looked at by axe, which needs it: the page as it was served to them, its
// scripts taken out and what stands in `noscript` let in.
const scriptless = async ({ context, page: reader }, path) => {
  const url = at(`/console${path}`);
  const served = await reader.evaluate((url) => fetch(url).then((reply) => reply.text()), url);
  const body = served.replaceAll(/<script[^]*?<\/script>/g, "").replaceAll("noscript>", "div>");
  const page = await context.newPage();
  await page.route(url, (route) => route.fulfill({ contentType: "text/html; charset=utf-8", body }));
  await page.goto(url);
  assert.equal(await page.locator("script").count(), 0);
  await violations(page, `${path || "overview"}, without JavaScript`);
  await page.close();
};

// Looks at a screen in light, dark and at 320 pixels, where nothing but tables may be wider than the window.
const look = async (page, name) => {
  await shoot(page, name);
  await violations(page, `${name}, light`);
  await page.emulateMedia({ colorScheme: "dark" });
  if (name === "access") await shoot(page, "access-dark");
  await violations(page, `${name}, dark`);
  await page.emulateMedia({ colorScheme: "light" });
  await forced(page, name);
  await page.setViewportSize(ZOOMED);
  await violations(page, `${name}, phone`);
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (over > 0) faults.push(`${name}: ${over} px too wide at 320 pixels`);
  const squeezed = await page.evaluate(() => {
    const parts = [...document.querySelectorAll("button, a.button")].filter((part) => part.checkVisibility());
    return parts.filter((part) => part.offsetHeight > 48 && part.offsetHeight > part.offsetWidth).map((part) => part.outerHTML.slice(0, 120));
  });
  for (const part of squeezed) faults.push(`${name}: squeezed at 320 pixels: ${part}`);
  const hidden = await page.evaluate(() =>
    [...document.querySelectorAll(".newest")].filter((frame) => {
      const last = [...frame.querySelectorAll("rect.bar")].at(-1);
      return last && last.getBoundingClientRect().right > frame.getBoundingClientRect().right + 1;
    }).length,
  );
  if (hidden > 0) faults.push(`${name}: the newest hour is out of sight at 320 pixels`);
  if (name === "access") await shoot(page, "access-phone");
  const heads = await page.locator("h1").count();
  if (heads !== 1) faults.push(`${name}: ${heads} first headings`);
  await page.setViewportSize(WIDE);
};

// `/`, `g` and a letter, `?`: never from a field, and gone once they are switched off.
const keys = async (page) => {
  await page.goto(at("/console"));
  await page.keyboard.press("g");
  await page.keyboard.press("a");
  await page.waitForURL(at("/console/access"));
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement.id), "f-who");
  await page.keyboard.type("go/a?");
  assert.equal(await page.inputValue("#f-who"), "go/a?", "a field keeps its keys");
  assert.equal(await page.locator("dialog").count(), 0);
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press("Control+g");
  await page.keyboard.press("e");
  assert.equal(page.url(), at("/console/access"), "keys of the browser are the browser's");
  await page.focus("nav a[data-key=w]");
  await page.keyboard.press("?");
  assert.match(await page.locator("dialog").innerText(), /To the filter[^]*Overview[^]*Switch them off/);
  await violations(page, "the list of keys");
  await shoot(page, "keys");
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("dialog").count(), 0);
  assert.equal(await page.evaluate(() => document.activeElement.dataset.key), "w", "the focus is where it was");
};

// Where the focus goes on the way through the commonest tasks, stop by stop. A change of the order is a change of this list.
const stops = async (page, most) => {
  const seen = [];
  for (let n = 0; n < most; n += 1) {
    await page.keyboard.press("Tab");
    const name = await page.evaluate(() => {
      const stop = document.activeElement;
      if (stop === document.body) return "";
      const label = stop.labels?.[0]?.firstChild?.textContent ?? stop.getAttribute("aria-label") ?? stop.textContent;
      return label.trim().replaceAll(/\s+/g, " ").slice(0, 40);
    });
    if (!name) break;
    seen.push(name);
  }
  return seen;
};

const HEAD = ["Skip to the content", "Countersign", "Overview", "Access", "Why", "Apps", "People", "Sessions", "My apps", "Settings", "Sign out"];

const tabOrder = async (page) => {
  for (const [path, expected] of [
    ["/console/access", ["Who", "What", "Answer", "Since", "More filters", "Show", "Clear"]],
    ["/console/people", ["Name or address", "State", "Show"]],
    ["/console/sessions", ["Person", "App", "Network", "Older than", "Show", "Clear"]],
    ["/console/why", ["Request id", "Start from it"]],
  ]) {
    await page.goto(at(path));
    const notices = await page.locator(".watch :is(a, button)").count();
    const seen = await stops(page, HEAD.length + notices + expected.length);
    assert.deepEqual(seen.slice(0, HEAD.length), HEAD, path);
    assert.deepEqual(seen.slice(HEAD.length + notices), expected, path);
  }
};

// Columns and notices are kept on the server; the keys are switched off for good.
const settings = async (page) => {
  await page.goto(at("/console/people"));
  const before = await page.locator(".watch li").count();
  assert.ok(before > 0, "carol administers alone");
  await page.locator(".watch button").first().press("Enter");
  await page.waitForFunction((count) => document.querySelectorAll(".watch li").length < count, before);
  await page.locator(".columns summary").press("Enter");
  await page.uncheck("input[name=column][value=groups]");
  await page.click(".columns button");
  await page.waitForFunction(() => document.querySelectorAll("thead th").length === 4);
  assert.equal(page.url(), at("/console/people"));
  await page.goto(at("/me/settings"));
  await shoot(page, "settings");
  await violations(page, "settings, light");
  await page.emulateMedia({ colorScheme: "dark" });
  await violations(page, "settings, dark");
  await page.emulateMedia({ colorScheme: "light" });
  await page.uncheck("#letters");
  await page.click("button.primary");
  await page.waitForURL(/recorded=/);
  await page.goto(at("/console"));
  await page.keyboard.press("?");
  assert.equal(await page.locator("dialog").count(), 0, "switched off");
  await page.goto(at("/me/settings"));
  await page.check("#letters");
  await page.click("button.primary");
  await page.click("text=Show everything again");
  await page.goto(at("/console/people"));
  await page.locator(".columns summary").click();
  await page.check("input[name=column][value=groups]");
  await page.click(".columns button");
  await page.waitForFunction(() => document.querySelectorAll("thead th").length === 5);
};

const browser = await launch();
try {
  const carol = await someone(browser, "carol");
  await enrol(carol.page, plan.links.carol, { name: "Carol", email: "carol@example.org" });
  const alice = await someone(browser, "alice");
  await enrol(alice.page, plan.links.alice);
  await alice.page.goto(plan.wiki);
  const bob = await someone(browser, "bob");
  await enrol(bob.page, plan.links.bob);
  assert.equal((await bob.page.goto(plan.wiki)).status(), 403);
  const refused = await bob.page.goto(at("/console"));
  assert.equal(refused.status(), 403, "the console is not for everybody");
  step("carol administers, alice works, bob is denied, and sees no console");

  // An act: counted, done, recorded; alice is out. First, while carol's sign-in is fresh.
  const { page } = carol;
  await page.goto(at("/console/sessions"));
  if (plan.shots) {
    // What only this machine is told, of its disk and its clock, belongs on no picture.
    for (let left = await page.locator(".watch li").count(); left > 1; left -= 1) {
      await page.locator(".watch button").first().click();
      await page.waitForFunction((count) => document.querySelectorAll(".watch li").length < count, left);
    }
  }
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
  const people = page.waitForEvent("download");
  await page.click("text=JSON Lines");
  assert.equal((await people).suggestedFilename(), "countersign-people.jsonl");
  await page.click("tbody th a >> text=Bob");
  await look(page, "person");
  await page.goto(at("/console/people/nobody"));
  await look(page, "not-found");
  step("apps, people, and somebody who is not there");

  // bob lost his passkey and has no code: the operator of the host and carol vouch, and carol hands over the link.
  execFileSync(plan.recover[0], plan.recover.slice(1));
  await page.goto(at("/console/people"));
  await page.click("tbody th a >> text=Bob");
  await page.locator(".acts a >> text=Vouch for them").scrollIntoViewIfNeeded();
  await look(page, "person-recovery");
  await page.click(".acts a >> text=Vouch for them");
  assert.match(await heading(page), /^Vouch for Bob\?$/);
  await look(page, "vouch");
  await page.click("button.danger");
  await page.waitForURL(/\/console\/done\//);
  const link = await page.locator("pre code").first().innerText();
  await page.reload();
  assert.equal(await page.locator("pre code").count(), 0, "the link is shown once");
  const back = await someone(browser, "bob, without his passkey");
  await back.page.goto(link);
  await back.page.click("[data-start]");
  await back.page.waitForURL(at("/enrol/codes"));
  await bob.page.goto(plan.wiki);
  assert.match(bob.page.url(), /\/login\?/, "every earlier sign-in of bob ended");
  await back.page.goto(link);
  assert.equal(await heading(back.page), "This link cannot be used");
  step("two administrators vouched for bob, and the link worked once");

  // Keyboard: the first stop is the skip link, and it leads to the content.
  await page.goto(at("/console/access"));
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");

  await keys(page);
  await tabOrder(page);
  await settings(page);
  step("by keyboard: keys, the order of the stops, settings");

  // The same without JavaScript.
  const plain = await browser.newContext({
    viewport: WIDE,
    javaScriptEnabled: false,
    storageState: await carol.context.storageState(),
  });
  const still = await plain.newPage();
  watch(still, "without JavaScript");
  for (const path of ["", "/access", "/why", "/apps", "/people", "/sessions", "/sessions/end"]) {
    await scriptless(carol, path);
  }
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
