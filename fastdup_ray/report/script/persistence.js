// Where decisions are saved: in this browser, or on the server that shows the page.
import { data, server } from "./data.js";
import { announce } from "./dom.js";
import { browserStorage } from "./plan_storage.js";

const STORAGE_KEY = `fastdup-ray plan of ${data.run}`;
const SAVE_DELAY = 400; // milliseconds after the last change

// The ETag of the plan on the server, even if that is empty. A plan replaces only the one with this tag.
let etag;

async function requestPlan(options) {
  const answer = await fetch(server.planUrl, options);
  if (!answer.ok) throw new Error(await answer.text());
  etag = answer.headers.get("ETag");
  return answer;
}

const serverStorage = {
  async load() {
    const answer = await requestPlan({});
    return answer.status === 204 ? null : new Uint8Array(await answer.arrayBuffer());
  },
  async save(text) {
    await requestPlan({
      method: "PUT",
      headers: { "Content-Type": "application/json", "If-Match": etag },
      body: text,
    });
  },
  place: data.plan.file,
};

const ofBrowser = {
  load: () => browserStorage.load(STORAGE_KEY),
  save: (text) => browserStorage.save(STORAGE_KEY, text),
  place: "this browser",
};

const storage = server ? serverStorage : ofBrowser;
if (server) {
  document.getElementById("privacy").textContent = "Images and decisions are exchanged with this address only.";
}

/**
 * Load the saved decisions, then save each change. Decisions that were made before the saved ones came stay, and are saved,
 * too. showState gets a text that says whether they are saved.
 */
export async function persistDecisions(decisions, showState) {
  let isChanged;
  try {
    const plan = await storage.load();
    isChanged = decisions.canUndo;
    if (plan) decisions.read(plan, { merge: true });
    decisions.forgetHistory();
  } catch (error) {
    // A plan that could not be read must not be overwritten, so nothing is saved from here on.
    showState(`Not saved: ${error.message}`);
    announce("Decisions are not saved here: download the plan before you leave this page.");
    return;
  }
  const savedText = `Saved in ${storage.place} ✓`;
  const { kept, dropped } = decisions.totals;
  let timer = 0;
  let saving = Promise.resolve();
  const save = () => {
    timer = 0;
    saving = saving.then(async () => {
      try {
        await storage.save(decisions.toJson());
        showState(savedText);
      } catch (error) {
        showState(`Not saved: ${error.message}`);
      }
    });
  };
  const saveSoon = () => {
    clearTimeout(timer);
    showState("Saving…");
    timer = setTimeout(save, SAVE_DELAY);
  };
  decisions.addEventListener("change", saveSoon);
  addEventListener("pagehide", () => timer && save());
  if (isChanged) saveSoon();
  else showState(kept || dropped ? savedText : `Decisions are saved in ${storage.place}.`);
}
