/** The client of the latency benchmark: writes the input, calls, checks the output, in every call of every window. */
import { delayer } from "../../ffi/floor.ts";
import { tickCounter, ticksPerNs } from "../../ffi/system.ts";
import type { Lease } from "../../src/client/lease/lease.ts";
import type { Delays } from "../sweep.ts";

/** Calls before a window counts, back to back: enough for the JIT's last tier on both sides. */
const WARMUP_CALLS = 60_000;
/** At each delay, before its calls count. */
const DELAY_WARMUP_CALLS = 100;

export interface EchoOptions {
  bytes: number;
  /** The function of the lease; `pace` sets the delay of it where there are some. */
  name: string;
  /** Writes every byte instead of the first and the last. */
  copies: boolean;
  /** Start calls at this rate; 0 for back to back. */
  ratePerS: number;
  delays: Delays;
  warmUpMs: number;
  /** Makes the calls on these buffers; the lease where nothing else is told. */
  callerOf?: ((input: Uint8Array, output: Uint8Array) => Caller) | undefined;
}

export type Caller = Pick<Lease, "invoke">;

export class EchoClient {
  readonly #lease: Lease;
  readonly #caller: Caller;
  readonly #name: string;
  readonly #input: Uint8Array<ArrayBuffer>;
  readonly #output: Uint8Array<ArrayBuffer>;
  readonly #pace: Uint32Array<ArrayBuffer>;
  readonly #copies: boolean;
  readonly #gapTicks: number;
  readonly #delays: Delays;
  readonly #warmUpMs: number;
  readonly #tick = tickCounter();
  readonly #delay = delayer();
  #mark = 0;

  constructor(
    lease: Lease,
    { bytes, name, copies, ratePerS, delays, warmUpMs, callerOf }: EchoOptions,
  ) {
    this.#warmUpMs = warmUpMs;
    this.#lease = lease;
    this.#name = name;
    this.#input = lease.input(Uint8Array, bytes);
    this.#output = lease.output(Uint8Array, bytes);
    this.#caller = callerOf?.(this.#input, this.#output) ?? lease;
    this.#pace = lease.input(Uint32Array, 1);
    this.#copies = copies && bytes > 8;
    this.#delays = delays;
    this.#gapTicks = ratePerS === 0 ? 0 : (1e9 / ratePerS) * ticksPerNs();
  }

  /** Every delay has its turn, so that the JIT has seen calls with one and without. */
  warmUp(): void {
    const until = Bun.nanoseconds() + this.#warmUpMs * 1e6;
    const delays = this.#delays.calls.asked;
    const turn = Math.ceil(WARMUP_CALLS / delays.length);
    for (let i = 0; i < WARMUP_CALLS && (i % 256 !== 0 || Bun.nanoseconds() < until); i++) {
      if (delays.length > 1 && i % turn === 0) this.#pauseFor(delays[i / turn]!);
      this.#call();
    }
  }

  /** Fills `ticks` with round trips: as many at each delay, which is part of the worker's time and not of the client's. */
  window(ticks: Uint32Array): void {
    if (this.#gapTicks > 0) return this.#pacedWindow(ticks);
    const delays = this.#delays.calls.asked;
    const count = ticks.length / delays.length;
    if (delays.length === 1) return this.#windowAt(0, ticks);
    const warmUp = new Uint32Array(DELAY_WARMUP_CALLS);
    for (let i = 0; i < delays.length; i++) {
      this.#pauseFor(delays[i]!);
      this.#windowAt(delays[i]!, warmUp);
      this.#windowAt(delays[i]!, ticks.subarray(i * count, (i + 1) * count));
    }
  }

  #windowAt(delayTicks: number, ticks: Uint32Array): void {
    const tick = this.#tick;
    const delay = this.#delay;
    for (let i = 0; i < ticks.length; i++) {
      if (delayTicks !== 0) delay(delayTicks);
      const before = tick();
      this.#call();
      ticks[i] = tick() - before;
    }
  }

  /** Starts calls on a beat; the wait between them is not counted. */
  #pacedWindow(ticks: Uint32Array): void {
    const tick = this.#tick;
    let begun = tick();
    for (let i = 0; i < ticks.length; i++) {
      while ((tick() - begun) >>> 0 < this.#gapTicks);
      begun = tick();
      this.#call();
      ticks[i] = tick() - begun;
    }
  }

  /** Lets the worker wait so long before it answers, from the next call on. */
  #pauseFor(ticks: number): void {
    this.#pace[0] = ticks;
    this.#lease.invoke("pace", this.#pace, this.#output);
  }

  #call(): void {
    const input = this.#input;
    const output = this.#output;
    const last = input.length - 1;
    const mark = (this.#mark = (this.#mark + 1) & 0xff);
    if (this.#copies) input.fill(mark);
    else {
      input[0] = mark;
      input[last] = mark;
    }
    const written = this.#caller.invoke(this.#name, input, output);
    if (written !== input.length || output[0] !== mark || output[last] !== mark)
      throw new Error(
        `call ${mark} returned ${written} bytes, ${output[0]} .. ${output[last]}: the echo is wrong`,
      );
  }
}
