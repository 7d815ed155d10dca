/**
 * Results that did not fit into the output that the caller had given: kept until the caller, who is told how long they are, comes
 * for them with more room. So no function runs twice.
 */

/** Results of one worker that nobody has come for; with more, the oldest are forgotten. */
const MAX_RESULTS = 64;
/** All of them together; the newest is kept in any case. */
const MAX_BYTES = 256 * 1024 * 1024;
/** A caller that has not come by then has given up. */
const MAX_AGE_MS = 60_000;

/** Ends a call instead of an answer. */
export class ResultKept extends Error {
  override readonly name = "ResultKept";
  readonly code = "RFAAS_RESULT_KEPT";
  readonly ticket: number;
  readonly bytes: number;
  constructor(ticket: number, bytes: number) {
    super(`the result has ${bytes} bytes, more than its output holds; fetch it with more room`);
    this.ticket = ticket;
    this.bytes = bytes;
  }
}

export class KeptResults {
  /** In the order in which they came. */
  readonly #results = new Map<number, { bytes: Uint8Array; atMs: number }>();
  #bytes = 0;
  #ticket = 0;

  /** Keeps a copy. */
  keep(result: Uint8Array): ResultKept {
    const ticket = (this.#ticket = (this.#ticket + 1) >>> 0);
    const nowMs = performance.now();
    this.#results.set(ticket, { bytes: result.slice(), atMs: nowMs });
    this.#bytes += result.length;
    for (const [oldest, { atMs }] of this.#results) {
      const tooMany = this.#results.size > MAX_RESULTS || this.#bytes > MAX_BYTES;
      if (oldest === ticket || (!tooMany && nowMs - atMs < MAX_AGE_MS)) break;
      this.drop(oldest);
    }
    return new ResultKept(ticket, result.length);
  }

  drop(ticket: number): void {
    this.#bytes -= this.#results.get(ticket)?.bytes.length ?? 0;
    this.#results.delete(ticket);
  }

  /** The hidden function: its input is a ticket, its output the result. */
  readonly fetch = (input: Uint8Array<ArrayBuffer>, output: Uint8Array<ArrayBuffer>): number => {
    const ticket = new DataView(input.buffer, input.byteOffset, input.length).getUint32(0, true);
    const result = this.#results.get(ticket)?.bytes;
    if (result === undefined)
      throw Object.assign(
        new Error("the result is no longer kept: too many others did not fit either; call again"),
        { code: "RFAAS_RESULT_GONE" },
      );
    if (result.length > output.length)
      throw new RangeError(`the result has ${result.length} bytes, the output ${output.length}`);
    this.drop(ticket);
    output.set(result);
    return result.length;
  };
}
