// Countersign: keeps a page's scripts going when the sign-in behind them has ended. Load it before them:
//   <script src="/.countersign/client.js"></script>
// A fetch that is answered "sign in first" is sent once more after the sign-in was renewed: in a hidden frame where nobody
// need be asked, else in a window. Where neither helps, the document hears "countersign:login" and the page gets the 401.
"use strict";
(() => {
  const home = "/.countersign/";
  const news = new BroadcastChannel("countersign");
  if (location.pathname === `${home}renewed`) {
    news.postMessage("renewed");
    window.close();
    return;
  }
  const FRAME_MS = 10_000;
  const WINDOW_MS = 300_000;
  const send = window.fetch.bind(window);
  let renewing = null;

  const isSignedIn = async () => {
    try {
      return (await send(`${home}session`, { cache: "no-store" })).ok;
    } catch {
      return false;
    }
  };

  const inFrame = () =>
    new Promise((done) => {
      const frame = document.createElement("iframe");
      const end = () => {
        clearTimeout(timer);
        frame.remove();
        done();
      };
      const timer = setTimeout(end, FRAME_MS);
      frame.hidden = true;
      frame.title = "Renewing the sign-in";
      frame.addEventListener("load", end);
      frame.src = `${home}renew`;
      document.documentElement.append(frame);
    });

  const inWindow = () =>
    new Promise((done) => {
      const opened = window.open(`${home}renew`, "_blank", "popup,width=480,height=640");
      if (!opened) {
        document.dispatchEvent(new CustomEvent("countersign:login"));
        done();
        return;
      }
      const end = () => {
        clearTimeout(timer);
        news.removeEventListener("message", end);
        done();
      };
      const timer = setTimeout(end, WINDOW_MS);
      news.addEventListener("message", end);
    });

  const renew = async () => {
    await inFrame();
    if (await isSignedIn()) return true;
    await inWindow();
    return isSignedIn();
  };

  const asksForSignIn = async (response) => {
    const kind = response.headers.get("content-type") ?? "";
    if (response.status !== 401 || !kind.startsWith("application/problem+json")) return false;
    try {
      const problem = await response.clone().json();
      return typeof problem.login_url === "string" && String(problem.type).startsWith("urn:countersign:problem:");
    } catch {
      return false;
    }
  };

  window.fetch = async (input, init) => {
    const request = new Request(input, init);
    const again = request.clone();
    const response = await send(request);
    if (!(await asksForSignIn(response))) return response;
    renewing ??= renew().finally(() => (renewing = null));
    return (await renewing) ? send(again) : response;
  };
})();
