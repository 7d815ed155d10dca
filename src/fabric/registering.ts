/** Memory of the program's own, made known to a lease's fabric. */
import { NativeError } from "../../ffi/errors.ts";
import type { Link } from "../../ffi/link.ts";
import type { Region } from "../../ffi/region.ts";
import { memlockLimitBytes } from "../../ffi/system.ts";
import { EnvironmentError, UsageError } from "../base/errors.ts";
import { formatBytes } from "../base/units.ts";
import type { MemoryPin } from "./memory-pin.ts";

/** Memory of the program, used where it is by the link's device. */
export function memoryPin(region: Region, link: Link): MemoryPin {
  const explained = (memory: ArrayBufferView, work: () => void): void => {
    try {
      work();
    } catch (error) {
      throw error instanceof NativeError ? explain(error, memory.byteLength) : error;
    }
  };
  return {
    register: (offset, memory) => explained(memory, () => link.register(region, offset, memory)),
    registerOutput: (offset, memory) =>
      explained(memory, () => link.registerOutput(region, offset)),
    unregister: (offset) => link.unregister(region, offset),
  };
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
