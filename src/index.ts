/**
 * Lease cores of a node and call functions on them through shared memory.
 *
 * @example
 * ```ts
 * import { invoker } from "rfaas";
 *
 * await using rf = await invoker();
 * await using lease = await rf.allocate("./functions/echo.ts", { polling: "hot" });
 * const input = lease.input(Uint8Array, 8);
 * const output = lease.output(Uint8Array, 8);
 * lease.invoke("echo", input, output);
 * ```
 */
import { refuseToStandIn } from "./base/process.ts";

refuseToStandIn();

export { invoker } from "./client/invoker.ts";
export type { Invoker } from "./client/cluster/invoker.ts";
export type { NodeStatus } from "./client/node/status.ts";
export type { ClusterOptions, InvokerOptions } from "./client/options/connect-options.ts";
export type {
  AllocateOptions,
  MemoryOptions,
  PackageOptions,
  PushOptions,
  RenewOptions,
  WaitOptions,
} from "./client/options/allocate-options.ts";
export type { ClusterNodeInfo } from "./client/cluster/node.ts";
export type { PlacementPolicy } from "./lease/placement.ts";
export type { Lease, LeasePart, LeasePhases, NameOf } from "./client/lease/lease.ts";
export type { Pool, PoolFunction } from "./client/pool/pool.ts";
export type { PoolOptions } from "./client/options/pool-options.ts";
export type { LeaseUsage } from "./client/lease/lease-usage.ts";
export type { LeaseEvent, LeaseEventOf } from "./client/events/lease-event.ts";
export type { Registration } from "./client/memory/registrations.ts";
export type { RemoteRegion } from "./client/lease/remote-region.ts";
export type { Packages } from "./client/node/packages.ts";
export type { UploadProgress } from "./client/events/upload-progress.ts";
export type { StoredPackage } from "./protocol/package-messages.ts";
export type { LeaseBuffer, TypedArray, TypedArrayClass } from "./client/memory/lease-memory.ts";
export type {
  BroadcastOptions,
  CallProgress,
  CodecMapOptions,
  InvokeOptions,
  MapOptions,
  RawMapOptions,
  SubmitManyOptions,
  SubmitOptions,
} from "./client/options/call-options.ts";
export type { MapInput, MapPair, MapResult, Settled } from "./client/map/options.ts";
export type { BroadcastResult } from "./client/map/broadcast.ts";
export type { CallBatch, CallFailure } from "./client/batches/public-batch.ts";
export type { CallTimings, PublicCall as Call } from "./client/calls/public-call.ts";
export type { FabricName } from "./fabric/registry.ts";
export type { OfiOptions } from "./fabric/ofi/options.ts";
export type { VerbsOptions } from "./fabric/verbs/options.ts";
export type { Usage } from "./protocol/usage.ts";
export type { Polling } from "../ffi/layout.ts";
export type { TypedFunction } from "./client/functions/value-function.ts";
export type { StructFunction, StructSlot } from "./client/functions/struct-function.ts";
export type { CallableOf, FunctionOf } from "./client/functions/typed-function.ts";
export type { FunctionContext } from "./function/context.ts";
export type { FunctionNames, TypedNames } from "./function/names.ts";
export type { RawFunction } from "./function/raw.ts";
export * from "./base/errors.ts";
