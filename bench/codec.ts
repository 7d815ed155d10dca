/**
 * The cost of a value's trip through our codec, by its shape and without one, and through msgpackr:
 * `bun bench/codec.ts [--rounds 15] [--json]`.
 *
 * Windows of all alternate, and the ratio is the median of those within a round. All write into memory that is there, as a call
 * does, and read it back; each result is compared once. msgpackr runs with what it needs to carry the same types (`moreTypes`).
 */
import { parseArgs } from "node:util";
import { Packr } from "msgpackr/pack";
import { type TSchema, Type } from "@sinclair/typebox";
import { Decoder } from "../src/codec/decoder.ts";
import { Encoder } from "../src/codec/encoder.ts";
import { ShapedDecoder, ShapedEncoder } from "../src/codec/shaped.ts";
import { typedArray } from "../src/codec/typed-array.ts";
import { describeSchema } from "../src/schema/description.ts";
import { shapesOf } from "../src/schema/shapes.ts";
import { environment } from "./environment.ts";
import { median, quartiles } from "./statistics.ts";

const WARMUP_NS = 300e6;
/** Shorter than a scheduler's slice. */
const WINDOW_NS = 1e6;
/** Windows of each kind in a round. The fastest counts, since other load on the machine only makes a window slower. */
const WINDOWS = 50;

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "15" },
    json: { type: "boolean", default: false },
  },
});

const VALUES: Record<string, { schema: TSchema; value: unknown }> = {
  "ten fields": {
    schema: Type.Object({
      ...{ id: Type.String(), spot: Type.Number(), strike: Type.Number(), rate: Type.Number() },
      ...{ volatility: Type.Number(), years: Type.Number(), steps: Type.Integer() },
      kind: Type.Union([Type.Literal("call"), Type.Literal("put")]),
      ...{ american: Type.Boolean(), desk: Type.String() },
    }),
    value: {
      ...{ id: "order-000117", spot: 42.5, strike: 40, rate: 0.05, volatility: 0.2 },
      ...{ years: 0.5, steps: 117, kind: "call", american: true, desk: "equities" },
    },
  },
  "100 points": {
    schema: Type.Array(Type.Object({ x: Type.Number(), y: Type.Number(), name: Type.String() })),
    value: Array.from({ length: 100 }, (_, i) => ({ x: i / 7, y: -1 - i, name: `p${i}` })),
  },
  "64 KiB of float64": {
    schema: Type.Object({ samples: typedArray("Float64Array") }),
    value: { samples: Float64Array.from({ length: 8192 }, (_, i) => i / 3) },
  },
};

type Trip = (value: unknown) => unknown;
const memory = () => new Uint8Array(new ArrayBuffer(1024 * 1024));

function ours(): Trip {
  const [encoder, decoder, into] = [new Encoder(), new Decoder(), memory()];
  return (value) => {
    const length = encoder.encode(value, into);
    return decoder.decode(encoder.bytes, length, true);
  };
}

function shaped(schema: TSchema): Trip {
  const { input } = shapesOf({ input: describeSchema(schema), output: null });
  const [encoder, into] = [new Encoder(), memory()];
  const writes = new ShapedEncoder(encoder, input, false);
  const reads = new ShapedDecoder(new Decoder(), input);
  return (value) => {
    const length = writes.encode(value, into, into.length);
    return reads.decode(encoder.bytes, length, true);
  };
}

function msgpackr(): Trip {
  const packr = new Packr({ useRecords: false, moreTypes: true });
  const into = Buffer.from(memory().buffer);
  return (value) => {
    // From the beginning of the same memory, every time.
    packr.useBuffer(into);
    return packr.unpack(packr.pack(value));
  };
}

/** Nanoseconds of one trip, over so many as fit. */
function window(trip: Trip, value: unknown, forNs: number): number {
  const start = Bun.nanoseconds();
  let trips = 0;
  let now = start;
  for (; now - start < forNs; now = Bun.nanoseconds())
    for (let i = 0; i < 20; i++, trips++) trip(value);
  return (now - start) / trips;
}

const KINDS = ["shaped", "codec", "msgpackr"] as const;

const rows = Object.entries(VALUES).map(([name, { schema, value }]) => {
  const trips = { shaped: shaped(schema), codec: ours(), msgpackr: msgpackr() };
  for (const trip of Object.values(trips)) {
    if (!Bun.deepEquals(trip(value), value, true)) throw new Error(`${name} did not arrive`);
    window(trip, value, WARMUP_NS);
  }
  const rounds = Array.from({ length: Number(values.rounds) }, () => {
    const fastest = { shaped: Infinity, codec: Infinity, msgpackr: Infinity };
    for (let i = 0; i < WINDOWS; i++)
      for (const kind of KINDS)
        fastest[kind] = Math.min(fastest[kind], window(trips[kind], value, WINDOW_NS));
    return fastest;
  });
  const ratios = rounds.map(({ codec, msgpackr }) => codec / msgpackr);
  return {
    value: name,
    shaped_ns: Math.round(median(rounds.map(({ shaped }) => shaped))),
    codec_ns: Math.round(median(rounds.map(({ codec }) => codec))),
    msgpackr_ns: Math.round(median(rounds.map(({ msgpackr }) => msgpackr))),
    ratio: Number(median(ratios).toFixed(2)),
    ratio_quartiles: quartiles(ratios).map((ratio) => Number(ratio.toFixed(2))),
  };
});

if (values.json)
  process.stdout.write(
    `${JSON.stringify({ benchmark: "codec", rows, environment: environment() })}\n`,
  );
else
  for (const { value, shaped_ns, codec_ns, msgpackr_ns, ratio, ratio_quartiles } of rows)
    process.stdout.write(
      `${value.padEnd(18)} ${String(shaped_ns).padStart(7)} ns by shape, ${String(codec_ns).padStart(7)} ns without, ${ratio} of msgpackr's ${msgpackr_ns} ns (${ratio_quartiles.join(" to ")})\n`,
    );
