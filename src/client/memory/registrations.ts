/**
 * Memory of the program's own that calls may use: each piece has a place in the lease's memory.
 *
 * An `ArrayBuffer` can be detached at any time, and its bytes can move, so nothing may keep its address: it is copied to its
 * place and back. A `SharedArrayBuffer` can neither, so a fabric that can does without the copies.
 */
import { UsageError } from "../../base/errors.ts";
import type { MemoryPin } from "../../fabric/memory-pin.ts";
import { Place, lengthOf } from "./place.ts";

/** The lease's side: a place in its memory for each piece, and the fabric that may use it where it is. */
export interface RegistrationTarget {
  /** Offset of a place in the lease's memory. Throws {@link OutOfLeaseMemory}. */
  allocate(bytes: number): number;
  /** Takes a place back. */
  release(offset: number): void;
  /** That part of the lease's memory, to copy to and from. */
  lend(offset: number, bytes: number): ArrayBuffer;
  recall(buffer: ArrayBuffer): boolean;
  /** For fabrics that can use memory where it is. */
  readonly pin: MemoryPin | undefined;
}

interface Entry {
  readonly place: Place;
  users: number;
}

/** Lets the memory go when it is disposed of. Calls in flight may go on using it, no other may begin. */
export interface Registration extends Disposable {
  /** Bytes that are registered. */
  readonly byteLength: number;
  /** Whether each call copies them to the lease's memory, or from there. */
  readonly copied: boolean;
}

export class Registrations {
  readonly #target: RegistrationTarget;
  readonly #entries = new Map<ArrayBufferLike, Entry[]>();
  #closed = false;

  constructor(target: RegistrationTarget) {
    this.#target = target;
  }

  /** Registers the bytes of a view, or finds them registered. Throws {@link UsageError}, {@link OutOfLeaseMemory}, {@link EnvironmentError}. */
  add(view: ArrayBufferView): Registration {
    const { buffer, byteOffset, byteLength } = view;
    throwIfDetached(buffer);
    if (byteLength === 0) throw new UsageError("an empty array cannot be registered; leave it out");
    const known = this.#entries
      .get(buffer)
      ?.find(({ place }) => place.start === byteOffset && place.bytes === byteLength);
    const entry = known ?? this.#register(view);
    entry.users++;
    let held = true;
    return {
      byteLength,
      copied: entry.place.copy !== undefined,
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        if (--entry.users === 0 && !this.#closed) this.#forget(entry);
      },
    };
  }

  /** What a view is within, or undefined when it is not within anything registered. Throws {@link UsageError} when it was detached. */
  find(view: ArrayBufferView): Place | undefined {
    const entries = this.#entries.get(view.buffer);
    if (entries === undefined) return undefined;
    throwIfDetached(view.buffer);
    if (lengthOf(view) === 0 && (view.buffer as ArrayBuffer).resizable)
      throw new UsageError("this view is empty since its memory has shrunk; make a new one");
    return entries.find(
      ({ place: { start, bytes } }) =>
        view.byteOffset >= start && view.byteOffset + view.byteLength <= start + bytes,
    )?.place;
  }

  /** The lease is over: drops all registrations. */
  close(): void {
    this.#closed = true;
    this.#entries.clear();
  }

  #register(view: ArrayBufferView): Entry {
    const offset = this.#target.allocate(view.byteLength);
    let place: Place;
    try {
      place = this.#place(view, offset);
    } catch (error) {
      this.#target.release(offset);
      throw error;
    }
    const entry = { place, users: 0 };
    this.#entries.set(view.buffer, [...(this.#entries.get(view.buffer) ?? []), entry]);
    return entry;
  }

  #place(view: ArrayBufferView, offset: number): Place {
    const { buffer, byteOffset: start, byteLength: bytes } = view;
    const at = { offset, bytes, buffer, start };
    const { pin } = this.#target;
    if (pin === undefined || !(buffer instanceof SharedArrayBuffer))
      return new Place(at, { copy: new Uint8Array(this.#target.lend(offset, bytes)) });
    pin.register(offset, view);
    return new Place(at, { allowWriting: () => pin.registerOutput(offset, view) });
  }

  /** Its place is free as soon as no call uses it. */
  #forget({ place }: Entry): void {
    const rest = this.#entries.get(place.buffer)!.filter((other) => other.place !== place);
    if (rest.length > 0) this.#entries.set(place.buffer, rest);
    else this.#entries.delete(place.buffer);
    place.givenBack = true;
    if (place.calls === 0) this.drop(place);
  }

  /** Frees the place: no call uses the memory that the program has given back. */
  drop(place: Place): void {
    if (place.copy === undefined) this.#target.pin!.unregister(place.offset);
    else this.#target.recall(place.copy.buffer);
    this.#target.release(place.offset);
  }
}

function throwIfDetached(buffer: ArrayBufferLike): void {
  if (buffer instanceof ArrayBuffer && buffer.detached)
    throw new UsageError(
      "this memory was transferred, or is that of a WebAssembly memory that has grown since; register what it has become",
    );
}
