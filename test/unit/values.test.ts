/** The battery through encoder and decoder alone: each value arrives equal or is refused, and nothing in between. */
import { expect, test } from "bun:test";
import { Decoder } from "../../src/codec/decoder.ts";
import { Encoder } from "../../src/codec/encoder.ts";
import { Refusal } from "../../src/codec/refusal.ts";
import { SAMPLES } from "../support/battery/battery.ts";
import { difference } from "../support/battery/difference.ts";

const encoder = new Encoder();
const decoder = new Decoder();
const into = new Uint8Array(new ArrayBuffer(1024));

function refusalOf(value: unknown): string | undefined {
  try {
    encoder.encode(value, into);
    return undefined;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return error.path || "/";
  }
}

test.each(SAMPLES.filter(({ refused }) => refused === undefined))(
  "arrives equal: $name",
  ({ make }) => {
    const value = make();
    for (const copies of [true, false]) {
      const length = encoder.encode(value, into);
      // The encoder's own memory is used again by the next value.
      const message = encoder.bytes.slice(0, length);
      expect(difference(make(), decoder.decode(message, length, copies))).toBeUndefined();
    }
  },
  30_000,
);

test.each(SAMPLES.filter(({ refused }) => refused !== undefined))(
  "is refused: $name",
  ({ make, refused }) => {
    const path = refusalOf(make());
    if (refused === "anywhere") expect(path).toBeString();
    else expect(path).toBe(refused);
    expect(refusalOf({ fine: [1] })).toBeUndefined();
  },
  30_000,
);
