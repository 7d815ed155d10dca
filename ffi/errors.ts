/** Failures of the native side: a system call that failed, or a missing shim. */

/** A system call made by the shim failed. `errno` is positive, `code` is its name (`ENOMEM`). */
export class NativeError extends Error {
  override readonly name = "NativeError";
  readonly code: string;
  readonly errno: number;
  readonly operation: string;

  constructor(operation: string, negativeErrno: number) {
    const code = systemErrorName(negativeErrno);
    super(`${operation} failed: ${code}`);
    this.operation = operation;
    this.errno = -negativeErrno;
    this.code = code;
  }
}

/** The compiled shim cannot be found, opened, or is of another version than this program. */
export class ShimUnavailable extends Error {
  override readonly name = "ShimUnavailable";
  readonly code = "RFAAS_SHIM_UNAVAILABLE";
}

/** Which the runtime does not name. */
const ETOOMANYREFS = 109;

function systemErrorName(negativeErrno: number): string {
  if (negativeErrno === -ETOOMANYREFS) return "ETOOMANYREFS";
  try {
    // Loaded when something has failed: every host would take a millisecond for it.
    const { getSystemErrorName } = require("node:util") as typeof import("node:util");
    return getSystemErrorName(negativeErrno);
  } catch {
    return `errno ${-negativeErrno}`;
  }
}

/** Passes a result through, or throws when it is a negative errno. */
export function check(operation: string, result: number): number {
  if (result < 0) throw new NativeError(operation, result);
  return result;
}
