/** Which requests for a lease a node refuses before it looks what it has free. */
import { expect, test } from "bun:test";
import type { Identity } from "../../src/executor/admission/identity.ts";
import { refusalOf } from "../../src/executor/admission/lease-request.ts";
import { Quota } from "../../src/executor/admission/quota.ts";
import { none } from "../../src/executor/sandbox/none/driver.ts";
import { Sandbox } from "../../src/executor/sandbox/sandbox.ts";
import { offerFabrics } from "../../src/fabric/registry.ts";
import type { Allocate } from "../../src/protocol/lease-messages.ts";

const [SHM] = offerFabrics({ fabric: "shm" });
const CLOSED = new Sandbox({ driver: none, folders: [] });
const ADA: Identity = { user: "ada", maxCores: 4, maxMemoryBytes: 2 ** 30, untilMs: null };
const REQUEST: Allocate = {
  ...{ module: "rfaas:echo", workers: 2, memoryBytes: 4096, slots: 64, polling: null },
  ...{ spinNs: null, loadTimeoutMs: 1000, ttlMs: 1000, budget: {}, fabric: "shm" },
  mailbox: new Uint8Array(5),
};

test("a request that is within all bounds is for the capacity to decide", () => {
  expect(refusalOf(REQUEST, SHM, ADA, new Quota(), CLOSED)).toBeUndefined();
});

test.each<[string, Partial<Allocate>, string, string]>([
  ["more workers than a lease has", { workers: 100_000 }, "RFAAS_NODE_FULL", "take several leases"],
  ["slots that are no power of two", { slots: 3 }, "RFAAS_USAGE", "it is 3"],
  ["more slots than a worker has", { slots: 2 ** 20 }, "RFAAS_USAGE", "must be a power of two"],
  ["no mailbox", { mailbox: null }, "RFAAS_PROTOCOL", "needs a mailbox"],
  ["an image where there is no room", { image: "debian" }, "RFAAS_NOT_ALLOWED", "--sandbox podman"],
  ["more memory than the token", { heapBytes: 2 ** 31 }, "RFAAS_TOKEN_LIMIT", "good for 1 GiB"],
  ["more cores than the token", { coresPerWorker: 3 }, "RFAAS_TOKEN_LIMIT", "good for 4 cores"],
])("a request with %s is refused", (_, more, code, why) => {
  const refused = refusalOf({ ...REQUEST, ...more }, SHM, ADA, new Quota(), CLOSED);
  expect(refused).toMatchObject({ code, message: expect.stringContaining(why) });
});

test("a request that asks for encryption is refused over a fabric that sends and cannot encrypt", () => {
  const asks = { ...REQUEST, encrypt: true };
  expect(refusalOf(asks, SHM, ADA, new Quota(), CLOSED)).toBeUndefined();
  const [tcp] = offerFabrics({ fabric: "tcp" });
  const over = (encryption: { problem(): string | null } | undefined) => {
    const { encryption: _, ...fabric } = tcp!.fabric;
    const offer = { ...tcp!, fabric: { ...fabric, ...(encryption && { encryption }) } };
    return refusalOf(asks, offer, ADA, new Quota(), CLOSED);
  };
  expect(over({ problem: () => null })).toBeUndefined();
  expect(over(undefined)).toMatchObject({
    code: "RFAAS_NO_SHARED_FABRIC",
    message: "on the node, the fabric tcp does not encrypt what it sends; take tcp",
  });
  expect(over({ problem: () => "it lacks libssl; install it" })?.message).toBe(
    "on the node, what the fabric tcp sends cannot be encrypted: it lacks libssl; install it",
  );
});

test("a request over a fabric that the client cannot use, or with a token that has expired, is refused", () => {
  expect(refusalOf(REQUEST, undefined, ADA, new Quota(), CLOSED)).toMatchObject({
    code: "RFAAS_NO_SHARED_FABRIC",
  });
  const late = { ...ADA, untilMs: 1 };
  expect(refusalOf(REQUEST, SHM, late, new Quota(), CLOSED)?.message).toContain(
    "the token of ada has expired",
  );
});
