/** What comes to a node's port: control connections, plain and TLS, and those of fabrics whose data comes there, told apart by their first bytes. */
import { beginsTls } from "../../control/first-bytes.ts";
import type { Greeting } from "../../fabric/fabric.ts";

export type Arrival =
  /** More bytes must come. */
  | { kind: "unknown" }
  | { kind: "control" }
  | { kind: "tls" }
  /** The whole greeting of a connection for data. */
  | { kind: "data"; greeting: Greeting }
  /** It began as one for data and went on as none. */
  | { kind: "wrong" };

/** What the first bytes of a connection say of it. */
export function sortArrival(first: Uint8Array, greetings: readonly Greeting[]): Arrival {
  for (const greeting of greetings) {
    const { begins, bytes } = greeting;
    const seen = Math.min(first.length, begins.length);
    if (!begins.subarray(0, seen).every((byte, i) => byte === first[i])) continue;
    // A client waits for the answer before it says more.
    if (first.length > bytes) return { kind: "wrong" };
    return first.length === bytes ? { kind: "data", greeting } : { kind: "unknown" };
  }
  const tls = beginsTls(first);
  return { kind: tls === undefined ? "unknown" : tls ? "tls" : "control" };
}
