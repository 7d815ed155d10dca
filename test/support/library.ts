/** The library as tests and their programs import it: where they ask for no fabric, over that of the tests (`fabric.ts`). */
import * as rfaas from "../../src/index.ts";
import { APART, FABRIC } from "./fabric.ts";

export * from "../../src/index.ts";

/** Takes what the library's does. */
export const invoker = ((options?: unknown) =>
  rfaas.invoker(overFabric(options) as rfaas.InvokerOptions)) as typeof rfaas.invoker;

function overFabric(options: unknown): unknown {
  if (!APART || (options !== undefined && (typeof options !== "object" || options === null)))
    return options;
  return { fabric: FABRIC, ...options };
}
