/** Someone who answers requests with the bytes that they carry, and whom one asks again when the answer is there. */
export interface Peer extends AsyncDisposable {
  readonly name: string;
  /** Fills `tookNs` with round trips of `bytes` bytes, one after the other. Rejects when an answer is wrong. */
  window(bytes: number, tookNs: Float64Array): Promise<void>;
}

/** Asks once, and resolves to the answer. */
export type Ask = (request: Uint8Array<ArrayBuffer>) => Promise<Uint8Array>;

/** A window of requests that are written anew each time, and whose answers are checked, as those of rfaas are. */
export async function askInTurn(ask: Ask, bytes: number, tookNs: Float64Array): Promise<void> {
  const request = new Uint8Array(bytes);
  for (let i = 0; i < tookNs.length; i++) {
    const before = Bun.nanoseconds();
    const mark = (i + 1) & 0xff;
    request.fill(mark);
    const answer = await ask(request);
    if (answer.length !== bytes || answer[0] !== mark || answer[bytes - 1] !== mark)
      throw new Error(`an answer of ${answer.length} bytes is not what was asked`);
    tookNs[i] = Bun.nanoseconds() - before;
  }
}
