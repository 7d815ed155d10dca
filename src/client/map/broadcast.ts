/** One call on every worker of a lease. */
import type { Call } from "../calls/call.ts";
import type { TypedArray } from "../memory/lease-memory.ts";
import { requireInput } from "./shape.ts";
import { BroadcastOptions } from "../options/call-options.ts";
import { readOptions } from "../../options/read.ts";
import type { Submission } from "../calls/submission.ts";

/** What one worker made of a broadcast. */
export type BroadcastResult =
  | { status: "fulfilled"; worker: number; bytes: number; output: Uint8Array<ArrayBuffer> }
  | { status: "rejected"; worker: number; reason: unknown };

export async function broadcast(
  submission: Submission,
  name: string,
  input: TypedArray,
  given: BroadcastOptions,
): Promise<BroadcastResult[]> {
  requireInput(input, "the input");
  const { outputBytes = input.byteLength, ...options } = readOptions(
    "broadcast",
    BroadcastOptions,
    given,
  );
  const { lanes, memory } = submission.core;
  const buffers: Uint8Array<ArrayBuffer>[] = [];
  const allocate = (bytes: number): Uint8Array<ArrayBuffer> => {
    const buffer = memory.allocate(Uint8Array, bytes);
    buffers.push(buffer);
    return buffer;
  };
  const calls: Call[] = [];
  try {
    const sent = allocate(input.byteLength);
    sent.set(new Uint8Array(input.buffer, input.byteOffset, input.byteLength));
    const outputs = lanes.map(() => allocate(outputBytes));
    for (const [index, output] of outputs.entries()) {
      const worker = lanes[index]!.number;
      calls.push(submission.submit(name, sent, output, { ...options, worker }));
    }
    const ends = await Promise.allSettled(calls);
    return ends.map((end, index) => {
      const worker = lanes[index]!.number;
      if (end.status === "rejected") return { ...end, worker };
      const bytes = end.value;
      return { status: end.status, worker, bytes, output: outputs[index]!.slice(0, bytes) };
    });
  } finally {
    for (const buffer of buffers) if (memory.has(buffer)) memory.free(buffer);
  }
}
