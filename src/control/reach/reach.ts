/**
 * Whether a node is reached where it says that it is: the asker connects to the address and puts a question, which only this node can
 * answer. In clear and apart from control connections: both words are random, serve for this once and tell nothing.
 */
import { timingSafeEqual } from "node:crypto";
import { lookup } from "node:dns/promises";
import { BlockList, connect, isIP, isIPv6 } from "node:net";
import { within } from "../../base/waiting.ts";
import type { Address } from "../address.ts";

/** What a node's manager has found at its address. A word that is not known here may come from a later version. */
export type Reached =
  | "yes"
  /** A name that the asker cannot resolve. */
  | "unknown-name"
  | "refused"
  | "timeout"
  /** No route leads there. */
  | "unreachable"
  /** Something answers there, and not as this node. */
  | "another"
  /** The address leads each machine to itself, and asker and node are on different ones. */
  | "loopback"
  /** A socket's path, and asker and node are on different machines. */
  | "socket"
  /** It was not reached, and the asker says no more to a node that it does not know. */
  | "unproven";

/** Two words of a node: what is asked, and what it answers. */
export interface Proof {
  question: Uint8Array;
  answer: Uint8Array;
}

export const PROOF_BYTES = 16;
/** No frame of a control connection is as long as this would make it. */
const BEGINS = Buffer.from("RFck");

/** How the question comes to a node's port. */
export const QUESTION = {
  begins: BEGINS,
  bytes: BEGINS.length + PROOF_BYTES,
  of: (message: Uint8Array): Uint8Array => message.subarray(BEGINS.length),
};

/** The node's side: the answer to the question that it has given out last. */
export class OwnAddress {
  #proof: Proof | undefined;

  /** New words; earlier ones count no longer. */
  newProof(): Proof {
    const random = () => crypto.getRandomValues(new Uint8Array(PROOF_BYTES));
    return (this.#proof = { question: random(), answer: random() });
  }

  /** Undefined when the question is another one. */
  answerTo(question: Uint8Array): Uint8Array | undefined {
    const proof = this.#proof;
    return proof && timingSafeEqual(proof.question, question) ? proof.answer : undefined;
  }
}

/** Addresses of a name that are tried. */
const MAX_TRIED = 4;

const OWN = new BlockList();
OWN.addSubnet("127.0.0.0", 8);
OWN.addSubnet("0.0.0.0", 8);
OWN.addAddress("::1", "ipv6");
OWN.addAddress("::", "ipv6");

/** Without the form that IPv4 has on a socket of both families. */
export const plainAddress = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/i, "");

/** Whether an address leads each machine to itself. */
export function leadsToItself(address: string): boolean {
  const plain = plainAddress(address).split("%")[0]!;
  return isIP(plain) !== 0 && OWN.check(plain, isIPv6(plain) ? "ipv6" : "ipv4");
}

export interface Reaching {
  /** The node is on this machine. */
  local: boolean;
  limitMs: number;
}

export interface Found {
  reached: Reached;
  /** The addresses that were tried. */
  tried: string[];
}

/** Looks for the node of the proof at an address, which it may name by a name. Never rejects. */
export async function reach(
  address: Address,
  proof: Proof,
  { local, limitMs }: Reaching,
): Promise<Found> {
  if (address.kind === "unix") return { reached: local ? "yes" : "socket", tried: [] };
  const startedMs = performance.now();
  const all = await addressesOf(address.host, limitMs);
  if (all.length === 0) return { reached: "unknown-name", tried: [] };
  const tried = all.filter((one) => local || !leadsToItself(one)).slice(0, MAX_TRIED);
  if (tried.length === 0) return { reached: "loopback", tried };
  const leftMs = Math.max(1, limitMs - (performance.now() - startedMs));
  const asked = tried.map((host) => ask(host, address.port, proof, leftMs));
  const found = await Promise.all(asked);
  return { reached: TELLING.find((one) => found.includes(one))!, tried };
}

/** Of several addresses, what tells most. */
const TELLING = ["yes", "another", "refused", "timeout", "unreachable"] as const;

/** Of a name, or the address itself. None where the name is not resolved in time. */
export async function addressesOf(host: string, limitMs: number): Promise<string[]> {
  if (isIP(host.split("%")[0]!) !== 0) return [host];
  try {
    const looked = lookup(host, { all: true });
    const found = await within(looked, limitMs, () => new Error("no name server answers"));
    return [...new Set(found.map(({ address }) => address))];
  } catch {
    return [];
  }
}

/** The answer, or how the attempt failed. */
function ask(
  host: string,
  port: number,
  { question, answer }: Proof,
  limitMs: number,
): Promise<(typeof TELLING)[number]> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    let connected = false;
    let heard: Uint8Array = new Uint8Array(0);
    const end = (found: (typeof TELLING)[number]): void => {
      clearTimeout(overdue);
      socket.destroy();
      resolve(found);
    };
    const overdue = setTimeout(() => end(connected ? "another" : "timeout"), limitMs);
    socket.on("connect", () => {
      connected = true;
      socket.write(Buffer.concat([BEGINS, question]));
    });
    socket.on("data", (bytes: Buffer) => {
      heard = Buffer.concat([heard, bytes]);
      if (heard.length < answer.length) return;
      end(timingSafeEqual(heard.subarray(0, answer.length), answer) ? "yes" : "another");
    });
    socket.on("error", ({ code }: NodeJS.ErrnoException) => {
      if (connected) return end("another");
      end(code === "ECONNREFUSED" ? "refused" : code === "ETIMEDOUT" ? "timeout" : "unreachable");
    });
    socket.on("close", () => end(connected ? "another" : "unreachable"));
  });
}
