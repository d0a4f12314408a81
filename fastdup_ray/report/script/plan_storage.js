// A plan in the storage of this browser: in localStorage or, if it is too large for that, in IndexedDB.

const DATABASE = "fastdup-ray";
const STORE = "plans";
const ELSEWHERE = "in IndexedDB"; // instead of a plan in localStorage

export const browserStorage = {
  async load(key) {
    const stored = localStorage.getItem(key);
    const text = stored === ELSEWHERE ? await useDatabase("readonly", (store) => store.get(key)) : stored;
    return text ? new TextEncoder().encode(text) : null;
  },
  async save(key, text) {
    try {
      localStorage.setItem(key, text);
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
      await useDatabase("readwrite", (store) => store.put(text, key));
      localStorage.setItem(key, ELSEWHERE);
    }
  },
};

/** Do something with the object store. Returns the result of the request that `act` makes. */
async function useDatabase(mode, act) {
  const opening = indexedDB.open(DATABASE, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  const database = await settle(opening);
  try {
    return await settle(act(database.transaction(STORE, mode).objectStore(STORE)));
  } finally {
    database.close();
  }
}

function settle(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
