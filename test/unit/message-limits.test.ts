import { describe, expect, test } from "bun:test";
import { ProtocolError } from "../../src/base/errors.ts";
import { clientVocabulary, nodeVocabulary } from "../../src/protocol/messages.ts";
import { hostVocabulary } from "../../src/protocol/host-messages.ts";

const LONG = "x".repeat(64 * 1024 + 1);
const allocate = {
  t: "allocate",
  id: 1,
  module: "/tmp/fn.ts",
  workers: 1,
  memoryBytes: 1,
  slots: 1,
  polling: "hot",
  spinNs: 0,
  loadTimeoutMs: 1,
  ttlMs: 1,
  budget: {},
  fabric: "shm",
  mailbox: new Uint8Array(5),
};

describe("a request for a lease is refused", () => {
  test.each<[string, unknown]>([
    ["id", 0],
    ["id", 1.5],
    ["id", 2 ** 32],
    ["id", 1n],
    ["module", LONG],
    ["workers", 0],
    ["workers", -1],
    ["workers", "2"],
    ["memoryBytes", 0],
    ["memoryBytes", 2 ** 32 + 1],
    ["memoryBytes", Number.NaN],
    ["memoryBytes", Number.POSITIVE_INFINITY],
    ["slots", 0],
    ["polling", "lukewarm"],
    ["polling", undefined],
    ["spinNs", -1],
    ["loadTimeoutMs", 0],
    ["ttlMs", 0],
    ["ttlMs", 86_400_001],
    ["budget", null],
    ["budget", 1],
    ["fabric", 7],
    ["fabric", LONG],
    ["mailbox", new Uint8Array(4)],
    ["mailbox", new Uint8Array(6)],
    ["mailbox", [1, 2, 3, 4, 5]],
  ])("when its %s is %p", (field, value) => {
    const request = { ...allocate, [field]: value };
    expect(() => clientVocabulary.parse(allocate)).not.toThrow();
    expect(() => clientVocabulary.parse(request)).toThrow(ProtocolError);
    expect(() => clientVocabulary.parse(request)).toThrow(
      `control message "allocate" is malformed at /${field}:`,
    );
  });
});

describe("a malformed field inside another is named by its whole path", () => {
  test("an item of an array", () => {
    const hello = { t: "hello", protocol: 1, version: "0", pid: 1, machine: "m" };
    expect(() => clientVocabulary.parse({ ...hello, fabrics: ["shm", 7] })).toThrow(
      "malformed at /fabrics/1:",
    );
  });

  test("a field of an object", () => {
    const error = { name: "E", message: 5 };
    const failed = { t: "failed", id: 1, code: "X", message: "m", error };
    expect(() => hostVocabulary.parse(failed)).toThrow("malformed at /error/message:");
  });

  test("a field of an optional object", () => {
    const denied = { t: "failed", id: 1, code: "X", message: "m", error: { name: "E" } };
    expect(() => nodeVocabulary.parse(denied)).toThrow("malformed at /error/message:");
  });

  test("a value of a record", () => {
    const loaded = {
      t: "attach-reply",
      id: 1,
      loadNs: 0,
      port: null,
      exports: { functions: [], others: { A: 1 } },
    };
    expect(() => hostVocabulary.parse(loaded)).toThrow("malformed at /exports/others/A:");
  });
});

test("a hello names sixteen fabrics at most", () => {
  const hello = { t: "hello", protocol: 1, version: "0", pid: 1, machine: "m" };
  const fabrics = new Array<string>(16).fill("shm");
  expect(() => clientVocabulary.parse({ ...hello, fabrics })).not.toThrow();
  expect(() => clientVocabulary.parse({ ...hello, fabrics: [...fabrics, "shm"] })).toThrow(
    "malformed at /fabrics:",
  );
});

test("fields that this version does not know do not matter", () => {
  const later = { ...allocate, priority: 3 };
  expect(clientVocabulary.parse(later) as unknown).toBe(later);
});
