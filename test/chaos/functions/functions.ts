/** Functions that count their runs: each says first for which call it runs, then takes some milliseconds, then answers. */
import { appendFileSync } from "node:fs";
import { Type, defineFunction, struct } from "rfaas/function";
import { answerTo } from "./answer.ts";
import { clockSince } from "./clock.ts";
import { COLLECTOR, EFFECTS, MACHINE_STARTED_MS } from "./place.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const now = clockSince(MACHINE_STARTED_MS);

const said = (client: number, call: number): string =>
  `${JSON.stringify({ t: now(), by: "function", e: "effect", client, call })}\n`;

/** Lines are short enough for the kernel to append each as a whole. */
const toFile = (client: number, call: number): void => appendFileSync(EFFECTS, said(client, call));

/** Over loopback or a cable of the run's own, a datagram that was sent is in the collector's buffer. */
async function toPort(): Promise<typeof toFile> {
  const socket = await Bun.udpSocket({ connect: COLLECTOR });
  return (client, call) => {
    while (!socket.send(said(client, call)));
  };
}

async function way(): Promise<typeof toFile> {
  try {
    appendFileSync(EFFECTS, "");
    return toFile;
  } catch {
    // In a room.
    return await toPort();
  }
}
const effect = await way();

const orderOf = (input: Bytes): [client: number, call: number, ms: number] => {
  const view = new DataView(input.buffer, input.byteOffset, 12);
  return [view.getUint32(0, true), view.getUint32(4, true), view.getUint32(8, true)];
};

const reply = (output: Bytes, client: number, call: number): number => {
  new DataView(output.buffer, output.byteOffset, 4).setUint32(0, answerTo(client, call), true);
  return 4;
};

/** The input is who calls, the number of the call, and how many milliseconds to take. */
export function work(input: Bytes, output: Bytes): number {
  const [client, call, ms] = orderOf(input);
  effect(client, call);
  Bun.sleepSync(ms);
  return reply(output, client, call);
}

/** As {@link work}, but waits on the event loop. */
export async function later(input: Bytes, output: Bytes): Promise<number> {
  const [client, call, ms] = orderOf(input);
  effect(client, call);
  await Bun.sleep(ms);
  return reply(output, client, call);
}

const Order = Type.Object({ client: Type.Integer(), call: Type.Integer(), ms: Type.Integer() });

export const value = defineFunction(
  { input: Order, output: Type.Object({ answer: Type.Integer() }) },
  async ({ client, call, ms }) => {
    effect(client, call);
    await Bun.sleep(ms);
    return { answer: answerTo(client, call) };
  },
);

export const record = defineFunction(
  {
    input: struct({ client: "u32", call: "u32", ms: "u32" }),
    output: struct({ answer: "u32" }),
  },
  ({ client, call, ms }, out) => {
    effect(client, call);
    Bun.sleepSync(ms);
    out.answer = answerTo(client, call);
  },
);
