// Walks the second way in with a real browser: password and one-time codes set, used to sign in and to confirm, changed,
// removed; axe looks at every page.
// Called by tests/it/password_browser.rs with one JSON argument:
//   {playwright, axe, chromium, spki, auth, wiki, links: {carol, alice}, shots}
// Prints one line a step; any failed promise, script error or policy violation ends it with exit code 1.
import assert from "node:assert/strict";
import { authenticatorApp, enrol, faults, heading, launch, look, person, plan, saved, scan } from "./kit.mjs";

const step = (text) => console.log(`passwords: ${text}`);

const PASSWORD = "correct-Horse 71 battery, staple";
const ANOTHER = "another Horse 72 battery, staple";
const WRONG = "not the password of anybody 73";

const browser = await launch();
try {
  const alice = await person(browser, "alice");
  const { page } = alice;
  await enrol(page, plan.links.alice);
  await saved(page);
  await page.goto(`${plan.auth}me`);
  await look(page, "account-without-password");
  await page.click("text=Set them up");
  await look(page, "password-set");
  const shown = async () => (await page.locator("code.block").innerText()).replaceAll(" ", "");
  const key = await shown();
  const code = await authenticatorApp(page);
  const { app } = code;
  assert.equal(app.secret.base32, key, "what is scanned is what is typed");
  assert.match(`${app.label}, ${app.algorithm}, ${app.digits}, ${app.period}`, /^alice@example\.org, SHA1, 6, 30$/);
  for (const media of [{ colorScheme: "dark" }, { forcedColors: "active" }]) {
    await page.emulateMedia(media);
    assert.equal((await scan(page)).secret.base32, key, `scanned in ${JSON.stringify(media)}`);
  }
  await page.emulateMedia({ colorScheme: "light", forcedColors: "none" });
  step("the key was scanned off the page, in every colour scheme");
  const set = async (password, digits) => {
    await page.fill("#password", password);
    if (digits) await page.fill("#code", digits);
    await page.click("button.primary");
  };
  await set("short", await code());
  assert.match(await page.title(), /^Not yet/);
  assert.equal(await page.inputValue("#password"), "", "a password is never sent back");
  assert.equal(await shown(), key, "the key stays the same");
  assert.equal((await scan(page)).secret.base32, key, "and so does what is scanned");
  await look(page, "password-problem");
  await set(PASSWORD, await code());
  assert.equal(await heading(page), "Password and codes are set");
  await page.goto(`${plan.auth}me`);
  assert.match(await page.locator("[aria-labelledby=notices]").innerText(), /password with one-time codes was set/);
  await look(page, "account-with-password");
  step("set, after a weak password was refused, with a notice of it");

  await page.click("text=Change the password");
  await look(page, "password-change");
  await set(ANOTHER);
  assert.equal(await heading(page), "Your password is changed");
  step("changed");

  // A security key that is only touched: beside the password, and nowhere else.
  // The device with the passkey is elsewhere meanwhile.
  const [device] = alice.authenticators;
  const { credentials: passkeys } = await alice.session.send("WebAuthn.getCredentials", { authenticatorId: device });
  await alice.session.send("WebAuthn.removeVirtualAuthenticator", { authenticatorId: device });
  const { authenticatorId: touched } = await alice.session.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2",
      transport: "usb",
      hasResidentKey: false,
      hasUserVerification: false,
      automaticPresenceSimulation: true,
    },
  });
  await page.goto(`${plan.auth}me`);
  await page.click("text=Add a security key");
  await look(page, "key-add");
  await page.fill("#name", "Blue key");
  await page.click("[data-start]");
  await page.waitForURL(`${plan.auth}me`);
  assert.match(await page.locator("[aria-labelledby=password]").innerText(), /Blue key/);
  assert.doesNotMatch(await page.locator("[aria-labelledby=passkeys]").innerText(), /Blue key/);
  await look(page, "account-with-key");
  await page.goto(`${plan.auth}logout`);
  await page.click("text=Sign out of this browser");
  await page.goto(`${plan.auth}login/password`);
  await page.click("text=Use a security key instead of the code");
  await look(page, "key-sign-in");
  await page.fill("#email", "alice@example.org");
  await page.fill("#password", WRONG);
  await page.click("[data-start]");
  await page.locator("[data-problem]", { hasText: "do not belong together" }).waitFor();
  await look(page, "key-refused");
  await page.fill("#password", ANOTHER);
  await page.click("[data-start]");
  await page.waitForURL(plan.auth);
  const { credentials } = await alice.session.send("WebAuthn.getCredentials", { authenticatorId: touched });
  assert.ok(credentials.length === 1 && !credentials[0].isResidentCredential, "the key keeps no account");
  await alice.session.send("WebAuthn.removeVirtualAuthenticator", { authenticatorId: touched });
  await alice.addAuthenticator();
  for (const credential of passkeys) {
    const authenticatorId = alice.authenticators.at(-1);
    await alice.session.send("WebAuthn.addCredential", { authenticatorId, credential });
  }
  step("a key without PIN was added, refused beside a wrong password, and signed in beside the right one");

  // Signing in from a deep link: the form may lead to the host of the app, as the page's policy says.
  await page.goto(`${plan.auth}logout`);
  await page.click("text=Sign out of this browser");
  // A browser without an authenticator: nothing offers a passkey by itself.
  const other = await person(browser, "alice, at a browser without passkeys");
  await other.session.send("WebAuthn.disable");
  const desk = other.page;
  await desk.goto(`${plan.wiki}?from=deep-link`);
  await desk.click("text=Use password and code instead");
  await look(desk, "password-sign-in");
  const signIn = async (password, digits) => {
    await desk.fill("#email", "alice@example.org");
    await desk.fill("#password", password);
    await desk.fill("#code", digits);
    await desk.click("button.primary");
  };
  await signIn(WRONG, "000000");
  assert.match(await desk.title(), /^Not yet/);
  assert.equal(await desk.inputValue("#email"), "alice@example.org");
  assert.equal(await desk.inputValue("#password") + (await desk.inputValue("#code")), "", "secrets are not sent back");
  await look(desk, "password-refused");
  await signIn(PASSWORD, await code());
  assert.match(await desk.title(), /^Not yet/, "the old password is void");
  const digits = await code();
  await signIn(ANOTHER, digits);
  await desk.waitForURL(`${plan.wiki}?from=deep-link`);
  assert.match(await desk.locator("body").innerText(), /Alice/);
  step("signed in with password and code, back at the deep link");

  // Confirming where the rule asks for any two factors: the pair will do.
  const save = () =>
    desk.evaluate(async () => {
      const body = new URLSearchParams({ text: "By hand." });
      const reply = await fetch("/pages/welcome", { method: "POST", body, redirect: "manual" });
      return { status: reply.status, problem: await reply.json().catch(() => null) };
    });
  const asked = await save();
  assert.equal(asked.status, 401, JSON.stringify(asked));
  assert.equal(asked.problem.code, "step_up_required", JSON.stringify(asked));
  await desk.goto(asked.problem.fix[0].url);
  assert.equal(await heading(desk), "Confirm that it is you");
  await look(desk, "step-up-with-password");
  await desk.click("text=Confirm with password and code");
  await look(desk, "step-up-password");
  await desk.fill("#password", WRONG);
  await desk.fill("#code", "000000");
  await desk.click("button.primary");
  assert.match(await desk.title(), /^Not yet/);
  await look(desk, "step-up-password-refused");
  const confirm = async () => {
    await desk.fill("#password", ANOTHER);
    await desk.fill("#code", await code());
    await desk.click("button.primary");
  };
  await confirm();
  await desk.waitForURL((url) => url.origin === new URL(plan.wiki).origin);
  const kept = await save();
  assert.ok(kept.status < 400, `confirmed, but ${JSON.stringify(kept)}`);
  step("a change was confirmed with password and code, and went through");

  // Where a confirmation is not all that is missing, the page says the rest as well.
  const removal = await desk.evaluate(async () => {
    const reply = await fetch("/pages/welcome", { method: "DELETE" });
    return { status: reply.status, problem: await reply.json().catch(() => null) };
  });
  assert.equal(removal.problem?.code, "step_up_required", JSON.stringify(removal));
  await desk.goto(removal.problem.fix.find((fix) => fix.url).url);
  assert.equal(await heading(desk), "Confirm that it is you");
  assert.match(await desk.locator(".steps").innerText(), /Turn on disk encryption/);
  await look(desk, "step-up-advice");
  step("what a confirmation cannot lift is said beside it as something to do");

  // What one signs in with changes only under the strongest proof the account has: a passkey, which this browser lacks.
  await desk.goto(`${plan.auth}me/password`);
  assert.equal(await heading(desk), "Confirm that it is you");
  assert.equal(await desk.locator("text=Confirm with password and code").count(), 0, "the pair is the weaker proof");
  await look(desk, "account-confirm");
  await desk.click("text=Go back without a change");
  assert.equal(new URL(desk.url()).pathname, "/me");
  step("the account asks for the passkey before it changes how one signs in");

  // In the browser with the passkey: remove both.
  await page.goto(`${plan.auth}login`);
  await page.locator("[data-start]").click({ timeout: 2000 }).catch(() => {});
  await page.waitForURL(plan.auth);
  await page.goto(`${plan.auth}me`);
  await page.click("text=Remove both");
  await look(page, "password-remove");
  await page.click("button.danger");
  assert.equal(await heading(page), "Password and codes are removed");
  await desk.goto(`${plan.auth}logout`);
  await desk.click("text=Sign out of this browser");
  await desk.goto(`${plan.auth}login/password`);
  await signIn(ANOTHER, await code());
  assert.match(await desk.title(), /^Not yet/, "the removed pair lets nobody in");
  step("removed; it lets nobody in any more");

  // Administrators sign in with a passkey only.
  const carol = await person(browser, "carol");
  await enrol(carol.page, plan.links.carol, { name: "Carol", email: "carol@example.org" });
  await saved(carol.page);
  await carol.page.goto(`${plan.auth}me/password`);
  assert.equal(await heading(carol.page), "No password for this account");
  await look(carol.page, "password-not-for-administrators");
  step("administrators need a passkey");
} catch (error) {
  faults.push(error.stack);
} finally {
  await browser.close();
}
for (const fault of faults) console.error(`passwords: FAULT ${fault}`);
process.exitCode = faults.length === 0 ? 0 : 1;
