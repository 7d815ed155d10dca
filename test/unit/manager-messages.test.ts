import { describe, expect, test } from "bun:test";
import { ProtocolError } from "../../src/base/errors.ts";
import { MAX_FRAME_BYTES, encodeFrame } from "../../src/protocol/frame.ts";
import {
  MAX_PART_ENTRIES,
  type NodeInfo,
  type UsageReport,
  inParts,
  managerToClientVocabulary,
  managerToNodeVocabulary,
  toManagerVocabulary,
} from "../../src/protocol/manager-messages.ts";

/** Three bytes each in UTF-8: no character takes more of a string's length. */
const long = (characters: number): string => "€".repeat(characters);
const node: NodeInfo = {
  name: "n".repeat(128),
  instance: long(128),
  address: long(256),
  cores: 1024,
  memoryBytes: 2 ** 50,
  freeCores: 1024,
  freeMemoryBytes: 2 ** 50,
  leases: 0xffffffff,
  fabrics: new Array<string>(16).fill(long(64)),
  machine: long(128),
  version: long(128),
  state: "draining",
};
const report: UsageReport = {
  lease: long(256),
  node: "n".repeat(128),
  user: long(256),
  workers: 0xffffffff,
  startedAtMs: 8.64e15,
  endedAtMs: 8.64e15,
  reason: long(256),
  usage: { allocationCoreNs: 1e21, executionNs: 1e21, pollingNs: 1e21, calls: 1e21, bytes: 1e21 },
};
const all = <T>(entry: T): T[] => new Array<T>(MAX_PART_ENTRIES).fill(entry);

const announce = {
  t: "announce",
  protocol: 1,
  version: "0",
  name: "n1",
  instance: "i",
  address: "h:1",
  cores: 1,
  memoryBytes: 1,
  fabrics: ["shm"],
  machine: "m",
  token: null,
  settling: false,
};
const toManager = [
  announce,
  { ...announce, token: "t" },
  { t: "capacity", freeCores: 0, freeMemoryBytes: 0, leases: 0, draining: false },
  { t: "report-usage", id: 1, reports: all(report) },
  { t: "leaving" },
  { t: "get-counters", id: 1, fabric: "verbs" },
  { t: "bind-row", id: 1, row: 0, lease: long(256) },
  { t: "check-address", id: 1, question: new Uint8Array(16), answer: new Uint8Array(16) },
  { t: "subscribe", protocol: 1, version: "0", token: null },
  { t: "list-leases", id: 1 },
];
const toNode = [
  { t: "accepted", name: "n1", publicKey: null },
  { t: "refused", code: "X", message: "m" },
  { t: "alive" },
  { t: "report-usage-reply", id: 1 },
  { t: "ledger", problem: null },
  { t: "ledger", problem: "full" },
  { t: "get-counters-reply", id: 1, address: "10.0.0.1", port: 65_535, nonce: new Uint8Array(16) },
  { t: "failed", id: 1, code: "RFAAS_NO_COUNTERS", message: "no device" },
  { t: "bind-row-reply", id: 1 },
  { t: "check-address-reply", id: 1, reached: long(128) },
  { t: "drain", deadlineMs: 0 },
  { t: "resume" },
  { t: "remove" },
];
const toClient = [
  { t: "manager-key", publicKey: "k" },
  { t: "refused", code: "X", message: "m" },
  { t: "alive" },
  { t: "nodes", nodes: all(node), last: true },
  { t: "nodes-changed", nodes: all(node), gone: [] },
  { t: "nodes-changed", nodes: [], gone: all(node.name) },
  { t: "list-leases-reply", id: 1, leases: all(report), last: false },
];

describe.each([
  ["the manager hears", toManagerVocabulary, toManager],
  ["the manager says to a node", managerToNodeVocabulary, toNode],
  ["the manager says to a client", managerToClientVocabulary, toClient],
] as const)("what %s", (_, vocabulary, messages) => {
  test("passes when it is sound, and fits a frame at its longest", () => {
    for (const message of messages) {
      expect(vocabulary.parse(message) as unknown).toBe(message);
      expect(encodeFrame(message).length).toBeLessThan(MAX_FRAME_BYTES);
    }
  });

  test("is refused when a field is missing or of another type, and the field is named", () => {
    for (const message of messages)
      for (const field of Object.keys(message)) {
        if (field === "t") continue;
        const { [field]: _missing, ...rest } = message as Record<string, unknown>;
        expect(() => vocabulary.parse(rest)).toThrow(ProtocolError);
        const wrong = { ...message, [field]: Symbol("no message has one") };
        expect(() => vocabulary.parse(wrong)).toThrow(`malformed at /${field}`);
      }
  });
});

test.each([0, 1, MAX_PART_ENTRIES, MAX_PART_ENTRIES + 1, 3 * MAX_PART_ENTRIES])(
  "a list of %i travels whole, in one part at least",
  (length) => {
    const list = Array.from({ length }, (_, i) => i);
    const parts = inParts(list);
    expect(parts.flat()).toEqual(list);
    expect(parts).toHaveLength(Math.max(1, Math.ceil(length / MAX_PART_ENTRIES)));
    for (const part of parts) expect(part.length).toBeLessThanOrEqual(MAX_PART_ENTRIES);
  },
);
