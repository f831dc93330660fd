// A page of one host of an app calls the app's other host with `fetch`, with /.countersign/client.js loaded first: signed in
// to both at once, renewed in a hidden frame, renewed in a window, told when no window opens; then twenty tabs at once.
// Called by tests/it/spa_browser.rs with one JSON argument:
//   {playwright, axe, chromium, spki, auth, links: {carol}, resolver, folder, command: [program, arguments…]}
// Prints one line a step; any failed promise, script error or policy violation ends it with exit code 1.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import assert from "node:assert/strict";
import { enrol, faults, launch, person, plan, saved, watch } from "./kit.mjs";

const APP = "https://app.corp.test";
const API = "https://api.app.corp.test";
const TABS = 20;
const step = (text) => console.log(`single-page app: ${text}`);
const countersign = (...words) => execFileSync(plan.command[0], [...plan.command.slice(1), ...words], { stdio: "pipe" });

// The app: a page on every path, and data.
const PAGE = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>App</title>
<link rel="icon" href="data:,"><script src="/.countersign/client.js"></script></head><body><h1>App</h1></body></html>`;
const CSP = "default-src 'none'; img-src data:; script-src 'self'; connect-src 'self' https://api.app.corp.test; frame-src 'self' https://api.app.corp.test https://auth.corp.test";
const upstream = createServer((request, reply) => {
  const isData = request.url.startsWith("/data");
  let body = "";
  request.on("data", (piece) => (body += piece));
  request.on("end", () => {
    reply.setHeader("Content-Type", isData ? "application/json" : "text/html");
    if (!isData) reply.setHeader("Content-Security-Policy", CSP);
    reply.end(isData ? JSON.stringify({ asked: `${request.method} ${request.url}`, host: request.headers.host, body }) : PAGE);
  });
});
await new Promise((done) => upstream.listen(0, "127.0.0.1", done));

mkdirSync(plan.folder);
writeFileSync(`${plan.folder}/app.yaml`, `apiVersion: countersign/v1
kind: App
metadata: { name: app }
spec:
  hosts: [app.corp.test, api.app.corp.test]
  cors: { origins: ["${APP}"], headers: [content-type] }
  upstreams:
    web: { targets: ["http://127.0.0.1:${upstream.address().port}"] }
`);
writeFileSync(`${plan.folder}/app.cedar`, `@id("admins")\npermit (principal in Group::"admins", action in Action::"http", resource in App::"app");\n`);
countersign("apply", "--files", plan.folder);

const call = (page, path, init = {}) =>
  page.evaluate(
    async ([url, init]) => {
      try {
        const reply = await fetch(url, { credentials: "include", ...init });
        return { status: reply.status, body: await reply.json().catch(() => null) };
      } catch (error) {
        return { status: 0, body: String(error) };
      }
    },
    [`${API}${path}`, init],
  );
const ok = (answer, asked) => assert.equal(answer.status === 200 && answer.body.asked, asked, JSON.stringify(answer));

const browser = await launch();
try {
  const carol = await person(browser, "carol");
  const { page, context, session, authenticators } = carol;
  await enrol(page, plan.links.carol, { name: "Carol", email: "carol@example.org" });
  await saved(page);

  // One sign-in, both hosts.
  await page.goto(`${APP}/start?tab=1#part`);
  assert.equal(page.url(), `${APP}/start?tab=1#part`);
  ok(await call(page, "/data/1"), "GET /data/1");
  step("signed in to the app, its page calls the other host at once");

  // Nothing may leave the page from here on: a mark on its window says so.
  await page.evaluate(() => (window.stays = true));
  const asked = [];
  page.on("request", (request) => asked.push(new URL(request.url())));
  const renewals = () => asked.splice(0).filter(({ pathname }) => pathname === "/.countersign/renew").length;
  const windows = [];
  context.on("page", (opened) => windows.push(opened));
  const stays = async () => {
    assert.equal(await page.evaluate(() => window.stays), true, "the page was left");
    assert.equal(page.url(), `${APP}/start?tab=1#part`);
    assert.equal(await page.locator("iframe").count(), 0, "no frame is left behind");
  };
  await context.clearCookies({ name: "__Host-countersign", domain: new URL(API).hostname });
  ok(await call(page, "/data/2"), "GET /data/2");
  assert.equal(renewals(), 1, "one renewal after the other host's sign-in was gone");
  await stays();
  step("renewed in a hidden frame where the other host had lost its sign-in");

  for (const host of [APP, API]) await context.clearCookies({ name: "__Host-countersign", domain: new URL(host).hostname });
  const sent = { method: "POST", headers: { "Content-Type": "application/json" }, body: '{"text":"kept"}' };
  const both = await Promise.all([call(page, "/data/a"), call(page, "/data/b", sent), call(page, "/data/c")]);
  both.forEach((answer, n) => ok(answer, ["GET /data/a", "POST /data/b", "GET /data/c"][n]));
  assert.equal(both[1].body.body, sent.body, "the body is sent again");
  const own = await page.evaluate(() => fetch("/data/own").then((reply) => reply.status));
  assert.equal(own, 200);
  assert.equal(renewals(), 1, "three fetches, one renewal");
  assert.deepEqual(windows, [], "nobody was asked for anything");
  await stays();
  step("both had: three fetches at once waited for one renewal");

  // Everything revoked: a window opens, she signs in there, and the fetch goes on.
  const { credentials } = await session.send("WebAuthn.getCredentials", { authenticatorId: authenticators[0] });
  const [{ signCount, ...credential }] = credentials;
  let count = signCount;
  const giveKey = async (tab) => {
    const cdp = await context.newCDPSession(tab);
    await cdp.send("WebAuthn.enable");
    const options = { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true };
    const { authenticatorId } = await cdp.send("WebAuthn.addVirtualAuthenticator", { options });
    // Each copy counts on from a number of its own, as one key would.
    await cdp.send("WebAuthn.addCredential", { authenticatorId, credential: { ...credential, signCount: (count += 10) } });
  };
  countersign("session", "revoke", "--user", "carol@example.org");
  const opening = context.waitForEvent("page");
  const waiting = call(page, "/data/after", sent);
  const prompt = await opening;
  watch(prompt, "the window");
  await prompt.waitForURL(/auth\.corp\.test\/login/);
  const closed = prompt.waitForEvent("close", { timeout: 15000 });
  await giveKey(prompt);
  // The window may have offered the key by itself, and be gone.
  await prompt.click("[data-start]", { timeout: 5000 }).catch(() => {});
  ok(await waiting, "POST /data/after");
  await closed;
  assert.equal(renewals(), 1);
  await stays();
  step("after everything was revoked she signed in in a window, which closed itself, and the fetch went on");

  // No window may open: the page hears of it, and its fetch gets the refusal.
  countersign("session", "revoke", "--user", "carol@example.org");
  await page.evaluate(() => {
    window.open = () => null;
    document.addEventListener("countersign:login", () => (window.heard = (window.heard ?? 0) + 1));
  });
  const refused = await call(page, "/data/late");
  assert.equal(refused.status, 401);
  assert.match(refused.body.login_url, /^https:\/\/auth\.corp\.test\/login/);
  assert.equal(await page.evaluate(() => window.heard), 1);
  await stays();
  step("where no window opens, the page is told");

  // Twenty tabs at once, in a browser that has no cookie of ours: each lands where it was going.
  await context.clearCookies();
  const tabs = await Promise.all(Array.from({ length: TABS }, () => context.newPage()));
  tabs.forEach((tab, n) => watch(tab, `tab ${n}`));
  const there = (n) => `${APP}/deep/${n}?tab=${n}`;
  await Promise.all(tabs.map((tab, n) => tab.goto(there(n))));
  for (const tab of tabs) assert.equal(new URL(tab.url()).pathname, "/login");
  // One signs in; the others are looked at again, all at once.
  const [one, ...others] = tabs;
  await giveKey(one);
  for (let tries = 0; tries < 20 && one.url() !== there(0); tries += 1) {
    await one.locator("[data-start]").click({ timeout: 1000 }).catch(() => {});
    await one.waitForURL(there(0), { timeout: 3000 }).catch(() => {});
  }
  await Promise.all(others.map((tab) => tab.reload()));
  assert.deepEqual(tabs.map((tab) => tab.url()), tabs.map((_, n) => there(n)));
  for (const tab of tabs) ok(await call(tab, "/data/tab"), "GET /data/tab");
  step(`${TABS} tabs at once, each landed on its own deep link and may call both hosts`);

  // And where she is signed in already: nobody is asked, each lands, and both hosts answer.
  for (const host of [APP, API]) await context.clearCookies({ domain: new URL(host).hostname });
  await Promise.all(tabs.map((tab, n) => tab.goto(`${there(n)}&again`)));
  assert.deepEqual(tabs.map((tab) => tab.url()), tabs.map((_, n) => `${there(n)}&again`));
  for (const tab of tabs) ok(await call(tab, "/data/again"), "GET /data/again");
  step("the same without a question where she was signed in at the auth host");
} catch (error) {
  faults.push(error.stack);
} finally {
  await browser.close();
  upstream.close();
}
for (const fault of faults) console.error(`single-page app: FAULT ${fault}`);
process.exitCode = faults.length === 0 ? 0 : 1;
