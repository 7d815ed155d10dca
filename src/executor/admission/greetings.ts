/** What comes to a node's port: control connections, plain and TLS, and those of fabrics whose data comes there, told apart by their first bytes. */
import { beginsTls } from "../../control/accept/first-bytes.ts";
import { QUESTION } from "../../control/reach/reach.ts";
import type { Greeting } from "../../fabric/fabric.ts";

export type Arrival =
  /** More bytes must come. */
  | { kind: "unknown" }
  | { kind: "control" }
  | { kind: "tls" }
  /** The whole greeting of a connection for data. */
  | { kind: "data"; greeting: Greeting }
  /** A manager looks whether this is the node that it knows. */
  | { kind: "look"; question: Uint8Array }
  /** It began as one of these and went on as none. */
  | { kind: "wrong" };

/** What the first bytes of a connection say of it. */
export function sortArrival(first: Uint8Array, greetings: readonly Greeting[]): Arrival {
  for (const greeting of [QUESTION, ...greetings]) {
    const { begins, bytes } = greeting;
    const seen = Math.min(first.length, begins.length);
    if (!begins.subarray(0, seen).every((byte, i) => byte === first[i])) continue;
    // A client waits for the answer before it says more.
    if (first.length > bytes) return { kind: "wrong" };
    if (first.length < bytes) return { kind: "unknown" };
    if (greeting === QUESTION) return { kind: "look", question: QUESTION.of(first) };
    return { kind: "data", greeting: greeting as Greeting };
  }
  const tls = beginsTls(first);
  return { kind: tls === undefined ? "unknown" : tls ? "tls" : "control" };
}
