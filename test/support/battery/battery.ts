/**
 * The battery: values of every kind, each made anew, and what must come of it: it arrives equal, or is refused with the path of the
 * part. As wide as the structured-clone tests of the web platform and the value suites of MessagePack, superjson and devalue.
 */
import { BINARY } from "./binary.ts";
import { COLLECTIONS } from "./collections.ts";
import { INSTANCES } from "./instances.ts";
import { OBJECTS } from "./objects.ts";
import { PRIMITIVES } from "./primitives.ts";
import type { Sample } from "./sample.ts";

export const SAMPLES: readonly Sample[] = [
  ...PRIMITIVES,
  ...INSTANCES,
  ...BINARY,
  ...OBJECTS,
  ...COLLECTIONS,
];
