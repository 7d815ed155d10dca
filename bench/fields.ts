/** Options that several scenarios have. */
import { Type } from "@sinclair/typebox";
import { UsageError } from "../src/base/errors.ts";
import { AllocateOptions } from "../src/client/options/allocate-options.ts";
import { bytes, duration, truth, whole, worded } from "../src/options/fields.ts";

const MAX_BYTES = 1024 ** 3;
const MAX_DURATION_MS = 24 * 3600 * 1000;

/** From 2 bytes to 8 MiB, as perftest has it. */
const ALL_SIZES = Array.from({ length: 23 }, (_, i) => 2 ** (i + 1));

export const sizeField = (fallback: number) => ({
  size: Type.Optional(
    bytes(1, MAX_BYTES, { description: "payload each way", default: fallback, short: "s" }),
  ),
});

export const allField = {
  all: Type.Optional(truth({ description: "all sizes from 2 B to 8 MiB", short: "a" })),
};

export const itersField = (otherwise: string) => ({
  iters: Type.Optional(
    whole(1, 100_000_000, { description: "calls per window", otherwise, short: "n" }),
  ),
});

export const pairsField = (fallback: number) => ({
  pairs: Type.Optional(whole(1, 1000, { description: "pairs of windows", default: fallback })),
  durationMs: Type.Optional(
    duration(1, MAX_DURATION_MS, {
      description: "in place of --pairs: pairs of windows for so long, each row",
    }),
  ),
});

export const pollingField = (fallback: "hot" | "warm") => ({
  polling: worded(AllocateOptions.properties.polling, { default: fallback }),
});

export const depthField = (otherwise: string) => ({
  depth: Type.Optional(
    whole(1, 1024, {
      description: "calls that the scenario keeps in flight on each worker",
      otherwise,
    }),
  ),
});

/** `about` says how many there are without it: a default, or `otherwise`. */
export const leasesField = (about: { default: number } | { otherwise: string }) => ({
  leases: Type.Optional(
    whole(1, 1000, {
      description: "leases asked for at once: cold calls each and releases it, density holds them",
      ...about,
    }),
  ),
});

/** Throws {@link UsageError} when one size and all sizes are asked for. */
export function sizesOf(
  { size, all }: { size?: number; all?: boolean },
  fallback: number,
): readonly number[] {
  if (all && size !== undefined)
    throw new UsageError("--all and --size exclude each other; name one of them");
  return all ? ALL_SIZES : [size ?? fallback];
}
