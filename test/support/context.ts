/** A context for a function that is called without a worker. */
import type { FunctionContext, FunctionLog } from "../../src/function/context.ts";

export function testContext(given: Partial<FunctionContext> = {}): FunctionContext {
  const silent = () => {};
  const log: FunctionLog = { debug: silent, info: silent, warn: silent, error: silent };
  return {
    worker: 0,
    workers: 1,
    cores: 1,
    memory: new ArrayBuffer(0),
    state: new Map(),
    log,
    cold: true,
    invocation: {
      id: "1.0.1",
      attempt: 1,
      deadline: null,
      signal: new AbortController().signal,
    },
    progress: silent,
    ...given,
  };
}
