/** Memory of the program's own, made known to a lease's fabric. */
import { NativeError } from "../../ffi/errors.ts";
import type { Region } from "../../ffi/region.ts";
import { memlockLimitBytes } from "../../ffi/system.ts";
import type { Link } from "../../ffi/verbs.ts";
import { EnvironmentError, UsageError } from "../errors.ts";
import { formatBytes } from "../units.ts";

/**
 * Makes `memory` known as what lies at `offset` of the region's arena.
 *
 * @throws {UsageError} too many pieces are registered
 * @throws {EnvironmentError} the machine does not let it be locked
 */
export function registerMemory(
  region: Region,
  offset: number,
  memory: ArrayBufferView,
  link: Link,
): void {
  try {
    region.register(offset, memory, link);
  } catch (error) {
    throw error instanceof NativeError ? explain(error, memory.byteLength) : error;
  }
}

function explain(cause: NativeError, bytes: number): Error {
  if (cause.code === "ENOSPC")
    return new UsageError("64 pieces of memory are registered already; dispose of some", { cause });
  const limit = memlockLimitBytes();
  return new EnvironmentError(
    `${formatBytes(bytes)} of memory cannot be registered (${cause.code}); ${limit === Infinity ? "see: rfaas doctor" : `raise the limit of ${formatBytes(limit)} with: ulimit -l unlimited`}`,
    { cause },
  );
}
