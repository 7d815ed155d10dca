/** A client's end of a lease, over any fabric: memory, one endpoint for each worker, and wake-ups for its event loop. */
import type { ClientEndpoint } from "../../ffi/client-endpoint.ts";
import type { Region } from "../../ffi/region.ts";
import type { RfaasError } from "../base/errors.ts";
import type { MemoryPin } from "./memory-pin.ts";

export interface Attachment {
  readonly region: Region;
  /** Whether the region is the node's memory; else it is a copy with the same layout. */
  readonly sharesMemory: boolean;
  /** One for each channel, by worker. */
  readonly endpoints: readonly ClientEndpoint[];
  /** Bytes in front of every buffer that the fabric needs. */
  readonly headroomBytes: number;
  /** Calls `onWake` when a parked endpoint may have an answer, or the way to a worker may be lost. */
  watch(onWake: () => void): Promise<void>;
  /** Prepares the first `endBytes` bytes of the region's arena for their use; undefined where they are ready. Never throws. */
  readonly handOut: ((endBytes: number) => void) | undefined;
  /** Lets the fabric use memory of the program where it is; undefined where calls must copy it. */
  readonly pin: MemoryPin | undefined;
  /** Why the connection to a worker is lost, where the fabric knows more than the lease's memory tells. */
  lost(worker: number): RfaasError | undefined;
  /** Closes endpoints, memory and everything below. No call may be in flight. */
  close(): void;
}
