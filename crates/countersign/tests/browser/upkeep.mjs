// What browsers are told about passkeys (ID-23): which of them count, which one does not, and that one could be made in
// silence. The calls are caught in the page and compared with what the authenticator holds; then once more in a browser
// that refuses them, and in one that has none of them.
// Called by tests/it/upkeep_browser.rs with one JSON argument:
//   {playwright, axe, chromium, spki, auth, links: {alice}, shots}
// Prints one line a step; any failed promise, script error or policy violation ends it with exit code 1.
import assert from "node:assert/strict";
import { anotherAuthenticator, authenticatorApp, enrol, faults, heading, launch, person, plan, saved } from "./kit.mjs";

const step = (text) => console.log(`upkeep: ${text}`);

const PASSWORD = "correct-Horse 71 battery, staple";

// What pages told the browser, and what they asked it to make, oldest first.
const told = [];
const heard = async (name) => {
  for (let n = 0; n < 100 && !told.some((call) => call.name === name); n += 1) await new Promise((done) => setTimeout(done, 50));
  const calls = told.splice(0).filter((call) => call.name === name);
  assert.equal(calls.length, 1, `${name} is called once: ${JSON.stringify(calls)}`);
  return calls[0].what;
};

// A browser of our choice: "able" takes everything, "refusing" fails every call, "old" has never heard of any of it.
const become = async (page, kind) => {
  await page.context().addInitScript((kind) => {
    const names = ["signalUnknownCredential", "signalAllAcceptedCredentials"];
    if (kind === "old") {
      delete PublicKeyCredential.getClientCapabilities;
      for (const name of names) delete PublicKeyCredential[name];
    } else {
      PublicKeyCredential.getClientCapabilities = async () =>
        Object.fromEntries([...names, "conditionalCreate"].map((name) => [name, true]));
      for (const name of names) {
        PublicKeyCredential[name] = async (what) => {
          await window.caught({ name, what });
          if (kind === "refusing") throw new TypeError("no");
        };
      }
    }
    const text = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));
    const create = navigator.credentials.create.bind(navigator.credentials);
    navigator.credentials.create = async ({ mediation, publicKey, signal }) => {
      const what = { rpId: publicKey.rp.id, userId: text(publicKey.user.id), excluded: publicKey.excludeCredentials?.length ?? 0 };
      if (mediation) await window.caught({ name: `create ${mediation}`, what });
      if (mediation && kind === "refusing") throw new DOMException("no", "NotAllowedError");
      return create({ publicKey, signal });
    };
  }, kind);
};

const held = async ({ session, authenticators }, nth) => {
  const { credentials } = await session.send("WebAuthn.getCredentials", { authenticatorId: authenticators.at(nth) });
  assert.equal(credentials.length, 1);
  return credentials[0];
};
const url = (base64) => base64.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");

// Tries the passkey until the server has an answer to it: after failures it has people wait a little.
const tryPasskey = async (page) => {
  await page.goto(`${plan.auth}login`);
  const problem = page.locator("[data-problem]:not([hidden])");
  for (let n = 0; n < 20; n += 1) {
    await page.locator("[data-start]").click({ timeout: 2000 }).catch(() => {});
    await Promise.race([page.waitForURL(plan.auth), problem.waitFor()]).catch(() => {});
    if (page.url() === plan.auth) return "";
    const text = await problem.innerText();
    const wait = text.match(/try again in (\d+) s/);
    if (!wait) return text;
    await page.waitForTimeout(Number(wait[1]) * 1000 + 200);
  }
  throw new Error("the server never had an answer");
};
const signOut = async (page) => {
  await page.goto(`${plan.auth}logout`);
  await page.click("text=Sign out of this browser");
};

const browser = await launch();
try {
  const alice = await person(browser, "alice");
  const { page, context } = alice;
  await context.exposeBinding("caught", (_, call) => told.push(call));
  await become(page, "able");
  await enrol(page, plan.links.alice);
  await saved(page);
  const rpId = new URL(plan.auth).hostname;
  const first = await held(alice, 0);
  const accepted = async () => {
    await page.goto(`${plan.auth}me`);
    return heard("signalAllAcceptedCredentials");
  };
  const userId = url(first.userHandle);
  assert.deepEqual(await accepted(), { rpId, userId, allAcceptedCredentialIds: [url(first.credentialId)] });
  await page.click("text=Add a passkey");
  await page.fill("#name", "Second key");
  await anotherAuthenticator(alice);
  await page.click("[data-start]");
  await page.waitForURL(`${plan.auth}me`);
  const second = await held(alice, 1);
  const both = [first, second].map((key) => url(key.credentialId)).sort();
  const { allAcceptedCredentialIds: ids, ...rest } = await heard("signalAllAcceptedCredentials");
  assert.deepEqual([ids.sort(), rest], [both, { rpId, userId }]);
  step("the account page tells exactly the passkeys the authenticators hold");

  const row = page.locator("[aria-labelledby=passkeys] li", { hasText: "Second key" });
  await row.locator("text=Remove").click();
  await page.click("text=Remove it");
  assert.deepEqual((await accepted()).allAcceptedCredentialIds, [url(first.credentialId)], "the removed one is told no more");
  step("and no longer one that was removed");

  // Signing in with the removed one: refused, and the browser is told which.
  await signOut(page);
  told.splice(0);
  const sentence = await tryPasskey(page);
  const unknown = { rpId, credentialId: url(second.credentialId) };
  assert.ok(told.length > 0, "the browser is told of the passkey that counts nowhere");
  for (const { name, what } of told.splice(0)) assert.deepEqual([name, what], ["signalUnknownCredential", unknown]);
  assert.match(sentence, /not known here/);
  step("a passkey that counts nowhere is told to the browser, and the person");

  // A browser that refuses and one that never heard of it: the same page, no script error.
  for (const kind of ["refusing", "old"]) {
    // A copy of the key counts on, as the key itself would.
    const copy = await person(browser, `alice, ${kind} browser`);
    await copy.context.exposeBinding("caught", (_, call) => told.push(call));
    await become(copy.page, kind);
    const { authenticators, session } = copy;
    await session.send("WebAuthn.addCredential", { authenticatorId: authenticators[0], credential: second });
    assert.equal(await tryPasskey(copy.page), sentence, kind);
    await session.send("WebAuthn.clearCredentials", { authenticatorId: authenticators[0] });
    await session.send("WebAuthn.addCredential", { authenticatorId: authenticators[0], credential: { ...first, signCount: (first.signCount += 20) } });
    assert.equal(await tryPasskey(copy.page), "", kind);
    await copy.page.goto(`${plan.auth}me`);
    assert.equal(await copy.page.locator("[aria-labelledby=passkeys] li").count(), 1);
    const calls = [...new Set(told.splice(0).map((call) => call.name))].sort();
    assert.deepEqual(calls, kind === "old" ? [] : ["signalAllAcceptedCredentials", "signalUnknownCredential"], kind);
    if (kind === "old") alice.old = copy;
    else await copy.context.close();
  }
  step("in browsers that refuse it or lack it, nothing breaks");

  // Nothing but password and codes left: a sign-in with them makes a passkey in silence, where the browser can.
  const owner = alice.old.page;
  await owner.goto(`${plan.auth}me`);
  await owner.click("text=Set them up");
  const app = await authenticatorApp(owner);
  await owner.fill("#password", PASSWORD);
  await owner.fill("#code", await app());
  await owner.click("button.primary");
  assert.equal(await heading(owner), "Password and codes are set");
  await owner.goto(`${plan.auth}me`);
  await owner.locator("[aria-labelledby=passkeys] li").locator("text=Remove").click();
  await owner.click("text=Remove it");
  assert.equal(await heading(owner), "The passkey is removed");
  const byPassword = async (kind) => {
    const desk = await person(browser, `alice with a password, ${kind} browser`);
    await desk.context.exposeBinding("caught", (_, call) => told.push(call));
    await become(desk.page, kind);
    await desk.page.goto(`${plan.auth}login/password`);
    for (const [field, value] of [["#email", "alice@example.org"], ["#password", PASSWORD], ["#code", await app()]]) {
      await desk.page.fill(field, value);
    }
    await desk.page.click("button.primary");
    await desk.page.waitForURL(plan.auth);
    await desk.page.waitForLoadState("networkidle");
    return desk;
  };
  const silent = { rpId, userId: first.userHandle, excluded: 0 };
  for (const kind of ["old", "refusing"]) {
    const { page: desk, context } = await byPassword(kind);
    if (kind === "old") assert.deepEqual(told, [], "nothing is tried where nothing can be done");
    else assert.deepEqual(await heard("create conditional"), silent);
    assert.equal(desk.url(), plan.auth);
    assert.equal(await desk.locator("[data-problem]").isVisible(), false, "nobody asked, so nobody is bothered");
    assert.equal(await desk.locator("[data-start]").isEnabled(), true, "and may still ask");
    await context.close();
  }
  const desk = await byPassword("able");
  assert.deepEqual(await heard("create conditional"), silent);
  await desk.page.locator("[data-ceremony]").waitFor({ state: "detached" });
  assert.equal(desk.page.url(), plan.auth, "the person stays where they are");
  const made = await held(desk, 0);
  await desk.page.goto(`${plan.auth}me`);
  assert.deepEqual(await heard("signalAllAcceptedCredentials"), { rpId, userId, allAcceptedCredentialIds: [url(made.credentialId)] });
  await signOut(desk.page);
  assert.equal(await tryPasskey(desk.page), "");
  assert.equal(await desk.page.locator("[data-ceremony]").count(), 0, "a passkey is not offered to who used one");
  step("after a sign-in with a password a passkey was made in silence, and it signs in");
} catch (error) {
  faults.push(error.stack);
} finally {
  await browser.close();
}
for (const fault of faults) console.error(`upkeep: FAULT ${fault}`);
process.exitCode = faults.length === 0 ? 0 : 1;
