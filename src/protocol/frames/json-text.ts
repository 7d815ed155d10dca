/** Messages as text of JSON. */
import type { Packing } from "./framing.ts";

/**
 * Between an agent and its hosts: the engine reads and writes it without code of ours, which a host would have to load and to compile
 * while a lease waits for it. Bytes are not among its values.
 */
export const JSON_TEXT: Packing = {
  name: "JSON",
  pack: (message) => Buffer.from(JSON.stringify(message)),
  unpack: (body) => JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.length).toString()),
};
