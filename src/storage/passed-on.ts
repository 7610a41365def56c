import type { Store } from "./store.js";

/** What a wrapper of a store leaves as it is: its root, and those of the optional methods that it has. */
export function passedOn(store: Store): Pick<Store, "uri" | "write" | "remove" | "close"> {
  const write = store.write?.bind(store);
  const remove = store.remove?.bind(store);
  const close = store.close?.bind(store);
  return { uri: store.uri, ...(write && { write }), ...(remove && { remove }), ...(close && { close }) };
}
