/**
 * Each side has a receive posted for every message that the other may send, although those that were used are posted again in lots,
 * and only when the side looks for more.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { REQUEST } from "../../ffi/worker-endpoint.ts";
import { notReady, withDevice } from "../support/rdma.ts";
import { until } from "../support/until.ts";
import { Connected, Listener, SHAPE } from "./verbs-pair.ts";

/** Several lots of receives on both sides. */
const ROUNDS = 40;
const OUTPUT_AT = 32 * 1024;
/** One travels in the request's line, one behind it. */
const SIZES = [4, 40];

withDevice("receives of a connection", (device) => {
  let node: Listener;
  let caller: Connected;
  beforeAll(async () => {
    node = await Listener.open(device.address);
    caller = await Connected.open(device.address, node);
  });
  afterAll(() => {
    caller?.[Symbol.dispose]();
    node?.[Symbol.dispose]();
  });

  /** Fills the ring, lets the node answer all of it before the client looks, then takes the results in the `order` of the slots. */
  async function round(at: number, order: (slots: number[]) => number[]): Promise<void> {
    const { client, region } = caller;
    const { worker } = node;
    const bytes = SIZES[at % SIZES.length]!;
    const slots: number[] = [];
    for (let call = 0; call < SHAPE.slots; call++) {
      const [from, to] = [128 * (call + 1), OUTPUT_AT + 64 * call];
      new Uint8Array(region.arena, from, bytes).fill(at + call);
      slots.push(client.post(0, from, bytes, to, bytes, 0));
    }
    expect(new Set(slots).size).toBe(SHAPE.slots);
    let answered = 0;
    await until(() => {
      let slot = worker.turn(-1, 0, 1);
      for (; slot >= 0; answered++) {
        const word = slot * worker.slotWords;
        const [length, output] = [REQUEST.inputLength, REQUEST.outputOffset].map(
          (field) => worker.requests[word + field]!,
        ) as [number, number];
        const call = (output - OUTPUT_AT) / 64;
        new Uint8Array(node.region.arena, output, length).fill(at + call);
        slot = worker.turn(slot, length, 1);
      }
      return answered === SHAPE.slots;
    }, "the node has answered all calls");
    for (const slot of order(slots)) {
      await until(() => {
        const result = client.test(slot);
        if (result >= 0) expect(result).toBe(bytes);
        return result >= 0;
      }, "the answer is there");
      const call = slots.indexOf(slot);
      expect(new Uint8Array(region.arena, OUTPUT_AT + 64 * call, bytes)).toEqual(
        new Uint8Array(bytes).fill(at + call),
      );
    }
  }

  const ORDERS = {
    "in the order of the calls": (slots: number[]) => slots,
    "in the opposite order": (slots: number[]) => slots.toReversed(),
  };
  for (const [name, order] of Object.entries(ORDERS))
    test(`are there for a ring full of calls, again and again, and results are taken ${name}`, async () => {
      const before = notReady(device);
      for (let at = 0; at < ROUNDS; at++) await round(at, order);
      expect(notReady(device)).toEqual(before);
    });
});
