/** The client of the bandwidth benchmark: large inputs, several in flight. It checks what the worker saw of each. */
import type { PublicCall as Call } from "../../src/client/calls/public-call.ts";
import type { Lease } from "../../src/client/lease/lease.ts";

export type Echo = typeof import("../../functions/echo/echo.ts");

const OUTPUT_BYTES = 8;

/** What a lease needs for `depth` inputs of so many bytes: options of `allocate`. */
export const streamRoom = (bytes: number, depth: number) => ({
  memory: depth * (bytes + OUTPUT_BYTES + 128) + 4096,
  slots: 2 ** Math.ceil(Math.log2(depth)),
});

/** `depth` calls in flight, each with an input of its own. */
export class InputStream {
  readonly #lease: Lease<Echo>;
  readonly #inputs: Uint8Array<ArrayBuffer>[];
  readonly #outputs: Uint8Array<ArrayBuffer>[];
  #count = 0;

  constructor(lease: Lease<Echo>, bytes: number, depth: number) {
    this.#lease = lease;
    this.#inputs = Array.from({ length: depth }, () => lease.input(Uint8Array, bytes));
    this.#outputs = this.#inputs.map(() => lease.output(Uint8Array, OUTPUT_BYTES));
  }

  async run(count: number): Promise<void> {
    const flying: (Call | undefined)[] = this.#inputs.map(() => undefined);
    for (let i = 0; i < count + flying.length; i++) {
      const place = i % flying.length;
      const call = flying[place];
      if (call !== undefined) this.#check(place, await call);
      flying[place] = i < count ? this.#begin(place) : undefined;
    }
  }

  #begin(place: number): Call {
    const input = this.#inputs[place]!;
    const mark = this.#count++ & 0xff;
    input[0] = mark;
    input[input.length - 1] = mark;
    return this.#lease.submit("ends", input, this.#outputs[place]!);
  }

  #check(place: number, written: number): void {
    const input = this.#inputs[place]!;
    const [first, last] = this.#outputs[place]!;
    if (written !== 2 || first !== input[0] || last !== input[input.length - 1])
      throw new Error(`a call returned ${written} bytes, ${first} and ${last}: the input is wrong`);
  }
}
