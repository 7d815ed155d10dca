/** Errors that happened in another process, rebuilt here. */
import { constants } from "node:os";
import { END } from "../../ffi/layout.ts";
import { FunctionError } from "../errors.ts";
import { describeExitCode } from "../protocol/host-exit.ts";
import type { ErrorRecord } from "../protocol/messages.ts";

/** An `Error` with the name, message and stack of the one that was caught remotely. */
export function remoteCause(record: ErrorRecord): Error {
  const error = new Error(record.message);
  error.name = record.name;
  if (record.stack !== undefined) error.stack = record.stack;
  return Object.assign(error, record.code === undefined ? {} : { code: record.code });
}

/** What a function threw, from the error record of its call. A record that cannot be read is itself reported. */
export function functionErrorFrom(bytes: Uint8Array): FunctionError {
  const value = parse(bytes);
  if (typeof value?.name !== "string" || typeof value.message !== "string")
    return new FunctionError({
      name: "FunctionError",
      message: "the function failed, and its error could not be read",
    });
  return new FunctionError({
    name: value.name,
    message: value.message,
    code: typeof value.code === "string" ? value.code : undefined,
    stack: typeof value.stack === "string" ? value.stack : undefined,
    retryable: value.retryable === true,
  });
}

function parse(bytes: Uint8Array): Partial<ErrorRecord> | undefined {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

/** `SIGSEGV` for 11. */
export function signalName(number: number): string | undefined {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0];
}

/** The reason in shared memory, in words; `detail` is an exit code or a signal. */
export function describeEnd(reason: number, detail: number): string {
  switch (reason) {
    case END.released:
      return "the lease was released";
    case END.exited:
      return `its host process ${describeExitCode(detail)}`;
    case END.signalled:
      return `its host process was killed by signal ${detail} (${signalName(detail) ?? "unknown"})${detail === 9 ? ", from outside or for lack of memory" : ": a crash in native code, or more memory than the lease has"}`;
    case END.nodeStopped:
      return "the node stopped";
    case END.expired:
      return "the lease expired: it was neither renewed nor used in time, or its token has ended";
    case END.revoked:
      return "the node took the lease back";
    case END.overBudget:
      return "the lease's budget is spent";
    case END.workerFailed:
      return "an uncaught error ended the worker, or its memory ran out";
    default:
      return "its host process or its node died";
  }
}
