// What the console adds where scripts run: times in the reader's zone, and the live tail of the record.
// Everything else works without it. Text reaches the page through textContent only.
"use strict";

const MOST_ROWS = 200;
// Year first and 24 hours: read the same way everywhere.
const zone = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });

const offset = (date) => {
  const minutes = -date.getTimezoneOffset();
  const two = (n) => String(Math.trunc(n)).padStart(2, "0");
  return `${minutes < 0 ? "−" : "+"}${two(Math.abs(minutes) / 60)}:${two(Math.abs(minutes) % 60)}`;
};

const localise = (time) => {
  const date = new Date(time.dateTime);
  if (Number.isNaN(date.getTime())) return;
  time.title = time.dateTime;
  time.textContent = `${zone.format(date)} ${offset(date)}`;
};

const element = (name, className, text) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

const cell = (className, text) => element("td", className, text);

const row = (found, columns) => {
  const line = element("tr", "fresh");
  const time = element("time");
  time.dateTime = found.time;
  localise(time);
  const link = element("a");
  // An address of this console and nothing else, whatever came.
  link.href = found.url.startsWith("/console/") ? found.url : "/console/access";
  link.append(time);
  const head = element("th");
  head.scope = "row";
  head.append(link);
  const answer = cell("");
  answer.append(element("span", `badge ${found.effect_class}`, found.effect));
  const why = cell("text");
  why.append(element("code", "", found.reason));
  if (found.sentence) why.append(element("br"), element("span", "quiet", found.sentence));
  const cells = { answer, who: cell("text", found.who), action: cell("", found.action), what: cell("text", found.target), why, door: cell("", found.door) };
  line.append(head, ...columns.map((name) => cells[name] ?? cell("")));
  return line;
};

const follow = (box) => {
  const button = box.querySelector("[data-toggle]");
  const news = box.querySelector("[data-news]");
  const rows = document.querySelector("[data-rows]");
  const columns = [...rows.closest("table").querySelectorAll("th[data-column]")].map((head) => head.dataset.column);
  let source = null;
  let count = 0;

  const say = (text) => (news.textContent = text);
  const stop = (text) => {
    if (source) source.close();
    source = null;
    button.setAttribute("aria-pressed", "false");
    say(text);
  };
  const start = () => {
    count = 0;
    source = new EventSource(box.dataset.live);
    button.setAttribute("aria-pressed", "true");
    say("Following.");
    source.addEventListener("record", (event) => {
      rows.prepend(row(JSON.parse(event.data), columns));
      rows.closest("table").hidden = false;
      while (rows.rows.length > MOST_ROWS) rows.deleteRow(-1);
      count += 1;
      say(`Following: ${count} new.`);
    });
    source.addEventListener("skipped", (event) => say(`${JSON.parse(event.data).records} records went by unseen; load the page for them.`));
    source.addEventListener("end", (event) => stop(JSON.parse(event.data).why));
    source.addEventListener("error", () => {
      // Between two answers the browser reconnects by itself; closed for good means refused.
      if (source && source.readyState === EventSource.CLOSED) stop("The server ended the live view. Load the page again.");
    });
  };

  box.hidden = false;
  button.addEventListener("click", () => (source ? stop("Stopped.") : start()));
  addEventListener("pagehide", () => source && source.close());
};

for (const time of document.querySelectorAll("time[datetime]")) localise(time);
for (const box of document.querySelectorAll("[data-live]")) follow(box);
