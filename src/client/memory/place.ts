/** Pieces of a lease's memory: what calls use, and what may only be given to others when no call uses it any more. */
import { INPUT_OWN, OUTPUT_OWN } from "../../../ffi/layout.ts";
import { UsageError } from "../../base/errors.ts";

/** An allocation, or where registered memory of the program's own has its place. */
export class Place {
  /** From the start of the lease's memory, in bytes. */
  readonly offset: number;
  readonly bytes: number;
  /** What the program's views are views of, and where in it the piece begins. */
  readonly buffer: ArrayBufferLike;
  readonly start: number;
  /** For memory of the program's own that the fabric does not use where it is: the lease's memory that it is copied to and from. */
  readonly copy: Uint8Array<ArrayBuffer> | undefined;
  /** What requests say of an input that the fabric uses where it is. */
  readonly inputFlag: number;
  /** For such memory: lets workers write it. */
  readonly #allowWriting: (() => void) | undefined;
  #writable = false;
  /** Calls that use it, or may still do so. */
  calls = 0;
  /** The program has given the piece back; it is free when those calls have ended. */
  givenBack = false;

  constructor(
    at: { offset: number; bytes: number; buffer: ArrayBufferLike; start: number },
    use: { copy?: Uint8Array<ArrayBuffer>; allowWriting?: () => void } = {},
  ) {
    this.offset = at.offset;
    this.bytes = at.bytes;
    this.buffer = at.buffer;
    this.start = at.start;
    this.copy = use.copy;
    this.#allowWriting = use.allowWriting;
    this.inputFlag = use.allowWriting ? INPUT_OWN : 0;
  }

  /** Lets workers write it. Returns what requests say of it as an output. Throws {@link EnvironmentError}. */
  becomeOutput(): number {
    if (this.#allowWriting === undefined) return 0;
    if (!this.#writable) this.#allowWriting();
    this.#writable = true;
    return OUTPUT_OWN;
  }

  /** Memory of the program's own. */
  get isRegistered(): boolean {
    return this.copy !== undefined || this.#allowWriting !== undefined;
  }

  /** Where a view of it begins. Throws {@link UsageError} when what the view says of itself is not within it: a program can define that. */
  offsetOf(view: ArrayBufferView): number {
    const at = view.byteOffset - this.start;
    if (!(at >= 0 && at + view.byteLength <= this.bytes))
      throw new UsageError(
        `a view of ${this.bytes} bytes of the lease's memory says that it has ${view.byteLength} from ${view.byteOffset} on; pass one whose byteLength and byteOffset are not redefined`,
      );
    return this.offset + at;
  }

  /** Copies an input to where its call reads it. */
  bring(input: ArrayBufferView): void {
    this.copy?.set(bytesOf(input, input.byteLength), input.byteOffset - this.start);
  }

  /** Copies a result of so many bytes to where its caller wants it. Throws {@link UsageError} when that is no longer there. */
  fetch(output: ArrayBufferView, bytes: number): void {
    if (this.copy === undefined || bytes === 0) return;
    if (lengthOf(output) < bytes)
      throw new UsageError(
        `the output's memory was transferred or resized while the call was in flight, so its result of ${bytes} bytes is lost; await the call before`,
      );
    const at = output.byteOffset - this.start;
    bytesOf(output, bytes).set(this.copy.subarray(at, at + bytes));
  }
}

/** Bytes of a view, 0 when its memory is gone: a `DataView` says that by throwing. */
export function lengthOf(view: ArrayBufferView): number {
  try {
    return view.byteLength;
  } catch {
    return 0;
  }
}

const bytesOf = ({ buffer, byteOffset }: ArrayBufferView, bytes: number): Uint8Array =>
  new Uint8Array(buffer, byteOffset, bytes);
