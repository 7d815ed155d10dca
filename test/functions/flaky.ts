/** Functions whose calls fail before they succeed, for the tests of retries. */
import type { RawFunction } from "../../src/function/index.ts";

const wordAt = (input: Uint8Array<ArrayBuffer>, index: number): number =>
  new Uint32Array(input.buffer, input.byteOffset, 2)[index]!;

/** How often a call was attempted is counted where its input says, in the lease's memory: other workers must see it. */
function countAttempt(input: Uint8Array<ArrayBuffer>, memory: ArrayBuffer): number {
  return Atomics.add(new Int32Array(memory), wordAt(input, 0) / 4, 1);
}

/** Input: where to count, and how many attempts fail. Writes the worker that succeeded. */
export const failsAtFirst: RawFunction = (input, output, { worker, memory }) => {
  if (countAttempt(input, memory) < wordAt(input, 1))
    throw Object.assign(new Error("not yet"), { retryable: true });
  new Uint32Array(output.buffer, output.byteOffset, 1)[0] = worker;
  return 4;
};

/** Fails without saying that it may be repeated. */
export const failsForGood: RawFunction = (input, _output, { memory }) => {
  countAttempt(input, memory);
  throw new Error("never");
};

/** Ends worker 0 whenever it runs there. */
export const endsWorker: RawFunction = (_input, output, { worker }) => {
  if (worker === 0) {
    setTimeout(() => {
      throw new Error("this ends the worker");
    }, 0);
    return new Promise<number>(() => {});
  }
  new Uint32Array(output.buffer, output.byteOffset, 1)[0] = worker;
  return 4;
};
