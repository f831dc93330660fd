// Live updates: what others write appears without a reload, until the gateway cuts the line.
"use strict";

const state = document.getElementById("live");
const text = document.getElementById("text");
const socket = new WebSocket(`wss://${location.host}/live`);

socket.addEventListener("open", () => { state.textContent = "live"; });
socket.addEventListener("message", (event) => {
  const edit = JSON.parse(event.data);
  if (text && edit.page === text.dataset.page) text.textContent = edit.text;
  state.textContent = `live: ${edit.by} changed “${edit.page}”`;
});
socket.addEventListener("close", (event) => {
  state.textContent = event.code === 1008 ? "cut: you may no longer follow this wiki" : "not live any more; reload the page";
});
