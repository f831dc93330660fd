// A change may need a fresh passkey: the gateway says so in a problem document, and where to confirm (RFC 9470).
"use strict";

const say = (text) => { document.getElementById("message").textContent = text; };

const remove = async (button) => {
  const reply = await fetch(`/salaries/${button.dataset.id}`, { method: "DELETE" });
  if (reply.ok) {
    button.closest("tr").remove();
    say("Deleted.");
    return;
  }
  const problem = await reply.json().catch(() => ({}));
  const way = problem.code === "step_up_required" ? problem.fix?.[0]?.url : problem.login_url;
  if (way) location.assign(way);
  else say(problem.detail || `The server answered ${reply.status}.`);
};

for (const button of document.querySelectorAll("button[data-id]")) {
  button.addEventListener("click", () => remove(button).catch((error) => say(error.message)));
}
