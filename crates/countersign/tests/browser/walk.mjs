// Walks the demo with a real browser: set-up link, passkey, app, denial, step-up, live cut, sign-out.
// Called by tests/it/browser.rs with one JSON argument:
//   {playwright, axe, chromium, spki, auth, wiki, payroll, links: {carol, alice, bob}, shots, vouch: [program, arguments…], remove: [program, arguments…]}
// Prints one line a step; any failed promise, script error or policy violation ends it with exit code 1.
import { execFileSync } from "node:child_process";
import assert from "node:assert/strict";
import { WIDE, anotherAuthenticator, enrol, faults, heading, launch, look, person, plan, saved, shoot } from "./kit.mjs";

const step = (text) => console.log(`browser: ${text}`);

const browser = await launch();
try {
  // carol: the real first-administrator link.
  const carol = await person(browser, "carol");
  await carol.page.goto(plan.links.carol);
  await look(carol.page, "set-up");
  await enrol(carol.page, plan.links.carol, { name: "Carol", email: "carol@example.org" });
  await look(carol.page, "recovery-codes");
  step("carol set up through the link, with a passkey");
  await carol.page.reload();
  assert.equal(await carol.page.locator(".codes li").count(), 0, "recovery codes are shown once");
  await saved(carol.page);
  await carol.page.goto(plan.links.carol);
  assert.equal(await heading(carol.page), "This link cannot be used");
  await look(carol.page, "link-used");
  step("recovery codes and the link work once");

  // alice: invitation, then signed out, then the whole sign-in.
  const alice = await person(browser, "alice");
  await alice.page.goto(plan.links.alice);
  await look(alice.page, "invitation");
  await enrol(alice.page, plan.links.alice);
  await saved(alice.page);
  assert.deepEqual((await alice.page.locator(".tiles strong").allInnerTexts()).sort(), ["Payroll", "Wiki"]);
  await look(alice.page, "launchpad");
  step("alice enrolled and sees the two apps she may open");
  await alice.page.click("text=Sign out");
  await look(alice.page, "sign-out");
  await alice.page.click("text=Sign out of this browser");
  assert.equal(await heading(alice.page), "You are signed out");
  await look(alice.page, "signed-out");
  // A stranger without an authenticator has time to look: the browser offers a passkey by itself where it has one.
  const stranger = await (await browser.newContext({ viewport: WIDE })).newPage();
  await stranger.goto(`${plan.wiki}?from=deep-link`);
  await stranger.waitForURL(/\/login\?/);
  await look(stranger, "sign-in");
  await alice.page.goto(`${plan.wiki}?from=deep-link`);
  await alice.page.waitForURL(/\/login\?/);
  const button = alice.page.locator("[data-start]");
  // The browser may already have offered the passkey by itself (conditional mediation).
  await button.click({ timeout: 2000 }).catch(() => {});
  await alice.page.waitForURL(`${plan.wiki}?from=deep-link`);
  assert.match(await alice.page.locator("body").innerText(), /Alice/);
  await shoot(alice.page, "wiki");
  step("alice signed in with a passkey and landed on her deep link");
  await alice.page.goto(plan.payroll);
  assert.equal(new URL(alice.page.url()).origin, new URL(plan.payroll).origin, "no second prompt for the next app");
  step("payroll opened without another prompt");

  // Step-up: DELETE needs a fresh passkey.
  const rows = alice.page.locator("button[data-id]");
  const before = await rows.count();
  await rows.first().click();
  await alice.page.waitForURL(/\/step-up\?/);
  assert.equal(await heading(alice.page), "Confirm that it is you");
  await look(alice.page, "step-up");
  await alice.page.click("[data-start]");
  await alice.page.waitForURL((url) => url.origin === new URL(plan.payroll).origin);
  await rows.first().click();
  await alice.page.waitForFunction((count) => document.querySelectorAll("button[data-id]").length === count - 1, before);
  step("DELETE asked for the passkey, then worked");

  // Self-service: a second passkey, a name for it, away again; new codes; what is held as JSON.
  await alice.page.goto(`${plan.auth}me`);
  await look(alice.page, "account");
  await alice.page.click("text=Add a passkey");
  await alice.page.fill("#name", "Blue key");
  await look(alice.page, "passkey-add");
  await anotherAuthenticator(alice);
  await alice.page.click("[data-start]");
  await alice.page.waitForURL(`${plan.auth}me`);
  const key = () => alice.page.locator("[aria-labelledby=passkeys] li", { hasText: "Blue key" });
  assert.equal(await key().count(), 1, "the new passkey is listed");
  await key().locator("text=Rename").click();
  await look(alice.page, "passkey-rename");
  await alice.page.fill("#name", "x".repeat(200));
  await alice.page.click("button.primary");
  assert.match(await alice.page.title(), /^Not yet/);
  assert.equal(await alice.page.inputValue("#name"), "x".repeat(200), "what was typed is kept");
  assert.equal(await alice.page.evaluate(() => document.activeElement.getAttribute("role")), "alert", "the summary has the focus");
  await look(alice.page, "form-problem");
  await alice.page.fill("#name", "Green key");
  await alice.page.click("button.primary");
  await alice.page.locator("[aria-labelledby=passkeys] li", { hasText: "Green key" }).locator("text=Remove").click();
  await look(alice.page, "passkey-remove");
  await alice.page.click("text=Remove it");
  assert.equal(await heading(alice.page), "The passkey is removed");
  await look(alice.page, "done");
  step("alice added, renamed and removed a passkey");
  await alice.page.goto(`${plan.auth}me`);
  await look(alice.page, "account-notices");
  await alice.page.click("text=I know about all of these");
  assert.equal(await alice.page.locator("text=This was not me").count(), 0, "what was read is not shown again");
  await alice.page.goto(`${plan.auth}me/codes`);
  await alice.page.click("button.primary");
  const codes = await alice.page.locator(".codes code").allInnerTexts();
  assert.equal(codes.length, 10);
  await saved(alice.page);
  const held = await alice.page.evaluate(() => fetch("/me/export").then((reply) => reply.json()));
  assert.equal(held.user.email, "alice@example.org");
  assert.equal(held.recovery_codes_left, 10);
  step("new recovery codes, and her data as JSON");

  // bob: a contractor, denied with a reason.
  const bob = await person(browser, "bob");
  await enrol(bob.page, plan.links.bob);
  const denied = await bob.page.goto(plan.wiki);
  assert.equal(denied.status(), 403);
  assert.match(await bob.page.locator("main").innerText(), /rule/i);
  await look(bob.page, "denied");
  await bob.page.emulateMedia({ colorScheme: "dark" });
  await shoot(bob.page, "denied-dark");
  await bob.page.emulateMedia({ colorScheme: "light" });
  await bob.page.setViewportSize({ width: 390, height: 800 });
  await shoot(bob.page, "denied-phone");
  step("bob is denied with the reason");

  // The deny page without scripts says the same.
  const plain = await browser.newContext({ javaScriptEnabled: false, storageState: await bob.context.storageState() });
  const still = await plain.newPage();
  assert.equal((await still.goto(plan.wiki)).status(), 403);
  assert.match(await still.locator("main").innerText(), /rule/i);
  await plain.close();
  step("the same without JavaScript");

  // bob loses his passkey: a code alone leads nowhere, in a browser that has nothing of his.
  await bob.page.setViewportSize(WIDE);
  await bob.page.goto(`${plan.auth}me/codes`);
  await bob.page.click("button.primary");
  const [code] = await bob.page.locator(".codes code").allInnerTexts();
  await saved(bob.page);
  const lost = await person(browser, "bob, without his passkey");
  await lost.page.goto(`${plan.auth}recover`);
  await look(lost.page, "recover");
  const tryCode = async (email, typed) => {
    await lost.page.fill("#email", email);
    await lost.page.fill("#recovery_code", typed);
    await lost.page.click("button.primary");
  };
  await tryCode("bob@example.org", "aaaa-aaaa-aaaa-aaaa");
  assert.match(await lost.page.title(), /^Not yet/);
  assert.equal(await lost.page.inputValue("#email"), "bob@example.org", "the address is kept, the code is not");
  assert.equal(await lost.page.inputValue("#recovery_code"), "");
  await look(lost.page, "recover-refused");
  await tryCode("bob@example.org", code);
  assert.equal(await heading(lost.page), "One more proof");
  await look(lost.page, "recover-case");
  await lost.page.click("text=Go on when they have vouched");
  assert.equal(await heading(lost.page), "One more proof", "one secret leads nowhere");
  step("bob's recovery code alone leads nowhere");
  // The page names a command that is there; an administrator with it is the second proof, and the browser goes on.
  const said = await lost.page.locator("main").innerText();
  const [command, user, id] = said.match(/countersign user recover (\S+) --approve ([^\s.`]+)/);
  assert.ok(command.includes(await lost.page.locator("dd").first().innerText()), "the id of the case on the page");
  const vouch = () => execFileSync(plan.vouch[0], [...plan.vouch.slice(1), "user", "recover", user, "--approve", id], { stdio: "pipe" });
  vouch();
  assert.throws(vouch, /vouched/, "nobody vouches twice");
  await lost.page.click("a.button:has-text('Look again')");
  assert.equal(await heading(lost.page), "You have proven who you are");
  await look(lost.page, "recover-proven");
  const thief = await person(browser, "somebody else with the address of the case");
  await thief.page.goto(lost.page.url());
  assert.equal(new URL(thief.page.url()).pathname, "/recover", "the address of a case is good in one browser");
  await thief.context.close();
  await lost.page.click("text=Go on to the new passkey");
  await lost.page.waitForURL(/recover\/link/);
  await look(lost.page, "recover-link");
  assert.equal(await lost.page.locator("[data-keep]").count(), 1, "the lost passkey is listed");
  assert.equal(await lost.page.locator("[data-keep]:checked").count(), 0, "nothing is kept by itself");
  await lost.page.click("[data-start]");
  await lost.page.waitForURL(`${plan.auth}enrol/codes`);
  assert.equal(await lost.page.locator(".codes li").count(), 1, "the used code is replaced");
  const [replaced] = await lost.page.locator(".codes code").allInnerTexts();
  assert.notEqual(replaced, code);
  await lost.page.reload();
  assert.equal(await lost.page.locator(".codes li").count(), 0, "and shown once");
  await saved(lost.page);
  await lost.page.goto(`${plan.auth}me`);
  assert.equal(await lost.page.locator("[aria-labelledby=passkeys] li").count(), 1, "the lost passkey is gone");
  assert.match(await lost.page.locator("[aria-labelledby=notices]").innerText(), /recover/i, "bob is told");
  await look(lost.page, "recover-notices");
  await bob.page.goto(`${plan.auth}me`);
  await bob.page.waitForURL(/\/login/);
  step("with an administrator's word he got back in: a new passkey, a new code, every earlier sign-in ended");
  await lost.page.goto(`${plan.auth}recover`);
  await tryCode("bob@example.org", code);
  assert.match(await lost.page.title(), /^Not yet/, "the code was good once");

  // Live cut: alice's open page loses its line when she leaves the group; carol's does not.
  await alice.page.goto(`${plan.wiki}pages/welcome`);
  await carol.page.goto(`${plan.wiki}pages/welcome`);
  for (const { page } of [alice, carol]) await page.waitForFunction(() => document.getElementById("live")?.textContent === "live");
  const began = Date.now();
  execFileSync(plan.remove[0], plan.remove.slice(1));
  await alice.page.waitForFunction(() => document.getElementById("live").textContent.startsWith("cut"), null, { polling: 20, timeout: 5000 });
  step(`alice left the group; her open page was cut after ${Date.now() - began} ms, the command included`);
  await shoot(alice.page, "live-cut");
  await alice.page.waitForTimeout(300);
  assert.equal(await carol.page.locator("#live").innerText(), "live", "carol's line stays");
  step("carol's page stayed live");
} finally {
  await browser.close();
}
for (const fault of faults) console.log(`fault: ${fault}`);
assert.equal(faults.length, 0, "no script error and no policy violation on any page");
step("no script error, no policy violation on any page");
