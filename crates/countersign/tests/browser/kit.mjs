// What every walk has: the browser, people with authenticators of their own, and axe.
// The plan is the one JSON argument: {playwright, axe, chromium, spki, auth, …, shots}
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import assert from "node:assert/strict";

export const plan = JSON.parse(process.argv[2]);
const peer = createRequire(plan.playwright);
const { chromium } = peer("playwright-core");
const axe = readFileSync(plan.axe, "utf8");

// What is not as promised, of all pages; an empty list at the end is a pass.
export const faults = [];

export const launch = () =>
  chromium.launch({
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
      ...(plan.resolver ? [`--host-resolver-rules=${plan.resolver}`] : []),
    ],
  });

// Any script error or message of the browser about a page is a fault.
export const watch = (page, name) => {
  page.on("pageerror", (error) => faults.push(`${name}: script error on ${page.url()}: ${error.message}`));
  page.on("console", (message) => {
    const text = message.text();
    // Chromium reports every 4xx as an error of its own; those are expected here.
    if (message.type() === "error" && !text.startsWith("Failed to load resource")) {
      faults.push(`${name}: console on ${page.url()}: ${text}`);
    }
  });
};

// A person: a browser profile of their own with an authenticator of their own.
export const person = async (browser, name, options = {}) => {
  const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, ...options });
  const page = await context.newPage();
  watch(page, name);
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      console.error(`content security policy: ${event.violatedDirective} blocked ${event.blockedURI}`);
    });
  });
  const session = await context.newCDPSession(page);
  await session.send("WebAuthn.enable");
  const authenticators = [];
  const addAuthenticator = async () => {
    const { authenticatorId } = await session.send("WebAuthn.addVirtualAuthenticator", {
      options: {
        protocol: "ctap2",
        ctap2Version: "ctap2_1",
        transport: authenticators.length === 0 ? "internal" : "usb",
        hasResidentKey: true,
        hasUserVerification: true,
        isUserVerified: true,
        automaticPresenceSimulation: true,
      },
    });
    authenticators.push(authenticatorId);
  };
  await addAuthenticator();
  return { context, page, session, authenticators, addAuthenticator };
};

// One more device; the browser uses the newest.
export const anotherAuthenticator = async ({ authenticators, addAuthenticator, session }) => {
  for (const id of authenticators) await session.send("WebAuthn.setAutomaticPresenceSimulation", { authenticatorId: id, enabled: false });
  await addAuthenticator();
};

export const shoot = async (page, name) => {
  if (plan.shots) await page.screenshot({ path: `${plan.shots}/${name}.png` });
};

// What WCAG 2.2 AA asks of every page, as far as a machine can tell.
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
export const WIDE = { width: 1100, height: 800 };
const PHONE = { width: 390, height: 800 };
const ZOOMED = { width: 320, height: 800 };
const looked = new Set();

export const violations = async (page, how) => {
  // Given by the debugger, not by the page: the page's policy lets no foreign script in.
  await page.evaluate(axe);
  const found = await page.evaluate((tags) => axe.run(document, { runOnly: { type: "tag", values: tags } }), TAGS);
  assert.ok(found.passes.length > 5, `${how}: axe looked at nothing`);
  for (const { id, nodes } of found.violations) {
    for (const node of nodes) faults.push(`axe, ${how}: ${id}: ${node.target} ${node.failureSummary}`);
  }
};

// With colours chosen by the reader (forced-colors), backgrounds are gone: what is a button or an answer must still have
// an outline of its own, the place of the focus too.
export const forced = async (page, name) => {
  await page.emulateMedia({ forcedColors: "active" });
  await violations(page, `${name}, forced colours`);
  const bare = await page.evaluate(() => {
    const hasBorder = (style) => style.borderTopStyle !== "none" && parseFloat(style.borderTopWidth) > 0;
    const parts = [...document.querySelectorAll("button, a.button, .badge, input, select")];
    const seen = parts.filter((part) => part.checkVisibility() && part.type !== "hidden" && part.type !== "checkbox");
    return seen.filter((part) => !hasBorder(getComputedStyle(part))).map((part) => part.outerHTML.slice(0, 120));
  });
  for (const part of bare) faults.push(`${name}, forced colours: no outline around ${part}`);
  // By keyboard: browsers do not show a focus that a script moves after a click.
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press("Tab");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  if (outline === "none") faults.push(`${name}, forced colours: the focus is not shown`);
  await page.evaluate(() => document.activeElement.blur());
  await page.emulateMedia({ forcedColors: "none" });
};

// Looks at a page of ours in light, dark, in forced colours and on a phone; keeps its picture.
export const look = async (page, name) => {
  if (looked.has(name)) return;
  looked.add(name);
  await shoot(page, name);
  await violations(page, `${name}, light`);
  await page.emulateMedia({ colorScheme: "dark" });
  await violations(page, `${name}, dark`);
  await page.emulateMedia({ colorScheme: "light" });
  await forced(page, name);
  await page.setViewportSize(PHONE);
  await violations(page, `${name}, phone`);
  await page.setViewportSize(ZOOMED);
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (over > 0) faults.push(`${name}: ${over} px too wide at 400 % zoom`);
  const heads = await page.locator("h1").count();
  if (heads !== 1) faults.push(`${name}: ${heads} first headings`);
  await page.setViewportSize(WIDE);
};

export const heading = (page) => page.locator("h1").innerText();

export const enrol = async (page, link, fields = {}) => {
  const reply = await page.goto(link);
  assert.equal(reply.status(), 200, "the link opens");
  for (const [field, value] of Object.entries(fields)) await page.fill(`[data-field=${field}]`, value);
  await page.click("[data-start]");
  await page.waitForURL(`${plan.auth}enrol/codes`);
  assert.equal(await page.locator(".codes li").count(), 10, "ten recovery codes are shown");
};

export const saved = async (page) => {
  await page.check("#saved");
  await page.click("text=Go on");
  await page.waitForURL(plan.auth);
};

// Reads the QR code off a picture of the page, as a phone would, and hands it to an authenticator app: both of other hands.
export const scan = async (page) => {
  const picture = (await page.locator(".scan").screenshot()).toString("base64");
  const desk = await page.context().newPage();
  const { bytes, width, height } = await desk.evaluate(async (picture) => {
    const image = new Image();
    image.src = `data:image/png;base64,${picture}`;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
    canvas.drawImage(image, 0, 0);
    return { bytes: [...canvas.getImageData(0, 0, image.width, image.height).data], width: image.width, height: image.height };
  }, picture);
  await desk.close();
  const found = peer("jsqr")(Uint8ClampedArray.from(bytes), width, height);
  assert.ok(found, "the QR code can be read");
  return peer("otpauth").URI.parse(found.data);
};

// The codes of an authenticator app that scanned the page. A code is good once, so each call waits for a step of its own.
const STEP_MS = 30_000;
export const authenticatorApp = async (page) => {
  const app = await scan(page);
  let last = 0;
  const code = async () => {
    last = Math.max(last + 1, Math.floor(Date.now() / STEP_MS));
    // The next step is taken too; for a later one there is time to wait.
    while (last > Math.floor(Date.now() / STEP_MS) + 1) await new Promise((resolve) => setTimeout(resolve, 200));
    return app.generate({ timestamp: last * STEP_MS });
  };
  return Object.assign(code, { app });
};
