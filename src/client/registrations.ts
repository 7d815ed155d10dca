/**
 * Memory of the program's own that calls may use. Pinning memory takes long (microseconds a page), so what is registered stays so
 * after its last user has let it go, until the room is needed.
 */
import { UsageError } from "../errors.ts";

/** The lease's side: a place in its memory for each piece, and the fabric that must know it. */
export interface RegistrationTarget {
  /** Offset of a place in the lease's memory. Throws {@link OutOfLeaseMemory}. */
  allocate(bytes: number): number;
  release(offset: number): void;
  /** Throws {@link UsageError} or {@link EnvironmentError}. */
  register(offset: number, memory: ArrayBufferView): void;
  unregister(offset: number): void;
}

interface Entry {
  readonly buffer: ArrayBuffer;
  readonly start: number;
  readonly bytes: number;
  readonly offset: number;
  users: number;
}

/** Lets the memory go when it is disposed of; no call may use it then. */
export interface Registration extends Disposable {
  /** Bytes that are registered. */
  readonly byteLength: number;
}

export class Registrations {
  readonly #target: RegistrationTarget;
  readonly #entries = new Map<ArrayBuffer, Entry[]>();

  constructor(target: RegistrationTarget) {
    this.#target = target;
  }

  /** Registers the bytes of a view, or finds them registered. Throws {@link UsageError}, {@link OutOfLeaseMemory}, {@link EnvironmentError}. */
  add(view: ArrayBufferView<ArrayBuffer>): Registration {
    const { buffer, byteOffset, byteLength } = view;
    if (!(buffer instanceof ArrayBuffer) || buffer.resizable)
      throw new UsageError(
        "only memory of a fixed size can be registered; copy it to an ArrayBuffer",
      );
    if (byteLength === 0)
      throw new UsageError("an empty array cannot be registered; leave it away");
    const known = this.#entries
      .get(buffer)
      ?.find(({ start, bytes }) => start === byteOffset && bytes === byteLength);
    const entry = known ?? this.#register(view);
    entry.users++;
    let held = true;
    return {
      byteLength,
      [Symbol.dispose]: () => {
        if (held) entry.users--;
        held = false;
      },
    };
  }

  /** Where a view lies in the lease's memory, or undefined when it is not within anything registered. */
  offsetOf(view: ArrayBufferView): number | undefined {
    const entry = this.#entries
      .get(view.buffer as ArrayBuffer)
      ?.find(
        ({ start, bytes, users }) =>
          users > 0 &&
          view.byteOffset >= start &&
          view.byteOffset + view.byteLength <= start + bytes,
      );
    return entry && entry.offset + (view.byteOffset - entry.start);
  }

  /** Forgets the piece that nobody has used for longest. Returns whether there was one. */
  forgetIdle(): boolean {
    for (const entries of this.#entries.values())
      for (const entry of entries)
        if (entry.users === 0) {
          this.#forget(entry);
          return true;
        }
    return false;
  }

  #register(view: ArrayBufferView<ArrayBuffer>): Entry {
    for (;;) {
      let offset: number | undefined;
      try {
        offset = this.#target.allocate(view.byteLength);
        this.#target.register(offset, view);
        const entry: Entry = {
          buffer: view.buffer,
          start: view.byteOffset,
          bytes: view.byteLength,
          offset,
          users: 0,
        };
        this.#entries.set(view.buffer, [...(this.#entries.get(view.buffer) ?? []), entry]);
        return entry;
      } catch (error) {
        if (offset !== undefined) this.#target.release(offset);
        // What nobody uses may be what it lacks.
        if (!this.forgetIdle()) throw error;
      }
    }
  }

  #forget(entry: Entry): void {
    this.#target.unregister(entry.offset);
    this.#target.release(entry.offset);
    const rest = this.#entries.get(entry.buffer)!.filter((other) => other !== entry);
    if (rest.length > 0) this.#entries.set(entry.buffer, rest);
    else this.#entries.delete(entry.buffer);
  }
}
