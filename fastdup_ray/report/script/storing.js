// Where decisions stay while one goes on: in this browser, or with the server that shows the page.
import { data, server } from "./data.js";
import { tell } from "./elements.js";

const KEY = `fastdup-ray plan of ${data.run}`;
const WAIT = 400; // milliseconds after the last change

const inBrowser = {
  async load() {
    const text = localStorage.getItem(KEY);
    return text === null ? null : new TextEncoder().encode(text);
  },
  async save(text) {
    localStorage.setItem(KEY, text);
  },
  words: "kept in this browser: save a plan file to use them",
};

let tag; // of the plan that the server has, also where nothing is saved yet; a plan is saved in the place of this one

async function ask(options) {
  const answer = await fetch(server.plan, options);
  if (!answer.ok) throw new Error(await answer.text());
  tag = answer.headers.get("ETag");
  return answer;
}

const withServer = {
  async load() {
    const answer = await ask({});
    return answer.status === 204 ? null : new Uint8Array(await answer.arrayBuffer());
  },
  async save(text) {
    await ask({ method: "PUT", headers: { "Content-Type": "application/json", "If-Match": tag }, body: text });
  },
  words: `saved in ${data.plan.file} of the run`,
};

const place = server ? withServer : inBrowser;
if (server) document.getElementById("promise").textContent = "pictures and decisions go to and from this address only";

/** Loads what there is, and from then on saves each change. show: is told in words how it stands. */
export async function keepStored(decisions, show) {
  try {
    const stored = await place.load();
    if (stored) decisions.read(stored);
  } catch (error) {
    // What could not be read is never written over.
    show(`not kept: ${error.message}`);
    tell("Decisions cannot be kept here: save a plan file before you leave.");
    return;
  }
  let timer = 0;
  let saving = Promise.resolve();
  const save = () => {
    timer = 0;
    saving = saving.then(async () => {
      try {
        await place.save(decisions.toJson());
        show(place.words);
      } catch (error) {
        show(`not kept: ${error.message}`);
      }
    });
  };
  decisions.addEventListener("change", () => {
    clearTimeout(timer);
    show("…");
    timer = setTimeout(save, WAIT);
  });
  addEventListener("pagehide", () => timer && save());
  show(place.words);
}
