/** The kit as it is here: embedded in the executable, built on the spot when run from source. */
import type { Kit } from "./build-kit.ts";

/** Set by the build. */
declare const RFAAS_COMPILED: boolean | undefined;

export async function loadKit(): Promise<Kit> {
  if (typeof RFAAS_COMPILED !== "undefined" && RFAAS_COMPILED)
    return (await import("../../../dist/kit.json")).default;
  return await (await import("./build-kit.ts")).buildKit();
}
