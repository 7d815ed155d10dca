/** Sides of a tcp connection that do not look for long, while more waits for them than the kernel holds. */
import { describe, expect, test } from "bun:test";
import { until } from "../support/until.ts";
import type { LocalPair, Shape } from "./conformance.ts";
import { payloads } from "./conformance-payloads.ts";
import { linked } from "./linked.ts";

const ADDRESS = "127.0.0.1";
/** More than the kernel of a machine lets a connection hold. */
const LARGE = 48 * 1024 * 1024;
const SHAPE: Shape = { polling: "warm", slots: 8, arenaBytes: 2 * LARGE };
/** Twice as long as a path may acknowledge nothing (RFAAS_PATH_DEAD_MS): it acknowledges, and has no room. */
const STALL_MS = 3000;

/** What stalls is the subject: this waits for a time to be over. */
async function stall(): Promise<void> {
  const began = performance.now();
  await until(() => performance.now() - began > STALL_MS, "the side has not looked for long");
}

async function called(pair: LocalPair, slot: number): Promise<number> {
  let found = -1;
  await until(() => (found = pair.worker.turn(-1, 0, 1)) >= 0 || pair.client.lost(), "it comes");
  expect(found).toBe(slot);
  return found;
}

describe.each(["tcp", "encrypted tcp"])("over %s", (fabric) => {
  test("a worker that is busy for long while a large input waits for it takes it then", async () => {
    await using pair = await linked(fabric, ADDRESS, 1).local(SHAPE);
    new Uint8Array(pair.clientArena).fill(7, 0, LARGE);
    const slot = pair.client.post(0, 0, LARGE, LARGE, 64, 0);
    await stall();
    const at = await called(pair, slot);
    const [input] = payloads(pair.worker, pair.workerArena, at);
    expect(input.length).toBe(LARGE);
    expect([input[0], input.at(-1)]).toEqual([7, 7]);
    pair.worker.turn(at, 8, 1);
    await until(() => pair.client.test(slot) === 8, "it is answered");
  }, 60_000);

  test("a client that is busy for long while a large answer waits for it takes it then", async () => {
    await using pair = await linked(fabric, ADDRESS, 1).local(SHAPE);
    const slot = pair.client.post(0, 0, 40, 0, LARGE, 0);
    const at = await called(pair, slot);
    pair.worker.turn(at, LARGE, 1);
    await stall();
    await until(() => pair.client.test(slot) === LARGE, "the answer is there");
  }, 60_000);
});
