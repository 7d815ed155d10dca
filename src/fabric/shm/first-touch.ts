/**
 * First touch: memory of a lease gets its pages as it is handed to the program, on both sides, so that neither the program's first pass
 * over a buffer nor a function's takes a fault for each page.
 */
import type { ClientEndpoint } from "../../../ffi/client-endpoint.ts";
import type { Region } from "../../../ffi/region.ts";
import { memoryLeft } from "../../base/machine/memory-left.ts";

interface Bounds {
  /** What is beyond gets its pages between turns of the event loop. */
  atOnceBytes: number;
  memoryLeft: () => number;
}
/** So much takes 50 to 150 ms, no longer than its first pass would take more. */
const BOUNDS: Bounds = { atOnceBytes: 256 * 1024 * 1024, memoryLeft };
/** What a lease may take without a look at what the machine has left. */
const UNSEEN_BYTES = 16 * 1024 * 1024;
/** A worker that sleeps is woken to map at least so much: a wake-up costs as much as 30 faults. */
const WAKE_BYTES = 256 * 1024;

export class FirstTouch {
  readonly #region: Region;
  readonly #endpoints: readonly ClientEndpoint[];
  readonly #bounds: Bounds;
  /** From the arena's start. */
  #handedOutBytes = 0;
  #unseenBytes = 0;
  /** Of these no worker has been woken to hear. */
  #untoldBytes = 0;
  #goesOn = false;
  #stopped = false;

  constructor(region: Region, endpoints: readonly ClientEndpoint[], bounds: Bounds = BOUNDS) {
    this.#region = region;
    this.#endpoints = endpoints;
    this.#bounds = bounds;
  }

  /**
   * The first `endBytes` bytes of the arena are in the program's buffers, or have been: gives them their pages. Where memory is short it
   * stops, and the rest waits for its first touch. Never throws.
   */
  handOut(endBytes: number): void {
    const bytes = endBytes - this.#handedOutBytes;
    if (bytes <= 0 || this.#stopped) return;
    this.#unseenBytes += bytes;
    if (this.#unseenBytes > UNSEEN_BYTES) {
      // A program that takes much and uses little of it must get no further than it did without.
      if (this.#unseenBytes > this.#bounds.memoryLeft() / 2) return this.stop();
      this.#unseenBytes = 0;
    }
    this.#handedOutBytes = endBytes;
    this.#untoldBytes += bytes;
    if (!this.#goesOn) this.#goOn(this.#bounds.atOnceBytes);
  }

  /** Before the region is closed. */
  stop(): void {
    this.#stopped = true;
  }

  #goOn(budgetBytes: number): void {
    this.#goesOn = !this.#region.handOut(this.#handedOutBytes, budgetBytes);
    if (this.#goesOn) {
      setImmediate(() => {
        if (!this.#stopped) this.#goOn(0);
      }).unref();
    } else if (this.#untoldBytes >= WAKE_BYTES) {
      this.#untoldBytes = 0;
      // One that is woken maps it for all: they are threads of one process.
      this.#endpoints.some((endpoint) => endpoint.rouse());
    }
  }
}
