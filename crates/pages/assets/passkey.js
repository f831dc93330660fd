// The passkey ceremonies of our pages (WebAuthn Level 3 §5.1), and what the browser is told about passkeys (ID-23).
// The page says what to do in data attributes; answers are JSON: {options}, then {next} or {title, detail}. A begin that
// answers {next} leads there instead.
"use strict";

const toBytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const toText = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

const decodeOptions = (options) => {
  const decoded = { ...options, challenge: toBytes(options.challenge) };
  if (options.user) decoded.user = { ...options.user, id: toBytes(options.user.id) };
  for (const list of ["allowCredentials", "excludeCredentials"]) {
    if (options[list]) decoded[list] = options[list].map((entry) => ({ ...entry, id: toBytes(entry.id) }));
  }
  return decoded;
};

const encodeCredential = (credential) => {
  const { response } = credential;
  const encoded = {
    id: credential.id,
    rawId: toText(credential.rawId),
    type: credential.type,
    extensions: {},
    response: { clientDataJSON: toText(response.clientDataJSON) },
  };
  if (response.attestationObject) {
    encoded.response.attestationObject = toText(response.attestationObject);
    if (response.getTransports) encoded.response.transports = response.getTransports();
  } else {
    encoded.response.authenticatorData = toText(response.authenticatorData);
    encoded.response.signature = toText(response.signature);
    if (response.userHandle) encoded.response.userHandle = toText(response.userHandle);
  }
  return encoded;
};

const post = async (url, body) => {
  const reply = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    credentials: "same-origin",
    body: JSON.stringify(body),
  });
  const answer = await reply.json().catch(() => ({}));
  if (!reply.ok) {
    const error = new Error(answer.detail || answer.title || `The server answered ${reply.status}.`);
    error.code = answer.code;
    throw error;
  }
  return answer;
};

// Absent or refused: nothing breaks.
const signal = async (name, what) => {
  const can = (await PublicKeyCredential.getClientCapabilities?.()) ?? {};
  if (can[name] && PublicKeyCredential[name]) await PublicKeyCredential[name](what).catch(() => {});
};

const explain = (error) => {
  if (error.name === "NotAllowedError") return "The passkey was not used: the prompt was closed or took too long. Try again.";
  if (error.name === "InvalidStateError") return "This device already holds a passkey for this account; sign in with it.";
  if (error.name === "SecurityError") return "This page is not at the address your passkey belongs to.";
  return error.message || "The passkey could not be used. Try again.";
};

const setUp = (box) => {
  const { ceremony, begin, finish, transaction, conditional } = box.dataset;
  const button = box.querySelector("[data-start]");
  const problem = box.querySelector("[data-problem]");
  let pending = null;

  const fail = (error) => {
    if (error.name === "AbortError") return;
    // A page that is stale, or one of many tabs opened at once, begins again in silence, once (GW-11).
    const [arrival] = performance.getEntriesByType("navigation");
    if (error.code === "start_over" && ceremony === "get" && arrival?.type !== "reload") return location.reload();
    problem.textContent = explain(error);
    problem.hidden = false;
  };

  const run = async (mediation) => {
    if (pending) pending.abort();
    pending = new AbortController();
    const abort = pending.signal;
    const fields = {};
    for (const input of box.querySelectorAll("[data-field]")) {
      if (!input.reportValidity()) return;
      fields[input.dataset.field] = input.value;
    }
    const kept = [...box.querySelectorAll("[data-keep]")];
    if (kept.length > 0) fields.keep = kept.filter((choice) => choice.checked).map((choice) => choice.value);
    const { options, next: elsewhere } = await post(begin, { transaction, ...fields });
    if (elsewhere) return mediation || location.assign(elsewhere);
    const publicKey = decodeOptions(options.publicKey);
    const credential =
      ceremony === "create"
        ? await navigator.credentials.create({ publicKey, signal: abort, ...(mediation && { mediation }) })
        : await navigator.credentials.get({ publicKey, signal: abort, ...(mediation && { mediation }) });
    try {
      const { next } = await post(finish, { transaction, credential: encodeCredential(credential), ...fields });
      // What nobody asked for leads nobody anywhere.
      if (mediation && ceremony === "create") return box.remove();
      location.assign(next);
    } catch (error) {
      // A passkey that counts nowhere: the browser need not offer it again.
      if (error.code === "passkey_unknown" && ceremony === "get") {
        await signal("signalUnknownCredential", { rpId: publicKey.rpId, credentialId: credential.id });
      }
      throw error;
    }
  };

  button.addEventListener("click", async () => {
    problem.hidden = true;
    button.disabled = true;
    try {
      await run();
    } catch (error) {
      fail(error);
    } finally {
      button.disabled = false;
    }
  });

  if (!window.PublicKeyCredential) {
    fail(new Error("This browser has no passkeys. Use a current version of Chrome, Edge, Firefox or Safari."));
    button.disabled = true;
  } else if (conditional && ceremony === "create") {
    // An upgrade nobody asked for: it works in silence or not at all.
    const able = PublicKeyCredential.getClientCapabilities?.() ?? Promise.resolve({});
    able.then((can) => can.conditionalCreate && run("conditional")).catch(() => {});
  } else if (conditional && PublicKeyCredential.isConditionalMediationAvailable) {
    PublicKeyCredential.isConditionalMediationAvailable().then((yes) => yes && run("conditional").catch(fail));
  }
};

document.querySelectorAll("[data-ceremony]").forEach(setUp);
for (const { dataset } of document.querySelectorAll("[data-accepted]")) {
  if (!window.PublicKeyCredential) break;
  const allAcceptedCredentialIds = dataset.accepted.split(" ").filter(Boolean);
  signal("signalAllAcceptedCredentials", { rpId: dataset.rpId, userId: dataset.userId, allAcceptedCredentialIds });
}
